//! Stored histories lead where they led once: golden ones row by row, and spoilt ones are found out.
//!
//! A golden file has every byte that a database would have, and below each row what it changed, in words. It is
//! read, folded and written again, and must come out as it is. New ones, or a decided change: see [`golden`].

use std::{fmt::Write, sync::Arc};

use skald_core::{
    Definition, Effects, Input, Refused, State, advance, command_id,
    effects::{Event, EventRecord, Named, Plain, Why},
    history::{self, Mismatch, Row, replay},
    input::{
        self, Act, Answer, CancelRequested, DeadlineFired, Operator, Outcome, Postponed, Request, Started,
        Unit, Verb,
    },
    machine::Context,
    state::{self, Pending, Phase, Seal, Step, StepError, StepStatus, Verdict},
};
use uuid::Uuid;

use crate::{
    definitions::*,
    golden,
    support::{self, Saga, saga},
};

/// One golden history per kind of transition.
pub(crate) fn histories() -> Vec<(&'static str, Saga)> {
    let all = [("pay", "p1"), ("fulfil", "f1")];
    let order = || saga(&order());
    let reserved = || order().started_with(&[("pay", "p1")]).after("10ms").succeeded("reserve").after("10ms");
    let charged = || reserved().succeeded("charge").after("1h");
    let committing = || order().started_with(&all).succeeded("reserve").succeeded("charge").after("5ms");
    let unavailable = |attempt| (Verb::Run, 1, attempt, Some(support::failed("UNAVAILABLE", true)));
    let (verb, epoch, attempt, busy) = unavailable(1);
    vec![
        ("order-completed", committing().succeeded("commit")),
        (
            "order-paid-and-fulfilled-later",
            order()
                .started()
                .succeeded("reserve")
                .after("5m")
                .signal("pay", "p1")
                .succeeded("charge")
                .after("2d")
                .signal("fulfil", "f1")
                .succeeded("commit"),
        ),
        (
            "order-early-signals",
            order().started().signal("fulfil", "f1").signal("pay", "p1").succeeded("reserve"),
        ),
        ("order-out-of-stock", order().started().after("3ms").rejected("reserve", "OUT_OF_STOCK")),
        ("order-declined", reserved().rejected("charge", "PAYMENT_DECLINED").undone("reserve")),
        ("order-commit-rejected", committing().rejected("commit", "GONE").undone("charge").undone("reserve")),
        (
            "order-cancelled-while-reserving",
            order().started().after("1ms").cancelled().nothing_to_undo("reserve"),
        ),
        (
            "order-cancelled-while-waiting-for-payment",
            order().started().succeeded("reserve").after("1m").cancelled().undone("reserve"),
        ),
        (
            "order-cancelled-while-charging",
            // The charge had succeeded; its answer comes late.
            reserved().cancelled().succeeded("charge").undone("charge").undone("reserve"),
        ),
        (
            "order-cancelled-after-a-late-answer-to-the-undone",
            reserved().cancelled().undone("charge").undone("reserve").after("1h").succeeded("charge"),
        ),
        (
            "order-cancelled-while-waiting-for-the-seller",
            charged().cancelled().undone("charge").undone("reserve"),
        ),
        ("order-pay-timeout", order().started().succeeded("reserve").until_due().fired().undone("reserve")),
        ("order-reserve-gave-up", order().started().until_due().fired().nothing_to_undo("reserve")),
        (
            "order-charge-retried",
            reserved().outcome("charge", verb, epoch, attempt, busy).until_due().fired().succeeded("charge"),
        ),
        (
            "order-charge-unresolved-then-settled",
            reserved().failed_final("charge").after("1h").succeeded("charge"),
        ),
        (
            "order-pivot-sealed",
            committing().until_due().fired().sealed("commit").undone("charge").undone("reserve"),
        ),
        (
            "order-pivot-succeeded-after-all",
            committing().until_due().fired().failed("commit").until_due().fired().answer(
                "commit",
                Verb::SealRun,
                support::succeeded("commit"),
            ),
        ),
        ("order-pivot-unresolved", committing().until_due().fired().failed_final("commit")),
        (
            "order-undo-parked-and-retried-slowly",
            order().started().cancelled().failed_to_the_end("reserve").until_due().fired().undone("reserve"),
        ),
        (
            "order-undo-failed-for-good",
            order().started().cancelled().failed_final("reserve").after("1d").undone("reserve"),
        ),
        (
            "order-complete-contradicted",
            committing().succeeded("commit").after("1d").rejected("commit", "GONE"),
        ),
        (
            "order-undone-contradicted",
            order().started().cancelled().nothing_to_undo("reserve").after("1d").succeeded("reserve"),
        ),
        ("order-sealed-by-nobody", order().started().run("reserve", support::sealed()).succeeded("reserve")),
        (
            "order-skipped-and-undone-by-hand",
            reserved()
                .failed_final("charge")
                .after("1h")
                .skipped("charge")
                .sealed("charge")
                .after("1d")
                .cancelled()
                .resolved("charge")
                .answer("charge", Verb::SealUndo, support::nothing_to_undo())
                .undone("reserve"),
        ),
        (
            "order-undo-resolved-after-the-fence",
            reserved()
                .cancelled()
                .failed_final("charge")
                .retried("charge")
                .failed_final("charge")
                .resolved("charge")
                .answer("charge", Verb::SealUndo, support::fenced())
                .undone("reserve"),
        ),
        (
            "order-paused-postponed-compensated",
            reserved()
                .after("25m")
                .paused()
                .after("1h")
                .resumed()
                .after("40m")
                .postponed("payment")
                .compensated()
                .undone("charge")
                .undone("reserve"),
        ),
        ("order-pivot-compensated", committing().compensated().sealed("commit").undone("charge")),
        (
            "no-pivot-tried-again-after-a-no",
            saga(&no_pivot())
                .started()
                .succeeded("check")
                .rejected("book", "FULL")
                .after("10m")
                .retried("book")
                .outcome("book", Verb::Run, 2, 1, Some(support::succeeded("book"))),
        ),
        (
            "order-complete-contradicted-and-looked-into",
            committing().succeeded("commit").rejected("commit", "GONE").resolved(""),
        ),
        (
            "diamond-completed",
            saga(&diamond())
                .started()
                .succeeded("open")
                .succeeded("right")
                .succeeded("left")
                .succeeded("join"),
        ),
        (
            "diamond-one-branch-rejected",
            saga(&diamond())
                .started()
                .succeeded("open")
                .rejected("left", "NO")
                .nothing_to_undo("right")
                .undone("open"),
        ),
        (
            "diamond-undone-from-the-join",
            saga(&diamond())
                .started()
                .succeeded("open")
                .succeeded("left")
                .succeeded("right")
                .rejected("join", "NO")
                .undone("right")
                .undone("left")
                .undone("open"),
        ),
        (
            "no-pivot-parked-on-a-no",
            saga(&no_pivot()).started().rejected("book", "FULL").succeeded("check").after("1h").cancelled(),
        ),
        (
            "no-pivot-dropped",
            saga(&no_pivot())
                .started()
                .succeeded("book")
                .until_due()
                .fired()
                .undone("book")
                .succeeded("check"),
        ),
        (
            "pivot-first-everything-late",
            saga(&pivot_first())
                .started()
                .succeeded("pay")
                .failed_to_the_end("ship")
                .until_due()
                .fired()
                .succeeded("ship")
                .until_due()
                .fired()
                .signal("pickup", "s1")
                .signal("rate", "r1")
                .until_due()
                .fired()
                .succeeded("thank"),
        ),
        (
            "pivot-first-rejected-behind-it",
            saga(&pivot_first()).started().succeeded("pay").rejected("ship", "NO"),
        ),
        (
            "stubborn-pivot-rejected-and-parked",
            saga(&stubborn()).started().succeeded("hold").rejected("take", "NO"),
        ),
        (
            "stubborn-pivot-rejected-after-giving-up",
            saga(&stubborn())
                .started()
                .succeeded("hold")
                .until_due()
                .fired()
                .rejected("take", "NO")
                .undone("hold"),
        ),
        ("stubborn-too-old", saga(&stubborn()).started().failed_final("hold").after("2h").succeeded("hold")),
    ]
}

fn definition(name: &str) -> Arc<Definition> {
    let all = [order(), diamond(), no_pivot(), pivot_first(), stubborn()];
    all.into_iter().find(|d| d.name == name).unwrap_or_else(|| panic!("no definition {name:?}"))
}

/// A stored history.
#[derive(Debug, PartialEq)]
struct Stored {
    definition: String,
    hash: String,
    saga: Uuid,
    request: Vec<u8>,
    rows: Vec<Row>,
    state: Vec<u8>,
}

impl Stored {
    fn of(saga: &Saga) -> Stored {
        Stored {
            definition: saga.definition.name.clone(),
            hash: hex(&saga.definition.hash()),
            saga: saga.id,
            request: saga.request.clone(),
            rows: saga.rows.clone(),
            state: state::encode(&saga.state),
        }
    }

    fn read(text: &str) -> Stored {
        let field = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no line {key:?}")).to_owned()
        };
        Stored {
            definition: field("definition"),
            hash: field("hash"),
            saga: field("saga").parse().expect("an id"),
            request: unhex(&field("request")),
            rows: text.lines().filter_map(|line| line.strip_prefix("row ")).map(read_row).collect(),
            state: unhex(&field("state")),
        }
    }

    /// Everything, and what each row changed as it is folded now.
    fn write(&self) -> String {
        let definition = definition(&self.definition);
        let mut out = format!("definition {}\nhash {}\nsaga {}\n", self.definition, self.hash, self.saga);
        writeln!(out, "request {}\n", hex(&self.request)).unwrap();
        let mut state = State::new(&definition);
        for row in &self.rows {
            let Row { seq, at, rules, kind, actor, input, digest } = row;
            writeln!(out, "row {seq} {at} {rules} {kind} {actor} {:016x} {}", *digest as u64, hex(input))
                .unwrap();
            let before = state.clone();
            let input = match input::decode(input).expect("an input") {
                Input::Started(_) => Input::Started(history::started(&self.request).expect("a request")),
                other => other,
            };
            let cx = Context { saga: self.saga, definition: &definition, now: *at };
            let effects = advance(cx, &mut state, &input).expect("an accepted input");
            writeln!(out, "  # {} {}", Input::kind_name(*kind), support::at(*at)).unwrap();
            for line in support::change(&definition, &before, &state, &effects).lines() {
                writeln!(out, "  # {line}").unwrap();
            }
        }
        writeln!(out, "\nstate {}", hex(&self.state)).unwrap();
        out
    }
}

fn read_row(line: &str) -> Row {
    let words: Vec<&str> = line.split(' ').collect();
    let [seq, at, rules, kind, actor, digest, input] = words[..] else { panic!("not a row: {line}") };
    Row {
        seq: seq.parse().expect("seq"),
        at: at.parse().expect("at"),
        rules: rules.parse().expect("rules"),
        kind: kind.parse().expect("kind"),
        actor: actor.into(),
        digest: u64::from_str_radix(digest, 16).expect("digest") as i64,
        input: unhex(input),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect()
}

#[test]
fn golden_histories_replay_row_by_row() {
    for (name, saga) in histories() {
        let file = format!("history/{name}.txt");
        if golden::blessing() {
            golden::compare(&file, &Stored::of(&saga).write());
        }
        let stored = Stored::read(&golden::read(&file));
        let definition = definition(&stored.definition);
        assert_eq!(stored.hash, hex(&definition.hash()), "{file}: the definition has changed");
        let state = replay(&definition, stored.saga, &stored.request, &stored.rows);
        let state = state.unwrap_or_else(|mismatch| panic!("{file}: {mismatch}"));
        assert_eq!(hex(&state::encode(&state)), hex(&stored.state), "{file}: the state");
        golden::compare(&file, &stored.write());
    }
}

#[test]
fn no_golden_history_is_forgotten() {
    let mut files: Vec<String> = std::fs::read_dir(golden::path("history"))
        .expect("the golden folder")
        .map(|entry| entry.expect("a file").file_name().into_string().expect("a name"))
        .collect();
    files.sort();
    let mut names: Vec<String> = histories().iter().map(|(name, _)| format!("{name}.txt")).collect();
    names.sort();
    assert_eq!(files, names);
}

#[test]
fn a_spoilt_history_is_found_out() {
    let (_, whole) = histories().swap_remove(0);
    let said = |spoil: &dyn Fn(&mut Vec<u8>, &mut Vec<Row>)| {
        let (mut request, mut rows) = (whole.request.clone(), whole.rows.clone());
        spoil(&mut request, &mut rows);
        let mismatch =
            replay(&whole.definition, whole.id, &request, &rows).expect_err("it was not found out");
        mismatch.to_string()
    };
    assert_eq!(said(&|_, rows| drop(rows.remove(1))), "row 3 follows row 1");
    assert_eq!(said(&|_, rows| rows.swap(1, 2)), "row 3 follows row 1");
    assert_eq!(said(&|_, rows| rows[1].rules = 2), "row 2 was decided by rules 2, this binary knows up to 1");
    assert!(said(&|_, rows| rows[1].input = vec![0xff]).starts_with("row 2: not an input: "));
    assert_eq!(
        said(&|_, rows| rows[1].input = vec![]),
        "row 2: not an input: a kind of input that this binary does not know"
    );
    let repeat = |_: &mut Vec<u8>, rows: &mut Vec<Row>| rows[2].input = rows[1].input.clone();
    assert_eq!(said(&repeat), "row 3 was accepted and is refused now: it was taken before");
    let digest = |_: &mut Vec<u8>, rows: &mut Vec<Row>| rows[2].digest ^= 1;
    assert!(said(&digest).starts_with("row 3: digest "));
    // The time is part of what was decided.
    assert!(said(&|_, rows| rows[1].at += 1).starts_with("row 2: digest "));
    let foreign = |request: &mut Vec<u8>, _: &mut Vec<Row>| {
        *request = prost::Message::encode_to_vec(&Request { input: None, signals: vec![] });
    };
    let other = "the stored request is not the one that the history began with";
    assert_eq!(said(&foreign), other);
    assert_eq!(said(&|request, _| *request = vec![0xff]), other);
    // A request that is another's is found even where nobody reads it.
    assert!(matches!(replay(&whole.definition, whole.id, b"", &whole.rows), Err(Mismatch::Request)));
}

#[test]
fn an_effect_too_many_is_found_out() {
    let (_, saga) = histories().swap_remove(0);
    let state = state::encode(&saga.state);
    let effects = saga.last.clone().unwrap();
    assert_eq!(history::digest(&state, &effects), saga.rows.last().unwrap().digest);
    let mut more = effects.clone();
    more.commands.push(skald_core::CommandRef::default());
    let mut less = effects.clone();
    less.events.pop();
    let mut later = effects.clone();
    later.wake_at += 1;
    let elsewhere = Effects { definition: vec![2; 32], ..effects.clone() };
    for other in [more, less, later, elsewhere] {
        assert_ne!(history::digest(&state, &other), history::digest(&state, &effects));
    }
}

#[test]
fn a_state_of_a_newer_format_is_refused() {
    let error = state::decode(2, &state::encode(&State::new(&order()))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the state has format 2, this binary reads up to 1: finish the rollout or go back to the newer binary"
    );
    assert!(state::decode(1, &[0xff]).unwrap_err().to_string().starts_with("the state's bytes are broken: "));
}

/// A state with something in every field.
fn full_state() -> State {
    let step = Step {
        name: "charge".into(),
        status: StepStatus::Undoing as i32,
        epoch: 2,
        attempt: 3,
        pending: Pending::Retry as i32,
        retry_at: support::T0 + 1,
        entered_at: support::T0 + 2,
        give_up_at: support::T0 + 3,
        run: Verdict::Succeeded as i32,
        undo: Verdict::Fenced as i32,
        contradicted: 1 << 2 | 1 << 3,
        parked: "UNRESOLVED: ask the bank".into(),
        last_error: Some(StepError { code: "UNAVAILABLE".into(), message: "no".into(), at: support::T0 + 4 }),
        result: Some(support::payload("result")),
        signal_id: "s1".into(),
        vouched: true,
        seal: Seal::Skip as i32,
    };
    State {
        phase: Phase::Compensating as i32,
        version: 7,
        now: support::T0 + 5,
        created_at: support::T0,
        stage: 2,
        steps: vec![step],
        early: vec![support::a_signal("pay", "p1")],
        reason: "CUSTOMER".into(),
        reason_detail: Some(support::payload("detail")),
        parked: "CONTRADICTION: of sorts".into(),
        paused_at: support::T0 + 6,
    }
}

fn all_inputs() -> Vec<(String, Input)> {
    let answers: Vec<Answer> = vec![
        support::succeeded("s"),
        support::rejected("NO"),
        support::sealed(),
        support::undone(),
        support::nothing_to_undo(),
        support::fenced(),
        Answer::Failed(input::Failure {
            code: "BUSY".into(),
            message: "later".into(),
            retryable: true,
            retry_after_ms: 5000,
        }),
    ];
    let verbs = [Verb::Run, Verb::Run, Verb::SealRun, Verb::Undo, Verb::Undo, Verb::SealUndo, Verb::Run];
    let outcomes = answers.into_iter().zip(verbs).map(|(answer, verb)| {
        let name = format!("outcome {} {}", verb.name(), answer.name());
        let (step, verb, answer) = ("charge".into(), verb as i32, Some(answer));
        (name, Input::Outcome(Outcome { step, verb, epoch: 1, attempt: 2, answer }))
    });
    let started = Started { request_hash: vec![7; 32], signals: vec![] };
    let mut inputs = vec![
        ("started".into(), Input::Started(started)),
        ("deadline fired".into(), Input::DeadlineFired(DeadlineFired {})),
        ("cancel requested".into(), Input::CancelRequested(CancelRequested { note: "no more".into() })),
        ("signal".into(), Input::Signal(support::a_signal("pay", "p1"))),
    ];
    inputs.extend(outcomes);
    let acts = [
        support::retry("charge"),
        support::skip("charge", true, Some("BY HAND")),
        support::resolve("charge", false),
        Act::Compensate(Unit {}),
        Act::Cancel(Unit {}),
        Act::Pause(Unit {}),
        Act::Resume(Unit {}),
        Act::Migrate(input::Migrate { from: vec![1; 32], to: vec![2; 32] }),
    ];
    inputs.push(("postponed".into(), Input::Postponed(Postponed { participant: "payment".into() })));
    inputs.extend(acts.into_iter().map(|act| {
        let (request_id, reason) = ("r1".into(), "because".into());
        let name = format!("operator {}", act.name());
        (name, Input::Operator(Operator { request_id, expected_version: 3, reason, act: Some(act) }))
    }));
    inputs
}

fn full_effects() -> Effects {
    let why = || Why { reason: "CUSTOMER".into(), detail: Some(support::payload("detail")) };
    let events = [
        Event::Started(Plain {}),
        Event::Stage(Named { stage: "PAID".into() }),
        Event::Turned(why()),
        Event::Completed(Plain {}),
        Event::Compensated(why()),
    ];
    Effects {
        commands: vec![skald_core::CommandRef {
            step: "charge".into(),
            verb: Verb::SealRun as i32,
            epoch: 1,
            attempt: 2,
        }],
        wake_at: support::T0,
        events: events.into_iter().map(|event| EventRecord { event: Some(event) }).collect(),
        definition: Vec::new(),
    }
}

#[test]
fn encodings_are_golden() {
    let mut out = format!("state {}\n", hex(&state::encode(&full_state())));
    for (name, input) in all_inputs() {
        writeln!(out, "{name}: {}", hex(&input::encode(&input))).unwrap();
    }
    writeln!(out, "effects {}", hex(&prost::Message::encode_to_vec(&full_effects()))).unwrap();
    let moving = Effects { definition: vec![2; 32], ..Effects::default() };
    writeln!(out, "effects of a move {}", hex(&prost::Message::encode_to_vec(&moving))).unwrap();
    let request =
        Request { input: Some(support::payload("input")), signals: vec![support::a_signal("pay", "p1")] };
    writeln!(out, "request {}", hex(&prost::Message::encode_to_vec(&request))).unwrap();
    golden::compare("encodings.txt", &out);
}

#[test]
fn encodings_are_read_back() {
    assert_eq!(state::decode(skald_core::FORMAT, &state::encode(&full_state())).unwrap(), full_state());
    for (name, input) in all_inputs() {
        assert_eq!(input::decode(&input::encode(&input)).unwrap(), input, "{name}");
    }
    let effects = prost::Message::encode_to_vec(&full_effects());
    assert_eq!(<Effects as prost::Message>::decode(&effects[..]).unwrap(), full_effects());
}

#[test]
fn numbers_and_names_are_fixed() {
    let kinds = (1..=8).map(Input::kind_name).collect::<Vec<_>>();
    let names = [
        "STARTED",
        "OUTCOME",
        "DEADLINE_FIRED",
        "CANCEL_REQUESTED",
        "SIGNAL",
        "POSTPONED",
        "OPERATOR",
        "UNKNOWN",
    ];
    assert_eq!(kinds, names);
    for (_, input) in all_inputs() {
        assert_eq!(input::encode(&input)[0] >> 3, input.kind() as u8, "the kind is the field's number");
    }
    let id = command_id(support::ID, "charge", Verb::Run, 1);
    assert_eq!(id.to_string(), "92b7e960-23a0-5c31-b4be-b86db2caf8b8");
    assert_ne!(id, command_id(support::ID, "charge", Verb::SealRun, 1));
    assert_ne!(id, command_id(support::ID, "charge", Verb::Run, 2));
}

#[test]
fn a_refused_input_leaves_no_row() {
    let before = saga(&order()).started();
    let rows = before.rows.clone();
    let after = before.succeeded("charge");
    assert!(matches!(after.last, Err(Refused::Malformed(_))));
    assert_eq!(after.rows, rows);
}
