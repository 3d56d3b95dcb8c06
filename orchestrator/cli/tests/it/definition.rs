//! `skald definition`: files, stored definitions, and the sagas that run; what is frozen and what would move.

use prost_types::Timestamp;
use skald_cli::definition::view;
use skald_core::definition::parse;
use skald_proto::admin::v1 as admin;

use crate::replay::{
    book::{Shelf, definition_file, order_with, saga},
    expect, golden, told,
};

#[test]
fn two_files_are_compared() {
    let old = definition_file(&order_with("version = 1", "version = 1"));
    let new = definition_file(
        &order_with("version = 1", "version = 2")
            .replace("deadline = \"14d\"", "deadline = \"7d\"")
            .replace("action = \"charge\"", "action = \"take\""),
    );
    expect(
        &["definition", "check", &old, &new],
        0,
        "\
order 1 → order 2

STEP    RUNNING SAGAS     WHAT CHANGES
charge  not once entered  action: \"charge\" becomes \"take\"
fulfil  all may follow    deadline: 14days becomes 7days",
    );
    expect(
        &["definition", "check", &old, &old],
        0,
        "order 1 → order 1\n\nnothing changes that a saga would notice",
    );
}

#[tokio::test]
async fn running_sagas_that_cannot_move_are_named() {
    let mut shelf = Shelf::with(&[
        saga(0),
        saga(1).succeeded("reserve").paid(),
        saga(2).completed(),
        saga(3).succeeded("reserve"),
    ])
    .await;
    let changed =
        order_with("version = 1", "version = 2").replace("action = \"charge\"", "action = \"take\"");
    let new = definition_file(&changed);
    golden(&["definition", "check", "order", &new, "--from", &shelf.url], 1, "check.txt");
    let (code, out, _) =
        told(&["definition", "check", "order", &new, "--from", &shelf.url, "--output", "jsonl"]);
    assert_eq!(code, 1);
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines[0]["why"][0], "charge was entered: action: \"charge\" becomes \"take\"");
    assert_eq!(lines[1]["summary"]["running"]["could_move"], 2);

    // Stored under both versions: the newest is meant, unless one is named.
    shelf.definition(&parse(&changed).expect("sound")).await;
    let check = |args: &[&str]| told(&[&["definition", "check"], args, &["--from", &shelf.url]].concat());
    let (code, out, err) = check(&["order@1", "order"]);
    assert!(code == 1 && out.starts_with("order 1 → order 2\n"), "{out}{err}");
    let (code, out, err) = check(&["order", "order@1"]);
    assert!(code == 0 && out.contains("follow another version  3"), "{out}{err}");
    let (code, _, err) = check(&["order@3", "order"]);
    assert!(code == 3 && err.contains("there are: order@1, order@2"), "{err}");
}

#[test]
fn what_is_no_definition_is_2() {
    let old = definition_file(&order_with("version = 1", "version = 1"));
    let bad = skald_harness::scratch("bad").join("bad.toml");
    std::fs::write(&bad, "name = 7").expect("written");
    for new in [bad.to_str().expect("a plain path"), "nothing.toml", "order"] {
        let (code, _, err) = told(&["definition", "check", &old, new]);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(new), "{err}");
    }
}

fn version(version: i32, offered: bool, running: i64) -> admin::DefinitionVersion {
    admin::DefinitionVersion { version, hash: format!("{version:x}").repeat(64), offered, running }
}

#[test]
fn what_is_frozen_and_who_follows_what_is_shown() {
    let order = admin::Definition {
        name: "order".into(),
        frozen_at: Some(Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        frozen_by: "ada".into(),
        reason: "prices are wrong".into(),
        versions: vec![version(2, true, 3), version(1, false, 12)],
    };
    let other = admin::Definition {
        name: "refill".into(),
        versions: vec![version(7, true, 0)],
        ..Default::default()
    };
    assert_eq!(
        view::definitions(&[order, other], false),
        "\
DEFINITION  VERSION  HASH          RUNNING  NEW SAGAS  FROZEN SINCE (UTC)   BY   WHY
order             2  222222222222        3  refused    2023-11-14 22:13:20  ada  prices are wrong
order             1  111111111111       12
refill            7  777777777777        0  taken"
    );
}

#[test]
fn a_migration_is_foreseen_with_reasons_and_examples() {
    let stay = admin::Stay {
        why: "commit was entered: action: \"commit\" becomes \"settle\"".into(),
        count: 41,
        example_saga_ids: vec!["c".into(), "d".into()],
    };
    let foreseen = admin::MigrateDefinitionResponse {
        to: Some(version(2, false, 0)),
        could_move: 1_200,
        example_saga_ids: vec!["a".into(), "b".into()],
        could_not: 41,
        stay: vec![stay],
        bulk: None,
    };
    assert_eq!(
        view::migration("order", &foreseen, false),
        "\
order → order 2 (222222222222)

SAGAS  WHY NOT                                                SUCH AS
   41  commit was entered: action: \"commit\" becomes \"settle\"  c

could move  1200
such as     a b
could not   41"
    );
    let all = admin::MigrateDefinitionResponse { could_not: 0, stay: vec![], ..foreseen };
    assert_eq!(
        view::migration("order", &all, false),
        "order → order 2 (222222222222)\n\ncould move  1200\nsuch as     a b\ncould not   0"
    );
}
