//! Between core's types and the contracts. Field by field, nothing decided.

use prost::Message;
use prost_types::Any;
use skald_core::{
    command_id,
    input::{self, Answer, Payload, Request},
    plan,
};
use skald_proto::participant::v1::{self as wire, outcome};
use uuid::Uuid;

/// The version of the protocol that we speak.
pub const PROTOCOL: u32 = 1;
/// The largest result, or detail of a no, bytes: it stands in the saga's state.
pub const MAX_RESULT: usize = 64 * 1024;

/// The message for a planned command; `request` is the saga's stored one.
pub fn command(send: &plan::Send, request: &[u8]) -> wire::Command {
    let verb = send.command.verb();
    wire::Command {
        protocol: PROTOCOL,
        saga_id: send.saga.to_string(),
        step: send.command.step.clone(),
        verb: send.command.verb,
        epoch: send.command.epoch,
        attempt: send.command.attempt,
        action: send.action.clone(),
        input: Request::decode(request).ok().and_then(|r| r.input).map(any),
        needs: (send.needs.iter())
            .map(|(step, result)| wire::StepResult { step: step.clone(), result: Some(any(result.clone())) })
            .collect(),
        command_id: command_id(send.saga, &send.command.step, verb, send.command.epoch).to_string(),
    }
}

/// Core's opaque payload as the contracts' `Any`.
pub fn any(payload: Payload) -> Any {
    Any { type_url: payload.type_url, value: payload.value }
}

/// The contracts' `Any` as core's opaque payload.
pub fn payload(any: Any) -> Payload {
    Payload { type_url: any.type_url, value: any.value }
}

/// Reads an outcome: its saga, who answers, and core's input.
///
/// # Errors
/// Why it is a dead letter.
pub fn outcome(bytes: &[u8]) -> Result<(Uuid, String, input::Outcome), String> {
    checked(wire::Outcome::decode(bytes).map_err(|e| format!("UNDECODABLE: not an outcome: {e}"))?)
}

/// The same of a message that was decoded.
///
/// # Errors
/// Why it can't be used.
pub fn checked(message: wire::Outcome) -> Result<(Uuid, String, input::Outcome), String> {
    if message.protocol != PROTOCOL {
        return Err(format!(
            "UNDECODABLE: protocol {}, this orchestrator speaks {PROTOCOL}",
            message.protocol
        ));
    }
    let saga = Uuid::try_parse(&message.saga_id)
        .map_err(|_| format!("UNDECODABLE: saga_id {:?} is no UUID", excerpt(&message.saga_id)))?;
    let answer = message.answer.ok_or("UNDECODABLE: an outcome without an answer")?;
    let size = match &answer {
        outcome::Answer::Succeeded(s) => s.result.as_ref(),
        outcome::Answer::Rejected(r) => r.detail.as_ref(),
        outcome::Answer::Undone(u) => u.result.as_ref(),
        _ => None,
    };
    if let Some(size) = size.map(|any| any.value.len()).filter(|size| *size > MAX_RESULT) {
        return Err(format!("TOO_LARGE: a result of {size} bytes, {MAX_RESULT} are allowed"));
    }
    let outcome = input::Outcome {
        step: message.step,
        verb: message.verb,
        epoch: message.epoch,
        attempt: message.attempt,
        answer: Some(self::answer(answer)),
    };
    Ok((saga, message.participant, outcome))
}

/// The beginning of what somebody made up: enough to recognise it.
fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

fn answer(answer: outcome::Answer) -> Answer {
    let done = |result: Option<Any>| input::Done { result: result.map(payload) };
    match answer {
        outcome::Answer::Succeeded(s) => Answer::Succeeded(done(s.result)),
        outcome::Answer::Rejected(r) => {
            Answer::Rejected(input::No { code: r.code, message: r.message, detail: r.detail.map(payload) })
        }
        outcome::Answer::Sealed(_) => Answer::Sealed(input::Unit {}),
        outcome::Answer::Undone(u) => Answer::Undone(done(u.result)),
        outcome::Answer::NothingToUndo(_) => Answer::NothingToUndo(input::Unit {}),
        outcome::Answer::Fenced(_) => Answer::Fenced(input::Unit {}),
        outcome::Answer::Failed(f) => Answer::Failed(input::Failure {
            code: f.code,
            message: f.message,
            retryable: f.retryable,
            retry_after_ms: f.retry_after_ms,
        }),
    }
}
