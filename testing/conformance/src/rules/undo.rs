//! UNDO: before, after and twice.

use super::{EXACT, Need, Rule, Scope, ask, expect, nothing, rejected, sealed, succeeded, undone};
use crate::{case::Ways as _, consistency::consistent};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "undo-first",
        says: "UNDO of an action that never ran seals it: a RUN that comes later is answered sealed",
        promise: EXACT,
        broken: "a command that was late on the way runs after its order was cancelled, and nobody will undo it: goods stay \
                 reserved, money stays taken",
        needs: &[Need::Undo],
        scope: Scope::Action,
        sagas: 1,
        script: |c| {
            let again = c[0].undo().at_attempt(2);
            vec![ask([c[0].undo()]), ask([c[0].run()]), ask([again])]
        },
        judge: |c, seen| {
            expect(seen, 0, &c[0].undo(), nothing, "nothing to undo")?;
            expect(seen, 1, &c[0].run(), sealed, "sealed")?;
            expect(seen, 2, &c[0].undo(), nothing, "nothing to undo")
        },
    },
    Rule {
        name: "undo-after",
        says: "UNDO of an action that succeeded undoes it; a repeat of RUN still tells that it succeeded",
        promise: EXACT,
        broken: "the effect stays though the order was cancelled, or a late repeat of RUN runs the action anew after its undo",
        needs: &[Need::Undo],
        scope: Scope::Action,
        sagas: 1,
        script: |c| vec![ask([c[0].run()]), ask([c[0].undo()]), ask([c[0].run().at_attempt(2)])],
        judge: |c, seen| {
            expect(seen, 0, &c[0].run(), succeeded, "succeeded")?;
            expect(seen, 1, &c[0].undo(), undone, "undone")?;
            expect(seen, 2, &c[0].run(), succeeded, "succeeded")?;
            consistent(seen.outcomes())
        },
    },
    Rule {
        name: "undo-twice",
        says: "UNDO, too, takes effect once, and its repeat gets the first outcome",
        promise: EXACT,
        broken: "goods are put back twice, money is refunded twice",
        needs: &[Need::Undo],
        scope: Scope::Action,
        sagas: 1,
        script: |c| {
            vec![
                ask([c[0].run()]),
                ask([c[0].undo()]),
                ask([c[0].undo().at_attempt(2), c[0].undo().at_attempt(2)]),
            ]
        },
        judge: |c, seen| {
            expect(seen, 1, &c[0].undo(), undone, "undone")?;
            expect(seen, 2, &c[0].undo(), undone, "undone")?;
            consistent(seen.outcomes())
        },
    },
    Rule {
        name: "undo-rejected",
        says: "UNDO of a rejected action has nothing to undo",
        promise: EXACT,
        broken: "what never happened is undone: stock grows by what was never taken, money is paid out that never came in",
        needs: &[Need::Undo, Need::Rejected],
        scope: Scope::Action,
        sagas: 1,
        script: |c| vec![ask([c[0].run_rejected()]), ask([c[0].undo()])],
        judge: |c, seen| {
            expect(seen, 0, &c[0].run(), rejected, "rejected")?;
            expect(seen, 1, &c[0].undo(), nothing, "nothing to undo")
        },
    },
];
