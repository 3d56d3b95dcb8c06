//! Commands over ParticipantService.Execute, one stream per lane, made anew when it broke.

use std::{collections::BTreeMap, time::Duration};

use prost::Message as _;
use skald_proto::participant::v1::{
    Command, DescribeRequest, DescribeResponse, ExecuteResponse,
    participant_service_client::ParticipantServiceClient,
};
use tokio::{
    sync::mpsc::{self, UnboundedSender},
    task::JoinHandle,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Status, client, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

use crate::{
    inbox::Inbox,
    script::{Arrival, Sent},
};

const EXECUTE: PathAndQuery = PathAndQuery::from_static("/skald.participant.v1.ParticipantService/Execute");
/// Commands of one message at most, as the contract says.
const MAX_COMMANDS: usize = 512;
/// One call of Describe, and a connection.
const CALL: Duration = Duration::from_secs(5);

/// ExecuteRequest with the commands as bytes: the same on the wire, and able to carry what is no command.
#[derive(Clone, PartialEq, prost::Message)]
struct Raw {
    #[prost(bytes = "vec", repeated, tag = "1")]
    commands: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Lane {
    requests: UnboundedSender<Raw>,
    reader: JoinHandle<()>,
}

#[derive(Debug)]
pub(super) struct Grpc {
    channel: Channel,
    lanes: BTreeMap<usize, Lane>,
    pub(super) inbox: Inbox,
}

impl Grpc {
    pub(super) fn new(address: &str) -> Result<Self, String> {
        let endpoint = Channel::from_shared(address.to_owned()).map_err(|e| format!("{address}: {e}"))?;
        let channel = endpoint.connect_timeout(CALL).connect_lazy();
        Ok(Self { channel, lanes: BTreeMap::new(), inbox: Inbox::default() })
    }

    pub(super) fn send(&mut self, lane: usize, commands: Vec<Command>) -> Vec<Sent> {
        let broken = self.lanes.get(&lane).is_none_or(|lane| lane.reader.is_finished());
        if broken {
            let opened = self.open();
            self.lanes.insert(lane, opened);
        }
        let requests = &self.lanes[&lane].requests;
        for some in commands.chunks(MAX_COMMANDS) {
            let commands = some.iter().map(Command::encode_to_vec).collect();
            if requests.send(Raw { commands }).is_err() {
                self.inbox.trouble("the stream has ended");
            }
        }
        commands.into_iter().map(|command| Sent { command, place: None }).collect()
    }

    /// On a stream of its own, which is then closed: its end is what can be seen.
    pub(super) async fn garbage(&mut self, bytes: Vec<u8>, patience: Duration) {
        let Lane { requests, reader } = self.open();
        let _ = requests.send(Raw { commands: vec![bytes] });
        drop(requests);
        let abort = reader.abort_handle();
        if tokio::time::timeout(patience, reader).await.is_err() {
            abort.abort();
        }
    }

    pub(super) async fn describe(&mut self) -> Option<DescribeResponse> {
        let mut client = ParticipantServiceClient::new(self.channel.clone());
        let mut request = Request::new(DescribeRequest {});
        request.set_timeout(CALL);
        match client.describe(request).await {
            Ok(answer) => Some(answer.into_inner()),
            Err(status) => {
                self.inbox.trouble(words(&status));
                None
            }
        }
    }

    fn open(&self) -> Lane {
        let (requests, received) = mpsc::unbounded_channel();
        let (channel, inbox) = (self.channel.clone(), self.inbox.clone());
        let reader = tokio::spawn(async move {
            if let Err(status) = read(channel, UnboundedReceiverStream::new(received), &inbox).await {
                inbox.trouble(words(&status));
            }
        });
        Lane { requests, reader }
    }
}

impl Drop for Grpc {
    fn drop(&mut self) {
        self.lanes.values().for_each(|lane| lane.reader.abort());
    }
}

async fn read(channel: Channel, requests: UnboundedReceiverStream<Raw>, inbox: &Inbox) -> Result<(), Status> {
    let mut client = client::Grpc::new(channel);
    client.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let codec = ProstCodec::<Raw, ExecuteResponse>::default();
    let mut answers = client.streaming(Request::new(requests), EXECUTE, codec).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        for outcome in answer.outcomes {
            inbox.arrived(Arrival { outcome, place: None });
        }
    }
    Ok(())
}

fn words(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
