//! The driver against PostgreSQL alone: whole order sagas, each in four transactions as a worker makes them (claim the
//! keys or lock and read the rows, plan, write, commit), in batches of 1, 10, 100 and 500. No broker, no gRPC.
//!
//! `cargo bench -p skald-server --bench driver`; the server is that of `SKALD_TEST_POSTGRES`, else a native one with
//! fsync on. One element is one saga from its start to COMPLETED.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message as _;
use skald_core::{
    Definition, Event, Input, history,
    input::{Answer, Done, Outcome, Payload, Request, Signal},
    plan::{Ask, Fate, Item, Loaded, Plan, Send, Write, plan},
    state,
};
use skald_kit::{clock::DbClock, config::Secret, ids, outbox, pg};
use skald_server::store::{definition, retention, saga, submission};
use sqlx::{Connection as _, PgConnection};
use tokio::runtime::Runtime;
use uuid::Uuid;

/// What `wake_at` lies ahead, ms: never moved within a fast saga.
const AHEAD_MS: i64 = 15_000;

/// One worker's connection, and what it remembers between transactions.
struct Worker {
    connection: PgConnection,
    clock: DbClock,
    definition: Arc<Definition>,
    definition_id: i32,
    owner: Uuid,
    request: Vec<u8>,
    /// Events of the transaction before, by now at the broker.
    published: Vec<Uuid>,
}

impl Worker {
    /// A database of its own, migrated, with this week's partitions.
    async fn new() -> Worker {
        let url = Secret::new(skald_harness::database("driver").await.url);
        skald_server::migrate(&url).await.expect("migrated");
        let mut connection = pg::worker_connection(&url).await.expect("connected");
        let clock = DbClock::new();
        clock.sync(&mut connection).await.expect("the time");
        retention::ensure(&mut connection, clock.now_ms()).await.expect("partitions");
        let definition = Arc::new(Definition::order());
        let definition_id = definition::register(&mut connection, &definition).await.expect("registered");
        let request = request();
        let (owner, published) = (Uuid::new_v4(), Vec::new());
        Worker { connection, clock, definition, definition_id, owner, request, published }
    }

    /// So many sagas, together, from start to end.
    async fn sagas(&mut self, n: usize) {
        let started = history::started(&self.request).expect("a request");
        let start = |_| {
            let ask = Ask::Start(Arc::clone(&self.definition), Input::Started(started.clone()));
            (ids::mint(self.clock.now_ms()), ask)
        };
        let mut asks: Vec<(Uuid, Ask)> = (0..n).map(start).collect();
        let mut completed = 0;
        while !asks.is_empty() {
            let plan = self.transaction(asks).await;
            completed += plan.writes.iter().filter(|write| write.state.is_final()).count();
            asks = plan.sends.iter().map(succeeded).collect();
        }
        assert_eq!(completed, n, "every saga ends");
    }

    /// What a worker does with a batch, up to the commit.
    async fn transaction(&mut self, asks: Vec<(Uuid, Ask)>) -> Plan<()> {
        let now = self.clock.now_ms();
        let mut tx = self.connection.begin().await.expect("begun");
        let (fresh, mut known): (Vec<&(Uuid, Ask)>, Vec<_>) =
            asks.iter().partition(|(_, ask)| matches!(ask, Ask::Start(..)));
        if !fresh.is_empty() {
            let wanted = wanted(fresh.iter().map(|(id, _)| *id));
            let claimed = submission::claim(&mut tx, &wanted).await.expect("claimed");
            assert_eq!(claimed.len(), fresh.len());
        }
        known.sort_unstable_by_key(|(id, _)| *id);
        let known: Vec<Uuid> = known.into_iter().map(|(id, _)| *id).collect();
        let mut loaded = BTreeMap::new();
        if !known.is_empty() {
            for row in saga::lock(&mut tx, &known).await.expect("locked") {
                let state = state::decode(row.format as u32, &row.state).expect("a state");
                let definition = Arc::clone(&self.definition);
                loaded.insert(row.id, Loaded { definition, state, quarantined: false });
            }
        }
        let item = |(saga, ask)| Item { saga, actor: "bench".to_owned(), ask, token: () };
        let plan = plan(now, asks.into_iter().map(item).collect(), loaded, &Default::default());
        assert!(plan.settled.iter().all(|(_, fate)| matches!(fate, Fate::Accepted { .. })));
        let batch =
            batch(&plan.writes, self.definition_id, &self.request, std::mem::take(&mut self.published));
        saga::write(&mut tx, self.owner, now, &batch).await.expect("written");
        tx.commit().await.expect("committed");
        self.published = batch.events.into_iter().map(|row| row.id).collect();
        plan
    }
}

/// An order of a usual size with both signals, so that nobody is waited for.
fn request() -> Vec<u8> {
    let payload = |name: &str, bytes| Payload {
        type_url: format!("type.googleapis.com/skald.order.v1.{name}"),
        value: vec![7; bytes],
    };
    let signal = |name: &str, payload| Signal {
        name: name.to_owned(),
        signal_id: "submission".to_owned(),
        payload: Some(payload),
    };
    let signals =
        vec![signal("pay", payload("PaymentMethod", 8)), signal("fulfil", payload("Fulfilment", 0))];
    Request { input: Some(payload("OrderInput", 60)), signals }.encode_to_vec()
}

/// What the participant answers to a command.
fn succeeded(send: &Send) -> (Uuid, Ask) {
    let result =
        Payload { type_url: "type.googleapis.com/skald.bench.v1.Result".to_owned(), value: vec![7; 40] };
    let outcome = Outcome {
        step: send.command.step.clone(),
        verb: send.command.verb,
        epoch: send.command.epoch,
        attempt: send.command.attempt,
        answer: Some(Answer::Succeeded(Done { result: Some(result) })),
    };
    (send.saga, Ask::Fold(Input::Outcome(outcome)))
}

fn wanted(ids: impl Iterator<Item = Uuid>) -> submission::Wanted {
    let mut wanted = submission::Wanted::default();
    for id in ids {
        wanted.client.push("bench".to_owned());
        wanted.key.push(Uuid::new_v4().to_string());
        wanted.digest.push(vec![7; 32]);
        wanted.saga_id.push(id);
    }
    wanted
}

/// The rows of a plan, as the worker's own room makes them.
fn batch(writes: &[Write], definition_id: i32, request: &[u8], published: Vec<Uuid>) -> saga::Batch {
    let mut batch = saga::Batch { published, ..saga::Batch::default() };
    for write in writes {
        let wake_at = (!write.state.is_final()).then_some(write.state.created_at + AHEAD_MS);
        if write.insert {
            let rows = &mut batch.inserts;
            rows.id.push(write.saga);
            rows.definition_id.push(definition_id);
            rows.status.push(write.status as i16);
            rows.stage.push(write.state.stage as i16);
            rows.version.push(write.state.version as i32);
            rows.wake_at.push(wake_at);
            rows.customer_id.push("customer-4711".to_owned());
            rows.reason.push(None);
            rows.state.push(write.bytes.clone());
            rows.request.push(request.to_vec());
            rows.traceparent.push(Some(format!("00-{}-00f067aa0ba902b7-00", write.saga.simple())));
        } else {
            let rows = &mut batch.updates;
            rows.id.push(write.saga);
            rows.was.push(write.was as i32);
            rows.status.push(write.status as i16);
            rows.stage.push(write.state.stage as i16);
            rows.version.push(write.state.version as i32);
            rows.wake_at.push(wake_at);
            rows.reason.push(None);
            rows.state.push(write.bytes.clone());
            rows.detail.push(None);
        }
        for row in &write.rows {
            let rows = &mut batch.history;
            rows.saga_id.push(write.saga);
            rows.seq.push(row.seq as i32);
            rows.at.push(row.at);
            rows.kind.push(row.kind as i16);
            rows.actor.push(row.actor.clone());
            rows.input.push(row.input.clone());
            rows.digest.push(row.digest);
        }
        let told = write.events.iter().filter(|(_, event)| !matches!(event, Event::Completed(_)));
        batch.events.extend(told.enumerate().map(|(n, (version, _))| event(write, *version, n)));
    }
    batch
}

/// A row of the size that public events have.
fn event(write: &Write, version: u32, n: usize) -> outbox::Row {
    outbox::Row {
        id: Uuid::new_v5(&write.saga, format!("event/{version}/{n}").as_bytes()),
        topic: "orders.events".to_owned(),
        key: write.saga.to_string(),
        kind: "order.reserved".to_owned(),
        source: "/skald/orchestrator".to_owned(),
        subject: write.saga.to_string(),
        sequence: format!("{version:010}.{n:02}"),
        time_ms: write.state.now,
        traceparent: Some(format!("00-{}-00f067aa0ba902b7-00", write.saga.simple())),
        payload: vec![7; 90],
    }
}

fn driver(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut worker = runtime.block_on(Worker::new());
    let mut group = criterion.benchmark_group("driver");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for size in [1, 10, 100, 500] {
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_custom(|iterations| {
                let start = Instant::now();
                for _ in 0..iterations {
                    runtime.block_on(worker.sagas(size));
                }
                start.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, driver);
criterion_main!(benches);
