//! What a call to the gateway comes to, with a gateway that answers from a script and remembers what it was asked.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use skald_participant::{Key, Verb};
use uuid::Uuid;

use super::*;
use crate::gateway::Record;

/// Answers in order; whatever is asked without an answer left is a failure of the test.
struct Script {
    answers: Mutex<VecDeque<Result<Option<Answer>, Fault>>>,
    asked: Mutex<Vec<&'static str>>,
}

impl Script {
    fn next(&self, what: &'static str) -> Result<Option<Answer>, Fault> {
        self.asked.lock().expect("no panic").push(what);
        self.answers.lock().expect("no panic").pop_front().unwrap_or_else(|| panic!("asked for {what}"))
    }
}

impl Gateway for Script {
    async fn charge(&self, charge: &Charge) -> Result<Answer, Fault> {
        assert_eq!((charge.key.as_str(), charge.our_ref.as_str()), ("key", OUR_REF));
        self.next("charge").map(|answer| answer.expect("an answer"))
    }

    async fn refund(&self, refund: &Refund) -> Result<Answer, Fault> {
        assert_eq!((refund.key.as_str(), refund.charge_ref.as_str()), ("key", "ch_1"));
        self.next("refund").map(|answer| answer.expect("an answer"))
    }

    async fn records(&self, _: (i64, &str), _: i64, _: i64) -> Result<Vec<Record>, Fault> {
        unreachable!("no call lists records")
    }

    async fn find(&self, kind: Kind, our_ref: &str, key: &str) -> Result<Option<Answer>, Fault> {
        assert_eq!((our_ref, key), (OUR_REF, "key"));
        self.next(if kind == Kind::Charge { "find charge" } else { "find refund" })
    }

    fn key_lifetime(&self) -> Duration {
        Duration::from_secs(1)
    }
}

const OUR_REF: &str = "00000000-0000-0000-0000-000000000000/charge/1";

fn intent(verb: Verb, calls: i32) -> Intent {
    Intent {
        key: Key { saga: Uuid::nil(), step: "charge".to_owned(), epoch: 1 },
        verb,
        attempt: 1,
        gateway_key: "key".to_owned(),
        calls,
        traceparent: None,
        partition: 0,
    }
}

fn moved() -> Result<Option<Answer>, Fault> {
    Ok(Some(Answer::Moved { reference: "ref".to_owned() }))
}

fn no() -> Result<Option<Answer>, Fault> {
    Ok(Some(Answer::Declined { code: "no".to_owned() }))
}

const OPEN: Fault = Fault::Open { retry_after: Duration::from_secs(7) };

/// The verb, how many calls were begun, whether the key is too old, the gateway's answers: what is asked of it, and the result.
type Case = (Verb, i32, bool, Vec<Result<Option<Answer>, Fault>>, &'static [&'static str], CallResult);

fn cases() -> Vec<Case> {
    let charged = || CallResult::Succeeded(Some(domain::charged("ref".into(), 500, "EUR".into())));
    let refunded = || CallResult::Undone(Some(domain::refunded("ref".into(), 500, "EUR".into())));
    let declined = || CallResult::Rejected(domain::declined("no".into()));
    let refused = Failed::last("REFUND_REFUSED", "the gateway refused the refund: no");
    let not_sent = |retry_after| CallResult::NotSent { retry_after };
    let unknown = || CallResult::Unknown { retry_after: None };
    let seven = Some(Duration::from_secs(7));
    let (run, undo) = (Verb::Run, Verb::Undo);
    vec![
        // the first call does not search
        (run, 1, false, vec![moved()], &["charge"], charged()),
        (run, 1, false, vec![no()], &["charge"], declined()),
        (run, 1, false, vec![Err(Fault::Lost)], &["charge"], unknown()),
        (run, 1, false, vec![Err(Fault::Unavailable)], &["charge"], not_sent(None)),
        (run, 1, false, vec![Err(OPEN)], &["charge"], not_sent(seven)),
        (run, 1, false, vec![Err(Fault::TooLate)], &["charge"], not_sent(None)),
        // frozen since it was committed: nothing is sent
        (run, 1, true, vec![], &[], not_sent(None)),
        // later ones do
        (run, 2, false, vec![moved()], &["find charge"], charged()),
        (run, 2, false, vec![no()], &["find charge"], declined()),
        (run, 2, false, vec![Ok(None), moved()], &["find charge", "charge"], charged()),
        (run, 2, false, vec![Err(Fault::Lost)], &["find charge"], unknown()),
        (run, 2, false, vec![Err(OPEN)], &["find charge"], not_sent(seven)),
        // too old: found or unresolved, never sent
        (run, 2, true, vec![moved()], &["find charge"], charged()),
        (run, 2, true, vec![Ok(None)], &["find charge"], CallResult::Unresolved),
        (run, 2, true, vec![Err(Fault::Unavailable)], &["find charge"], not_sent(None)),
        // refunds likewise
        (undo, 1, false, vec![moved()], &["refund"], refunded()),
        (undo, 1, false, vec![no()], &["refund"], CallResult::Refused(refused)),
        (undo, 2, false, vec![moved()], &["find refund"], refunded()),
        (undo, 2, false, vec![Ok(None), moved()], &["find refund", "refund"], refunded()),
        (undo, 2, true, vec![Ok(None)], &["find refund"], CallResult::Unresolved),
    ]
}

#[tokio::test]
async fn each_answer_says_exactly_what_is_known() {
    for (number, (verb, calls, too_old, answers, asked, expected)) in cases().into_iter().enumerate() {
        let script = Script { answers: Mutex::new(answers.into()), asked: Mutex::default() };
        let call = if verb == Verb::Run {
            Call::Charge { amount_minor: 500, currency: "EUR".into(), token: "tok_ok".into() }
        } else {
            Call::Refund { charge_ref: "ch_1".into(), amount_minor: 500, currency: "EUR".into() }
        };
        let left = if too_old { Duration::ZERO } else { Duration::from_secs(600) };
        let result = make(&script, &intent(verb, calls), &call, Deadline::after(left)).await;
        assert_eq!(result, expected, "case {number}");
        assert_eq!(*script.asked.lock().expect("no panic"), asked, "case {number}");
        assert!(script.answers.lock().expect("no panic").is_empty(), "case {number}");
    }
}
