//! Clients that submit without a pause, repeat what they must, and remember what they were promised.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use skald_proto::order::v1::{self as order, OrderStatus, order_service_client::OrderServiceClient};
use tonic::{Code, transport::Channel};

use super::{DEADLINE, World, draft};

/// Clients at work.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    acknowledged: Mutex<Vec<String>>,
    refused: AtomicUsize,
}

impl Load {
    /// Each client submits one order after the other to each channel in turn.
    pub(crate) fn start(clients: usize, channels: &[Channel]) -> Load {
        let shared = Arc::new(Shared::default());
        let run = |n: usize| {
            let (shared, channels) = (Arc::clone(&shared), channels.to_vec());
            tokio::spawn(async move { shared.client(n, &channels).await })
        };
        let clients = (0..clients).map(run).collect();
        Load { shared, clients }
    }

    /// Orders that were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.shared.acknowledged.lock().unwrap().len()
    }

    /// Calls that were told to come back so far.
    pub(crate) fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Waits until so many more were acknowledged.
    pub(crate) async fn more(&self, orders: usize) {
        let goal = self.acknowledged() + orders;
        skald_harness::eventually("more orders", DEADLINE, async || {
            let now = self.acknowledged();
            if now >= goal { Ok(()) } else { Err(now) }
        })
        .await;
    }

    /// Ends; gives what was acknowledged. Each client has its last answer.
    pub(crate) async fn end(self) -> Vec<String> {
        self.shared.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            tokio::time::timeout(DEADLINE, client).await.expect("a client ends").unwrap();
        }
        let acknowledged = std::mem::take(&mut *self.shared.acknowledged.lock().unwrap());
        let different: BTreeSet<_> = acknowledged.iter().collect();
        assert_eq!(different.len(), acknowledged.len(), "each key is another order");
        acknowledged
    }
}

impl Shared {
    async fn client(&self, client: usize, channels: &[Channel]) {
        let mut n = 0;
        while !self.over.load(Ordering::Relaxed) {
            n += 1;
            let key = format!("{client}-{n}");
            // Until it is known what became of it, or the test is over and nothing was promised.
            for channel in channels.iter().cycle().skip(n) {
                let request =
                    order::SubmitOrderRequest { idempotency_key: key.clone(), order: Some(draft()) };
                match OrderServiceClient::new(channel.clone()).submit_order(request).await {
                    Ok(answer) => {
                        self.acknowledged.lock().unwrap().push(answer.into_inner().order_id);
                        break;
                    }
                    Err(status) => {
                        // Unknown and Cancelled: the server went away in the middle.
                        let known =
                            [Code::Unavailable, Code::ResourceExhausted, Code::Unknown, Code::Cancelled];
                        // INTERNAL counts when it is the server's own word, not that of a connection that it gave up.
                        let broke = std::error::Error::source(&status)
                            .is_some_and(|cause| cause.is::<tonic::transport::Error>());
                        assert!(broke || known.contains(&status.code()), "{status:?}");
                        self.refused.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
                if self.over.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
}

impl World {
    /// Waits until every one of these orders is complete.
    pub(crate) async fn all_complete(&self, ids: &[String]) {
        assert!(!ids.is_empty());
        let uuids: Vec<uuid::Uuid> = ids.iter().map(|id| id.parse().unwrap()).collect();
        skald_harness::eventually("every acknowledged order is complete", DEADLINE * 2, async || {
            let by_status: Vec<(i16, i64, Option<uuid::Uuid>)> = sqlx::query_as(
                "select status, count(*), (array_agg(id))[1] from saga where id = any($1) group by status",
            )
            .bind(&uuids)
            .fetch_all(&mut self.sql().await)
            .await
            .unwrap();
            let complete = by_status.iter().find(|(s, ..)| *s == 3).map_or(0, |(_, n, _)| *n as usize);
            if complete == ids.len() { Ok(()) } else { Err((by_status, ids.len())) }
        })
        .await;
        let some = self.order(&ids[ids.len() / 2]).await;
        assert_eq!((some.status(), some.needs_attention), (OrderStatus::Completed, false));
    }
}
