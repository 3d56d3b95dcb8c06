//! Every order of the run: when it was due, when it was durable, how and when it ended. No I/O.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::figures::{histogram, record};
use super::mix::{Fate, Mix};

/// Surprises that are kept in full.
const SURPRISES: usize = 20;

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With its final event, as one of the expected ends.
    As(Fate),
    /// Cancelled for another reason.
    Otherwise(String),
}

/// What is remembered of an order; times are microseconds since the book was opened, 0 = not yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) id: Uuid,
    due: u64,
    durable: u64,
    ended: u64,
    pub(super) end: Option<Fate>,
}

/// All orders. Orders are numbered as [`Mix`] numbers them.
#[derive(Debug)]
pub(super) struct Book {
    opened: Instant,
    inner: Mutex<Inner>,
    /// Places for orders in flight, in a closed loop.
    pub(super) room: Semaphore,
    completed: AtomicU64,
    ended: AtomicU64,
    repeated: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Entry>,
    /// Acknowledged orders that have not ended.
    under_way: HashMap<Uuid, u64>,
    /// Final events that came before the acknowledgement did, or for the second time.
    early: HashMap<Uuid, (End, u64)>,
    surprises: Vec<String>,
    surprised: u64,
    refused: u64,
}

impl Book {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            inner: Mutex::default(),
            room: Semaphore::new(0),
            completed: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
        }
    }

    /// Gives places to so many orders in flight. Only while none is.
    pub(super) fn limit(&self, in_flight: usize) {
        self.room.forget_permits(Semaphore::MAX_PERMITS);
        self.room.add_permits(in_flight);
    }

    /// A new order that is, or was, due at that time; gives its number.
    pub(super) fn open(&self, due: Instant) -> u64 {
        let due = self.micros(due);
        let mut inner = self.lock();
        inner.entries.push(Entry { due, ..Entry::default() });
        inner.entries.len() as u64 - 1
    }

    /// It is durable.
    pub(super) fn durable(&self, n: u64, id: Uuid) {
        let now = self.micros(Instant::now());
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(n as usize) else { return };
        (entry.id, entry.durable) = (id, now);
        match inner.early.remove(&id) {
            Some((end, at)) => {
                self.end(&mut inner, n, end, at);
                drop(inner);
                self.room.add_permits(1);
            }
            None => {
                inner.under_way.insert(id, n);
            }
        }
    }

    /// It was not accepted, and will not be sent again.
    pub(super) fn refused(&self, n: u64, why: &str) {
        let mut inner = self.lock();
        inner.refused += 1;
        inner.surprise(format!("order {n} was refused: {why}"));
        drop(inner);
        self.room.add_permits(1);
    }

    /// It was told to come back.
    pub(super) fn repeated(&self) {
        self.repeated.fetch_add(1, Ordering::Relaxed);
    }

    /// Final events that were seen just now.
    pub(super) fn ended(&self, ends: Vec<(Uuid, End)>) {
        let now = self.micros(Instant::now());
        let mut places = 0;
        let mut inner = self.lock();
        for (id, end) in ends {
            match inner.under_way.remove(&id) {
                Some(n) => {
                    self.end(&mut inner, n, end, now);
                    places += 1;
                }
                None => {
                    inner.early.insert(id, (end, now));
                }
            }
        }
        drop(inner);
        self.room.add_permits(places);
    }

    fn end(&self, inner: &mut Inner, n: u64, end: End, at: u64) {
        let expected = Mix::fate(n);
        let Some(entry) = inner.entries.get_mut(n as usize) else { return };
        entry.ended = at.max(entry.due + 1);
        let id = entry.id;
        self.ended.fetch_add(1, Ordering::Relaxed);
        match end {
            End::As(fate) => {
                entry.end = Some(fate);
                if fate == Fate::Completed {
                    self.completed.fetch_add(1, Ordering::Relaxed);
                }
                if fate != expected {
                    inner.surprise(format!("order {id} ended {fate:?}, it had to end {expected:?}"));
                }
            }
            End::Otherwise(reason) => {
                inner.surprise(format!("order {id} was cancelled ({reason}), it had to end {expected:?}"));
            }
        }
    }

    /// COMPLETED orders, and all that ended, so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.completed.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed))
    }

    /// How often an order was told to come back.
    pub(super) fn repeats(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }

    /// Orders that were opened and neither ended nor were refused.
    pub(super) fn in_flight(&self) -> u64 {
        let inner = self.lock();
        inner.entries.len() as u64 - inner.refused - self.ended.load(Ordering::Relaxed)
    }

    /// Latencies of the orders that were due in `[from, until)`: to the acknowledgement, and to the end.
    pub(super) fn latencies(&self, from: Instant, until: Instant) -> (Histogram<u64>, Histogram<u64>) {
        let (from, until) = (self.micros(from), self.micros(until));
        let (mut submit, mut order) = (histogram(), histogram());
        for entry in self.lock().entries.iter().filter(|e| (from..until).contains(&e.due)) {
            if entry.durable > 0 {
                record(&mut submit, entry.durable.saturating_sub(entry.due));
            }
            if entry.ended > 0 {
                record(&mut order, entry.ended.saturating_sub(entry.due));
            }
        }
        (submit, order)
    }

    /// Everything, for the reckoning: entries by number, and what was surprising.
    pub(super) fn close(&self) -> (Vec<Entry>, Vec<String>) {
        let mut inner = self.lock();
        let mut surprises = std::mem::take(&mut inner.surprises);
        if inner.surprised > surprises.len() as u64 {
            let more = inner.surprised - surprises.len() as u64;
            surprises.push(format!("… and {more} more like these"));
        }
        let entries = std::mem::take(&mut inner.entries);
        let twice = entries.iter().filter_map(|e| Some((e, inner.early.remove(&e.id)?.0)));
        for (entry, end) in twice {
            if entry.end.map(End::As) != Some(end.clone()) {
                surprises.push(format!("order {} ended twice, the second time as {end:?}", entry.id));
            }
        }
        if !inner.early.is_empty() {
            surprises.push(format!("{} orders ended that nobody had placed", inner.early.len()));
        }
        (entries, surprises)
    }

    fn micros(&self, at: Instant) -> u64 {
        // From 1: 0 means never.
        at.saturating_duration_since(self.opened).as_micros() as u64 + 1
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn surprise(&mut self, text: String) {
        self.surprised += 1;
        if self.surprises.len() < SURPRISES {
            self.surprises.push(text);
        }
    }
}

impl Entry {
    /// It was acknowledged.
    pub(super) fn is_durable(&self) -> bool {
        self.durable > 0
    }

    /// Its final event was seen.
    pub(super) fn has_ended(&self) -> bool {
        self.ended > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> Uuid {
        Uuid::from_u128(u128::from(n) + 1)
    }

    fn done(n: u64) -> (Uuid, End) {
        (id(n), End::As(Fate::Completed))
    }

    #[test]
    fn an_end_may_come_before_the_acknowledgement() {
        let book = Book::new();
        book.limit(2);
        let (a, b) = (book.open(Instant::now()), book.open(Instant::now()));
        book.ended(vec![done(a)]);
        assert_eq!((book.counts(), book.in_flight()), ((0, 0), 2));
        book.durable(a, id(a));
        book.durable(b, id(b));
        book.ended(vec![done(b)]);
        assert_eq!((book.counts(), book.in_flight()), ((2, 2), 0));
        assert_eq!(book.room.available_permits(), 4, "each end gives a place back");
        let (entries, surprises) = book.close();
        assert!(entries.iter().all(|e| e.is_durable() && e.has_ended()));
        assert_eq!(surprises, Vec::<String>::new());
    }

    #[test]
    fn what_should_not_be_is_told() {
        let book = Book::new();
        for n in 0..9 {
            book.open(Instant::now());
            book.durable(n, id(n));
        }
        // The eighth must be declined; the first one ends twice, and differently.
        book.ended(vec![done(7), (id(1), End::Otherwise("EXPIRED".into())), done(0)]);
        book.ended(vec![(id(0), End::As(Fate::Declined)), (id(99), End::As(Fate::Completed))]);
        book.open(Instant::now());
        book.refused(9, "no");
        assert_eq!(book.in_flight(), 6);
        let (_, surprises) = book.close();
        for text in ["ended Completed, it had to end Declined", "(EXPIRED)", "twice", "nobody", "refused: no"]
        {
            assert!(surprises.iter().any(|s| s.contains(text)), "{text}: {surprises:?}");
        }
        assert_eq!(surprises.len(), 5);
    }

    #[test]
    fn a_repeated_final_event_is_no_surprise() {
        let book = Book::new();
        book.open(Instant::now());
        book.durable(0, id(0));
        book.ended(vec![done(0)]);
        book.ended(vec![done(0)]);
        assert_eq!(book.counts(), (1, 1));
        assert_eq!(book.close().1, Vec::<String>::new());
    }

    #[test]
    fn latencies_are_those_of_the_orders_that_were_due_then() {
        let book = Book::new();
        // Given times: two looks at the clock may see the same one.
        let ms = std::time::Duration::from_millis;
        let start = Instant::now() + ms(100);
        let (before, n) = (book.open(start - ms(1)), book.open(start + ms(1)));
        [before, n].into_iter().for_each(|n| book.durable(n, id(n)));
        book.ended(vec![done(before), done(n)]);
        let (submit, order) = book.latencies(start, start + ms(2));
        assert_eq!((submit.len(), order.len()), (1, 1));
        assert!(order.max() >= submit.max() || order.max() <= 1);
    }

    #[test]
    fn the_limit_is_set_anew_with_each_phase() {
        let book = Book::new();
        book.limit(100);
        book.limit(1);
        assert_eq!(book.room.available_permits(), 1);
    }
}
