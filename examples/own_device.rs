//! Brings a program's own wgpu device along: sememe trains and encodes on it, and the program goes on using it.
//!
//! `cargo run --release --example own_device`

use sememe::device::gpu::{Gpu, wgpu};
use sememe::{Codec, Device, EncodeOptions, Matrix, RqKMeans};
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The program's own device, made in its own way. WebGPU's default limits are all that sememe needs; a device with its
    // adapter's limits takes larger chunks.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let Ok(adapter) = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())) else {
        println!("No adapter here: this example needs a GPU, or a software one such as lavapipe.");
        return Ok(());
    };
    let description = wgpu::DeviceDescriptor {
        label: Some("the program's own"),
        required_limits: adapter.limits(),
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&description))?;

    // wgpu's handles are counted references, so clones reach the same device.
    let gpu = Gpu::from_wgpu(&adapter.get_info(), device.clone(), queue.clone())?;
    let shared = Device::Gpu(Arc::new(gpu));
    println!("Using {} ({})", shared.info().name, shared.info().api);

    // 600 rows around twelve centres on a grid, each row with a small offset of its own.
    let (n, d) = (600, 8);
    let value = |i: usize, c: usize| ((i % 12) >> (c % 4) & 1) as f32 * 4.0 + (i * 31 + c * 17) as f32 % 7.0 * 0.05;
    let rows = Matrix::from_vec(n, d, (0..n * d).map(|at| value(at / d, at % d)).collect())?;

    let config = RqKMeans { codebook_sizes: vec![12, 4], iterations: 10, ..RqKMeans::default() };
    let codec = Codec::train(&rows, &config, &shared, &())?;
    let encoded = codec.encoder(&shared, &EncodeOptions::default())?.encode(&rows)?;
    for i in 0..3 {
        println!("row {i}: {:?}", encoded.codes.row(i));
    }
    assert_eq!(encoded.codes, codec.encode(&rows)?, "codes do not depend on the device");

    // The program goes on with its device: fills a buffer and reads it back.
    let buffer = |usage| {
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false })
    };
    let own = buffer(wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST);
    let back = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    queue.write_buffer(&own, 0, b"still the same 1");
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_buffer_to_buffer(&own, 0, &back, 0, 16);
    queue.submit([encoder.finish()]);
    back.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("a mappable buffer"));
    device.poll(wgpu::PollType::wait_indefinitely())?;
    println!("The device answers: {}", String::from_utf8_lossy(&back.get_mapped_range(..)?));
    Ok(())
}
