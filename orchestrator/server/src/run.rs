//! Builds one instance from its settings, runs it, and stops it in the order that loses nothing.

mod prepare;
mod stop;

use std::sync::{Arc, atomic::AtomicI64};

use skald_kit::{
    clock::DbClock,
    config::Secret,
    grpc,
    health::{Health, Status},
    http,
    instance::Instance,
    kafka,
    lifecycle::{Shutdown, Tasks},
    migrate,
    outbox::Relay,
    pg,
};
use skald_proto::{
    admin::v1::admin_service_server::AdminServiceServer, order::v1::order_service_server::OrderServiceServer,
    saga::v1::saga_service_server::SagaServiceServer,
};
use sqlx::Connection;
use tokio::sync::mpsc;
use tonic::{server::NamedService, service::Routes};

use crate::{
    SERVICE,
    audit::{AtOnce, Exporter},
    bus::{self, Budget, DeadLetters, Lost, Outcomes, Transports, outcomes::Router, transport::Losses},
    config::Config,
    frozen::Frozen,
    housekeeping::Keeper,
    intake::Desk,
    operator,
    shared::Shared,
    watch::Watchers,
    worker::{Inbox, Worker},
};

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/orchestrator");

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

    let Some(registry) = prepare::prepare(&config, &health, &shutdown).await? else { return Ok(()) };
    let over_kafka = config.over_kafka(registry.participants());
    prepare::check_topics(&config.kafka, &over_kafka, &shutdown, &tasks).await?;
    let instance = Instance::new(SERVICE, config.listen.grpc.to_string());
    let alive = Shutdown::new();
    let clock = DbClock::new();
    // Before anything is sent: who is frozen must get nothing from an instance that has just begun either.
    let frozen = Frozen::default();
    register(&instance, &config.postgres.url, &clock, &frozen).await?;
    let heart = Tasks::new(&alive);
    heart.spawn("heartbeat", instance.clone().run(config.postgres.url.clone(), clock.clone(), alive.clone()));

    let (outcomes, batches) = Outcomes::start(&config.kafka, over_kafka.clone())?;
    let (undelivered, failures): (Vec<_>, Vec<_>) =
        (0..config.driver.worker_count()).map(|_| mpsc::unbounded_channel()).unzip();
    let losses = Losses::new(undelivered, config.kafka.partitions);
    let (transports, links) = Transports::start(&config, registry.participants(), &losses, &health)?;
    let relay = Relay::start(&config.kafka, &config.postgres.url, instance.id, SERVICE, &heart)?;
    let (audit, at_once) = AtOnce::new();
    let shared = Arc::new(Shared {
        instance: instance.id,
        registry,
        clock,
        health: health.clone(),
        transports,
        dead_letters: DeadLetters::start(&config.kafka, outcomes.clone())?,
        outcomes,
        budget: Budget::new(config.driver.resend_canaries_per_second, config.driver.resend_share),
        frozen,
        relay,
        audit,
        watchers: Watchers::default(),
        active: AtomicI64::new(0),
        config,
    });
    let (workers, closing) = (Tasks::new(&shutdown), Shutdown::new());
    let inboxes = start_workers(&shared, failures, &shutdown, &closing, &workers);
    let router = Router { inboxes, shared: Arc::clone(&shared) };
    // They end after the workers, when the last command is on its way.
    for link in links {
        heart.spawn(link.name(), link.run(router.clone(), closing.clone()));
    }
    if !over_kafka.is_empty() {
        let (letters, read) = bus::letters::start(&shared.config.kafka, &over_kafka)?;
        let url = shared.config.postgres.url.clone();
        tasks.spawn("dead letters", bus::letters::keep(letters, read, url, shutdown.clone()));
    }
    tasks.spawn("audit", Exporter::new(Arc::clone(&shared), at_once, shutdown.clone())?.run());
    start_rooms(router, batches, grpc, &shutdown, &tasks)?;
    tracing::info!(
        grpc = %shared.config.listen.grpc, http = %shared.config.listen.http,
        workers = shared.config.driver.worker_count(), "the orchestrator is ready"
    );
    shutdown.requested().await;
    let deadline = shared.config.shutdown.deadline();
    stop::stop(&shared, deadline, [tasks, workers, heart], &closing, &alive).await?;
    shutdown
        .reason()
        .filter(|why| !why.starts_with("SIG"))
        .map_or(Ok(()), |why| Err(anyhow::anyhow!(why.to_owned())))
}

async fn register(instance: &Instance, url: &Secret, clock: &DbClock, frozen: &Frozen) -> anyhow::Result<()> {
    let mut conn = pg::connection(url).await?;
    instance.register(&mut conn).await?;
    clock.sync(&mut conn).await?;
    frozen.refresh(&mut conn).await?;
    Ok(conn.close().await?)
}

fn start_workers(
    shared: &Arc<Shared>,
    failures: Vec<mpsc::UnboundedReceiver<Lost>>,
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
    router: Router,
    batches: Option<mpsc::Receiver<kafka::Batch>>,
    listener: tokio::net::TcpListener,
    shutdown: &Shutdown,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let Router { inboxes, shared } = router.clone();
    let pool = pg::read_pool(&shared.config.postgres)?;
    if let (Some(consumer), Some(batches)) = (shared.outcomes.consumer(), batches) {
        tasks.spawn("outcomes", router.run(batches));
        tasks.spawn("lag", consumer.clone().report_lag(shutdown.clone()));
    }
    tasks.spawn("watchers", shared.watchers.clone().poll(pool.clone(), shutdown.clone()));
    let keeper = Keeper { shared: Arc::clone(&shared), inboxes: inboxes.clone(), shutdown: shutdown.clone() };
    tasks.spawn("housekeeping", keeper.run());
    let desk = Desk::new(Arc::clone(&shared), pool, inboxes, shutdown.clone());
    tasks.spawn("bulk jobs", operator::bulk::run(desk.clone(), shutdown.clone()));
    let orders = OrderServiceServer::new(desk.clone()).max_decoding_message_size(grpc::MAX_MESSAGE_BYTES);
    let admin = AdminServiceServer::new(desk.clone()).max_decoding_message_size(grpc::MAX_MESSAGE_BYTES);
    let sagas = SagaServiceServer::new(desk).max_decoding_message_size(grpc::MAX_MESSAGE_BYTES);
    let routes = Routes::new(orders).add_service(sagas).add_service(admin);
    let (health, stop, limits) = (shared.health.clone(), shutdown.clone(), shared.config.grpc.clone());
    let served =
        [OrderServiceServer::<Desk>::NAME, SagaServiceServer::<Desk>::NAME, AdminServiceServer::<Desk>::NAME];
    let descriptors = skald_proto::descriptors_of(&served);
    tasks.spawn("grpc", async move {
        grpc::serve_on(listener, None, &limits, routes, &[descriptors], health, stop).await
    });
    Ok(())
}
