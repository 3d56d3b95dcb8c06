//! A running orchestrator in this process, clients for it, and a participant that does as the test says.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use prost::Message as _;
use skald_kit::{
    config::{Kafka, Secret},
    kafka::{Consumer, Message, Options, Producer, Record, topics},
    lifecycle::Shutdown,
};
use skald_proto::{
    order::v1::{self as order, order_service_client::OrderServiceClient},
    participant::v1::{self as wire, Command, Outcome, Verb, outcome::Answer},
    saga::v1::{self as saga, saga_service_client::SagaServiceClient},
};
use skald_server::Config;
use tonic::transport::Channel;

/// How long anything may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// One orchestrator with its own database and topics.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) shutdown: Shutdown,
    pub(crate) running: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl World {
    /// Starts one on a fresh database and fresh topics.
    pub(crate) async fn start() -> World {
        World::start_with(|_| {}).await
    }

    /// The same, with other settings.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> World {
        let mut config = Config::default();
        config.postgres.url = Secret::new(skald_harness::database("server").await.url);
        config.kafka.bootstrap_servers = skald_harness::kafka();
        config.kafka.topic_prefix = format!("{}.", skald_harness::unique("server"));
        change(&mut config);
        World::start_on(config).await
    }

    /// Starts one on what a config names; another may run there already.
    pub(crate) async fn start_on(mut config: Config) -> World {
        config.listen.grpc.set_port(skald_harness::free_port());
        config.listen.http.set_port(skald_harness::free_port());
        let shutdown = Shutdown::new();
        let running = tokio::spawn(skald_server::run(config.clone(), shutdown.clone()));
        let world = World { config, shutdown, running };
        let ready = format!("http://{}/health/ready", world.config.listen.http);
        skald_harness::eventually("the orchestrator is ready", DEADLINE, async || {
            assert!(!world.running.is_finished(), "the orchestrator ended");
            let up = skald_harness::http_status(&ready).await.is_ok_and(|status| status == 200);
            if up && world.channel_now().await.is_some() { Some(()) } else { None }
        })
        .await;
        world
    }

    async fn channel_now(&self) -> Option<Channel> {
        let channel = self.channel();
        let mut client = SagaServiceClient::new(channel.clone());
        let request = saga::GetRequest { saga_id: uuid::Uuid::nil().to_string() };
        let answer = client.get(request).await;
        answer.is_err_and(|s| s.code() == tonic::Code::NotFound).then_some(channel)
    }

    pub(crate) fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.config.listen.grpc)).unwrap().connect_lazy()
    }

    pub(crate) fn orders(&self) -> OrderServiceClient<Channel> {
        OrderServiceClient::new(self.channel())
    }

    pub(crate) fn sagas(&self) -> SagaServiceClient<Channel> {
        SagaServiceClient::new(self.channel())
    }

    /// Stops it softly and waits for the end.
    pub(crate) async fn stop(self) {
        self.shutdown.request();
        self.running.await.unwrap().unwrap();
    }

    /// Submits an order that brings everything along; gives its id.
    pub(crate) async fn submit(&self, key: &str) -> String {
        let request = order::SubmitOrderRequest { idempotency_key: key.into(), order: Some(draft()) };
        self.orders().submit_order(request).await.unwrap().into_inner().order_id
    }

    pub(crate) async fn order(&self, id: &str) -> order::Order {
        let request = order::GetOrderRequest { order_id: id.into() };
        self.orders().get_order(request).await.unwrap().into_inner().order.unwrap()
    }

    pub(crate) async fn saga(&self, id: &str) -> saga::Saga {
        let request = saga::GetRequest { saga_id: id.into() };
        self.sagas().get(request).await.unwrap().into_inner().saga.unwrap()
    }

    /// Waits until an order has this status.
    pub(crate) async fn until(&self, id: &str, status: order::OrderStatus) -> order::Order {
        skald_harness::eventually(&format!("order {id} is {status:?}"), DEADLINE, async || {
            let order = self.order(id).await;
            if order.status() == status { Ok(order) } else { Err(format!("{:?}", self.saga(id).await)) }
        })
        .await
    }

    /// One connection to the orchestrator's database.
    pub(crate) async fn sql(&self) -> sqlx::PgConnection {
        skald_kit::pg::connection(&self.config.postgres.url).await.unwrap()
    }

    /// Both participants of the order saga, answering yes to everything.
    pub(crate) async fn yes(&self) -> [Participant; 2] {
        [
            Participant::start(&self.config.kafka, "inventory", |c| Some(yes(c))).await,
            Participant::start(&self.config.kafka, "payment", |c| Some(yes(c))).await,
        ]
    }
}

/// An order with one line, paid by token, that needs no seller.
pub(crate) fn draft() -> order::OrderDraft {
    order::OrderDraft {
        customer_id: "customer".into(),
        lines: vec![order::OrderLine {
            sku: "A".into(),
            quantity: 1,
            unit_price_minor: 100,
            seller_id: String::new(),
        }],
        currency: "EUR".into(),
        payment_token: Some("tok_ok".into()),
        needs_fulfilment: false,
        note: String::new(),
    }
}

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
        let producer = Producer::new(kafka, |(), _| {}).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let participant =
            Participant { name, seen: Arc::clone(&seen), kafka: kafka.clone(), producer, consumer };
        let (consumer, speaker) = (participant.consumer.clone(), participant.speaker());
        tokio::spawn(async move {
            while let Some(batch) = batches.recv().await {
                for message in &batch.messages {
                    let command = Command::decode(message.payload.as_slice()).unwrap();
                    seen.lock().unwrap().push(command.clone());
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

/// Everything in a topic so far, from the beginning.
pub(crate) struct Reader {
    pub(crate) messages: Arc<Mutex<Vec<Message>>>,
    _consumer: Consumer,
}

impl Reader {
    pub(crate) fn of(kafka: &Kafka, topic: &str) -> Reader {
        let group = skald_harness::unique("reader");
        let (consumer, mut batches) =
            Consumer::start(kafka, Options::new(group, vec![kafka.topic(topic)])).unwrap();
        let messages = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&messages);
        tokio::spawn(async move {
            while let Some(batch) = batches.recv().await {
                into.lock().unwrap().extend(batch.messages);
            }
        });
        Reader { messages, _consumer: consumer }
    }

    /// CloudEvents types per key, in order.
    pub(crate) fn kinds(&self, key: &str) -> Vec<String> {
        let messages = self.messages.lock().unwrap();
        let about = messages.iter().filter(|m| m.key.as_deref() == Some(key.as_bytes()));
        about.map(|m| m.header_str("ce_type").unwrap_or_default().to_owned()).collect()
    }

    /// How often each event id came.
    pub(crate) fn ids(&self) -> HashMap<String, usize> {
        let mut ids = HashMap::new();
        for message in self.messages.lock().unwrap().iter() {
            *ids.entry(message.header_str("ce_id").unwrap_or_default().to_owned()).or_default() += 1;
        }
        ids
    }
}
