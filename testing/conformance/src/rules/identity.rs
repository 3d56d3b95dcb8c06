//! Who answers, to what, and where: the fields by which an outcome finds its command.

use skald_proto::participant::v1::{Command, Outcome, outcome::Answer};
use uuid::Uuid;

use super::{KEPT, Need, ONCE, Rule, Scope, ask, expect, rejected, sealed, succeeded, undone};
use crate::{
    case::{PROTOCOL, Ways as _, command_id},
    consistency::consistent,
    script::{Act, Arrival, Seen, answers, name},
};

/// The largest result, or detail of a no, bytes.
const MAX_RESULT: usize = 64 * 1024;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "describe",
        says: "Describe names the participant, protocol 1, a horizon of 45 days or more, and every action with its undo",
        promise: KEPT,
        broken: "the orchestrator, or whoever is on call, asks the wrong service",
        needs: &[Need::Grpc],
        scope: Scope::Participant,
        sagas: 1,
        script: |_| vec![Act::Describe],
        judge: described,
    },
    Rule {
        name: "echo",
        says: "an outcome repeats its command's saga, step, verb and epoch, speaks protocol 1, names its participant, and holds at \
               most 64 KiB",
        promise: KEPT,
        broken: "the orchestrator can't tell which command was answered: the outcome becomes a dead letter, the saga waits",
        needs: &[],
        scope: Scope::Action,
        sagas: 2,
        script: |c| {
            let undo = if c[0].has_undo() { vec![c[0].undo(), c[1].seal_undo()] } else { Vec::new() };
            vec![ask([c[0].run().at_epoch(7), c[1].seal_run().at_epoch(2)]), Act::Ask(undo)]
        },
        judge: echoed,
    },
    Rule {
        name: "attempts",
        says: "an outcome tells the attempt that it answers",
        promise: KEPT,
        broken: "a failure counts only for the attempt that waits for it: with another number on it, the step hangs until its \
                 deadline",
        needs: &[],
        scope: Scope::Action,
        sagas: 1,
        script: |c| vec![ask([c[0].run().at_attempt(3)]), ask([c[0].run().at_attempt(4)])],
        judge: |c, seen| {
            for (round, least) in [(0, 3), (1, 4)] {
                expect(seen, round, &c[0].run(), succeeded, "succeeded")?;
                let asked = &seen.rounds[round];
                let told = |a: &&Arrival| answers(&a.outcome, &c[0].run());
                let told: Vec<u32> = asked.arrivals.iter().filter(told).map(|a| a.outcome.attempt).collect();
                let wanted = asked.attempt_of(&c[0].run()).max(least);
                if !told.contains(&wanted) {
                    return Err(format!("attempt {wanted} was asked; the outcome says {told:?}"));
                }
            }
            consistent(seen.outcomes())
        },
    },
    Rule {
        name: "epochs",
        says: "epoch 2 is a new try; a repeat of epoch 1 still gets the outcome of epoch 1",
        promise: ONCE,
        broken: "a retry after restocking gets the old no, or an old repeat runs the action once more",
        needs: &[],
        scope: Scope::Action,
        sagas: 1,
        script: |c| {
            // Without a sample that is rejected, sealing ends the first epoch.
            let first = if c[0].has_rejected() { c[0].run_rejected() } else { c[0].seal_run() };
            let last =
                if c[0].has_undo() { c[0].undo().at_epoch(2) } else { c[0].run().at_epoch(2).at_attempt(2) };
            vec![ask([first]), ask([c[0].run().at_epoch(2)]), ask([c[0].run().at_attempt(2)]), ask([last])]
        },
        judge: |c, seen| {
            let (kind, what): (fn(&Answer) -> bool, _) =
                if c[0].has_rejected() { (rejected, "rejected") } else { (sealed, "sealed") };
            let first = if c[0].has_rejected() { c[0].run() } else { c[0].seal_run() };
            expect(seen, 0, &first, kind, what)?;
            expect(seen, 1, &c[0].run().at_epoch(2), succeeded, "succeeded")?;
            expect(seen, 2, &c[0].run(), kind, what)?;
            match c[0].has_undo() {
                true => expect(seen, 3, &c[0].undo().at_epoch(2), undone, "undone")?,
                false => expect(seen, 3, &c[0].run().at_epoch(2), succeeded, "succeeded")?,
            }
            consistent(seen.outcomes())
        },
    },
    Rule {
        name: "partition",
        says: "an outcome goes into the partition that its command came from, with the saga's id as its key",
        promise: KEPT,
        broken: "the outcome reaches a worker that does not own the saga; batches break up, and a DLQ entry names no saga",
        needs: &[Need::Kafka],
        scope: Scope::Action,
        sagas: 6,
        // The second half goes into partitions that are not those of their keys.
        script: |c| {
            let runs: Vec<Command> = c.iter().map(crate::Case::run).collect();
            let (own, other) = runs.split_at(3);
            vec![Act::Race(vec![own.to_vec(), other.to_vec()])]
        },
        judge: placed,
    },
];

fn described(c: &[crate::Case], seen: &Seen) -> Result<(), String> {
    let round = seen.rounds.first().ok_or("nothing was seen")?;
    let Some(told) = &round.described else {
        return Err(format!("Describe did not answer: {}", round.trouble.as_deref().unwrap_or("no reason")));
    };
    if told.participant != seen.participant {
        return Err(format!("it calls itself {:?}, not {:?}", told.participant, seen.participant));
    }
    if !told.protocols.contains(&PROTOCOL) {
        return Err(format!("it speaks the protocols {:?}, not {PROTOCOL}", told.protocols));
    }
    if told.horizon_days < 45 {
        return Err(format!(
            "it remembers {} days; sagas may take up to 38, and 45 are promised",
            told.horizon_days
        ));
    }
    for case in c {
        let undo = case.undo.as_deref().unwrap_or_default();
        if !told.actions.iter().any(|a| a.name == case.action && a.undo == undo) {
            return Err(format!("it does not tell the action {} with the undo {undo:?}", case.action));
        }
    }
    Ok(())
}

fn echoed(c: &[crate::Case], seen: &Seen) -> Result<(), String> {
    expect(seen, 0, &c[0].run().at_epoch(7), succeeded, "succeeded")?;
    expect(seen, 0, &c[1].seal_run().at_epoch(2), sealed, "sealed")?;
    let sent = || seen.rounds.iter().flat_map(|r| &r.sent).map(|s| &s.command);
    for command in sent() {
        seen.rounds
            .iter()
            .find_map(|r| r.answer(command).ok())
            .ok_or(format!("{} got no answer", name(command)))?;
    }
    let ids: Vec<&str> = sent().map(|c| c.command_id.as_str()).collect();
    // late answers to what came before this rule are none of its business
    let mine = |o: &&Outcome| c.iter().any(|case| case.saga.to_string() == o.saga_id);
    for outcome in seen.outcomes().filter(mine) {
        let saga = Uuid::try_parse(&outcome.saga_id)
            .map_err(|_| format!("saga_id {:?} is no UUID", outcome.saga_id))?;
        let id = command_id(saga, &outcome.step, outcome.verb(), outcome.epoch).to_string();
        if !ids.contains(&id.as_str()) {
            return Err(format!(
                "an outcome for {saga}/{}/{} answers no command",
                outcome.step, outcome.epoch
            ));
        }
        if outcome.protocol != PROTOCOL {
            return Err(format!("the outcome speaks protocol {}, not {PROTOCOL}", outcome.protocol));
        }
        if outcome.participant != seen.participant {
            return Err(format!("the outcome is from {:?}, not {:?}", outcome.participant, seen.participant));
        }
        if size(outcome) > MAX_RESULT {
            return Err(format!("the outcome holds {} bytes, {MAX_RESULT} are allowed", size(outcome)));
        }
    }
    Ok(())
}

fn size(outcome: &Outcome) -> usize {
    let any = match &outcome.answer {
        Some(Answer::Succeeded(s)) => s.result.as_ref(),
        Some(Answer::Rejected(r)) => r.detail.as_ref(),
        Some(Answer::Undone(u)) => u.result.as_ref(),
        _ => None,
    };
    any.map_or(0, |any| any.value.len())
}

fn placed(c: &[crate::Case], seen: &Seen) -> Result<(), String> {
    let round = seen.rounds.first().ok_or("nothing was seen")?;
    for case in c {
        let run = case.run();
        round.answer(&run)?;
        let came: Vec<i32> = round
            .sent
            .iter()
            .filter(|s| s.command.saga_id == run.saga_id)
            .filter_map(|s| Some(s.place?.0))
            .collect();
        for arrival in round.arrivals.iter().filter(|a| answers(&a.outcome, &run)) {
            let Some((key, partition)) = &arrival.place else { continue };
            if key != run.saga_id.as_bytes() {
                return Err(format!(
                    "the key of an outcome is {:?}, not its saga's id",
                    String::from_utf8_lossy(key)
                ));
            }
            if !came.contains(partition) {
                return Err(format!(
                    "a command of partition {came:?} was answered into partition {partition}"
                ));
            }
        }
    }
    Ok(())
}
