//! A night on call, with the command line alone: payment is down for a while, an order is poisoned, a refund is parked.

use skald_proto::order::v1::OrderStatus;

use super::{
    LIMIT, audit,
    shop::{End, Order, SHELF, Shop, TEA, Then, draft},
    troubles::{self, until},
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
    troubles::poison(&world, poisoned).await;
    desk.until(&["attention"], &["QUARANTINED", "DEAD_LETTER"]).await;
    let letters = desk.run(0, &["dlq", "list", "--output", "jsonl"]);
    let letter: serde_json::Value = serde_json::from_str(letters.lines().next().expect("a letter")).unwrap();
    assert_eq!(letter["saga_id"], poisoned.to_string());
    let id = letter["id"].to_string();
    let whole = desk.run(0, &["dlq", "show", &id]);
    assert!(whole.contains("POISON") && whole.contains("definition_id"), "{whole}");
    // The missing definition was rolled out.
    troubles::mend(&world, poisoned).await;
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

    // Somebody published wrong prices: no new order is taken, until they are right.
    let frozen = desk.act(&["definition", "freeze", "order"], "prices are wrong");
    assert!(frozen.contains("refused") && frozen.contains("prices are wrong"), "{frozen}");
    let late = ["order", "submit", "--customer", "ada", "--line", "tea-green:1:4.50", "--token", "tok_ok"];
    desk.run(4, &late);
    let thawed = desk.act(&["definition", "thaw", "order"], "prices are right");
    assert!(thawed.contains("taken"), "{thawed}");

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
