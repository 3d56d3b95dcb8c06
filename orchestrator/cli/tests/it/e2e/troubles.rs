//! Troubles that a person is called for, made as they come about: an answer that nobody can handle, bytes that are no message,
//! a charge of which nobody knows whether it happened, participants that contradict themselves.

use prost::Message as _;
use skald_kit::kafka::{Producer, Record, partition_for_id};
use skald_proto::{
    order::v1::OrderStatus,
    participant::v1::{Failed, Outcome, Rejected, Verb, outcome::Answer},
};
use uuid::Uuid;

use super::{
    LIMIT,
    shop::Shop,
    world::{Kind, World},
};

/// Waits until an order stands there.
pub(crate) async fn until(shop: &Shop, id: Uuid, status: OrderStatus) {
    skald_harness::eventually(&format!("order {id} to be {status:?}"), LIMIT, async || {
        let order = shop.look(id).await;
        if order.status() == status { Ok(()) } else { Err(order) }
    })
    .await;
}

/// Waits until this query, with the order's id as its parameter, finds something in a service's database.
pub(crate) async fn until_found(world: &World, kind: Kind, query: &'static str, order: Uuid) {
    let mut conn = world.sql(kind).await;
    skald_harness::eventually(&format!("{query} with {order}"), LIMIT, async || {
        let found: i64 = sqlx::query_scalar(query)
            .bind(order)
            .fetch_one(&mut conn)
            .await
            .map_err(|error| error.to_string())?;
        if found > 0 { Ok(()) } else { Err("nothing yet".to_owned()) }
    })
    .await;
}

/// Bytes of payment's about an order, into the partition where they belong.
async fn send(world: &World, order: Uuid, payload: &[u8]) {
    let mut kafka =
        skald_kit::config::Kafka { bootstrap_servers: world.brokers.clone(), ..Default::default() };
    kafka.topic_prefix = world.prefix.clone();
    let producer = Producer::new(&kafka, |(), result| result.expect("delivered")).unwrap();
    let (topic, key) = (kafka.topic("skald.payment.outcomes"), order.to_string());
    let partition = Some(partition_for_id(order, kafka.partitions));
    let record = Record { topic: &topic, partition, key: key.as_bytes(), payload, headers: &[] };
    producer.send(record, ()).expect("taken");
    producer.flush(LIMIT).await.expect("delivered");
}

/// An answer of payment's about the first attempt of a charge.
async fn say(world: &World, order: Uuid, answer: Answer) {
    let outcome = Outcome {
        protocol: 1,
        saga_id: order.to_string(),
        step: "charge".into(),
        verb: Verb::Run.into(),
        epoch: 1,
        attempt: 1,
        participant: "payment".into(),
        answer: Some(answer),
    };
    send(world, order, &outcome.encode_to_vec()).await;
}

/// A roll-out went wrong: nobody knows the definition that an order follows, so its next answer is poison: that payment, which must
/// be silent, is busy. A timer must not come first, for it finds the same: the world is patient, or payment frozen.
pub(crate) async fn poison(world: &World, order: Uuid) {
    let charging = "select count(*) from history where saga_id = $1 and seq = 2";
    until_found(world, Kind::Orchestrator, charging, order).await;
    let broken = "update saga set definition_id = definition_id + 4711 where id = $1";
    let mut sql = world.sql(Kind::Orchestrator).await;
    sqlx::query(broken).bind(order).execute(&mut sql).await.expect("broken");
    let failed = Failed { code: "BUSY".into(), message: "later".into(), retryable: true, retry_after_ms: 0 };
    say(world, order, Answer::Failed(failed)).await;
    let letter = "select count(*) from dead_letter where saga_id = $1 and reason like 'POISON%'";
    until_found(world, Kind::Orchestrator, letter, order).await;
}

/// The missing definition was rolled out.
pub(crate) async fn mend(world: &World, order: Uuid) {
    let mended = "update saga set definition_id = definition_id - 4711 where id = $1";
    let mut sql = world.sql(Kind::Orchestrator).await;
    sqlx::query(mended).bind(order).execute(&mut sql).await.expect("mended");
}

/// Somebody writes about an order what is no message.
pub(crate) async fn babble(world: &World, order: Uuid) {
    send(world, order, &[0xff; 40]).await;
    let letter = "select count(*) from dead_letter where saga_id = $1 and reason like 'UNDECODABLE%'";
    until_found(world, Kind::Orchestrator, letter, order).await;
}

/// Payment takes back that it charged an order.
pub(crate) async fn contradict(world: &World, order: Uuid) {
    let no = Rejected { code: "DECLINED".into(), message: "after all".into(), detail: None };
    say(world, order, Answer::Rejected(no)).await;
    let parked = "select count(*) from attention where saga_id = $1 and code = 'CONTRADICTION'";
    until_found(world, Kind::Orchestrator, parked, order).await;
}

/// Orders whose charge is under way for longer than the gateway remembers keys, so that nobody can tell whether it happened. The
/// gateway hangs when this is called, and answers again when it returns.
pub(crate) async fn forget(world: &World, orders: &[Uuid]) {
    let mut sql = world.sql(Kind::Payment).await;
    for order in orders {
        let begun = "select count(*) from skald.intent where saga_id = $1 and calls > 0";
        until_found(world, Kind::Payment, begun, *order).await;
        let old = "update skald.intent set key_at = key_at - interval '2 days' where saga_id = $1";
        sqlx::query(old).bind(order).execute(&mut sql).await.expect("made older");
    }
    world.slow_gateway(0, 0).await;
    for order in orders {
        let parked =
            "select count(*) from attention where saga_id = $1 and kind = 'PARKED' and code = 'UNRESOLVED'";
        until_found(world, Kind::Orchestrator, parked, *order).await;
    }
}
