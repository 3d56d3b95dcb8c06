//! What participants answer: bytes become an input of a saga, or a dead letter with a reason.

use prost::Message as _;
use skald_core::{
    Input, flight,
    input::{self, Answer},
};
use skald_proto::participant::v1 as wire;
use skald_server::bus::wire::{MAX_RESULT, outcome};

use crate::{
    Target,
    golden::{fold, golden},
};

pub(crate) const TARGET: Target = Target {
    name: "outcome",
    about: "a participant's answer: bytes become an input of a saga, or a dead letter with a reason",
    run,
    seeds,
    words: &[
        "reserve",
        "release",
        "charge",
        "refund",
        "commit",
        "pay",
        "fulfil",
        "OUT_OF_STOCK",
        "UNRESOLVED",
        "POISONED",
    ],
};

/// The longest reason, bytes: it becomes a header beside the message, and both must fit into one record.
const REASON: usize = 1024;

fn run(bytes: &[u8]) {
    let Some((pick, message)) = bytes.split_first_chunk::<2>() else { return };
    let stand = golden().stand(u16::from_le_bytes(*pick));
    let (_, participant, outcome) = match outcome(message) {
        Ok(read) => read,
        Err(why) => {
            assert!(why.starts_with("UNDECODABLE: ") || why.starts_with("TOO_LARGE: "), "{why}");
            assert!(why.len() <= REASON, "a reason of {} bytes", why.len());
            return;
        }
    };
    assert!(participant.len() <= message.len());
    let result = match outcome.answer.as_ref().expect("an answer") {
        Answer::Succeeded(done) | Answer::Undone(done) => done.result.as_ref(),
        Answer::Rejected(no) => no.detail.as_ref(),
        _ => None,
    };
    assert!(result.is_none_or(|result| result.value.len() <= MAX_RESULT), "a result beyond the bound");
    let input = Input::Outcome(outcome);
    assert_eq!(
        input::decode(&input::encode(&input)).expect("readable"),
        input,
        "what is stored is what came"
    );
    fold(stand, stand.state.now + 1000, &input);
}

/// Every answer that each command in flight of each golden saga could have.
fn seeds() -> Vec<Vec<u8>> {
    use wire::outcome::Answer::{Failed, Fenced, NothingToUndo, Rejected, Sealed, Succeeded, Undone};
    let any = prost_types::Any { type_url: "t/skald.inventory.v1.Reserved".into(), value: vec![10, 1, 97] };
    let answers = [
        Succeeded(wire::Succeeded { result: Some(any.clone()) }),
        Rejected(wire::Rejected {
            code: "OUT_OF_STOCK".into(),
            message: "no".into(),
            detail: Some(any.clone()),
        }),
        Sealed(wire::Sealed {}),
        Undone(wire::Undone { result: Some(any) }),
        NothingToUndo(wire::NothingToUndo {}),
        Fenced(wire::Fenced {}),
        Failed(wire::Failed {
            code: "UNAVAILABLE".into(),
            message: "later".into(),
            retryable: true,
            retry_after_ms: 9,
        }),
        Failed(wire::Failed { code: "UNRESOLVED".into(), ..Default::default() }),
    ];
    let mut seeds = Vec::new();
    for (n, stand) in golden().stands.iter().enumerate().step_by(7) {
        for command in flight::commands(&stand.state) {
            let answer = answers[seeds.len() % answers.len()].clone();
            let message = wire::Outcome {
                protocol: 1,
                saga_id: stand.saga.to_string(),
                step: command.step.clone(),
                verb: command.verb,
                epoch: command.epoch,
                attempt: command.attempt,
                participant: "inventory".into(),
                answer: Some(answer),
            };
            seeds.push([&(n as u16).to_le_bytes()[..], &message.encode_to_vec()].concat());
        }
    }
    // Once a letter that was larger than its topic allows, and so was sent again for ever: the id is quoted in the reason.
    let endless = wire::Outcome { protocol: 1, saga_id: "\u{1}".repeat(2000), ..Default::default() };
    seeds.push([&[0, 0][..], &endless.encode_to_vec()].concat());
    seeds
}
