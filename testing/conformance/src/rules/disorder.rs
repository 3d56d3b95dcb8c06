//! Disorder: the same few commands of one saga in every order, and at the same time.

use skald_proto::participant::v1::Command;

use super::{EXACT, Need, Rule, Scope, ask, expect, nothing, sealed};
use crate::{
    case::{Case, Ways as _},
    consistency::consistent,
    script::{Act, Seen},
};

/// Sagas of a race: enough that some of them meet.
const RACES: usize = 24;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "reorder",
        says: "whatever order RUN and UNDO come in, within a poll or over several, what is said of them fits together",
        promise: EXACT,
        broken: "between a lost connection and a re-send messages overtake each other; an UNDO that came first must win for good",
        needs: &[Need::Undo],
        scope: Scope::Action,
        sagas: 5,
        script: |c| {
            let poll = [
                [c[0].undo(), c[0].run(), c[0].run(), c[0].undo()],
                [c[1].run(), c[1].undo(), c[1].run(), c[1].undo()],
                [c[2].seal_run(), c[2].undo(), c[2].run(), c[2].undo()],
                [c[3].run(), c[3].run(), c[3].undo(), c[3].seal_run()],
                [c[4].seal_undo(), c[4].run(), c[4].undo(), c[4].seal_undo()],
            ];
            let again: Vec<Command> =
                c.iter().flat_map(|c| [c.run(), c.undo()]).map(|c| c.at_attempt(2)).collect();
            vec![Act::Ask(poll.concat()), Act::Ask(again)]
        },
        judge: |c, seen| {
            consistent(seen.outcomes())?;
            expect(seen, 1, &c[0].run(), sealed, "sealed")?;
            expect(seen, 1, &c[0].undo(), nothing, "nothing to undo")?;
            every_answer(c, seen)
        },
    },
    Rule {
        name: "race-undo",
        says: "RUN and UNDO of one saga at the same time: one of them is first, and both answers say the same",
        promise: EXACT,
        broken: "both look, both see nothing, both act: the UNDO has nothing to undo, and the RUN takes effect after all. The insert \
                 must decide, not the look-up",
        needs: &[Need::Undo],
        scope: Scope::Action,
        sagas: RACES,
        script: |c| {
            let runs: Vec<Command> = c.iter().map(Case::run).collect();
            let undos: Vec<Command> = c.iter().map(Case::undo).collect();
            let again: Vec<Command> = runs.iter().chain(&undos).map(|c| c.clone().at_attempt(2)).collect();
            vec![Act::Race(vec![runs, undos]), ask(again)]
        },
        judge: |c, seen| {
            every_answer(c, seen)?;
            consistent(seen.outcomes())
        },
    },
    Rule {
        name: "race-repeat",
        says: "a command and its repeat at the same time take effect once",
        promise: super::ONCE,
        broken: "during a rebalance two instances have one command; both look, both see nothing, both act",
        needs: &[],
        scope: Scope::Action,
        sagas: RACES,
        script: |c| {
            let runs: Vec<Command> = c.iter().map(Case::run).collect();
            let again: Vec<Command> = runs.iter().map(|c| c.clone().at_attempt(2)).collect();
            vec![Act::Race(vec![runs.clone(), runs]), ask(again)]
        },
        judge: |c, seen| {
            for case in c {
                expect(seen, 1, &case.run(), super::succeeded, "succeeded")?;
            }
            consistent(seen.outcomes())
        },
    },
];

fn every_answer(c: &[Case], seen: &Seen) -> Result<(), String> {
    for case in c {
        seen.answer(1, &case.run())?;
        seen.answer(1, &case.undo())?;
    }
    Ok(())
}
