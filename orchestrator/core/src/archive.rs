//! Recorded sagas in a file: what `skald replay export` writes, and what `verify --from FILE` and tests read.
//!
//! The format, version 1: the bytes of [`MAGIC`], then records, each a protobuf message `Record` behind its length (a
//! varint). The first record is the header, then come definitions, each before the first saga that follows it, and
//! sagas with their whole history; the last record is the end, which counts both, so that a file that was cut is found
//! out. No customer id stands here beside those inside requests, signals and the actors of rows.
//!
//! Pure: bytes in, records out. Who reads the file hands over what it has and is told when that is not enough.

use prost::{Message, Oneof};
use uuid::Uuid;

use crate::history::Row;

/// How every file begins.
pub const MAGIC: &[u8] = b"skald-history\n";
/// The version that is written; a reader refuses one above its own.
pub const VERSION: u32 = 1;
/// No record is longer, bytes: a saga's request and results are bounded, its rows in practice too.
const LONGEST: usize = 1 << 30;

/// One saga as it stands in a database or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its id.
    pub id: Uuid,
    /// Names the definition that it follows, in the same source.
    pub definition: i32,
    /// Column `version`.
    pub version: u32,
    /// Of the state's encoding.
    pub format: u32,
    /// It is looked at again (`wake_at` is not null).
    pub active: bool,
    /// The encoded request.
    pub request: Vec<u8>,
    /// The encoded state.
    pub state: Vec<u8>,
    /// Its history, by number.
    pub rows: Vec<Row>,
}

/// One record of a file.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum Item {
    /// The first.
    #[prost(message, tag = "1")]
    Header(Header),
    /// What sagas follow.
    #[prost(message, tag = "2")]
    Definition(Stored),
    /// A saga with its history.
    #[prost(message, tag = "3")]
    Saga(Saga),
    /// The last.
    #[prost(message, tag = "4")]
    End(End),
}

/// What the file is.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Header {
    /// [`VERSION`].
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// When, ms.
    #[prost(int64, tag = "2")]
    pub exported_at: i64,
    /// The version of the program that wrote it.
    #[prost(string, tag = "3")]
    pub by: String,
    /// Customer data was replaced and every digest computed anew: the file proves that replay agrees with itself, not
    /// that it agrees with what was recorded.
    #[prost(bool, tag = "4")]
    pub scrubbed: bool,
}

/// A definition as stored.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Stored {
    /// As sagas name it.
    #[prost(int32, tag = "1")]
    pub id: i32,
    /// Column `name`.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Column `hash`: SHA-256 of the body.
    #[prost(bytes = "vec", tag = "3")]
    pub hash: Vec<u8>,
    /// Column `body`.
    #[prost(bytes = "vec", tag = "4")]
    pub body: Vec<u8>,
}

/// A saga's record; [`Recorded`] is what to work with.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Saga {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(int32, tag = "2")]
    definition: i32,
    #[prost(uint32, tag = "3")]
    version: u32,
    #[prost(uint32, tag = "4")]
    format: u32,
    #[prost(bool, tag = "5")]
    active: bool,
    #[prost(bytes = "vec", tag = "6")]
    request: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    state: Vec<u8>,
    #[prost(message, repeated, tag = "8")]
    rows: Vec<RowRecord>,
}

/// A history row.
#[derive(Clone, PartialEq, Eq, Message)]
struct RowRecord {
    #[prost(uint32, tag = "1")]
    seq: u32,
    #[prost(int64, tag = "2")]
    at: i64,
    #[prost(uint32, tag = "3")]
    rules: u32,
    #[prost(uint32, tag = "4")]
    kind: u32,
    #[prost(string, tag = "5")]
    actor: String,
    #[prost(bytes = "vec", tag = "6")]
    input: Vec<u8>,
    #[prost(sfixed64, tag = "7")]
    digest: i64,
}

/// How much there was.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct End {
    /// Sagas.
    #[prost(uint64, tag = "1")]
    pub sagas: u64,
    /// History rows.
    #[prost(uint64, tag = "2")]
    pub rows: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(oneof = "Item", tags = "1, 2, 3, 4")]
    item: Option<Item>,
}

/// Not such a file, or not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Another kind of file.
    #[error("it is no file of `skald replay export`")]
    Foreign,
    /// Written by a newer program.
    #[error("it has version {0}, this program reads up to {VERSION}")]
    Newer(u32),
    /// A record can't be read.
    #[error("a record can't be read: {0}")]
    Record(String),
}

/// Appends a record to the bytes of a file.
pub fn append(item: Item, file: &mut Vec<u8>) {
    let record = Record { item: Some(item) };
    record.encode_length_delimited(file).expect("a Vec grows");
}

/// The next record of the bytes behind [`MAGIC`], and how many of them it took; None: it is not whole.
///
/// # Errors
/// [`Broken`]: reading on makes no sense.
pub fn take(bytes: &[u8]) -> Result<Option<(Item, usize)>, Broken> {
    let broken = |error: prost::DecodeError| Broken::Record(error.to_string());
    let Some(end) = bytes.iter().take(10).position(|byte| byte & 0x80 == 0) else {
        return if bytes.len() < 10 { Ok(None) } else { Err(Broken::Record("its length is none".into())) };
    };
    let length = prost::decode_length_delimiter(&bytes[..=end]).map_err(broken)?;
    if length > LONGEST {
        return Err(Broken::Record(format!("it says that it is {length} bytes long")));
    }
    let Some(record) = bytes.get(end + 1..end + 1 + length) else { return Ok(None) };
    match Record::decode(record).map_err(broken)?.item {
        Some(Item::Header(header)) if header.version > VERSION => Err(Broken::Newer(header.version)),
        Some(item) => Ok(Some((item, end + 1 + length))),
        None => Err(Broken::Record("it is of a kind that this program does not know".into())),
    }
}

impl From<Recorded> for Saga {
    fn from(saga: Recorded) -> Saga {
        let Recorded { id, definition, version, format, active, request, state, rows } = saga;
        let row = |row: Row| {
            let Row { seq, at, rules, kind, actor, input, digest } = row;
            RowRecord { seq, at, rules, kind, actor, input, digest }
        };
        let (id, rows) = (id.as_bytes().to_vec(), rows.into_iter().map(row).collect());
        Saga { id, definition, version, format, active, request, state, rows }
    }
}

impl TryFrom<Saga> for Recorded {
    type Error = Broken;

    fn try_from(saga: Saga) -> Result<Recorded, Broken> {
        let Saga { id, definition, version, format, active, request, state, rows } = saga;
        let row = |row: RowRecord| {
            let RowRecord { seq, at, rules, kind, actor, input, digest } = row;
            Row { seq, at, rules, kind, actor, input, digest }
        };
        let id = Uuid::from_slice(&id).map_err(|error| Broken::Record(format!("a saga's id: {error}")))?;
        let rows = rows.into_iter().map(row).collect();
        Ok(Recorded { id, definition, version, format, active, request, state, rows })
    }
}
