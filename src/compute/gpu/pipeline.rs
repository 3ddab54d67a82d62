//! Entry points, compiled when first used.

use super::device::{Core, lock};
use super::kernel::{Access, Id, KERNELS};
use crate::error::Result;
use std::sync::Arc;

/// A compiled entry point.
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

impl Core {
    /// The compiled entry point of a kernel's variant.
    pub fn pipeline(&self, id: Id, entry: usize, variant: usize) -> Result<Arc<Pipeline>> {
        if let Some(found) = lock(&self.pipelines).get(&(id, entry, variant)) {
            return Ok(Arc::clone(found));
        }
        let kernel = &KERNELS[id as usize];
        let point = &kernel.entries[entry];
        let made = self.scoped(kernel.stem, 0, || {
            let text = kernel.text(variant);
            let description = wgpu::ShaderModuleDescriptor {
                label: Some(kernel.stem),
                source: wgpu::ShaderSource::Wgsl(text.as_str().into()),
            };
            let module = if self.options.checked {
                self.device.create_shader_module(description)
            } else {
                // SAFETY: the text is this crate's own; the contract test validates it, the parity tests run it checked,
                // every loop is bounded by a uniform or a constant, and every divisor is a size of at least 1.
                unsafe { self.device.create_shader_module_trusted(description, wgpu::ShaderRuntimeChecks::unchecked()) }
            };
            let uniform = wgpu::BindGroupLayoutEntry {
                binding: 0,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Uniform,
                    has_dynamic_offset: true,
                    min_binding_size: None,
                },
                count: None,
            };
            let storage = point.bindings.iter().map(|(binding, access)| wgpu::BindGroupLayoutEntry {
                binding: *binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only: *access == Access::Read },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            });
            let entries: Vec<_> = std::iter::once(uniform).chain(storage).collect();
            let layout = self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(kernel.stem),
                entries: &entries,
            });
            let whole = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(kernel.stem),
                bind_group_layouts: &[Some(&layout)],
                ..Default::default()
            });
            let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(kernel.stem),
                layout: Some(&whole),
                module: &module,
                entry_point: Some(point.name),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Every kernel writes its workgroup memory before it reads it.
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: None,
            });
            Pipeline { pipeline, layout }
        })?;
        let made = Arc::new(made);
        lock(&self.pipelines).insert((id, entry, variant), Arc::clone(&made));
        Ok(made)
    }
}
