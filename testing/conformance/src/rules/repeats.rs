//! Repeats: one command, delivered many times.

use super::{ONCE, Rule, Scope, ask, expect, rejected, succeeded};
use crate::{
    case::Ways as _,
    consistency::consistent,
    script::{name, tell},
};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "repeat",
        says: "an exact duplicate gets the first outcome again",
        promise: ONCE,
        broken: "every command may be delivered many times; a participant that answers a repeat otherwise ran the action again, or \
                 makes the orchestrator believe that it did not run",
        needs: &[],
        scope: Scope::Action,
        sagas: 1,
        script: |c| vec![ask([c[0].run()]), ask([c[0].run()]), ask([c[0].run()])],
        judge: |c, seen| {
            expect(seen, 0, &c[0].run(), succeeded, "succeeded")?;
            same_answers(seen, &c[0].run(), &[0, 1, 2])
        },
    },
    Rule {
        name: "repeat-rejected",
        says: "a business no is stored, too: its repeat gets the same one",
        promise: ONCE,
        broken: "the orchestrator compensates on the first no; a repeat that then succeeds has an effect that nobody will undo",
        needs: &[super::Need::Rejected],
        scope: Scope::Action,
        sagas: 1,
        script: |c| {
            // The repeat could succeed now: only the stored verdict says no.
            vec![ask([c[0].run_rejected()]), ask([c[0].run_rejected()]), ask([c[0].run()])]
        },
        judge: |c, seen| {
            expect(seen, 0, &c[0].run(), rejected, "rejected")?;
            same_answers(seen, &c[0].run(), &[0, 1, 2])
        },
    },
    Rule {
        name: "together",
        says: "duplicates in one poll or request take effect once",
        promise: ONCE,
        broken: "a burst of re-sent commands, which is what follows an outage, runs the action as often as it was sent",
        needs: &[],
        scope: Scope::Action,
        sagas: 1,
        script: |c| vec![ask([c[0].run(), c[0].run(), c[0].run()]), ask([c[0].run().at_attempt(2)])],
        judge: |c, seen| {
            expect(seen, 0, &c[0].run(), succeeded, "succeeded")?;
            expect(seen, 1, &c[0].run(), succeeded, "succeeded")?;
            consistent(seen.outcomes())
        },
    },
];

fn same_answers(
    seen: &crate::script::Seen,
    command: &skald_proto::participant::v1::Command,
    rounds: &[usize],
) -> Result<(), String> {
    let first = seen.answer(rounds[0], command)?;
    for round in &rounds[1..] {
        let again = seen.answer(*round, command)?;
        if again != first {
            let (first, again) = (tell(first), tell(again));
            let how = if first == again { " with other content" } else { "" };
            return Err(format!("{} was first {first}, its repeat is {again}{how}", name(command)));
        }
    }
    Ok(())
}
