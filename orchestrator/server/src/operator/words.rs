//! A command or an outcome in words: like JSON, for a person to read. Payloads of owners' types are told by their type
//! and as hexadecimal digits, for their owners alone can read them.

use prost::Message as _;
use prost_types::Any;
use serde_json::{Value, json};
use skald_proto::participant::v1::{Command, Outcome, Verb, outcome::Answer};

/// Of a payload's bytes so many are shown.
const SHOWN: usize = 512;

/// The payload of a letter in this topic of dead letters; empty when it is neither.
pub(super) fn payload(topic: &str, payload: &[u8]) -> String {
    let value = if topic.ends_with(".commands.dlq") {
        Command::decode(payload).ok().map(|c| command(&c))
    } else if topic.ends_with(".outcomes.dlq") {
        Outcome::decode(payload).ok().map(|o| outcome(&o))
    } else {
        None
    };
    value.and_then(|v| serde_json::to_string_pretty(&v).ok()).unwrap_or_default()
}

fn command(c: &Command) -> Value {
    let needs = c.needs.iter().map(|need| json!({ "step": need.step, "result": any(need.result.as_ref()) }));
    json!({
        "protocol": c.protocol,
        "saga_id": c.saga_id,
        "step": c.step,
        "verb": verb(c.verb),
        "epoch": c.epoch,
        "attempt": c.attempt,
        "action": c.action,
        "input": any(c.input.as_ref()),
        "needs": needs.collect::<Vec<_>>(),
        "command_id": c.command_id,
    })
}

fn outcome(o: &Outcome) -> Value {
    json!({
        "protocol": o.protocol,
        "saga_id": o.saga_id,
        "step": o.step,
        "verb": verb(o.verb),
        "epoch": o.epoch,
        "attempt": o.attempt,
        "participant": o.participant,
        "answer": o.answer.as_ref().map(answer),
    })
}

fn answer(answer: &Answer) -> Value {
    match answer {
        Answer::Succeeded(s) => json!({ "succeeded": any(s.result.as_ref()) }),
        Answer::Rejected(r) => {
            json!({ "rejected": { "code": r.code, "message": r.message, "detail": any(r.detail.as_ref()) } })
        }
        Answer::Sealed(_) => json!("sealed"),
        Answer::Undone(u) => json!({ "undone": any(u.result.as_ref()) }),
        Answer::NothingToUndo(_) => json!("nothing_to_undo"),
        Answer::Fenced(_) => json!("fenced"),
        Answer::Failed(f) => json!({ "failed": {
            "code": f.code, "message": f.message, "retryable": f.retryable, "retry_after_ms": f.retry_after_ms,
        } }),
    }
}

fn verb(number: i32) -> Value {
    Verb::try_from(number)
        .map_or_else(|_| json!(number), |verb| json!(verb.as_str_name().trim_start_matches("VERB_")))
}

fn any(any: Option<&Any>) -> Value {
    let Some(any) = any else { return Value::Null };
    let digits = any.value.iter().take(SHOWN).fold(String::new(), |hex, b| hex + &format!("{b:02x}"));
    json!({ "@type": any.type_url, "bytes": any.value.len(), "hex": digits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_and_an_outcome_are_told_and_nothing_else() {
        let command = Command { saga_id: "s".into(), verb: Verb::Undo.into(), ..Default::default() };
        let input = Any { type_url: "t/T".into(), value: vec![1, 0xff] };
        let told = payload("x.commands.dlq", &Command { input: Some(input), ..command }.encode_to_vec());
        for word in ["\"saga_id\": \"s\"", "\"verb\": \"UNDO\"", "\"hex\": \"01ff\""] {
            assert!(told.contains(word), "{told}");
        }
        let outcome =
            Outcome { verb: 77, answer: Some(Answer::Fenced(Default::default())), ..Default::default() };
        let told = payload("x.outcomes.dlq", &outcome.encode_to_vec());
        assert!(told.contains("\"verb\": 77") && told.contains("\"answer\": \"fenced\""), "{told}");
        assert_eq!(payload("x.outcomes.dlq", &[0xff; 9]), "");
        assert_eq!(payload("orders.events.dlq", &outcome.encode_to_vec()), "");
    }
}
