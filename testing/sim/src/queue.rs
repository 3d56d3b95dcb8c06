//! What will happen, by time and then in the order in which it was pushed. The events themselves lie still; only their places are sorted.

use std::{cmp::Reverse, collections::BinaryHeap};

/// See the room's head.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    /// Time, order and place in one number, so that one comparison sorts them.
    heap: BinaryHeap<Reverse<u128>>,
    events: Vec<Option<E>>,
    free: Vec<u32>,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue { heap: BinaryHeap::new(), events: Vec::new(), free: Vec::new() }
    }
}

impl<E> Queue<E> {
    /// `order` is unique; of two events at one time the smaller one comes first.
    pub(crate) fn push(&mut self, at: i64, order: u64, event: E) {
        let place = match self.free.pop() {
            Some(place) => {
                self.events[place as usize] = Some(event);
                place
            }
            None => {
                self.events.push(Some(event));
                self.events.len() as u32 - 1
            }
        };
        debug_assert!(at >= 0 && order < 1 << 40 && place < 1 << 24);
        self.heap.push(Reverse((at as u128) << 64 | u128::from(order) << 24 | u128::from(place)));
    }

    /// The next event and its time.
    pub(crate) fn pop(&mut self) -> Option<(i64, E)> {
        let Reverse(first) = self.heap.pop()?;
        let (at, place) = ((first >> 64) as i64, first as u32 & 0x00ff_ffff);
        self.free.push(place);
        Some((at, self.events[place as usize].take()?))
    }
}
