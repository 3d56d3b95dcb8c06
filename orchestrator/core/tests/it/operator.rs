//! A named person acts: every verb in every place, and the ways that lead on from there.

use std::sync::Arc;

use skald_core::{
    Definition,
    definition::parse,
    input::{Act, Unit, Verb},
};

use crate::{definitions::*, support::*};

/// As the order saga, but what is out of stock waits for a person.
fn patient() -> Arc<Definition> {
    let text = r#"
        name = "patient"
        version = 1
        max_age = "1d"
        step = [
            { name = "reserve", participant = "p", action = "reserve", undo = "release", on_rejected = "park" },
            { name = "charge", participant = "q", action = "charge", undo = "refund" },
            { name = "commit", participant = "p", action = "commit", pivot = true, needs = ["reserve"] },
        ]
    "#;
    Arc::new(parse(text).expect("a sound definition"))
}

/// A saga, and the step that an operator would think of.
fn places() -> Vec<(&'static str, &'static str, Saga)> {
    let started = saga(&order()).started();
    let all = [("pay", "p1"), ("fulfil", "f1")];
    let charging = saga(&order()).started_with(&[("pay", "p1")]).succeeded("reserve");
    let committing = saga(&order()).started_with(&all).succeeded("reserve").succeeded("charge");
    let sealing = committing.clone().until_due().fired();
    let undoing = charging.clone().cancelled();
    let after = saga(&pivot_first()).started().succeeded("pay");
    let vouched = charging.clone().skipped("charge").sealed("charge");
    let by_hand = vouched.clone().cancelled();
    vec![
        ("in flight", "reserve", started.clone()),
        ("not reached", "charge", started.clone()),
        ("backing off", "charge", charging.clone().failed("charge")),
        ("failed for good", "charge", charging.clone().failed_final("charge")),
        ("waiting for a signal", "pay", started.clone().succeeded("reserve")),
        ("rejected and parked", "reserve", saga(&patient()).started().rejected("reserve", "OUT_OF_STOCK")),
        ("answered unbelievably", "reserve", started.clone().run("reserve", sealed())),
        ("done", "reserve", charging.clone()),
        ("paused", "charge", charging.clone().paused()),
        ("pivot in flight", "commit", committing.clone()),
        ("pivot failed for good", "commit", committing.clone().failed_final("commit")),
        ("pivot sealed by its deadline", "commit", sealing.clone()),
        ("pivot sealed, failed for good", "commit", sealing.failed_final("commit")),
        ("pivot sealed by an operator", "commit", committing.clone().compensated()),
        ("being skipped", "charge", charging.clone().skipped("charge")),
        (
            "being skipped, failed for good",
            "charge",
            charging.clone().skipped("charge").failed_final("charge"),
        ),
        ("vouched", "charge", vouched),
        ("after the pivot", "ship", after.clone()),
        ("after the pivot, parked slowly", "ship", after.clone().failed_to_the_end("ship")),
        ("after the pivot, no signal", "pickup", after.after("1h").fired()),
        ("undoing", "charge", undoing.clone()),
        ("undoing, failed for good", "charge", undoing.clone().failed_final("charge")),
        ("undoing, parked slowly", "charge", undoing.clone().failed_to_the_end("charge")),
        ("being resolved", "charge", undoing.clone().resolved("charge")),
        ("vouched, to be undone", "charge", by_hand),
        ("undone", "charge", undoing.clone().undone("charge").undone("reserve")),
        ("complete", "commit", committing.clone().succeeded("commit")),
        ("complete, contradicted", "commit", committing.succeeded("commit").rejected("commit", "GONE")),
        ("too old", "ship", saga(&pivot_first()).started().succeeded("pay").after("2h").fired()),
    ]
}

/// `SKALD_BLESS=1` writes the table anew.
#[test]
fn every_place_and_every_verb() {
    let mut table = String::new();
    for (place, step, saga) in places() {
        let result = Some("BY HAND");
        let verbs = [
            ("retry", retry(step)),
            ("retry all", retry("")),
            ("skip", skip(step, false, None)),
            ("skip, with a result", skip(step, false, result)),
            ("skip, unfenced", skip(step, true, result)),
            ("resolve", resolve(step, false)),
            ("resolve, unfenced", resolve(step, true)),
            ("resolve the saga", resolve("", false)),
            ("compensate", Act::Compensate(Unit {})),
            ("cancel", Act::Cancel(Unit {})),
            ("pause", Act::Pause(Unit {})),
            ("resume", Act::Resume(Unit {})),
        ];
        table += &format!("== {place}: {step}\n");
        for (name, act) in verbs {
            let after = saga.clone().look_away().after("1s").act(act);
            after.replays();
            let said = after.said();
            if after.last.is_ok() {
                table += &format!("{name}\n");
                said.lines().for_each(|line| table += &format!("    {line}\n"));
            } else {
                table += &format!("{name}: {said}\n");
            }
        }
    }
    crate::golden::compare("verbs-by-state.txt", &table);
}

#[test]
fn only_on_the_version_that_was_seen() {
    let charging = saga(&order()).started_with(&[("pay", "p1")]).succeeded("reserve");
    charging
        .clone()
        .act_on(1, Act::Compensate(Unit {}))
        .expect("refused, Moved: the saga has moved on: it is at version 2, the action was meant for 1");
    charging
        .act_on(3, Act::Pause(Unit {}))
        .expect("refused, Moved: the saga has moved on: it is at version 2, the action was meant for 3");
}

#[test]
fn what_makes_no_sense_is_malformed() {
    let started = || saga(&order()).started();
    let unknown = "refused, Malformed: order has no step \"nowhere\"";
    started().retried("nowhere").expect(unknown);
    started().skipped("nowhere").expect(unknown);
    started().resolved("nowhere").expect(unknown);
    let nothing = skald_core::input::Operator { expected_version: 1, ..Default::default() };
    started()
        .input(skald_core::Input::Operator(nothing))
        .expect("refused, Malformed: it says not what to do");
}

/// Test 6 of the design.
#[test]
fn a_skip_races_with_the_late_original() {
    let skipped = || saga(&order()).started_with(&[("pay", "p1")]).succeeded("reserve").skipped("charge");
    skipped().expect(
        r#"
        charge: Sealing e1 a1 Answer entered+0s to Skip
        send charge SEAL_RUN/1 attempt 1
        wake +1month7days13h26m24s
        "#,
    );
    // It had happened: the participant's word counts, whichever answer comes first.
    let happened = r#"
        pay: Succeeded e1 entered+0s signal=p1
        charge: Succeeded e1 entered+0s run=Succeeded
        fulfil: AwaitingSignal e1 entered+0s gives_up+14days
        saga: Forward created+0s PAID
        wake +14days
        event Stage PAID
        "#;
    skipped().succeeded("charge").expect(happened);
    skipped().answer("charge", Verb::SealRun, succeeded("charge")).expect(happened);
    // It never will: the person's word counts, and stays visible.
    let vouched = r#"
        pay: Succeeded e1 entered+0s signal=p1
        charge: Succeeded e1 entered+0s run=Sealed vouched
        fulfil: AwaitingSignal e1 entered+0s gives_up+14days
        saga: Forward created+0s PAID
        wake +14days
        event Stage PAID
        "#;
    skipped().sealed("charge").expect(vouched);
    // The original met the seal.
    skipped().run("charge", sealed()).expect(vouched);
    skipped().sealed("charge").run("charge", sealed()).expect("refused, Repeat: it was taken before");
    skipped().rejected("charge", "PAYMENT_DECLINED").expect(
        r#"
        pay: Succeeded e1 entered+0s signal=p1
        charge: Succeeded e1 entered+0s run=Rejected vouched
        fulfil: AwaitingSignal e1 entered+0s gives_up+14days
        saga: Forward created+0s PAID
        wake +14days
        event Stage PAID
        "#,
    );
    // Unfenced: nobody was asked, and it had happened after all.
    let unfenced = saga(&order()).started_with(&[("pay", "p1")]).succeeded("reserve");
    unfenced.act(skip("charge", true, None)).succeeded("charge").expect(
        r#"
        charge: Succeeded e1 entered+0s run=Succeeded contradicted=Succeeded vouched
        saga: Forward created+0s PAID PARKED(CONTRADICTION: charge was answered Succeeded (known: RUN Succeeded, UNDO Unknown))
        wake never
        "#,
    );
}

/// Test 7 of the design.
#[test]
fn retry_after_out_of_stock_and_restock() {
    let parked = saga(&patient()).started().rejected("reserve", "OUT_OF_STOCK");
    let again = parked.after("1h").retried("reserve");
    again.clone().expect(
        r#"
        reserve: Running e2 a1 Answer entered+0s gives_up+1h30m
        send reserve RUN/2 attempt 1
        wake +1h30m
        "#,
    );
    // What is left of the first try is stale, the second has its own verdict, and is what is undone.
    again
        .clone()
        .rejected("reserve", "OUT_OF_STOCK")
        .expect("refused, Stale: it is about an attempt that is over");
    let reserved = again.outcome("reserve", Verb::Run, 2, 1, Some(succeeded("reserve")));
    reserved.cancelled().expect(
        r#"
        reserve: Succeeded e2 entered+0s run=Succeeded
        charge: Undoing e1 a1 Answer entered+1h
        saga: Compensating created+0s reason=CUSTOMER
        send charge UNDO/1 attempt 1
        wake never
        event Turned CUSTOMER
        "#,
    );
}

#[test]
fn a_fence_is_not_withdrawn_but_cancel_and_compensate_supersede_it() {
    let skipping = || saga(&order()).started_with(&[("pay", "p1")]).succeeded("reserve").skipped("charge");
    let undo = |reason: &str| {
        format!(
            "reserve: Succeeded e1 entered+0s run=Succeeded
             pay: Succeeded e1 entered+0s signal=p1
             charge: Undoing e1 a1 Answer entered+0s
             saga: Compensating created+0s RESERVED reason={reason}
             send charge UNDO/1 attempt 1
             wake never
             event Turned {reason}"
        )
    };
    skipping().compensated().expect(&undo("OPERATOR"));
    skipping().cancelled().expect(&undo("CUSTOMER"));
}

#[test]
fn the_pivot_in_flight_is_sealed_before_anything_is_undone() {
    let all = [("pay", "p1"), ("fulfil", "f1")];
    let committing = saga(&order()).started_with(&all).succeeded("reserve").succeeded("charge");
    let asked = committing.compensated();
    asked.clone().expect(
        r#"
        commit: Sealing e1 a1 Answer entered+0s to Compensate
        send commit SEAL_RUN/1 attempt 1
        wake never
        "#,
    );
    asked.clone().sealed("commit").expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        charge: Undoing e1 a1 Answer entered+0s run=Succeeded
        commit: Sealed e1 entered+0s run=Sealed
        saga: Compensating created+0s FULFILLED reason=OPERATOR
        send charge UNDO/1 attempt 1
        wake never
        event Turned OPERATOR
        "#,
    );
    asked.succeeded("commit").expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        commit: Succeeded e1 entered+0s run=Succeeded
        saga: Completed created+0s COMPLETED
        wake never
        event Stage COMPLETED
        event Completed
        "#,
    );
}

#[test]
fn what_is_vouched_for_is_undone_by_hand() {
    let vouched = saga(&order()).started_with(&[("pay", "p1")]).succeeded("reserve").skipped("charge");
    let turned = vouched.sealed("charge").cancelled();
    turned.clone().expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        charge: Undoing e1 a1 entered+0s run=Sealed vouched PARKED(VOUCHED: a person said that it was done, so a person must undo it: by hand, and then resolve it)
        fulfil: Dropped e1 entered+0s
        saga: Compensating created+0s PAID reason=CUSTOMER
        wake never
        event Turned CUSTOMER
        "#,
    );
    let resolving = turned.resolved("charge");
    resolving.clone().expect(
        r#"
        charge: Fencing e1 a1 Answer entered+0s run=Sealed vouched
        send charge SEAL_UNDO/1 attempt 1
        wake never
        "#,
    );
    for (answer, undo) in [(fenced(), "Fenced"), (nothing_to_undo(), "NothingToUndo")] {
        resolving.clone().answer("charge", Verb::SealUndo, answer).expect(&format!(
            "reserve: Undoing e1 a1 Answer entered+0s run=Succeeded
             charge: Undone e1 entered+0s run=Sealed undo={undo} vouched
             send reserve UNDO/1 attempt 1
             wake never"
        ));
    }
}

#[test]
fn a_resolved_undo_is_fenced_or_the_participant_s_word_counts() {
    let failed = || saga(&order()).started().cancelled().failed_final("reserve");
    let resolving = failed().after("1h").resolved("reserve");
    resolving.clone().expect(
        r#"
        reserve: Fencing e1 a1 Answer entered+0s
        send reserve SEAL_UNDO/1 attempt 1
        wake never
        "#,
    );
    resolving.clone().answer("reserve", Verb::SealUndo, fenced()).expect(
        r#"
        reserve: Undone e1 entered+0s undo=Fenced vouched
        saga: Compensated created+0s reason=CUSTOMER
        wake never
        event Compensated CUSTOMER
        "#,
    );
    // The undo had been done after all, and its answer was lost.
    resolving.clone().undone("reserve").expect(
        r#"
        reserve: Undone e1 entered+0s undo=Undone
        saga: Compensated created+0s reason=CUSTOMER
        wake never
        event Compensated CUSTOMER
        "#,
    );
    // Nobody was asked: a later word of the participant calls for a person.
    failed().act(resolve("reserve", true)).undone("reserve").expect(
        r#"
        reserve: Undone e1 entered+0s undo=Undone contradicted=Undone vouched
        saga: Compensated created+0s reason=CUSTOMER PARKED(CONTRADICTION: reserve was answered Undone (known: RUN Unknown, UNDO Undone))
        wake never
        "#,
    );
}

#[test]
fn a_pause_holds_everything_and_what_was_open_gets_its_time_back() {
    let charging = saga(&order()).started_with(&[("pay", "p1")]).succeeded("reserve").after("10m").paused();
    charging.clone().expect(
        r#"
        saga: Forward created+0s RESERVED paused+10m
        wake never
        "#,
    );
    charging.clone().after("1d").fired().expect("refused, NotDue: nothing is due");
    charging.clone().after("1d").postponed("payment").expect("refused, NotDue: nothing is due");
    charging.clone().after("1h").resumed().expect(
        r#"
        charge: Running e1 a1 Answer entered+0s gives_up+1h30m
        saga: Forward created+0s RESERVED
        send charge RUN/1 attempt 1
        wake +1h30m
        "#,
    );
    // An answer counts; what it leads to is sent after the pause, with all of its time.
    let answered = charging.after("5m").succeeded("charge").after("1h");
    answered.resumed().expect(
        r#"
        fulfil: AwaitingSignal e1 entered+15m gives_up+14days1h15m
        saga: Forward created+0s PAID
        wake +14days1h15m
        "#,
    );
    // A back-off that ran when the pause began goes on.
    let waiting = saga(&order()).started().failed("reserve");
    let at = waiting.step("reserve").retry_at;
    let resumed = waiting.paused().after("1h").resumed();
    assert_eq!(resumed.step("reserve").retry_at, at + 3_600_000);
    resumed.look_away();
}

#[test]
fn a_frozen_participant_s_deadlines_count_anew() {
    let charging = || saga(&order()).started_with(&[("pay", "p1")]).succeeded("reserve");
    charging().after("29m").postponed("payment").expect("refused, NotDue: nothing is due");
    charging().after("30m").postponed("inventory").expect("refused, NotDue: nothing is due");
    charging().after("40m").postponed("payment").expect(
        r#"
        charge: Running e1 a1 Answer entered+0s gives_up+1h10m
        wake +1h10m
        "#,
    );
    // A signal is at no participant.
    let paying = saga(&order()).started().succeeded("reserve").after("31m");
    paying.postponed("").expect("refused, NotDue: nothing is due");
}
