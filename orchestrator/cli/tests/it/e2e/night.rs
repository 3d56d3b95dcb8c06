//! A night on call, with the command line alone: payment is down for a while, an order is poisoned, a refund is parked.

use prost::Message as _;
use skald_proto::{
    order::v1::OrderStatus,
    participant::v1::{Failed, Outcome, Verb, outcome::Answer},
};
use uuid::Uuid;

use super::{
    LIMIT, audit,
    shop::{End, Order, SHELF, Shop, TEA, Then, draft},
    world::{Kind, World},
};
use crate::commands::{ended, skald};

/// The terminal of whoever is on call.
struct Desk {
    server: String,
}

impl Desk {
    /// What a command prints; it must end as expected.
    fn run(&self, exit: i32, args: &[&str]) -> String {
        let (code, out, err) = ended(&skald(&[args, &["--server", &self.server]].concat()));
        assert_eq!(code, exit, "skald {}: {out}{err}", args.join(" "));
        out + &err
    }

    /// The same for a command that changes something.
    fn act(&self, args: &[&str], reason: &str) -> String {
        self.run(0, &[args, &["--actor", "ada", "--reason", reason, "--yes"]].concat())
    }

    /// Asks until the answer has these words.
    async fn until(&self, args: &[&str], words: &[&str]) -> String {
        skald_harness::eventually(&format!("{args:?} to say {words:?}"), LIMIT, async || {
            let said = self.run(0, args);
            if words.iter().all(|word| said.contains(word)) { Ok(said) } else { Err(said) }
        })
        .await
    }
}

async fn until(shop: &Shop, id: Uuid, status: OrderStatus) {
    skald_harness::eventually(&format!("order {id} to be {status:?}"), LIMIT, async || {
        let order = shop.look(id).await;
        if order.status() == status { Ok(()) } else { Err(order) }
    })
    .await;
}

/// An answer of payment's about a charge, into the partition where it belongs.
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
    let mut kafka =
        skald_kit::config::Kafka { bootstrap_servers: world.brokers.clone(), ..Default::default() };
    kafka.topic_prefix = world.prefix.clone();
    let producer = skald_kit::kafka::Producer::new(&kafka, |(), result| result.expect("delivered")).unwrap();
    let (topic, key) = (kafka.topic("skald.payment.outcomes"), order.to_string());
    let record = skald_kit::kafka::Record {
        topic: &topic,
        partition: Some(skald_kit::kafka::partition_for_id(order, kafka.partitions)),
        key: key.as_bytes(),
        payload: &outcome.encode_to_vec(),
        headers: &[],
    };
    producer.send(record, ()).expect("taken");
    producer.flush(LIMIT).await.expect("delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_on_call() {
    // Over Kafka, whatever the others go over: the poison of this night is a dead letter.
    let mut world = World::plan()
        .over_grpc(&[])
        .set(Kind::Orchestrator, "DRIVER__SLOW_AFTER_SECONDS", "2")
        .set(Kind::Payment, "GATEWAY__KEY_LIFETIME_SECONDS", "4")
        .set(Kind::Payment, "CALLS__KEY_MARGIN_SECONDS", "1")
        .set(Kind::Payment, "CALLS__TIMEOUT_MS", "1000")
        .start()
        .await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    let desk = Desk { server: world.service(Kind::Orchestrator, 0).address() };
    assert!(desk.run(0, &["attention"]).contains("nothing needs a person"));
    let order = |token, end| Order { draft: draft(&[(TEA, 1)], token), end, then: Then::Nothing };

    // The gateway hangs while a customer wants the money back, for longer than it remembers keys.
    let mut for_seller = order(Some("tok_ok"), End::Cancelled("CUSTOMER"));
    for_seller.draft.needs_fulfilment = true;
    let refund = shop.place(for_seller).await.id;
    until(&shop, refund, OrderStatus::Paid).await;
    world.slow_gateway(0, 60_000).await;
    shop.cancel(refund).await;
    let old = "select count(*) from skald.intent where now() - key_at > interval '5 s'";
    let mut payment = world.sql(Kind::Payment).await;
    skald_harness::eventually("an intent that outlives its key", LIMIT, async || {
        let old: Result<i64, _> = sqlx::query_scalar(old).fetch_one(&mut payment).await;
        match old {
            Ok(1..) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    world.slow_gateway(0, 0).await;
    desk.until(&["attention"], &["PARKED", "charge", "payment", "UNRESOLVED"]).await;

    // Payment is down. Two orders wait for it.
    world.service(Kind::Payment, 0).kill9().await;
    let unwanted = shop.place(order(Some("tok_ok"), End::Cancelled("OPERATOR"))).await.id;
    let poisoned = shop.place(order(Some("tok_ok"), End::Completed)).await.id;
    desk.until(&["attention"], &["SLOW"]).await;
    let page = desk.run(0, &["saga", "explain", &unwanted.to_string()]);
    assert!(page.contains("charge: RUN was sent to payment and not answered"), "{page}");
    assert!(page.contains("compensate"), "{page}");
    let frozen = desk.act(&["participant", "freeze", "payment"], "payment is down");
    assert!(frozen.contains("payment is down"), "{frozen}");

    // A roll-out went wrong: nobody knows the definition that an order follows, so its next answer is poison.
    let broken = "update saga set definition_id = definition_id + 4711 where id = $1";
    let mut sql = world.sql(Kind::Orchestrator).await;
    sqlx::query(broken).bind(poisoned).execute(&mut sql).await.expect("broken");
    let failed = Failed { code: "BUSY".into(), message: "later".into(), retryable: true, retry_after_ms: 0 };
    say(&world, poisoned, Answer::Failed(failed)).await;
    desk.until(&["attention"], &["QUARANTINED", "DEAD_LETTER"]).await;
    let letters = desk.run(0, &["dlq", "list", "--output", "json"]);
    let letter: serde_json::Value = serde_json::from_str(letters.lines().next().expect("a letter")).unwrap();
    assert_eq!(letter["saga_id"], poisoned.to_string());
    let id = letter["id"].to_string();
    let whole = desk.run(0, &["dlq", "show", &id]);
    assert!(whole.contains("POISON") && whole.contains("definition_id"), "{whole}");
    // The missing definition was rolled out.
    let mended = "update saga set definition_id = definition_id - 4711 where id = $1";
    sqlx::query(mended).bind(poisoned).execute(&mut sql).await.expect("mended");
    desk.act(&["saga", "release", &poisoned.to_string()], "the definition is there");
    let sent = desk.act(&["dlq", "redrive", &id], "the definition is there");
    assert!(sent.contains("1 sent again"), "{sent}");
    desk.until(&["saga", "history", &poisoned.to_string()], &["failed BUSY: later"]).await;

    // A customer calls: that order must not go on. First what would follow, then exactly that.
    let unwanted = unwanted.to_string();
    let compensate = ["saga", "compensate", &unwanted, "--actor", "ada", "--reason", "the customer called"];
    let foreseen = desk.run(0, &[&compensate[..], &["--dry-run"]].concat());
    assert!(foreseen.contains("send UNDO of charge to payment (refund"), "{foreseen}");
    let without_terminal = desk.run(2, &compensate);
    assert!(without_terminal.contains("nothing was changed"), "{without_terminal}");
    desk.run(0, &[&compensate[..], &["--yes"]].concat());

    // Payment is back.
    world.service_mut(Kind::Payment, 0).restart().await;
    desk.act(&["participant", "thaw", "payment"], "payment is back");
    desk.until(&["order", "get", &unwanted], &["CANCELLED", "OPERATOR"]).await;
    desk.until(&["order", "get", &poisoned.to_string()], &["COMPLETED"]).await;

    // The bank says that the refund never happened, and does it by hand.
    let refund = refund.to_string();
    let page = desk.run(0, &["saga", "explain", &refund]);
    assert!(page.contains("UNRESOLVED") && page.contains("resolve --step charge"), "{page}");
    let evidence = ["--step", "charge", "--evidence", "refund 4711 of the bank", "--unfenced"];
    let resolve = [&["saga", "resolve", &refund][..], &evidence].concat();
    desk.act(&resolve, "the bank refunded it by hand");
    desk.until(&["order", "get", &refund], &["CANCELLED", "CUSTOMER"]).await;
    let left = desk.until(&["attention"], &["VOUCHED"]).await;
    assert!(!left.contains("PARKED") && !left.contains("SLOW") && !left.contains("QUARANTINED"), "{left}");

    let (code, out, err) = audit::by_command(&world);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("all adds up") && out.contains("1 steps stand on a person's word"), "{out}");
}
