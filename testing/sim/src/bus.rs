//! The broker in memory: logs, a consumer group per topic, and what its members believe to own.

use std::{collections::BTreeSet, sync::Arc};

use skald_kit::kafka::Watermark;
use uuid::Uuid;

use crate::{planted, rng::Rng};

/// Partitions of each topic: few, so that sagas share them.
pub(crate) const PARTITIONS: usize = 3;

/// One message, as it lies in a log.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub key: Uuid,
    pub value: Arc<[u8]>,
}

#[derive(Debug, Default)]
pub(crate) struct Partition {
    pub log: Vec<Record>,
    /// Where a new owner begins.
    pub committed: usize,
    pub owner: Option<usize>,
    /// Rises with each assignment.
    pub generation: u32,
}

/// Commands for a service, or its outcomes.
#[derive(Debug)]
pub(crate) struct Topic {
    pub partitions: [Partition; PARTITIONS],
}

/// A topic by service: commands and outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicId {
    pub service: usize,
    pub outcomes: bool,
}

/// What a member believes to own.
#[derive(Debug)]
pub(crate) struct Claim {
    pub topic: TopicId,
    pub partition: usize,
    pub generation: u32,
    pub position: usize,
    watermark: Watermark,
    /// What was taken and is not finished, kept beside the watermark to judge it.
    open: BTreeSet<usize>,
}

/// A delivery, as it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub topic: TopicId,
    pub partition: usize,
    pub generation: u32,
    pub offset: usize,
}

#[derive(Debug)]
pub(crate) struct Bus {
    topics: Vec<[Topic; 2]>,
}

/// The same for both directions.
pub(crate) fn partition_of(saga: Uuid) -> usize {
    (saga.as_u128() % PARTITIONS as u128) as usize
}

impl Bus {
    pub(crate) fn new(services: usize) -> Bus {
        let topic = || Topic { partitions: Default::default() };
        Bus { topics: (0..services).map(|_| [topic(), topic()]).collect() }
    }

    pub(crate) fn partition(&mut self, topic: TopicId, partition: usize) -> &mut Partition {
        &mut self.topics[topic.service][usize::from(topic.outcomes)].partitions[partition]
    }

    /// Everything that was ever sent.
    pub(crate) fn messages(&self) -> u64 {
        let topics = self.topics.iter().flatten();
        topics.flat_map(|topic| &topic.partitions).map(|partition| partition.log.len() as u64).sum()
    }

    /// The newest generation of what is claimed.
    pub(crate) fn generation(&self, claim: &Claim) -> u32 {
        let topic = &self.topics[claim.topic.service][usize::from(claim.topic.outcomes)];
        topic.partitions[claim.partition].generation
    }

    pub(crate) fn topics(&self) -> Vec<TopicId> {
        let both = |service| [false, true].map(|outcomes| TopicId { service, outcomes });
        (0..self.topics.len()).flat_map(both).collect()
    }

    /// Splits a topic among the members that are `there`: those partitions whose owner changes, or all.
    pub(crate) fn split(
        &mut self,
        topic: TopicId,
        there: &[usize],
        all: bool,
        rng: &mut Rng,
    ) -> Vec<(usize, usize)> {
        let mut changed = Vec::new();
        for p in 0..PARTITIONS {
            let partition = self.partition(topic, p);
            let stays = !all && partition.owner.is_some_and(|owner| there.contains(&owner));
            if stays || there.is_empty() {
                continue;
            }
            let owner = *rng.pick(there);
            partition.owner = Some(owner);
            partition.generation += 1;
            changed.push((p, owner));
        }
        changed
    }

    /// What a new owner claims: from the committed offset on.
    pub(crate) fn claim(&mut self, topic: TopicId, partition: usize) -> Claim {
        let p = self.partition(topic, partition);
        let (generation, position) = (p.generation, p.committed);
        Claim { topic, partition, generation, position, watermark: Watermark::new(), open: BTreeSet::new() }
    }

    /// The next message of a claim.
    pub(crate) fn poll(&mut self, claim: &mut Claim) -> Option<(Taken, Record)> {
        let Claim { topic, partition, generation, position, .. } = *claim;
        let record = self.partition(topic, partition).log.get(position)?.clone();
        claim.position += 1;
        claim.watermark.taken(position as i64);
        claim.open.insert(position);
        Some((Taken { topic, partition, generation, offset: position }, record))
    }

    /// Finishes a delivery. Of an older assignment it is ignored. Gives a message that would be passed over unfinished.
    pub(crate) fn done(&mut self, claims: &mut [Claim], taken: Taken) -> Option<usize> {
        let same = |c: &&mut Claim| {
            (c.topic, c.partition, c.generation) == (taken.topic, taken.partition, taken.generation)
        };
        let claim = claims.iter_mut().find(same)?;
        claim.open.remove(&taken.offset);
        let next =
            claim.watermark.done(taken.offset as i64)? + i64::from(planted::is("watermark_off_by_one"));
        let partition = self.partition(taken.topic, taken.partition);
        if partition.generation == taken.generation {
            partition.committed = next as usize;
        }
        claim.open.first().copied().filter(|open| *open < next as usize)
    }
}
