//! Commands from Kafka: poll → waves → executed → outcomes → acknowledged. Decides nothing.

use anyhow::Result;
use skald_kit::{
    kafka::{Ack, Batch, Consumer, Message},
    lifecycle::Shutdown,
    trace::{self, Traceparent},
};
use skald_proto::participant::v1::outcome::Answer;
use tokio::sync::mpsc;
use tracing::Span;

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
    cut: Shutdown,
) -> Result<()> {
    let mut ingress = Ingress { outbound, consumer };
    while let Some(batch) = batches.recv().await {
        let handled = tokio::select! {
            handled = ingress.handle(&mut executor, batch) => handled,
            // it may wait for places: the broker takes nothing
            () = cut.requested() => Err(Stopped),
        };
        if handled.is_err() {
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
                Ok(mut command) => {
                    let span = span_of(&mut command);
                    deliveries.push(Delivery { command, origin: Taken { message, span } });
                }
                Err(malformed) => self.bury(&mut places, &message, &malformed.to_string(), 1),
            }
        }
        for wave in wave::cut(deliveries) {
            let ended = executor.execute(wave).await?;
            self.tell(&mut places, ended);
        }
        Ok(())
    }

    fn tell(&self, places: &mut Places, ended: Vec<(Item<Taken>, End)>) {
        let mut acks: Vec<Ack> = Vec::new();
        for (Item { command, origins }, end) in ended {
            count(&command, &end, origins.len());
            match end {
                End::Waits => acks.extend(origins.iter().map(|taken| taken.message.ack())),
                End::Poisoned { reason, tries } => {
                    tracing::debug!(saga = %command.saga, reason, "dead letter");
                    origins.iter().for_each(|taken| self.bury(places, &taken.message, &reason, tries));
                }
                End::Answered(answer) => self.reply(places, &command, answer, &origins),
            }
        }
        self.consumer.done(&acks);
    }

    fn reply(&self, places: &mut Places, command: &Command, answer: Answer, origins: &[Taken]) {
        for Taken { message, span } in origins {
            span.in_scope(
                || tracing::debug!(saga = %command.saga, answer = outcomes::label(&answer), "answered"),
            );
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

/// A message that is being handled.
struct Taken {
    message: Message,
    /// From the message's arrival to its answer, when its trace is sampled. An intent's later answer is outside.
    span: Span,
}

impl From for Taken {
    fn partition(&self) -> i32 {
        self.message.partition
    }
}

/// A span under the command's trace context, which the answer then carries. Only for sampled ones: others cost nothing.
pub(crate) fn span_of(command: &mut Command) -> Span {
    let parent = command.traceparent.as_deref().and_then(Traceparent::parse);
    let Some(parent) = parent.filter(Traceparent::is_sampled) else { return Span::none() };
    let verb = command.verb.label();
    let span = tracing::info_span!("command", saga = %command.saga, step = command.step, verb, epoch = command.epoch);
    parent.adopt(&span);
    if let Some(own) = span.in_scope(Traceparent::current) {
        command.traceparent = Some(own.to_string());
    }
    span
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
