//! The naive participant behind ParticipantService.

use std::{net::SocketAddr, pin::Pin};

use futures::{Stream, StreamExt as _};
use skald_proto::participant::v1::{
    Action, DescribeRequest, DescribeResponse, ExecuteRequest, ExecuteResponse,
    participant_service_server::{ParticipantService, ParticipantServiceServer},
};
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status, Streaming, transport::Server};

use super::{ACTION, Life, NAME, Naive, Sin, UNDO, runtime};

pub(crate) struct Served {
    naive: Naive,
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Served {
    pub(crate) fn new(naive: Naive) -> Self {
        let address = ([127, 0, 0, 1], skald_harness::free_port()).into();
        let mut served = Self { naive, address, runtime: None };
        served.start();
        served
    }
}

impl Life for Served {
    fn start(&mut self) {
        let runtime = runtime();
        let serve = Server::builder()
            .add_service(ParticipantServiceServer::new(self.naive.clone()))
            .serve(self.address);
        runtime.spawn(async move { serve.await.expect("it serves") });
        self.runtime = Some(runtime);
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // waits until its tasks are dropped, so that the address is free; they are not asked to end. Not allowed inside
            // another runtime's task, hence the thread.
            std::thread::spawn(move || drop(runtime)).join().expect("dropped");
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tonic::async_trait]
impl ParticipantService for Naive {
    type ExecuteStream = Pin<Box<dyn Stream<Item = Result<ExecuteResponse, Status>> + Send>>;

    async fn execute(
        &self,
        request: Request<Streaming<ExecuteRequest>>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        let naive = self.clone();
        let answers = request.into_inner().then(move |request| {
            let naive = naive.clone();
            async move {
                let mut outcomes = Vec::new();
                for command in request?.commands {
                    if command.saga_id != "no-uuid" || naive.sin == Sin::AnswersNonsense {
                        outcomes.push(naive.outcome(&command).await);
                    }
                }
                Ok(ExecuteResponse { outcomes, ..Default::default() })
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        let participant =
            if self.sin == Sin::MisnamesItself { "someone".to_owned() } else { NAME.to_owned() };
        let actions = vec![Action { name: ACTION.to_owned(), undo: UNDO.to_owned() }];
        let version = String::new();
        Ok(Response::new(DescribeResponse {
            participant,
            protocols: vec![1],
            actions,
            horizon_days: 45,
            version,
        }))
    }
}
