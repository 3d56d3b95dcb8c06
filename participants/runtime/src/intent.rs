//! Intents: calls to the outside world that were committed before they are made. The types; the rooms beside it keep, call,
//! settle and sweep them.

pub(crate) mod by_hand;
pub(crate) mod calls;
pub mod resolve;
pub(crate) mod settle;
pub(crate) mod sweep;
pub(crate) mod table;

use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use crate::{
    barrier::Slot,
    command::{Key, Verb},
};

/// An open call to the outside world, as committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// What it belongs to.
    pub key: Key,
    /// [`Verb::Run`] or [`Verb::Undo`].
    pub verb: Verb,
    /// The attempt that the answer will count for.
    pub attempt: i32,
    /// The idempotency key: the command id (UUIDv5 of the saga and `step/VERB/epoch`), and from the second
    /// key on `#n`.
    pub gateway_key: String,
    /// Calls that were begun under this key and may have arrived, this one included.
    pub calls: i32,
    /// W3C trace context of the command.
    pub traceparent: Option<String>,
    /// The partition that the command came from; the answer goes there. -1: not from Kafka.
    pub partition: i32,
}

impl Intent {
    /// Which of its key's rows is the intent.
    #[must_use]
    pub fn slot(&self) -> Slot {
        match self.verb {
            Verb::Run | Verb::SealRun => Slot::Run,
            Verb::Undo | Verb::SealUndo => Slot::Undo,
        }
    }

    /// Our reference at the gateway, the same whatever the key: saga id / step / epoch.
    #[must_use]
    pub fn our_ref(&self) -> String {
        let Key { saga, step, epoch } = &self.key;
        format!("{saga}/{step}/{epoch}")
    }
}

/// Until when something may be sent with a gateway key. Looks at two clocks, so that neither a frozen process
/// nor a clock that was set back makes it younger.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    monotonic: Instant,
    wall: SystemTime,
}

impl Deadline {
    /// That long from now.
    #[must_use]
    pub fn after(left: Duration) -> Self {
        Self { monotonic: Instant::now() + left, wall: SystemTime::now() + left }
    }

    /// Whether nothing may be sent any more. Ask right before sending.
    #[must_use]
    pub fn passed(&self) -> bool {
        Instant::now() >= self.monotonic || SystemTime::now() >= self.wall
    }
}

/// The first gateway key of an intent: its command's id.
#[must_use]
pub fn first_key(key: &Key, slot: Slot) -> String {
    command_id(key, slot.verb()).to_string()
}

/// The key after a definite no: the command's id and a number that rises.
#[must_use]
pub fn next_key(gateway_key: &str) -> String {
    let (id, n) = gateway_key.split_once('#').unwrap_or((gateway_key, "0"));
    let n: u64 = n.parse().unwrap_or(0);
    format!("{id}#{}", n + 1)
}

/// The command id: UUIDv5 with the saga id as namespace and the name `step/VERB/epoch`.
#[must_use]
pub fn command_id(key: &Key, verb: Verb) -> Uuid {
    let verb = verb.wire().as_str_name().trim_start_matches("VERB_");
    let name = format!("{}/{}/{}", key.step, verb, key.epoch);
    Uuid::new_v5(&key.saga, name.as_bytes())
}
