//! The ways to a participant. What arrives goes into the inbox; what does not work is told there, too, and is treated like
//! silence: whoever sends asks again.

mod grpc;
mod kafka;

use skald_proto::participant::v1::{Command, DescribeResponse};

use crate::{inbox::Inbox, rules::Need, script::Sent};

pub use kafka::Brokers;

/// Commands, and the lane that each list of them takes.
pub(crate) type Lanes = Vec<(usize, Vec<Command>)>;

/// One of the two.
#[derive(Debug)]
pub struct Transport(Way);

#[derive(Debug)]
enum Way {
    Grpc(grpc::Grpc),
    Kafka(Box<kafka::Kafka>),
}

impl Transport {
    /// ParticipantService at this address: `http://host:port`. Connects when it is used.
    ///
    /// # Errors
    /// It is no address.
    pub fn grpc(address: &str) -> Result<Self, String> {
        Ok(Self(Way::Grpc(grpc::Grpc::new(address)?)))
    }

    /// The participant's topics. Reads its outcomes and dead letters from here on.
    ///
    /// # Errors
    /// The brokers do not answer, a topic is missing, or commands and outcomes have different numbers of partitions.
    pub async fn kafka(brokers: Brokers, participant: &str) -> Result<Self, String> {
        Ok(Self(Way::Kafka(Box::new(kafka::Kafka::new(brokers, participant).await?))))
    }

    /// For reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match &self.0 {
            Way::Grpc(_) => "gRPC",
            Way::Kafka(_) => "Kafka",
        }
    }

    /// Whether it is what a rule needs.
    pub(crate) fn is(&self, need: Need) -> bool {
        matches!((&self.0, need), (Way::Grpc(_), Need::Grpc) | (Way::Kafka(_), Need::Kafka))
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        match &self.0 {
            Way::Grpc(grpc) => &grpc.inbox,
            Way::Kafka(kafka) => &kafka.inbox,
        }
    }

    /// Sends the commands of every lane at once, in their order: a lane is a stream of its own, or the partition so many behind
    /// the key's own. What could not be sent is not in the result.
    pub(crate) async fn send(&mut self, lanes: Lanes) -> Vec<Sent> {
        match &mut self.0 {
            Way::Grpc(grpc) => {
                lanes.into_iter().flat_map(|(lane, commands)| grpc.send(lane, commands)).collect()
            }
            Way::Kafka(kafka) => kafka.send(lanes).await,
        }
    }

    /// Sends bytes in place of a command, and returns when something came of it that can be seen, or `patience` is over.
    pub(crate) async fn garbage(&mut self, key: &str, bytes: Vec<u8>, patience: std::time::Duration) {
        match &mut self.0 {
            Way::Grpc(grpc) => grpc.garbage(bytes, patience).await,
            Way::Kafka(kafka) => kafka.garbage(key, bytes).await,
        }
    }

    /// Who answers; `None` also when there is no way to ask.
    pub(crate) async fn describe(&mut self) -> Option<DescribeResponse> {
        match &mut self.0 {
            Way::Grpc(grpc) => grpc.describe().await,
            Way::Kafka(_) => None,
        }
    }

    /// The group's committed offsets by partition; empty where there are none, or they can't be read.
    pub(crate) async fn committed(&mut self) -> Vec<(i32, i64)> {
        match &mut self.0 {
            Way::Grpc(_) => Vec::new(),
            Way::Kafka(kafka) => kafka.committed().await,
        }
    }
}
