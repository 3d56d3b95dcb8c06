//! `verify`: clean is clean; each thing that was planted is named with saga, row, kind and field.

use prost::Message as _;
use skald_core::{
    Definition, Input,
    definition::parse,
    input::{self, Answer, Outcome},
    state,
};
use skald_harness::{Budget, budget, free_port};

use super::{
    book::{Shelf, definition_file, order_with, saga, synthetic},
    expect, golden, told,
};

#[tokio::test]
async fn clean_is_0_and_nothing_is_touched() {
    let sagas = [
        saga(0).completed(),
        saga(1).after(5).rejected("reserve", "OUT_OF_STOCK"),
        saga(2).charged().cancelled().undone("charge").undone("reserve"),
        saga(3).succeeded("reserve").fired(),
        saga(4).cancelled().nothing_to_undo("reserve"),
        saga(5),
    ];
    let mut shelf = Shelf::with(&sagas).await;
    let before = shelf.contents().await;
    expect(
        &["replay", "verify", "--from", &shelf.url],
        0,
        "\
sagas    6
rows     22
probed   2 active sagas
differs  nothing",
    );
    assert_eq!(shelf.contents().await, before);
}

#[tokio::test]
async fn everything_that_was_planted_is_named() {
    let sagas: Vec<_> = (0..6).map(|n| saga(n).charged()).collect();
    let mut shelf = Shelf::with(&sagas).await;
    let [_, edited, stated, gone, flipped, last] = &sagas[..] else { panic!("six") };

    let other = Answer::Succeeded(input::Done { result: None });
    let outcome = Outcome { step: "reserve".into(), verb: 1, epoch: 1, attempt: 1, answer: Some(other) };
    let bytes = input::encode(&Input::Outcome(outcome));
    shelf
        .by_hand("update public.history set input = $2 where saga_id = $1 and seq = 2", edited.id, &bytes)
        .await;

    let mut state = stated.state.clone();
    state.steps[3].give_up_at = 0;
    shelf.by_hand("update public.saga set state = $2 where id = $1", stated.id, &state::encode(&state)).await;

    let delete = "delete from public.history where saga_id = $1 and seq = 3 and $2 = ''::bytea";
    shelf.by_hand(delete, gone.id, b"").await;

    let flip =
        "update public.history set digest = digest # 1 where saga_id = $1 and seq = 2 and $2 = ''::bytea";
    shelf.by_hand(flip, flipped.id, b"").await;

    let flip =
        "update public.history set digest = digest # 1 where saga_id = $1 and seq = 4 and $2 = ''::bytea";
    shelf.by_hand(flip, last.id, b"").await;

    golden(&["replay", "verify", "--from", &shelf.url], 1, "planted.txt");

    // The same for programs: one line per saga, named in the same order, and the summary.
    let (code, out, err) = told(&["replay", "verify", "--from", &shelf.url, "--output", "jsonl"]);
    assert_eq!((code, &*err), (1, ""));
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let named: Vec<_> = lines.iter().filter_map(|line| line["saga"].as_str()).collect();
    let planted = [edited, stated, gone, flipped, last].map(|saga| saga.id.to_string());
    assert_eq!(named, planted);
    let codes = ["DIGEST", "STATE", "MISSING", "DIGEST", "DIGEST"];
    for (line, code) in lines.iter().zip(codes) {
        assert_eq!(line["findings"][0]["code"], code, "{line}");
    }
    assert_eq!(lines[0]["findings"][0]["first_difference"]["field"], "result");
    let summary = &lines[5]["summary"];
    assert_eq!((&summary["sagas"], &summary["differing_sagas"]), (&6.into(), &5.into()));
}

#[tokio::test]
async fn a_definition_that_was_changed_is_named_and_so_are_its_sagas() {
    let sagas = [saga(0).completed(), saga(1).succeeded("reserve")];
    let mut shelf = Shelf::with(&sagas).await;
    let mut changed = Definition::order();
    changed.steps[1].give_up_ms *= 2;
    let sql = "update public.definition set body = $2 where $1 is not null";
    shelf.by_hand(sql, sagas[0].id, &changed.encode_to_vec()).await;
    golden(&["replay", "verify", "--from", &shelf.url], 1, "definition.txt");

    let sql = "update public.definition set body = $2 where $1 is not null";
    shelf.by_hand(sql, sagas[0].id, &[0xff]).await;
    let (code, out, _) = told(&["replay", "verify", "--from", &shelf.url]);
    assert_eq!(code, 1);
    assert_eq!(out.matches("definition: its definition can't be read: ").count(), 2, "{out}");
}

#[tokio::test]
async fn a_probe_that_is_not_stood_is_named() {
    // The pivot waits for an answer and was never entered: nothing makes that whole.
    let mut standing = saga(0).charged();
    standing.state.steps[4].parked = "by hand".into();
    standing.state.steps[4].attempt = 1;
    standing.state.steps[4].status = 2;
    standing.state.steps[4].pending = 1;
    let shelf = Shelf::with(&[standing.clone()]).await;
    let (code, out, _) = told(&["replay", "verify", "--from", &shelf.url]);
    assert_eq!(code, 1);
    assert!(out.contains("state: the stored state is not the one that its history leads to"), "{out}");
    assert!(
        out.contains("\n  probe: as it stands: invariant broken: commit: entered without an epoch"),
        "{out}"
    );
}

#[tokio::test]
async fn since_and_all_active_choose() {
    let shelf = Shelf::with(&[saga(0), saga(1).completed(), saga(2).completed(), saga(3)]).await;
    let sagas = |args: &[&str]| {
        let (code, out, err) = told(&[&["replay", "verify", "--from", &shelf.url], args].concat());
        assert_eq!(code, 0, "{out}{err}");
        out.lines().next().expect("a line").to_owned()
    };
    // Number 2 began at 10:00.
    assert_eq!(sagas(&[]), "sagas    4");
    assert_eq!(sagas(&["--since", "2027-01-15T10:00:00Z"]), "sagas    2");
    assert_eq!(sagas(&["--since", "2027-01-15T10:00:00.001Z"]), "sagas    1");
    assert_eq!(sagas(&["--since", "2027-01-15T10:00:00Z", "--all-active"]), "sagas    3");
    assert_eq!(sagas(&["--since", "2027-01-16"]), "sagas    0");
    let (code, _, err) = told(&["replay", "verify", "--from", &shelf.url, "--since", "yesterday"]);
    assert_eq!(code, 2, "{err}");
}

#[tokio::test]
async fn what_cannot_be_reached_is_5_and_what_is_no_source_is_told() {
    let nobody = format!("postgres://postgres:hush@127.0.0.1:{}/skald", free_port());
    for from in [&*nobody, "/nowhere/histories.skald"] {
        for command in [&["verify"][..], &["export", "--to", "/tmp/never.skald"]] {
            let (code, out, err) = told(&[&["replay"], command, &["--from", from]].concat());
            assert_eq!((code, &*out), (5, ""), "{err}");
            assert!(!err.contains("hush"), "{err}");
        }
    }
    let (code, _, err) = told(&["replay", "verify", "--from", "postgres://h:no-port/x"]);
    assert_eq!(code, 2, "{err}");
    // A database of another kind.
    let other = skald_harness::database("empty").await;
    let (code, _, err) = told(&["replay", "verify", "--from", &other.url]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("is it an orchestrator's database"), "{err}");
}

/// `SKALD_BUDGET=full` makes it a million rows: the measure of docs/performance.md, in a release build.
#[test]
fn a_long_file_streams() {
    let sagas = if budget() == Budget::Full { 170_000 } else { 1_000 };
    let file = synthetic(sagas);
    let (code, out, err) =
        crate::commands::ended(&crate::commands::skald(&["replay", "verify", "--from", &file]));
    assert_eq!(code, 0, "{out}{err}");
    println!("{out}");
    assert!(out.contains("differs  nothing"), "{out}");
    std::fs::remove_file(file).expect("removed");
}

#[tokio::test]
async fn sagas_that_moved_to_another_definition_are_folded_by_each() {
    let second = definition_file(&order_with("version = 1", "version = 2"));
    let hurried = order_with("deadline = \"14d\"", "deadline = \"7d\"").replace("version = 1", "version = 2");
    let new = parse(&hurried).expect("sound");
    let moved = saga(0).succeeded("reserve").moved_to(&new).paid().succeeded("charge");
    let mut shelf = Shelf::with(&[moved.clone(), saga(1).charged()]).await;
    // Both are stored: what it left as well.
    let clean = "\
sagas    2
rows     9
probed   2 active sagas
differs  nothing";
    expect(&["replay", "verify", "--from", &shelf.url], 0, clean);
    for (name, extra) in [("whole.skald", None), ("scrubbed.skald", Some("--scrub"))] {
        let to = skald_harness::scratch("moved").join(name);
        let to = to.to_str().expect("a plain path");
        let export = ["replay", "export", "--from", &shelf.url, "--to", to];
        let (code, out, err) = told(&[&export[..], extra.as_slice()].concat());
        assert!(code == 0 && out.contains("2 sagas, 9 rows"), "{out}{err}");
        let (code, out, err) = told(&["replay", "verify", "--from", to]);
        assert!(code == 0 && out.contains("differs  nothing"), "{out}{err}");
    }
    let what_if = ["replay", "what-if", "--from", &shelf.url, "--definition", &second];
    let (code, out, err) = told(&what_if);
    assert!(code == 0 && out.contains("another end               0"), "{out}{err}");

    // Somebody has the row follow what it left.
    let back = "update public.saga set definition_id = definition_id + 1 where id = $1 and $2 = ''::bytea";
    shelf.by_hand(back, moved.id, b"").await;
    let (code, out, _) = told(&["replay", "verify", "--from", &shelf.url]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("its history leads to definition order 2, its row names order 1"), "{out}");
}
