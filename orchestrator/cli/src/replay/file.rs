//! Sagas and histories from a file of `skald replay export`, a piece at a time.

use std::{fs, io::Read as _};

use skald_core::archive::{Broken, End, Item, MAGIC, Recorded, take};

use super::source::{Definitions, Known, Which};
use crate::exit::{Exit, Failure};

/// Sagas in a page.
const PAGE: usize = 256;
/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// An open file and how far it is.
#[derive(Debug)]
pub(crate) struct File {
    name: String,
    file: fs::File,
    size: u64,
    which: Which,
    /// What was read and not taken yet: `buffer[from..]`.
    buffer: Vec<u8>,
    from: usize,
    taken: u64,
    seen: End,
    ended: bool,
    pub(super) scrubbed: bool,
    pub(super) definitions: Definitions,
}

impl File {
    pub(super) fn open(name: &str, which: Which) -> Result<File, Failure> {
        let unreachable = |error: std::io::Error| {
            Failure::new(Exit::Unavailable, format!("{name} can't be read: {error}"))
                .advice("a database's address begins with postgres://")
        };
        let file = fs::File::open(name).map_err(unreachable)?;
        let size = file.metadata().map_err(unreachable)?.len();
        let mut file = File {
            name: name.to_owned(),
            file,
            size,
            which,
            buffer: Vec::new(),
            from: 0,
            taken: 0,
            seen: End::default(),
            ended: false,
            scrubbed: false,
            definitions: Definitions::new(),
        };
        file.begin()?;
        Ok(file)
    }

    /// The magic and the header.
    fn begin(&mut self) -> Result<(), Failure> {
        while self.buffer.len() < MAGIC.len() && self.more()? {}
        if !self.buffer.starts_with(MAGIC) {
            return Err(self.broken(&Broken::Foreign));
        }
        (self.from, self.taken) = (MAGIC.len(), MAGIC.len() as u64);
        match self.item()? {
            Some(Item::Header(header)) => self.scrubbed = header.scrubbed,
            _ => return Err(self.broken(&Broken::Record("the first is no header".into()))),
        }
        Ok(())
    }

    pub(super) fn page(&mut self) -> Result<Vec<Recorded>, Failure> {
        let mut page = Vec::new();
        while !self.ended && page.len() < PAGE {
            match self.item()? {
                Some(Item::Saga(saga)) => {
                    let saga = Recorded::try_from(saga).map_err(|broken| self.broken(&broken))?;
                    self.seen.sagas += 1;
                    self.seen.rows += saga.rows.len() as u64;
                    if saga.id >= self.which.since || (self.which.all_active && saga.active) {
                        page.push(saga);
                    }
                }
                Some(Item::Definition(stored)) => {
                    self.definitions.insert(stored.id, Known::of(stored));
                }
                Some(Item::End(end)) if end == self.seen => self.ended = true,
                Some(Item::End(end)) => {
                    let (sagas, rows) = (end.sagas, end.rows);
                    let what = format!("it has not the {sagas} sagas and {rows} rows that it says");
                    return Err(self.broken(&Broken::Record(what)));
                }
                Some(Item::Header(_)) => {}
                None => {
                    let what = format!("it was cut after {} sagas: its end is missing", self.seen.sagas);
                    return Err(self.broken(&Broken::Record(what)));
                }
            }
        }
        Ok(page)
    }

    /// The next record; None: there is none, or not all of it.
    fn item(&mut self) -> Result<Option<Item>, Failure> {
        loop {
            match take(&self.buffer[self.from..]) {
                Ok(Some((item, length))) => {
                    self.from += length;
                    self.taken += length as u64;
                    return Ok(Some(item));
                }
                Ok(None) if self.more()? => {}
                Ok(None) => return Ok(None),
                Err(broken) => return Err(self.broken(&broken)),
            }
        }
    }

    /// Reads a piece; false at the end. A record that is longer than what is there doubles the piece.
    fn more(&mut self) -> Result<bool, Failure> {
        self.buffer.drain(..self.from);
        self.from = 0;
        let piece = PIECE.max(self.buffer.len()) as u64;
        let read = (&self.file).take(piece).read_to_end(&mut self.buffer);
        let lost = |error: std::io::Error| {
            Failure::new(Exit::Unavailable, format!("{}: byte {}: {error}", self.name, self.taken))
        };
        Ok(read.map_err(lost)? > 0)
    }

    pub(super) fn share(&self) -> f64 {
        if self.size == 0 { 1.0 } else { self.taken as f64 / self.size as f64 }
    }

    fn broken(&self, broken: &Broken) -> Failure {
        Failure::new(Exit::Failed, format!("{}: byte {}: {broken}", self.name, self.taken))
            .advice("write it again with skald replay export")
    }
}
