//! The participant is killed in the middle and started again.

use skald_proto::participant::v1::Command;

use super::{KEPT, Need, ONCE, Rule, Scope, ask};
use crate::{
    case::{Case, Ways as _},
    consistency::consistent,
    script::{Act, Seen},
};

/// Sagas: some are answered before the kill, some are caught; enough that they last until it is done.
const SAGAS: usize = 400;
/// How many of them are to be answered first.
const FIRST: usize = 10;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "crash",
        says: "killed in the middle and started again, it has exactly one verdict for each command, and repeats it",
        promise: ONCE,
        broken: "what was decided must be as durable as its effect, in the same transaction; else a restart runs it again, or \
                 forgets that it ran",
        needs: &[Need::Hooks],
        scope: Scope::Participant,
        sagas: SAGAS,
        script: |c| {
            let (first, then) = c.split_at(FIRST);
            let first: Vec<Command> = first.iter().flat_map(both).collect();
            let then: Vec<Command> = then.iter().flat_map(both).collect();
            let again = first.iter().chain(&then).map(|c| c.clone().at_attempt(2)).collect::<Vec<_>>();
            vec![Act::Crash { first, then, silent: false }, ask(again)]
        },
        judge: |c, seen| {
            hooked(seen)?;
            for command in c.iter().flat_map(both) {
                seen.answer(1, &command)?;
            }
            consistent(seen.outcomes())
        },
    },
    Rule {
        name: "offsets",
        says: "offsets are committed only after effects and answers: after a kill in the middle every command is answered without \
               being sent again",
        promise: KEPT,
        broken: "a command whose offset was committed first is gone: nothing ran, nobody answered, and the order waits for a \
                 re-send that a budget holds back",
        needs: &[Need::Hooks, Need::Kafka],
        scope: Scope::Participant,
        sagas: SAGAS,
        script: |c| {
            let (first, then) = c.split_at(FIRST);
            let run = |c: &[Case]| c.iter().map(Case::run).collect::<Vec<_>>();
            vec![Act::Crash { first: run(first), then: run(then), silent: true }]
        },
        judge: |c, seen| {
            hooked(seen)?;
            let round = &seen.rounds[0];
            let sent = |run: &Command| round.sent.iter().any(|s| s.command == *run);
            let sent: Vec<Command> = c.iter().map(Case::run).filter(sent).collect();
            let lost: Vec<&Command> = sent.iter().filter(|run| round.answer(run).is_err()).collect();
            let Some(one) = lost.first() else { return Ok(()) };
            let place = round.sent.iter().find(|s| s.command == **one).and_then(|s| s.place);
            let committed = |(p, offset): (i32, i64)| {
                round.committed.iter().any(|(partition, committed)| *partition == p && offset < *committed)
            };
            let why = match place {
                Some(place) if committed(place) => {
                    format!("; offset {} of partition {} had been committed at the kill", place.1, place.0)
                }
                _ => String::new(),
            };
            Err(format!(
                "{} of {} commands were never answered, such as saga {}{why}",
                lost.len(),
                sent.len(),
                one.saga_id
            ))
        },
    },
];

/// RUN, and for every other saga its UNDO.
fn both(case: &Case) -> Vec<Command> {
    let undo = case.has_undo() && case.saga.as_u128().is_multiple_of(2);
    [Some(case.run()), undo.then(|| case.undo())].into_iter().flatten().collect()
}

fn hooked(seen: &Seen) -> Result<(), String> {
    let round = seen.rounds.first().ok_or("nothing was seen")?;
    round.hook_failed.clone().map_or(Ok(()), Err)
}
