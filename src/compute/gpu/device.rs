//! The GPU device, its options, and how its errors and its loss are reported.

use super::adapter::{all_adapters, describe};
use super::kernel::Id;
use super::pipeline::Pipeline;
use super::record::CommandRecorder;
use super::report::{Reports, lock};
use super::variant::AssignKernel;
use crate::compute::DeviceInfo;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How a [`super::Gpu`] is opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Whether a GPU API that runs on the CPU (lavapipe, WARP) will do.
    pub software: bool,
    /// Most bytes of one chunk of rows; less where the device binds less. A chunk is at least 128 rows.
    pub chunk_bytes: u64,
    /// Whether shaders check their indices and bound their loops. Meant for tests; costs speed.
    pub checked: bool,
    /// Whether fresh buffers are filled with NaN instead of zeros. Meant for tests.
    pub poison: bool,
    /// Whether kernels are timed by the device's own clock, see [`super::Gpu::take_timings`].
    pub timings: bool,
    /// Which kernel computes `assign`: meant for benches and for trying a device's matrix units. What the device lacks makes
    /// opening fail.
    pub assign: AssignKernel,
    /// Longest time without an answer before the device counts as lost.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            software: false,
            // Large chunks leave few half-filled waves of workgroups at their ends.
            chunk_bytes: 1 << 30,
            checked: false,
            poison: false,
            timings: false,
            assign: AssignKernel::Auto,
            patience: Duration::from_secs(300),
        }
    }
}

/// The device and everything that is made once.
pub(super) struct Core {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub info: DeviceInfo,
    pub options: Options,
    pub limits: wgpu::Limits,
    pub reports: Arc<Reports>,
    pub recorder: Mutex<CommandRecorder>,
    pub scratch: Mutex<HashMap<&'static str, wgpu::Buffer>>,
    pub readers: Mutex<Vec<wgpu::Buffer>>,
    pub writers: Arc<Mutex<Vec<wgpu::Buffer>>>,
    pub pipelines: Mutex<HashMap<(Id, usize, usize), Arc<Pipeline>>>,
    /// Scratch buffers are shared, so one operation runs at a time.
    turn: Mutex<()>,
}

impl Core {
    /// On the best adapter that gives a device; none if there is no adapter that the options allow.
    pub fn open(options: Options) -> Result<Option<Self>> {
        let mut adapters = all_adapters();
        let rank = |adapter: &wgpu::Adapter| match adapter.get_info().device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        };
        adapters.retain(|a| options.software || a.get_info().device_type != wgpu::DeviceType::Cpu);
        adapters.sort_by_key(rank);
        if adapters.is_empty() {
            return Ok(None);
        }
        let mut refusals = Vec::new();
        for adapter in adapters {
            if let Some(why) = options.assign.refusal(&adapter) {
                refusals.push(format!("{}: no `assign` by {:?}, {why}", adapter.get_info().name, options.assign));
                continue;
            }
            let wanted = wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16 | wgpu::Features::TIMESTAMP_QUERY;
            let experimental_features = if options.assign == AssignKernel::Matrix {
                // SAFETY: asked for by name only; what may be wrong with cooperative matrices is what `check_assign` looks
                // for before any result is used.
                unsafe { wgpu::ExperimentalFeatures::enabled() }
            } else {
                wgpu::ExperimentalFeatures::disabled()
            };
            let description = wgpu::DeviceDescriptor {
                label: Some("sememe"),
                required_features: (adapter.features() & wanted) | options.assign.features(),
                experimental_features,
                required_limits: adapter.limits(),
                ..Default::default()
            };
            match pollster::block_on(adapter.request_device(&description)) {
                Ok((device, queue)) => return Self::new(&adapter.get_info(), device, queue, options).map(Some),
                Err(refusal) => refusals.push(format!("{}: {refusal}", adapter.get_info().name)),
            }
        }
        Err(Error::Device(refusals.join("; ")))
    }

    pub fn new(
        info: &wgpu::AdapterInfo,
        device: wgpu::Device,
        queue: wgpu::Queue,
        mut options: Options,
    ) -> Result<Self> {
        let limits = device.limits();
        if limits.max_storage_buffers_per_shader_stage < 8 || limits.max_compute_invocations_per_workgroup < 256 {
            return Err(Error::Device(format!(
                "`{}` offers {} storage buffers and {} lanes a workgroup, 8 and 256 are needed",
                info.name, limits.max_storage_buffers_per_shader_stage, limits.max_compute_invocations_per_workgroup
            )));
        }
        options.chunk_bytes =
            options.chunk_bytes.min(limits.max_storage_buffer_binding_size).min(limits.max_buffer_size);
        options.timings &= device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        let reports = Arc::new(Reports::default());
        let heard = Arc::clone(&reports);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            lock(&heard.error).get_or_insert_with(|| error.to_string());
        }));
        let heard = Arc::clone(&reports);
        device.set_device_lost_callback(move |reason, message| heard.lose(format!("{reason:?}: {message}")));
        let software = info.device_type == wgpu::DeviceType::Cpu;
        let recorder = CommandRecorder::new(&device, &queue, software, options.timings);
        Ok(Self {
            info: describe(info),
            limits,
            options,
            reports,
            recorder: Mutex::new(recorder),
            scratch: Mutex::default(),
            readers: Mutex::default(),
            writers: Arc::default(),
            pipelines: Mutex::default(),
            turn: Mutex::default(),
            device,
            queue,
        })
    }

    /// Starts an operation: fails early on a lost device, and holds off other threads' operations.
    pub fn turn(&self) -> Result<MutexGuard<'_, ()>> {
        let turn = lock(&self.turn);
        self.listen()?;
        Ok(turn)
    }

    /// Polls the device, because wgpu reports a lost device only to callers that poll.
    pub fn listen(&self) -> Result<()> {
        self.check()?;
        self.poll(wgpu::PollType::Poll)?;
        self.check()
    }

    /// What the device reported since the last look. Calls on a lost device fail in many ways, and the loss itself is told
    /// only once its queue is empty: so an error waits for that, and the loss is what is returned.
    pub fn check(&self) -> Result<()> {
        let Err(error) = self.reports.check() else { return Ok(()) };
        if !matches!(error, Error::DeviceLost(_)) {
            self.poll(wgpu::PollType::Wait { submission_index: None, timeout: Some(Duration::from_secs(2)) })?;
            self.reports.check()?;
        }
        Err(error)
    }

    /// Polls; `false` means that the time was up.
    fn poll(&self, how: wgpu::PollType) -> Result<bool> {
        // wgpu panics in here when the device goes away; that must not take the caller down.
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.device.poll(how))) {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(wgpu::PollError::Timeout)) => Ok(false),
            Ok(Err(error)) => Err(Error::Device(error.to_string())),
            Err(_) => {
                self.reports.lose("it went away while being waited for");
                Ok(true)
            }
        }
    }

    /// Waits for a submission in slices, so that a device that went away is noticed.
    pub fn wait(&self, index: &wgpu::SubmissionIndex) -> Result<()> {
        let start = Instant::now();
        loop {
            self.check()?;
            let slice = wgpu::PollType::Wait {
                submission_index: Some(index.clone()),
                timeout: Some(Duration::from_millis(200)),
            };
            if self.poll(slice)? {
                return self.check();
            }
            if start.elapsed() >= self.options.patience {
                self.reports.lose(format!("no answer within {} s", self.options.patience.as_secs()));
            }
        }
    }

    /// Runs `make` and returns the device's error, if it had one.
    pub fn scoped<T>(&self, what: &str, needed_bytes: u64, make: impl FnOnce() -> T) -> Result<T> {
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let made = make();
        let (no_memory, invalid) = (pollster::block_on(memory.pop()), pollster::block_on(validation.pop()));
        if no_memory.is_some() || invalid.is_some() {
            // A loss is the cause to tell, see `check`.
            self.poll(wgpu::PollType::Wait { submission_index: None, timeout: Some(Duration::from_secs(2)) })?;
            self.reports.check()?;
        }
        if no_memory.is_some() {
            return Err(Error::OutOfMemory { what: what.to_owned(), needed_bytes });
        }
        match invalid {
            Some(error) => Err(Error::Device(format!("{what}: {error}"))),
            None => Ok(made),
        }
    }
}
