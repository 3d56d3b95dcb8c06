//! `skald topics`: are Kafka's topics as they must be, and make those that are missing.

use std::collections::{BTreeMap, BTreeSet};

use skald_core::Definition;
use skald_kit::{config::Kafka, kafka::Topic};

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
