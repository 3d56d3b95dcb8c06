//! Sagas of every kind to throw things at: the golden histories of the core, and each state that they pass through.

use std::sync::OnceLock;

use prost::Message as _;
use skald_core::{
    Definition, Input, State, advance,
    archive::{Item, MAGIC, Recorded, take},
    history::{self, Lineage},
    invariants,
    machine::Context,
    state,
};
use uuid::Uuid;

/// The file of golden histories.
pub const FILE: &[u8] = include_bytes!("../../../orchestrator/core/tests/golden/corpus/golden.skald-history");

/// A saga at one moment.
#[derive(Clone, Debug)]
pub struct Stand {
    /// Its id.
    pub saga: Uuid,
    /// What it follows.
    pub definition: Definition,
    /// As it stands.
    pub state: State,
    /// The row that came next, if one did.
    pub next: Option<history::Row>,
}

/// The golden histories.
#[derive(Debug)]
pub struct Golden {
    /// What their sagas follow.
    pub definitions: Vec<Definition>,
    /// The sagas.
    pub sagas: Vec<Recorded>,
    /// Each at each moment.
    pub stands: Vec<Stand>,
}

/// Read once.
///
/// # Panics
/// The file is not what it was.
pub fn golden() -> &'static Golden {
    static GOLDEN: OnceLock<Golden> = OnceLock::new();
    GOLDEN.get_or_init(|| read().expect("the golden file"))
}

impl Golden {
    /// One of the moments, by any number.
    #[must_use]
    pub fn stand(&self, n: u16) -> &Stand {
        &self.stands[usize::from(n) % self.stands.len()]
    }
}

fn read() -> Option<Golden> {
    let mut rest = FILE.strip_prefix(MAGIC)?;
    let (mut definitions, mut ids, mut sagas) = (Vec::new(), Vec::new(), Vec::new());
    while let Some((item, length)) = take(rest).ok()? {
        rest = &rest[length..];
        match item {
            Item::Definition(stored) => {
                ids.push(stored.id);
                definitions.push(Definition::decode(&*stored.body).ok()?);
            }
            Item::Saga(saga) => sagas.push(Recorded::try_from(saga).ok()?),
            Item::Header(_) | Item::End(_) => {}
        }
    }
    let mut stands = Vec::new();
    for saga in &sagas {
        let own = &definitions[ids.iter().position(|id| *id == saga.definition)?];
        let mut lineage = Lineage::new(own, &definitions).at_first(&saga.rows).ok()?;
        let mut state = State::new(lineage.definition);
        for row in &saga.rows {
            stands.push(Stand {
                saga: saga.id,
                definition: lineage.definition.clone(),
                state: state.clone(),
                next: Some(row.clone()),
            });
            let effects = history::fold(lineage, saga.id, &saga.request, &mut state, row).ok()?;
            lineage = lineage.after(row.seq, &effects).ok()?;
        }
        stands.push(Stand { saga: saga.id, definition: lineage.definition.clone(), state, next: None });
    }
    Some(Golden { definitions, sagas, stands })
}

/// Folds an input into a saga: taken or refused, never half; twice the same; and what it leads to is sound and can be read
/// again.
///
/// # Panics
/// One of these does not hold.
pub fn fold(stand: &Stand, now: i64, input: &Input) {
    let cx = Context { saga: stand.saga, definition: &stand.definition, now };
    let mut after = stand.state.clone();
    match advance(cx, &mut after, input) {
        Err(_) => assert_eq!(after, stand.state, "a refusal changes nothing"),
        Ok(effects) => {
            invariants::check(&stand.definition, &after).expect("the state keeps its invariants");
            assert_eq!(after.version, stand.state.version + 1, "one input, one version");
            let bytes = state::encode(&after);
            assert_eq!(state::decode(skald_core::FORMAT, &bytes).expect("readable"), after);
            let mut again = stand.state.clone();
            assert_eq!(advance(cx, &mut again, input).as_ref(), Ok(&effects), "deciding is pure");
            assert_eq!(again, after, "deciding is pure");
        }
    }
}
