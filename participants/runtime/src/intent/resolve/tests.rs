//! What each result of a call means, whole resolutions compared, and what a claimed intent needs.

use prost_types::Any;
use uuid::Uuid;

use super::*;
use crate::{command::Verb, service::Rejection};

fn intent(verb: Verb, calls: i32) -> Intent {
    Intent {
        key: Key { saga: Uuid::from_u128(7), step: "charge".to_owned(), epoch: 1 },
        verb,
        attempt: 2,
        gateway_key: "k#4".to_owned(),
        calls,
        traceparent: None,
        partition: 0,
    }
}

fn result() -> Option<Any> {
    Some(Any { type_url: "x".to_owned(), value: vec![1] })
}

fn settles(verb: Verb, verdict: Verdict, settlement: Option<Settlement>, answer: Answer) -> Resolution {
    Resolution::Settled { intent: intent(verb, 1), verdict, settlement, answer }
}

fn stays(verb: Verb, calls: i32, change: impl FnOnce(&mut Postponed)) -> Postponed {
    let intent = intent(verb, calls);
    let mut postponed = Postponed { intent, next_key: None, unsent: false, delay: None, answered: None };
    change(&mut postponed);
    postponed
}

#[test]
fn each_result_has_its_resolution() {
    use CallResult::{NotSent, Refused, Rejected, Succeeded as Yes, Undone as Back, Unknown, Unresolved};
    let no = Rejection { code: "DECLINED".to_owned(), message: "no".to_owned(), detail: None };
    let last = Failed::last("DECLINED", "no");
    let later = Failed::retryable("BUSY", "later");
    let refused = |verb, failed: &Failed| Resolution::Open {
        postponed: stays(verb, 1, |p| {
            p.next_key = Some("k#5".to_owned());
            p.answered = Some(failed.code.clone());
        }),
        failed: Some(failed.clone()),
    };
    let waits = |verb, calls, unsent, ms| Resolution::Open {
        postponed: stays(verb, calls, |p| {
            p.unsent = unsent;
            p.delay = Some(Duration::from_millis(ms));
        }),
        failed: None,
    };
    let nobody = |verb| Resolution::Unresolved {
        postponed: stays(verb, 1, |p| p.answered = Some("UNRESOLVED".to_owned())),
    };
    let succeeded = Answer::Succeeded(Succeeded { result: result() });
    let undone = Answer::Undone(Undone { result: result() });
    let rejected = Answer::Rejected(no.clone().into());
    let (run, undo) = (Verb::Run, Verb::Undo);
    let after = |ms| Some(Duration::from_millis(ms));
    for (verb, calls, how, expected) in [
        (
            run,
            1,
            Yes(result()),
            settles(run, Verdict::Done, Some(Settlement::Succeeded(result())), succeeded),
        ),
        (
            run,
            1,
            Rejected(no.clone()),
            settles(run, Verdict::Rejected, Some(Settlement::Rejected(no.clone())), rejected),
        ),
        (undo, 1, Back(result()), settles(undo, Verdict::Done, Some(Settlement::Undone(result())), undone)),
        // an undo is never rejected
        (undo, 1, Rejected(no), refused(undo, &last)),
        (run, 1, Refused(later.clone()), refused(run, &later)),
        (undo, 1, Refused(later.clone()), refused(undo, &later)),
        (run, 1, Unresolved, nobody(run)),
        (undo, 1, Unresolved, nobody(undo)),
        (run, 1, NotSent { retry_after: None }, waits(run, 1, true, 1_000)),
        (run, 9, NotSent { retry_after: after(250) }, waits(run, 9, true, 250)),
        (run, 1, Unknown { retry_after: None }, waits(run, 1, false, 1_000)),
        (run, 4, Unknown { retry_after: None }, waits(run, 4, false, 8_000)),
        (undo, 99, Unknown { retry_after: None }, waits(undo, 99, false, 60_000)),
        (run, 1, Unknown { retry_after: after(70) }, waits(run, 1, false, 70)),
        // a bug of the service must not lose money: it is looked at again
        (run, 1, Back(None), waits(run, 1, false, 1_000)),
        (undo, 1, Yes(None), waits(undo, 1, false, 1_000)),
    ] {
        assert_eq!(resolve(intent(verb, calls), How::Called(how.clone())), expected, "{verb:?} {how:?}");
    }
    let nothing = settles(undo, Verdict::Nothing, None, Answer::NothingToUndo(NothingToUndo {}));
    assert_eq!(resolve(intent(undo, 1), How::NothingToUndo), nothing);
}

#[test]
fn a_verdict_wins_over_what_another_call_of_the_same_intent_knows() {
    let known = || resolve(intent(Verb::Run, 1), How::Called(CallResult::Succeeded(None)));
    let unknown = || resolve(intent(Verb::Run, 2), How::Called(CallResult::Unresolved));
    assert_eq!(once_each(vec![known(), unknown()]), vec![known()]);
    assert_eq!(once_each(vec![unknown(), known()]), vec![known()]);
    assert_eq!(once_each(vec![known(), known()]), vec![known()]);
    let undo = resolve(intent(Verb::Undo, 1), How::NothingToUndo);
    assert_eq!(once_each(vec![undo.clone(), known()]), vec![known(), undo]);
}

#[test]
fn gateway_keys_are_numbered_from_the_command_id_on() {
    let key = Key { saga: Uuid::from_u128(7), step: "charge".to_owned(), epoch: 2 };
    let first = super::super::first_key(&key, Slot::Run);
    assert_eq!(first, Uuid::new_v5(&key.saga, b"charge/RUN/2").to_string());
    assert_eq!(next_key(&first), format!("{first}#1"));
    assert_eq!(next_key("k#9"), "k#10");
}

#[test]
fn an_undo_waits_for_its_action_and_follows_its_verdict() {
    use Verdict::{Done, Fenced, Intent, Nothing, Rejected, Sealed};
    let all = [None, Some(Done), Some(Rejected), Some(Sealed), Some(Fenced), Some(Nothing), Some(Intent)];
    for run in all {
        for undo in all {
            let expected = if run == Some(Intent) { Need::Call } else { Need::Stale };
            assert_eq!(need(Slot::Run, run, undo), expected, "{run:?} {undo:?}");
            let expected = match (run, undo) {
                (Some(Intent), Some(Intent)) => Need::Behind,
                (Some(Done), Some(Intent)) => Need::Call,
                (Some(Rejected | Sealed), Some(Intent)) => Need::Nothing,
                _ => Need::Stale,
            };
            assert_eq!(need(Slot::Undo, run, undo), expected, "{run:?} {undo:?}");
        }
    }
}
