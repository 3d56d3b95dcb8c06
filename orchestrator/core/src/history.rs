//! The append-only list of every input that a saga accepted, and folding it back. Replay is exact: row
//! by row the digest of state and effects is the recorded one.

use std::{borrow::Borrow, fmt, sync::Arc};

use prost::Message;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    definition::Definition,
    effects::Effects,
    input::{self, Input, Request, Started},
    machine::{Context, Refused, advance_to},
    state::{self, State},
};

/// One accepted input, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// 1, 2, 3 …
    pub seq: u32,
    /// The `now` that it was decided with, ms.
    pub at: i64,
    /// Which rules decided.
    pub rules: u32,
    /// [`Input::kind`].
    pub kind: u32,
    /// Who caused it.
    pub actor: String,
    /// [`input::encode`].
    pub input: Vec<u8>,
    /// [`digest`] after it.
    pub digest: i64,
}

/// A stored history does not lead where it is said to lead.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// A row is missing or out of order.
    #[error("row {found} follows row {after}")]
    Gap {
        /// The row before.
        after: u32,
        /// What came.
        found: u32,
    },
    /// A newer binary decided it.
    #[error("row {seq} was decided by rules {rules}, this binary knows up to {max}", max = crate::RULES)]
    Newer {
        /// The row.
        seq: u32,
        /// What decided.
        rules: u32,
    },
    /// A row's input can't be read.
    #[error("row {seq}: {why}")]
    Unreadable {
        /// The row.
        seq: u32,
        /// Why.
        why: input::Unreadable,
    },
    /// The input was accepted then and is refused now.
    #[error("row {seq} was accepted and is refused now: {why}")]
    Refused {
        /// The row.
        seq: u32,
        /// Why.
        why: Refused,
    },
    /// State or effects differ.
    #[error("row {seq}: digest {found:016x}, recorded {recorded:016x}")]
    Digest {
        /// The row.
        seq: u32,
        /// Now.
        found: i64,
        /// Then.
        recorded: i64,
    },
    /// It moves from or to a definition that is not at hand.
    #[error("row {seq} moves the saga from or to a definition that is not there: {}", hex(hash))]
    Unknown {
        /// The row.
        seq: u32,
        /// SHA-256 of the definition.
        hash: Vec<u8>,
    },
    /// The request beside the saga is not the one that started it.
    #[error("the stored request is not the one that the history began with")]
    Request,
}

/// The definitions that a saga followed, one after the other: most follow one for ever, and a [`Definition`] is enough.
#[derive(Clone, Copy)]
pub struct Lineage<'a> {
    /// What the saga follows: in the end, or at a row while its history is folded.
    pub definition: &'a Definition,
    known: Option<&'a dyn Known>,
}

/// Definitions that sagas may have followed.
pub trait Known {
    /// The one with this hash ([`Definition::hash`]).
    fn with_hash(&self, hash: &[u8]) -> Option<&Definition>;
}

impl<D: Borrow<Definition>> Known for Vec<D> {
    fn with_hash(&self, hash: &[u8]) -> Option<&Definition> {
        self.iter().map(Borrow::borrow).find(|definition| definition.hash() == hash)
    }
}

impl<'a> Lineage<'a> {
    /// A saga that follows `definition` in the end, and may have followed any of `known` before.
    pub fn new(definition: &'a Definition, known: &'a dyn Known) -> Lineage<'a> {
        Lineage { definition, known: Some(known) }
    }

    /// The same at the beginning of its history.
    ///
    /// # Errors
    /// [`Mismatch::Unknown`]: it moved from a definition that is not known.
    pub fn at_first(self, rows: &[Row]) -> Result<Lineage<'a>, Mismatch> {
        let first = rows.iter().find_map(|row| Some((row.seq, input::migrate(&row.input)?)));
        match first {
            None => Ok(self),
            Some((seq, migrate)) => Ok(Lineage { definition: self.find(seq, &migrate.from)?, ..self }),
        }
    }

    /// The same after a row of which these effects followed.
    ///
    /// # Errors
    /// [`Mismatch::Unknown`]: it moved to a definition that is not known; not after [`fold`], which needed it.
    pub fn after(self, seq: u32, effects: &Effects) -> Result<Lineage<'a>, Mismatch> {
        if effects.definition.is_empty() {
            return Ok(self);
        }
        Ok(Lineage { definition: self.find(seq, &effects.definition)?, ..self })
    }

    fn find(&self, seq: u32, hash: &[u8]) -> Result<&'a Definition, Mismatch> {
        let known = self.known.and_then(|known| known.with_hash(hash));
        known.ok_or_else(|| Mismatch::Unknown { seq, hash: hash.to_vec() })
    }
}

impl<'a> From<&'a Definition> for Lineage<'a> {
    fn from(definition: &'a Definition) -> Lineage<'a> {
        Lineage { definition, known: None }
    }
}

impl<'a> From<&'a Arc<Definition>> for Lineage<'a> {
    fn from(definition: &'a Arc<Definition>) -> Lineage<'a> {
        Lineage::from(definition.as_ref())
    }
}

impl fmt::Debug for Lineage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lineage").field("definition", self.definition).finish_non_exhaustive()
    }
}

/// The first 8 bytes, big-endian, of SHA-256 over the state's bytes and the canonical effects.
pub fn digest(state: &[u8], effects: &Effects) -> i64 {
    let hash = Sha256::new().chain_update(state).chain_update(effects.encode_to_vec()).finalize();
    i64::from_be_bytes(hash[..8].try_into().expect("SHA-256 has 32 bytes"))
}

/// SHA-256 of a stored request.
pub fn request_hash(request: &[u8]) -> Vec<u8> {
    Sha256::digest(request).to_vec()
}

/// The first input of a saga, from its stored request.
pub fn started(request: &[u8]) -> Result<Started, prost::DecodeError> {
    let signals = Request::decode(request)?.signals;
    Ok(Started { request_hash: request_hash(request), signals })
}

/// Folds one stored row into the state that the rows before it led to; gives the effects. The digest is not looked at.
/// Rows behind one that moves the saga to another definition are decided by that: [`Lineage::after`].
///
/// # Errors
/// Any [`Mismatch`] but a digest's; the state is unchanged.
pub fn fold<'a>(
    lineage: impl Into<Lineage<'a>>,
    saga: Uuid,
    request: &[u8],
    state: &mut State,
    row: &Row,
) -> Result<Effects, Mismatch> {
    let (lineage, seq) = (lineage.into(), row.seq);
    if seq != state.version + 1 {
        return Err(Mismatch::Gap { after: state.version, found: seq });
    }
    if row.rules > crate::RULES {
        return Err(Mismatch::Newer { seq, rules: row.rules });
    }
    let mut input = input::decode(&row.input).map_err(|why| Mismatch::Unreadable { seq, why })?;
    if let Input::Started(recorded) = &mut input {
        let first = started(request).map_err(|_| Mismatch::Request)?;
        if first.request_hash != recorded.request_hash {
            return Err(Mismatch::Request);
        }
        *recorded = first;
    }
    let to = input::migrate(&row.input).map(|migrate| lineage.find(seq, &migrate.to)).transpose()?;
    let cx = Context { saga, definition: lineage.definition, now: row.at };
    advance_to(cx, to, state, &input).map_err(|why| Mismatch::Refused { seq, why })
}

/// Folds a whole history, comparing digests row by row; gives the state that it leads to.
pub fn replay<'a>(
    lineage: impl Into<Lineage<'a>>,
    saga: Uuid,
    request: &[u8],
    rows: &[Row],
) -> Result<State, Mismatch> {
    replay_with(lineage, saga, request, rows, |_, _| ())
}

/// The same, showing each row with what followed from it.
pub fn replay_with<'a>(
    lineage: impl Into<Lineage<'a>>,
    saga: Uuid,
    request: &[u8],
    rows: &[Row],
    mut show: impl FnMut(&Row, Effects),
) -> Result<State, Mismatch> {
    let mut lineage = lineage.into().at_first(rows)?;
    let mut state = State::new(lineage.definition);
    for row in rows {
        let effects = fold(lineage, saga, request, &mut state, row)?;
        lineage = lineage.after(row.seq, &effects)?;
        let found = digest(&state::encode(&state), &effects);
        if found != row.digest {
            return Err(Mismatch::Digest { seq: row.seq, found, recorded: row.digest });
        }
        show(row, effects);
    }
    Ok(state)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
