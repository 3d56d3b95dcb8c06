//! The port through which commands go: `send(participant, commands) → per-command result`. A transport may lose, repeat, delay and
//! reorder; it never alters. The saga's state is the outbox, so a failed delivery only means: send it again.
//!
//! - [`kafka`]: over `skald.<participant>.commands`
//! - [`grpc`]: over `ParticipantService/Execute`; [`link`] is one connection, [`peers`] what is known of it

pub mod grpc;
pub mod kafka;
pub mod link;
pub mod peers;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use skald_kit::{health::Health, kafka::partition_for_id};
use skald_proto::participant::v1::Command;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::config::{Config, Via};
use grpc::GrpcTransport;
use kafka::KafkaTransport;
use link::Link;
use peers::Board;

/// A command on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// The saga's id.
    pub saga: Uuid,
    /// To whom.
    pub participant: String,
    /// What is asked.
    pub command: Command,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// It was sent before.
    pub resend: bool,
}

/// A command that did not get there: the saga's worker sends it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Whose it is.
    pub saga: Uuid,
    /// To whom it did not get; None: nobody knows what was to be sent.
    pub participant: Option<Arc<str>>,
}

/// Where workers are told of what was lost.
#[derive(Clone, Debug)]
pub struct Losses {
    workers: Arc<[mpsc::UnboundedSender<Lost>]>,
    partitions: i32,
}

impl Losses {
    /// One channel per worker; `partitions` route as they route everything.
    pub fn new(workers: Vec<mpsc::UnboundedSender<Lost>>, partitions: i32) -> Losses {
        Losses { workers: workers.into(), partitions }
    }

    /// Tells the worker of a saga.
    pub fn tell(&self, saga: Uuid, participant: &Arc<str>) {
        metrics::counter!("skald_undelivered_total").increment(1);
        let worker = partition_for_id(saga, self.partitions) as usize % self.workers.len();
        let _ = self.workers[worker].send(Lost { saga, participant: Some(Arc::clone(participant)) });
    }
}

/// One participant's way. Kafka is the first transport, gRPC the second.
#[derive(Debug)]
pub enum Transport {
    /// `skald.<participant>.commands`.
    Kafka(Arc<KafkaTransport>),
    /// `ParticipantService/Execute`.
    Grpc(GrpcTransport),
}

impl Transport {
    /// Hands commands to the client library; gives the sagas whose commands it did not take. What it took and could
    /// not deliver is told through the channels that it was made with.
    pub fn send(&self, commands: Vec<Outgoing>) -> Vec<Uuid> {
        match self {
            Transport::Kafka(kafka) => kafka.send(commands),
            Transport::Grpc(grpc) => grpc.send(commands),
        }
    }

    /// Nothing gets through now.
    fn is_failing(&self) -> bool {
        match self {
            Transport::Kafka(kafka) => kafka.is_failing(),
            Transport::Grpc(grpc) => grpc.is_failing(),
        }
    }

    /// While nothing gets through, whether it is time to try again with one command; `now` in ms.
    fn may_probe(&self, now: i64) -> bool {
        match self {
            Transport::Kafka(kafka) => kafka.may_probe(now),
            // The connection itself is tried again.
            Transport::Grpc(_) => false,
        }
    }

    /// Where the commands of a saga go, for a person.
    fn place(&self, saga: Uuid, participant: &str) -> String {
        match self {
            Transport::Kafka(kafka) => kafka.place(saga, participant),
            Transport::Grpc(grpc) => grpc.place(saga),
        }
    }
}

/// Every participant's way.
#[derive(Debug)]
pub struct Transports {
    by_participant: BTreeMap<Arc<str>, Transport>,
    /// The one that participants share, if any uses it.
    kafka: Option<Arc<KafkaTransport>>,
}

impl Transports {
    /// `participants`: those of the definitions. What is configured to go over gRPC gets its connections too; they work when the
    /// [`Link`]s are run.
    ///
    /// # Errors
    /// librdkafka does not accept the configuration, or an address is none.
    pub fn start(
        config: &Config,
        participants: impl IntoIterator<Item = String>,
        losses: &Losses,
        health: &Health,
    ) -> anyhow::Result<(Transports, Vec<Link>)> {
        let over_kafka = config.over_kafka(participants.into_iter().collect());
        let mut by_participant = BTreeMap::new();
        let mut kafka = None;
        if !over_kafka.is_empty() {
            let started = Arc::new(KafkaTransport::start(&config.kafka, over_kafka.clone(), losses.clone())?);
            let each = |name: String| (name.into(), Transport::Kafka(Arc::clone(&started)));
            by_participant.extend(over_kafka.into_iter().map(each));
            kafka = Some(started);
        }
        let (board, mut links) = (Board::new(health), Vec::new());
        for (name, participant) in config.participants.iter().filter(|(_, p)| p.transport == Via::Grpc) {
            let name: Arc<str> = name.as_str().into();
            let (transport, its) = GrpcTransport::new(&name, participant, config, losses, &board)?;
            by_participant.insert(name, Transport::Grpc(transport));
            links.extend(its);
        }
        Ok((Transports { by_participant, kafka }, links))
    }

    /// Hands commands to their participants' transports; gives those that were not taken.
    pub fn send(&self, commands: Vec<Outgoing>) -> Vec<Lost> {
        let mut by_participant: BTreeMap<String, Vec<Outgoing>> = BTreeMap::new();
        for command in commands {
            match by_participant.get_mut(&command.participant) {
                Some(all) => all.push(command),
                None => {
                    by_participant.insert(command.participant.clone(), vec![command]);
                }
            }
        }
        let mut left = Vec::new();
        for (participant, commands) in by_participant {
            let sagas = match self.by_participant.get(participant.as_str()) {
                Some(transport) => transport.send(commands),
                None => {
                    tracing::error!(
                        participant,
                        "no way is known to this participant: restart to learn new definitions"
                    );
                    commands.into_iter().map(|command| command.saga).collect()
                }
            };
            let participant: Arc<str> = participant.into();
            let lost = |saga| Lost { saga, participant: Some(Arc::clone(&participant)) };
            left.extend(sagas.into_iter().map(lost));
        }
        left
    }

    /// Nothing gets through to a participant.
    pub fn is_failing(&self, participant: &str) -> bool {
        self.by_participant.get(participant).is_none_or(Transport::is_failing)
    }

    /// While nothing gets through to a participant, whether it is time to try again with one command; `now` in ms.
    pub fn may_probe(&self, participant: &str, now: i64) -> bool {
        self.by_participant.get(participant).is_some_and(|transport| transport.may_probe(now))
    }

    /// Where the commands of a saga go, for a person.
    pub fn place(&self, saga: Uuid, participant: &str) -> String {
        let way = self.by_participant.get(participant);
        way.map_or_else(|| "nowhere yet".to_owned(), |transport| transport.place(saga, participant))
    }

    /// Waits until what was taken is delivered, and closes the connections; false when something was left, or could
    /// not be delivered last.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let kafka = async {
            match &self.kafka {
                Some(kafka) => kafka.flush(deadline).await,
                None => true,
            }
        };
        let grpc = self.by_participant.values().filter_map(|transport| match transport {
            Transport::Grpc(grpc) => Some(grpc.finish(deadline)),
            Transport::Kafka(_) => None,
        });
        let (kafka, grpc) = tokio::join!(kafka, join_all(grpc));
        kafka && grpc.into_iter().all(|flushed| flushed)
    }
}
