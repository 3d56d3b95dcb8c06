//! Outcomes and dead letters on their way out. What they acknowledge is finished only after the broker has them; a failed
//! delivery is sent again for ever. What is said is not this room's business.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use prost::Message as _;
use skald_kit::{
    backoff, config,
    kafka::{Ack, Consumer, Producer, Record, SendError},
};
use skald_proto::participant::v1::{self as wire, outcome::Answer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    command::{Command, Key, PROTOCOL, Verb},
    intent::table::Addressee,
    streams::{Said, Streams},
};

/// Messages that are not yet at the broker, at most: sixteen full polls. Beyond, no more commands are executed.
const MAX_UNDER_WAY: usize = 8192;
/// Deliveries looked at together.
const BURST: usize = 512;

/// An outcome without its envelope's constants: whom it answers and what it says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    /// What it belongs to.
    pub(crate) key: Key,
    /// The verb that is answered.
    pub(crate) verb: Verb,
    /// The attempt that is answered.
    pub(crate) attempt: i32,
    /// W3C trace context of the command.
    pub(crate) traceparent: Option<String>,
    /// What is said.
    pub(crate) answer: Answer,
}

impl Reply {
    /// To a command.
    pub(crate) fn to(command: &Command, answer: Answer) -> Self {
        let (verb, attempt) = (command.verb, command.attempt);
        Self { key: command.key(), verb, attempt, traceparent: command.traceparent.clone(), answer }
    }

    /// To whoever waits for an intent.
    pub(crate) fn to_intent(a: Addressee, answer: Answer) -> (i32, Self) {
        let verb = a.slot.verb();
        let reply = Self { key: a.key, verb, attempt: a.attempt, traceparent: a.traceparent, answer };
        (a.partition, reply)
    }

    /// As on the wire, beside its trace.
    pub(crate) fn said(self, participant: &str) -> Said {
        let traceparent = self.traceparent.clone();
        Said { outcome: self.outcome(participant), traceparent }
    }

    /// As on the wire.
    fn outcome(self, participant: &str) -> wire::Outcome {
        wire::Outcome {
            protocol: PROTOCOL,
            saga_id: self.key.saga.to_string(),
            step: self.key.step,
            verb: self.verb.wire().into(),
            epoch: self.key.epoch.unsigned_abs(),
            attempt: self.attempt.unsigned_abs(),
            participant: participant.to_owned(),
            answer: Some(self.answer),
        }
    }
}

/// A message to be produced.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outgoing {
    pub(crate) topic: Arc<str>,
    /// `None`: by the key.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

/// A message under way; it is finished when it is dropped after its acknowledgement.
struct Token {
    message: Arc<Outgoing>,
    ack: Option<Ack>,
    place: OwnedSemaphorePermit,
}

/// Places for messages, reserved before the work that makes them, so that what was decided can always be said.
pub(crate) struct Places(OwnedSemaphorePermit);

/// Produces; clones share it.
#[derive(Clone)]
pub(crate) struct Outbound {
    producer: Producer<Token>,
    places: Arc<Semaphore>,
    failed: mpsc::UnboundedSender<Delivered>,
    outcomes: Arc<str>,
    participant: &'static str,
    /// There is a topic of outcomes.
    kafka: bool,
    streams: Streams,
}

struct Delivered {
    token: Token,
    delivered: bool,
}

/// The task that hears how deliveries ended.
pub(crate) struct Acker {
    delivered: mpsc::UnboundedReceiver<Delivered>,
    outbound: mpsc::WeakUnboundedSender<Delivered>,
    producer: Producer<Token>,
}

impl Outbound {
    /// Starts the producer. The [`Acker`] must be run. Unless `answers`, nothing is answered over Kafka.
    pub(crate) fn new(
        kafka: &config::Kafka,
        participant: &'static str,
        answers: bool,
    ) -> Result<(Self, Acker)> {
        // bounded by the places
        let (sender, receiver) = mpsc::unbounded_channel();
        let weak = sender.downgrade();
        let told = weak.clone();
        let producer = Producer::new(kafka, move |token: Token, result| {
            if let Some(sender) = told.upgrade() {
                // the acker is gone only when all has ended
                let _ = sender.send(Delivered { token, delivered: result.is_ok() });
            }
        })
        .context("the Kafka producer")?;
        let outbound = Self {
            producer: producer.clone(),
            places: Arc::new(Semaphore::new(MAX_UNDER_WAY)),
            failed: sender,
            outcomes: kafka.topic(&format!("skald.{participant}.outcomes")).into(),
            participant,
            kafka: answers,
            streams: Streams::default(),
        };
        Ok((outbound, Acker { delivered: receiver, outbound: weak, producer }))
    }

    /// Waits until there is room for `n` messages (at most as many as there are places at all).
    pub(crate) async fn reserve(&self, n: usize) -> Places {
        let n = u32::try_from(n.min(MAX_UNDER_WAY)).unwrap_or(u32::MAX);
        let places = Arc::clone(&self.places).acquire_many_owned(n).await;
        Places(places.expect("the semaphore is never closed"))
    }

    /// A place for one message, if there is one now: for who holds locks meanwhile.
    pub(crate) fn try_reserve(&self) -> Option<Places> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(Places)
    }

    /// The open streams, which outcomes go to as well.
    pub(crate) fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Tells whoever asked last what an intent came to: a partition, or a stream. Who is gone asks again.
    pub(crate) fn tell(&self, places: &mut Places, to: i32, reply: Reply) {
        if to < 0 {
            self.streams.tell(to, reply.said(self.participant));
        } else if self.kafka {
            self.reply(places, to, reply, None);
        }
    }

    /// Sends an outcome into the partition that the command came from, and finishes `ack` when the broker has it.
    pub(crate) fn reply(&self, places: &mut Places, partition: i32, reply: Reply, ack: Option<Ack>) {
        let key = reply.key.saga.to_string().into_bytes();
        let mut headers = vec![("content-type".to_owned(), b"application/protobuf".to_vec())];
        if let Some(traceparent) = &reply.traceparent {
            headers.push(("traceparent".to_owned(), traceparent.clone().into_bytes()));
        }
        let payload = reply.outcome(self.participant).encode_to_vec();
        let topic = Arc::clone(&self.outcomes);
        self.send(places, Outgoing { topic, partition: Some(partition), key, payload, headers }, ack);
    }

    /// Sends a message, and finishes `ack` when the broker has it.
    pub(crate) fn send(&self, places: &mut Places, message: Outgoing, ack: Option<Ack>) {
        let place = places.0.split(1).expect("a place was reserved for each message");
        let token = Token { message: Arc::new(message), ack, place };
        if let Err(token) = hand_over(&self.producer, token) {
            let _ = self.failed.send(Delivered { token, delivered: false });
        }
    }

    /// Waits until the broker has everything; `false` when `deadline` passed first.
    pub(crate) async fn flush(&self, deadline: Duration) -> bool {
        tokio::time::timeout(deadline, self.reserve(MAX_UNDER_WAY)).await.is_ok()
    }
}

impl Acker {
    /// Finishes what was delivered and sends the rest again, until every [`Outbound`] is gone.
    pub(crate) async fn run(mut self, consumer: Option<Consumer>) -> Result<()> {
        let mut burst = Vec::with_capacity(BURST);
        let mut gaps = backoff::gaps();
        while self.delivered.recv_many(&mut burst, BURST).await > 0 {
            let mut failed = Vec::new();
            let mut acks = Vec::with_capacity(burst.len());
            // held until the offsets are stored: who waits for all places waits for that
            let mut places = Vec::with_capacity(burst.len());
            for Delivered { token, delivered } in burst.drain(..) {
                if delivered {
                    acks.extend(token.ack);
                    places.push(token.place);
                } else {
                    failed.push(token);
                }
            }
            consumer.iter().for_each(|consumer| consumer.done(&acks));
            drop(places);
            if failed.is_empty() {
                gaps = backoff::gaps();
                continue;
            }
            metrics::counter!("skald_participant_redeliveries_total").increment(failed.len() as u64);
            let gap = gaps.next().unwrap_or(Duration::from_secs(5));
            self.again(failed, gap);
        }
        Ok(())
    }

    /// Not in the way of acknowledgements that come meanwhile.
    fn again(&self, failed: Vec<Token>, gap: Duration) {
        let (producer, outbound) = (self.producer.clone(), self.outbound.clone());
        tokio::spawn(async move {
            tokio::time::sleep(gap).await;
            for token in failed {
                if let Err(token) = hand_over(&producer, token)
                    && let Some(outbound) = outbound.upgrade()
                {
                    let _ = outbound.send(Delivered { token, delivered: false });
                }
            }
        });
    }
}

fn hand_over(producer: &Producer<Token>, token: Token) -> Result<(), Token> {
    let message = Arc::clone(&token.message);
    let headers: Vec<(&str, &[u8])> =
        message.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let record = Record {
        topic: &message.topic,
        partition: message.partition,
        key: &message.key,
        payload: &message.payload,
        headers: &headers,
    };
    producer.send(record, token).map_err(|(error, mut token)| {
        if error == SendError::TooLarge && !message.payload.is_empty() {
            // what came from a broker fits into one; only the headers that a dead letter gets can tip the scale
            tracing::error!(topic = %message.topic, bytes = message.payload.len(), "too large to be sent whole");
            let mut less = Outgoing::clone(&message);
            less.payload.clear();
            less.headers.push(("skald-truncated".to_owned(), b"true".to_vec()));
            token.message = Arc::new(less);
        }
        token
    })
}

/// An answer's name in metrics.
pub(crate) fn label(answer: &Answer) -> &'static str {
    match answer {
        Answer::Succeeded(_) => "succeeded",
        Answer::Rejected(_) => "rejected",
        Answer::Sealed(_) => "sealed",
        Answer::Undone(_) => "undone",
        Answer::NothingToUndo(_) => "nothing_to_undo",
        Answer::Fenced(_) => "fenced",
        Answer::Failed(failed) if failed.retryable => "failed",
        Answer::Failed(_) => "failed_final",
    }
}
