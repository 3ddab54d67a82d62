//! A cluster: its scheduler and its executors, which know the functions of this library.

use crate::session::{MESSAGE_BYTES, config, runtime, state};
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::start_server;
use sememe::{Error, Result};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// Executors ask for tasks. A scheduler that hands them out itself, the engine's default, was seen to wait for good, for all queries, after an
/// executor was killed.
const POLICY: TaskSchedulingPolicy = TaskSchedulingPolicy::PullStaged;

/// Settings of a scheduler.
#[derive(Clone, Debug)]
pub struct Scheduler {
    /// The address it listens on.
    pub bind: IpAddr,
    /// The port it listens on.
    pub port: u16,
    /// The name by which executors and clients reach it.
    pub host: String,
    /// Seconds without a sign of life after which an executor is lost, and its tasks are done by others.
    pub executor_timeout: u64,
}

/// Settings of an executor.
#[derive(Clone, Debug)]
pub struct Executor {
    /// The address it listens on.
    pub bind: IpAddr,
    /// The port that others fetch results from; the one for tasks is the next.
    pub port: u16,
    /// The name by which the scheduler and other executors reach it.
    pub host: String,
    /// The scheduler's host.
    pub scheduler_host: String,
    /// The scheduler's port.
    pub scheduler_port: u16,
    /// Tasks at once.
    pub cores: usize,
    /// A folder for what goes from stage to stage; emptied by whoever starts it.
    pub work_dir: PathBuf,
    /// Bytes that sorts and joins may take before they go to disk.
    pub memory_bytes: u64,
    /// Seconds between signs of life; less than half of the scheduler's timeout.
    pub heartbeat: u64,
    /// Seconds after which results that nobody fetched are removed.
    pub keep_results: u64,
}

fn failed(what: &str, error: impl std::fmt::Display) -> Error {
    Error::Endpoint(format!("{what}: {error}"))
}

/// Runs a scheduler until the process ends.
///
/// # Errors
/// [`Error::Config`] for a timeout too short to see a sign of life, [`Error::Endpoint`] if it cannot listen.
pub async fn run_scheduler(settings: Scheduler) -> Result<()> {
    if settings.executor_timeout < 2 {
        let problem = format!("expected at least 2 seconds, got {}", settings.executor_timeout);
        return Err(Error::config("executor_timeout", problem));
    }
    let address = SocketAddr::new(settings.bind, settings.port);
    let message = u32::try_from(MESSAGE_BYTES).unwrap_or(u32::MAX);
    let served = SchedulerConfig {
        bind_host: settings.bind.to_string(),
        bind_port: settings.port,
        external_host: settings.host,
        scheduling_policy: POLICY,
        executor_timeout_seconds: settings.executor_timeout,
        expire_dead_executor_interval_seconds: (settings.executor_timeout / 6).clamp(1, 15),
        // A cluster whose executors are all started anew goes on.
        no_executors_grace_period_seconds: settings.executor_timeout.max(60),
        grpc_server_max_decoding_message_size: message,
        grpc_server_max_encoding_message_size: message,
        grpc_client_max_message_size: message,
        override_session_builder: Some(Arc::new(|config| state(config, runtime(None, None)?))),
        override_config_producer: Some(Arc::new(config)),
        ..SchedulerConfig::default()
    };
    let cluster = BallistaCluster::new_from_config(&served).await.map_err(|e| failed("scheduler", e))?;
    start_server(cluster, address, Arc::new(served)).await.map_err(|e| failed(&format!("scheduler on {address}"), e))
}

/// Runs an executor until it is asked to stop (SIGINT or SIGTERM), or loses its scheduler for good.
///
/// # Errors
/// [`Error::Config`] for a port without a next one, [`Error::Endpoint`] if it cannot listen or does not reach the scheduler.
pub async fn run_executor(settings: Executor) -> Result<()> {
    let Some(tasks) = settings.port.checked_add(1) else {
        return Err(Error::config(
            "port",
            format!("expected at most 65534, as tasks come by the next, got {}", settings.port),
        ));
    };
    sememe::io::create_folder(&settings.work_dir)?;
    let spills = settings.work_dir.clone();
    let known = runtime(None, None).and_then(|runtime| state(config(), runtime)).map_err(|e| failed("executor", e))?;
    let message = u32::try_from(MESSAGE_BYTES).unwrap_or(u32::MAX);
    let served = ExecutorProcessConfig {
        bind_host: settings.bind.to_string(),
        port: settings.port,
        grpc_port: tasks,
        external_host: Some(settings.host),
        scheduler_host: settings.scheduler_host,
        scheduler_port: settings.scheduler_port,
        scheduler_connect_timeout_seconds: 30,
        vcores: settings.cores,
        task_scheduling_policy: POLICY,
        work_dir: Some(settings.work_dir.to_string_lossy().into_owned()),
        memory_pool_size: Some(settings.memory_bytes),
        executor_heartbeat_interval_seconds: settings.heartbeat,
        job_data_ttl_seconds: settings.keep_results,
        job_data_clean_up_interval_seconds: settings.keep_results.clamp(1, 600),
        grpc_max_decoding_message_size: message,
        grpc_max_encoding_message_size: message,
        override_function_registry: Some(Arc::new(BallistaFunctionRegistry::from(&known))),
        override_config_producer: Some(Arc::new(config)),
        override_runtime_producer: Some(Arc::new(move |_| runtime(None, Some(&spills)))),
        ..ExecutorProcessConfig::default()
    };
    start_executor_process(Arc::new(served)).await.map_err(|e| failed("executor", e))
}

/// Logs to stderr from now on.
pub fn log(levels: &str) {
    let filter = tracing_subscriber::EnvFilter::try_new(levels).unwrap_or_default();
    let built = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    // A second call changes nothing.
    drop(built);
}

/// Runs a service on a runtime of its own.
///
/// # Errors
/// As the service; [`Error::Io`] without threads.
pub fn block_on<T>(service: impl Future<Output = Result<T>>) -> Result<T> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|e| Error::io("start threads of", "the runtime", e))?.block_on(service)
}
