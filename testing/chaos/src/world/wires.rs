//! All wires: each process has its own to each broker and to PostgreSQL, each broker to the others, clients theirs to each
//! orchestrator, orchestrators theirs to the participants that are called over gRPC. So a partition can part any two.

use super::{
    service::Who,
    wire::{Weather, Wire},
};

/// What is at one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Near {
    /// One of our processes.
    Service(Who, usize),
    /// A broker, by number.
    Broker(u8),
}

/// What is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Far {
    /// A broker, by number.
    Broker(u8),
    Postgres,
    /// Clients of the orchestrator that is at the near end.
    Clients,
    /// Orchestrators that call the participant at the near end.
    Peers,
}

/// Whose wire, and where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) near: Near,
    pub(crate) far: Far,
}

/// Some of them.
#[derive(Debug)]
pub(crate) struct Bundle<'a>(Vec<&'a Wire>);

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Wires(Vec<(Ends, Wire)>);

impl Wires {
    pub(crate) fn add(&mut self, ends: Ends, wire: Wire) {
        self.0.push((ends, wire));
    }

    /// Where a wire begins.
    pub(crate) fn port(&self, ends: Ends) -> Option<u16> {
        self.0.iter().find(|(of, _)| *of == ends).map(|(_, wire)| wire.port)
    }

    /// Those that are meant.
    pub(crate) fn some(&self, mut meant: impl FnMut(&Ends) -> bool) -> Bundle<'_> {
        Bundle(self.0.iter().filter(|(ends, _)| meant(ends)).map(|(_, wire)| wire).collect())
    }
}

impl Bundle<'_> {
    /// From now on.
    pub(crate) fn set(&self, weather: Weather) {
        self.0.iter().for_each(|wire| wire.set(weather));
    }

    /// What the weather did so far.
    pub(crate) fn touched(&self) -> u64 {
        self.0.iter().map(|wire| wire.touched()).sum()
    }
}
