//! A second, different verdict for one command, or one that can't be: a person must look, even when the
//! saga had ended. The table says for every place where a step can stand what every answer does there.

use skald_core::input::Verb;

use crate::{definitions::*, support::*};

#[test]
fn a_second_verdict_parks_the_saga_and_goes_on_with_the_first() {
    let reserved = saga(&order()).started().succeeded("reserve");
    let parked = reserved.after("1s").rejected("reserve", "OUT_OF_STOCK");
    parked.clone().expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded contradicted=Rejected result=RESERVE
        saga: Forward created+0s RESERVED PARKED(CONTRADICTION: reserve was answered Rejected (known: RUN Succeeded, UNDO Unknown))
        wake never
        "#,
    );
    // It is recorded once.
    parked.clone().rejected("reserve", "OUT_OF_STOCK").expect("refused, Repeat: it was taken before");
    parked.clone().succeeded("reserve").expect("refused, Repeat: it was taken before");
    // A third one too; the first reason stays.
    parked.clone().run("reserve", sealed()).expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded contradicted=Rejected contradicted=Sealed result=RESERVE
        wake never
        "#,
    );
    // Deadlines stop; what comes is taken.
    parked.clone().after("40d").fired().expect("refused, NotDue: nothing is due");
    parked.signal("pay", "p1").expect(
        r#"
        pay: Succeeded e1 entered+0s result=PAY signal=p1
        charge: Running e1 a1 Answer entered+1s gives_up+30m1s
        send charge RUN/1 attempt 1
        wake never
        "#,
    );
}

#[test]
fn it_re_opens_a_saga_that_was_complete() {
    let signals = [("pay", "p1"), ("fulfil", "f1")];
    let complete = saga(&order()).started_with(&signals).succeeded("reserve").succeeded("charge");
    complete.succeeded("commit").after("1s").rejected("commit", "GONE").expect(
        r#"
        commit: Succeeded e1 entered+0s run=Succeeded contradicted=Rejected
        saga: Completed created+0s COMPLETED PARKED(CONTRADICTION: commit was answered Rejected (known: RUN Succeeded, UNDO Unknown))
        wake never
        "#,
    );
}

#[test]
fn it_re_opens_a_saga_that_was_undone() {
    let ended = saga(&order()).started().cancelled().nothing_to_undo("reserve").after("1s");
    // It ran after all, after it was promised that it never would.
    ended.clone().succeeded("reserve").expect(
        r#"
        reserve: NothingToUndo e1 entered+0s undo=NothingToUndo contradicted=Succeeded
        saga: Compensated created+0s reason=CUSTOMER PARKED(CONTRADICTION: reserve was answered Succeeded (known: RUN Unknown, UNDO NothingToUndo))
        wake never
        "#,
    );
    ended.answer("reserve", Verb::Undo, undone()).expect(
        r#"
        reserve: NothingToUndo e1 entered+0s undo=NothingToUndo contradicted=Undone
        saga: Compensated created+0s reason=CUSTOMER PARKED(CONTRADICTION: reserve was answered Undone (known: RUN Unknown, UNDO NothingToUndo))
        wake never
        "#,
    );
    let rejected = saga(&order()).started().rejected("reserve", "OUT_OF_STOCK").after("1s");
    rejected.succeeded("reserve").expect(
        r#"
        reserve: Rejected e1 entered+0s run=Rejected contradicted=Succeeded
        saga: Compensated created+0s reason=OUT_OF_STOCK detail=why PARKED(CONTRADICTION: reserve was answered Succeeded (known: RUN Rejected, UNDO Unknown))
        wake never
        "#,
    );
}

#[test]
fn success_of_a_sealed_step_parks() {
    let sealed = saga(&stubborn()).started().succeeded("hold").until_due().fired().sealed("take");
    sealed.clone().succeeded("take").expect(
        r#"
        take: Sealed e1 entered+0s run=Sealed contradicted=Succeeded
        saga: Compensating created+0s reason=EXPIRED PARKED(CONTRADICTION: take was answered Succeeded (known: RUN Sealed, UNDO Unknown))
        wake never
        "#,
    );
    sealed.undone("hold").succeeded("take").expect(
        r#"
        take: Sealed e1 entered+0s run=Sealed contradicted=Succeeded
        saga: Compensated created+0s reason=EXPIRED PARKED(CONTRADICTION: take was answered Succeeded (known: RUN Sealed, UNDO Unknown))
        wake never
        "#,
    );
}

#[test]
fn sealed_without_a_seal_parks_the_step_too() {
    let parked = saga(&order()).started().run("reserve", sealed());
    parked.clone().expect(
        r#"
        reserve: Running e1 a1 entered+0s gives_up+30m contradicted=Sealed PARKED(CONTRADICTION)
        saga: Forward created+0s PARKED(CONTRADICTION: reserve was answered Sealed (known: RUN Unknown, UNDO Unknown))
        wake never
        "#,
    );
    // A verdict that can be still counts; what was said stays on the table.
    parked.succeeded("reserve").expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded contradicted=Sealed result=RESERVE
        pay: AwaitingSignal e1 entered+0s gives_up+30m
        saga: Forward created+0s RESERVED PARKED(CONTRADICTION: reserve was answered Sealed (known: RUN Unknown, UNDO Unknown))
        wake never
        event Stage RESERVED
        "#,
    );
}

#[test]
fn an_undo_s_answer_that_can_t_be_parks_the_step_too() {
    let reserved = saga(&order()).started().succeeded("reserve").cancelled();
    let parked = reserved.nothing_to_undo("reserve");
    parked.clone().expect(
        r#"
        reserve: Undoing e1 a1 entered+0s run=Succeeded contradicted=NothingToUndo PARKED(CONTRADICTION)
        saga: Compensating created+0s RESERVED reason=CUSTOMER PARKED(CONTRADICTION: reserve was answered NothingToUndo (known: RUN Succeeded, UNDO Unknown))
        wake never
        "#,
    );
    parked.undone("reserve").expect(
        r#"
        reserve: Undone e1 entered+0s run=Succeeded undo=Undone contradicted=NothingToUndo
        saga: Compensated created+0s RESERVED reason=CUSTOMER PARKED(CONTRADICTION: reserve was answered NothingToUndo (known: RUN Succeeded, UNDO Unknown))
        wake never
        event Compensated CUSTOMER
        "#,
    );
    let rejected = saga(&order()).started().cancelled().rejected("reserve", "OUT_OF_STOCK");
    rejected.undone("reserve").expect(
        r#"
        reserve: Undoing e1 a1 entered+0s run=Rejected contradicted=Undone PARKED(CONTRADICTION)
        saga: Compensating created+0s reason=CUSTOMER PARKED(CONTRADICTION: reserve was answered Undone (known: RUN Rejected, UNDO Unknown))
        wake never
        "#,
    );
    let fenced_one = saga(&order()).started().cancelled();
    fenced_one.answer("reserve", Verb::Undo, fenced()).expect(
        r#"
        reserve: Undoing e1 a1 entered+0s contradicted=Fenced PARKED(CONTRADICTION)
        saga: Compensating created+0s reason=CUSTOMER PARKED(CONTRADICTION: reserve was answered Fenced (known: RUN Unknown, UNDO Unknown))
        wake never
        "#,
    );
}

#[test]
fn it_outranks_old_age() {
    let old = saga(&pivot_first()).started().succeeded("pay").signal("pickup", "s1").signal("rate", "r1");
    let old = old.until_due().fired();
    let parked = old.rejected("pay", "POOR");
    parked.clone().expect(
        r#"
        pay: Succeeded e1 entered+0s run=Succeeded contradicted=Rejected result=PAY
        saga: Forward created+0s PAID PARKED(CONTRADICTION: pay was answered Rejected (known: RUN Succeeded, UNDO Unknown))
        wake never
        "#,
    );
    parked.succeeded("ship").succeeded("thank").expect(
        r#"
        pickup: Succeeded e1 entered+0s signal=s1
        thank: Succeeded e1 entered+2h run=Succeeded
        saga: Completed created+0s DONE PARKED(CONTRADICTION: pay was answered Rejected (known: RUN Succeeded, UNDO Unknown))
        wake never
        event Stage DONE
        event Completed
        "#,
    );
}

/// A saga whose step `s` stands somewhere.
fn places() -> Vec<(&'static str, &'static str, Saga)> {
    let reserve = saga(&order()).started();
    let take = saga(&stubborn()).started().succeeded("hold");
    let sealing = take.clone().until_due().fired();
    let check = saga(&no_pivot()).started();
    let undoing = reserve.clone().cancelled();
    vec![
        ("Waiting", "charge", reserve.clone()),
        ("Running", "reserve", reserve.clone()),
        ("Running, backing off", "reserve", reserve.clone().failed("reserve")),
        ("Running, parked", "reserve", reserve.clone().failed_final("reserve")),
        ("Running, pivot", "take", take.clone()),
        ("Sealing", "take", sealing.clone()),
        ("Sealing, parked", "take", sealing.clone().failed_final("take")),
        ("Succeeded", "reserve", reserve.clone().succeeded("reserve")),
        ("Succeeded, pivot", "take", take.clone().succeeded("take")),
        ("Rejected", "reserve", reserve.clone().rejected("reserve", "NO")),
        ("Rejected, parked", "take", take.rejected("take", "NO")),
        ("Sealed", "take", sealing.sealed("take")),
        ("Undoing", "reserve", undoing.clone()),
        ("Undoing, parked", "reserve", undoing.clone().failed_final("reserve")),
        ("Undoing, ran", "reserve", undoing.clone().succeeded("reserve")),
        ("Undoing, rejected", "reserve", undoing.clone().rejected("reserve", "NO")),
        ("Undoing, sealed", "reserve", undoing.clone().run("reserve", sealed())),
        ("Undone", "reserve", undoing.clone().undone("reserve")),
        ("Undone, ran", "reserve", undoing.clone().succeeded("reserve").undone("reserve")),
        ("NothingToUndo", "reserve", undoing.clone().nothing_to_undo("reserve")),
        (
            "NothingToUndo, sealed",
            "reserve",
            undoing.clone().run("reserve", sealed()).nothing_to_undo("reserve"),
        ),
        ("Dropped", "check", check.cancelled()),
        ("Sealing to Skip", "reserve", reserve.clone().skipped_for("reserve")),
        ("Succeeded, vouched", "reserve", reserve.clone().skipped_for("reserve").sealed("reserve")),
        ("Succeeded, vouched unfenced", "reserve", reserve.act(skip("reserve", true, Some("R")))),
        ("Fencing", "reserve", undoing.clone().resolved("reserve")),
        ("Fencing, ran", "reserve", undoing.clone().succeeded("reserve").resolved("reserve")),
        (
            "Undone, fenced",
            "reserve",
            undoing.clone().resolved("reserve").answer("reserve", Verb::SealUndo, fenced()),
        ),
        ("Undone, unfenced", "reserve", undoing.act(resolve("reserve", true))),
    ]
}

/// What an answer does to a step, in a word or two.
fn cell(saga: Saga, step: &str, verb: Verb, answer: skald_core::input::Answer) -> String {
    let (status, phase, parked) = (saga.step(step).status(), saga.state.phase(), saga.state.parked.clone());
    let attempt = saga.step(step).attempt.max(1);
    let after = saga.outcome(step, verb, 1, attempt, Some(answer));
    if let Err(refused) = &after.last {
        return kind(refused).to_uppercase();
    }
    let is = after.step(step);
    let mut said = match is.status() {
        same if same == status => String::from("kept"),
        other => format!("{other:?}"),
    };
    if after.state.phase() != phase {
        said += &format!(", {:?}", after.state.phase());
    }
    if !is.parked.is_empty() {
        said += ", step parks";
    }
    if after.state.parked != parked {
        said += ", CONTRADICTION";
    }
    said
}

#[test]
fn every_place_and_every_answer() {
    let answers = [
        ("RUN succeeded", Verb::Run, succeeded("s")),
        ("RUN rejected", Verb::Run, rejected("NO")),
        ("RUN sealed", Verb::Run, sealed()),
        ("RUN failed", Verb::Run, failed("F", true)),
        ("RUN failed final", Verb::Run, failed("F", false)),
        ("SEAL succeeded", Verb::SealRun, succeeded("s")),
        ("SEAL rejected", Verb::SealRun, rejected("NO")),
        ("SEAL sealed", Verb::SealRun, sealed()),
        ("SEAL failed", Verb::SealRun, failed("F", true)),
        ("SEAL failed final", Verb::SealRun, failed("F", false)),
        ("UNDO undone", Verb::Undo, undone()),
        ("UNDO nothing", Verb::Undo, nothing_to_undo()),
        ("UNDO fenced", Verb::Undo, fenced()),
        ("UNDO failed", Verb::Undo, failed("F", true)),
        ("UNDO failed final", Verb::Undo, failed("F", false)),
        ("SEAL_UNDO fenced", Verb::SealUndo, fenced()),
        ("SEAL_UNDO failed", Verb::SealUndo, failed("F", false)),
    ];
    let mut table = String::new();
    for (place, step, saga) in places() {
        table += &format!("{place}\n");
        for (name, verb, answer) in &answers {
            let said = cell(saga.clone(), step, *verb, answer.clone());
            table += &format!("    {name:<18}{said}\n");
        }
    }
    crate::golden::compare("status-by-answer.txt", &table);
}
