//! Buffers: allocation, scratch space, uploads and readbacks through reused staging.

use super::device::Core;
use super::record::Span;
use super::report::lock;
use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::mpsc;

/// Bytes of one upload buffer.
const WRITER_BYTES: u64 = 16 << 20;
/// Most bytes read back through one staging buffer.
const READER_BYTES: u64 = 64 << 20;
/// Upload buffers in use at a time: one is filled while the other travels.
const WRITERS: usize = 3;
/// A quiet NaN with a recognisable payload.
const POISON: u32 = 0x7fc0_dead;

impl Core {
    /// A storage buffer of at least `bytes`.
    pub fn allocate(&self, what: &str, bytes: u64) -> Result<wgpu::Buffer> {
        let size = bytes.max(16).next_multiple_of(16);
        if size > self.limits.max_buffer_size {
            return Err(Error::OutOfMemory { what: what.to_owned(), needed_bytes: size });
        }
        let buffer = self.scoped(what, size, || {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(what),
                size,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })?;
        if self.options.poison {
            let pattern = vec![POISON; (size / 4) as usize];
            self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&pattern));
        }
        Ok(buffer)
    }

    /// A storage buffer that one binding must reach whole.
    pub fn allocate_bindable(&self, what: &str, bytes: u64) -> Result<wgpu::Buffer> {
        let limit = self.limits.max_storage_buffer_binding_size;
        if bytes > limit {
            return Err(Error::Device(format!("{what} needs a binding of {bytes} bytes, this device binds {limit}")));
        }
        self.allocate(what, bytes)
    }

    /// A scratch buffer of at least `bytes`, kept under its name. Valid within one operation.
    pub fn scratch(&self, name: &'static str, bytes: u64) -> Result<wgpu::Buffer> {
        if let Some(found) = lock(&self.scratch).get(name).filter(|b| b.size() >= bytes) {
            return Ok(found.clone());
        }
        // Some room for growth, so that slowly growing needs do not allocate every time.
        let limit = self.limits.max_storage_buffer_binding_size;
        let buffer = self.allocate_bindable(name, (bytes + bytes / 4).min(limit).max(bytes))?;
        lock(&self.scratch).insert(name, buffer.clone());
        Ok(buffer)
    }

    /// Writes a small slice, after all that was recorded before.
    pub fn write(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        // The queue puts writes in front of the next submit, so what is recorded must go first.
        self.flush()?;
        self.queue.write_buffer(buffer, offset, bytes);
        Ok(())
    }

    /// Sends `bytes` (a multiple of 4, at most [`Core::piece_bytes`]) through a reused upload buffer.
    pub fn send(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        let staging = self.writer()?;
        staging
            .get_mapped_range_mut(..bytes.len() as u64)
            .map_err(|e| Error::Device(format!("upload: {e}")))?
            .copy_from_slice(bytes);
        staging.unmap();
        self.copy(Span { buffer: &staging, offset: 0, bytes: bytes.len() as u64 }, buffer, offset);
        self.flush()?;
        let (free, again) = (Arc::clone(&self.writers), staging.clone());
        staging.map_async(wgpu::MapMode::Write, .., move |result| {
            if result.is_ok() {
                lock(&free).push(again);
            }
        });
        Ok(())
    }

    /// Bytes that [`Core::send`] takes at most.
    pub fn piece_bytes(&self) -> u64 {
        WRITER_BYTES
    }

    fn writer(&self) -> Result<wgpu::Buffer> {
        if let Some(free) = lock(&self.writers).pop() {
            return Ok(free);
        }
        // None is free: look once whether one has come back, and if all are under way wait for them.
        self.finish()?;
        if let Some(free) = lock(&self.writers).pop() {
            return Ok(free);
        }
        let mut made = Vec::new();
        for _ in 0..WRITERS {
            made.push(self.scoped("upload staging", WRITER_BYTES, || {
                self.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("upload staging"),
                    size: WRITER_BYTES,
                    usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
                    mapped_at_creation: true,
                })
            })?);
        }
        let first = made.pop().ok_or_else(|| Error::Device("no upload buffer".into()))?;
        lock(&self.writers).extend(made);
        Ok(first)
    }

    /// Reads spans back, one after the other, as one vector. All that was recorded happens first.
    pub fn read<T: bytemuck::Pod>(&self, spans: &[Span<'_>]) -> Result<Vec<T>> {
        let total: u64 = spans.iter().map(|s| s.bytes).sum();
        let mut out = Vec::with_capacity((total / size_of::<T>() as u64) as usize);
        let (mut batch, mut bytes): (Vec<Span<'_>>, u64) = (Vec::new(), 0);
        for span in spans {
            let mut at = 0;
            while at < span.bytes {
                let part = (span.bytes - at).min(READER_BYTES - bytes);
                batch.push(Span { buffer: span.buffer, offset: span.offset + at, bytes: part });
                (at, bytes) = (at + part, bytes + part);
                if bytes == READER_BYTES {
                    self.read_batch(&batch, bytes, &mut out)?;
                    batch.clear();
                    bytes = 0;
                }
            }
        }
        if bytes > 0 {
            self.read_batch(&batch, bytes, &mut out)?;
        }
        Ok(out)
    }

    fn read_batch<T: bytemuck::Pod>(&self, spans: &[Span<'_>], bytes: u64, out: &mut Vec<T>) -> Result<()> {
        let staging = self.reader(bytes)?;
        let mut at = 0;
        for span in spans {
            self.copy(*span, &staging, at);
            at += span.bytes;
        }
        self.flush()?;
        let (sender, receiver) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, ..bytes, move |result| {
            // The receiver is gone only if the wait below failed, and then nobody asks.
            let _ = sender.send(result);
        });
        self.finish()?;
        self.listen()?;
        match receiver.try_recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Error::Device(format!("readback: {error}"))),
            Err(_) => return Err(Error::Device("readback: the device gave no answer".into())),
        }
        {
            let view = staging.get_mapped_range(..bytes).map_err(|e| Error::Device(format!("readback: {e}")))?;
            out.extend_from_slice(bytemuck::cast_slice(&view));
        }
        staging.unmap();
        lock(&self.readers).push(staging);
        Ok(())
    }

    fn reader(&self, bytes: u64) -> Result<wgpu::Buffer> {
        let size = bytes.next_power_of_two().max(4 << 10);
        let mut free = lock(&self.readers);
        if let Some(place) = free.iter().position(|b| b.size() == size) {
            return Ok(free.swap_remove(place));
        }
        drop(free);
        self.scoped("readback staging", size, || {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("readback staging"),
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })
    }
}
