//! What a claimed intent needs, for every pair of barrier rows.

use super::*;

#[test]
fn an_undo_waits_for_its_action_and_follows_its_verdict() {
    use Verdict::{Done, Fenced, Intent, Nothing, Rejected, Sealed};
    let all = [None, Some(Done), Some(Rejected), Some(Sealed), Some(Fenced), Some(Nothing), Some(Intent)];
    for run in all {
        for undo in all {
            let expected = if run == Some(Intent) { Need::Call } else { Need::Stale };
            assert_eq!(need(Slot::Run, run, undo), expected, "{run:?} {undo:?}");
            let expected = match (run, undo) {
                (Some(Intent), Some(Intent)) => Need::Behind,
                (Some(Done), Some(Intent)) => Need::Call,
                (Some(Rejected | Sealed), Some(Intent)) => Need::Nothing,
                _ => Need::Stale,
            };
            assert_eq!(need(Slot::Undo, run, undo), expected, "{run:?} {undo:?}");
        }
    }
}
