//! Where queries run: the cores of this machine, or a cluster.

use crate::failure::{from_engine, own_words};
use crate::functions::{aggregates, register, scalars};
use crate::storage::storage;
use ballista::prelude::{SessionConfigExt as _, SessionContextExt as _};
use ballista_core::execution_plans::DistributedQueryExec;
use ballista_core::serde::protobuf::CancelJobParams;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use datafusion::arrow::array::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{FunctionRegistry as _, SessionState, SessionStateBuilder};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::protobuf::LogicalPlanNode;
use futures::TryStreamExt as _;
use sememe::{Error, Event, Observer, Result};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The largest message between client, scheduler and executors: a round's partial sums are one, and of 16,384 codewords of 4,096 values they
/// have half of it.
pub const MESSAGE_BYTES: usize = 1 << 30;
/// How often a query is asked for again that failed for no reason of its own: executors that went away while others read from them.
const ATTEMPTS: u32 = 4;
/// How soon a wish to stop is heard.
const LISTEN: Duration = Duration::from_millis(100);

/// Where and how queries run.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// A scheduler, as `df://host:50050`; none for this machine's cores.
    pub scheduler: Option<String>,
    /// Parts that rows are worked on in; the number changes no result. `None` is one a core, 32 for a cluster.
    pub partitions: Option<usize>,
    /// Bytes that sorts and joins of this machine may take before they go to disk; of a cluster, executors have their own.
    pub memory_bytes: Option<usize>,
}

/// Where queries run.
pub struct Session {
    context: SessionContext,
    scheduler: Option<String>,
}

/// Settings of a session; client, scheduler and executors have the same.
pub fn config() -> SessionConfig {
    let mut config = SessionConfig::new_with_ballista().with_ballista_grpc_client_max_message_size(MESSAGE_BYTES);
    // Texts and bytes as plain arrays, which is what the functions read.
    config.options_mut().execution.parquet.schema_force_view_types = false;
    config
}

/// The runtime of a session: object stores that are made when a query names them, and a folder for what does not fit into memory.
pub fn runtime(memory_bytes: Option<usize>, spills: Option<&Path>) -> datafusion::error::Result<Arc<RuntimeEnv>> {
    let mut builder = RuntimeEnvBuilder::new().with_object_store_registry(storage());
    if let Some(bytes) = memory_bytes {
        builder = builder.with_memory_pool(Arc::new(FairSpillPool::new(bytes)));
    }
    if let Some(folder) = spills {
        builder = builder.with_temp_file_path(folder);
    }
    builder.build_arc()
}

/// What a session knows: the engine's functions and ours.
pub fn state(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> datafusion::error::Result<SessionState> {
    let builder = SessionStateBuilder::new().with_default_features().with_config(config).with_runtime_env(runtime);
    let mut state = builder.build();
    for function in scalars() {
        state.register_udf(function)?;
    }
    for function in aggregates() {
        state.register_udaf(function)?;
    }
    Ok(state)
}

/// `df://host:port` as the address of the scheduler's service.
fn address(scheduler: &str) -> Result<String> {
    let wrong = |problem: &str| Error::config("scheduler", format!("`{scheduler}`: {problem}, as in df://host:50050"));
    let url = url::Url::parse(scheduler).map_err(|e| wrong(&e.to_string()))?;
    match (url.scheme(), url.host_str()) {
        ("df", Some(host)) => Ok(format!("http://{host}:{}", url.port().unwrap_or(50050))),
        ("df", None) => Err(wrong("names no host")),
        _ => Err(wrong("a scheduler's address begins with df://")),
    }
}

impl Session {
    /// Opens a session.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that do not do, [`Error::Endpoint`] if the scheduler does not answer.
    pub async fn open(options: &SessionOptions) -> Result<Self> {
        if options.partitions == Some(0) {
            return Err(Error::config("partitions", "expected at least 1, got 0"));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let partitions = options.partitions.unwrap_or(if options.scheduler.is_some() { 32 } else { cores });
        let runtime = runtime(options.memory_bytes, None).map_err(|e| from_engine(&e))?;
        let state = state(config().with_target_partitions(partitions), runtime).map_err(|e| from_engine(&e))?;
        let Some(scheduler) = &options.scheduler else {
            return Ok(Self { context: SessionContext::new_with_state(state), scheduler: None });
        };
        let address = address(scheduler)?;
        if let Err(e) = SchedulerGrpcClient::connect(address.clone()).await {
            let cause = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
            return Err(Error::Endpoint(format!("the scheduler `{scheduler}` does not answer: {cause}")));
        }
        let context = SessionContext::remote_with_state(scheduler, state).await.map_err(|e| from_engine(&e))?;
        // Made anew by the line above, without them.
        register(&context);
        Ok(Self { context, scheduler: Some(address) })
    }

    /// The engine's session, for queries of one's own.
    #[must_use]
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Runs a query to its end. One that fails because executors went away is asked for again: nothing that a query of ours does is kept
    /// but what its result names.
    ///
    /// # Errors
    /// [`Error::Data`] for what the query refuses, [`Error::Interrupted`].
    pub async fn run(&self, query: DataFrame, observer: &dyn Observer) -> Result<Vec<RecordBatch>> {
        self.run_within(query, None, observer).await
    }

    /// As [`run`](Self::run); a cluster that has not answered in time is asked again, and given as much time more. A scheduler can wait for
    /// good for a part whose executor was killed at the wrong moment, and does not say so.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_within(
        &self,
        query: DataFrame,
        limit: Option<Duration>,
        observer: &dyn Observer,
    ) -> Result<Vec<RecordBatch>> {
        let mut attempt = 1;
        loop {
            sememe::progress::check(observer)?;
            let failed = match self.once(query.clone(), limit.map(|limit| limit * attempt), observer).await? {
                Ok(batches) => return Ok(batches),
                Err(error) => error,
            };
            if self.scheduler.is_none() || attempt == ATTEMPTS || own_words(&failed).is_some() {
                return Err(from_engine(&failed));
            }
            let error = from_engine(&failed);
            observer.event(Event::Note(&format!("the cluster lost a query, attempt {attempt} of {ATTEMPTS}: {error}")));
            attempt += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Runs a query once; the outer error is a wish to stop.
    async fn once(
        &self,
        query: DataFrame,
        limit: Option<Duration>,
        observer: &dyn Observer,
    ) -> Result<Result<Vec<RecordBatch>, DataFusionError>> {
        let plan = match query.create_physical_plan().await {
            Ok(plan) => plan,
            Err(error) => return Ok(Err(error)),
        };
        let stream = match execute_stream(plan.clone(), self.context.task_ctx()) {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error)),
        };
        let begun = Instant::now();
        let mut collected = std::pin::pin!(stream.try_collect());
        loop {
            tokio::select! {
                done = &mut collected => return Ok(done),
                () = tokio::time::sleep(LISTEN) => {
                    observer.event(Event::Advance { done: rows_read(&plan) });
                    if observer.stop() {
                        self.cancel(&plan).await;
                        return Err(Error::Interrupted(String::new()));
                    }
                    if let Some(limit) = limit.filter(|limit| self.scheduler.is_some() && begun.elapsed() > *limit) {
                        self.cancel(&plan).await;
                        let problem = format!("no answer within {} s", limit.as_secs());
                        return Ok(Err(DataFusionError::Execution(problem)));
                    }
                }
            }
        }
    }

    /// Tells the scheduler that nobody waits for a query any more.
    async fn cancel(&self, plan: &Arc<dyn ExecutionPlan>) {
        let remote = plan.downcast_ref::<DistributedQueryExec<LogicalPlanNode>>();
        if let (Some(address), Some(job)) = (&self.scheduler, remote.and_then(DistributedQueryExec::job_id))
            && let Ok(mut scheduler) = SchedulerGrpcClient::connect(address.clone()).await
        {
            // A scheduler that does not answer has nothing to stop.
            let _ = scheduler.cancel_job(CancelJobParams { job_id: job.to_string() }).await;
        }
    }
}

/// Rows that the leaves of a plan have read; of a cluster's, which it does not tell, none.
fn rows_read(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    match plan.children().as_slice() {
        [] => plan.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or(0) as u64,
        children => children.iter().map(|child| rows_read(child)).sum(),
    }
}
