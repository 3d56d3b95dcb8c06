//! Topics are checked at start, and created when that is wanted. Knows no topic of ours.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client_config;
use crate::config;

/// One call to the brokers.
const TIMEOUT: Duration = Duration::from_secs(10);
/// After this a topic that was created must be known to the broker that is asked.
const CREATED: Duration = Duration::from_secs(15);
/// So long a topic may be unknown to the broker that is asked although another one has created it.
const SPREAD: Duration = Duration::from_secs(3);
/// Between two looks for a topic.
const LOOK: Duration = Duration::from_millis(50);

/// A topic as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// The full name, prefix included.
    pub name: String,
    /// Exactly so many; the number routes, it can't just be raised.
    pub partitions: i32,
    /// `retention.ms`: checked to be at least this. `None`: the broker's default.
    pub retention_ms: Option<i64>,
    /// Further settings that it is created with, for example `cleanup.policy`; not checked.
    pub config: BTreeMap<String, String>,
}

/// What is wrong with the topics.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The brokers do not answer.
    #[error("Kafka at {servers} does not answer: {source}")]
    Unreachable {
        /// Bootstrap servers.
        servers: String,
        /// What librdkafka said.
        source: KafkaError,
    },
    /// All that is missing or different, one per line.
    #[error("Kafka's topics are not as they must be:\n{}", .0.join("\n"))]
    Wrong(Vec<String>),
}

/// Checks that each topic exists with the right number of partitions and enough retention. One that is missing is looked for
/// once more for three seconds: brokers learn of each other's topics a little later. When the broker
/// can't be asked for settings (librdkafka's mock broker cannot), names and partition counts are checked
/// alone.
///
/// # Errors
/// [`Error::Wrong`] lists all that is missing or different.
pub async fn check(kafka: &config::Kafka, topics: &[Topic]) -> Result<(), Error> {
    let client = Client::new(kafka)?;
    let deadline = Instant::now() + SPREAD;
    let mut known = client.partition_counts().await?;
    while topics.iter().any(|topic| !known.contains_key(&topic.name)) && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
        known = client.partition_counts().await?;
    }
    let mut wrong = Vec::new();
    let mut present = Vec::new();
    for topic in topics {
        match known.get(&topic.name) {
            None => wrong.push(format!(
                "topic {} is missing; create it with {} partitions",
                topic.name, topic.partitions
            )),
            Some(count) if *count != topic.partitions => wrong.push(format!(
                "topic {} has {count} partitions; it must have {} (kafka.partitions)",
                topic.name, topic.partitions
            )),
            Some(_) => present.push(topic),
        }
    }
    wrong.extend(client.wrong_retention(&present).await);
    if wrong.is_empty() { Ok(()) } else { Err(Error::Wrong(wrong)) }
}

/// A broker answers within `patience`.
pub async fn is_reachable(kafka: &config::Kafka, patience: Duration) -> bool {
    let Ok(client) = Client::new(kafka) else { return false };
    let asked = tokio::task::spawn_blocking(move || client.admin.inner().fetch_metadata(None, patience));
    asked.await.is_ok_and(|answer| answer.is_ok())
}

/// How many partitions a topic has; None: there is no such topic.
///
/// # Errors
/// [`Error::Unreachable`].
pub async fn partitions(kafka: &config::Kafka, topic: &str) -> Result<Option<i32>, Error> {
    Ok(Client::new(kafka)?.partition_counts().await?.get(topic).copied())
}

/// Creates the topics that are missing and waits until they are known. Those that exist are left as they are.
///
/// # Errors
/// [`Error::Wrong`] lists the topics that could not be created, with the broker's reason.
pub async fn create_missing(kafka: &config::Kafka, topics: &[Topic]) -> Result<(), Error> {
    let client = Client::new(kafka)?;
    let known = client.partition_counts().await?;
    let missing: Vec<&Topic> = topics.iter().filter(|topic| !known.contains_key(&topic.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let deadline = Instant::now() + CREATED;
    loop {
        let refused = client.create(&missing, kafka.replication_factor).await?;
        if refused.is_empty() {
            break;
        }
        // Brokers that are just starting, or missed a beat, are not counted for a moment.
        let too_few =
            |(_, code): &(String, RDKafkaErrorCode)| *code == RDKafkaErrorCode::InvalidReplicationFactor;
        if !refused.iter().all(too_few) || Instant::now() > deadline {
            let line = |(name, code)| format!("topic {name} cannot be created: {code}");
            return Err(Error::Wrong(refused.into_iter().map(line).collect()));
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let deadline = Instant::now() + CREATED;
    loop {
        let known = client.partition_counts().await?;
        let unknown: Vec<&str> =
            missing.iter().filter(|t| known.get(&t.name) != Some(&t.partitions)).map(|t| &*t.name).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::Wrong(
                unknown.iter().map(|name| format!("topic {name} was created but does not appear")).collect(),
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

struct Client {
    admin: std::sync::Arc<AdminClient<DefaultClientContext>>,
    servers: String,
}

impl Client {
    fn new(kafka: &config::Kafka) -> Result<Self, Error> {
        let config: ClientConfig = client_config(kafka);
        let servers = kafka.bootstrap_servers.clone();
        match config.create::<AdminClient<DefaultClientContext>>() {
            Ok(admin) => Ok(Self { admin: admin.into(), servers }),
            Err(source) => Err(Error::Unreachable { servers, source }),
        }
    }

    /// All topics of the broker: asking for one by name could create it.
    async fn partition_counts(&self) -> Result<BTreeMap<String, i32>, Error> {
        let admin = std::sync::Arc::clone(&self.admin);
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = admin.inner().fetch_metadata(None, TIMEOUT)?;
            let count = |topic: &rdkafka::metadata::MetadataTopic| {
                i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX)
            };
            Ok(metadata
                .topics()
                .iter()
                .filter(|topic| topic.error().is_none() && !topic.partitions().is_empty())
                .map(|topic| (topic.name().to_owned(), count(topic)))
                .collect())
        });
        match asked.await {
            Ok(Ok(counts)) => Ok(counts),
            Ok(Err(source)) => Err(Error::Unreachable { servers: self.servers.clone(), source }),
            Err(_) => Err(Error::Unreachable { servers: self.servers.clone(), source: KafkaError::Canceled }),
        }
    }

    async fn wrong_retention(&self, topics: &[&Topic]) -> Vec<String> {
        let asked: Vec<(&Topic, i64)> =
            topics.iter().filter_map(|t| t.retention_ms.map(|ms| (*t, ms))).collect();
        if asked.is_empty() {
            return Vec::new();
        }
        let resources: Vec<_> =
            asked.iter().map(|(topic, _)| ResourceSpecifier::Topic(&topic.name)).collect();
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let answers = match self.admin.describe_configs(&resources, &options).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::debug!(%error, "the broker does not tell topics' settings; their retention is not checked");
                return Vec::new();
            }
        };
        let mut wrong = Vec::new();
        for ((topic, least), answer) in asked.iter().zip(answers) {
            let value = answer
                .ok()
                .and_then(|resource| resource.get("retention.ms")?.value.clone()?.parse::<i64>().ok());
            // -1: for ever.
            if let Some(value) = value.filter(|value| *value >= 0 && value < least) {
                wrong.push(format!(
                    "topic {} has retention.ms {value}; it must be {least} or more",
                    topic.name
                ));
            }
        }
        wrong
    }

    /// Gives the topics that were refused.
    async fn create(
        &self,
        missing: &[&Topic],
        replication: i32,
    ) -> Result<Vec<(String, RDKafkaErrorCode)>, Error> {
        let retention: Vec<Option<String>> =
            missing.iter().map(|topic| topic.retention_ms.map(|ms| ms.to_string())).collect();
        let new: Vec<NewTopic<'_>> = missing
            .iter()
            .zip(&retention)
            .map(|(topic, retention)| {
                let mut new =
                    NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(replication));
                if let Some(retention) = retention {
                    new = new.set("retention.ms", retention);
                }
                topic.config.iter().fold(new, |new, (key, value)| new.set(key, value))
            })
            .collect();
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
        match self.admin.create_topics(&new, &options).await {
            Ok(results) => Ok(results
                .into_iter()
                .filter_map(|result| result.err())
                .filter(|(_, code)| *code != RDKafkaErrorCode::TopicAlreadyExists)
                .collect()),
            Err(source) if source.rdkafka_error_code().is_some_and(is_away) => {
                Err(Error::Unreachable { servers: self.servers.clone(), source })
            }
            Err(error) => Err(Error::Wrong(vec![format!("topics cannot be created: {error}")])),
        }
    }
}

/// Nobody answered, or not in time: that passes.
fn is_away(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::NotController
    )
}
