//! Clients of the order service, as good ones are: what got no answer is repeated with the same key, at the next instance. And
//! the ledger: what they were promised and how each order must end, known before it is submitted.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use skald_proto::order::v1::{
    CancelOrderRequest, GetOrderRequest, Order as View, OrderDraft, OrderLine, PayOrderRequest,
    SubmitOrderRequest, order_service_client::OrderServiceClient,
};
use tokio::task::JoinSet;
use tonic::{Code, Status, transport::Channel};
use uuid::Uuid;

use super::{
    LIMIT,
    world::{Kind, World},
};

/// Plenty of it.
pub(crate) const TEA: &str = "TEA";
/// Plenty of it too.
pub(crate) const POT: &str = "POT";
/// One is there; whoever wants two gets none.
pub(crate) const RARE: &str = "RARE";
/// Fewer than there are orders for it, and everybody wants one.
pub(crate) const LAST: &str = "LAST";

/// A client takes a breath before it repeats a call.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// What the shelf of a load holds.
pub(crate) const SHELF: [(&str, i64); 4] = [(TEA, 100_000), (POT, 100_000), (RARE, 1), (LAST, 3)];

/// How an order must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// COMPLETED.
    Completed,
    /// CANCELLED for this reason.
    Cancelled(&'static str),
    /// COMPLETED, or CANCELLED with OUT_OF_STOCK: as many as there were goods.
    FirstCome,
}

/// What its customer does once it is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    Pay,
    Cancel,
}

/// An order that will be placed.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) draft: OrderDraft,
    pub(crate) end: End,
    pub(crate) then: Then,
}

/// An order of these lines (SKU, quantity), 250 cents a unit; no token: it is paid later.
pub(crate) fn draft(lines: &[(&str, i64)], token: Option<&str>) -> OrderDraft {
    let line = |(sku, quantity): &(&str, i64)| OrderLine {
        sku: (*sku).to_owned(),
        quantity: *quantity,
        unit_price_minor: 250,
        seller_id: String::new(),
    };
    OrderDraft {
        customer_id: "customer".into(),
        lines: lines.iter().map(line).collect(),
        currency: "EUR".into(),
        payment_token: token.map(str::to_owned),
        needs_fulfilment: false,
        note: String::new(),
    }
}

/// The `n`th order of a load: good ones, out of stock, declined, cancelled, paid later, each kind of slow and lying gateway.
pub(crate) fn mixed(n: usize) -> Order {
    use End::{Cancelled, Completed, FirstCome};
    let one = |lines: &[(&str, i64)], token, end, then| Order { draft: draft(lines, token), end, then };
    let quantity = 1 + (n % 7) as i64;
    match n % 10 {
        0 => one(&[(TEA, quantity), (POT, 1)], Some("tok_slow"), Completed, Then::Nothing),
        1 => one(&[(TEA, quantity)], None, Cancelled("CUSTOMER"), Then::Cancel),
        2 => one(&[(POT, quantity)], Some("tok_ok"), Completed, Then::Nothing),
        3 => one(&[(TEA, 1), (RARE, 2)], Some("tok_ok"), Cancelled("OUT_OF_STOCK"), Then::Nothing),
        4 => one(&[(TEA, quantity)], Some("tok_declined"), Cancelled("PAYMENT_DECLINED"), Then::Nothing),
        5 => one(&[(LAST, 1)], Some("tok_ok"), FirstCome, Then::Nothing),
        6 => one(&[(TEA, quantity)], None, Completed, Then::Pay),
        7 => one(&[(POT, quantity)], Some("tok_lost_answer"), Completed, Then::Nothing),
        8 => one(&[(TEA, quantity), (POT, 2)], Some("tok_flaky"), Completed, Then::Nothing),
        _ => one(&[(POT, quantity), (TEA, 1)], Some("tok_ok"), Completed, Then::Nothing),
    }
}

/// An order that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    pub(crate) id: Uuid,
    pub(crate) key: String,
    pub(crate) draft: OrderDraft,
    pub(crate) end: End,
    /// How often its submission got UNAVAILABLE.
    pub(crate) unavailable: usize,
    /// Other ways in which its submission was not answered: connections that broke, calls that hung.
    pub(crate) unanswered: Vec<String>,
    /// The repetition found it placed: the first answer had been lost.
    pub(crate) found: bool,
}

/// What a call came to.
struct Said<T> {
    answer: T,
    unavailable: usize,
    unanswered: Vec<String>,
}

/// A crowd of clients with one ledger. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Shop {
    channels: Vec<Channel>,
    ledger: Arc<Mutex<Vec<Promise>>>,
    tries: Arc<AtomicUsize>,
    unavailable: Arc<AtomicUsize>,
}

impl Shop {
    /// Clients of all orchestrators of a world.
    pub(crate) fn new(world: &World) -> Shop {
        let channels = world.all(Kind::Orchestrator).iter().map(|service| service.channel()).collect();
        Shop { channels, ledger: Arc::default(), tries: Arc::default(), unavailable: Arc::default() }
    }

    /// Everything that was promised so far.
    pub(crate) fn ledger(&self) -> Vec<Promise> {
        self.lock().clone()
    }

    /// How many orders were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.lock().len()
    }

    /// Calls that were begun so far.
    pub(crate) fn tries(&self) -> usize {
        self.tries.load(Ordering::SeqCst)
    }

    /// Calls that got UNAVAILABLE so far.
    pub(crate) fn unavailable(&self) -> usize {
        self.unavailable.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Promise>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client of an instance.
    pub(crate) fn client(&self, n: usize) -> OrderServiceClient<Channel> {
        OrderServiceClient::new(self.channels[n % self.channels.len()].clone())
    }

    /// Places an order, and does what its customer does then.
    pub(crate) async fn place(&self, order: Order) -> Promise {
        let key = skald_harness::unique("order");
        let request = SubmitOrderRequest { idempotency_key: key.clone(), order: Some(order.draft.clone()) };
        let said = self
            .until_answered(&key, |mut client| {
                let request = request.clone();
                async move { client.submit_order(request).await }
            })
            .await;
        let promise = Promise {
            id: said.answer.order_id.parse().expect("an order's id is a UUID"),
            key,
            draft: order.draft,
            end: order.end,
            unavailable: said.unavailable,
            unanswered: said.unanswered,
            found: !said.answer.created,
        };
        self.lock().push(promise.clone());
        match order.then {
            Then::Nothing => {}
            Then::Pay => self.pay(promise.id).await,
            Then::Cancel => self.cancel(promise.id).await,
        }
        promise
    }

    /// Pays an order, however often it has to be said.
    pub(crate) async fn pay(&self, id: Uuid) {
        let request = PayOrderRequest {
            order_id: id.to_string(),
            payment_token: "tok_ok".into(),
            request_id: format!("pay-{id}"),
        };
        self.until_answered("a payment", |mut client| {
            let request = request.clone();
            async move { client.pay_order(request).await }
        })
        .await;
    }

    /// Cancels an order, however often it has to be said.
    pub(crate) async fn cancel(&self, id: Uuid) {
        let request = CancelOrderRequest { order_id: id.to_string(), note: "changed my mind".into() };
        self.until_answered("a cancellation", |mut client| {
            let request = request.clone();
            async move { client.cancel_order(request).await }
        })
        .await;
    }

    /// An order as its customer sees it.
    pub(crate) async fn look(&self, id: Uuid) -> View {
        let request = GetOrderRequest { order_id: id.to_string() };
        let said = self
            .until_answered("a look", |mut client| {
                let request = request.clone();
                async move { client.get_order(request).await }
            })
            .await;
        said.answer.order.expect("an order")
    }

    /// Asks one instance after the other until one answers.
    async fn until_answered<T, F>(
        &self,
        what: &str,
        ask: impl Fn(OrderServiceClient<Channel>) -> F,
    ) -> Said<T>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let (mut unavailable, mut unanswered) = (0, Vec::new());
        let end = tokio::time::Instant::now() + LIMIT;
        loop {
            let turn = self.tries.fetch_add(1, Ordering::SeqCst);
            let status = match ask(self.client(turn)).await {
                Ok(answer) => return Said { answer: answer.into_inner(), unavailable, unanswered },
                Err(status) => status,
            };
            match status.code() {
                Code::Unavailable => {
                    unavailable += 1;
                    self.unavailable.fetch_add(1, Ordering::SeqCst);
                }
                // The connection was being closed: the call never left.
                Code::Cancelled => {}
                // A connection that broke in the middle of a call; an instance that hangs; one that has too much to do.
                Code::Unknown | Code::Internal | Code::DeadlineExceeded | Code::ResourceExhausted => {
                    unanswered.push(format!("{status:?}"));
                }
                _ => panic!("{what}: {status:?}"),
            }
            assert!(tokio::time::Instant::now() < end, "{what} was not answered: {status:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Orders that are being placed by several clients at once.
#[derive(Debug)]
pub(crate) struct Load {
    clients: JoinSet<()>,
}

impl Load {
    /// Begins.
    pub(crate) fn start(shop: &Shop, orders: impl IntoIterator<Item = Order>, clients: usize) -> Load {
        let queue: Arc<Mutex<VecDeque<Order>>> = Arc::new(Mutex::new(orders.into_iter().collect()));
        let next = move || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let mut running = JoinSet::new();
        for _ in 0..clients {
            let (shop, next) = (shop.clone(), next.clone());
            running.spawn(async move {
                while let Some(order) = next() {
                    shop.place(order).await;
                }
            });
        }
        Load { clients: running }
    }

    /// Waits until every order was accepted.
    pub(crate) async fn done(self) {
        self.clients.join_all().await;
    }
}
