//! What is to be published again, and how far it is: in a file, when that is wanted, so that whoever was stopped goes on.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::fold::Range;
use crate::exit::{Exit, Failure};

/// A backfill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    /// The database, without its password.
    pub(super) from: String,
    /// Unix milliseconds.
    pub(super) since: i64,
    /// Unix milliseconds, not included.
    pub(super) until: i64,
    /// The topic's full name.
    pub(super) topic: String,
    /// The broker has the events of every saga up to this one.
    pub(super) after: Uuid,
    /// Events so far.
    pub(super) published: u64,
}

impl Job {
    pub(super) fn range(&self) -> Range {
        Range { since: self.since, until: self.until }
    }

    /// The one in the file.
    pub(super) fn load(file: &Path) -> Result<Job, Failure> {
        let wrong = |error: String| {
            Failure::new(Exit::Failed, format!("{} can't be read: {error}", file.display()))
                .advice("nothing was published; without the file it begins anew")
        };
        let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
    }

    /// The file has the old job or the new one, never half of it.
    pub(super) fn save(&self, file: &Path) -> Result<(), Failure> {
        let mut part = file.as_os_str().to_owned();
        part.push(".part");
        let written = serde_json::to_string(self)
            .map_err(std::io::Error::other)
            .and_then(|text| fs::write(&part, text + "\n"))
            .and_then(|()| fs::rename(&part, file));
        written.map_err(|error| {
            Failure::new(Exit::Failed, format!("{} can't be written: {error}", file.display()))
                .advice("what was published stays published; its ids are the same when it comes again")
        })
    }
}
