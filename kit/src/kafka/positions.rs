//! What a consumer holds: the partitions assigned to it, the generation and watermark of each. No I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::watermark::Watermark;
use super::{Ack, Assigned};

/// All partitions that are assigned now.
#[derive(Debug)]
pub(super) struct Positions {
    /// Of the last assignment of any partition; each gets its own number, so an old acknowledgement never
    /// fits a new assignment.
    generation: u64,
    topics: Vec<Topic>,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    partitions: BTreeMap<i32, Position>,
}

#[derive(Debug)]
struct Position {
    generation: u64,
    watermark: Watermark,
    stored: Option<i64>,
}

impl Positions {
    pub(super) fn new(topics: &[String]) -> Self {
        let topics = topics
            .iter()
            .map(|name| Topic { name: name.as_str().into(), partitions: BTreeMap::new() })
            .collect();
        Self { generation: 0, topics }
    }

    pub(super) fn assign(&mut self, topic: &str, partition: i32) {
        self.generation += 1;
        let position = Position { generation: self.generation, watermark: Watermark::new(), stored: None };
        if let Some(topic) = self.topic(topic) {
            topic.partitions.insert(partition, position);
        }
    }

    pub(super) fn revoke(&mut self, topic: &str, partition: i32) {
        if let Some(topic) = self.topic(topic) {
            topic.partitions.remove(&partition);
        }
    }

    /// A message came: its topic's shared name and the generation of its assignment. `None`: not assigned
    /// (any more).
    pub(super) fn taken(&mut self, topic: &str, partition: i32, offset: i64) -> Option<(Arc<str>, u64)> {
        let topic = self.topic(topic)?;
        let position = topic.partitions.get_mut(&partition)?;
        position.watermark.taken(offset);
        Some((Arc::clone(&topic.name), position.generation))
    }

    /// Counts the acknowledgements; returns what is to be stored: topic, partition, next offset.
    pub(super) fn done(&mut self, acks: &[Ack]) -> Vec<(Arc<str>, i32, i64)> {
        let mut store: Vec<(Arc<str>, i32, i64)> = Vec::new();
        for ack in acks {
            let Some(topic) = self.topic(&ack.topic) else { continue };
            let Some(position) = topic.partitions.get_mut(&ack.partition) else { continue };
            if position.generation != ack.assignment {
                continue;
            }
            let Some(next) = position.watermark.done(ack.offset) else { continue };
            position.stored = Some(next);
            match store
                .iter_mut()
                .find(|(name, partition, _)| **name == *topic.name && *partition == ack.partition)
            {
                Some(entry) => entry.2 = next,
                None => store.push((Arc::clone(&topic.name), ack.partition, next)),
            }
        }
        store
    }

    pub(super) fn assigned(&self) -> Vec<Assigned> {
        let of = |topic: &Topic| {
            let name = Arc::clone(&topic.name);
            let assigned = move |(partition, position): (&i32, &Position)| Assigned {
                topic: Arc::clone(&name),
                partition: *partition,
                assignment: position.generation,
                stored: position.stored,
                unfinished: position.watermark.len(),
            };
            topic.partitions.iter().map(assigned).collect::<Vec<_>>()
        };
        self.topics.iter().flat_map(of).collect()
    }

    /// A consumer has a handful of topics: looking through them beats hashing.
    fn topic(&mut self, name: &str) -> Option<&mut Topic> {
        self.topics.iter_mut().find(|topic| *topic.name == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(offset: i64, assignment: u64) -> Ack {
        Ack { topic: "t".into(), partition: 0, offset, assignment }
    }

    #[test]
    fn acknowledgements_of_an_older_assignment_are_ignored() {
        let mut positions = Positions::new(&["t".to_owned()]);
        assert_eq!(positions.taken("t", 0, 5), None);
        positions.assign("t", 0);
        let (_, first) = positions.taken("t", 0, 5).unwrap();
        positions.revoke("t", 0);
        assert_eq!(positions.done(&[ack(5, first)]), []);
        positions.assign("t", 0);
        let (_, second) = positions.taken("t", 0, 4).unwrap();
        positions.taken("t", 0, 5).unwrap();
        assert_ne!(first, second);
        assert_eq!(positions.done(&[ack(5, first), ack(4, first)]), []);
        assert_eq!(positions.done(&[ack(5, second)]), []);
        assert_eq!(positions.done(&[ack(4, second)]), [("t".into(), 0, 6)]);
    }

    #[test]
    fn one_store_per_partition_however_many_acknowledgements() {
        let mut positions = Positions::new(&["t".to_owned(), "u".to_owned()]);
        positions.assign("t", 0);
        positions.assign("u", 0);
        let (_, generation) = positions.taken("t", 0, 1).unwrap();
        positions.taken("t", 0, 2).unwrap();
        assert_eq!(positions.done(&[ack(1, generation), ack(2, generation)]), [("t".into(), 0, 3)]);
        let assigned = positions.assigned();
        assert_eq!(assigned.len(), 2);
        assert_eq!((assigned[0].stored, assigned[0].unfinished), (Some(3), 0));
        assert_eq!((assigned[1].stored, assigned[1].unfinished), (None, 0));
    }
}
