//! The tables. A state is written `R<verdict> U<verdict>` with the letters of the column; `?` marks an intent that waits for a
//! person. A plan is written whole: what the domain was asked, rows, intents opened, intents met, the answer, alarms.

use super::*;
use crate::outcomes::label;

const STATES: &[(&str, [&str; 4])] = &[
    // what is stored  RUN, UNDO, SEAL_RUN, SEAL_UNDO
    ("", ["run +RS =succeeded", "seal +RT +UN =nothing_to_undo", "seal +RT =sealed", "seal +RT +UF =fenced"]),
    ("RS", ["=succeeded", "undo +US =undone", "=succeeded", "+UF =fenced"]),
    ("RR", ["=rejected", "+UN =nothing_to_undo", "=rejected", "+UF =fenced"]),
    ("RT", ["=sealed", "+UN =nothing_to_undo", "=sealed", "+UF =fenced"]),
    ("RI", ["attempt:R", "+UI queue:U wake:R", "wake:R", "wake:R"]),
    ("RI?", ["attempt:R", "+UI queue:U wake:R", "wake:R =failed_final", "wake:R =failed_final"]),
    ("RS US", ["=succeeded", "=undone", "=succeeded", "=undone"]),
    ("RS UF", ["=succeeded", "=fenced", "=succeeded", "=fenced"]),
    ("RS UI", ["=succeeded", "attempt:U", "=succeeded", "wake:U"]),
    ("RS UI?", ["=succeeded", "attempt:U", "=succeeded", "wake:U =failed_final"]),
    ("RR UN", ["=rejected", "=nothing_to_undo", "=rejected", "=nothing_to_undo"]),
    ("RR UF", ["=rejected", "=fenced", "=rejected", "=fenced"]),
    ("RT UN", ["=sealed", "=nothing_to_undo", "=sealed", "=nothing_to_undo"]),
    ("RT UF", ["=sealed", "=fenced", "=sealed", "=fenced"]),
    ("RR UI", ["=rejected", "attempt:U", "=rejected", "wake:U"]),
    ("RI UI", ["attempt:R", "attempt:U wake:R", "wake:R", "wake:R wake:U"]),
    ("RI? UI?", ["attempt:R", "attempt:U wake:R", "wake:R =failed_final", "wake:R wake:U =failed_final"]),
];

const VERBS: [Verb; 4] = [Verb::Run, Verb::Undo, Verb::SealRun, Verb::SealUndo];

#[test]
fn every_verb_meets_every_state() {
    for (state, expected) in STATES {
        for (verb, expected) in VERBS.into_iter().zip(expected) {
            let mut domain = Told::default();
            let plan = decide(&[command(150, verb)], &stored(150, state), &mut domain);
            assert_eq!(show(&plan, &domain), *expected, "{verb:?} meets {state:?}");
        }
    }
}

#[test]
fn the_domains_answers_are_stored_unless_they_failed() {
    let failed = Failed::retryable("UNAVAILABLE", "later");
    for (state, verb, run, undo, expected) in [
        ("", Verb::Run, Some(RunAnswer::Rejected(rejection())), None, "run +RR =rejected"),
        ("", Verb::Run, Some(RunAnswer::Failed(failed.clone())), None, "run =failed doubted"),
        (
            "",
            Verb::Run,
            Some(RunAnswer::Failed(Failed::last("BAD_INPUT", "no"))),
            None,
            "run =failed_final doubted",
        ),
        ("", Verb::Run, Some(RunAnswer::Intent), None, "run +RI open:R"),
        ("RS", Verb::Undo, None, Some(UndoAnswer::Failed(failed)), "undo =failed doubted"),
        (
            "RS",
            Verb::Undo,
            None,
            Some(UndoAnswer::Failed(Failed::last("GONE", "no"))),
            "undo =failed_final doubted",
        ),
        ("RS", Verb::Undo, None, Some(UndoAnswer::Intent), "undo +UI open:U"),
    ] {
        let mut domain = Told { run, undo, ..Told::default() };
        let plan = decide(&[command(150, verb)], &stored(150, state), &mut domain);
        assert_eq!(show(&plan, &domain), expected, "{verb:?} meets {state:?}");
    }
}

#[test]
fn what_cannot_be_decided_is_refused_before_the_domain_is_asked() {
    let with = |saga, verb, change: fn(&mut Command)| {
        let mut c = command(saga, verb);
        change(&mut c);
        c
    };
    for (c, state, expected) in [
        (command(99, Verb::Run), "", "=failed_final"),
        (command(99, Verb::Undo), "RS", "=failed_final"),
        (command(100, Verb::Run), "", "run +RS =succeeded"),
        (command(199, Verb::Run), "", "run +RS =succeeded"),
        (command(200, Verb::Run), "", "=failed alarm"),
        (with(150, Verb::Run, |c| c.action = "paint".to_owned()), "", "=failed"),
        // the undo's name is not the action's
        (with(150, Verb::Undo, |c| c.action = "reserve".to_owned()), "RS", "=failed"),
        (with(150, Verb::SealUndo, |c| c.action = "reserve".to_owned()), "", "=failed"),
        (with(150, Verb::SealRun, |c| c.action = "paint".to_owned()), "", "=failed"),
        // what another version decided is repeated all the same
        (with(150, Verb::Run, |c| c.action = "paint".to_owned()), "RS", "=succeeded"),
        (with(150, Verb::Run, |c| c.protocol = 2), "RS", "=failed"),
    ] {
        let mut domain = Told::default();
        let plan = decide(std::slice::from_ref(&c), &stored(c.saga.as_u128(), state), &mut domain);
        assert_eq!(show(&plan, &domain), expected, "{c:?} meets {state:?}");
    }
    let code = |c: Command| match decide(&[c], &Stored::default(), &mut Told::default()).answers.pop() {
        Some(Some(Answer::Failed(failed))) => (failed.code, failed.retryable),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(command(99, Verb::Run)), ("TOO_OLD".to_owned(), false));
    assert_eq!(code(command(200, Verb::Run)), ("FROM_THE_FUTURE".to_owned(), true));
    assert_eq!(code(with(150, Verb::Run, |c| c.protocol = 2)), ("UNIMPLEMENTED".to_owned(), true));
    assert_eq!(code(with(150, Verb::Run, |c| c.action.clear())), ("UNIMPLEMENTED".to_owned(), true));
}

/// One failure stands beside the others; rows are sorted, answers are in arrival order.
#[test]
fn a_whole_wave_is_one_plan() {
    let wave = [
        command(190, Verb::Run),
        command(110, Verb::Undo),
        command(250, Verb::Run),
        command(150, Verb::Run),
        command(120, Verb::Undo),
    ];
    let mut known = rows(150, "RS").0;
    known.extend(rows(120, "RI").0);
    let plan = decide(&wave, &Stored::new(known, []), &mut Told::default());
    let succeeded = Answer::Succeeded(Succeeded { result: result() });
    let failed = Failed::retryable("FROM_THE_FUTURE", "the saga's id is from the future");
    let expected = Plan {
        inserts: vec![
            Row::bare(&wave[1], Slot::Run, Verdict::Sealed),
            Row::bare(&wave[1], Slot::Undo, Verdict::Nothing),
            Row::bare(&wave[4], Slot::Undo, Verdict::Intent),
            Row::answered(&wave[0], Slot::Run, Verdict::Done, &succeeded),
        ],
        touches: vec![Touch { command: 4, slot: Slot::Run, attempt: false }],
        opened: vec![Open { command: 4, slot: Slot::Undo, ready: false }],
        answers: vec![
            Some(succeeded.clone()),
            Some(Answer::NothingToUndo(NothingToUndo {})),
            Some(failed.into()),
            Some(succeeded),
            None,
        ],
        alarms: vec![Alarm::FromTheFuture { command: 2 }],
        failed_by_domain: false,
    };
    assert_eq!(plan, expected);
}

#[test]
fn another_epoch_or_step_is_another_command() {
    let stored = stored(150, "RT UN");
    for change in [|c: &mut Command| c.epoch = 2, |c: &mut Command| c.step = "reserve2".to_owned()] {
        let mut c = command(150, Verb::Run);
        change(&mut c);
        let mut domain = Told::default();
        let plan = decide(&[c], &stored, &mut domain);
        assert_eq!(show(&plan, &domain), "run +RS =succeeded");
    }
}

fn stored(saga: u128, state: &str) -> Stored {
    let (rows, unresolved) = rows(saga, state);
    Stored::new(rows, unresolved)
}

fn rows(saga: u128, state: &str) -> (Vec<Row>, Vec<(Key, Slot)>) {
    let c = command(saga, Verb::Run);
    let mut unresolved = Vec::new();
    let row = |text: &str| {
        let bytes = text.as_bytes();
        let slot = Slot::from_code(bytes[0] as i8).expect("R or U");
        let verdict = Verdict::from_code(bytes[1] as i8).expect("a verdict");
        if text.ends_with('?') {
            unresolved.push((c.key(), slot));
        }
        let answer = match (slot, verdict) {
            (Slot::Run, Verdict::Done) => Some(Answer::Succeeded(Succeeded { result: result() })),
            (Slot::Undo, Verdict::Done) => Some(Answer::Undone(Undone { result: result() })),
            (_, Verdict::Rejected) => Some(Answer::Rejected(rejection().into())),
            _ => None,
        };
        Row { key: c.key(), slot, verdict, answer }
    };
    (state.split_whitespace().map(row).collect(), unresolved)
}

/// The whole plan of one command, and what the domain was asked.
fn show(plan: &Plan, domain: &Told) -> String {
    let mut text: Vec<String> = domain.asked.iter().map(ToString::to_string).collect();
    let letter = |slot: Slot| char::from(slot.code() as u8);
    for row in &plan.inserts {
        text.push(format!("+{}{}", letter(row.slot), char::from(row.verdict.code() as u8)));
        let keeps = matches!(row.verdict, Verdict::Done | Verdict::Rejected);
        assert_eq!(row.answer.is_some(), keeps, "{row:?}");
        assert!(row.answer.is_none() || Some(&row.answer) == plan.answers.first(), "stored as answered");
    }
    for open in &plan.opened {
        let name = if open.ready { "open" } else { "queue" };
        text.push(format!("{name}:{}", letter(open.slot)));
    }
    for touch in &plan.touches {
        let name = if touch.attempt { "attempt" } else { "wake" };
        text.push(format!("{name}:{}", letter(touch.slot)));
    }
    assert_eq!(plan.answers.len(), 1);
    text.extend(plan.answers[0].as_ref().map(|answer| format!("={}", label(answer))));
    text.extend(plan.failed_by_domain.then(|| "doubted".to_owned()));
    text.extend(plan.alarms.iter().map(|_| "alarm".to_owned()));
    text.join(" ")
}
