//! A participant that is asked over gRPC, does as the test says, and remembers what it was asked. It has a runtime of its own, so
//! that it can vanish with every connection.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures::{Stream, stream};
use skald_proto::participant::v1::{
    Command, DescribeRequest, DescribeResponse, ExecuteRequest, ExecuteResponse, Outcome, Verb,
    outcome::Answer,
    participant_service_server::{ParticipantService, ParticipantServiceServer},
};
use skald_server::config::{Participant as Setting, Via};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, ServerTlsConfig},
};

use super::DEADLINE;

type Line = mpsc::Sender<Result<ExecuteResponse, Status>>;
type Answers = dyn Fn(&Command) -> Vec<Answer> + Send + Sync;

/// A participant over gRPC.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    told: Arc<Told>,
    runtime: Option<Runtime>,
}

struct Told {
    name: &'static str,
    answers: Box<Answers>,
    seen: Mutex<Vec<Command>>,
    traces: Mutex<Vec<String>>,
    /// The streams that are open, the oldest first.
    lines: Mutex<Vec<Line>>,
    /// Requests are read while it is true.
    reads: watch::Sender<bool>,
}

struct Service(Arc<Told>);

#[tonic::async_trait]
impl ParticipantService for Service {
    type ExecuteStream = Pin<Box<dyn Stream<Item = Result<ExecuteResponse, Status>> + Send>>;

    async fn execute(
        &self,
        request: Request<Streaming<ExecuteRequest>>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        let (line, mut said) = mpsc::channel(1);
        let (told, mut requests) = (Arc::clone(&self.0), request.into_inner());
        told.lines.lock().unwrap().push(line.clone());
        let mut reads = told.reads.subscribe();
        tokio::spawn(async move {
            loop {
                let _ = reads.wait_for(|reads| *reads).await;
                let Ok(Some(request)) = requests.message().await else { break };
                told.traces.lock().unwrap().extend(request.traceparents);
                let mut response = ExecuteResponse::default();
                for command in request.commands {
                    let answers = (told.answers)(&command);
                    response.outcomes.extend(answers.into_iter().map(|a| outcome(told.name, &command, a)));
                    told.seen.lock().unwrap().push(command);
                }
                if line.send(Ok(response)).await.is_err() {
                    break;
                }
            }
            // The client ended it: so does the server.
            told.lines.lock().unwrap().retain(|other| !other.same_channel(&line));
        });
        Ok(Response::new(Box::pin(stream::poll_fn(move |context| said.poll_recv(context)))))
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse { participant: self.0.name.into(), ..Default::default() }))
    }
}

/// What a participant of this name says about a command.
pub(crate) fn outcome(name: &str, command: &Command, answer: Answer) -> Outcome {
    Outcome {
        protocol: 1,
        saga_id: command.saga_id.clone(),
        step: command.step.clone(),
        verb: command.verb,
        epoch: command.epoch,
        attempt: command.attempt,
        participant: name.into(),
        answer: Some(answer),
    }
}

impl Peer {
    /// Serves at a free port; no answer is silence, several are repeats.
    pub(crate) async fn start(
        name: &'static str,
        answers: impl Fn(&Command) -> Vec<Answer> + Send + Sync + 'static,
    ) -> Peer {
        let address = SocketAddr::from(([127, 0, 0, 1], skald_harness::free_port()));
        Peer::start_at(address, name, answers).await
    }

    /// The same behind TLS.
    pub(crate) async fn start_with_tls(
        tls: ServerTlsConfig,
        name: &'static str,
        answers: impl Fn(&Command) -> Vec<Answer> + Send + Sync + 'static,
    ) -> Peer {
        let address = SocketAddr::from(([127, 0, 0, 1], skald_harness::free_port()));
        Peer::launch(address, Some(tls), name, Box::new(answers)).await
    }

    /// The same where another one was.
    pub(crate) async fn start_at(
        address: SocketAddr,
        name: &'static str,
        answers: impl Fn(&Command) -> Vec<Answer> + Send + Sync + 'static,
    ) -> Peer {
        Peer::launch(address, None, name, Box::new(answers)).await
    }

    async fn launch(
        address: SocketAddr,
        tls: Option<ServerTlsConfig>,
        name: &'static str,
        answers: Box<Answers>,
    ) -> Peer {
        let told = Arc::new(Told {
            name,
            answers,
            seen: Mutex::default(),
            traces: Mutex::default(),
            lines: Mutex::default(),
            reads: watch::Sender::new(true),
        });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let service = ParticipantServiceServer::new(Service(Arc::clone(&told)));
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        let server = server.add_service(service.max_encoding_message_size(8 << 20));
        runtime.spawn(server.serve(address));
        skald_harness::eventually("the peer to listen", DEADLINE, async || {
            tokio::net::TcpStream::connect(address).await.map(|_| ())
        })
        .await;
        Peer { address, told, runtime: Some(runtime) }
    }

    /// The setting that sends commands to these.
    pub(crate) fn setting(peers: &[&Peer]) -> Setting {
        let addresses: Vec<String> = peers.iter().map(|peer| peer.address.to_string()).collect();
        Setting { address: addresses.join(","), transport: Via::Grpc, ..Setting::default() }
    }

    /// Every connection breaks, and nobody listens any more.
    pub(crate) fn vanish(&mut self) {
        self.runtime.take().expect("it is there").shutdown_background();
    }

    /// Whether it reads what it is asked.
    pub(crate) fn read(&self, reads: bool) {
        self.told.reads.send_replace(reads);
    }

    /// What it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Command> {
        self.told.seen.lock().unwrap().clone()
    }

    /// The trace contexts that came along.
    pub(crate) fn traces(&self) -> Vec<String> {
        self.told.traces.lock().unwrap().clone()
    }

    /// What it was asked so far about a saga.
    pub(crate) fn asked(&self, saga: &str) -> Vec<(String, Verb, u32)> {
        let seen = self.told.seen.lock().unwrap();
        let about = seen.iter().filter(|c| c.saga_id == saga);
        about.map(|c| (c.step.clone(), c.verb(), c.attempt)).collect()
    }

    /// Waits until it was asked so often.
    pub(crate) async fn until_asked(&self, times: usize) {
        skald_harness::eventually(&format!("{times} commands"), DEADLINE, async || {
            let seen = self.told.seen.lock().unwrap().len();
            if seen >= times { Ok(()) } else { Err(seen) }
        })
        .await;
    }

    /// A stream that is open, the oldest is 0.
    pub(crate) async fn line(&self, n: usize) -> Line {
        skald_harness::eventually("a stream", DEADLINE, async || {
            self.told.lines.lock().unwrap().get(n).cloned()
        })
        .await
    }

    /// Says something that nobody asked for just now.
    pub(crate) async fn say(&self, line: usize, outcomes: Vec<Outcome>) {
        let response = ExecuteResponse { outcomes, ..Default::default() };
        self.line(line).await.send(Ok(response)).await.expect("the stream is open");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
