//! What participants answer: read in batches, decoded, and handed to the worker that the partition belongs to.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use skald_core::Input;
use skald_kit::{
    config::Kafka,
    kafka::{Ack, Batch, Consumer, Message, Options},
};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Budget, DeadLetters, topics, wire};
use crate::{
    job::{Ask, Job, Origin},
    shared::Shared,
    worker::Inbox,
};

/// The consumer group of all orchestrators.
const GROUP: &str = "skald-orchestrator";

/// The consumer of every participant's outcomes.
#[derive(Clone, Debug)]
pub struct Outcomes {
    consumer: Consumer,
    /// Whose topic it is, by name.
    participants: Arc<BTreeMap<String, String>>,
}

impl Outcomes {
    /// Joins the group.
    ///
    /// # Errors
    /// librdkafka does not accept the configuration.
    pub fn start(
        kafka: &Kafka,
        participants: impl IntoIterator<Item = String>,
    ) -> anyhow::Result<(Outcomes, mpsc::Receiver<Batch>)> {
        let participants: BTreeMap<String, String> =
            participants.into_iter().map(|p| (topics::outcomes(kafka, &p), p)).collect();
        let group = kafka.topic(GROUP);
        let options = Options::new(group, participants.keys().cloned().collect());
        let (consumer, batches) = Consumer::start(kafka, options)?;
        Ok((Outcomes { consumer, participants: Arc::new(participants) }, batches))
    }

    /// Reads a message. Each participant has a topic of its own, and speaks for itself alone.
    fn read(&self, message: &Message) -> Result<(Uuid, String, skald_core::input::Outcome), String> {
        let (saga, says, outcome) = wire::outcome(&message.payload)?;
        match self.participants.get(&*message.topic) {
            Some(own) if *own == says => Ok((saga, says, outcome)),
            _ => Err(format!("IMPOSTOR: {says} can't answer in {}", message.topic)),
        }
    }

    /// These messages are finished.
    pub fn done(&self, acks: &[Ack]) {
        if !acks.is_empty() {
            self.consumer.done(acks);
        }
    }

    /// For the gauge of how far behind we are.
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// Takes no more; what was taken is still finished.
    pub fn drain(&self) {
        self.consumer.drain();
    }

    /// Commits offsets and leaves the group.
    pub async fn close(&self, deadline: Duration) {
        if !self.consumer.close(deadline).await {
            tracing::warn!("the consumer did not leave its group in time; some outcomes will come again");
        }
    }
}

/// Hands every message to its worker until the consumer ends. A full inbox is waited for: that is what stops polling.
///
/// # Errors
/// None.
pub async fn route(
    mut batches: mpsc::Receiver<Batch>,
    inboxes: Vec<Inbox>,
    dead_letters: DeadLetters,
    shared: Arc<Shared>,
) -> anyhow::Result<()> {
    while let Some(batch) = batches.recv().await {
        dead_letters.room().await;
        let mut answered: BTreeMap<String, usize> = BTreeMap::new();
        for message in batch.messages {
            match shared.outcomes.read(&message) {
                Err(why) => dead_letters.put(message, why, 1),
                Ok((saga, participant, outcome)) => {
                    *answered.entry(participant.clone()).or_default() += 1;
                    let worker = message.partition as usize % inboxes.len();
                    let job = Job {
                        saga,
                        actor: participant,
                        ask: Ask::Input(Input::Outcome(outcome)),
                        origin: Origin::Message(Box::new(message)),
                    };
                    if inboxes[worker].messages.send(job).await.is_err() {
                        // The worker ended: what was not finished comes again.
                        return Ok(());
                    }
                }
            }
        }
        pay(&shared.budget, answered);
    }
    Ok(())
}

fn pay(budget: &Budget, answered: BTreeMap<String, usize>) {
    for (participant, answers) in answered {
        budget.answered(&participant, answers);
    }
}
