//! Publishes rows that stand in no outbox, for they can be made again at any time, and waits for the broker. Of one
//! key nothing is sent before the broker has acknowledged what comes before it, so that a consumer that drops what is
//! not newer loses nothing, whatever fails in between.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::error::KafkaError;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use uuid::Uuid;

use super::{Row, cloudevents};
use crate::config;
use crate::kafka::{DeliveryError, Producer, SendError};

/// The producer's queue is full: it is looked at again after this.
const FULL: Duration = Duration::from_millis(10);

type Token = UnboundedSender<Result<(), DeliveryError>>;

/// A producer of CloudEvents that tells when the broker has them.
#[derive(Debug)]
pub struct Publisher {
    producer: Producer<Token>,
}

/// Not every row is at the broker; some may be. Publish all of them again.
#[derive(Debug, thiserror::Error)]
pub enum Unpublished {
    /// The client did not take one.
    #[error("event {id}: {why}")]
    Refused {
        /// The row's id.
        id: Uuid,
        /// Why.
        why: SendError,
    },
    /// The broker did not acknowledge one.
    #[error(transparent)]
    NotDelivered(#[from] DeliveryError),
}

impl Publisher {
    /// With a producer of its own.
    ///
    /// # Errors
    /// librdkafka does not accept the configuration.
    pub fn new(kafka: &config::Kafka) -> Result<Self, KafkaError> {
        let told = |token: Token, result| {
            // A receiver that is gone waits for nothing any more.
            let _ = token.send(result);
        };
        Ok(Self { producer: Producer::new(kafka, told)? })
    }

    /// Returns when the broker has acknowledged every row. Rows of one key go out in the order of `rows`, each when
    /// its predecessor is acknowledged; rows of different keys go out together.
    ///
    /// # Errors
    /// [`Unpublished`], half a minute after the broker went away at the latest; no row behind one that failed was
    /// sent for the same key.
    pub async fn publish(&self, rows: &[Row]) -> Result<(), Unpublished> {
        for round in rounds(rows) {
            let (token, mut answers) = unbounded_channel();
            let mut failed = None;
            for row in round {
                if let Err(why) = self.hand_over(row, &token).await {
                    failed = Some(Unpublished::Refused { id: row.id, why });
                    break;
                }
            }
            drop(token);
            // It ends when the last delivery was told.
            while let Some(answer) = answers.recv().await {
                if let Err(error) = answer {
                    failed.get_or_insert(error.into());
                }
            }
            failed.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    async fn hand_over(&self, row: &Row, token: &Token) -> Result<(), SendError> {
        loop {
            match cloudevents::send(&self.producer, row, token.clone()) {
                Ok(()) => return Ok(()),
                Err((SendError::QueueFull, _)) => tokio::time::sleep(FULL).await,
                Err((why, _)) => return Err(why),
            }
        }
    }
}

/// The first row of each key, then the second of each, and so on.
fn rounds(rows: &[Row]) -> Vec<Vec<&Row>> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut rounds: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        let round = seen.entry(&row.key).or_default();
        if *round == rounds.len() {
            rounds.push(Vec::new());
        }
        rounds[*round].push(row);
        *round += 1;
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::tests::row;

    #[test]
    fn of_one_key_there_is_one_row_in_a_round_and_their_order_is_kept() {
        let of = |key: &str, sequence: &str| Row { key: key.into(), sequence: sequence.into(), ..row(1) };
        let rows = [of("a", "1"), of("a", "2"), of("b", "7"), of("a", "3"), of("b", "8")];
        let rounds: Vec<Vec<(&str, &str)>> = (rounds(&rows).into_iter())
            .map(|round| round.into_iter().map(|r| (r.key.as_str(), r.sequence.as_str())).collect())
            .collect();
        assert_eq!(rounds, [vec![("a", "1"), ("b", "7")], vec![("a", "2"), ("b", "8")], vec![("a", "3")]]);
    }
}
