//! One Execute stream: requests → waves → outcomes, in batches of whatever has come. What intents come to later is told here too.
//! A client that reads nothing holds up its own stream and nobody else's.

use std::{
    future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use skald_proto::participant::v1::{self as wire, ExecuteRequest, ExecuteResponse};
use tokio::sync::{Semaphore, mpsc};
use tonic::{Status, Streaming};
use tracing::Span;

use crate::{
    command::{Command, Failed},
    execute::{End, Executor, From},
    ingress,
    intent::calls::Caller,
    outcomes::Reply,
    service::Service,
    shared::Shared,
    streams::Said,
    wave::{self, Delivery, Item},
};

/// Commands of one request, and outcomes of one response, at most: a wave's worth.
const MAX_COMMANDS: usize = 512;
/// Bytes of outcomes in one response, about; results have up to 64 KiB each.
const MAX_BYTES: usize = 2 << 20;
/// Responses that wait for the client: one is written while the next one is made.
const RESPONSES: usize = 2;
/// Batches that are executed at once, each on a connection of its own: one slow wave does not hold up every stream, and few
/// executors keep batches large.
const EXECUTORS: usize = 4;
/// Of the reason why a command can't be handled so many characters are answered.
const REASON: usize = 500;
/// Answered for a command that can't be handled. Nothing happened; after the cause was mended it can be tried again.
const POISONED: &str = "POISONED";

/// What every stream of a participant shares.
pub(crate) struct Executors<S: Service> {
    shared: Arc<Shared<S>>,
    caller: Caller<S>,
    places: Semaphore,
    idle: Mutex<Vec<Executor<S>>>,
}

/// A command that came over a stream.
struct Streamed {
    /// The stream's number.
    stream: i32,
    span: Span,
}

impl From for Streamed {
    fn partition(&self) -> i32 {
        self.stream
    }
}

impl<S: Service> Executors<S> {
    pub(crate) fn new(shared: Arc<Shared<S>>, caller: Caller<S>) -> Self {
        Self { shared, caller, places: Semaphore::new(EXECUTORS), idle: Mutex::default() }
    }

    /// Serves a stream in a task of its own, until its client ends it or the participant stops. `trace`: that of commands which
    /// bring none.
    pub(crate) fn serve(
        self: &Arc<Self>,
        requests: Streaming<ExecuteRequest>,
        trace: Option<String>,
    ) -> mpsc::Receiver<Result<ExecuteResponse, Status>> {
        let (answers, answered) = mpsc::channel(RESPONSES);
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let (stream, late) = this.shared.outbound.streams().open();
            tokio::select! {
                ended = this.work(requests, stream.number, trace, &answers) => {
                    if let Err(status) = ended {
                        // a client that went away, or does not read, hears nothing more
                        let _ = answers.try_send(Err(status));
                    }
                }
                () = tell(late, &answers) => {}
            }
        });
        answered
    }

    async fn work(
        &self,
        requests: Streaming<ExecuteRequest>,
        stream: i32,
        trace: Option<String>,
        answers: &mpsc::Sender<Result<ExecuteResponse, Status>>,
    ) -> Result<(), Status> {
        let stopped = Arc::clone(&self.shared);
        let mut requests = pin!(requests.take_until(async move { stopped.shutdown.requested().await }));
        while let Some(first) = requests.next().await {
            let mut deliveries = Vec::new();
            take(first?, stream, trace.as_deref(), &mut deliveries)?;
            // whatever else has come: large batches are cheap ones
            while deliveries.len() < MAX_COMMANDS
                && let Some(Some(more)) = requests.next().now_or_never()
            {
                take(more?, stream, trace.as_deref(), &mut deliveries)?;
            }
            let said = self.execute(deliveries).await?;
            for response in responses(said) {
                let sent = tokio::select! {
                    sent = answers.send(Ok(response)) => sent,
                    // a client that does not read holds up no stop
                    () = self.shared.cut.requested() => return Err(stopping()),
                };
                if sent.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Waves of one batch.
    async fn execute(&self, deliveries: Vec<Delivery<Streamed>>) -> Result<Vec<Said>, Status> {
        let _place = self.places.acquire().await.map_err(|_| stopping())?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut executor =
            idle.unwrap_or_else(|| Executor::new(Arc::clone(&self.shared), self.caller.clone()));
        let mut said = Vec::with_capacity(deliveries.len());
        for wave in wave::cut(deliveries) {
            let ended = executor.execute(wave).await.map_err(|_| stopping())?;
            ended.into_iter().for_each(|(item, end)| answer::<S>(item, end, &mut said));
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(executor);
        Ok(said)
    }
}

fn stopping() -> Status {
    Status::unavailable("stopping")
}

/// Checks the commands of a request. One that can't be understood gets no answer, and does not disturb the others.
fn take(
    request: ExecuteRequest,
    stream: i32,
    trace: Option<&str>,
    deliveries: &mut Vec<Delivery<Streamed>>,
) -> Result<(), Status> {
    if request.commands.len() > MAX_COMMANDS {
        return Err(Status::invalid_argument(format!("commands: at most {MAX_COMMANDS}")));
    }
    let mut traces = request.traceparents.into_iter();
    for message in request.commands {
        let own = traces.next().filter(|trace| !trace.is_empty());
        match Command::check(message, own.or_else(|| trace.map(ToOwned::to_owned))) {
            Ok(mut command) => {
                let span = ingress::span_of(&mut command);
                deliveries.push(Delivery { command, origin: Streamed { stream, span } });
            }
            Err(malformed) => {
                metrics::counter!("skald_participant_malformed_total").increment(1);
                tracing::warn!("a streamed command is not answered: {malformed}");
            }
        }
    }
    Ok(())
}

/// Each delivery is answered; what waits for an intent is answered by its settling.
fn answer<S: Service>(item: Item<Streamed>, end: End, said: &mut Vec<Said>) {
    let Item { command, origins } = item;
    ingress::count(&command, &end, origins.len());
    let answer = match end {
        End::Waits => return,
        End::Answered(answer) => answer,
        // There is no topic to keep it in: the orchestrator has it, and parks the step for a person.
        End::Poisoned { reason, .. } => {
            tracing::warn!(saga = %command.saga, reason, "a streamed command can't be handled");
            Failed::last(POISONED, reason.chars().take(REASON).collect::<String>()).into()
        }
    };
    for Streamed { span, .. } in origins {
        span.in_scope(|| tracing::debug!(saga = %command.saga, "answered"));
        said.push(Reply::to(&command, answer.clone()).said(S::NAME));
    }
}

/// Tells what settles later, until the client is gone; never ends before the stream does.
async fn tell(mut late: mpsc::Receiver<Said>, answers: &mpsc::Sender<Result<ExecuteResponse, Status>>) {
    let mut burst = Vec::new();
    while late.recv_many(&mut burst, MAX_COMMANDS).await > 0 {
        for response in responses(std::mem::take(&mut burst)) {
            if answers.send(Ok(response)).await.is_err() {
                return future::pending().await;
            }
        }
    }
    future::pending().await
}

/// One response at least: that a batch was handled is told even when all of it waits.
fn responses(said: Vec<Said>) -> Vec<ExecuteResponse> {
    let mut all = vec![ExecuteResponse::default()];
    let mut bytes = 0;
    for Said { outcome, traceparent } in said {
        let size = wire::Outcome::encoded_len(&outcome);
        let full = |last: &ExecuteResponse| last.outcomes.len() == MAX_COMMANDS || bytes + size > MAX_BYTES;
        if all.last().is_some_and(|last| !last.outcomes.is_empty() && full(last)) {
            all.push(ExecuteResponse::default());
            bytes = 0;
        }
        bytes += size;
        let last = all.last_mut().expect("there is one at least");
        last.outcomes.push(outcome);
        last.traceparents.push(traceparent.unwrap_or_default());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bytes: usize) -> Said {
        let no = wire::Rejected { message: "x".repeat(bytes), ..Default::default() };
        let outcome =
            wire::Outcome { answer: Some(wire::outcome::Answer::Rejected(no)), ..Default::default() };
        Said { outcome, traceparent: Some("trace".to_owned()) }
    }

    #[test]
    fn responses_are_bounded_in_number_and_size() {
        let shape = |said: Vec<Said>| {
            let all = responses(said);
            assert!(all.iter().all(|r| r.outcomes.len() == r.traceparents.len()));
            all.iter().map(|r| r.outcomes.len()).collect::<Vec<_>>()
        };
        assert_eq!(shape(vec![]), [0], "that it was handled is told");
        assert_eq!(shape(vec![said(10); 1025]), [512, 512, 1]);
        assert_eq!(shape(vec![said(MAX_BYTES / 2); 5]), [1, 1, 1, 1, 1]);
        assert_eq!(shape(vec![said(MAX_BYTES / 3); 5]), [2, 2, 1]);
        assert_eq!(shape(vec![said(2 * MAX_BYTES), said(1)]), [1, 1]);
    }
}
