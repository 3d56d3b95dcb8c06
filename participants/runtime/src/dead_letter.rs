//! Dead letters: messages that can't be understood or handled, kept whole with the reason. Pure but for the topic's name.

use std::sync::Arc;

use skald_kit::kafka::Message;

use crate::outcomes::Outgoing;

/// Why, one line for a person.
pub const REASON: &str = "skald-reason";
/// How often it was tried.
pub const ATTEMPTS: &str = "skald-attempts";
/// Where it came from.
pub const TOPIC: &str = "skald-origin-topic";
/// Where it came from.
pub const PARTITION: &str = "skald-origin-partition";
/// Where it came from.
pub const OFFSET: &str = "skald-origin-offset";
/// The original had no key, which is another thing than an empty one.
pub const NO_KEY: &str = "skald-origin-no-key";

/// The longest reason, in characters: an error's text may quote the message.
const REASON_LEN: usize = 1000;

/// The dead letter of a message: its bytes, key and headers, then ours.
pub(crate) fn of(message: &Message, reason: &str, attempts: u32) -> Outgoing {
    let ours = |name: &str, value: String| (name.to_owned(), value.into_bytes());
    let mut headers = message.headers.clone();
    headers.push(ours(REASON, reason.chars().take(REASON_LEN).collect()));
    headers.push(ours(ATTEMPTS, attempts.to_string()));
    headers.push(ours(TOPIC, message.topic.to_string()));
    headers.push(ours(PARTITION, message.partition.to_string()));
    headers.push(ours(OFFSET, message.offset.to_string()));
    if message.key.is_none() {
        headers.push(ours(NO_KEY, "true".to_owned()));
    }
    Outgoing {
        topic: Arc::from(format!("{}.dlq", message.topic)),
        // dead letters are few: their topic has one partition
        partition: Some(0),
        key: message.key.clone().unwrap_or_default(),
        payload: message.payload.clone(),
        headers,
    }
}
