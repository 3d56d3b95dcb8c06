//! One wave in memory: the reservations and counters that were locked for it, and the rules over them.
//! No SQL and no clock; `service` loads before and writes after.

use std::collections::{BTreeSet, HashMap};

use prost::Name;
use prost_types::Any;
use skald_participant::{Command, Domain, Failed, Key, NoCall, Rejection, RunAnswer, UndoAnswer, Verb};
use skald_proto::inventory::v1 as proto;

use crate::{
    allocation::{Inconsistent, Line, Shelf, Shortage},
    input,
    store::reservation::{Reservation, State},
};

/// The action that sets goods aside; its undo is [`RELEASE`].
pub const RESERVE: &str = "reserve";
/// Lets go what [`RESERVE`] set aside.
pub const RELEASE: &str = "release";
/// Hands the goods over for good; not undone.
pub const COMMIT: &str = "commit";

/// What a command asks for, read once.
#[derive(Debug)]
pub enum Demand {
    /// Lines to set aside.
    Reserve(Result<Vec<Line>, Failed>),
    /// The reservation to hand over.
    Commit(Result<Key, Failed>),
    /// The reservation to let go: the one that this step made.
    Release,
    /// Nothing that needs a row.
    Nothing,
}

impl Demand {
    /// Reads a command.
    pub fn of(command: &Command) -> Self {
        match (command.verb, command.action.as_str()) {
            (Verb::Run, RESERVE) => Self::Reserve(lines(command)),
            (Verb::Run, COMMIT) => Self::Commit(reservation(command)),
            (Verb::Undo, RELEASE) => Self::Release,
            _ => Self::Nothing,
        }
    }

    /// The reservation that it needs, if any.
    pub fn reservation<'a>(&'a self, own: &'a Key) -> Option<&'a Key> {
        match self {
            Self::Commit(Ok(key)) => Some(key),
            Self::Release => Some(own),
            _ => None,
        }
    }
}

fn lines(command: &Command) -> Result<Vec<Line>, Failed> {
    let Some(any) = &command.input else {
        return Err(bad_input("the command has no input"));
    };
    input::lines(&any.type_url, &any.value).map_err(bad_input)
}

/// The reservation is found by the type of the result, so a definition may name its step as it likes.
fn reservation(command: &Command) -> Result<Key, Failed> {
    let name = proto::Reserved::full_name();
    let is_reserved = |any: &&Any| any.type_url.rsplit('/').next() == Some(name.as_str());
    let found = command.needs.iter().filter_map(|need| need.result.as_ref()).find(is_reserved);
    let Some(any) = found else {
        return Err(bad_input("no needed result is a skald.inventory.v1.Reserved"));
    };
    let reserved: proto::Reserved = any.to_msg().map_err(bad_input)?;
    if reserved.step.contains('\0') {
        return Err(bad_input("the reservation's step has a NUL"));
    }
    let epoch = i32::try_from(reserved.epoch).map_err(bad_input)?;
    Ok(Key { saga: command.saga, step: reserved.step, epoch })
}

fn bad_input(error: impl ToString) -> Failed {
    Failed::last("BAD_INPUT", error.to_string())
}

/// The rows of one wave, and what became of them.
#[derive(Debug, Default)]
pub struct Wave {
    demands: HashMap<Key, Demand>,
    reservations: HashMap<Key, Reservation>,
    /// The counters.
    pub shelf: Shelf,
    /// Reservations to be inserted.
    pub held: Vec<(Key, Vec<Line>)>,
    /// Reservations to be ended.
    pub ended: Vec<(Key, State)>,
}

impl Wave {
    /// Takes what was locked and read; the stock comes with [`Wave::stock`].
    pub fn new(demands: HashMap<Key, Demand>, reservations: Vec<Reservation>) -> Self {
        let by_key = |reservation: Reservation| (reservation.key.clone(), reservation);
        Self { demands, reservations: reservations.into_iter().map(by_key).collect(), ..Self::default() }
    }

    /// Every SKU that this wave may touch, each once, sorted.
    pub fn skus(&self) -> Vec<String> {
        let wanted = self.demands.values().filter_map(|demand| match demand {
            Demand::Reserve(Ok(lines)) => Some(lines),
            _ => None,
        });
        let held = self.reservations.values().map(|reservation| &reservation.lines);
        let skus: BTreeSet<&String> = wanted.chain(held).flatten().map(|line| &line.sku).collect();
        skus.into_iter().cloned().collect()
    }

    fn reserve(&mut self, key: Key, lines: Vec<Line>) -> RunAnswer {
        match self.shelf.reserve(&lines) {
            Ok(()) => {
                let reserved = proto::Reserved {
                    step: key.step.clone(),
                    epoch: key.epoch.unsigned_abs(),
                    units: units(&lines),
                };
                self.held.push((key, lines));
                RunAnswer::Succeeded(Some(pack(&reserved)))
            }
            Err(missing) => RunAnswer::Rejected(out_of_stock(missing)),
        }
    }

    fn commit(&mut self, key: &Key) -> RunAnswer {
        let Some(reservation) = self.reservations.get_mut(key) else {
            return RunAnswer::Rejected(gone(key, "is not there"));
        };
        match reservation.state {
            State::Held => {}
            State::Committed => return RunAnswer::Rejected(gone(key, "was committed already")),
            State::LetGo => return RunAnswer::Rejected(gone(key, "was let go")),
        }
        if let Err(error) = self.shelf.commit(&reservation.lines) {
            return RunAnswer::Failed(inconsistent(&error));
        }
        reservation.state = State::Committed;
        self.ended.push((key.clone(), State::Committed));
        let units = units(&reservation.lines);
        RunAnswer::Succeeded(Some(pack(&proto::Committed { units })))
    }

    fn release(&mut self, key: &Key) -> UndoAnswer {
        let no = |what: &str| {
            UndoAnswer::Failed(Failed::last("RESERVATION_GONE", format!("{}: {what}", name(key))))
        };
        let Some(reservation) = self.reservations.get_mut(key) else {
            return no("the reservation is not there, though its action succeeded");
        };
        let units = units(&reservation.lines);
        let released = UndoAnswer::Undone(Some(pack(&proto::Released { units })));
        match reservation.state {
            State::Held => {}
            // Another instance was first, after the barrier was looked up and before the row was locked: then inserting the
            // verdict finds that out. A failure would be believed, for it is not inserted.
            State::LetGo => return released,
            State::Committed => return no("the goods were committed and can't be released"),
        }
        if let Err(error) = self.shelf.release(&reservation.lines) {
            return UndoAnswer::Failed(inconsistent(&error));
        }
        reservation.state = State::LetGo;
        self.ended.push((key.clone(), State::LetGo));
        released
    }
}

impl Domain for Wave {
    type Call = NoCall;

    fn run(&mut self, command: &Command) -> RunAnswer {
        let key = command.key();
        match self.demands.remove(&key) {
            Some(Demand::Reserve(Ok(lines))) => self.reserve(key, lines),
            Some(Demand::Commit(Ok(reservation))) => self.commit(&reservation),
            Some(Demand::Reserve(Err(failed)) | Demand::Commit(Err(failed))) => RunAnswer::Failed(failed),
            _ => {
                RunAnswer::Failed(Failed::retryable("UNIMPLEMENTED", format!("action {:?}", command.action)))
            }
        }
    }

    fn undo(&mut self, command: &Command) -> UndoAnswer {
        self.release(&command.key())
    }
}

fn pack<M: Name>(message: &M) -> Any {
    Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: message.encode_to_vec() }
}

fn units(lines: &[Line]) -> i64 {
    lines.iter().map(|line| line.quantity).sum()
}

fn name(key: &Key) -> String {
    format!("{}/{}/{}", key.saga, key.step, key.epoch)
}

fn out_of_stock(missing: Vec<Shortage>) -> Rejection {
    let one = |s: &Shortage| format!("{} (asked for {}, there are {})", s.sku, s.requested, s.available);
    let message = format!("out of stock: {}", missing.iter().map(one).collect::<Vec<_>>().join(", "));
    let shortage =
        |s: Shortage| proto::Shortage { sku: s.sku, requested: s.requested, available: s.available };
    Rejection {
        code: "OUT_OF_STOCK".to_owned(),
        message,
        detail: Some(pack(&proto::OutOfStock { missing: missing.into_iter().map(shortage).collect() })),
    }
}

fn gone(key: &Key, what: &str) -> Rejection {
    Rejection {
        code: "RESERVATION_GONE".to_owned(),
        message: format!("reservation {} {what}", name(key)),
        detail: None,
    }
}

/// Final: counters that do not add up need a person (see Audit), not another attempt.
fn inconsistent(error: &Inconsistent) -> Failed {
    tracing::error!(%error, "stock and reservations disagree");
    Failed::last("INCONSISTENT", error.to_string())
}

#[cfg(test)]
mod tests;
