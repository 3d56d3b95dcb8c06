//! SEAL: never from now on, or tell that it happened. Behind every deadline of a pivot and every word of an operator.

use super::{EXACT, Need, Rule, Scope, ask, expect, fenced, nothing, rejected, sealed, succeeded, undone};
use crate::{case::Ways as _, consistency::consistent};

const WORD: &str = "an operator's word, or a deadline, then stands on a fact that changes afterwards";

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "seal-run-first",
        says: "SEAL of a RUN that never came answers sealed, and keeps it",
        promise: EXACT,
        broken: "the action runs after the orchestrator was told that it never will",
        needs: &[],
        scope: Scope::Action,
        sagas: 1,
        script: |c| {
            let undo = if c[0].has_undo() { c[0].undo() } else { c[0].seal_run().at_attempt(2) };
            vec![ask([c[0].seal_run()]), ask([c[0].run()]), ask([undo])]
        },
        judge: |c, seen| {
            expect(seen, 0, &c[0].seal_run(), sealed, "sealed")?;
            expect(seen, 1, &c[0].run(), sealed, "sealed")?;
            match c[0].has_undo() {
                true => expect(seen, 2, &c[0].undo(), nothing, "nothing to undo"),
                false => expect(seen, 2, &c[0].seal_run(), sealed, "sealed"),
            }
        },
    },
    Rule {
        name: "seal-run-late",
        says: "SEAL of a RUN that was decided tells that decision",
        promise: EXACT,
        broken: "the orchestrator believes that the action never ran, and leaves its effect where it is",
        needs: &[],
        scope: Scope::Action,
        sagas: 2,
        script: |c| vec![ask([c[0].run(), c[1].run_rejected()]), ask([c[0].seal_run(), c[1].seal_run()])],
        judge: |c, seen| {
            expect(seen, 0, &c[0].run(), succeeded, "succeeded")?;
            expect(seen, 1, &c[0].seal_run(), succeeded, "succeeded")?;
            if c[1].has_rejected() {
                expect(seen, 0, &c[1].run(), rejected, "rejected")?;
                expect(seen, 1, &c[1].seal_run(), rejected, "rejected")?;
            }
            consistent(seen.outcomes())
        },
    },
    Rule {
        name: "seal-undo-first",
        says: "SEAL of an UNDO before anything came seals the action and fences the undo",
        promise: EXACT,
        broken: WORD,
        needs: &[Need::Undo],
        scope: Scope::Action,
        sagas: 1,
        script: |c| vec![ask([c[0].seal_undo()]), ask([c[0].run()]), ask([c[0].undo()])],
        judge: |c, seen| {
            expect(seen, 0, &c[0].seal_undo(), fenced, "fenced")?;
            expect(seen, 1, &c[0].run(), sealed, "sealed")?;
            expect(seen, 2, &c[0].undo(), fenced, "fenced")
        },
    },
    Rule {
        name: "seal-undo-fences",
        says: "after SEAL of its UNDO an action that succeeded is never undone by command",
        promise: EXACT,
        broken: "a person did the undo by hand after being told that the command never will; now it is done twice",
        needs: &[Need::Undo],
        scope: Scope::Action,
        sagas: 1,
        script: |c| {
            let (again, run) = (c[0].seal_undo().at_attempt(2), c[0].run().at_attempt(2));
            vec![ask([c[0].run()]), ask([c[0].seal_undo()]), ask([c[0].undo()]), ask([again, run])]
        },
        judge: |c, seen| {
            expect(seen, 0, &c[0].run(), succeeded, "succeeded")?;
            expect(seen, 1, &c[0].seal_undo(), fenced, "fenced")?;
            expect(seen, 2, &c[0].undo(), fenced, "fenced")?;
            expect(seen, 3, &c[0].seal_undo(), fenced, "fenced")?;
            expect(seen, 3, &c[0].run(), succeeded, "succeeded")
        },
    },
    Rule {
        name: "seal-undo-late",
        says: "SEAL of an UNDO that was done tells that it was",
        promise: EXACT,
        broken: "a person undoes by hand what the participant had undone already",
        needs: &[Need::Undo],
        scope: Scope::Action,
        sagas: 2,
        script: |c| {
            let ended = [c[0].seal_undo(), c[1].seal_undo()];
            vec![ask([c[0].run()]), ask([c[0].undo(), c[1].undo()]), ask(ended)]
        },
        judge: |c, seen| {
            expect(seen, 1, &c[0].undo(), undone, "undone")?;
            expect(seen, 2, &c[0].seal_undo(), undone, "undone")?;
            expect(seen, 2, &c[1].seal_undo(), nothing, "nothing to undo")
        },
    },
];
