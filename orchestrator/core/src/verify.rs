//! The gate for one recorded saga: its history is folded by the rules of this binary, row by row compared with the
//! recorded digests, and at the end with the stored state. Digests alone are stored, so which field differs shows only
//! where two states are at hand: at the end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{
    archive::Recorded,
    definition::Definition,
    effects::Effects,
    fields::{self, Difference},
    history::{self, Lineage, Mismatch, Row, digest},
    input,
    state::{self, State},
    transfer,
};

/// What is wrong with a recorded saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// For programs: DIGEST, MISSING, NEWER, UNREADABLE, REFUSED, REQUEST, KIND, PANIC, STATE, PROBE, DEFINITION.
    pub code: &'static str,
    /// The history row's number and kind; None: it is about the saga's own row.
    pub row: Option<(u32, u32)>,
    /// In words.
    pub what: String,
    /// State and effects as this binary computes them, line by line; empty when it could not.
    pub recomputed: Vec<String>,
    /// The first field in which the state that the history leads to differs from the stored one.
    pub difference: Option<Difference>,
}

impl Finding {
    /// About the saga's own row.
    pub fn of_saga(code: &'static str, what: impl Into<String>) -> Finding {
        Finding { code, row: None, what: what.into(), recomputed: Vec::new(), difference: None }
    }

    fn of_row(code: &'static str, row: &Row, what: impl Into<String>) -> Finding {
        Finding { row: Some((row.seq, row.kind)), ..Finding::of_saga(code, what) }
    }
}

/// Everything that is wrong; empty: this binary leads where it is said to lead. At most one finding is about a row,
/// the first that differs: what comes after it follows from it.
///
/// A saga that moved from one definition to another needs a [`Lineage`] that knows them all.
pub fn verify<'a>(lineage: impl Into<Lineage<'a>>, saga: &Recorded) -> Vec<Finding> {
    let lineage = lineage.into();
    let (stored, mut found) = match state::decode(saga.format, &saga.state) {
        Ok(stored) => (Some(stored), Vec::new()),
        Err(unreadable) => (None, vec![Finding::of_saga("UNREADABLE", unreadable.to_string())]),
    };
    let at = match lineage.at_first(&saga.rows) {
        Ok(at) => at,
        Err(unknown) => {
            found.push(Finding::of_saga("DEFINITION", unknown.to_string()));
            return found;
        }
    };
    let mut fold = Fold { at, saga, state: State::new(at.definition), first: None, later: 0 };
    let whole = fold.rows();
    let Fold { at, state, first, later, .. } = fold;
    if whole && at.definition != lineage.definition {
        found.push(elsewhere(at.definition, lineage.definition));
    }
    match (first, stored) {
        (Some(first), stored) => {
            let stored = stored.filter(|_| whole);
            found.push(in_the_end(first, &state, stored.as_ref(), later));
        }
        (None, Some(stored)) => found.extend(end(saga, &state, &stored)),
        (None, None) => {}
    }
    found
}

/// A history being folded.
struct Fold<'a, 'b> {
    at: Lineage<'a>,
    saga: &'b Recorded,
    state: State,
    /// The first row that is not as recorded.
    first: Option<Finding>,
    /// Rows behind it whose digest differs too.
    later: usize,
}

impl Fold<'_, '_> {
    /// Folds all rows; false when that ended before the last.
    fn rows(&mut self) -> bool {
        let rows = &self.saga.rows;
        rows.iter().enumerate().all(|(i, row)| self.row(row, i + 1 == rows.len()))
    }

    /// Folds one; false when no further one can be.
    fn row(&mut self, row: &Row, last: bool) -> bool {
        let (at, saga) = (self.at, self.saga);
        let fold = || {
            let effects = history::fold(at, saga.id, &saga.request, &mut self.state, row)?;
            self.at = at.after(row.seq, &effects)?;
            Ok(effects)
        };
        let effects = match catch_unwind(AssertUnwindSafe(fold)) {
            Ok(Ok(effects)) => effects,
            Ok(Err(mismatch)) => return self.stop(of_mismatch(row, &mismatch)),
            Err(panic) => {
                let what = format!("this binary panics on it: {}", crate::probe::message(&*panic));
                return self.stop(Finding::of_row("PANIC", row, what));
            }
        };
        if self.first.is_none() {
            self.first = misnamed(row);
        }
        let bytes = state::encode(&self.state);
        if digest(&bytes, &effects) != row.digest {
            match &self.first {
                Some(_) => self.later += 1,
                None => self.first = Some(self.differs(row, &bytes, &effects, last)),
            }
        }
        true
    }

    /// What came before is the cause, if there is something.
    fn stop(&mut self, finding: Finding) -> bool {
        match &mut self.first {
            Some(first) => {
                let (seq, _) = finding.row.unwrap_or_default();
                first.what = format!("{}; row {seq} can't be folded then: {}", first.what, finding.what);
            }
            None => self.first = Some(finding),
        }
        false
    }

    fn differs(&self, row: &Row, bytes: &[u8], effects: &Effects, last: bool) -> Finding {
        let found = digest(bytes, effects);
        let mut what = format!("the digest differs: found {found:016x}, recorded {:016x}", row.digest);
        if last && self.saga.state == bytes {
            what.push_str("; the state is the stored one, so the recorded digest or the effects differ");
        } else if last && digest(&self.saga.state, effects) == row.digest {
            what.push_str("; the stored state has the recorded digest, so its input or the rules differ");
        } else if last {
            what.push_str("; the stored state has neither");
        }
        Finding { recomputed: fields::words(&self.state, effects), ..Finding::of_row("DIGEST", row, what) }
    }
}

/// The history leads to another definition than the one that the saga's own row names.
fn elsewhere(found: &Definition, stored: &Definition) -> Finding {
    let (found, stored) = (transfer::name(found), transfer::name(stored));
    Finding::of_saga("DEFINITION", format!("its history leads to definition {found}, its row names {stored}"))
}

/// What became of the first row that differs, by the end; without `stored` the fold did not reach it.
fn in_the_end(mut found: Finding, state: &State, stored: Option<&State>, later: usize) -> Finding {
    let Some(stored) = stored else { return found };
    found.difference = fields::first_difference(state, stored);
    if found.code != "DIGEST" {
        return found;
    }
    let last = found.row.is_some_and(|(seq, _)| seq == state.version);
    if later > 0 {
        found.what.push_str(&format!(", and so {} after it", rows_do(later)));
    } else if !last && state == stored {
        found.what.push_str("; everything after it is as recorded, so the recorded digest is spoilt");
    }
    found
}

/// The column `kind` is outside the digest, so it is looked at by itself.
fn misnamed(row: &Row) -> Option<Finding> {
    let kind = input::decode(&row.input).ok()?.kind();
    let name = input::Input::kind_name;
    let what = || format!("its kind is {}, the input is {}", name(row.kind), name(kind));
    (kind != row.kind).then(|| Finding::of_row("KIND", row, what()))
}

fn of_mismatch(row: &Row, mismatch: &Mismatch) -> Finding {
    match mismatch {
        Mismatch::Gap { after, found } if *found == after + 2 => {
            Finding::of_row("MISSING", row, format!("row {} is missing", after + 1))
        }
        Mismatch::Gap { after, found } if *found > after + 1 => {
            Finding::of_row("MISSING", row, format!("rows {} to {} are missing", after + 1, found - 1))
        }
        Mismatch::Gap { after, .. } => Finding::of_row("MISSING", row, format!("it comes after row {after}")),
        Mismatch::Newer { rules, .. } => {
            let max = crate::RULES;
            let what = format!("it was decided by rules {rules}, this binary knows up to {max}");
            Finding::of_row("NEWER", row, what)
        }
        Mismatch::Unreadable { why, .. } => Finding::of_row("UNREADABLE", row, why.to_string()),
        Mismatch::Refused { why, .. } => {
            Finding::of_row("REFUSED", row, format!("it was accepted then and is refused now: {why}"))
        }
        Mismatch::Unknown { .. } => Finding::of_row("DEFINITION", row, mismatch.to_string()),
        Mismatch::Request => Finding::of_row("REQUEST", row, mismatch.to_string()),
        Mismatch::Digest { .. } => Finding::of_row("DIGEST", row, mismatch.to_string()),
    }
}

/// Every row is as recorded: does the saga's own row say the same?
fn end(saga: &Recorded, state: &State, stored: &State) -> Option<Finding> {
    if state.version < saga.version {
        let what = format!("the history ends at row {}, the saga is at {}", state.version, saga.version);
        return Some(Finding::of_saga("MISSING", what));
    }
    if state.version > saga.version {
        let what = format!("the history goes on to row {}, the saga is at {}", state.version, saga.version);
        return Some(Finding::of_saga("STATE", what));
    }
    if state::encode(state) == saga.state {
        return None;
    }
    let difference = fields::first_difference(state, stored);
    let what = match difference {
        Some(_) => "the stored state is not the one that its history leads to",
        None => "the stored state's bytes are not canonical, or have fields that this binary does not know",
    };
    Some(Finding { difference, ..Finding::of_saga("STATE", what) })
}

fn rows_do(rows: usize) -> String {
    if rows == 1 { "does one row".into() } else { format!("do {rows} rows") }
}
