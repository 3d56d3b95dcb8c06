//! Clients that take too much: thousands that only wait, that dribble, that don't read, that say nothing, that vanished; and a server
//! that may open no further file. Others are served meanwhile, and memory is bounded.
//!
//! - [`client`]: HTTP/2 as far as a rude client needs it, and a line that is slow

mod client;

use std::time::Duration;

use futures::{StreamExt as _, future::join_all};
use rustix::process::{Pid, Resource::Nofile, Rlimit, prlimit};
use skald_proto::{
    inventory::v1::{GetStockRequest, inventory_service_client::InventoryServiceClient},
    order::v1::{
        OrderStatus, WatchOrderRequest, WatchOrderResponse, order_service_client::OrderServiceClient,
    },
    saga::v1::{HistoryRequest, StartRequest, saga_service_client::SagaServiceClient},
};
use tonic::{Code, Streaming, transport::Channel};

use super::{
    LIMIT,
    shop::{End, Order, SHELF, Shop, TEA, Then, draft},
    troubles::until,
    world::{Kind, Plan, World},
};
use client::{Rude, slow_line};

const CONNECTIONS: usize = 10_000;
const STREAMS: usize = 10_000;
/// Streams on one connection; the default allows 2,048.
const PER_CONNECTION: usize = 2_000;

/// An order is placed and completed by somebody who behaves.
async fn served(shop: &Shop) {
    let order = Order { draft: draft(&[(TEA, 1)], Some("tok_ok")), end: End::Completed, then: Then::Nothing };
    let id = shop.place(order).await.id;
    until(shop, id, OrderStatus::Completed).await;
}

async fn start(plan: Plan) -> (World, Shop) {
    let mut world = plan.start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    served(&shop).await;
    (world, shop)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_and_streams_wait_and_others_are_served() {
    // They answer no ping, and are to stay.
    let (world, shop) = start(World::plan().set(Kind::Orchestrator, "GRPC__KEEPALIVE_SECONDS", "600")).await;
    let server = world.service(Kind::Orchestrator, 0);
    let before = memory(server.pid());

    let address = server.address();
    let idle = futures::stream::iter(0..CONNECTIONS).map(|_| Rude::greeted(&address)).buffer_unordered(64);
    let idle: Vec<Rude> = idle.collect().await;
    served(&shop).await;
    let connected = memory(server.pid());
    assert!(connected - before < 600, "{before} MiB before, {connected} MiB with {CONNECTIONS} connections");

    let waits = Order { draft: draft(&[(TEA, 1)], None), end: End::Completed, then: Then::Pay };
    let id = shop.place(Order { then: Then::Nothing, ..waits }).await.id;
    until(&shop, id, OrderStatus::Reserved).await;
    let mut watched: Vec<Streaming<WatchOrderResponse>> = Vec::new();
    for _ in 0..STREAMS / PER_CONNECTION {
        let client = OrderServiceClient::new(server.channel());
        let watch = |mut client: OrderServiceClient<Channel>| async move {
            let mut stream =
                client.watch_order(WatchOrderRequest { order_id: id.to_string() }).await?.into_inner();
            stream.message().await?.expect("what stands");
            Ok::<_, tonic::Status>(stream)
        };
        let streams =
            futures::stream::iter(0..PER_CONNECTION).map(|_| watch(client.clone())).buffer_unordered(64);
        watched.extend(
            streams.collect::<Vec<_>>().await.into_iter().map(|stream| stream.expect("it is watched")),
        );
    }
    served(&shop).await;
    let streaming = memory(server.pid());
    println!(
        "{before} MiB, {connected} with {CONNECTIONS} connections, {streaming} with {STREAMS} streams too"
    );
    assert!(streaming - connected < 600, "{connected} MiB before, {streaming} MiB with {STREAMS} streams");

    // They were not forgotten.
    shop.pay(id).await;
    for stream in &mut watched {
        let told = tokio::time::timeout(LIMIT, stream.message()).await.expect("in time").expect("it goes on");
        assert!(told.is_some(), "the change is told");
    }
    drop((idle, watched));
    served(&shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_silent_or_gone_is_shown_out() {
    let plan =
        Kind::ALL.into_iter().fold(World::plan(), |plan, kind| {
            plan.set(kind, "GRPC__REQUEST_TIMEOUT_SECONDS", "3")
                .set(kind, "GRPC__KEEPALIVE_SECONDS", "1")
                .set(kind, "GRPC__KEEPALIVE_TIMEOUT_SECONDS", "1")
        });
    let (world, shop) = start(plan).await;
    for kind in Kind::ALL {
        let address = world.service(kind, 0).address();
        // Half of them say nothing at all; the others say hello and are never heard of again, as behind a line that was cut.
        let silent = join_all((0..20).map(|_| Rude::connected(&address))).await;
        let vanished = join_all((0..20).map(|_| Rude::greeted(&address))).await;
        join_all(silent.into_iter().chain(vanished).map(|rude| rude.shown_out(LIMIT))).await;
    }
    served(&shop).await;

    let line = slow_line(&world.service(Kind::Orchestrator, 0).address()).await;
    let channel = Channel::from_shared(format!("http://{line}")).expect("an address").connect_lazy();
    let long = StartRequest {
        definition: "order".into(),
        idempotency_key: "slow".into(),
        input: Some(prost_types::Any { type_url: "t/x".into(), value: vec![7; 100_000] }),
        ..Default::default()
    };
    let mut slow = SagaServiceClient::new(channel);
    let late = slow.start(long);
    let (late, ()) = tokio::join!(late, served(&shop));
    let late = late.expect_err("it took too long");
    // The call was too long in coming; or its answers to pings were, which wait behind it.
    assert!(matches!(late.code(), Code::Cancelled | Code::Unavailable | Code::Unknown), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_too_many_is_shown_out_and_a_place_that_was_left_is_taken() {
    let plan = World::plan().set(Kind::Inventory, "GRPC__KEEPALIVE_SECONDS", "600").set(
        Kind::Inventory,
        "GRPC__MAX_CONNECTIONS",
        "100",
    );
    let (world, shop) = start(plan).await;
    let address = world.service(Kind::Inventory, 0).address();
    let mut held = Vec::new();
    while let Some(rude) = Rude::try_greeted(&address).await {
        held.push(rude);
        assert!(held.len() <= 100, "nobody is one too many");
    }
    // The others have connections of their own.
    assert!(held.len() >= 90, "{}", held.len());
    held.truncate(50);
    skald_harness::eventually("a place that was left", LIMIT, async || Rude::try_greeted(&address).await)
        .await;
    served(&shop).await;
}

/// A length that a header claims is no reason to make room for it, and answers that nobody reads are not all made at once.
#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_much_or_does_not_read_costs_a_bounded_amount() {
    let (world, shop) = start(World::plan()).await;
    let server = world.service(Kind::Orchestrator, 0);
    let mut sagas = SagaServiceClient::new(server.channel()).max_encoding_message_size(usize::MAX);
    let large = |key: usize, bytes: usize| StartRequest {
        definition: "order".into(),
        idempotency_key: format!("large {key}"),
        input: Some(prost_types::Any {
            type_url: "t/skald.order.v1.OrderInput".into(),
            value: vec![0; bytes],
        }),
        ..Default::default()
    };
    let id = sagas.start(large(0, 250_000)).await.expect("within the bound").into_inner().saga_id;
    let before = memory(server.pid());
    for kind in Kind::ALL {
        let channel = world.service(kind, 0).channel();
        let mut stranger = SagaServiceClient::new(channel.clone()).max_encoding_message_size(usize::MAX);
        let mut stock = InventoryServiceClient::new(channel).max_encoding_message_size(usize::MAX);
        for key in 1..20 {
            let refused = match kind {
                Kind::Orchestrator => stranger.start(large(key, 30 << 20)).await.err(),
                Kind::Inventory => stock.get_stock(GetStockRequest { sku: "x".repeat(30 << 20) }).await.err(),
                Kind::Payment => break,
            };
            let code = refused.map(|status| status.code());
            assert_eq!(code, Some(Code::OutOfRange), "{}: 30 MiB", kind.name());
        }
    }
    let after = memory(server.pid());
    assert!(after - before < 100, "{before} MiB before, {after} MiB after 19 messages of 30 MiB");

    let mut unread = Vec::new();
    for _ in 0..1_000 {
        let history = HistoryRequest { saga_id: id.clone(), after_seq: 0 };
        unread.push(sagas.history(history).await.expect("it begins").into_inner());
    }
    served(&shop).await;
    let unread_of = memory(server.pid());
    println!(
        "{before} MiB, {after} after what was too large, {unread_of} with {} answers unread",
        unread.len()
    );
    assert!(unread_of - after < 700, "{after} MiB before, {unread_of} MiB with answers that nobody reads");
}

/// tonic's own listener would end the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_open_no_file_goes_on_when_it_may() {
    let (world, shop) = start(World::plan()).await;
    let server = world.service(Kind::Inventory, 0);
    let pid = Pid::from_raw(server.pid() as i32);
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("its files").count() as u64;
    let limit =
        |current| Rlimit { current: Some(current), maximum: rustix::process::getrlimit(Nofile).maximum };
    let was = prlimit(pid, Nofile, limit(open + 4)).expect("it is ours");
    let address = server.address();
    let crowd = join_all((0..50).map(|_| Rude::connected(&address))).await;
    skald_harness::eventually("an accept that fails", LIMIT, async || {
        server.log().contains("no gRPC connection can be accepted").then_some(())
    })
    .await;
    assert!(server.is_running());
    drop(crowd);
    prlimit(pid, Nofile, was).expect("it is ours");
    let mut stock = InventoryServiceClient::new(server.channel());
    skald_harness::eventually("it serves again", LIMIT, async || {
        let asked = stock.get_stock(GetStockRequest { sku: TEA.into() });
        tokio::time::timeout(Duration::from_secs(5), asked).await.ok().and_then(Result::ok).map(|_| ())
    })
    .await;
    served(&shop).await;
}

/// VmRSS, MiB.
fn memory(pid: u32) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse::<i64>().expect("a number") / 1024
}
