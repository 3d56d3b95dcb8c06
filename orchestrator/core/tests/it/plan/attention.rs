//! What is put before an operator, and taken away.

use super::*;

#[test]
fn what_was_vouched_for_stays_in_sight() {
    let skipped = saga(&order()).started_with(&[("pay", "p1")]).succeeded("reserve").skipped("charge");
    batch(5).with(1, &skipped).outcome(1, "charge", Verb::SealRun, support::sealed()).plan().expect(
        r#"
        0: version 4
        update 1 3 -> 4 Running
        deadline +14days5ms, in flight: false
        row 4 +5ms rules 1 OUTCOME by actor-0
        event at 4: Stage PAID
        attention [VOUCHED charge/payment VOUCHED: a person's word stands for it]
        "#,
    );
}

#[test]
fn attention_is_told_when_it_changes() {
    let failed = support::failed("UNRESOLVED", false);
    batch(5).with(1, &at_charge()).outcome(1, "charge", Verb::Run, failed).plan().expect(
        r#"
        0: version 3
        update 1 2 -> 3 Parked
        deadline none, in flight: false
        row 3 +5ms rules 1 OUTCOME by actor-0
        attention [charge/payment UNRESOLVED: no luck]
        "#,
    );
    let parked = at_charge().failed_final("charge");
    batch(5).with(1, &parked).signal(1, "fulfil", "f1").plan().expect(
        r#"
        0: version 4
        update 1 3 -> 4 Parked
        deadline none, in flight: false
        row 4 +5ms rules 1 SIGNAL by actor-0
        "#,
    );
    batch(5).with(1, &parked).succeeded(1, "charge").plan().expect(
        r#"
        0: version 4
        update 1 3 -> 4 Running
        deadline +14days5ms, in flight: false
        row 4 +5ms rules 1 OUTCOME by actor-0
        event at 4: Stage PAID
        attention
        "#,
    );
    batch(5).with(1, &parked).outcome(1, "reserve", Verb::Run, support::rejected("NO")).plan().expect(
        r#"
        0: version 4
        update 1 3 -> 4 Parked
        deadline none, in flight: false
        row 4 +5ms rules 1 OUTCOME by actor-0
        attention [/ CONTRADICTION: reserve was answered Rejected (known: RUN Succeeded, UNDO Unknown)][charge/payment UNRESOLVED: no luck]
        "#,
    );
    let unbelievable = saga(&order()).started();
    batch(5).with(1, &unbelievable).outcome(1, "reserve", Verb::Run, support::sealed()).plan().expect(
        r#"
        0: version 2
        update 1 1 -> 2 Parked
        deadline none, in flight: false
        row 2 +5ms rules 1 OUTCOME by actor-0
        attention [/ CONTRADICTION: reserve was answered Sealed (known: RUN Unknown, UNDO Unknown)][reserve/inventory CONTRADICTION: ]
        "#,
    );
    let late = saga(&pivot_first()).started().succeeded("pay").succeeded("ship").signal("rate", "r1");
    batch(3_600_000).with(1, &late).wake(1, false).plan().expect(
        r#"
        0: version 5
        update 1 4 -> 5 Parked
        deadline none, in flight: false
        row 5 +1h rules 1 DEADLINE_FIRED by actor-0
        attention [pickup/ NOT_PICKED_UP: no signal came in time]
        "#,
    );
}

#[test]
fn a_saga_that_re_opens_says_so() {
    let ended = saga(&order()).started().rejected("reserve", "OUT_OF_STOCK");
    batch(5).with(1, &ended).succeeded(1, "reserve").plan().expect(
        r#"
        0: version 3
        update 1 2 -> 3 Parked
        deadline none, in flight: false
        row 3 +5ms rules 1 OUTCOME by actor-0
        attention [/ CONTRADICTION: reserve was answered Succeeded (known: RUN Rejected, UNDO Unknown)]
        "#,
    );
}
