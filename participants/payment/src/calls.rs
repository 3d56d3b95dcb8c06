//! One try to settle an intent at the gateway: search first when an earlier call may have arrived, send only while the key is
//! young, and say exactly what is known afterwards. What follows from what is pure; [`make`] asks the gateway.

use skald_participant::{CallResult, Deadline, Failed, Intent, planted};

use crate::{
    domain::{self, Call},
    gateway::{Answer, Charge, Fault, Gateway, Kind, Refund},
};

/// What a try does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Search: an earlier call may have arrived.
    Find {
        /// Asked before the search: what is sent after it was not seen by it.
        too_old: bool,
    },
    /// Send, if the key may still be used at that moment.
    Send,
    /// It is over.
    Done(CallResult),
}

/// How a try begins; `passed`: nothing may be sent with the key any more.
#[must_use]
pub fn begin(intent: &Intent, passed: bool) -> Next {
    let search = intent.calls > 1 && !planted::is("never_searches");
    if search { Next::Find { too_old: passed } } else { about_to_send(passed) }
}

/// After a search that began when the key was `too_old` or not.
#[must_use]
pub fn found(call: &Call, answer: Result<Option<Answer>, Fault>, too_old: bool, passed: bool) -> Next {
    match answer {
        Ok(Some(answer)) => Next::Done(settled(call, answer)),
        Ok(None) if too_old => Next::Done(CallResult::Unresolved),
        Ok(None) => about_to_send(passed),
        Err(fault) => Next::Done(unsettled(&fault)),
    }
}

/// A process that was frozen since then must not send; the next try searches first.
fn about_to_send(passed: bool) -> Next {
    if passed { Next::Done(CallResult::NotSent { retry_after: None }) } else { Next::Send }
}

/// After a send.
#[must_use]
pub fn sent(call: &Call, answer: Result<Answer, Fault>) -> CallResult {
    match answer {
        Ok(answer) => settled(call, answer),
        Err(fault) => unsettled(&fault),
    }
}

/// Makes the call.
pub(crate) async fn make<G: Gateway>(
    gateway: &G,
    intent: &Intent,
    call: &Call,
    deadline: Deadline,
) -> CallResult {
    let mut next = begin(intent, deadline.passed());
    loop {
        next = match next {
            Next::Find { too_old } => {
                let answer = gateway.find(kind(call), &intent.our_ref(), &intent.gateway_key).await;
                found(call, answer, too_old, deadline.passed())
            }
            Next::Send => Next::Done(sent(call, send(gateway, intent, call, deadline).await)),
            Next::Done(result) => return result,
        };
    }
}

async fn send<G: Gateway>(
    gateway: &G,
    intent: &Intent,
    call: &Call,
    deadline: Deadline,
) -> Result<Answer, Fault> {
    let (key, our_ref) = (intent.gateway_key.clone(), intent.our_ref());
    match call.clone() {
        Call::Charge { amount_minor, currency, token } => {
            gateway.charge(&Charge { key, our_ref, amount_minor, currency, token, deadline }).await
        }
        Call::Refund { charge_ref, amount_minor, currency } => {
            gateway.refund(&Refund { key, our_ref, charge_ref, amount_minor, currency, deadline }).await
        }
    }
}

fn kind(call: &Call) -> Kind {
    match call {
        Call::Charge { .. } => Kind::Charge,
        Call::Refund { .. } => Kind::Refund,
    }
}

fn settled(call: &Call, answer: Answer) -> CallResult {
    match (call, answer) {
        (Call::Charge { amount_minor, currency, .. }, Answer::Moved { reference }) => {
            CallResult::Succeeded(Some(domain::charged(reference, *amount_minor, currency.clone())))
        }
        (Call::Charge { .. }, Answer::Declined { code }) => CallResult::Rejected(domain::declined(code)),
        (Call::Refund { amount_minor, currency, .. }, Answer::Moved { reference }) => {
            CallResult::Undone(Some(domain::refunded(reference, *amount_minor, currency.clone())))
        }
        (Call::Refund { .. }, Answer::Declined { code }) => CallResult::Refused(Failed::last(
            "REFUND_REFUSED",
            format!("the gateway refused the refund: {code}"),
        )),
    }
}

fn unsettled(fault: &Fault) -> CallResult {
    match fault {
        Fault::Open { retry_after } => CallResult::NotSent { retry_after: Some(*retry_after) },
        Fault::TooLate | Fault::Unavailable => CallResult::NotSent { retry_after: None },
        Fault::Lost => CallResult::Unknown { retry_after: None },
    }
}

#[cfg(test)]
mod tests;
