//! A participant that does as the test says, and remembers what it was asked.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use prost::Message as _;
use skald_kit::{
    config::Kafka,
    kafka::{Consumer, Message, Options, Producer, Record, topics},
};
use skald_proto::participant::v1::{self as wire, Command, Outcome, Verb, outcome::Answer};

use super::DEADLINE;

/// A success for any verb.
pub(crate) fn yes(command: &Command) -> Answer {
    let result = prost_types::Any::from_msg(&wire::DescribeResponse {
        participant: command.action.clone(),
        ..Default::default()
    })
    .unwrap();
    match command.verb() {
        Verb::Undo | Verb::SealUndo => Answer::Undone(wire::Undone { result: None }),
        _ => Answer::Succeeded(wire::Succeeded { result: Some(result) }),
    }
}

/// A business no.
pub(crate) fn no(code: &str) -> Answer {
    Answer::Rejected(wire::Rejected { code: code.into(), message: "no".into(), detail: None })
}

/// A participant that answers as the test says, and remembers what it was asked.
pub(crate) struct Participant {
    pub(crate) name: &'static str,
    pub(crate) seen: Arc<Mutex<Vec<Command>>>,
    kafka: Kafka,
    producer: Producer<()>,
    consumer: Consumer,
}

impl Participant {
    /// Joins; None from `answer` is silence.
    pub(crate) async fn start(
        kafka: &Kafka,
        name: &'static str,
        answer: impl Fn(&Command) -> Option<Answer> + Send + 'static,
    ) -> Participant {
        let topic = kafka.topic(&format!("skald.{name}.commands"));
        let dlq = topics::Topic {
            name: format!("{topic}.dlq"),
            partitions: 1,
            retention_ms: None,
            config: Default::default(),
        };
        topics::create_missing(kafka, &[dlq]).await.unwrap();
        let (consumer, mut batches) =
            Consumer::start(kafka, Options::new(kafka.topic(name), vec![topic])).unwrap();
        let mut large = kafka.clone();
        large.properties.insert("message.max.bytes".into(), "1048588".into());
        let producer = Producer::new(&large, |(), _| {}).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let participant =
            Participant { name, seen: Arc::clone(&seen), kafka: kafka.clone(), producer, consumer };
        let (consumer, speaker) = (participant.consumer.clone(), participant.speaker());
        tokio::spawn(async move {
            let mut places = HashSet::new();
            while let Some(batch) = batches.recv().await {
                for message in &batch.messages {
                    let command = Command::decode(message.payload.as_slice()).unwrap();
                    // Reading again after a rebalance is not being asked again.
                    if places.insert((message.partition, message.offset)) {
                        seen.lock().unwrap().push(command.clone());
                    }
                    if let Some(answer) = answer(&command) {
                        speaker.say(&command, answer, Some(message));
                    }
                }
                consumer.done(&batch.messages.iter().map(Message::ack).collect::<Vec<_>>());
            }
        });
        participant
    }

    /// What it was asked so far about a saga.
    pub(crate) fn asked(&self, saga: &str) -> Vec<(String, Verb, u32)> {
        let seen = self.seen.lock().unwrap();
        let about = seen.iter().filter(|c| c.saga_id == saga);
        about.map(|c| (c.step.clone(), c.verb(), c.attempt)).collect()
    }

    /// Waits until it was asked something.
    pub(crate) async fn command(&self, saga: &str, step: &str, verb: Verb) -> Command {
        skald_harness::eventually(&format!("{}: {verb:?} {step}", self.name), DEADLINE, async || {
            let seen = self.seen.lock().unwrap();
            seen.iter().find(|c| c.saga_id == saga && c.step == step && c.verb() == verb).cloned()
        })
        .await
    }

    /// Something that can speak for it.
    pub(crate) fn speaker(&self) -> Speaker {
        Speaker { name: self.name, kafka: self.kafka.clone(), producer: self.producer.clone() }
    }
}

/// Sends outcomes in a participant's name.
pub(crate) struct Speaker {
    name: &'static str,
    kafka: Kafka,
    producer: Producer<()>,
}

impl Speaker {
    /// Answers a command, into the partition that it came from.
    pub(crate) fn say(&self, command: &Command, answer: Answer, to: Option<&Message>) {
        let outcome = Outcome {
            protocol: 1,
            saga_id: command.saga_id.clone(),
            step: command.step.clone(),
            verb: command.verb,
            epoch: command.epoch,
            attempt: command.attempt,
            participant: self.name.into(),
            answer: Some(answer),
        };
        let traceparent = to.and_then(|m| m.header("traceparent")).unwrap_or_default();
        self.raw(
            &command.saga_id,
            &outcome.encode_to_vec(),
            to.map(|m| m.partition),
            &[("traceparent", traceparent)],
        );
    }

    /// Sends any bytes to its outcome topic.
    pub(crate) fn raw(&self, key: &str, payload: &[u8], partition: Option<i32>, headers: &[(&str, &[u8])]) {
        let topic = self.kafka.topic(&format!("skald.{}.outcomes", self.name));
        let record = Record { topic: &topic, partition, key: key.as_bytes(), payload, headers };
        self.producer.send(record, ()).unwrap();
    }
}
