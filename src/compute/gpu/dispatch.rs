//! Records dispatches and copies, and submits them in short pieces.
//!
//! A submit aims at 50 ms of work, by a running estimate of the device's rate: long enough to hide the cost of
//! submitting, short enough for the watchdogs of desktop systems and for noticing a lost device.

use super::device::Core;
use super::kernel::{Id, KERNELS};
use super::pipeline::Pipeline;
use super::record::{Command, CommandRecorder, Launch, Span, UNIFORM_BYTES};
use super::report::lock;
use super::timing::Clock;
use crate::error::{Error, Result};
use std::sync::Arc;
use std::time::Instant;

/// Seconds of work a submit aims at.
const TARGET_SECONDS: f64 = 0.05;
/// Submits under way before the oldest is waited for.
const UNDER_WAY: usize = 3;
/// Groups of one dimension of a dispatch.
const LINE: u64 = 65_535;

impl Core {
    /// The compiled entry point of a kernel's variant.
    fn pipeline(&self, id: Id, entry: usize, variant: usize) -> Result<Arc<Pipeline>> {
        let key = (id, entry, variant);
        if let Some(found) = lock(&self.pipelines).get(&key) {
            return Ok(Arc::clone(found));
        }
        let make = || Pipeline::new(&self.device, self.options.checked, id, entry, variant);
        let made = Arc::new(self.scoped(KERNELS[id as usize].stem, 0, make)?);
        lock(&self.pipelines).insert(key, Arc::clone(&made));
        Ok(made)
    }

    /// Work that one launch should hold at most.
    pub fn launch_cost(&self) -> f64 {
        lock(&self.recorder).rate * TARGET_SECONDS
    }

    /// Records a dispatch.
    pub fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        if launch.groups == 0 {
            return Ok(());
        }
        let pipeline = self.pipeline(launch.id, launch.entry, launch.variant)?;
        let point = &KERNELS[launch.id as usize].entries[launch.entry];
        debug_assert_eq!(point.bindings.len(), launch.spans.len(), "{}", KERNELS[launch.id as usize].stem);
        let mut recorder = lock(&self.recorder);
        let align = self.limits.min_uniform_buffer_offset_alignment as usize;
        let bytes = launch.params.len().next_multiple_of(16);
        if recorder.uniforms.len().next_multiple_of(align) + bytes > UNIFORM_BYTES {
            self.submit(&mut recorder)?;
        }
        let offset = recorder.uniforms.len().next_multiple_of(align);
        recorder.uniforms.resize(offset, 0);
        recorder.uniforms.extend_from_slice(launch.params);
        recorder.uniforms.resize(offset + bytes, 0);
        let uniform = wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &recorder.uniform_buffer,
                offset: 0,
                size: wgpu::BufferSize::new(bytes as u64),
            }),
        };
        let storage = point.bindings.iter().zip(launch.spans).map(|((binding, _), span)| wgpu::BindGroupEntry {
            binding: *binding,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: span.buffer,
                offset: span.offset,
                size: wgpu::BufferSize::new(span.bytes),
            }),
        });
        let entries: Vec<_> = std::iter::once(uniform).chain(storage).collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.layout,
            entries: &entries,
        });
        // A line of more than 65,535 groups folds into a rectangle; kernels ignore what lies past the end.
        let rows = launch.groups.div_ceil(LINE);
        let columns = launch.groups.div_ceil(rows);
        let grid = [columns, rows].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
        if rows > LINE {
            return Err(Error::Device(format!("{} workgroups do not fit one dispatch", launch.groups)));
        }
        let name = (launch.id, launch.entry, launch.variant);
        recorder.commands.push(Command::Dispatch { pipeline, group, offset: offset as u32, grid, name });
        recorder.cost += launch.cost;
        if recorder.cost >= recorder.rate * TARGET_SECONDS {
            self.submit(&mut recorder)?;
        }
        Ok(())
    }

    /// Records a copy of `bytes`, a multiple of 4.
    pub fn copy(&self, from: Span<'_>, to: &wgpu::Buffer, to_offset: u64) {
        if from.bytes > 0 {
            lock(&self.recorder).commands.push(Command::Copy {
                from: from.buffer.clone(),
                from_offset: from.offset,
                to: to.clone(),
                to_offset,
                bytes: from.bytes,
            });
        }
    }

    /// Records filling the first `bytes` with zeros.
    pub fn clear(&self, buffer: &wgpu::Buffer, bytes: u64) {
        self.clear_span(Span { buffer, offset: 0, bytes });
    }

    /// Records filling a span with zeros; its offset and bytes are multiples of 4.
    pub fn clear_span(&self, span: Span<'_>) {
        if span.bytes > 0 {
            let Span { buffer, offset, bytes } = span;
            lock(&self.recorder).commands.push(Command::Clear { buffer: buffer.clone(), offset, bytes });
        }
    }

    /// Submits what is recorded.
    pub fn flush(&self) -> Result<Option<wgpu::SubmissionIndex>> {
        let mut recorder = lock(&self.recorder);
        self.submit(&mut recorder)?;
        Ok(recorder.last.clone())
    }

    /// Submits and waits until the device is idle.
    pub fn finish(&self) -> Result<()> {
        let mut recorder = lock(&self.recorder);
        self.submit(&mut recorder)?;
        while !recorder.under_way.is_empty() {
            self.retire(&mut recorder)?;
        }
        Ok(())
    }

    fn submit(&self, recorder: &mut CommandRecorder) -> Result<()> {
        if recorder.commands.is_empty() {
            return Ok(());
        }
        self.check()?;
        if !recorder.uniforms.is_empty() {
            self.queue.write_buffer(&recorder.uniform_buffer, 0, &recorder.uniforms);
            recorder.uniforms.clear();
        }
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let commands = std::mem::take(&mut recorder.commands);
        let mut at = 0;
        while at < commands.len() {
            match &commands[at] {
                Command::Copy { from, from_offset, to, to_offset, bytes } => {
                    encoder.copy_buffer_to_buffer(from, *from_offset, to, *to_offset, *bytes);
                    at += 1;
                }
                Command::Clear { buffer, offset, bytes } => {
                    encoder.clear_buffer(buffer, *offset, Some(*bytes));
                    at += 1;
                }
                Command::Dispatch { name, .. } => {
                    let timestamp_writes = recorder.clock.as_mut().and_then(|clock| clock.next(*name));
                    let one = timestamp_writes.is_some();
                    let mut pass =
                        encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
                    while let Some(Command::Dispatch { pipeline, group, offset, grid, .. }) = commands.get(at) {
                        pass.set_pipeline(&pipeline.pipeline);
                        pass.set_bind_group(0, group, &[*offset]);
                        pass.dispatch_workgroups(grid[0], grid[1], 1);
                        at += 1;
                        if one {
                            break;
                        }
                    }
                }
            }
        }
        let reader = recorder.clock.as_mut().and_then(|clock| clock.resolve(&self.device, &mut encoder));
        let index = self.queue.submit([encoder.finish()]);
        if let (Some(clock), Some(reader)) = (recorder.clock.as_mut(), reader) {
            clock.collect(&reader);
        }
        recorder.under_way.push_back((index.clone(), std::mem::take(&mut recorder.cost), Instant::now()));
        recorder.last = Some(index);
        while recorder.under_way.len() > UNDER_WAY {
            self.retire(recorder)?;
        }
        Ok(())
    }

    /// Waits for the oldest submit and learns the device's rate from it.
    fn retire(&self, recorder: &mut CommandRecorder) -> Result<()> {
        let Some((index, cost, submitted)) = recorder.under_way.pop_front() else { return Ok(()) };
        let before = Instant::now();
        self.wait(&index)?;
        let done = Instant::now();
        let seconds = done.duration_since(submitted.max(recorder.last_done)).as_secs_f64();
        // A submit that was done before anyone asked says nothing about the rate.
        if done.duration_since(before).as_secs_f64() > 2e-4 && seconds > 1e-3 && cost > 0.0 {
            recorder.rate = (0.5 * (recorder.rate + cost / seconds)).clamp(1e8, 1e15);
        }
        recorder.last_done = done;
        Ok(())
    }

    /// Kernel times gathered so far.
    pub fn take_timings(&self) -> Result<Vec<super::timing::Timing>> {
        self.finish()?;
        Ok(lock(&self.recorder).clock.as_ref().map_or_else(Vec::new, Clock::take))
    }
}
