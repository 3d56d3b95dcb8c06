//! The load generator: submits orders over gRPC, as many as there is room for (closed loop) or at a fixed rate (open
//! loop). Measures nothing itself; the book does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use skald_proto::order::v1::{
    SubmitOrderRequest, SubmitOrdersRequest, order_service_client::OrderServiceClient,
    submit_orders_response::Result as Answer,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use uuid::Uuid;

use super::book::Book;
use super::mix::Mix;

/// Orders that wait in a lane for the connection; a full one holds the generator back.
const LANE: usize = 1_024;
/// An order that was told to come back does so after this.
const COME_BACK: Duration = Duration::from_millis(200);
/// The pacer's shortest nap: shorter ones cost more CPU than they gain.
const NAP: Duration = Duration::from_micros(500);
/// Flow control of one HTTP/2 connection, bytes: room for a few thousand orders.
const WINDOW: u32 = 4 << 20;

/// Open connections to the orchestrator.
pub(super) struct Load {
    book: Arc<Book>,
    lanes: Vec<mpsc::Sender<u64>>,
    ended: mpsc::Receiver<String>,
}

/// Orders being submitted; ends with [`Running::stop`].
pub(super) struct Running {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Connects; each lane has a connection of its own.
    pub(super) async fn connect(
        port: u16,
        lanes: u64,
        unary: bool,
        book: Arc<Book>,
        mix: Mix,
    ) -> Result<Self> {
        let (broke, ended) = mpsc::channel(64);
        let mut senders = Vec::new();
        for _ in 0..lanes {
            let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?
                .initial_connection_window_size(WINDOW)
                .initial_stream_window_size(WINDOW)
                .connect()
                .await
                .context("connecting to the orchestrator")?;
            let (sender, orders) = mpsc::channel(LANE);
            let lane = Lane { client: OrderServiceClient::new(channel), book: Arc::clone(&book), mix };
            let broke = broke.clone();
            tokio::spawn(async move {
                let end = if unary { lane.calls(orders).await } else { lane.stream(orders).await };
                let why = end.err().map_or("the orchestrator ended it".to_owned(), |e| format!("{e:#}"));
                let _ = broke.send(why).await;
            });
            senders.push(sender);
        }
        Ok(Self { book, lanes: senders, ended })
    }

    /// Why a lane ended, if one did. None should before the end of the run.
    pub(super) fn broken(&mut self) -> Option<String> {
        self.ended.try_recv().ok()
    }

    /// As many orders as the book has room for: what ended makes room for what comes.
    pub(super) fn closed(&self, in_flight: u64) -> Running {
        self.book.limit(in_flight as usize);
        let mut tasks = JoinSet::new();
        for lane in &self.lanes {
            let (lane, book) = (lane.clone(), Arc::clone(&self.book));
            tasks.spawn(async move {
                // Both places first: an order that is in the book is also sent, whenever this task is ended.
                while let Ok(place) = lane.reserve().await {
                    let Ok(room) = book.room.acquire().await else { return };
                    room.forget();
                    place.send(book.open(Instant::now()));
                }
            });
        }
        Running { stop: Arc::default(), tasks }
    }

    /// So many orders a second, whether those before have ended or not. An order counts from the moment at which it was
    /// due, also when the generator was late: else a system that stands still would not be seen to.
    pub(super) fn open(&self, per_second: u64) -> Running {
        let (book, lanes, stop) =
            (Arc::clone(&self.book), self.lanes.clone(), Arc::new(AtomicBool::new(false)));
        let stopping = Arc::clone(&stop);
        let mut tasks = JoinSet::new();
        tasks.spawn_blocking(move || {
            let start = Instant::now();
            for i in 0_u64.. {
                let due = start
                    + Duration::from_nanos((u128::from(i) * 1_000_000_000 / u128::from(per_second)) as u64);
                while !stopping.load(Ordering::Relaxed) && due > Instant::now() {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()).max(NAP));
                }
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let lane = &lanes[(i % lanes.len() as u64) as usize];
                if lane.blocking_send(book.open(due)).is_err() {
                    return;
                }
            }
        });
        Running { stop, tasks }
    }
}

impl Running {
    /// Submits no more.
    pub(super) async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The pacer can't be aborted: it sees the flag.
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// One connection.
struct Lane {
    client: OrderServiceClient<Channel>,
    book: Arc<Book>,
    mix: Mix,
}

impl Lane {
    /// One SubmitOrders stream.
    async fn stream(mut self, orders: mpsc::Receiver<u64>) -> Result<()> {
        let (again, repeats) = mpsc::channel::<u64>(LANE);
        let mix = self.mix;
        let to_wire =
            move |n: u64| SubmitOrdersRequest { client_ref: n.to_string(), submit: Some(mix.request(n)) };
        let all = tokio_stream::StreamExt::merge(ReceiverStream::new(orders), ReceiverStream::new(repeats));
        let requests = tokio_stream::StreamExt::map(all, to_wire);
        let mut answers = self.client.submit_orders(as_bench(requests)).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            let n: u64 = answer.client_ref.parse().context("an answer to an order that was never sent")?;
            match answer.result {
                Some(Answer::Accepted(accepted)) => self.book.durable(n, accepted.order_id.parse()?),
                Some(Answer::Error(error)) if comes_back(error.code.into()) => {
                    self.book.repeated();
                    let again = again.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(COME_BACK).await;
                        let _ = again.send(n).await;
                    });
                }
                Some(Answer::Error(error)) => self.book.refused(n, &error.message),
                None => self.book.refused(n, "an empty answer"),
            }
        }
        Ok(())
    }

    /// One call per order.
    async fn calls(self, mut orders: mpsc::Receiver<u64>) -> Result<()> {
        while let Some(n) = orders.recv().await {
            let (client, book, request) = (self.client.clone(), Arc::clone(&self.book), self.mix.request(n));
            tokio::spawn(async move {
                match submit(client, &book, request).await {
                    Ok(id) => book.durable(n, id),
                    Err(why) => book.refused(n, &why),
                }
            });
        }
        Ok(())
    }
}

async fn submit(
    mut client: OrderServiceClient<Channel>,
    book: &Book,
    request: SubmitOrderRequest,
) -> Result<Uuid, String> {
    loop {
        match client.submit_order(as_bench(request.clone())).await {
            Ok(answer) => return answer.into_inner().order_id.parse().map_err(|e| format!("{e}")),
            Err(status) if comes_back(status.code()) => {
                book.repeated();
                tokio::time::sleep(COME_BACK).await;
            }
            Err(status) => return Err(status.message().to_owned()),
        }
    }
}

fn as_bench<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("skald-client", MetadataValue::from_static("bench"));
    request
}

/// The same order again, with the same key.
fn comes_back(code: Code) -> bool {
    matches!(code, Code::ResourceExhausted | Code::Unavailable)
}
