//! What is recorded for a device and under way on it.

use super::kernel::Id;
use super::pipeline::Pipeline;
use super::timing::Clock;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Bytes of uniforms a submit: at the usual alignment of 256 bytes a thousand dispatches, several steps of a network.
pub(super) const UNIFORM_BYTES: usize = 256 << 10;

/// One entry of a submit.
pub(super) enum Command {
    Dispatch { pipeline: Arc<Pipeline>, group: wgpu::BindGroup, offset: u32, grid: [u32; 2], name: (Id, usize, usize) },
    Copy { from: wgpu::Buffer, from_offset: u64, to: wgpu::Buffer, to_offset: u64, bytes: u64 },
    Clear { buffer: wgpu::Buffer, offset: u64, bytes: u64 },
}

/// Part of a buffer, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    pub buffer: &'a wgpu::Buffer,
    pub offset: u64,
    pub bytes: u64,
}

/// A whole buffer.
pub(super) fn whole(buffer: &wgpu::Buffer) -> Span<'_> {
    Span { buffer, offset: 0, bytes: buffer.size() }
}

/// One dispatch.
pub(super) struct Launch<'a> {
    pub id: Id,
    pub entry: usize,
    pub variant: usize,
    /// Storage bindings in the order of the table.
    pub spans: &'a [Span<'a>],
    /// The uniform's words.
    pub params: &'a [u8],
    /// Workgroups.
    pub groups: u64,
    /// Work in floating-point operations; a byte of memory traffic counts as 8.
    pub cost: f64,
}

/// What is recorded and under way.
pub(super) struct CommandRecorder {
    pub commands: Vec<Command>,
    pub uniforms: Vec<u8>,
    pub uniform_buffer: wgpu::Buffer,
    pub cost: f64,
    /// Operations a second, as measured.
    pub rate: f64,
    pub under_way: VecDeque<(wgpu::SubmissionIndex, f64, Instant)>,
    pub last_done: Instant,
    pub last: Option<wgpu::SubmissionIndex>,
    pub clock: Option<Clock>,
}

impl CommandRecorder {
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, software: bool, timings: bool) -> Self {
        Self {
            commands: Vec::new(),
            uniforms: Vec::new(),
            uniform_buffer: device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("uniforms"),
                size: UNIFORM_BYTES as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }),
            cost: 0.0,
            rate: if software { 2e9 } else { 1e12 },
            under_way: VecDeque::new(),
            last_done: Instant::now(),
            last: None,
            clock: timings.then(|| Clock::new(device, queue)),
        }
    }
}
