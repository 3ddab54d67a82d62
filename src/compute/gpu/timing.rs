//! Kernel times by the device's own clock, where it has one.

use super::kernel::{Id, KERNELS};
use super::report::lock;
use std::sync::{Arc, Mutex};

/// Time of one dispatch.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Stem of the kernel.
    pub stem: &'static str,
    /// Entry point.
    pub entry: &'static str,
    /// Variant.
    pub variant: &'static str,
    /// Duration in nanoseconds.
    pub nanoseconds: f64,
}

/// Dispatches timed in one submit.
const SLOTS: u32 = 256;

/// Timestamps of the submit being recorded, and what earlier ones gave.
pub(super) struct Clock {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    period: f32,
    names: Vec<(Id, usize, usize)>,
    done: Arc<Mutex<Vec<Timing>>>,
}

impl Clock {
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timings"),
            ty: wgpu::QueryType::Timestamp,
            count: 2 * SLOTS,
        });
        let resolved = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("timings"),
            size: u64::from(2 * SLOTS) * 8,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Self { queries, resolved, period: queue.get_timestamp_period(), names: Vec::new(), done: Arc::default() }
    }

    /// Timestamps around the next pass, while slots last.
    pub fn next(&mut self, name: (Id, usize, usize)) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let slot = self.names.len() as u32;
        (slot < SLOTS).then(|| {
            self.names.push(name);
            wgpu::ComputePassTimestampWrites {
                query_set: &self.queries,
                beginning_of_pass_write_index: Some(2 * slot),
                end_of_pass_write_index: Some(2 * slot + 1),
            }
        })
    }

    /// Ends the submit's recording; the returned buffer is to be mapped once it is submitted.
    pub fn resolve(&mut self, device: &wgpu::Device, encoder: &mut wgpu::CommandEncoder) -> Option<wgpu::Buffer> {
        let count = self.names.len() as u32;
        if count == 0 {
            return None;
        }
        let bytes = u64::from(2 * count) * 8;
        let reader = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("timings"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        encoder.resolve_query_set(&self.queries, 0..2 * count, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &reader, 0, bytes);
        Some(reader)
    }

    /// Has the times added once the submit is done.
    pub fn collect(&mut self, reader: &wgpu::Buffer) {
        let (names, done, period) = (std::mem::take(&mut self.names), Arc::clone(&self.done), self.period);
        let mapped = reader.clone();
        reader.map_async(wgpu::MapMode::Read, .., move |result| {
            let Ok(view) = result.map_err(drop).and_then(|()| mapped.get_mapped_range(..).map_err(drop)) else {
                return;
            };
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&view);
            for ((id, entry, variant), pair) in names.into_iter().zip(ticks.chunks_exact(2)) {
                let kernel = &KERNELS[id as usize];
                lock(&done).push(Timing {
                    stem: kernel.stem,
                    entry: kernel.entries[entry].name,
                    variant: kernel.variants[variant].name,
                    nanoseconds: pair[1].saturating_sub(pair[0]) as f64 * f64::from(period),
                });
            }
        });
    }

    /// Takes what is there.
    pub fn take(&self) -> Vec<Timing> {
        std::mem::take(&mut lock(&self.done))
    }
}
