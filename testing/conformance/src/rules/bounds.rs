//! What a participant can't do, can't remember or can't read.

use prost::Message as _;
use skald_proto::participant::v1::{Command, outcome::Answer};
use uuid::Uuid;

use super::{KEPT, ONCE, Rule, Scope, ask, expect, succeeded};
use crate::{
    case::{Case, Ways as _},
    script::{Act, DeadLetter, Seen, tell},
};

const DAY_MS: i64 = 24 * 3600 * 1000;
/// Beyond the horizon of 45 days, with room for partitions that are weeks long.
const OLD: i64 = -60 * DAY_MS;
const FUTURE: i64 = 365 * DAY_MS;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "unknown-action",
        says: "an action that it does not know is answered failed UNIMPLEMENTED, retryable, and is no dead letter",
        promise: KEPT,
        broken: "during a rolling deploy old instances get commands for new actions; a no, silence or a dead letter ends orders that \
                 the next instance could have served",
        needs: &[],
        scope: Scope::Participant,
        sagas: 1,
        script: |c| vec![Act::Once(vec![unknown(&c[0])]), ask([c[0].run().at_epoch(2)])],
        judge: |c, seen| {
            unimplemented(seen, &unknown(&c[0]))?;
            no_letter(seen, &c[0])?;
            expect(seen, 1, &c[0].run().at_epoch(2), succeeded, "succeeded")
        },
    },
    Rule {
        name: "protocol",
        says: "a version of the protocol that it does not speak is answered failed UNIMPLEMENTED, retryable",
        promise: KEPT,
        broken: "a field that it does not know may change what is asked; it would do what nobody meant",
        needs: &[],
        scope: Scope::Participant,
        sagas: 1,
        script: |c| vec![Act::Once(vec![newer(&c[0])]), ask([c[0].run()])],
        judge: |c, seen| {
            unimplemented(seen, &newer(&c[0]))?;
            no_letter(seen, &c[0])?;
            expect(seen, 1, &c[0].run(), succeeded, "succeeded")
        },
    },
    Rule {
        name: "too-old",
        says: "a command for a saga that is older than the horizon is refused, failed and final; it never runs",
        promise: ONCE,
        broken: "what was decided about it is forgotten: a topic that is read again from its beginning runs the actions of last year",
        needs: &[],
        scope: Scope::Action,
        sagas: 1,
        script: |c| {
            let undo = c[0].has_undo().then(|| shifted(&c[0].undo(), OLD));
            vec![Act::Once([shifted(&c[0].run(), OLD)].into_iter().chain(undo).collect())]
        },
        judge: |c, seen| {
            failed(seen, 0, &shifted(&c[0].run(), OLD), false)?;
            if c[0].has_undo() {
                failed(seen, 0, &shifted(&c[0].undo(), OLD), false)?;
            }
            Ok(())
        },
    },
    Rule {
        name: "future",
        says: "a command for a saga from the future is answered failed, retryable; it does not run",
        promise: ONCE,
        broken: "a clock is wrong somewhere; what is decided now would outlive the horizon, or be forgotten before it",
        needs: &[],
        scope: Scope::Action,
        sagas: 1,
        script: |c| vec![Act::Once(vec![shifted(&c[0].run(), FUTURE)])],
        judge: |c, seen| failed(seen, 0, &shifted(&c[0].run(), FUTURE), true),
    },
    Rule {
        name: "undecodable",
        says: "bytes that are no command become a dead letter with the original bytes and a reason (Kafka), or an error or silence \
               (gRPC); the participant goes on",
        promise: KEPT,
        broken: "one broken message stops a partition and every order in it, or disappears without a trace",
        needs: &[],
        scope: Scope::Participant,
        sagas: 2,
        script: |c| {
            let key = c[0].saga.to_string();
            vec![
                Act::Garbage(key.clone(), NONSENSE.to_vec()),
                Act::Garbage(key, nobody(&c[0]).encode_to_vec()),
                ask([c[1].run()]),
            ]
        },
        judge: buried,
    },
];

/// No protobuf message: a field of a wire type that there is not.
const NONSENSE: &[u8] = b"\x0fthis is no command";

fn unknown(case: &Case) -> Command {
    case.run().named("conformance-no-such-action")
}

fn newer(case: &Case) -> Command {
    case.run().in_protocol(99).at_epoch(3)
}

/// A message of the right type that no saga has sent.
fn nobody(case: &Case) -> Command {
    Command { saga_id: "no-uuid".to_owned(), ..case.run() }
}

/// The same for a saga whose id says another time; derived from it, so that script and judge agree.
fn shifted(command: &Command, by_ms: i64) -> Command {
    let saga = Uuid::try_parse(&command.saga_id).unwrap_or_default();
    let (time, rest) = (saga.as_u128() >> 80, saga.as_u128() & ((1 << 80) - 1));
    let time = u128::from(u64::try_from(time).unwrap_or_default().saturating_add_signed(by_ms));
    let shifted = Command { saga_id: Uuid::from_u128(time << 80 | rest).to_string(), ..command.clone() };
    let epoch = shifted.epoch;
    shifted.at_epoch(epoch)
}

fn failed(seen: &Seen, round: usize, command: &Command, retryable: bool) -> Result<(), String> {
    let what = if retryable { "failed, retryable" } else { "failed, final" };
    match seen.answer(round, command)? {
        Answer::Failed(f) if f.retryable == retryable => Ok(()),
        other => Err(format!("it must be {what}; it was {}", tell(other))),
    }
}

fn unimplemented(seen: &Seen, command: &Command) -> Result<(), String> {
    failed(seen, 0, command, true)?;
    match seen.answer(0, command)? {
        Answer::Failed(f) if f.code == "UNIMPLEMENTED" => Ok(()),
        other => Err(format!("its code must be UNIMPLEMENTED; it was {}", tell(other))),
    }
}

fn no_letter(seen: &Seen, case: &Case) -> Result<(), String> {
    let mine = |letter: &&DeadLetter| letter.key == case.saga.to_string().as_bytes();
    match seen.rounds.iter().flat_map(|r| &r.letters).find(mine) {
        Some(letter) => Err(format!("it became a dead letter: {}", letter.reason)),
        None => Ok(()),
    }
}

fn buried(c: &[Case], seen: &Seen) -> Result<(), String> {
    let kafka = seen.rounds.iter().flat_map(|r| &r.sent).any(|s| s.place.is_some());
    for (round, bytes) in [NONSENSE.to_vec(), nobody(&c[0]).encode_to_vec()].into_iter().enumerate() {
        let Some(seen) = seen.rounds.get(round) else { continue };
        if let Some(answered) = seen.arrivals.iter().find(|a| a.outcome.saga_id == "no-uuid") {
            let answer = answered.outcome.answer.as_ref();
            if !answer.is_some_and(|a| matches!(a, Answer::Failed(_))) {
                return Err(format!("it was answered {}", answer.map(tell).unwrap_or_default()));
            }
        }
        if !kafka {
            continue;
        }
        let Some(letter) = seen.letters.iter().find(|l| l.payload == bytes) else {
            return Err(format!("no dead letter with the original {} bytes came", bytes.len()));
        };
        if letter.key != c[0].saga.to_string().as_bytes() {
            return Err("the dead letter does not have the original's key".to_owned());
        }
        if letter.reason.is_empty() {
            return Err("the dead letter has no reason in the header skald-reason".to_owned());
        }
    }
    expect(seen, 2, &c[1].run(), succeeded, "succeeded, for the participant must go on")
}
