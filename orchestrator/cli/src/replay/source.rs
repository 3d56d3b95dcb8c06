//! Recorded sagas, page by page, from a database or a file; and the definitions that they follow. Neither is ever
//! held whole.

use std::collections::BTreeMap;

use prost::Message as _;
use skald_core::{
    Definition,
    archive::{Recorded, Stored},
    history,
};
use uuid::Uuid;

use super::{database::Database, file::File};
use crate::exit::Failure;

/// Which sagas to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Which {
    /// Those with this id and above.
    pub(crate) since: Uuid,
    /// And active ones below it.
    pub(crate) all_active: bool,
    /// With their histories.
    pub(crate) rows: bool,
    /// Of a database: those alone that were written since then, ms; with ids below this.
    pub(crate) written: Option<(i64, Uuid)>,
}

/// A definition as it is stored, and what this binary makes of it.
#[derive(Clone, Debug)]
pub struct Known {
    /// As stored.
    pub stored: Stored,
    /// Read; or why it can't be.
    pub definition: Result<Definition, String>,
    /// What is wrong with it; empty when nothing is.
    pub wrong: Vec<String>,
}

impl Known {
    /// Reads a definition and compares it with its hash and with the rules.
    pub fn of(stored: Stored) -> Known {
        let definition = Definition::decode(&*stored.body);
        let mut wrong = Vec::new();
        match &definition {
            Err(error) => wrong.push(format!("the body can't be read: {error}")),
            Ok(definition) => {
                let hash = definition.hash();
                if hash != *stored.hash {
                    let (found, recorded) = (hex(&hash), hex(&stored.hash));
                    wrong.push(format!(
                        "the body is not the one that was registered: SHA-256 {found:.12}…, recorded {recorded:.12}…"
                    ));
                }
                wrong.extend(definition.check().iter().map(ToString::to_string));
            }
        }
        let definition = definition.map_err(|error| format!("its definition can't be read: {error}"));
        Known { stored, definition, wrong }
    }

    /// `order 1`, for people.
    pub fn name(&self) -> String {
        let version = self.definition.as_ref().map(|d| format!(" {}", d.version)).unwrap_or_default();
        format!("{}{version}", self.stored.name)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Definitions by the number that sagas name.
pub type Definitions = BTreeMap<i32, Known>;

/// The same by their hashes, as moves from one to another name them.
#[derive(Clone, Copy, Debug)]
pub struct ByHash<'a>(pub &'a Definitions);

impl history::Known for ByHash<'_> {
    fn with_hash(&self, hash: &[u8]) -> Option<&Definition> {
        let known = self.0.values().find(|known| known.stored.hash == hash)?;
        known.definition.as_ref().ok()
    }
}

/// Where sagas come from.
#[derive(Debug)]
pub(crate) enum Source {
    Database(Box<Database>),
    File(Box<File>),
}

impl Source {
    /// Opens a database when it is an address of one, else a file.
    ///
    /// # Errors
    /// [`crate::exit::Exit::Unavailable`]: it can't be reached.
    pub(crate) async fn open(from: &str, which: Which) -> Result<Source, Failure> {
        if from.starts_with("postgres://") || from.starts_with("postgresql://") {
            return Ok(Source::Database(Box::new(Database::open(from, which).await?)));
        }
        Ok(Source::File(Box::new(File::open(from, which)?)))
    }

    /// The next sagas, by id; none: that was all.
    pub(crate) async fn page(&mut self) -> Result<Vec<Recorded>, Failure> {
        match self {
            Source::Database(database) => database.page().await,
            Source::File(file) => file.page(),
        }
    }

    /// All that are known so far, those of the last page included.
    pub(crate) fn definitions(&self) -> &Definitions {
        match self {
            Source::Database(database) => &database.definitions,
            Source::File(file) => &file.definitions,
        }
    }

    /// How far it is, 0 to 1.
    pub(crate) fn share(&self) -> f64 {
        match self {
            Source::Database(database) => database.share(),
            Source::File(file) => file.share(),
        }
    }

    /// Its customer data was replaced.
    pub(crate) fn is_scrubbed(&self) -> bool {
        matches!(self, Source::File(file) if file.scrubbed)
    }
}
