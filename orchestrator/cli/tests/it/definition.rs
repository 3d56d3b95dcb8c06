//! `skald definition check`: files, stored definitions, and the sagas that run.

use skald_core::definition::parse;

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
