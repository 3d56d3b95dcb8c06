//! Calls whose messages are only known from their descriptors: bytes in, status and bytes out.

use std::time::Duration;

use prost::Message as _;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};

/// Whoever is not answered by then is not.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of an answer that goes on, as a watch does, so many messages are read.
const ENOUGH: usize = 3;
/// And after so long without another one it says no more for now.
const QUIET: Duration = Duration::from_millis(20);

/// What came of a call.
pub(super) struct Said {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) answers: Vec<DynamicMessage>,
}

/// Sends these messages and reads what comes.
pub(super) async fn call(channel: &Channel, method: &MethodDescriptor, messages: &[DynamicMessage]) -> Said {
    let mut answers = Vec::new();
    let read = read(channel, method, messages, &mut answers);
    let status = match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(())) => Status::new(Code::Ok, ""),
        Ok(Err(status)) => status,
        Err(_) => Status::deadline_exceeded("no answer"),
    };
    Said { code: status.code(), message: status.message().to_owned(), answers }
}

async fn read(
    channel: &Channel,
    method: &MethodDescriptor,
    messages: &[DynamicMessage],
    answers: &mut Vec<DynamicMessage>,
) -> Result<(), Status> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = PathAndQuery::try_from(path).expect("a path");
    let sent: Vec<Vec<u8>> = messages.iter().map(DynamicMessage::encode_to_vec).collect();
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(usize::MAX);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    // On the wire each kind of call is a stream of messages, and a stream of answers.
    let request = Request::new(futures::stream::iter(sent));
    let mut stream = grpc.streaming(request, path, Raw).await?.into_inner();
    let goes_on = method.is_server_streaming();
    while answers.len() < ENOUGH {
        let next = match (goes_on, answers.len()) {
            (true, 1..) => match tokio::time::timeout(QUIET, stream.message()).await {
                Ok(next) => next?,
                Err(_) => None,
            },
            _ => stream.message().await?,
        };
        let Some(bytes) = next else { break };
        let answer = DynamicMessage::decode(method.output(), &*bytes).expect("an answer of this call");
        answers.push(answer);
    }
    Ok(())
}

/// Bytes as they are.
#[derive(Clone, Copy, Debug)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, bytes: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        use tonic::codegen::Bytes;
        prost::bytes::BufMut::put(to, Bytes::from(bytes));
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        use prost::bytes::Buf as _;
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}
