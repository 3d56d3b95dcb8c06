//! Every request of every service that we serve, with hostile values in valid messages: the answer names what is wrong, nothing
//! breaks, and everybody else is served. What is called is read from the contracts, so a new call is covered by itself.
//!
//! `SKALD_HOSTILE_MINUTES=10 SKALD_HOSTILE_SEED=7` make it longer and another one; `./dev fuzz grpc` sets both.
//!
//! - [`values`]: what a message is filled with; it learns ids and page tokens from the answers
//! - [`call`]: bytes in, status and bytes out, whatever the call's kind

mod call;
mod values;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use skald_proto::{
    admin::v1::{ThawDefinitionRequest, ThawParticipantRequest, admin_service_client::AdminServiceClient},
    order::v1::OrderStatus,
    payment::v1::SetGatewayMoodRequest,
};
use tonic::{Code, transport::Channel};

use super::{
    shop::{End, Load, Order, SHELF, Shop, TEA, Then, draft, mixed},
    troubles::until,
    world::{Kind, World},
};
use call::Said;
use values::{Learned, Random};

/// Calls under way at once.
const AT_ONCE: usize = 8;
/// So many kinds of what is wrong are shown.
const SHOWN: usize = 20;

/// What bad input may come to. All else means that something broke, or that somebody thinks so.
const ALLOWED: &[Code] = &[
    Code::Ok,
    Code::InvalidArgument,
    Code::NotFound,
    Code::AlreadyExists,
    Code::FailedPrecondition,
    Code::OutOfRange,
    Code::ResourceExhausted,
    Code::Aborted,
];

/// Who serves a call.
fn servers(method: &MethodDescriptor) -> &'static [Kind] {
    match method.parent_service().package_name() {
        "skald.inventory.v1" => &[Kind::Inventory],
        "skald.payment.v1" => &[Kind::Payment],
        "skald.participant.v1" => &[Kind::Inventory, Kind::Payment],
        _ => &[Kind::Orchestrator],
    }
}

/// How often which call got which code, and what was wrong.
#[derive(Debug, Default)]
struct Book {
    calls: BTreeMap<String, BTreeMap<String, usize>>,
    /// Time that each call took, all together.
    took: BTreeMap<String, Duration>,
    wrong: usize,
    /// The first of each kind.
    kinds: BTreeMap<String, String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_are_refused_and_nothing_breaks() {
    let mut world = World::plan().set(Kind::Payment, "CALLS__TIMEOUT_MS", "1000").start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    Load::start(&shop, (0..10).map(mixed), 4).done().await;
    let learned = Learned::default();
    shop.ledger().iter().for_each(|promise| learned.note("saga_id", &promise.id.to_string()));
    shop.ledger().iter().for_each(|promise| learned.note("order_id", &promise.id.to_string()));

    let book = Arc::new(Mutex::new(Book::default()));
    let (seed, minutes) = (setting("SEED").unwrap_or(1), setting("MINUTES"));
    let rounds = skald_harness::budget().pick(3, 60);
    let (begun, mut round) = (Instant::now(), 0);
    while minutes.map_or(round < rounds, |m| begun.elapsed() < Duration::from_secs(60 * m)) {
        let jobs = jobs(&world, seed.wrapping_mul(1_000_003).wrapping_add(round));
        let calls = jobs.into_iter().map(|job| job.run(learned.clone(), Arc::clone(&book)));
        futures::stream::iter(calls).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        round += 1;
        if minutes.is_some() && round % 50 == 0 {
            println!("{} s: {}", begun.elapsed().as_secs(), summary(&book.lock().expect("no panic")));
        }
    }
    {
        let book = book.lock().expect("no panic");
        println!("seed {seed}, {round} rounds: {}", summary(&book));
        let mut slow: Vec<_> = book.took.iter().map(|(name, took)| (took.as_millis(), name)).collect();
        slow.sort_unstable_by(|a, b| b.cmp(a));
        println!("the slowest, ms: {:?}", &slow[..5]);
        let silent = book.calls.iter().filter(|(_, codes)| !codes.contains_key("Ok")).map(|(name, _)| name);
        println!("never OK: {:?}", silent.collect::<Vec<_>>());
        for (kind, first) in book.kinds.iter().take(SHOWN) {
            println!("WRONG {kind}\n  {first}");
        }
        for kind in Kind::ALL.into_iter().filter(|_| book.wrong > 0) {
            let log = world.service(kind, 0).log();
            let said = log.lines().filter(|line| line.contains(" failed") || line.contains("ERROR"));
            said.take(SHOWN).for_each(|line| println!("{}: {line}", kind.name()));
        }
        assert_eq!(book.wrong, 0, "seed {seed}: answers are wrong");
        assert!(book.calls.len() > 50, "{} calls are there", book.calls.len());
    }
    served_afterwards(&world, &shop).await;
}

/// Once more as often as `round` says: each method at each of its servers, a few messages for each.
struct Job {
    method: MethodDescriptor,
    channel: Channel,
    random: Random,
}

/// Calls of one method in a round: so many, unless they take longer than that.
const CALLS: usize = 25;
const ENOUGH: Duration = Duration::from_secs(1);

fn jobs(world: &World, seed: u64) -> Vec<Job> {
    let pool = DescriptorPool::decode(skald_proto::DESCRIPTORS).expect("our contracts");
    let mut jobs = Vec::new();
    for (n, method) in pool.services().flat_map(|s| s.methods().collect::<Vec<_>>()).enumerate() {
        for kind in servers(&method) {
            let random = Random::new(seed.wrapping_mul(31).wrapping_add((n * 4) as u64 + *kind as u64));
            jobs.push(Job { method: method.clone(), channel: world.service(*kind, 0).channel(), random });
        }
    }
    jobs
}

impl Job {
    async fn run(mut self, learned: Learned, book: Arc<Mutex<Book>>) {
        let started = Instant::now();
        for _ in 0..CALLS {
            if started.elapsed() > ENOUGH {
                return;
            }
            let messages = if self.method.is_client_streaming() { 1 + self.random.below(4) } else { 1 };
            let made: Vec<_> =
                (0..messages).map(|_| values::message(&self.method, &mut self.random, &learned)).collect();
            let begun = Instant::now();
            let said = call::call(&self.channel, &self.method, &made).await;
            let ok = ALLOWED.contains(&said.code) || is_honest(&said);
            let mut book = book.lock().expect("no panic");
            let codes = book.calls.entry(self.method.full_name().to_owned()).or_default();
            *codes.entry(format!("{:?}", said.code)).or_default() += 1;
            *book.took.entry(self.method.full_name().to_owned()).or_default() += begun.elapsed();
            if !ok {
                book.wrong += 1;
                let told = |most| said.message.chars().take(most).collect::<String>();
                let kind = format!("{} {:?} {}", self.method.full_name(), said.code, told(40));
                let asked: Vec<String> = made.iter().take(2).map(values::shown).collect();
                book.kinds.entry(kind).or_insert_with(|| format!("{}\n  {}", told(400), asked.join("\n  ")));
            }
            drop(book);
            said.answers.iter().for_each(|answer| learned.answer(answer));
        }
    }
}

/// The gateway is down when somebody said so: that is no fault of who asks for its books.
fn is_honest(said: &Said) -> bool {
    said.code == Code::Unavailable && said.message.starts_with("the gateway does not answer")
}

/// Whoever acted at random is cleaned up after; then everybody is served as before, and no process has said that it panicked.
async fn served_afterwards(world: &World, shop: &Shop) {
    let mut admin = AdminServiceClient::new(world.service(Kind::Orchestrator, 0).channel());
    for participant in ["inventory", "payment"] {
        let (actor, reason, request_id) = words();
        let thaw = ThawParticipantRequest { participant: participant.into(), actor, reason, request_id };
        admin.thaw_participant(thaw).await.expect("thawed");
    }
    let (actor, reason, request_id) = words();
    let thaw = ThawDefinitionRequest { definition: "order".into(), actor, reason, request_id };
    admin.thaw_definition(thaw).await.expect("thawed");
    world.gateway(0, SetGatewayMoodRequest::default()).await;
    for kind in Kind::ALL {
        let (service, name) = (world.service(kind, 0), kind.name());
        assert!(service.is_running(), "{name} ended");
        let log = service.log();
        let panics: Vec<&str> = log.lines().filter(|line| line.contains("panicked at")).collect();
        assert!(panics.is_empty(), "{name}: {panics:#?}");
    }
    let order = Order { draft: draft(&[(TEA, 1)], Some("tok_ok")), end: End::Completed, then: Then::Nothing };
    let id = shop.place(order).await.id;
    until(shop, id, OrderStatus::Completed).await;
    let (code, out, err) = super::audit::by_command(world);
    assert_eq!(code, 0, "{out}{err}");
}

fn words() -> (String, String, String) {
    ("the test".into(), "the fuzzing is over".into(), skald_harness::unique("thaw"))
}

fn summary(book: &Book) -> String {
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for (code, n) in book.calls.values().flatten() {
        *codes.entry(code).or_default() += n;
    }
    format!("{} methods, {codes:?}, {} wrong", book.calls.len(), book.wrong)
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(format!("SKALD_HOSTILE_{name}")).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("SKALD_HOSTILE_{name} is {value:?}, not a number")))
}
