//! What a definition file may say, with the exact words in which a broken one is refused.

use std::fmt::Write;

use skald_core::{Definition, definition::parse};

use crate::definitions;

/// A sound definition that the rules are broken on, one by one.
const SOUND: &str = r#"
name = "sound"
version = 1
stages = ["HELD", "TAKEN"]
max_age = "1d"

[[step]]
name = "hold"
participant = "p"
action = "hold"
undo = "drop"
stage = "HELD"

[[step]]
name = "ok"
signal = true
deadline = "1h"

[[step]]
name = "take"
participant = "p"
action = "take"
pivot = true
needs = ["hold"]
stage = "TAKEN"

[[step]]
name = "tell"
participant = "q"
action = "tell"
"#;

/// Why the sound definition is refused once `from` became `to`.
fn refused(from: &str, to: &str) -> String {
    assert_eq!(SOUND.matches(from).count(), 1, "{from:?} must stand there once");
    parse(&SOUND.replace(from, to)).expect_err("it was not refused").to_string()
}

/// Why it is refused with a step more.
fn refused_step(step: &str) -> String {
    parse(&format!("{SOUND}\n[[step]]\n{step}\n")).expect_err("it was not refused").to_string()
}

#[test]
fn the_sound_one_is() {
    parse(SOUND).expect("sound");
}

#[test]
fn every_rule_names_step_and_rule() {
    let undo = "undo = \"drop\"";
    let table = [
        (
            refused("name = \"sound\"", "name = \"Sound!\""),
            "definition Sound!: the name must be 1 to 64 characters of [a-z0-9_-]",
        ),
        (
            refused("max_age = \"1d\"", "max_age = \"39d\""),
            "definition sound: max_age must be above zero and at most 38 days, a week below the horizon of the participants' memory",
        ),
        (
            refused("[\"HELD\", \"TAKEN\"]", "[\"HELD\", \"TAKEN\", \"HELD\"]"),
            "definition sound: a stage stands twice in `stages`",
        ),
        (
            refused(undo, "undo = \"drop\"\npivot = true"),
            "definition sound: at most one step may be the pivot; definition sound: step hold: nothing is undone from the pivot on, so it can't have an undo",
        ),
        (
            refused("name = \"tell\"", "name = \"tell it\""),
            "definition sound: step tell it: the name must be 1 to 64 characters of [a-z0-9_-]",
        ),
        (
            refused("name = \"tell\"", "name = \"ok\""),
            "definition sound: step ok: another step has this name",
        ),
        (
            refused("participant = \"q\"", ""),
            "definition sound: step tell: participant and action must be 1 to 64 characters of [a-z0-9_-]",
        ),
        (
            refused("action = \"tell\"", ""),
            "definition sound: step tell: participant and action must be 1 to 64 characters of [a-z0-9_-]",
        ),
        (
            refused(undo, "undo = \"Drop it\""),
            "definition sound: step hold: its undo must be 1 to 64 characters of [a-z0-9_-]",
        ),
        (
            refused(undo, "undo = \"drop\"\nno_effect = true"),
            "definition sound: step hold: a step with an undo can't say no_effect",
        ),
        (
            refused(undo, ""),
            "definition sound: step hold: the saga can still turn round after it, so it needs an undo or no_effect = true",
        ),
        (
            refused("pivot = true", ""),
            "definition sound: step take: the saga can still turn round after it, so it needs an undo or no_effect = true; definition sound: step tell: the saga can still turn round after it, so it needs an undo or no_effect = true",
        ),
        (
            refused("pivot = true", "pivot = true\nundo = \"untake\""),
            "definition sound: step take: nothing is undone from the pivot on, so it can't have an undo",
        ),
        (
            refused("action = \"tell\"", "action = \"tell\"\nundo = \"untell\""),
            "definition sound: step tell: nothing is undone from the pivot on, so it can't have an undo",
        ),
        (
            refused("action = \"tell\"", "action = \"tell\"\non_rejected = \"compensate\""),
            "definition sound: step tell: nothing is undone after the pivot, so on_rejected must be park",
        ),
        (
            refused("action = \"tell\"", "action = \"tell\"\ndeadline = \"1h\""),
            "definition sound: step tell: a step after the pivot never gives up, so it can't have a deadline",
        ),
        (
            refused("action = \"tell\"", "action = \"tell\"\nafter = [\"ok\"]"),
            "definition sound: step tell: it must come before or after the pivot, not beside it",
        ),
        (
            refused(undo, "undo = \"drop\"\ndeadline = \"0s\""),
            "definition sound: step hold: its deadline must be above zero",
        ),
        (
            refused(undo, "undo = \"drop\"\ndeadline = \"25h\""),
            "definition sound: step hold: its deadline must not be beyond max_age",
        ),
        (refused("deadline = \"1h\"", ""), "definition sound: step ok: a signal needs a deadline"),
        (
            refused("deadline = \"1h\"", "deadline = \"1h\"\nparticipant = \"p\""),
            "definition sound: step ok: a signal has no participant",
        ),
        (
            refused("deadline = \"1h\"", "deadline = \"1h\"\naction = \"a\""),
            "definition sound: step ok: a signal has no action",
        ),
        (
            refused("deadline = \"1h\"", "deadline = \"1h\"\nundo = \"u\""),
            "definition sound: step ok: a signal has no undo",
        ),
        (
            refused_step("name = \"pivot\"\nsignal = true\ndeadline = \"1h\"\npivot = true"),
            "definition sound: at most one step may be the pivot; definition sound: step pivot: a signal can't be the pivot: nobody could be asked whether it happened",
        ),
        (
            refused_step(
                "name = \"x\"\nparticipant = \"p\"\naction = \"x\"\nafter = [\"take\"]\nneeds = [\"tell\"]",
            ),
            "definition sound: step x: it needs the result of a step that is not sure to be done before it",
        ),
    ];
    let mut wrong = String::new();
    for (said, expected) in table {
        if said != expected {
            writeln!(wrong, "expected: {expected}\nsaid:     {said}\n").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn retry_policies_have_bounds() {
    let refused = |policy: &str| {
        refused("undo = \"drop\"", &format!("undo = \"drop\"\nretry = {{ {policy} }}"))
            .replace("definition sound: step hold: ", "")
    };
    assert_eq!(refused("first = \"0s\""), "retry.first must be above zero and at most retry.max");
    assert_eq!(refused("first = \"2m\""), "retry.first must be above zero and at most retry.max");
    assert_eq!(refused("factor = 0.99"), "retry.factor must be 1 to 10");
    assert_eq!(refused("factor = 10.01"), "retry.factor must be 1 to 10");
    assert_eq!(refused("factor = nan"), "retry.factor must be 1 to 10");
    assert_eq!(refused("attempts = 0"), "retry.attempts must be at least 1");
    assert_eq!(refused("slow = \"999ms\""), "retry.slow must be at least 1s");
    assert_eq!(refused("slow = \"39d\""), "retry.max and retry.slow must be at most 38 days");
    assert_eq!(refused("max = \"400000000y\""), "retry.max and retry.slow must be at most 38 days");
}

#[test]
fn there_are_1_to_64_steps() {
    let head = "name = \"many\"\nversion = 1\nmax_age = \"1d\"\n";
    assert_eq!(parse(head).unwrap_err().to_string(), "definition many: there must be 1 to 64 steps");
    let many = |n: usize| {
        let mut text = head.to_owned();
        for i in 0..n {
            writeln!(
                text,
                "[[step]]\nname = \"s{i}\"\nparticipant = \"p\"\naction = \"a\"\nno_effect = true"
            )
            .unwrap();
        }
        parse(&text)
    };
    for n in [65, 20_000] {
        assert_eq!(many(n).unwrap_err().to_string(), "definition many: there must be 1 to 64 steps");
    }
    let most = many(64).expect("sound");
    assert!(most.is_ancestor(0, 63) && !most.is_ancestor(63, 0));
}

/// Each is compared with each: a file of half a megabyte would take minutes.
#[test]
fn there_are_at_most_64_stages() {
    let staged = |n: usize| {
        let names: Vec<String> = (0..n).map(|i| format!("\"S{i}\"")).collect();
        parse(&SOUND.replace("\"HELD\", \"TAKEN\"", &format!("\"HELD\", \"TAKEN\", {}", names.join(", "))))
    };
    assert_eq!(staged(62).expect("sound").stages.len(), 64);
    for n in [63, 100_000] {
        assert_eq!(staged(n).unwrap_err().to_string(), "definition sound: there must be at most 64 stages");
    }
    let stored = Definition { stages: vec!["A".into(); 100_000], ..parse(SOUND).expect("sound") };
    assert_eq!(stored.check()[0].rule, "there must be at most 64 stages");
}

#[test]
fn names_must_be_of_what_stands_above() {
    assert_eq!(
        refused("stage = \"TAKEN\"", "stage = \"TOKEN\""),
        "definition sound: step take: `stage` names \"TOKEN\", which is not in `stages`"
    );
    assert_eq!(
        refused("pivot = true", "pivot = true\nafter = [\"tell\"]"),
        "definition sound: step take: `after` names \"tell\", which is not a step above it"
    );
}

#[test]
fn stored_bytes_are_checked_too() {
    let sound = parse(SOUND).unwrap();
    assert!(sound.check().is_empty());
    let rule = "definition sound: steps may only name stages that are there, and steps above them";
    for spoil in [
        |d: &mut Definition| d.steps[1].after = vec![1],
        |d: &mut Definition| d.steps[1].needs = vec![99],
        |d: &mut Definition| d.steps[1].stage = 3,
    ] {
        let mut broken = sound.clone();
        spoil(&mut broken);
        assert_eq!(broken.check().iter().map(ToString::to_string).collect::<Vec<_>>(), [rule]);
    }
}

#[test]
fn syntax_errors_say_where() {
    let said = refused("pivot = true", "pivto = true");
    assert!(said.contains("unknown field `pivto`") && said.contains("line 23"), "{said}");
    let said = refused("max_age = \"1d\"", "max_age = \"soon\"");
    assert!(said.contains("\"soon\" is not a duration such as 30m"), "{said}");
    let said = refused("max_age = \"1d\"", "max_age = 5");
    assert!(said.contains("invalid type"), "{said}");
}

#[test]
fn defaults_are_resolved() {
    let sound = parse(SOUND).unwrap();
    let [hold, ok, take, tell] = &sound.steps[..] else { panic!("four steps") };
    assert_eq!((hold.after.clone(), ok.after.clone(), take.after.clone()), (vec![], vec![0], vec![1]));
    assert_eq!((hold.give_up_ms, take.give_up_ms, tell.give_up_ms), (1_800_000, 1_800_000, 0));
    assert_eq!((hold.park_on_reject, take.park_on_reject, tell.park_on_reject), (false, false, true));
    assert_eq!(hold.give_up_reason, "EXPIRED");
    let retry = &hold.retry;
    assert_eq!((retry.first_ms, retry.factor_percent, retry.max_ms), (500, 200, 60_000));
    assert_eq!((retry.attempts, retry.slow_ms), (10, 600_000));
    let policy = |at: &str| {
        let text = SOUND.replace(at, &format!("{at}\nretry = {{ first = \"2s\", factor = 1.15 }}"));
        parse(&text).unwrap().steps[0].retry.clone()
    };
    assert_eq!(policy("undo = \"drop\"").factor_percent, 115);
    // The file's policy is every step's default; a step's own replaces it whole.
    assert_eq!(policy("max_age = \"1d\""), policy("undo = \"drop\""));
}

#[test]
fn names_that_are_given_twice_count_once() {
    let twice = SOUND.replace(
        "needs = [\"hold\"]",
        "needs = [\"ok\", \"hold\", \"ok\"]\nafter = [\"ok\", \"hold\", \"ok\"]",
    );
    let take = &parse(&twice).unwrap().steps[2];
    assert_eq!((&take.after[..], &take.needs[..]), (&[0, 1][..], &[0, 1][..]));
}

#[test]
fn a_definition_is_addressed_by_what_it_says() {
    // A change here means that sagas of the shipped definition get a new one: raise its version.
    let hex: String = Definition::order().hash().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "5ecde65066ed249eefd2d848b0f34b4a1cfe76d56c6cf505f3c5a352dcf96777");
    // Not by how the file is laid out.
    let spaced = SOUND.replace('\n', "\n\n").replace("undo = \"drop\"", "undo = \"drop\" # a word");
    assert_eq!(parse(&spaced).unwrap().hash(), parse(SOUND).unwrap().hash());
    assert_ne!(parse(&SOUND.replace("1h", "2h")).unwrap().hash(), parse(SOUND).unwrap().hash());
    let stored = prost::Message::encode_to_vec(&*definitions::diamond());
    let read: Definition = prost::Message::decode(&stored[..]).unwrap();
    assert_eq!((read.hash(), &read), (definitions::diamond().hash(), &*definitions::diamond()));
}

#[test]
fn ancestors_are_found_through_the_graph() {
    let diamond = definitions::diamond();
    let ancestors = |i| (0..4).filter(|&of| diamond.is_ancestor(of, i)).collect::<Vec<_>>();
    assert_eq!(
        [ancestors(0), ancestors(1), ancestors(2), ancestors(3)],
        [vec![], vec![0], vec![0], vec![0, 1, 2]]
    );
    assert!(definitions::pivot_first().after_pivot(4) && !diamond.after_pivot(3));
}

#[test]
fn codes_without_a_reason_are_their_own() {
    let order = Definition::order();
    assert_eq!((order.reason("OUT_OF_STOCK"), order.reason("NEW_CODE")), ("OUT_OF_STOCK", "NEW_CODE"));
    let mapped =
        parse(&SOUND.replace("[[step]]\nname = \"hold\"", "[reasons]\nA = \"B\"\n[[step]]\nname = \"hold\""))
            .unwrap();
    assert_eq!(mapped.reason("A"), "B");
}
