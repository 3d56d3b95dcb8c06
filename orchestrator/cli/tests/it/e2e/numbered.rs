//! Those of the design's numbered tests that need whole processes.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    LIMIT, audit,
    shop::{End, Load, Order, SHELF, Shop, TEA, Then, draft, mixed},
    world::{Kind, World},
};

/// The calls of an order that arrived at the gateway, oldest first.
async fn arrived(conn: &mut PgConnection, order: Uuid) -> Vec<String> {
    sqlx::query_scalar(
        "select kind || ': ' || answer from gateway.call where our_ref like $1 || '/%' order by id",
    )
    .bind(order.to_string())
    .fetch_all(conn)
    .await
    .expect("the gateway's books can be read")
}

/// Number 8. One payment process freezes when its intent is committed and its call has not left. The order is cancelled; the
/// other process must find out what became of the charge, and give the money back. Then the frozen one goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn payment_frozen_between_intent_and_call() {
    let mut world = World::plan().two(Kind::Payment).start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    for n in 0..2 {
        world.slow_gateway(n, 5_000).await;
    }
    let end = End::Cancelled("CUSTOMER");
    let order = Order { draft: draft(&[(TEA, 4)], Some("tok_ok")), end, then: Then::Nothing };
    let order = shop.place(order).await.id;
    let mut conn = world.sql(Kind::Payment).await;
    let owner: Uuid = skald_harness::eventually("the intent", LIMIT, async || {
        sqlx::query_scalar("select owner from skald.intent where saga_id = $1")
            .bind(order)
            .fetch_optional(&mut conn)
            .await
            .map_err(|error| error.to_string())?
            .ok_or_else(|| String::from("none"))
    })
    .await;
    let frozen = world.instance(Kind::Payment, owner).await.expect("one of ours");
    world.service(Kind::Payment, frozen).freeze();
    assert_eq!(arrived(&mut conn, order).await, Vec::<String>::new(), "its call has not left");
    world.slow_gateway(1 - frozen, 0).await;
    shop.cancel(order).await;
    let ended = |calls: &[String]| calls.last().is_some_and(|call| call.starts_with("refund: moved"));
    skald_harness::eventually("the other one to charge and refund", LIMIT, async || {
        let calls = arrived(&mut conn, order).await;
        if ended(&calls) { Ok(()) } else { Err(calls) }
    })
    .await;
    world.service(Kind::Payment, frozen).thaw();
    let calls = skald_harness::eventually("the frozen one's call to arrive", LIMIT, async || {
        let calls = arrived(&mut conn, order).await;
        if calls.iter().any(|call| call.starts_with("charge: repeated")) { Ok(calls) } else { Err(calls) }
    })
    .await;
    println!("{calls:?}");
    // Exactly one charge and one refund of it; and the thawed process is of use again.
    let load = Load::start(&shop, (0..20).map(mixed), 4);
    load.done().await;
    audit::at_rest(&world, &shop).await;
}

/// Everything that must not change when everything is delivered once more.
const TABLES: [(Kind, &str); 9] = [
    (Kind::Orchestrator, "public.saga"),
    (Kind::Orchestrator, "public.history"),
    (Kind::Inventory, "public.stock"),
    (Kind::Inventory, "public.reservation"),
    (Kind::Inventory, "skald.barrier"),
    (Kind::Payment, "public.charge"),
    (Kind::Payment, "skald.barrier"),
    (Kind::Payment, "gateway.movement"),
    (Kind::Payment, "gateway.call"),
];

async fn tables(world: &World) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (kind, table) in TABLES {
        let query = format!(
            "select count(*) || ' rows ' || md5(string_agg(t::text, chr(10) order by t::text)) from {table} t"
        );
        let content: String = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .fetch_one(&mut world.sql(kind).await)
            .await
            .expect("a table can be read");
        all.insert(format!("{}: {table}", kind.name()), content);
    }
    all
}

/// The consumer groups, and the topics that each reads.
const GROUPS: [(&str, &[&str]); 3] = [
    ("skald.inventory", &["skald.inventory.commands"]),
    ("skald.payment", &["skald.payment.commands"]),
    ("skald-orchestrator", &["skald.inventory.outcomes", "skald.payment.outcomes"]),
];

/// One question to the broker.
const ASK: Duration = Duration::from_secs(20);

/// A client that can look at a group's offsets and, while nobody is in the group, set them.
fn group(world: &World, group: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", &world.brokers)
        .set("group.id", format!("{}{group}", world.prefix))
        .set("enable.auto.commit", "false")
        .create()
        .expect("a client")
}

/// Partitions of topics with the offset behind their last message.
fn ends(client: &BaseConsumer, world: &World, topics: &[&str]) -> Vec<(String, i32, i64)> {
    let mut ends = Vec::new();
    for topic in topics {
        let topic = format!("{}{topic}", world.prefix);
        let metadata = client.fetch_metadata(Some(&topic), ASK).expect("the broker answers");
        for partition in metadata.topics()[0].partitions() {
            let (_, high) = client.fetch_watermarks(&topic, partition.id(), ASK).expect("the broker answers");
            ends.push((topic.clone(), partition.id(), high));
        }
    }
    ends
}

fn reset(world: &World, name: &str, topics: &[&str]) {
    let client = group(world, name);
    let mut offsets = TopicPartitionList::new();
    for (topic, partition, _) in ends(&client, world, topics) {
        offsets.add_partition_offset(&topic, partition, Offset::Offset(0)).expect("an offset");
    }
    client.commit(&offsets, CommitMode::Sync).expect("nobody is in the group");
}

/// Messages that a group has not finished.
fn lag(world: &World, name: &str, topics: &[&str]) -> i64 {
    let client = group(world, name);
    let ends = ends(&client, world, topics);
    let mut asked = TopicPartitionList::new();
    ends.iter().for_each(|(topic, partition, _)| {
        asked.add_partition(topic, *partition);
    });
    let committed = client.committed_offsets(asked, ASK).expect("the broker answers");
    let done = |topic: &str, partition| match committed.find_partition(topic, partition).map(|p| p.offset()) {
        Some(Offset::Offset(offset)) => offset,
        _ => 0,
    };
    ends.iter().map(|(topic, partition, high)| high - done(topic, *partition)).sum()
}

fn messages(world: &World, topics: &[&str]) -> i64 {
    ends(&group(world, "looker"), world, topics).iter().map(|(_, _, high)| high).sum()
}

/// Number 10. Every group's offsets are set back to the beginning: each command and each outcome is delivered once more, and
/// nothing changes anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn offsets_reset_to_the_earliest() {
    let mut world = World::plan().start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    Load::start(&shop, (0..30).map(mixed), 6).done().await;
    audit::at_rest(&world, &shop).await;
    let before = tables(&world).await;
    for kind in Kind::ALL {
        world.service(kind, 0).sigterm();
        assert_eq!(world.service(kind, 0).ended().await.code(), Some(0), "{}", kind.name());
    }
    let commands = messages(&world, &["skald.inventory.commands", "skald.payment.commands"]);
    let outcomes = messages(&world, &["skald.inventory.outcomes", "skald.payment.outcomes"]);
    for (name, topics) in GROUPS {
        assert_eq!(lag(&world, name, topics), 0, "{name} had finished everything when it stopped");
        reset(&world, name, topics);
    }
    for kind in Kind::ALL {
        world.service_mut(kind, 0).restart().await;
    }
    skald_harness::eventually("everything to be finished once more", LIMIT, async || {
        let lags = GROUPS.map(|(name, topics)| lag(&world, name, topics));
        let answered = messages(&world, GROUPS[2].1) - outcomes;
        if lags == [0; 3] && answered >= commands { Ok(()) } else { Err((lags, answered)) }
    })
    .await;
    audit::at_rest(&world, &shop).await;
    assert_eq!(tables(&world).await, before);
    println!("{commands} commands were answered again, {outcomes} outcomes were taken again");
}
