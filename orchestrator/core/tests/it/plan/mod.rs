//! A batch: everything that has to be written, sent and answered, as a whole.

mod attention;
mod moves;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::Arc,
};

use skald_core::{
    Definition, Input,
    definition::parse,
    input::{self, Answer, CancelRequested, Outcome, Verb},
    plan::{Ask, Fate, Item, Kind, Loaded, Plan, plan},
    state::{self, State},
};
use uuid::Uuid;

use crate::{
    definitions::*,
    support::{self, Saga, T0, saga},
};

/// A batch in the making.
struct Batch {
    now: i64,
    loaded: BTreeMap<Uuid, Loaded>,
    items: Vec<Item<usize>>,
    frozen: BTreeSet<String>,
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn batch(after: i64) -> Batch {
    Batch { now: T0 + after, loaded: BTreeMap::new(), items: Vec::new(), frozen: BTreeSet::new() }
}

impl Batch {
    /// A saga as it was loaded.
    fn with(mut self, n: u128, saga: &Saga) -> Batch {
        let (definition, state) = (saga.definition.clone(), saga.state.clone());
        self.loaded.insert(id(n), Loaded { definition, state, quarantined: false });
        self
    }

    fn quarantined(mut self, n: u128) -> Batch {
        self.loaded.get_mut(&id(n)).expect("a loaded saga").quarantined = true;
        self
    }

    fn frozen(mut self, participant: &str) -> Batch {
        self.frozen.insert(participant.into());
        self
    }

    fn ask(mut self, n: u128, ask: Ask) -> Batch {
        let token = self.items.len();
        self.items.push(Item { saga: id(n), actor: format!("actor-{token}"), ask, token });
        self
    }

    fn start(self, n: u128, definition: &Arc<Definition>, signals: &[(&str, &str)]) -> Batch {
        let signals = signals.iter().map(|(name, id)| support::a_signal(name, id)).collect();
        let started = input::Started { request_hash: vec![7; 32], signals };
        self.ask(n, Ask::Start(definition.clone(), Input::Started(started)))
    }

    fn outcome(self, n: u128, step: &str, verb: Verb, answer: Answer) -> Batch {
        let verb = verb as i32;
        let outcome = Outcome { step: step.into(), verb, epoch: 1, attempt: 1, answer: Some(answer) };
        self.ask(n, Ask::Fold(Input::Outcome(outcome)))
    }

    fn succeeded(self, n: u128, step: &str) -> Batch {
        self.outcome(n, step, Verb::Run, support::succeeded(step))
    }

    fn signal(self, n: u128, name: &str, id: &str) -> Batch {
        self.ask(n, Ask::Fold(Input::Signal(support::a_signal(name, id))))
    }

    fn cancel(self, n: u128) -> Batch {
        self.ask(n, Ask::Fold(Input::CancelRequested(CancelRequested::default())))
    }

    fn wake(self, n: u128, resend: bool) -> Batch {
        self.ask(n, Ask::Wake { resend })
    }

    fn plan(self) -> Planned {
        Planned(said(&plan(self.now, self.items, self.loaded, &self.frozen)))
    }
}

struct Planned(String);

impl Planned {
    #[track_caller]
    fn expect(self, expected: &str) {
        let lines = |text: &str| text.trim().lines().map(str::trim).collect::<Vec<_>>().join("\n");
        let (expected, said) = (lines(expected), lines(&self.0));
        assert!(expected == said, "expected:\n{expected}\n\nfollowed:\n{said}\n\n");
    }
}

/// The whole plan in words; a state's bytes and digests are checked on the way.
fn said(plan: &Plan<usize>) -> String {
    let mut out = String::new();
    for (token, fate) in &plan.settled {
        match fate {
            Fate::Accepted { version } => writeln!(out, "{token}: version {version}"),
            Fate::Refused(refused) => writeln!(out, "{token}: {}: {refused}", support::kind(refused)),
            other => writeln!(out, "{token}: {other:?}"),
        }
        .unwrap();
    }
    for write in &plan.writes {
        let kind = if write.insert { "insert" } else { "update" };
        let versions = format!("{} -> {}", write.was, write.state.version);
        writeln!(out, "{kind} {} {versions} {:?}", write.saga.as_u128(), write.status).unwrap();
        let deadline = write.deadline.map_or("none".into(), support::at);
        writeln!(out, "  deadline {deadline}, in flight: {}", write.in_flight).unwrap();
        for row in &write.rows {
            let kind = Input::kind_name(row.kind);
            writeln!(
                out,
                "  row {} {} rules {} {kind} by {}",
                row.seq,
                support::at(row.at),
                row.rules,
                row.actor
            )
            .unwrap();
        }
        for (version, event) in &write.events {
            writeln!(out, "  event at {version}: {}", support::event_line(event)).unwrap();
        }
        if let Some(attention) = &write.attention {
            let words = attention.iter().map(|a| {
                format!(
                    "[{}{}/{} {}: {}]",
                    if a.kind == Kind::Vouched { "VOUCHED " } else { "" },
                    a.step,
                    a.participant,
                    a.code,
                    a.message
                )
            });
            writeln!(out, "  attention {}", words.collect::<String>()).unwrap();
        }
        assert_eq!(write.bytes, state::encode(&write.state));
        assert_eq!(write.rows.last().expect("a write has rows").seq, write.state.version);
        assert_eq!(write.rows.len() as u32, write.state.version - write.was);
    }
    for send in &plan.sends {
        let needs: Vec<String> = (send.needs.iter())
            .map(|(step, result)| format!(" {step}={}", String::from_utf8_lossy(&result.value)))
            .collect();
        let again = if send.resend { "resend" } else { "send" };
        let command = support::command_line(&send.command);
        writeln!(
            out,
            "{again} {} to {}: {} {command}{}",
            send.saga.as_u128(),
            send.participant,
            send.action,
            needs.concat()
        )
        .unwrap();
    }
    for looked in &plan.looked_at {
        let deadline = looked.deadline.map_or("none".into(), support::at);
        writeln!(
            out,
            "looked at {}: deadline {deadline}, in flight: {}",
            looked.saga.as_u128(),
            looked.in_flight
        )
        .unwrap();
    }
    out
}

fn at_charge() -> Saga {
    saga(&order()).started_with(&[("pay", "p1")]).succeeded("reserve")
}

#[test]
fn a_start_is_inserted_and_its_first_command_sent() {
    batch(0).start(1, &order(), &[]).plan().expect(
        r#"
        0: version 1
        insert 1 0 -> 1 Running
        deadline +30m, in flight: true
        row 1 +0s rules 1 STARTED by actor-0
        event at 1: Started
        send 1 to inventory: reserve reserve RUN/1 attempt 1
        "#,
    );
}

#[test]
fn a_whole_life_in_one_batch_is_one_write_and_sends_nothing_that_is_answered() {
    batch(0)
        .start(1, &order(), &[("pay", "p1")])
        .succeeded(1, "reserve")
        .signal(1, "fulfil", "f1")
        .succeeded(1, "charge")
        .succeeded(1, "commit")
        .plan()
        .expect(
            r#"
            0: version 1
            1: version 2
            2: version 3
            3: version 4
            4: version 5
            insert 1 0 -> 5 Completed
            deadline none, in flight: false
            row 1 +0s rules 1 STARTED by actor-0
            row 2 +0s rules 1 OUTCOME by actor-1
            row 3 +0s rules 1 SIGNAL by actor-2
            row 4 +0s rules 1 OUTCOME by actor-3
            row 5 +0s rules 1 OUTCOME by actor-4
            event at 1: Started
            event at 2: Stage RESERVED
            event at 4: Stage PAID
            event at 4: Stage FULFILLED
            event at 5: Stage COMPLETED
            event at 5: Completed
            "#,
        );
}

#[test]
fn a_command_that_was_superseded_in_the_batch_is_not_sent() {
    batch(0).start(1, &order(), &[]).cancel(1).plan().expect(
        r#"
        0: version 1
        1: version 2
        insert 1 0 -> 2 Compensating
        deadline none, in flight: true
        row 1 +0s rules 1 STARTED by actor-0
        row 2 +0s rules 1 CANCEL_REQUESTED by actor-1
        event at 1: Started
        event at 2: Turned CUSTOMER
        send 1 to inventory: release reserve UNDO/1 attempt 1
        "#,
    );
}

#[test]
fn the_items_of_several_sagas_are_folded_in_arrival_order_and_written_by_id() {
    batch(5)
        .with(2, &at_charge())
        .with(1, &saga(&order()).started())
        .succeeded(2, "charge")
        .succeeded(1, "reserve")
        .start(3, &order(), &[])
        .signal(1, "pay", "p9")
        .plan()
        .expect(
            r#"
            0: version 3
            1: version 2
            2: version 1
            3: version 3
            update 1 1 -> 3 Running
            deadline +30m5ms, in flight: true
            row 2 +5ms rules 1 OUTCOME by actor-1
            row 3 +5ms rules 1 SIGNAL by actor-3
            event at 2: Stage RESERVED
            update 2 2 -> 3 Running
            deadline +14days5ms, in flight: false
            row 3 +5ms rules 1 OUTCOME by actor-0
            event at 3: Stage PAID
            insert 3 0 -> 1 Running
            deadline +30m5ms, in flight: true
            row 1 +5ms rules 1 STARTED by actor-2
            event at 1: Started
            send 1 to payment: charge charge RUN/1 attempt 1 pay=PAY
            send 3 to inventory: reserve reserve RUN/1 attempt 1
            "#,
        );
}

#[test]
fn a_saga_begins_once() {
    batch(0)
        .with(1, &at_charge())
        .start(1, &order(), &[])
        .start(2, &order(), &[])
        .start(2, &order(), &[])
        .plan()
        .expect(
            r#"
            0: Repeat: it was taken before
            1: version 1
            2: Repeat: it was taken before
            insert 2 0 -> 1 Running
            deadline +30m, in flight: true
            row 1 +0s rules 1 STARTED by actor-1
            event at 1: Started
            send 2 to inventory: reserve reserve RUN/1 attempt 1
            "#,
        );
}

#[test]
fn a_refused_start_leaves_nothing_and_what_comes_after_it_finds_no_saga() {
    batch(0)
        .start(1, &order(), &[("pey", "p1")])
        .succeeded(1, "reserve")
        .start(1, &order(), &[])
        .plan()
        .expect(
            r#"
            0: Malformed: order has no signal "pey"
            1: UnknownSaga
            2: version 1
            insert 1 0 -> 1 Running
            deadline +30m, in flight: true
            row 1 +0s rules 1 STARTED by actor-2
            event at 1: Started
            send 1 to inventory: reserve reserve RUN/1 attempt 1
            "#,
        );
}

#[test]
fn an_unknown_saga() {
    batch(0).succeeded(1, "reserve").wake(2, true).plan().expect(
        r#"
        0: UnknownSaga
        1: UnknownSaga
        "#,
    );
}

#[test]
fn what_is_refused_is_not_written() {
    batch(0).with(1, &at_charge()).succeeded(1, "reserve").signal(1, "pay", "p2").plan().expect(
        r#"
        0: Repeat: it was taken before
        1: NotAllowed: not possible now: the signal "pay" was given before, the first one counts
        "#,
    );
}

#[test]
fn a_quarantined_saga_takes_and_sends_nothing() {
    batch(0).with(1, &at_charge()).quarantined(1).succeeded(1, "charge").wake(1, true).plan().expect(
        r#"
        0: Quarantined
        1: Quarantined
        "#,
    );
}

#[test]
fn a_wake_up_looks_and_re_sends_when_told() {
    batch(5).with(1, &at_charge()).wake(1, false).plan().expect(
        r#"
        0: NotDue: nothing is due
        looked at 1: deadline +30m, in flight: true
        "#,
    );
    batch(5).with(1, &at_charge()).wake(1, true).plan().expect(
        r#"
        0: NotDue: nothing is due
        resend 1 to payment: charge charge RUN/1 attempt 1 pay=PAY
        looked at 1: deadline +30m, in flight: true
        "#,
    );
    // Of a saga that waits for a signal there is nothing to send, of an ended one nothing to do.
    batch(5).with(1, &saga(&order()).started().succeeded("reserve")).wake(1, true).plan().expect(
        r#"
        0: NotDue: nothing is due
        looked at 1: deadline +30m, in flight: false
        "#,
    );
    batch(5).with(1, &saga(&order()).started().rejected("reserve", "NO")).wake(1, true).plan().expect(
        r#"
        0: NotDue: nothing is due
        looked at 1: deadline none, in flight: false
        "#,
    );
}

#[test]
fn a_wake_up_folds_what_is_due_and_re_sends_the_rest() {
    let half = saga(&diamond()).started().succeeded("open").failed("left");
    let due = half.clone().until_due().now - T0;
    batch(due).with(1, &half).wake(1, false).plan().expect(
        r#"
        0: version 4
        update 1 3 -> 4 Running
        deadline +30m, in flight: true
        row 4 +405ms rules 1 DEADLINE_FIRED by actor-0
        send 1 to p: l left RUN/1 attempt 2 open=OPEN
        "#,
    );
    batch(due).with(1, &half).wake(1, true).plan().expect(
        r#"
        0: version 4
        update 1 3 -> 4 Running
        deadline +30m, in flight: true
        row 4 +405ms rules 1 DEADLINE_FIRED by actor-0
        send 1 to p: l left RUN/1 attempt 2 open=OPEN
        resend 1 to q: r right RUN/1 attempt 1
        "#,
    );
    batch(30 * 60_000).with(1, &at_charge()).wake(1, true).plan().expect(
        r#"
        0: version 3
        update 1 2 -> 3 Compensating
        deadline none, in flight: true
        row 3 +30m rules 1 DEADLINE_FIRED by actor-0
        event at 3: Turned EXPIRED
        send 1 to payment: refund charge UNDO/1 attempt 1
        "#,
    );
}

#[test]
fn of_a_frozen_participant_no_deadline_fires() {
    let due = 30 * 60_000;
    batch(due).with(1, &at_charge()).frozen("payment").wake(1, true).plan().expect(
        r#"
        0: version 3
        update 1 2 -> 3 Running
        deadline +1h, in flight: true
        row 3 +30m rules 1 POSTPONED by actor-0
        resend 1 to payment: charge charge RUN/1 attempt 1 pay=PAY
        "#,
    );
    // Somebody else's freeze, and a deadline that is not due.
    batch(due).with(1, &at_charge()).frozen("inventory").wake(1, false).plan().expect(
        r#"
        0: version 3
        update 1 2 -> 3 Compensating
        deadline none, in flight: true
        row 3 +30m rules 1 DEADLINE_FIRED by actor-0
        event at 3: Turned EXPIRED
        send 1 to payment: refund charge UNDO/1 attempt 1
        "#,
    );
    batch(due - 1).with(1, &at_charge()).frozen("payment").wake(1, false).plan().expect(
        r#"
        0: NotDue: nothing is due
        looked at 1: deadline +30m, in flight: true
        "#,
    );
}

#[test]
fn a_fresh_command_is_no_repeat_even_when_it_was_asked_to_re_send() {
    batch(5).with(1, &at_charge()).wake(1, true).cancel(1).plan().expect(
        r#"
        0: NotDue: nothing is due
        1: version 3
        update 1 2 -> 3 Compensating
        deadline none, in flight: true
        row 3 +5ms rules 1 CANCEL_REQUESTED by actor-1
        event at 3: Turned CUSTOMER
        send 1 to payment: refund charge UNDO/1 attempt 1
        "#,
    );
}

#[test]
fn a_command_carries_the_results_that_it_needs_and_an_undo_none() {
    let join = saga(&diamond()).started().succeeded("open").succeeded("right");
    batch(5).with(1, &join).succeeded(1, "left").plan().expect(
        r#"
        0: version 4
        update 1 3 -> 4 Running
        deadline +30m5ms, in flight: true
        row 4 +5ms rules 1 OUTCOME by actor-0
        send 1 to p: join join RUN/1 attempt 1 open=OPEN right=RIGHT
        "#,
    );
    batch(5).with(1, &join).cancel(1).plan().expect(
        r#"
        0: version 4
        update 1 3 -> 4 Compensating
        deadline none, in flight: true
        row 4 +5ms rules 1 CANCEL_REQUESTED by actor-0
        event at 4: Turned CUSTOMER
        send 1 to p: un-l left UNDO/1 attempt 1
        send 1 to q: un-r right UNDO/1 attempt 1
        "#,
    );
    // A re-sent one and one that SEALs carry them too.
    let sealing = saga(&stubborn()).started().succeeded("hold").until_due().fired();
    batch(5).with(1, &sealing).wake(1, true).plan().expect(
        r#"
        0: NotDue: nothing is due
        resend 1 to p: take take SEAL_RUN/1 attempt 1 hold=HOLD
        looked at 1: deadline none, in flight: true
        "#,
    );
}

/// Two steps, and the same with one more in between and one more at the end.
fn grown() -> (Arc<Definition>, Arc<Definition>) {
    let step = |name: &str, after: &str| {
        format!(
            "[[step]]\nname = \"{name}\"\nparticipant = \"p\"\naction = \"a\"\nundo = \"u\"\nafter = [{after}]\n"
        )
    };
    let head = "name = \"grown\"\nversion = 1\nmax_age = \"1d\"\n";
    let old = format!("{head}{}{}", step("a", ""), step("b", "\"a\""));
    let new = format!(
        "{head}{}{}{}{}",
        step("a", ""),
        step("x", ""),
        step("b", "\"a\""),
        step("c", "\"b\", \"x\"")
    );
    (Arc::new(parse(&old).unwrap()), Arc::new(parse(&new).unwrap()))
}

#[test]
fn a_definition_can_grow_while_sagas_run() {
    let (old, new) = grown();
    let mut running = saga(&old).started().succeeded("a");
    running.definition = new;
    // The new step beside `b` is entered as soon as anything moves, the one after both once both are done.
    batch(5).with(1, &running).wake(1, true).plan().expect(
        r#"
        0: NotDue: nothing is due
        resend 1 to p: a b RUN/1 attempt 1
        looked at 1: deadline +30m, in flight: true
        "#,
    );
    batch(5).with(1, &running).succeeded(1, "b").plan().expect(
        r#"
        0: version 3
        update 1 2 -> 3 Running
        deadline +30m5ms, in flight: true
        row 3 +5ms rules 1 OUTCOME by actor-0
        send 1 to p: a x RUN/1 attempt 1
        "#,
    );
    batch(5).with(1, &running).succeeded(1, "b").succeeded(1, "x").plan().expect(
        r#"
        0: version 3
        1: version 4
        update 1 2 -> 4 Running
        deadline +30m5ms, in flight: true
        row 3 +5ms rules 1 OUTCOME by actor-0
        row 4 +5ms rules 1 OUTCOME by actor-1
        send 1 to p: a c RUN/1 attempt 1
        "#,
    );
}

#[test]
fn a_state_that_does_not_fit_its_definition_is_left_alone() {
    let (old, new) = grown();
    let mut running = saga(&new).started().succeeded("a");
    running.definition = old.clone();
    batch(40 * 60_000).with(1, &running).succeeded(1, "b").wake(1, true).cancel(1).plan().expect(
        r#"
        0: Malformed: the saga has a step that its definition has not
        1: Malformed: the saga has a step that its definition has not
        2: Malformed: the saga has a step that its definition has not
        "#,
    );
    let mut state: State = running.state.clone();
    assert_eq!(state.aligned(&old), None);
    assert_eq!(state, running.state);
}

#[test]
fn a_paused_saga_is_not_woken() {
    let mut paused = at_charge();
    paused.state.paused_at = T0;
    batch(40 * 60_000).with(1, &paused).wake(1, true).plan().expect(
        r#"
        0: NotDue: nothing is due
        looked at 1: deadline none, in flight: false
        "#,
    );
}
