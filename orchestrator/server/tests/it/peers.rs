//! Participants over gRPC: streams that break, that are not read, that say too much or nonsense. Sagas come to the same ends.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use skald_kit::config::{ClientTls, ServerTls};
use skald_proto::{
    admin::v1::ExplainRequest,
    order::v1::OrderStatus,
    participant::v1::{Command, ExecuteResponse, Failed, Succeeded, Verb, outcome::Answer},
    saga::v1::SagaStatus,
};
use skald_server::config::Participant as Setting;
use sqlx::{Connection as _, Executor as _};

use crate::{
    replay,
    support::{DEADLINE, Participant, Peer, World, draft, no, outcome, yes},
};

/// So patient that only what is known to be lost is sent again.
const NEVER: u64 = 600_000;

fn agrees(command: &Command) -> Vec<Answer> {
    vec![yes(command)]
}

/// An orchestrator with payment at these peers, and an inventory on Kafka that says yes.
async fn paying_at(peers: &[&Peer]) -> (World, Participant) {
    let setting = Peer::setting(peers);
    let world = World::start_with(|c| {
        c.participants.insert("payment".into(), setting);
        c.driver.resend_gaps_ms = vec![NEVER];
    })
    .await;
    let inventory = Participant::start(&world.config.kafka, "inventory", |c| Some(yes(c))).await;
    (world, inventory)
}

async fn submit(world: &World, orders: std::ops::Range<usize>) -> Vec<String> {
    let mut ids = Vec::new();
    for n in orders {
        ids.push(world.submit(&format!("k{n}")).await);
    }
    ids
}

async fn until_health(world: &World, status: &str, words: &str) {
    skald_harness::eventually(&format!("participants to be {status}"), DEADLINE, async || {
        let told = world.health("participants").await;
        if told.0 == status && told.1.contains(words) { Ok(()) } else { Err(told) }
    })
    .await;
}

async fn until_metric(world: &World, line: &str) {
    skald_harness::eventually(line, DEADLINE, async || {
        let metrics = world.metrics().await;
        let close = || metrics.lines().filter(|l| l.contains("unusable")).collect::<Vec<_>>().join("\n");
        if metrics.lines().any(|l| l == line) { Ok(()) } else { Err(close()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_through_with_both_participants_over_grpc() {
    let (inventory, payment) = (Peer::start("inventory", agrees).await, Peer::start("payment", agrees).await);
    let world = World::start_with(|c| {
        c.participants.insert("inventory".into(), Peer::setting(&[&inventory]));
        c.participants.insert("payment".into(), Peer::setting(&[&payment]));
    })
    .await;
    until_health(&world, "UP", "2 connected over gRPC").await;
    let ids = submit(&world, 0..30).await;
    world.all_complete(&ids).await;
    let order = |id: &String| inventory.asked(id).into_iter().map(|(step, ..)| step).collect::<Vec<_>>();
    assert!(ids.iter().all(|id| order(id) == ["reserve", "commit"]));
    assert!(inventory.traces().len() == 60, "each command has a place for its trace context");
    let kafka = world.config.kafka.clone();
    let found = tokio::task::spawn_blocking(move || {
        use rdkafka::consumer::{BaseConsumer, Consumer as _};
        let client: BaseConsumer = skald_kit::kafka::client_config(&kafka).create().unwrap();
        let all = client.fetch_metadata(None, DEADLINE).unwrap();
        let ours = all.topics().iter().filter_map(|t| t.name().strip_prefix(&kafka.topic_prefix));
        ours.map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    });
    let own = ["orders.audit", "orders.events"].map(str::to_owned);
    assert_eq!(found.await.unwrap(), own.into(), "they need no topics");
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_on_a_stream_that_broke_is_sent_again_when_somebody_is_there() {
    // It takes everything and answers nothing.
    let mut silent = Peer::start("payment", |_| Vec::new()).await;
    let (world, _inventory) = paying_at(&[&silent]).await;
    let mut ids = submit(&world, 0..20).await;
    silent.until_asked(20).await;
    let explain = async |id: &String| {
        let page = world.admin().explain(ExplainRequest { saga_id: id.clone() }).await.unwrap();
        page.into_inner().waits.remove(0).sent_to
    };
    assert_eq!(explain(&ids[0]).await, format!("{} over gRPC", silent.address));
    silent.vanish();
    until_health(&world, "DEGRADED", &format!("payment at {}", silent.address)).await;
    assert_eq!(explain(&ids[0]).await, format!("{} over gRPC, not connected", silent.address));
    // Orders are taken all the same, and what can't be sent waits.
    ids.extend(submit(&world, 20..40).await);
    world.beats(3).await;
    let list = skald_proto::saga::v1::ListRequest { page_size: 500, ..Default::default() };
    let sagas = world.sagas().list(list).await.unwrap().into_inner().sagas;
    assert!(sagas.iter().all(|saga| saga.status() == SagaStatus::Running && saga.version < 4));
    let back = Peer::start_at(silent.address, "payment", agrees).await;
    world.all_complete(&ids).await;
    for id in &ids {
        let asked = back.asked(id);
        assert!(!asked.is_empty() && asked.iter().all(|(.., attempt)| *attempt == 1), "{asked:?}");
    }
    until_health(&world, "UP", "1 connected").await;
    replay::every_history(&world).await;
    world.stop().await;
}

/// Nothing is wrong with the connection, only with the stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_participant_ends_is_opened_again() {
    let known = Mutex::new(HashSet::new());
    let forgetful = move |c: &Command| {
        let first = known.lock().unwrap().insert(c.saga_id.clone());
        if first { Vec::new() } else { agrees(c) }
    };
    let peer = Peer::start("payment", forgetful).await;
    let (world, _inventory) = paying_at(&[&peer]).await;
    let ids = submit(&world, 0..10).await;
    peer.until_asked(10).await;
    let restarting = tonic::Status::unavailable("stopping");
    peer.line(0).await.send(Err(restarting)).await.expect("the stream is open");
    world.all_complete(&ids).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_that_reads_nothing_holds_up_its_own_commands_alone() {
    let peer = Peer::start("payment", agrees).await;
    peer.read(false);
    let (world, _inventory) = paying_at(&[&peer]).await;
    let ids = submit(&world, 0..300).await;
    // The others go on: whatever it does not read waits before its stream.
    for id in &ids {
        world.until(id, OrderStatus::Reserved).await;
    }
    assert_eq!(peer.seen().len(), 0);
    peer.read(true);
    world.all_complete(&ids).await;
    assert_eq!(peer.seen().len(), ids.len(), "each command once");
    world.stop().await;
}

/// The participant says more than the workers can take while the database is held: HTTP/2 holds it up.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stuck_stops_the_reading() {
    let peer = Peer::start("payment", agrees).await;
    let (world, _inventory) = paying_at(&[&peer]).await;
    let ids = submit(&world, 0..1).await;
    world.all_complete(&ids).await;
    let repeat = outcome("payment", &peer.seen()[0], yes(&peer.seen()[0]));
    let mut sql = world.sql().await;
    let mut held = sql.begin().await.unwrap();
    held.execute("lock table saga in access exclusive mode").await.unwrap();
    let line = peer.line(0).await;
    let mut taken = 0;
    loop {
        let outcomes = vec![repeat.clone(); 512];
        let said = line.send(Ok(ExecuteResponse { outcomes, ..Default::default() }));
        match tokio::time::timeout(Duration::from_secs(3), said).await {
            Ok(sent) => sent.expect("the stream is open"),
            Err(_) => break,
        }
        taken += 1;
        assert!(taken < 2_000, "nothing stops the reading");
    }
    held.rollback().await.unwrap();
    // Behind all of those on the same stream.
    let more = submit(&world, 1..3).await;
    world.all_complete(&more).await;
    assert_eq!(world.order(&ids[0]).await.version, 4);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_has_its_own_answer_and_repeats_change_nothing() {
    let busy = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&busy);
    // Not now at first; then a no for some, twice each.
    let peer = Peer::start("payment", move |c| {
        let failed =
            Failed { code: "BUSY".into(), message: "later".into(), retryable: true, retry_after_ms: 1 };
        let unlucky = c.input.as_ref().is_some_and(|i| i.value.windows(7).any(|w| w == b"unlucky"));
        match (c.verb(), c.attempt) {
            (Verb::Run, 1) => {
                count.fetch_add(1, Ordering::Relaxed);
                vec![Answer::Failed(failed)]
            }
            (Verb::Run, _) if unlucky => vec![no("CARD_DECLINED"); 2],
            _ => vec![yes(c); 3],
        }
    })
    .await;
    let (world, _inventory) = paying_at(&[&peer]).await;
    let mut ends = Vec::new();
    for n in 0..10 {
        let mut order = draft();
        if n % 2 == 0 {
            order.note = "unlucky".into();
        }
        let request = skald_proto::order::v1::SubmitOrderRequest {
            idempotency_key: format!("k{n}"),
            order: Some(order),
        };
        ends.push((world.place(request).await, n % 2 == 0));
    }
    for (id, unlucky) in &ends {
        let end = if *unlucky { OrderStatus::Cancelled } else { OrderStatus::Completed };
        let order = world.until(id, end).await;
        assert_eq!(order.reason, if *unlucky { "CARD_DECLINED" } else { "" });
        let attempts: Vec<u32> = peer.asked(id).into_iter().map(|(.., attempt)| attempt).collect();
        assert_eq!(attempts, [1, 2], "{id}");
    }
    assert_eq!(busy.load(Ordering::Relaxed), 10);
    // Long afterwards, once more: nobody asked.
    let versions = async || {
        let all = "select id, version from saga order by id";
        let all: Vec<(uuid::Uuid, i32)> =
            sqlx::query_as(all).fetch_all(&mut world.sql().await).await.unwrap();
        all
    };
    let before = versions().await;
    let repeats = peer.seen().into_iter().filter(|c| c.attempt == 2).map(|c| {
        let declined = ends.iter().any(|(id, unlucky)| *id == c.saga_id && *unlucky);
        outcome("payment", &c, if declined { no("CARD_DECLINED") } else { yes(&c) })
    });
    peer.say(0, repeats.collect()).await;
    // An order whose answer comes behind them.
    let last = submit(&world, 100..101).await;
    world.all_complete(&last).await;
    let after = versions().await;
    assert!(before.iter().all(|saga| after.contains(saga)), "{before:?} became {after:?}");
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_counted_and_the_stream_goes_on() {
    let peer = Peer::start("payment", agrees).await;
    let (world, _inventory) = paying_at(&[&peer]).await;
    let first = submit(&world, 0..1).await;
    world.all_complete(&first).await;
    let good = peer.seen()[0].clone();
    // From here on everything is counted: the first look installs the recorder.
    world.metrics().await;
    let of = |change: fn(&mut skald_proto::participant::v1::Outcome)| {
        let mut nonsense = outcome("payment", &good, yes(&good));
        change(&mut nonsense);
        nonsense
    };
    peer.say(
        0,
        vec![
            of(|o| o.saga_id = uuid::Uuid::now_v7().to_string()),
            of(|o| o.saga_id = "nobody".into()),
            of(|o| o.participant = "inventory".into()),
            of(|o| o.step = "reserve".into()),
            of(|o| o.answer = None),
            of(|o| {
                let result = prost_types::Any { type_url: "x".into(), value: vec![0; 64 * 1024 + 1] };
                o.answer = Some(Answer::Succeeded(Succeeded { result: Some(result) }));
            }),
        ],
    )
    .await;
    for (why, n) in [("UNKNOWN_SAGA", 1), ("UNDECODABLE", 2), ("IMPOSTOR", 2), ("TOO_LARGE", 1)] {
        let labels = format!("participant=\"payment\",why=\"{why}\"");
        until_metric(&world, &format!("skald_unusable_outcomes_total{{{labels}}} {n}")).await;
    }
    let more = submit(&world, 1..5).await;
    world.all_complete(&more).await;
    assert_eq!(world.order(&first[0]).await.status(), OrderStatus::Completed);
    world.stop().await;
}

/// Whoever hears it: the row's lock keeps it right.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_on_the_other_orchestrators_stream_counts_as_well() {
    let peer = Peer::start("payment", |_| Vec::new()).await;
    let (one, _inventory) = paying_at(&[&peer]).await;
    peer.line(0).await;
    let two = World::start_on(one.config.clone()).await;
    peer.line(1).await;
    let ids = submit(&one, 0..10).await;
    peer.until_asked(10).await;
    // On both streams at once: one of them is the first.
    let all: Vec<_> = peer.seen().iter().map(|c| outcome("payment", c, yes(c))).collect();
    tokio::join!(peer.say(1, all.clone()), peer.say(0, all));
    two.all_complete(&ids).await;
    for id in &ids {
        assert_eq!(one.order(id).await.version, 4);
    }
    replay::every_history(&one).await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_instances_of_a_participant_one_is_enough() {
    let (mut dies, lives) = (Peer::start("payment", agrees).await, Peer::start("payment", agrees).await);
    let (world, _inventory) = paying_at(&[&dies, &lives]).await;
    until_health(&world, "UP", "2 connected").await;
    let mut ids = submit(&world, 0..40).await;
    world.all_complete(&ids).await;
    let shares = [dies.seen().len(), lives.seen().len()];
    assert!(shares.iter().all(|share| *share > 0) && shares.iter().sum::<usize>() == 40, "{shares:?}");
    dies.vanish();
    until_health(&world, "DEGRADED", &dies.address.to_string()).await;
    let more = submit(&world, 40..60).await;
    world.all_complete(&more).await;
    ids.extend(more);
    world.stop().await;
}

/// An address with somebody else behind it gets no command.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_at_the_address_is_told_nothing() {
    let stranger = Peer::start("shipping", agrees).await;
    let (world, _inventory) = paying_at(&[&stranger]).await;
    until_health(&world, "DEGRADED", "it is shipping, not payment").await;
    let ids = submit(&world, 0..3).await;
    for id in &ids {
        world.until(id, OrderStatus::Reserved).await;
    }
    let address = stranger.address;
    assert_eq!(stranger.seen().len(), 0);
    drop(stranger);
    let _payment = Peer::start_at(address, "payment", agrees).await;
    world.all_complete(&ids).await;
    world.stop().await;
}

/// A certificate and its key, as PEM, signed by the authority.
fn signed(name: &str, authority: &rcgen::Issuer<'_, rcgen::KeyPair>) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    (certificate.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

fn authority() -> (String, rcgen::Issuer<'static, rcgen::KeyPair>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut itself = rcgen::CertificateParams::new(Vec::new()).unwrap();
    itself.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = itself.self_signed(&key).unwrap().pem();
    (pem, rcgen::Issuer::new(itself, key))
}

/// Both sides show a certificate; who trusts somebody else is not connected.
#[tokio::test(flavor = "multi_thread")]
async fn over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let ((ca, signer), (other, _)) = (authority(), authority());
    let (server, client) = (signed("payment.test", &signer), signed("orchestrator.test", &signer));
    let serving = ServerTls {
        certificate: file("server.pem", &server.0),
        key: file("server.key", &server.1),
        client_ca: Some(file("ca.pem", &ca)),
    };
    let peer = Peer::start_with_tls(serving.load().unwrap(), "payment", agrees).await;
    let calling = |ca: PathBuf| ClientTls {
        ca,
        domain: Some("payment.test".into()),
        certificate: Some(file("client.pem", &client.0)),
        key: Some(file("client.key", &client.1)),
    };
    let at = |tls| Setting { tls: Some(tls), ..Peer::setting(&[&peer]) };
    let world = World::start_with(|c| {
        c.participants.insert("payment".into(), at(calling(folder.path().join("ca.pem"))));
    })
    .await;
    let _inventory = Participant::start(&world.config.kafka, "inventory", |c| Some(yes(c))).await;
    let ids = submit(&world, 0..3).await;
    world.all_complete(&ids).await;

    let mut distrusts = world.config.clone();
    distrusts.participants.insert("payment".into(), at(calling(file("other.pem", &other))));
    let distrusts = World::start_on(distrusts).await;
    until_health(&distrusts, "DEGRADED", "certificate").await;
    let mut unknown = world.config.clone();
    unknown.participants.insert("payment".into(), Peer::setting(&[&peer]));
    let unknown = World::start_on(unknown).await;
    until_health(&unknown, "DEGRADED", &format!("payment at {}", peer.address)).await;
    for world in [world, distrusts, unknown] {
        world.stop().await;
    }
}
