//! What is known of connections to participants: whether they stand, how much waits for them, and what the service's health says.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use skald_kit::{
    health::{self, Health},
    lifecycle::Shutdown,
};
use tokio::sync::mpsc;

use super::Outgoing;

/// Commands that wait for one connection at most: eight full requests. Beyond, they are not taken and wait in their sagas.
const QUEUE: usize = 4096;
/// Bytes that wait for one connection at most: inputs may be large.
const QUEUE_BYTES: usize = 64 << 20;

/// A command that waits, and its size.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) outgoing: Outgoing,
    pub(super) bytes: usize,
}

/// One connection as those who send see it.
#[derive(Debug)]
pub(super) struct Peer {
    /// `host:port`.
    pub(super) address: String,
    pub(super) queue: mpsc::Sender<Queued>,
    pub(super) standing: Arc<Standing>,
}

/// How a connection stands; shared with the task that keeps it.
#[derive(Debug, Default)]
pub(super) struct Standing {
    connected: AtomicBool,
    /// It was tried at least once: before, commands may wait for it.
    tried: AtomicBool,
    /// Something was not taken or lost since it was connected last.
    missed: AtomicBool,
    bytes: AtomicUsize,
    /// Empty the queue, end the stream.
    pub(super) finish: Shutdown,
    /// That was done.
    pub(super) finished: Shutdown,
    /// It took too long.
    pub(super) cut: Shutdown,
}

impl Peer {
    /// A connection, and the end of its queue.
    pub(super) fn new(address: &str) -> (Peer, mpsc::Receiver<Queued>) {
        let (queue, queued) = mpsc::channel(QUEUE);
        (Peer { address: address.to_owned(), queue, standing: Arc::default() }, queued)
    }

    /// Commands may be given to it.
    pub(super) fn is_open(&self) -> bool {
        let Standing { connected, tried, .. } = &*self.standing;
        connected.load(Ordering::Relaxed) || !tried.load(Ordering::Relaxed)
    }

    /// It takes as much as half a queue: time for what was not taken. New commands go first.
    pub(super) fn is_roomy(&self) -> bool {
        self.standing.is_connected()
            && self.queue.capacity() >= QUEUE / 2
            && self.standing.bytes.load(Ordering::Relaxed) <= QUEUE_BYTES / 2
    }

    /// Takes a command; false: there is no room.
    pub(super) fn take(&self, outgoing: Outgoing) -> bool {
        let bytes = prost::Message::encoded_len(&outgoing.command);
        let before = self.standing.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= QUEUE_BYTES || before == 0;
        let taken = fits && self.queue.try_send(Queued { outgoing, bytes }).is_ok();
        if !taken {
            self.standing.gone(bytes);
            self.standing.miss();
        }
        taken
    }
}

impl Standing {
    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// What waited is on its way, or lost.
    pub(super) fn gone(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Something did not get there.
    pub(super) fn miss(&self) {
        self.missed.store(true, Ordering::Relaxed);
    }

    /// Something did not get there since it was connected last.
    pub(super) fn has_missed(&self) -> bool {
        self.missed.load(Ordering::Relaxed)
    }

    fn set(&self, connected: bool) {
        if connected {
            self.missed.store(false, Ordering::Relaxed);
        }
        self.connected.store(connected, Ordering::Relaxed);
        self.tried.store(true, Ordering::Relaxed);
    }
}

/// Who is connected, for the health of the service. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Board {
    health: Health,
    /// By `participant at host:port`; what is wrong, if something is.
    known: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

impl Board {
    pub(super) fn new(health: &Health) -> Board {
        Board { health: health.clone(), known: Arc::default() }
    }

    /// Notes how a connection stands, and lets health say so: DEGRADED while one does not, for its orders wait.
    pub(super) fn note(&self, participant: &str, address: &str, standing: &Standing, wrong: Option<&str>) {
        standing.set(wrong.is_none());
        let labels = [("participant", participant.to_owned()), ("peer", address.to_owned())];
        metrics::gauge!("skald_peer_connected", &labels).set(f64::from(u8::from(wrong.is_none())));
        let mut known = self.lock();
        known.insert(format!("{participant} at {address}"), wrong.map(ToOwned::to_owned));
        let broken: Vec<String> =
            known.iter().filter_map(|(who, wrong)| Some(format!("{who}: {}", wrong.as_ref()?))).collect();
        let (status, detail) = match broken.as_slice() {
            [] => (health::Status::Up, format!("{} connected over gRPC", known.len())),
            broken => (health::Status::Degraded, broken.join("; ")),
        };
        self.health.set("participants", status, detail);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Option<String>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use skald_proto::participant::v1::Command;
    use uuid::Uuid;

    use super::*;

    fn outgoing(bytes: usize) -> Outgoing {
        let command = Command { action: "x".repeat(bytes), ..Default::default() };
        let participant = "p".to_owned();
        Outgoing { saga: Uuid::nil(), participant, command, traceparent: None, resend: false }
    }

    fn connected() -> (Peer, mpsc::Receiver<Queued>) {
        let (peer, queued) = Peer::new("host:1");
        peer.standing.set(true);
        (peer, queued)
    }

    #[test]
    fn before_it_was_tried_commands_may_wait_and_then_only_while_it_is_connected() {
        let (peer, _queued) = Peer::new("host:1");
        assert_eq!((peer.is_open(), peer.is_roomy()), (true, false));
        peer.standing.set(false);
        assert_eq!((peer.is_open(), peer.is_roomy()), (false, false));
        peer.standing.set(true);
        assert_eq!((peer.is_open(), peer.is_roomy()), (true, true));
    }

    #[test]
    fn a_queue_is_bounded_and_what_was_not_taken_comes_when_half_of_it_is_free() {
        let (peer, mut queued) = connected();
        let taken = (0..2 * QUEUE).filter(|_| peer.take(outgoing(1))).count();
        assert_eq!(taken, QUEUE);
        assert!(peer.is_open() && !peer.is_roomy() && peer.standing.has_missed());
        let mut free = 0;
        while !peer.is_roomy() {
            peer.standing.gone(queued.try_recv().expect("it is full").bytes);
            free += 1;
        }
        assert_eq!(free, QUEUE / 2);
        peer.standing.set(true);
        assert!(!peer.standing.has_missed(), "it is connected anew");
    }

    #[test]
    fn it_is_bounded_in_bytes_as_well() {
        let (peer, mut queued) = connected();
        let large = QUEUE_BYTES / 4;
        let taken = (0..9).filter(|_| peer.take(outgoing(large))).count();
        assert_eq!(taken, 3, "a message is a little larger than what is in it");
        assert!(!peer.is_roomy());
        for _ in 0..3 {
            peer.standing.gone(queued.try_recv().expect("three wait").bytes);
        }
        assert!(peer.is_roomy());
        assert!(peer.take(outgoing(2 * QUEUE_BYTES)), "what is larger than all goes alone");
        assert!(!peer.take(outgoing(1)));
    }
}
