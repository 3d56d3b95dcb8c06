//! What participants answer, over Kafka or over streams: decoded, and handed to the worker that the saga's partition belongs to.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use skald_core::Input;
use skald_kit::{
    config::Kafka,
    kafka::{Ack, Batch, Consumer, Message, Options, partition_for_id},
};
use skald_proto::participant::v1::ExecuteResponse;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Budget, topics, wire};
use crate::{
    job::{Ask, Job, Origin},
    shared::Shared,
    worker::Inbox,
};

/// The consumer group of all orchestrators.
const GROUP: &str = "skald-orchestrator";

/// The consumer of the outcomes of every participant that answers over Kafka.
#[derive(Clone, Debug)]
pub struct Outcomes {
    /// None: nobody does.
    consumer: Option<Consumer>,
    /// Whose topic it is, by name.
    participants: Arc<BTreeMap<String, String>>,
}

impl Outcomes {
    /// Joins the group; None instead of batches when there is nothing to read.
    ///
    /// # Errors
    /// librdkafka does not accept the configuration.
    pub fn start(
        kafka: &Kafka,
        participants: impl IntoIterator<Item = String>,
    ) -> anyhow::Result<(Outcomes, Option<mpsc::Receiver<Batch>>)> {
        let participants: BTreeMap<String, String> =
            participants.into_iter().map(|p| (topics::outcomes(kafka, &p), p)).collect();
        let group = kafka.topic(GROUP);
        let topics: Vec<String> = participants.keys().cloned().collect();
        let started = match topics.is_empty() {
            true => None,
            false => Some(Consumer::start(kafka, Options::new(group, topics))?),
        };
        let (consumer, batches) = started.unzip();
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
        if let Some(consumer) = self.consumer.as_ref().filter(|_| !acks.is_empty()) {
            consumer.done(acks);
        }
    }

    /// For the gauge of how far behind we are.
    pub fn consumer(&self) -> Option<&Consumer> {
        self.consumer.as_ref()
    }

    /// Takes no more; what was taken is still finished.
    pub fn drain(&self) {
        self.consumer.iter().for_each(Consumer::drain);
    }

    /// Commits offsets and leaves the group.
    pub async fn close(&self, deadline: Duration) {
        let Some(consumer) = &self.consumer else { return };
        if !consumer.close(deadline).await {
            tracing::warn!("the consumer did not leave its group in time; some outcomes will come again");
        }
    }
}

/// Hands outcomes to the workers that their sagas belong to, whatever they came over.
#[derive(Clone, Debug)]
pub struct Router {
    /// One per worker.
    pub inboxes: Vec<Inbox>,
    /// What the instance shares.
    pub shared: Arc<Shared>,
}

impl Router {
    /// Hands every message to its worker until the consumer ends. A full inbox is waited for: that is what stops polling.
    ///
    /// # Errors
    /// None.
    pub async fn run(self, mut batches: mpsc::Receiver<Batch>) -> anyhow::Result<()> {
        let dead_letters = &self.shared.dead_letters;
        while let Some(batch) = batches.recv().await {
            dead_letters.room().await;
            let mut answered: BTreeMap<String, usize> = BTreeMap::new();
            for message in batch.messages {
                match self.shared.outcomes.read(&message) {
                    Err(why) => dead_letters.put(message, why, 1),
                    Ok((saga, participant, outcome)) => {
                        *answered.entry(participant.clone()).or_default() += 1;
                        let partition = message.partition;
                        let origin = Origin::Message(Box::new(message));
                        if !self.hand(partition, job(saga, participant, outcome, origin)).await {
                            // The worker ended: what was not finished comes again.
                            return Ok(());
                        }
                    }
                }
            }
            pay(&self.shared.budget, answered);
        }
        Ok(())
    }

    /// Hands what a participant said on its stream to the workers. A full inbox is waited for: that is what stops the reading.
    /// What can't be used is counted and said; the participant has it and repeats it when it is asked again.
    pub async fn route(&self, participant: &str, response: ExecuteResponse) {
        let ExecuteResponse { outcomes, traceparents } = response;
        self.shared.budget.answered(participant, outcomes.len());
        let mut traceparents = traceparents.into_iter();
        for message in outcomes {
            let traceparent = traceparents.next().filter(|trace| !trace.is_empty());
            let read = wire::checked(message).and_then(|(saga, says, outcome)| match says == participant {
                true => Ok((saga, outcome)),
                false => Err(format!("IMPOSTOR: {says} can't answer for {participant}")),
            });
            match read {
                Err(why) => unusable(participant, None, &why),
                Ok((saga, outcome)) => {
                    let partition = partition_for_id(saga, self.shared.config.kafka.partitions);
                    let job = job(saga, participant.to_owned(), outcome, Origin::Stream { traceparent });
                    if !self.hand(partition, job).await {
                        return;
                    }
                }
            }
        }
    }

    /// False: the worker ended.
    async fn hand(&self, partition: i32, job: Job) -> bool {
        self.inboxes[partition as usize % self.inboxes.len()].messages.send(job).await.is_ok()
    }
}

fn job(saga: Uuid, participant: String, outcome: skald_core::input::Outcome, origin: Origin) -> Job {
    Job { saga, actor: participant, ask: Ask::Input(Input::Outcome(outcome)), origin }
}

/// An outcome that came over a stream and can't be used: there is no topic to keep it in.
pub fn unusable(participant: &str, saga: Option<Uuid>, why: &str) {
    let code = why.split(':').next().unwrap_or_default().to_owned();
    let labels = [("participant", participant.to_owned()), ("why", code)];
    metrics::counter!("skald_unusable_outcomes_total", &labels).increment(1);
    tracing::warn!(participant, saga = saga.map(|id| id.to_string()), why, "an outcome can't be used");
}

fn pay(budget: &Budget, answered: BTreeMap<String, usize>) {
    for (participant, answers) in answered {
        budget.answered(&participant, answers);
    }
}
