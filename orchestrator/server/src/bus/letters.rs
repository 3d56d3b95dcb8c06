//! What could not be understood, here or at a participant: read from every topic of dead letters, kept in the table, and
//! put before the operators of the saga that the key names. Changes no saga: a re-send heals a broken byte.

use std::{collections::BTreeSet, time::Duration};

use skald_kit::{
    backoff,
    config::{Kafka, Secret},
    kafka::{Batch, Consumer, Message, Options},
    lifecycle::Shutdown,
    pg,
};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::topics;
use crate::store::dead_letter::{self, Letter};

/// The consumer group of all orchestrators, for dead letters.
const GROUP: &str = "skald-orchestrator-letters";
/// Letters of one batch: they are rare, and may be large.
const BATCH: usize = 16;
/// What leaving the group may take.
const CLOSE: Duration = Duration::from_secs(3);

/// Starts to read.
///
/// # Errors
/// librdkafka does not accept the configuration.
pub fn start(
    kafka: &Kafka,
    participants: &BTreeSet<String>,
) -> anyhow::Result<(Consumer, mpsc::Receiver<Batch>)> {
    let of = |p: &String| {
        [topics::commands(kafka, p), topics::outcomes(kafka, p)].map(|t| topics::dead_letters(&t))
    };
    let options = Options {
        max_batch: BATCH,
        max_waiting: 1,
        ..Options::new(kafka.topic(GROUP), participants.iter().flat_map(of).collect())
    };
    Ok(Consumer::start(kafka, options)?)
}

/// Keeps every letter, however long it takes, until the stop is asked for.
///
/// # Errors
/// None.
pub async fn keep(
    consumer: Consumer,
    mut batches: mpsc::Receiver<Batch>,
    url: Secret,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    loop {
        let batch = tokio::select! {
            batch = batches.recv() => batch,
            () = shutdown.requested() => break,
        };
        let Some(batch) = batch else { break };
        let letters: Vec<Letter> = batch.messages.iter().map(letter).collect();
        let put = || async {
            let mut conn = pg::connection(&url).await?;
            dead_letter::put(&mut conn, &letters).await
        };
        if backoff::forever("keep dead letters", &shutdown, put).await.is_none() {
            // They come again.
            break;
        }
        consumer.done(&batch.messages.iter().map(Message::ack).collect::<Vec<_>>());
    }
    consumer.close(CLOSE).await;
    Ok(())
}

fn letter(message: &Message) -> Letter {
    let reason = message.header("skald-reason").unwrap_or_default();
    let key = message.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
    Letter {
        topic: message.topic.to_string(),
        partition: message.partition,
        offset: message.offset,
        key: message.key.clone(),
        headers: (message.headers.iter())
            .map(|(name, value)| (dead_letter::text(name.as_bytes()), dead_letter::text(value)))
            .collect(),
        payload: message.payload.clone(),
        reason: dead_letter::text(reason),
        saga: key.and_then(|key| Uuid::try_parse(key).ok()),
    }
}
