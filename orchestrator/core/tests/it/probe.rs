//! One step ahead: which inputs are tried, that this binary stands all of them wherever a saga may stand, and that the
//! probe sees one that it does not stand.

use std::collections::BTreeSet;

use skald_core::{
    Definition, State, advance, history,
    machine::Context,
    probe::{inputs, probe},
};

use crate::{
    definitions::order,
    history::histories,
    support::{ID, Saga, saga},
};

fn names(saga: &Saga) -> Vec<String> {
    inputs(&saga.definition, &saga.state).into_iter().map(|probe| probe.name).collect()
}

#[test]
fn everything_that_can_come_next() {
    let charging = saga(&order()).started_with(&[("pay", "p")]).succeeded("reserve");
    let (outcomes, rest): (Vec<_>, Vec<_>) =
        names(&charging).into_iter().partition(|name| name.starts_with("charge "));
    let kinds = [
        "failed",
        "failed, final",
        "succeeded",
        "sealed",
        "rejected OUT_OF_STOCK",
        "rejected PAYMENT_DECLINED",
        "rejected PROBE",
    ];
    assert_eq!(outcomes, kinds.map(|kind| format!("charge RUN/1 attempt 1 {kind}")));
    let (operator, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|name| name.starts_with("operator "));
    assert_eq!(
        rest,
        [
            "signal pay",
            "signal fulfil",
            "deadline fired",
            "postponed by inventory",
            "postponed by payment",
            "cancel"
        ]
    );
    let verbs: BTreeSet<_> = operator.iter().filter_map(|name| name.split(' ').nth(1)).collect();
    assert_eq!(
        verbs,
        BTreeSet::from(["CANCEL", "COMPENSATE", "PAUSE", "RESOLVE", "RESUME", "RETRY", "SKIP"])
    );
    // Six for the saga, seven for each of its five steps.
    assert_eq!(operator.len(), 6 + 7 * 5);
}

#[test]
fn undo_has_its_own_answers_and_a_pause_silences_nobody() {
    let undoing = saga(&order()).started().cancelled();
    let outcomes =
        |saga: &Saga| names(saga).into_iter().filter(|n| n.starts_with("reserve ")).collect::<Vec<_>>();
    let kinds = ["failed", "failed, final", "undone", "nothing to undo", "fenced"];
    assert_eq!(outcomes(&undoing), kinds.map(|kind| format!("reserve UNDO/1 attempt 1 {kind}")));
    assert_eq!(outcomes(&undoing.clone().paused()), outcomes(&undoing));
    assert!(!names(&undoing.paused()).contains(&"deadline fired".to_owned()), "a pause has no deadline");
}

#[test]
fn most_of_them_are_accepted_by_a_saga_on_its_way() {
    let saga = saga(&order()).started();
    let cx = |now| Context { saga: ID, definition: &saga.definition, now };
    let all = inputs(&saga.definition, &saga.state);
    let accepted: Vec<_> = all
        .iter()
        .filter(|probe| advance(cx(probe.now), &mut saga.state.clone(), &probe.input).is_ok())
        .map(|probe| probe.name.as_str())
        .collect();
    for name in
        ["deadline fired", "postponed by inventory", "cancel", "operator COMPENSATE", "operator SKIP reserve"]
    {
        assert!(accepted.contains(&name), "{name} in {accepted:?}");
    }
}

#[test]
fn every_state_of_every_golden_history_stands_every_probe() {
    let mut tried = 0;
    for (name, saga) in histories() {
        let mut state = State::new(&saga.definition);
        for row in &saga.rows {
            history::fold(&saga.definition, saga.id, &saga.request, &mut state, row).expect("folds");
            assert_eq!(probe(&saga.definition, saga.id, &state), [], "{name} after row {}", row.seq);
            tried += inputs(&saga.definition, &state).len();
        }
    }
    assert!(tried > 5_000, "{tried}");
}

#[test]
fn a_panic_is_seen_and_named() {
    let saga = saga(&order()).started();
    let mut broken: Definition = (*order()).clone();
    broken.steps[1].stage = 99;
    let found = probe(&broken, ID, &State { stage: 0, ..saga.state.clone() });
    assert_eq!(found, [], "the stage is far away");
    let mut waiting = saga.succeeded("reserve").state;
    waiting.stage = 0;
    let found = probe(&broken, ID, &waiting);
    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"signal pay"), "{found:?}");
    assert!(found.iter().all(|(_, what)| what.starts_with("it panics: ")), "{found:?}");
}

#[test]
fn a_broken_invariant_is_seen() {
    // Its RUN ended and still waits for an answer.
    let mut state = saga(&order()).started().state;
    state.steps[0].set_status(skald_core::state::StepStatus::Succeeded);
    let found = probe(&order(), ID, &state);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "as it stands");
    assert!(found[0].1.contains("something is pending without a verb"), "{found:?}");
    let (_, what) = &probe(&Definition::default(), ID, &state)[0];
    assert_eq!(what, "it has a step that its definition has not");
}
