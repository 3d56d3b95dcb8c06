//! Commands over gRPC: to each instance of a participant one connection with one stream, and a bounded queue before it. A saga's
//! commands go to the same instance while that is connected. What is not taken, or was on a stream that broke, is lost and said
//! to be: the saga's worker sends it again when somebody is connected.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::future::join_all;
use skald_kit::kafka::partition_for_id;
use uuid::Uuid;

use super::{
    Losses, Outgoing,
    link::Link,
    peers::{Board, Peer},
};
use crate::config::{Config, Participant};

/// Commands over gRPC to one participant.
#[derive(Debug)]
pub struct GrpcTransport {
    participant: Arc<str>,
    partitions: i32,
    peers: Vec<Peer>,
}

impl GrpcTransport {
    pub(super) fn new(
        name: &Arc<str>,
        participant: &Participant,
        config: &Config,
        losses: &Losses,
        board: &Board,
    ) -> anyhow::Result<(GrpcTransport, Vec<Link>)> {
        let (mut peers, mut links) = (Vec::new(), Vec::new());
        for address in participant.addresses() {
            let endpoint = participant.endpoint(address);
            let endpoint =
                endpoint.with_context(|| format!("participants.{name}: {address} can't be connected to"))?;
            let (peer, queued) = Peer::new(address);
            links.push(Link::new(Arc::clone(name), endpoint, &peer, queued, losses.clone(), board.clone()));
            peers.push(peer);
        }
        let partitions = config.kafka.partitions;
        Ok((GrpcTransport { participant: Arc::clone(name), partitions, peers }, links))
    }

    pub(super) fn send(&self, commands: Vec<Outgoing>) -> Vec<Uuid> {
        let open: Vec<&Peer> = self.peers.iter().filter(|peer| peer.is_open()).collect();
        let (all, mut left) = (commands.len(), Vec::new());
        for command in commands {
            let saga = command.saga;
            let taken = match open.as_slice() {
                [] => {
                    self.peers.iter().for_each(|peer| peer.standing.miss());
                    false
                }
                open => open[self.turn(saga, open.len())].take(command),
            };
            if !taken {
                left.push(saga);
            }
        }
        let labels = [("participant", self.participant.to_string())];
        metrics::counter!("skald_peer_commands_total", &labels).increment((all - left.len()) as u64);
        left
    }

    fn turn(&self, saga: Uuid, of: usize) -> usize {
        partition_for_id(saga, self.partitions) as usize % of
    }

    /// Nobody is connected, or takes more now.
    pub(super) fn is_failing(&self) -> bool {
        !self.peers.iter().any(Peer::is_roomy)
    }

    /// The peer that a saga's commands go to.
    pub(super) fn place(&self, saga: Uuid) -> String {
        let open: Vec<&Peer> = self.peers.iter().filter(|peer| peer.standing.is_connected()).collect();
        match open.as_slice() {
            [] => {
                let all: Vec<&str> = self.peers.iter().map(|peer| peer.address.as_str()).collect();
                format!("{} over gRPC, not connected", all.join(", "))
            }
            open => format!("{} over gRPC", open[self.turn(saga, open.len())].address),
        }
    }

    /// Sends what waits and ends the streams; false when something was left, or could not be sent last.
    pub(super) async fn finish(&self, deadline: Duration) -> bool {
        let each = self.peers.iter().map(async |peer| {
            peer.standing.finish.request();
            let _ = tokio::time::timeout(deadline, peer.standing.finished.requested()).await;
            peer.standing.cut.request();
            let sent = peer.queue.capacity() == peer.queue.max_capacity() && !peer.standing.has_missed();
            if !sent {
                let (participant, peer) = (&*self.participant, &peer.address);
                tracing::warn!(participant, peer, "commands were left; they will be sent again");
            }
            sent
        });
        join_all(each).await.into_iter().all(|sent| sent)
    }
}
