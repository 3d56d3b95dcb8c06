//! One connection to one instance of a participant: connects, keeps one Execute stream, and does so again when it breaks. Commands
//! go out in batches of whatever waits; outcomes go to the workers, and a slow worker stops the reading: HTTP/2 then holds the
//! participant up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use skald_kit::{backoff, lifecycle::Shutdown};
use skald_proto::participant::v1::{
    DescribeRequest, ExecuteRequest, participant_service_client::ParticipantServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

use super::{
    Losses,
    peers::{Board, Peer, Queued, Standing},
};
use crate::bus::outcomes::Router;

/// Commands of one request at most; see `ExecuteRequest`.
const MAX_COMMANDS: usize = 512;
/// Bytes of one request, about.
const MAX_BYTES: usize = 2 << 20;
/// The largest message that is sent or taken, bytes: a full request whose last command is large.
const MAX_MESSAGE: usize = 8 << 20;
/// Who does not say within this who it is, is not connected: a participant may be bound and not ready.
const GREETING: Duration = Duration::from_secs(5);
/// Unanswered commands of one stream that are remembered at most. What is beyond is sent again as silence is.
const REMEMBERED: usize = 100_000;
/// For how long. What is older is silence's: it is sent again by its gaps, and its outcome may have come by another stream, for an
/// instance tells what it settles to any.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// What is older is looked for so often at most.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// One connection. Nothing happens until it is run.
#[derive(Debug)]
pub struct Link {
    participant: Arc<str>,
    address: String,
    endpoint: Endpoint,
    queued: mpsc::Receiver<Queued>,
    standing: Arc<Standing>,
    losses: Losses,
    board: Board,
}

/// Sagas and steps whose commands went out on a stream and were not answered, and when they did.
#[derive(Debug, Default)]
struct Unanswered(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    since: HashMap<(Uuid, String), Instant>,
    forgotten_at: Option<Instant>,
}

impl Known {
    fn add(&mut self, saga: Uuid, step: &str, now: Instant) {
        if self.forgotten_at.is_none_or(|at| now.saturating_duration_since(at) >= FORGET_EVERY) {
            self.forgotten_at = Some(now);
            self.since.retain(|_, since| now.saturating_duration_since(*since) < REMEMBERED_FOR);
        }
        if self.since.len() < REMEMBERED {
            self.since.insert((saga, step.to_owned()), now);
        }
    }
}

/// How a connection ended.
enum Ended {
    /// The stop: all was sent.
    Finished,
    /// Why, and whether it had been of any use.
    Broken { why: String, fruitful: bool },
}

impl Link {
    pub(super) fn new(
        participant: Arc<str>,
        endpoint: Endpoint,
        peer: &Peer,
        queued: mpsc::Receiver<Queued>,
        losses: Losses,
        board: Board,
    ) -> Link {
        let (address, standing) = (peer.address.clone(), Arc::clone(&peer.standing));
        Link { participant, address, endpoint, queued, standing, losses, board }
    }

    /// For the task's name.
    pub fn name(&self) -> String {
        format!("{} at {}", self.participant, self.address)
    }

    /// Keeps the connection until the transport is finished. After `closing` outcomes are read and dropped: nobody could
    /// decide them any more, and they come again.
    ///
    /// # Errors
    /// None.
    pub async fn run(self, router: Router, closing: Shutdown) -> anyhow::Result<()> {
        let _finished = Finished(self.standing.finished.clone());
        let cut = self.standing.cut.clone();
        tokio::select! {
            () = self.keep(&router, &closing) => {}
            () = cut.requested() => {}
        }
        Ok(())
    }

    async fn keep(mut self, router: &Router, closing: &Shutdown) {
        let mut gaps = backoff::gaps();
        loop {
            match self.connection(router, closing).await {
                Ended::Finished => return,
                Ended::Broken { why, fruitful } => {
                    self.board.note(&self.participant, &self.address, &self.standing, Some(&why));
                    self.lose();
                    if fruitful {
                        gaps = backoff::gaps();
                    }
                }
            }
            metrics::counter!("skald_peer_reconnects_total", "participant" => self.participant.to_string())
                .increment(1);
            tokio::select! {
                () = tokio::time::sleep(gaps.next().unwrap_or_default()) => {}
                () = self.standing.finish.requested() => return,
            }
        }
    }

    /// What waits was not sent.
    fn lose(&mut self) {
        while let Ok(Queued { outgoing, bytes }) = self.queued.try_recv() {
            self.standing.gone(bytes);
            self.standing.miss();
            self.losses.tell(outgoing.saga, &self.participant);
        }
    }

    async fn connection(&mut self, router: &Router, closing: &Shutdown) -> Ended {
        let finish = self.standing.finish.clone();
        let greeted = tokio::select! {
            greeted = tokio::time::timeout(GREETING, self.greet()) => greeted,
            () = finish.requested() => return Ended::Finished,
        };
        let client = match greeted {
            Ok(Ok(client)) => client,
            Ok(Err(why)) => return Ended::Broken { why, fruitful: false },
            Err(_) => {
                let why = format!("no answer in {} s", GREETING.as_secs());
                return Ended::Broken { why, fruitful: false };
            }
        };
        self.board.note(&self.participant, &self.address, &self.standing, None);
        let unanswered = Unanswered::default();
        let (requests, taken) = mpsc::channel(1);
        let incoming = Incoming { participant: &self.participant, router, closing, unanswered: &unanswered };
        let read = incoming.read(client, taken);
        tokio::pin!(read);
        let broken = tokio::select! {
            broken = &mut read => broken,
            () = write(&mut self.queued, &self.standing, requests, &unanswered) => {
                // Until the participant has read it all and says so; who stops cuts it off.
                read.await;
                return Ended::Finished;
            }
        };
        for ((saga, _), _) in unanswered.lock().since.drain() {
            self.standing.miss();
            self.losses.tell(saga, &self.participant);
        }
        broken
    }

    /// Connects and asks who is there.
    async fn greet(&self) -> Result<ParticipantServiceClient<Channel>, String> {
        let channel = self.endpoint.connect().await.map_err(|error| told(&error))?;
        let mut client = ParticipantServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        match client.describe(DescribeRequest {}).await {
            Ok(told) if told.get_ref().participant == *self.participant => Ok(client),
            Ok(told) => Err(format!("it is {}, not {}", told.get_ref().participant, self.participant)),
            Err(status) if status.code() == Code::Unimplemented => Ok(client),
            Err(status) => Err(said(&status)),
        }
    }
}

/// Says that the task has ended, however it does.
struct Finished(Shutdown);

impl Drop for Finished {
    fn drop(&mut self) {
        self.0.request();
    }
}

/// An error with its causes: tonic's own text is only "transport error".
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

fn said(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

impl Unanswered {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests of whatever waits, until the stop has emptied the queue.
async fn write(
    queued: &mut mpsc::Receiver<Queued>,
    standing: &Standing,
    requests: mpsc::Sender<ExecuteRequest>,
    unanswered: &Unanswered,
) {
    loop {
        // A place first: what waits meanwhile goes along.
        let Ok(place) = requests.reserve().await else { return std::future::pending().await };
        let first = tokio::select! {
            biased;
            first = queued.recv() => first,
            () = standing.finish.requested() => None,
        };
        let Some(first) = first else { return };
        place.send(request(first, queued, standing, unanswered));
    }
}

fn request(
    first: Queued,
    queued: &mut mpsc::Receiver<Queued>,
    standing: &Standing,
    unanswered: &Unanswered,
) -> ExecuteRequest {
    let (mut request, mut bytes, mut next) = (ExecuteRequest::default(), 0, Some(first));
    let (mut unanswered, now) = (unanswered.lock(), Instant::now());
    while let Some(Queued { outgoing, bytes: size }) = next {
        standing.gone(size);
        bytes += size;
        unanswered.add(outgoing.saga, &outgoing.command.step, now);
        request.commands.push(outgoing.command);
        request.traceparents.push(outgoing.traceparent.unwrap_or_default());
        let full = request.commands.len() == MAX_COMMANDS || bytes >= MAX_BYTES;
        next = if full { None } else { queued.try_recv().ok() };
    }
    request
}

/// What comes back on a stream.
struct Incoming<'a> {
    participant: &'a Arc<str>,
    router: &'a Router,
    closing: &'a Shutdown,
    unanswered: &'a Unanswered,
}

impl Incoming<'_> {
    /// Opens the stream and hands outcomes to the workers until it ends; gives why it did. A server may say nothing at all
    /// before its first outcome, so commands go out without waiting for it.
    async fn read(
        &self,
        mut client: ParticipantServiceClient<Channel>,
        taken: mpsc::Receiver<ExecuteRequest>,
    ) -> Ended {
        let mut fruitful = false;
        let mut answers = match client.execute(ReceiverStream::new(taken)).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return Ended::Broken { why: said(&status), fruitful },
        };
        let labels = [("participant", self.participant.to_string())];
        loop {
            let response = match answers.message().await {
                Ok(Some(response)) => response,
                Ok(None) => return Ended::Broken { why: "it ended the stream".to_owned(), fruitful },
                Err(status) => return Ended::Broken { why: said(&status), fruitful },
            };
            fruitful = true;
            let left = {
                let mut unanswered = self.unanswered.lock();
                for outcome in &response.outcomes {
                    if let Ok(saga) = Uuid::try_parse(&outcome.saga_id) {
                        unanswered.since.remove(&(saga, outcome.step.clone()));
                    }
                }
                unanswered.since.len()
            };
            metrics::gauge!("skald_peer_unanswered", &labels).set(left as f64);
            metrics::counter!("skald_peer_outcomes_total", &labels).increment(response.outcomes.len() as u64);
            if !self.closing.is_requested() {
                self.router.route(self.participant, response).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_answered_for_long_is_silence_s_and_forgotten() {
        let (mut known, begin) = (Known::default(), Instant::now());
        known.add(Uuid::nil(), "charge", begin);
        known.add(Uuid::max(), "charge", begin + REMEMBERED_FOR / 2);
        assert_eq!(known.since.len(), 2);
        known.add(Uuid::max(), "refund", begin + REMEMBERED_FOR);
        let left: Vec<_> = known.since.keys().map(|(saga, _)| *saga).collect();
        assert_eq!(left, [Uuid::max(), Uuid::max()]);
    }
}
