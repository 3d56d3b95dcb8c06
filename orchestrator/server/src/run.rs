//! Builds one instance from its settings, runs it, and stops it in the order that loses nothing.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicI64},
    time::{Duration, Instant},
};

use anyhow::Context;
use skald_kit::{
    backoff,
    clock::DbClock,
    config::{self, Secret},
    grpc,
    health::{Health, Status},
    http,
    instance::Instance,
    kafka::{self, topics},
    lifecycle::{Shutdown, Tasks},
    migrate,
    outbox::Relay,
    pg,
};
use skald_proto::{
    order::v1::order_service_server::OrderServiceServer, saga::v1::saga_service_server::SagaServiceServer,
};
use sqlx::Connection;
use tokio::sync::mpsc;
use tonic::{server::NamedService, service::Routes};

use crate::{
    SERVICE,
    bus::{self, Budget, DeadLetters, Outcomes, Transport, transport::KafkaTransport},
    config::Config,
    definitions::Registry,
    housekeeping::Keeper,
    intake::Desk,
    shared::Shared,
    store::retention,
    watch::Watchers,
    worker::{Inbox, Worker},
};

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/orchestrator");

/// A Kafka that does not answer for so long is not waited for at the start.
const KAFKA: Duration = Duration::from_secs(3);
/// Of the time that a soft stop may take: when the rooms must have ended, then the workers, then the flushes; the rest
/// is the heart's.
const STOPPING: [f64; 3] = [0.5, 0.7, 0.9];

/// Brings the orchestrator's database up to date.
///
/// # Errors
/// The database is away, a migration failed, or a newer binary migrated it.
pub async fn migrate(url: &Secret) -> Result<(), migrate::Error> {
    migrate::run(url, &[migrate::Set::kit(), migrate::Set::service(&MIGRATOR)]).await
}

/// Runs one orchestrator until the stop is asked for.
///
/// # Errors
/// A setting, definition or topic that is wrong; a task that failed; what did not end in time.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let health = Health::new(SERVICE);
    health.set("postgres", Status::Down, "not reached yet");
    health.set("kafka", Status::Degraded, "not reached yet");
    let (http, grpc) = (http::bind(config.listen.http).await?, grpc::bind(config.listen.grpc).await?);
    let tasks = Tasks::new(&shutdown);
    tasks.spawn("http", http::serve_on(http, health.clone(), shutdown.clone()));
    tasks.spawn("kafka probe", kafka::probe::run(config.kafka.clone(), health.clone(), shutdown.clone()));

    let Some(registry) = prepare(&config, &health, &shutdown).await? else { return Ok(()) };
    check_topics(&config.kafka, &registry.participants(), &shutdown, &tasks).await?;
    let instance = Instance::new(SERVICE, config.listen.grpc.to_string());
    let alive = Shutdown::new();
    let clock = DbClock::new();
    register(&instance, &config.postgres.url, &clock).await?;
    let heart = Tasks::new(&alive);
    heart.spawn("heartbeat", instance.clone().run(config.postgres.url.clone(), clock.clone(), alive.clone()));

    let participants = registry.participants();
    let (outcomes, batches) = Outcomes::start(&config.kafka, participants.clone())?;
    let (undelivered, failures): (Vec<_>, Vec<_>) =
        (0..config.driver.worker_count()).map(|_| mpsc::unbounded_channel()).unzip();
    let relay = Relay::start(&config.kafka, &config.postgres.url, instance.id, SERVICE, &heart)?;
    let shared = Arc::new(Shared {
        instance: instance.id,
        registry,
        clock,
        health: health.clone(),
        transport: Transport::Kafka(KafkaTransport::start(&config.kafka, participants, undelivered)?),
        dead_letters: DeadLetters::start(&config.kafka, outcomes.clone())?,
        outcomes,
        budget: Budget::new(config.driver.resend_canaries_per_second, config.driver.resend_share),
        relay,
        watchers: Watchers::default(),
        active: AtomicI64::new(0),
        config,
    });
    let (workers, closing) = (Tasks::new(&shutdown), Shutdown::new());
    let inboxes = start_workers(&shared, failures, &shutdown, &closing, &workers);
    start_rooms(&shared, inboxes, batches, grpc, &shutdown, &tasks)?;
    tracing::info!(
        grpc = %shared.config.listen.grpc, http = %shared.config.listen.http,
        workers = shared.config.driver.worker_count(), "the orchestrator is ready"
    );
    shutdown.requested().await;
    let deadline = shared.config.shutdown.deadline();
    stop(&shared, deadline, [tasks, workers, heart], &closing, &alive).await?;
    shutdown
        .reason()
        .filter(|why| !why.starts_with("SIG"))
        .map_or(Ok(()), |why| Err(anyhow::anyhow!(why.to_owned())))
}

/// Database and definitions. Waits for a server that is away; None when the stop was asked for meanwhile.
async fn prepare(config: &Config, health: &Health, shutdown: &Shutdown) -> anyhow::Result<Option<Registry>> {
    let url = &config.postgres.url;
    let connect = || async { pg::connection(url).await };
    let Some(mut conn) = backoff::forever("connect to PostgreSQL", shutdown, connect).await else {
        return Ok(None);
    };
    migrate(url).await?;
    let clock = DbClock::new();
    clock.sync(&mut conn).await?;
    if !partitions(url, clock.now_ms(), shutdown).await? {
        return Ok(None);
    }
    let registry = Registry::load(&mut conn, config.definitions.folder.as_deref()).await?;
    conn.close().await?;
    health.set("postgres", Status::Up, "");
    Ok(Some(registry))
}

/// Makes partitions; a table that somebody locks is waited for like a server that is away. False: the stop was asked
/// for.
async fn partitions(url: &Secret, now: i64, shutdown: &Shutdown) -> anyhow::Result<bool> {
    let make = || async {
        let made = match pg::connection(url).await {
            Ok(mut conn) => retention::ensure(&mut conn, now).await,
            Err(error) => Err(error),
        };
        match made {
            Err(error) if pg::classify(&error, &[]) == (pg::Class::Transient { expected: true }) => {
                Err(error)
            }
            other => Ok(other),
        }
    };
    match backoff::forever("make partitions", shutdown, make).await {
        Some(made) => made.context("making partitions").map(|()| true),
        None => Ok(false),
    }
}

/// Checks the topics now, when Kafka can be reached; else as soon as it can, for orders are accepted without it.
async fn check_topics(
    kafka: &config::Kafka,
    participants: &BTreeSet<String>,
    shutdown: &Shutdown,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let needed = bus::topics::needed(kafka, participants);
    if topics::is_reachable(kafka, KAFKA).await {
        match topics_as_needed(kafka, &needed).await {
            Err(error @ topics::Error::Wrong(_)) => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "the topics could not be checked"),
            Ok(()) => return Ok(()),
        }
    }
    tracing::warn!("Kafka does not answer: starting without it, the topics are checked when it does");
    let (kafka, shutdown) = (kafka.clone(), shutdown.clone());
    tasks.spawn("topics", async move {
        let check = || async {
            match topics_as_needed(&kafka, &needed).await {
                Err(error @ topics::Error::Unreachable { .. }) => Err(error),
                other => Ok(other),
            }
        };
        backoff::forever("check the topics", &shutdown, check).await.unwrap_or(Ok(()))?;
        Ok(())
    });
    Ok(())
}

async fn topics_as_needed(kafka: &config::Kafka, needed: &[topics::Topic]) -> Result<(), topics::Error> {
    if kafka.create_topics {
        topics::create_missing(kafka, needed).await?;
    }
    topics::check(kafka, needed).await
}

async fn register(instance: &Instance, url: &Secret, clock: &DbClock) -> anyhow::Result<()> {
    let mut conn = pg::connection(url).await?;
    instance.register(&mut conn).await?;
    clock.sync(&mut conn).await?;
    Ok(conn.close().await?)
}

fn start_workers(
    shared: &Arc<Shared>,
    failures: Vec<mpsc::UnboundedReceiver<uuid::Uuid>>,
    shutdown: &Shutdown,
    closing: &Shutdown,
    workers: &Tasks,
) -> Vec<Inbox> {
    let start = |(n, failures)| {
        let (worker, inbox) = Worker::new(Arc::clone(shared), shutdown.clone(), closing.clone(), failures);
        workers.spawn(format!("worker {n}"), worker.run());
        inbox
    };
    failures.into_iter().enumerate().map(start).collect()
}

fn start_rooms(
    shared: &Arc<Shared>,
    inboxes: Vec<Inbox>,
    batches: mpsc::Receiver<kafka::Batch>,
    listener: tokio::net::TcpListener,
    shutdown: &Shutdown,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let pool = pg::read_pool(&shared.config.postgres)?;
    let letters = shared.dead_letters.clone();
    tasks.spawn("outcomes", bus::outcomes::route(batches, inboxes.clone(), letters, Arc::clone(shared)));
    tasks.spawn("lag", shared.outcomes.consumer().clone().report_lag(shutdown.clone()));
    tasks.spawn("watchers", shared.watchers.clone().poll(pool.clone(), shutdown.clone()));
    let keeper = Keeper { shared: Arc::clone(shared), inboxes: inboxes.clone(), shutdown: shutdown.clone() };
    tasks.spawn("housekeeping", keeper.run());
    let desk = Desk::new(Arc::clone(shared), pool, inboxes, shutdown.clone());
    let orders = OrderServiceServer::new(desk.clone()).max_decoding_message_size(grpc::MAX_MESSAGE_BYTES);
    let sagas = SagaServiceServer::new(desk).max_decoding_message_size(grpc::MAX_MESSAGE_BYTES);
    let routes = Routes::new(orders).add_service(sagas);
    let (health, stop) = (shared.health.clone(), shutdown.clone());
    let served = [OrderServiceServer::<Desk>::NAME, SagaServiceServer::<Desk>::NAME];
    let descriptors = skald_proto::descriptors_of(&served);
    tasks.spawn("grpc", async move { grpc::serve_on(listener, routes, &[descriptors], health, stop).await });
    Ok(())
}

/// Takes nothing more, finishes what is in flight, flushes, leaves the group; the heart beats until the end. All of it
/// within the deadline, whoever holds on.
async fn stop(
    shared: &Shared,
    deadline: Duration,
    [rooms, workers, heart]: [Tasks; 3],
    closing: &Shutdown,
    alive: &Shutdown,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let [rooms_end, workers_end, flush_end] = STOPPING.map(|share| deadline.mul_f64(share));
    let left = |end: Duration| end.saturating_sub(began.elapsed());
    shared.outcomes.drain();
    let ended = rooms.join(left(rooms_end)).await;
    // Whoever still holds an inbox gets nothing done any more.
    closing.request();
    let worked = workers.join(left(workers_end)).await;
    let flush = left(flush_end);
    let (delivered, events, ()) = tokio::join!(
        shared.transport.flush(flush),
        tokio::time::timeout(flush, shared.relay.close(flush)),
        shared.outcomes.close(flush)
    );
    if let Some(events) = events.ok().filter(|events| *events > 0) {
        tracing::warn!(events, "events were left; another instance or the next start publishes them");
    }
    if delivered && worked.is_ok() {
        alive.request();
        let beaten = heart.join(left(deadline)).await;
        ended.and(worked).and(beaten)?;
    } else {
        // The row stays, so that others, or the next start, see that it is gone and look at what it left.
        let _ = heart.join(Duration::ZERO).await;
        ended.and(worked)?;
    }
    Ok(())
}
