//! Assembles a participant: consumer, waves, intents, relay, housekeeping, gRPC and HTTP; and takes it apart again in order.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use skald_kit::{
    backoff,
    clock::DbClock,
    config::Kafka,
    grpc,
    health::{Health, Status},
    http,
    instance::Instance,
    kafka::{Consumer, Options, Topic, probe, topics},
    lifecycle::{Shutdown, Tasks},
    outbox::Relay,
    pg::{self, Class},
};
use tokio::time::Instant;
use tonic::service::Routes;

use crate::{
    config::ParticipantConfig,
    decide::Bounds,
    describe,
    execute::Executor,
    housekeeping, ingress,
    intent::{calls::Caller, settle, sweep},
    outcomes::Outbound,
    service::Service,
    shared::Shared,
};

/// Commands and outcomes must outlive any outage that is survived.
const RETENTION_MS: i64 = 7 * 24 * 3600 * 1000;
/// Dead letters wait for a person.
const DEAD_RETENTION_MS: i64 = 45 * 24 * 3600 * 1000;

/// The service's own gRPC API; the runtime adds ParticipantService, health and reflection.
#[derive(Debug, Default)]
pub struct Api {
    /// Its routes.
    pub routes: Routes,
    /// Full names of its services, for reflection and health: `skald.inventory.v1.InventoryService`.
    pub services: &'static [&'static str],
}

/// The topics that a participant reads and writes, for [`run`], `skald topics` and tests.
#[must_use]
pub fn topics_of(participant: &str, kafka: &Kafka) -> Vec<Topic> {
    let topic = |suffix: &str, partitions, retention_ms| Topic {
        name: kafka.topic(&format!("skald.{participant}.{suffix}")),
        partitions,
        retention_ms: Some(retention_ms),
        config: std::collections::BTreeMap::new(),
    };
    vec![
        topic("commands", kafka.partitions, RETENTION_MS),
        topic("outcomes", kafka.partitions, RETENTION_MS),
        topic("commands.dlq", 1, DEAD_RETENTION_MS),
    ]
}

/// Runs the participant until the stop is asked for and everything in flight is finished. The database must have been
/// migrated ([`crate::migrations`]). Servers that are away are waited for.
///
/// # Errors
/// A topic is missing or has another number of partitions, an address is taken, or a task failed.
pub async fn run<S: Service>(
    service: S,
    config: ParticipantConfig,
    api: Api,
    shutdown: Shutdown,
) -> Result<()> {
    let health = Health::new(S::NAME);
    health.set("postgres", Status::Down, "connecting");
    health.set("kafka", Status::Down, "connecting");
    let listener = grpc::bind(config.listen.grpc).await?;
    let web = http::bind(config.listen.http).await?;
    let address = listener.local_addr().context("the gRPC address")?.to_string();
    // what others lean on ends last, each for itself
    let last = Shutdown::new();
    let support = Tasks::new(&shutdown);
    support.spawn("http", http::serve_on(web, health.clone(), last.clone()));
    let bounds = match prepare(S::NAME, &config, &health, &shutdown).await {
        Ok(Some(bounds)) => bounds,
        ended => {
            last.request();
            support.join(config.shutdown.deadline()).await?;
            return ended.map(drop);
        }
    };
    let instance = Instance::new(S::NAME, address.clone());
    let (outbound, acker) = Outbound::new(&config.kafka, S::NAME)?;
    let relay = Relay::start(&config.kafka, &config.postgres.url, instance.id, S::NAME, &support)?;
    let shared = Arc::new(Shared {
        service,
        instance: instance.id,
        url: config.postgres.url.clone(),
        calls: config.calls.clone(),
        grace: config.shutdown.deadline() / 4,
        relay: relay.clone(),
        outbound: outbound.clone(),
        health: health.clone(),
        shutdown: shutdown.clone(),
        due: tokio::sync::Notify::new(),
        bounds: RwLock::new(bounds),
    });
    let group = config.kafka.topic(&format!("skald.{}", S::NAME));
    let commands = config.kafka.topic(&format!("skald.{}.commands", S::NAME));
    let (consumer, batches) =
        Consumer::start(&config.kafka, Options::new(group, vec![commands])).context("the Kafka consumer")?;

    support.spawn("heartbeat", instance.run(config.postgres.url.clone(), DbClock::new(), last.clone()));
    support.spawn("kafka health", probe::run(config.kafka.clone(), health.clone(), last.clone()));
    support.spawn("lag", consumer.clone().report_lag(last.clone()));
    support.spawn("acknowledgements", until(last.clone(), acker.run(consumer.clone())));

    let work = Tasks::new(&shutdown);
    let (caller, results, backlog) = Caller::new(Arc::clone(&shared));
    let streamed = Executor::new(Arc::clone(&shared), caller.clone());
    let routes = api.routes.add_service(describe::service(Arc::clone(&shared), streamed));
    let descriptors = describe::descriptors(api.services);
    let (well, stop) = (health.clone(), shutdown.clone());
    work.spawn("grpc", async move { grpc::serve_on(listener, routes, &[descriptors], well, stop).await });
    let executor = Executor::new(Arc::clone(&shared), caller.clone());
    work.spawn(
        "commands",
        commands_until(executor, outbound.clone(), consumer.clone(), batches, shutdown.clone()),
    );
    work.spawn("settler", settle::run(Arc::clone(&shared), results, backlog));
    work.spawn("sweeper", sweep::run(Arc::clone(&shared), caller, shutdown.clone()));
    work.spawn("housekeeping", housekeeping::run(Arc::clone(&shared), shutdown.clone()));
    tracing::info!(participant = S::NAME, address, "taking commands");

    shutdown.requested().await;
    let parts = Parts { work, support, consumer, outbound, relay, last };
    parts.take_apart(config.shutdown.deadline()).await
}

/// What stands while the participant runs.
struct Parts {
    work: Tasks,
    support: Tasks,
    consumer: Consumer,
    outbound: Outbound,
    relay: Relay,
    last: Shutdown,
}

impl Parts {
    /// Within the deadline: work first, then what it said, then who hears that it was heard.
    async fn take_apart(self, deadline: Duration) -> Result<()> {
        let deadline = Instant::now() + deadline;
        let half = || deadline.saturating_duration_since(Instant::now()) / 2;
        self.consumer.drain();
        let worked = self.work.join(half()).await;
        if !self.outbound.flush(half()).await {
            tracing::warn!("not all outcomes reached the broker; their commands come again");
        }
        self.relay.close(half()).await;
        // what the flush waited for has been acknowledged; now the offsets are committed
        if !self.consumer.close(half()).await {
            tracing::warn!("the consumer group was not left in time");
        }
        self.last.request();
        let supported = self.support.join(half()).await;
        worked?;
        supported?;
        Ok(())
    }
}

/// Handles commands; ends as an error when the consumer failed for good, for then nothing would be handled any more.
async fn commands_until<S: Service>(
    executor: Executor<S>,
    outbound: Outbound,
    consumer: Consumer,
    batches: tokio::sync::mpsc::Receiver<skald_kit::kafka::Batch>,
    shutdown: Shutdown,
) -> Result<()> {
    ingress::run(executor, outbound, consumer, batches).await?;
    if shutdown.is_requested() { Ok(()) } else { bail!("the Kafka consumer failed for good") }
}

async fn until(stop: Shutdown, task: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        ended = task => ended,
        () = stop.requested() => Ok(()),
    }
}

/// Waits for the servers, checks topics, makes partitions. `None`: the stop was asked for.
async fn prepare(
    participant: &str,
    config: &ParticipantConfig,
    health: &Health,
    shutdown: &Shutdown,
) -> Result<Option<Bounds>> {
    let mut gaps = backoff::gaps();
    loop {
        let problem = match ready(participant, config, health).await? {
            Ok(bounds) => return Ok(Some(bounds)),
            Err(problem) => problem,
        };
        tracing::warn!("not ready yet: {problem}");
        tokio::select! {
            () = tokio::time::sleep(gaps.next().unwrap_or(Duration::from_secs(5))) => {}
            () = shutdown.requested() => return Ok(None),
        }
    }
}

/// The inner error passes by itself, the outer one does not.
async fn ready(
    participant: &str,
    config: &ParticipantConfig,
    health: &Health,
) -> Result<Result<Bounds, String>> {
    let wanted = topics_of(participant, &config.kafka);
    let mut checked = Ok(());
    if config.kafka.create_topics {
        checked = topics::create_missing(&config.kafka, &wanted).await;
    }
    if checked.is_ok() {
        checked = topics::check(&config.kafka, &wanted).await;
    }
    match checked {
        Ok(()) => health.set("kafka", Status::Up, ""),
        Err(error @ topics::Error::Unreachable { .. }) => return Ok(Err(error.to_string())),
        Err(error) => return Err(error.into()),
    }
    let partitions = async {
        let mut conn = pg::connection(&config.postgres.url).await?;
        housekeeping::once(&mut conn).await
    };
    match partitions.await {
        Ok(bounds) => {
            health.set("postgres", Status::Up, "");
            Ok(Ok(bounds))
        }
        Err(error) => match pg::classify(&error, &[]) {
            Class::Transient { expected: true } => Ok(Err(format!("PostgreSQL: {error}"))),
            _ => Err(error).context("the barrier's partitions; was the database migrated?"),
        },
    }
}
