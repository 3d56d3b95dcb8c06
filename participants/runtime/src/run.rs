//! Assembles a participant: consumer, waves, intents, relay, housekeeping, gRPC and HTTP; and takes it apart again in order.

use std::{
    convert::Infallible,
    sync::{Arc, RwLock},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use skald_kit::{
    clock::DbClock,
    config::ServerTls,
    grpc,
    health::{Health, Status},
    http,
    instance::Instance,
    kafka::{Batch, Consumer, Options, probe},
    lifecycle::{Shutdown, Tasks},
    outbox::Relay,
    pg,
};
use sqlx::PgPool;
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tonic::service::Routes;

use crate::{
    config::ParticipantConfig,
    decide::Bounds,
    describe, desk,
    events::Outbox,
    execute::Executor,
    housekeeping, ingress,
    intent::{by_hand::ByHand, calls::Caller, settle, sweep},
    outcomes::Outbound,
    service::Service,
    shared::Shared,
    startup::{Needs, prepare},
    stream::Executors,
};

/// The service's own gRPC API; the runtime adds ParticipantService, ParticipantAdminService, health and reflection.
#[derive(Debug, Default)]
pub struct Api {
    /// Its routes.
    pub routes: Routes,
    /// Full names of its services, for reflection and health: `skald.inventory.v1.InventoryService`.
    pub services: &'static [&'static str],
}

/// What the runtime hands to the service that it runs.
#[derive(Clone, Debug)]
pub struct Handles {
    /// Where the service tells how what it leans on works; shown beside `postgres` and `kafka`.
    pub health: Health,
    /// Where it tells what its own API changed; see [`Outbox`].
    pub outbox: Outbox,
    /// Settles unresolved intents on a person's word.
    pub by_hand: ByHand,
    /// What its API reads from; small changes by people go this way, too.
    pub pool: PgPool,
}

/// Runs the participant until the stop is asked for and everything in flight is finished. Servers that are away are waited for;
/// meanwhile `/health` says so. Then the database is migrated, topics are checked, and `build` makes the service.
///
/// # Errors
/// The database cannot be migrated, a topic is missing or has another number of partitions, an address is taken, or a task
/// failed.
pub async fn run<S: Service>(
    config: ParticipantConfig,
    needs: Needs,
    build: impl FnOnce(Handles) -> Result<(S, Api)>,
    shutdown: Shutdown,
) -> Result<()> {
    let health = Health::new(S::NAME);
    health.set("postgres", Status::Down, "connecting, then migrations");
    if config.needs_kafka(&needs) {
        health.set("kafka", Status::Down, "connecting, then topics");
    }
    let listener = grpc::bind(config.listen.grpc).await?;
    let web = http::bind(config.listen.http).await?;
    // what others lean on ends last, each for itself
    let last = Shutdown::new();
    let support = Tasks::new(&shutdown);
    support.spawn("http", http::serve_on(web, health.clone(), last.clone()));
    let deadline = config.shutdown.deadline();
    let started = match prepare(S::NAME, &config, &needs, &health, &shutdown).await {
        Ok(None) => Ok(None),
        Ok(Some(bounds)) => {
            let (support, last, shutdown) = (support.clone(), last.clone(), shutdown.clone());
            let kafka = config.needs_kafka(&needs);
            start(config, bounds, build, Stand { listener, health, support, last, shutdown, kafka }).map(Some)
        }
        Err(error) => Err(error),
    };
    match started {
        Ok(Some(parts)) => {
            shutdown.requested().await;
            parts.take_apart(deadline).await
        }
        ended => {
            last.request();
            let supported = support.join(deadline).await;
            ended?;
            Ok(supported?)
        }
    }
}

/// Starts every task.
fn start<S: Service>(
    config: ParticipantConfig,
    bounds: Bounds,
    build: impl FnOnce(Handles) -> Result<(S, Api)>,
    stand: Stand,
) -> Result<Parts> {
    let Stand { listener, health, support, last, shutdown, kafka } = stand;
    let address = listener.local_addr().context("the gRPC address")?.to_string();
    let instance = Instance::new(S::NAME, address.clone());
    let (outbound, acker) = Outbound::new(&config.kafka, S::NAME, config.commands.kafka)?;
    let relay = Relay::start(&config.kafka, &config.postgres.url, instance.id, S::NAME, &support)?;
    let outbox = Outbox::new(relay.clone(), instance.id);
    let due = Arc::new(Notify::new());
    let by_hand = ByHand::new(outbox.clone(), outbound.clone(), Arc::clone(&due), instance.id);
    let pool = pg::read_pool(&config.postgres).context("the database's URL")?;
    let (service, api) =
        build(Handles { health: health.clone(), outbox: outbox.clone(), by_hand, pool: pool.clone() })?;
    let cut = Shutdown::new();
    let shared = Arc::new(Shared {
        service,
        instance: instance.id,
        url: config.postgres.url.clone(),
        calls: config.calls.clone(),
        outbox,
        outbound: outbound.clone(),
        health: health.clone(),
        shutdown: shutdown.clone(),
        cut: cut.clone(),
        late: config.shutdown.deadline() / 8,
        due,
        bounds: RwLock::new(bounds),
    });
    let (consumer, batches) = consume::<S>(&config)?.unzip();

    support.spawn("heartbeat", instance.run(config.postgres.url.clone(), DbClock::new(), last.clone()));
    if kafka {
        support.spawn("kafka health", probe::run(config.kafka.clone(), health.clone(), last.clone()));
    }
    if let Some(consumer) = &consumer {
        support.spawn("lag", consumer.clone().report_lag(last.clone()));
    }
    support.spawn("acknowledgements", until(last.clone(), acker.run(consumer.clone())));

    let work = Tasks::new(&shutdown);
    let (caller, results, backlog) = Caller::new(Arc::clone(&shared));
    let streamed = config.commands.grpc.then(|| {
        let executors = Arc::new(Executors::new(Arc::clone(&shared), caller.clone()));
        let (weak, stop) = (Arc::downgrade(&executors), shutdown.clone());
        work.spawn("streams", async move {
            stop.requested().await;
            drop(executors);
            Ok(())
        });
        weak
    });
    let routes = api
        .routes
        .add_service(describe::service(Arc::clone(&shared), streamed))
        .add_service(desk::service(Arc::clone(&shared), consumer.clone(), pool));
    let descriptors = describe::descriptors(api.services);
    let tls = config.tls.as_ref().map(ServerTls::load).transpose().context("tls")?;
    let (stop, limits) = (shutdown.clone(), config.grpc.clone());
    work.spawn("grpc", async move {
        grpc::serve_on(listener, tls, &limits, routes, &[descriptors], health, stop).await
    });
    if let (Some(consumer), Some(batches)) = (consumer.clone(), batches) {
        let executor = Executor::new(Arc::clone(&shared), caller.clone());
        let handled = ingress::run(executor, outbound.clone(), consumer, batches, cut.clone());
        work.spawn("commands", commands_until(handled, shutdown.clone()));
    }
    work.spawn("settler", settle::run(Arc::clone(&shared), results, backlog));
    work.spawn("sweeper", until(cut.clone(), sweep::run(Arc::clone(&shared), caller, shutdown.clone())));
    work.spawn("housekeeping", until(cut.clone(), housekeeping::run(Arc::clone(&shared), shutdown)));
    tracing::info!(participant = S::NAME, address, "taking commands");
    Ok(Parts { work, support, consumer, outbound, relay, cut, last })
}

/// Joins the group that reads the commands, unless none come over Kafka.
fn consume<S: Service>(config: &ParticipantConfig) -> Result<Option<(Consumer, mpsc::Receiver<Batch>)>> {
    if !config.commands.kafka {
        return Ok(None);
    }
    let group = config.kafka.topic(&format!("skald.{}", S::NAME));
    let commands = config.kafka.topic(&format!("skald.{}.commands", S::NAME));
    let started = Consumer::start(&config.kafka, Options::new(group, vec![commands]));
    Ok(Some(started.context("the Kafka consumer")?))
}

/// What there is before the servers are.
struct Stand {
    listener: tokio::net::TcpListener,
    health: Health,
    support: Tasks,
    last: Shutdown,
    shutdown: Shutdown,
    /// There are topics to read or to write.
    kafka: bool,
}

/// What stands while the participant runs.
struct Parts {
    work: Tasks,
    support: Tasks,
    /// `None`: commands come over gRPC alone.
    consumer: Option<Consumer>,
    outbound: Outbound,
    relay: Relay,
    /// What is under way ends where it stands; see [`Shared`].
    cut: Shutdown,
    last: Shutdown,
}

impl Parts {
    /// Within the deadline: work first, then what it said, then who hears that it was heard.
    async fn take_apart(self, deadline: Duration) -> Result<()> {
        let (grace, deadline) = (deadline / 4, Instant::now() + deadline);
        let half = || deadline.saturating_duration_since(Instant::now()) / 2;
        self.consumer.iter().for_each(Consumer::drain);
        let worked = tokio::select! {
            worked = self.work.join(half()) => worked,
            never = cut_after(grace, &self.cut) => match never {},
        };
        if !self.outbound.flush(half()).await {
            tracing::warn!("not all outcomes reached the broker; their commands come again");
        }
        let left = half();
        if tokio::time::timeout(left, self.relay.close(left / 2)).await.is_err() {
            tracing::warn!(
                "the event relay did not end in time; another instance or the next start relays what is left"
            );
        }
        // what the flush waited for has been acknowledged; now the offsets are committed
        if let Some(consumer) = &self.consumer
            && !consumer.close(half()).await
        {
            tracing::warn!("the consumer group was not left in time");
        }
        self.last.request();
        let supported = self.support.join(half()).await;
        worked?;
        supported?;
        Ok(())
    }
}

async fn cut_after(grace: Duration, cut: &Shutdown) -> Infallible {
    tokio::time::sleep(grace).await;
    cut.request();
    std::future::pending().await
}

/// Handles commands; ends as an error when the consumer failed for good, for then nothing would be handled any more.
async fn commands_until(handled: impl Future<Output = Result<()>>, shutdown: Shutdown) -> Result<()> {
    handled.await?;
    if shutdown.is_requested() { Ok(()) } else { bail!("the Kafka consumer failed for good") }
}

async fn until(stop: Shutdown, task: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        ended = task => ended,
        () = stop.requested() => Ok(()),
    }
}
