//! `skald topics`: are Kafka's topics as they must be, and make those that are missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use skald_core::Definition;
use skald_kit::{
    config::Kafka,
    kafka::{Topic, topics},
};

use crate::{
    exit::{Exit, Failure},
    output::{
        self, Format,
        table::{Cell, Table},
    },
    serve::settings,
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The brokers, the prefix, the partition count and the folder of definitions are the orchestrator's settings.

Examples:
  skald topics check --config orchestrator.toml
  SKALD_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 SKALD_KAFKA__PARTITIONS=12 skald topics create"
)]
pub(crate) struct Args {
    /// What to do
    #[arg(value_enum)]
    verb: Verb,
    /// The orchestrator's settings, a TOML file; variables win over it
    #[arg(long, value_name = "FILE", env = "SKALD_CONFIG")]
    config: Option<PathBuf>,
    /// table, json, or jsonl: one object a line
    #[arg(long, short, value_enum, value_name = "FORMAT", hide_possible_values = true, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Verb {
    /// Say what is missing or different: exit code 1
    Check,
    /// Create what is missing, then check
    Create,
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    let config: skald_server::Config = settings(args.config.as_deref())?;
    let mut definitions = vec![Definition::order()];
    if let Some(folder) = &config.definitions.folder {
        definitions.extend(of_folder(folder)?);
    }
    let topics = of_those_over_kafka(&config, all(&config.kafka, &definitions));
    if args.verb == Verb::Create {
        topics::create_missing(&config.kafka, &topics).await?;
    }
    topics::check(&config.kafka, &topics).await?;
    output::list(args.output, &topics, json, |colours| text(&topics, colours))?;
    Ok(Exit::Ok)
}

fn json(topic: &Topic) -> serde_json::Value {
    serde_json::json!({ "topic": topic.name, "partitions": topic.partitions, "retention_ms": topic.retention_ms })
}

fn text(topics: &[Topic], colours: bool) -> String {
    let mut table = Table::new(&["TOPIC", ">PARTITIONS", ">KEPT AT LEAST"]);
    for topic in topics {
        let days = topic.retention_ms.map(|ms| format!("{} days", ms / 86_400_000)).unwrap_or_default();
        table.row([Cell::from(&topic.name), topic.partitions.to_string().into(), days.into()]);
    }
    table.render(colours)
}

impl From<topics::Error> for Failure {
    fn from(error: topics::Error) -> Failure {
        match error {
            topics::Error::Unreachable { .. } => Failure::new(Exit::Unavailable, error.to_string())
                .advice("kafka.bootstrap_servers (SKALD_KAFKA__BOOTSTRAP_SERVERS) names the brokers"),
            topics::Error::Wrong(_) => Failure::new(Exit::Failed, error.to_string().replace('\n', "\n  "))
                .advice("`skald topics create` makes what is missing; what differs must be mended by hand"),
        }
    }
}

fn of_folder(folder: &Path) -> anyhow::Result<Vec<Definition>> {
    let shown = || format!("definitions.folder {}", folder.display());
    let mut definitions = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(shown)? {
        let file = entry.with_context(shown)?.path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let parsed = skald_core::definition::parse(&text);
            definitions.push(parsed.with_context(|| file.display().to_string())?);
        }
    }
    Ok(definitions)
}

/// Without the commands and outcomes of participants over gRPC.
fn of_those_over_kafka(config: &skald_server::Config, topics: Vec<Topic>) -> Vec<Topic> {
    let over_grpc =
        config.participants.iter().filter(|(_, p)| p.transport == skald_server::config::Via::Grpc);
    let theirs: Vec<String> =
        over_grpc.map(|(name, _)| config.kafka.topic(&format!("skald.{name}."))).collect();
    topics.into_iter().filter(|topic| !theirs.iter().any(|own| topic.name.starts_with(own))).collect()
}

/// Every topic that orchestrator and participants need, each once, by name.
pub(crate) fn all(kafka: &Kafka, definitions: &[Definition]) -> Vec<Topic> {
    let steps = definitions.iter().flat_map(|definition| &definition.steps).filter(|step| !step.is_signal());
    let participants: BTreeSet<String> = steps.map(|step| step.participant.clone()).collect();
    let topics = [
        skald_server::bus::topics::needed(kafka, &participants),
        skald_inventory::topics(kafka),
        skald_payment::topics(kafka),
    ];
    let by_name: BTreeMap<String, Topic> =
        topics.into_iter().flatten().map(|topic| (topic.name.clone(), topic)).collect();
    by_name.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skald_server::config::{Participant, Via};

    #[test]
    fn a_participant_over_grpc_needs_its_events_alone() {
        let mut config = skald_server::Config::default();
        let grpc = Participant { address: "p:1".into(), transport: Via::Grpc, ..Participant::default() };
        config.participants =
            [("payment".to_owned(), grpc), ("inventory".to_owned(), Participant::at("i:1"))].into();
        let topics = of_those_over_kafka(&config, all(&config.kafka, &[Definition::order()]));
        let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        let wanted = [
            "inventory.updated",
            "orders.audit",
            "orders.events",
            "payments.events",
            "skald.inventory.commands",
            "skald.inventory.commands.dlq",
            "skald.inventory.outcomes",
            "skald.inventory.outcomes.dlq",
        ];
        assert_eq!(names, wanted);
    }
}
