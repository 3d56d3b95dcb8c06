//! The barrier: inbox, tombstone and stored outcome at once. Whoever inserts a row first has decided; what is decided is not
//! this room's business.

use std::collections::{HashMap, HashSet};

use prost::Message;
use skald_proto::participant::v1::{
    Fenced, NothingToUndo, Rejected, Sealed, Succeeded, Undone, outcome::Answer,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::command::{Command, Key, Verb};

/// Which of a key's two rows: that of the action or that of its undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// The action.
    Run,
    /// Its undo.
    Undo,
}

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The action succeeded; the undo is done.
    Done,
    /// The action got a business no.
    Rejected,
    /// The action never ran and never will.
    Sealed,
    /// The undo never ran and never will.
    Fenced,
    /// There was nothing to undo.
    Nothing,
    /// An outside effect is under way.
    Intent,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it belongs to.
    pub key: Key,
    /// The action or the undo.
    pub slot: Slot,
    /// What was decided.
    pub verdict: Verdict,
    /// The stored answer, where the verdict alone does not say it all.
    pub answer: Option<Answer>,
}

/// What the barrier remembers of a wave.
#[derive(Debug, Default, PartialEq)]
pub struct Stored {
    rows: HashMap<(Key, Slot), Row>,
    unresolved: HashSet<(Key, Slot)>,
}

impl Slot {
    /// As in the column `verb`.
    pub const fn code(self) -> i8 {
        match self {
            Self::Run => b'R' as i8,
            Self::Undo => b'U' as i8,
        }
    }

    /// The verb that its answers carry.
    pub const fn verb(self) -> Verb {
        match self {
            Self::Run => Verb::Run,
            Self::Undo => Verb::Undo,
        }
    }

    /// From the column `verb`.
    pub const fn from_code(code: i8) -> Option<Self> {
        match code as u8 {
            b'R' => Some(Self::Run),
            b'U' => Some(Self::Undo),
            _ => None,
        }
    }
}

impl Verdict {
    /// As in the column `verdict`.
    pub const fn code(self) -> i8 {
        (match self {
            Self::Done => b'S',
            Self::Rejected => b'R',
            Self::Sealed => b'T',
            Self::Fenced => b'F',
            Self::Nothing => b'N',
            Self::Intent => b'I',
        }) as i8
    }

    /// From the column `verdict`.
    pub const fn from_code(code: i8) -> Option<Self> {
        Some(match code as u8 {
            b'S' => Self::Done,
            b'R' => Self::Rejected,
            b'T' => Self::Sealed,
            b'F' => Self::Fenced,
            b'N' => Self::Nothing,
            b'I' => Self::Intent,
            _ => return None,
        })
    }
}

impl Row {
    /// A row whose verdict says it all.
    pub fn bare(c: &Command, slot: Slot, verdict: Verdict) -> Self {
        Self { key: c.key(), slot, verdict, answer: None }
    }

    /// A row that keeps its answer.
    pub fn answered(c: &Command, slot: Slot, verdict: Verdict, answer: &Answer) -> Self {
        Self { key: c.key(), slot, verdict, answer: Some(answer.clone()) }
    }

    /// What RUN and SEAL_RUN are told. For rows of [`Slot::Run`] that are no intent.
    pub fn run_answer(&self) -> Answer {
        match (&self.answer, self.verdict) {
            (Some(answer), _) => answer.clone(),
            (None, Verdict::Rejected) => Answer::Rejected(Rejected::default()),
            (None, Verdict::Done) => Answer::Succeeded(Succeeded::default()),
            (None, _) => Answer::Sealed(Sealed {}),
        }
    }

    /// What UNDO and SEAL_UNDO are told. For rows of [`Slot::Undo`] that are no intent.
    pub fn undo_answer(&self) -> Answer {
        match (&self.answer, self.verdict) {
            (Some(answer), _) => answer.clone(),
            (None, Verdict::Done) => Answer::Undone(Undone::default()),
            (None, Verdict::Fenced) => Answer::Fenced(Fenced {}),
            (None, _) => Answer::NothingToUndo(NothingToUndo {}),
        }
    }
}

impl Stored {
    /// Rows, and the intents among them that wait for a person.
    pub fn new(
        rows: impl IntoIterator<Item = Row>,
        unresolved: impl IntoIterator<Item = (Key, Slot)>,
    ) -> Self {
        let rows = rows.into_iter().map(|row| ((row.key.clone(), row.slot), row)).collect();
        Self { rows, unresolved: unresolved.into_iter().collect() }
    }

    /// A row, if there is one.
    pub fn get(&self, key: &Key, slot: Slot) -> Option<&Row> {
        // a tuple key can't be looked up by parts without a copy; keys are small
        self.rows.get(&(key.clone(), slot))
    }

    /// Whether that intent waits for a person.
    pub fn unresolved(&self, key: &Key, slot: Slot) -> bool {
        !self.unresolved.is_empty() && self.unresolved.contains(&(key.clone(), slot))
    }

    /// Whether any row is an open intent.
    pub fn has_intents(&self) -> bool {
        self.rows.values().any(|row| row.verdict == Verdict::Intent)
    }

    /// Adds what the intents say.
    pub fn with_unresolved(mut self, unresolved: impl IntoIterator<Item = (Key, Slot)>) -> Self {
        self.unresolved.extend(unresolved);
        self
    }
}

/// Keys as the columns that array parameters want.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(crate) sagas: Vec<Uuid>,
    pub(crate) steps: Vec<String>,
    pub(crate) epochs: Vec<i32>,
    pub(crate) slots: Vec<i8>,
}

impl Columns {
    pub(crate) fn push(&mut self, key: &Key, slot: Slot) {
        self.sagas.push(key.saga);
        self.steps.push(key.step.clone());
        self.epochs.push(key.epoch);
        self.slots.push(slot.code());
    }

    pub(crate) fn of<'a>(keys: impl Iterator<Item = (&'a Key, Slot)>) -> Self {
        let mut columns = Self::default();
        keys.for_each(|(key, slot)| columns.push(key, slot));
        columns
    }

    /// The range of sagas: it makes partition pruning work.
    pub(crate) fn range(&self) -> (Uuid, Uuid) {
        let least = self.sagas.iter().min().copied().unwrap_or(Uuid::nil());
        (least, self.sagas.iter().max().copied().unwrap_or(Uuid::nil()))
    }
}

/// Reads both rows of each key, without locks: it may be stale a moment later.
///
/// # Errors
/// The database's; a row that can't be decoded names itself.
pub(crate) async fn read(
    conn: &mut PgConnection,
    keys: impl Iterator<Item = &Key>,
) -> Result<Stored, sqlx::Error> {
    let keys = Columns::of(keys.map(|key| (key, Slot::Run)));
    let (first, last) = keys.range();
    let found = sqlx::query!(
        r#"select b.saga_id, b.step, b.epoch, b.verb as "verb!: i8", b.verdict as "verdict!: i8", b.outcome
           from unnest($1::uuid[], $2::text[], $3::integer[]) as k (saga_id, step, epoch)
           join skald.barrier b on b.saga_id = k.saga_id and b.step = k.step and b.epoch = k.epoch
           where b.saga_id between $4 and $5"#,
        &keys.sagas,
        &keys.steps,
        &keys.epochs,
        first,
        last,
    )
    .fetch_all(conn)
    .await?;
    let mut rows = Vec::with_capacity(found.len());
    for r in found {
        let key = Key { saga: r.saga_id, step: r.step, epoch: r.epoch };
        rows.push(row(key, r.verb, r.verdict, r.outcome.as_deref())?);
    }
    Ok(Stored::new(rows, []))
}

/// Inserts rows, which must be sorted, and tells how many were not there yet. Waits for whoever is inserting the same ones.
///
/// # Errors
/// The database's; 23514 without a constraint's name: no partition takes one of the sagas.
pub(crate) async fn insert(conn: &mut PgConnection, rows: &[Row]) -> Result<u64, sqlx::Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    let (keys, verdicts, outcomes) = columns(rows);
    let done = sqlx::query!(
        r#"insert into skald.barrier (saga_id, step, epoch, verb, verdict, outcome)
           select * from unnest($1::uuid[], $2::text[], $3::integer[], $4::"char"[], $5::"char"[], $6::bytea[])
           on conflict do nothing"#,
        &keys.sagas,
        &keys.steps,
        &keys.epochs,
        &keys.slots,
        &verdicts,
        &outcomes as &[Option<Vec<u8>>],
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Keys, verdicts and outcomes of rows, as array parameters want them.
pub(crate) fn columns(rows: &[Row]) -> (Columns, Vec<i8>, Vec<Option<Vec<u8>>>) {
    let keys = Columns::of(rows.iter().map(|row| (&row.key, row.slot)));
    let verdicts = rows.iter().map(|row| row.verdict.code()).collect();
    let outcomes = rows.iter().map(|row| encode(row.answer.as_ref())).collect();
    (keys, verdicts, outcomes)
}

/// A row as its columns have it.
///
/// # Errors
/// It names the column that can't be decoded.
pub(crate) fn row(key: Key, verb: i8, verdict: i8, outcome: Option<&[u8]>) -> Result<Row, sqlx::Error> {
    let corrupt = |column: &str| {
        let Key { saga, step, epoch } = &key;
        sqlx::Error::Decode(format!("skald.barrier.{column} of {saga}/{step}/{epoch} is corrupt").into())
    };
    let slot = Slot::from_code(verb).ok_or_else(|| corrupt("verb"))?;
    let verdict = Verdict::from_code(verdict).ok_or_else(|| corrupt("verdict"))?;
    let bytes = outcome.unwrap_or_default();
    let answer = match (verdict, slot) {
        (Verdict::Done, Slot::Run) => Succeeded::decode(bytes).map(Answer::Succeeded).map(Some),
        (Verdict::Done, Slot::Undo) => Undone::decode(bytes).map(Answer::Undone).map(Some),
        (Verdict::Rejected, _) => Rejected::decode(bytes).map(Answer::Rejected).map(Some),
        _ => Ok(None),
    };
    let answer = answer.map_err(|_| corrupt("outcome"))?;
    Ok(Row { key, slot, verdict, answer })
}

/// Only the inner message is kept; the verdict says which it is.
fn encode(answer: Option<&Answer>) -> Option<Vec<u8>> {
    let bytes = match answer? {
        Answer::Succeeded(message) => message.encode_to_vec(),
        Answer::Rejected(message) => message.encode_to_vec(),
        Answer::Undone(message) => message.encode_to_vec(),
        _ => Vec::new(),
    };
    (!bytes.is_empty()).then_some(bytes)
}
