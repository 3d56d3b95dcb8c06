//! The runbooks, walked through: each command of a page is run as it stands there, in a system that has the trouble that the page
//! is about, and says what the page is for.

use std::collections::BTreeSet;

use skald_proto::{order::v1::OrderStatus, payment::v1::SetGatewayMoodRequest};
use uuid::Uuid;

use super::{
    LIMIT, audit, pages,
    shop::{End, Order, SHELF, Shop, TEA, Then, draft},
    terminal::{Terminal, checkout},
    troubles::{self, until},
    world::{Kind, World},
};

/// Somebody with a page in hand.
struct Walk<'a> {
    page: &'static str,
    terminal: &'a Terminal,
    commands: BTreeSet<String>,
    run: BTreeSet<String>,
}

impl<'a> Walk<'a> {
    fn open(terminal: &'a Terminal, page: &'static str) -> Walk<'a> {
        let text = std::fs::read_to_string(checkout().join("deploy/runbooks").join(page)).expect("a page");
        let without_remark =
            |command: String| command.split("  #").next().unwrap_or_default().trim_end().to_owned();
        let commands = pages::commands(&text, "skald").into_iter().map(without_remark).collect();
        Walk { page, terminal, commands, run: BTreeSet::new() }
    }

    /// Runs a command of the page; `about` stands for ORDER or ID.
    #[track_caller]
    fn run(&mut self, command: &str, about: impl ToString) -> String {
        assert!(self.commands.contains(command), "{} has no {command}: {:#?}", self.page, self.commands);
        self.run.insert(command.to_owned());
        let about = about.to_string();
        let words = command.split(' ').map(|word| match word {
            "ORDER" | "ID" => &*about,
            "STEP" => "charge",
            "NAME" => "payment",
            "URL" => "postgres://nobody@nowhere",
            "…" => "'as the page says'",
            word => word,
        });
        let mut line = words.collect::<Vec<_>>().join(" ");
        // What changes something asks on a terminal, which a test has not.
        if command.contains(" --reason ") {
            line += " --yes";
        }
        self.terminal.works(&line)
    }

    /// The same; it says all of these.
    #[track_caller]
    fn says(&mut self, command: &str, about: impl ToString, words: &[&str]) {
        let said = self.run(command, about);
        for word in words {
            assert!(said.contains(word), "{command} says no {word}:\n{said}");
        }
    }

    /// The same, sooner or later.
    async fn until(&mut self, command: &str, about: impl ToString, words: &[&str]) {
        let about = about.to_string();
        skald_harness::eventually(&format!("{command} to say {words:?}"), LIMIT, async || {
            let said = self.run(command, &about);
            if words.iter().all(|word| said.contains(word)) { Ok(()) } else { Err(said) }
        })
        .await;
    }

    /// The page has nothing else.
    #[track_caller]
    fn close(self) {
        assert_eq!(self.run, self.commands, "{} was walked through", self.page);
    }
}

/// Places an order of one piece.
async fn order(shop: &Shop, token: Option<&str>) -> Uuid {
    let order = Order { draft: draft(&[(TEA, 1)], token), end: End::Completed, then: Then::Nothing };
    shop.place(order).await.id
}

async fn clean(world: &World) {
    let (code, out, err) = audit::by_command(world);
    assert_eq!(code, 0, "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_payment_or_its_gateway_is_away() {
    let mut world = World::plan()
        .set(Kind::Orchestrator, "DRIVER__SLOW_AFTER_SECONDS", "2")
        .set(Kind::Payment, "CALLS__TIMEOUT_MS", "1000")
        .start()
        .await;
    world.stock(&SHELF).await;
    let (shop, terminal) = (Shop::new(&world), Terminal::new(&world));
    let (freeze, thaw) =
        ("skald participant freeze payment --reason …", "skald participant thaw payment --reason …");

    let mut page = Walk::open(&terminal, "breaker-open.md");
    world.gateway(0, SetGatewayMoodRequest { outage: true, ..Default::default() }).await;
    let waiting = order(&shop, Some("tok_ok")).await;
    page.until("skald saga explain ORDER", waiting, &["breaker OPEN"]).await;
    page.says("skald participant status payment", "", &["OPEN"]);
    page.says("skald participant intents payment", "", &["charge"]);
    page.says("skald saga list --step charge --step-status running --count", "", &["1"]);
    page.says(freeze, "", &["as the page says"]);
    world.slow_gateway(0, 0).await;
    page.run(thaw, "");
    until(&shop, waiting, OrderStatus::Completed).await;
    page.close();

    world.service(Kind::Payment, 0).kill9().await;
    let silent = order(&shop, Some("tok_ok")).await;
    let mut page = Walk::open(&terminal, "resend-budget.md");
    page.until("skald attention list --kind slow", "", &[&silent.to_string(), "charge", "payment"]).await;
    page.says("skald participant list", "", &["payment"]);
    page.close();

    let mut page = Walk::open(&terminal, "silence.md");
    page.says("skald attention list --kind slow", "", &[&silent.to_string()]);
    page.says("skald participant list", "", &["payment"]);
    let unanswered = "charge: RUN was sent to payment and not answered";
    page.says(
        "skald saga explain ORDER",
        silent,
        &[unanswered, "skald.payment.commands/", "? what payment has of it"],
    );
    page.says("skald participant freeze NAME --reason …", "", &["payment"]);
    world.service_mut(Kind::Payment, 0).restart().await;
    page.run("skald participant thaw NAME --reason …", "");
    until(&shop, silent, OrderStatus::Completed).await;
    page.close();
    clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_somebody_must_decide() {
    let mut world = World::plan().set(Kind::Payment, "CALLS__TIMEOUT_MS", "1000").patient().start().await;
    world.stock(&SHELF).await;
    let (shop, terminal) = (Shop::new(&world), Terminal::new(&world));
    let contradicted = order(&shop, Some("tok_ok")).await;
    until(&shop, contradicted, OrderStatus::Completed).await;
    world.slow_gateway(0, 60_000).await;
    let mut unresolved = Vec::new();
    for _ in 0..3 {
        unresolved.push(order(&shop, Some("tok_ok")).await);
    }
    troubles::forget(&world, &unresolved).await;
    let [retried, unwanted, known] = unresolved[..] else { panic!("three") };

    let mut page = Walk::open(&terminal, "needs-a-person.md");
    page.says("skald attention", "", &["PARKED", "charge", "payment", "UNRESOLVED", "3"]);
    page.says("skald attention list --kind parked", "", &[&retried.to_string(), &known.to_string()]);
    page.says("skald saga explain ORDER", retried, &["UNRESOLVED", "retry --step charge", "compensate"]);
    let parked =
        "select count(*) from attention where saga_id = $1 and kind = 'PARKED' and code = 'UNRESOLVED'";
    page.says("skald saga retry ORDER --step STEP --reason …", retried, &["RUN of charge to payment"]);
    troubles::until_found(&world, Kind::Orchestrator, parked, retried).await;
    page.says("skald saga compensate ORDER --reason …", unwanted, &["UNDO of charge to payment"]);
    troubles::until_found(&world, Kind::Orchestrator, parked, unwanted).await;
    page.says("skald saga retry ORDER --reason …", unwanted, &["UNDO of charge to payment"]);
    let skip = "skald saga skip ORDER --step STEP --evidence … --reason …";
    page.says(skip, known, &["SEAL_RUN of charge to payment"]);
    let resolve = "skald saga resolve ORDER --step STEP --evidence … --reason …";
    troubles::until_found(&world, Kind::Orchestrator, parked, unwanted).await;
    page.says(resolve, unwanted, &["SEAL_UNDO of charge to payment"]);
    let all = page.run("skald payment charges --state unresolved", "");
    for order in [retried, unwanted, known] {
        assert!(all.contains(&order.to_string()), "{all}");
        page.run("skald payment settle ORDER --did-not-happen --reason …", order);
    }
    until(&shop, retried, OrderStatus::Cancelled).await;
    until(&shop, unwanted, OrderStatus::Cancelled).await;

    troubles::contradict(&world, contradicted).await;
    page.says("skald attention", "", &["CONTRADICTION"]);
    page.says("skald saga history ORDER", contradicted, &["DECLINED", "after all"]);
    page.says("skald saga resolve ORDER --evidence … --reason …", contradicted, &["COMPLETED"]);

    world.slow_gateway(0, 60_000).await;
    let poisoned = order(&shop, Some("tok_ok")).await;
    troubles::poison(&world, poisoned).await;
    page.says("skald attention", "", &["QUARANTINED", "DEAD_LETTER"]);
    troubles::mend(&world, poisoned).await;
    world.slow_gateway(0, 0).await;
    page.says("skald saga release ORDER --reason …", poisoned, &["it takes inputs again"]);
    until(&shop, poisoned, OrderStatus::Completed).await;
    page.close();
    clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_messages_and_sagas_stay_behind() {
    let mut world = World::plan().patient().start().await;
    world.stock(&SHELF).await;
    let (shop, terminal) = (Shop::new(&world), Terminal::new(&world));
    let unpaid = order(&shop, None).await;
    let paused = order(&shop, None).await;
    until(&shop, unpaid, OrderStatus::Reserved).await;
    until(&shop, paused, OrderStatus::Reserved).await;

    let mut page = Walk::open(&terminal, "oldest-in-flight.md");
    page.says("skald stats", "", &["oldest"]);
    page.says(
        "skald saga list --status running --oldest-first",
        "",
        &[&unpaid.to_string(), &paused.to_string()],
    );
    page.says("skald saga explain ORDER", unpaid, &["pay waits for its signal", "cancel"]);
    page.says("skald saga cancel ORDER --reason …", unpaid, &["UNDO of reserve to inventory"]);
    until(&shop, unpaid, OrderStatus::Cancelled).await;
    terminal.works(&format!("skald saga pause {paused} --reason 'the customer is asked' --yes"));
    page.says("skald saga explain ORDER", paused, &["PAUSED", "resume"]);
    page.says("skald saga resume ORDER --reason …", paused, &["RUNNING"]);
    page.close();

    let mut page = Walk::open(&terminal, "past-its-deadline.md");
    // Nothing is: whoever is alive looks in time.
    page.run("skald saga list --wake-within 0s", "");
    page.close();

    let mut page = Walk::open(&terminal, "dead-letters.md");
    troubles::babble(&world, paused).await;
    world.slow_gateway(0, 60_000).await;
    let poisoned = order(&shop, Some("tok_ok")).await;
    troubles::poison(&world, poisoned).await;
    let letters = page.run("skald dlq list", "");
    assert!(letters.contains("UNDECODABLE") && letters.contains("POISON"), "{letters}");
    let numbers = "select (select id from dead_letter where saga_id = $1), (select id from dead_letter where saga_id = $2)";
    let (babble, poison): (i64, i64) = sqlx::query_as(numbers)
        .bind(paused)
        .bind(poisoned)
        .fetch_one(&mut world.sql(Kind::Orchestrator).await)
        .await
        .expect("one letter each");
    page.says("skald dlq show ID", poison, &["POISON", "definition_id", "skald-origin-"]);
    page.says("skald saga explain ORDER", paused, &["pay waits"]);
    troubles::mend(&world, poisoned).await;
    page.says("skald saga release ORDER --reason …", poisoned, &["it takes inputs again"]);
    page.says("skald dlq redrive ID --reason …", poison, &["1 sent again"]);
    world.slow_gateway(0, 0).await;
    until(&shop, poisoned, OrderStatus::Completed).await;
    page.says("skald dlq discard ID --reason …", babble, &["1 discarded"]);
    page.close();

    let mut page = Walk::open(&terminal, "lag.md");
    page.says("skald participant status NAME", "", &["payment"]);
    page.says("skald topics check", "", &["skald.payment.commands", "orders.events"]);
    page.close();

    let mut page = Walk::open(&terminal, "audit-behind.md");
    page.says("skald topics check", "", &["orders.audit"]);
    page.says("skald topics create", "", &["orders.audit"]);
    page.close();

    // Over Kafka there is no peer; what the page says of one is tested with the transport.
    let mut page = Walk::open(&terminal, "peer-away.md");
    page.says("skald saga explain ORDER", paused, &["reserve"]);
    page.close();

    let mut page = Walk::open(&terminal, "outbox-old.md");
    page.says("skald topics check", "", &["orders.events"]);
    page.says("skald topics create", "", &["orders.events"]);
    page.close();

    let mut page = Walk::open(&terminal, "commit-unknown.md");
    page.says("skald audit --postgres URL", "", &["all adds up"]);
    page.close();
}

#[test]
fn every_page_is_walked_through() {
    let walked = include_str!("runbooks.rs");
    for (page, _) in pages::folder(&checkout().join("deploy/runbooks")) {
        assert!(walked.contains(&format!("Walk::open(&terminal, \"{page}\")")), "{page}");
    }
}
