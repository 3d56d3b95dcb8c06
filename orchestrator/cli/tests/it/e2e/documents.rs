//! What the documents tell a reader to type: README's lines for grpcurl are run as they stand there, on a living system, and every
//! `skald` command of README and the runbooks is one.

use clap::Parser as _;
use skald_proto::order::v1::OrderStatus;

use super::{
    pages,
    shop::{End, Order, SHELF, Shop, TEA, Then, draft},
    terminal::{Terminal, checkout},
    troubles::{self, until},
    world::{Kind, World},
};

fn readme() -> String {
    std::fs::read_to_string(checkout().join("README.md")).expect("the README")
}

/// The method's name of a line for grpcurl.
fn method(line: &str) -> &str {
    let line = line.split("  #").next().unwrap_or_default();
    line.rsplit(['/', ' ']).find(|word| !word.is_empty()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn readme_s_lines_for_grpcurl_do_what_it_says() {
    let mut world = World::plan().set(Kind::Payment, "CALLS__TIMEOUT_MS", "1000").start().await;
    world.stock(&SHELF).await;
    world.stock(&[("tea-green", 100)]).await;
    let shop = Shop::new(&world);
    // Its night: one charge of which nobody knows, and an order whose charge is under way.
    world.slow_gateway(0, 60_000).await;
    let order = |token, end| Order { draft: draft(&[(TEA, 1)], token), end, then: Then::Nothing };
    let unresolved = shop.place(order(Some("tok_ok"), End::Completed)).await.id;
    troubles::forget(&world, &[unresolved]).await;

    let expected = [
        ("list", &["skald.order.v1.OrderService", "skald.admin.v1.AdminService"][..]),
        ("SubmitOrder", &["\"created\": true"]),
        ("WatchOrder", &["ORDER_STATUS_COMPLETED"]),
        ("History", &["\"kind\": \"STARTED\"", "\"actor\": \"payment\""]),
        ("GetStock", &["\"committed\": \"2\"", "\"available\": \"98\""]),
        ("GetCharge", &["CHARGE_STATE_CAPTURED", "\"amountMinor\": \"900\""]),
        ("SummarizeAttention", &["ATTENTION_KIND_PARKED", "UNRESOLVED"]),
        ("Explain", &["charge: RUN was sent to payment and not answered", "\"possible\""]),
        ("Act", &["\"version\": 3", "\"action\": \"refund\"", "SAGA_STATUS_COMPENSATING"]),
        ("GetBarrier", &["BARRIER_VERDICT_INTENT"]),
        ("ListCharges", &["CHARGE_STATE_UNRESOLVED"]),
        ("ResolveId", &["\"sagas\"", "\"sagaId\""]),
        ("ListSagas", &["\"counts\""]),
    ];
    let lines = pages::commands(&readme(), "grpcurl");
    let methods: Vec<&str> = lines.iter().map(|line| method(line)).collect();
    assert_eq!(methods, expected.map(|(method, _)| method), "a new line has its place in this test");
    let addresses = [("7070", Kind::Orchestrator), ("7080", Kind::Inventory), ("7090", Kind::Payment)];
    let mut terminal = Terminal::new(&world);
    for (line, (method, words)) in lines.iter().zip(expected) {
        if method == "SummarizeAttention" {
            world.slow_gateway(0, 60_000).await;
            let waiting = shop.place(order(None, End::Completed)).await.id;
            until(&shop, waiting, OrderStatus::Reserved).await;
            shop.pay(waiting).await;
            let intent = "select count(*) from skald.intent where saga_id = $1";
            troubles::until_found(&world, Kind::Payment, intent, waiting).await;
            terminal = terminal.with("ORDER", &waiting.to_string());
        }
        let line = addresses.iter().fold(line.clone(), |line, (port, kind)| {
            line.replace(&format!("localhost:{port}"), &world.service(*kind, 0).address())
        });
        let said = terminal.works(&line);
        for word in words {
            assert!(said.contains(word), "{line}\nsays no {word}:\n{said}");
        }
        if method == "SubmitOrder" {
            let id = said.split('"').find(|word| word.parse::<uuid::Uuid>().is_ok()).expect("an id");
            terminal = terminal.with("ORDER", id);
        }
    }
}

#[test]
fn every_command_of_the_documents_is_one() {
    // README's text also names commands without telling how they are called; a runbook's never does.
    let readme = pages::statements(&readme()).into_iter().filter(|line| line.starts_with("skald "));
    let mut all: Vec<_> = readme.map(|line| ("README.md".to_owned(), line)).collect();
    for (page, text) in pages::folder(&checkout().join("deploy/runbooks")) {
        all.extend(pages::commands(&text, "skald").into_iter().map(|command| (page.clone(), command)));
    }
    assert!(all.len() > 50, "{all:#?}");
    for (page, command) in all {
        // Bash says what the program's arguments would be.
        let shown = format!("skald() {{ printf '%s\\n' \"$@\"; }}; {}", command.replace('…', "some"));
        let names = ["ORDER", "POISONED", "UNWANTED", "REFUND"];
        let terminal = names.iter().fold(Terminal::bare(), |terminal, name| terminal.with(name, "0"));
        let args = terminal.works(&shown).replace("ID\n", "7\n");
        let args = ["skald"].into_iter().chain(args.lines());
        // Who acts comes from $USER, which not every machine that tests has.
        let parsed = skald_cli::Cli::try_parse_from(args.clone())
            .or_else(|_| skald_cli::Cli::try_parse_from(args.chain(["--actor", "ada"])));
        match parsed {
            Err(error) if error.kind() != clap::error::ErrorKind::DisplayHelp => {
                panic!("{page}: {command}\n{error}")
            }
            _ => {}
        }
    }
}
