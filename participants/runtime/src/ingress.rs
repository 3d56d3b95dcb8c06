//! Commands from Kafka: poll → waves → executed → outcomes → acknowledged. Decides nothing.

use std::sync::Arc;

use anyhow::Result;
use skald_kit::{
    kafka::{Ack, Batch, Consumer, Message},
    trace,
};
use skald_proto::participant::v1::outcome::Answer;
use tokio::sync::mpsc;

use crate::{
    command::{Command, Malformed},
    dead_letter,
    execute::{End, Executor, From, Stopped},
    outcomes::{self, Outbound, Places, Reply},
    service::Service,
    wave::{self, Delivery, Item},
};

/// Handles batches until the channel ends: the consumer was drained, or failed for good.
pub(crate) async fn run<S: Service>(
    mut executor: Executor<S>,
    outbound: Outbound,
    consumer: Consumer,
    mut batches: mpsc::Receiver<Batch>,
) -> Result<()> {
    let mut ingress = Ingress { outbound, consumer };
    while let Some(batch) = batches.recv().await {
        if ingress.handle(&mut executor, batch).await.is_err() {
            // what was not acknowledged comes again
            return Ok(());
        }
    }
    Ok(())
}

struct Ingress {
    outbound: Outbound,
    consumer: Consumer,
}

impl Ingress {
    async fn handle<S: Service>(&mut self, executor: &mut Executor<S>, batch: Batch) -> Result<(), Stopped> {
        metrics::histogram!("skald_participant_poll_size").record(batch.messages.len() as f64);
        // one place for each message: each ends in one outcome, in one dead letter, or in silence
        let mut places = self.outbound.reserve(batch.messages.len()).await;
        let mut deliveries = Vec::with_capacity(batch.messages.len());
        for message in batch.messages {
            match decode(&message) {
                Ok(command) => deliveries.push(Delivery { command, origin: Arc::new(message) }),
                Err(malformed) => self.bury(&mut places, &message, &malformed.to_string(), 1),
            }
        }
        for wave in wave::cut(deliveries) {
            let ended = executor.execute(wave).await?;
            self.tell(&mut places, ended);
        }
        Ok(())
    }

    fn tell(&self, places: &mut Places, ended: Vec<(Item<Arc<Message>>, End)>) {
        let mut acks: Vec<Ack> = Vec::new();
        for (Item { command, origins }, end) in ended {
            count(&command, &end, origins.len());
            match end {
                End::Waits => acks.extend(origins.iter().map(|message| message.ack())),
                End::Poisoned { reason, tries } => {
                    tracing::debug!(saga = %command.saga, reason, "dead letter");
                    origins.iter().for_each(|message| self.bury(places, message, &reason, tries));
                }
                End::Answered(answer) => self.reply(places, &command, answer, &origins),
            }
        }
        self.consumer.done(&acks);
    }

    fn reply(&self, places: &mut Places, command: &Command, answer: Answer, origins: &[Arc<Message>]) {
        for message in origins {
            let reply = Reply::to(command, answer.clone());
            self.outbound.reply(places, message.partition, reply, Some(message.ack()));
        }
    }

    fn bury(&self, places: &mut Places, message: &Message, reason: &str, attempts: u32) {
        metrics::counter!("skald_participant_dead_letters_total").increment(1);
        tracing::warn!(
            topic = %message.topic, partition = message.partition, offset = message.offset, reason,
            "a command can't be handled and becomes a dead letter"
        );
        self.outbound.send(places, dead_letter::of(message, reason, attempts), Some(message.ack()));
    }
}

impl From for Arc<Message> {
    fn partition(&self) -> i32 {
        self.partition
    }
}

fn decode(message: &Message) -> Result<Command, Malformed> {
    let traceparent = message.header_str(trace::HEADER).map(ToOwned::to_owned);
    Command::decode(&message.payload, message.key.as_deref().unwrap_or_default(), traceparent)
}

pub(crate) fn count(command: &Command, end: &End, deliveries: usize) {
    let answer = match end {
        End::Waits => "waits",
        End::Poisoned { .. } => "poisoned",
        End::Answered(answer) => outcomes::label(answer),
    };
    metrics::counter!("skald_participant_commands_total", "verb" => command.verb.label(), "answer" => answer)
        .increment(1);
    if deliveries > 1 {
        metrics::counter!("skald_participant_repeats_total").increment(deliveries as u64 - 1);
    }
}
