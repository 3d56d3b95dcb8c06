//! One try to settle an intent at the gateway: search first when an earlier call may have arrived, send only while the key is
//! young, and say exactly what is known afterwards.

use skald_participant::{CallResult, Deadline, Failed, Intent};

use crate::{
    domain::{self, Call},
    gateway::{Answer, Charge, Fault, Gateway, Kind, Refund},
};

/// Makes the call.
pub(crate) async fn make<G: Gateway>(
    gateway: &G,
    intent: &Intent,
    call: &Call,
    deadline: Deadline,
) -> CallResult {
    if intent.calls > 1 {
        // Asked before the search: what is sent after it was not seen by it.
        let too_old = deadline.passed();
        match gateway.find(kind(call), &intent.our_ref(), &intent.gateway_key).await {
            Ok(Some(answer)) => return settled(call, answer),
            Ok(None) if too_old => return CallResult::Unresolved,
            Ok(None) => {}
            Err(fault) => return unsettled(&fault),
        }
    }
    // A process that was frozen since then must not send; the next try searches first.
    if deadline.passed() {
        return CallResult::NotSent { retry_after: None };
    }
    match send(gateway, intent, call, deadline).await {
        Ok(answer) => settled(call, answer),
        Err(fault) => unsettled(&fault),
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
