//! Clients, as good ones are: what got no answer is repeated with the same key, at the next orchestrator, for as long as it takes.
//! And the ledger of what they were told.

mod order;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use skald_proto::order::v1::{
    CancelOrderRequest, GetOrderRequest, OrderStatus, PayOrderRequest, SubmitOrderRequest,
    order_service_client::OrderServiceClient,
};
use tokio::{sync::Semaphore, task::JoinSet};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

use crate::world::{EACH, World};
pub(crate) use order::{End, LAST, SHELF};
use order::{Order, Then, canary, mixed};

/// A client takes a breath before it repeats a call.
const BREATH: Duration = Duration::from_millis(100);
/// What one call may take: a client that waits for a partition to end asks nobody else.
const CALL: Duration = Duration::from_secs(5);
/// How long a connection may be without a sign of life.
const ALIVE: Duration = Duration::from_secs(3);
/// Customers that order at the same time at most.
const CROWD: usize = 64;

/// An order that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    pub(crate) id: Uuid,
    pub(crate) key: String,
    pub(crate) total_minor: i64,
    pub(crate) end: End,
    /// Its customer was told that it is cancelled.
    pub(crate) cancelled: bool,
}

/// How often what happened to clients.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Calls that were refused: UNAVAILABLE, RESOURCE_EXHAUSTED.
    pub(crate) refused: AtomicU64,
    /// Calls whose end nobody knows: broken connections, deadlines.
    pub(crate) unknown: AtomicU64,
    /// Submissions that a repeat found placed.
    pub(crate) found: AtomicU64,
}

/// The crowd. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    channels: Vec<Channel>,
    ledger: Arc<Mutex<Vec<Promise>>>,
    complaints: Arc<Mutex<Vec<String>>>,
    turn: Arc<AtomicUsize>,
    next: Arc<AtomicUsize>,
    run: Arc<str>,
    pub(crate) counts: Arc<Counts>,
}

impl Clients {
    /// Clients of both orchestrators, through the wires. `run` makes their keys unique.
    ///
    /// # Errors
    /// An orchestrator has no door.
    pub(crate) fn new(world: &World, run: &str) -> Result<Clients> {
        let channel = |n| {
            let port = world.door(n).context("every orchestrator has a door")?;
            let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?
                .connect_timeout(ALIVE)
                .timeout(CALL)
                .http2_keep_alive_interval(ALIVE)
                .keep_alive_timeout(ALIVE)
                .keep_alive_while_idle(true);
            anyhow::Ok(endpoint.connect_lazy())
        };
        Ok(Clients {
            channels: (0..EACH).map(channel).collect::<Result<_>>()?,
            ledger: Arc::default(),
            complaints: Arc::default(),
            turn: Arc::default(),
            next: Arc::default(),
            run: run.into(),
            counts: Arc::default(),
        })
    }

    /// Everything that was promised so far.
    pub(crate) fn ledger(&self) -> Vec<Promise> {
        lock(&self.ledger).clone()
    }

    /// How many orders were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        lock(&self.ledger).len()
    }

    /// Answers that no client should ever get.
    pub(crate) fn complaints(&self) -> Vec<String> {
        lock(&self.complaints).clone()
    }

    /// Places a good order now; gives how long it took until it was COMPLETED, or None when `limit` is over. Then it is still placed,
    /// so that the ledger knows of it.
    pub(crate) async fn canary(&self, limit: Duration) -> Option<Duration> {
        let begin = Instant::now();
        let clients = self.clone();
        let placed = tokio::spawn(async move { clients.place(canary(1)).await });
        let watched = async {
            let id = placed.await.ok()??;
            loop {
                let request = GetOrderRequest { order_id: id.to_string() };
                let order = self.answered(|mut c| {
                    let request = request.clone();
                    async move { c.get_order(request).await }
                });
                if order.await.ok()?.order?.status() == OrderStatus::Completed {
                    return Some(begin.elapsed());
                }
                tokio::time::sleep(BREATH / 4).await;
            }
        };
        tokio::time::timeout(limit, watched).await.ok()?
    }

    /// Places an order, and does what its customer does then. None when it was refused for good, which is a complaint.
    async fn place(&self, order: Order) -> Option<Uuid> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let key = format!("{}-{n}", self.run);
        let submitted = self.submit(&key, &order);
        let id = match order.then {
            Then::Twice => {
                let (one, other) = tokio::join!(submitted, self.submit(&key, &order));
                if one != other {
                    self.complain(format!("the key {key} got {one:?} and {other:?}"));
                }
                one.or(other)?
            }
            _ => submitted.await?,
        };
        let total_minor = order.draft.lines.iter().map(|l| l.quantity * l.unit_price_minor).sum();
        let promise = Promise { id, key, total_minor, end: order.end, cancelled: false };
        let place = {
            let mut ledger = lock(&self.ledger);
            ledger.push(promise);
            ledger.len() - 1
        };
        match order.then {
            Then::Nothing | Then::Twice => {}
            Then::Pay => self.pay(id).await,
            Then::Cancel | Then::CancelLate => {
                if self.cancel(id, order.then == Then::CancelLate).await {
                    lock(&self.ledger)[place].cancelled = true;
                }
            }
        }
        Some(id)
    }

    async fn submit(&self, key: &str, order: &Order) -> Option<Uuid> {
        let request =
            SubmitOrderRequest { idempotency_key: key.to_owned(), order: Some(order.draft.clone()) };
        let said = self.answered(|mut client| {
            let request = request.clone();
            async move { client.submit_order(request).await }
        });
        match said.await {
            Ok(answer) => {
                self.counts.found.fetch_add(u64::from(!answer.created), Ordering::Relaxed);
                answer.order_id.parse().ok()
            }
            Err(status) => {
                self.complain(format!("the submission {key}: {status:?}"));
                None
            }
        }
    }

    async fn pay(&self, id: Uuid) {
        let request = PayOrderRequest {
            order_id: id.to_string(),
            payment_token: "tok_ok".into(),
            request_id: format!("pay-{id}"),
        };
        let said = self.answered(|mut client| {
            let request = request.clone();
            async move { client.pay_order(request).await }
        });
        if let Err(status) = said.await {
            self.complain(format!("paying {id}: {status:?}"));
        }
    }

    /// Whether its customer was told that it is cancelled; a late one may be told that it is too late.
    async fn cancel(&self, id: Uuid, late: bool) -> bool {
        let request = CancelOrderRequest { order_id: id.to_string(), note: "changed my mind".into() };
        let said = self.answered(|mut client| {
            let request = request.clone();
            async move { client.cancel_order(request).await }
        });
        match said.await {
            Ok(_) => true,
            Err(status) if late && status.code() == Code::FailedPrecondition => false,
            Err(status) => {
                self.complain(format!("cancelling {id}: {status:?}"));
                false
            }
        }
    }

    /// Asks one orchestrator after the other until one gives an answer that a repeat would not change.
    async fn answered<T, F>(&self, ask: impl Fn(OrderServiceClient<Channel>) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        loop {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let client = OrderServiceClient::new(self.channels[turn % self.channels.len()].clone());
            let status = match ask(client).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            let counter = match status.code() {
                Code::Unavailable | Code::ResourceExhausted => &self.counts.refused,
                // A connection that broke in the middle of a call; an instance that hangs. INTERNAL counts when it is ours.
                Code::Unknown | Code::Cancelled | Code::DeadlineExceeded => &self.counts.unknown,
                Code::Internal if is_transport(&status) => &self.counts.unknown,
                _ => return Err(status),
            };
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(BREATH).await;
        }
    }

    fn complain(&self, what: String) {
        lock(&self.complaints).push(what);
    }
}

/// INTERNAL as HTTP/2 says it of a broken connection, not as a server says it of itself.
fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some() || status.message().contains("h2 protocol error")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Orders that are being placed.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Begins: so many orders a second, as long as so many are accepted.
    pub(crate) fn start(clients: &Clients, per_second: f64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let due = Arc::new(Semaphore::new(0));
        let number = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..CROWD {
            let (clients, due, stop) = (clients.clone(), Arc::clone(&due), Arc::clone(&stop));
            let number = Arc::clone(&number);
            tasks.spawn(async move {
                while let Ok(permit) = due.acquire().await {
                    permit.forget();
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    clients.place(mixed(number.fetch_add(1, Ordering::Relaxed))).await;
                }
            });
        }
        let (stopping, gap) = (Arc::clone(&stop), Duration::from_secs_f64(1.0 / per_second));
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(gap);
            while !stopping.load(Ordering::Relaxed) {
                ticks.tick().await;
                if due.available_permits() < CROWD {
                    due.add_permits(1);
                }
            }
            due.add_permits(CROWD);
        });
        Load { stop, tasks }
    }

    /// Places no more, and waits until the last one was answered; false when some were not, for so long.
    pub(crate) async fn stop(self, limit: Duration) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        tokio::time::timeout(limit, self.tasks.join_all()).await.is_ok()
    }
}
