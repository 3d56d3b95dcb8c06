//! What a wave costs: round trips to PostgreSQL, whatever the number of orders in it.

use skald_harness::eventually;
use skald_proto::participant::v1::Command;
use sqlx::Connection as _;

use crate::{
    support::{Installation, Instance, SOON, commit, order, release, reserve},
    trips::Trips,
};

/// Orders of one wave.
const ORDERS: usize = 50;

struct Meter<'a> {
    trips: Trips,
    inventory: &'a Instance,
    direct: String,
}

impl Meter<'_> {
    /// Executes one wave; tells its round trips.
    async fn wave(&self, commands: Vec<Command>) -> usize {
        eventually("the events to be gone, so that the wave has none to remove", SOON, async || {
            let mut connection = sqlx::PgConnection::connect(&self.direct).await.expect("connects");
            let rows: i64 = sqlx::query_scalar("select count(*) from skald.outbox")
                .fetch_one(&mut connection)
                .await
                .expect("counted");
            (rows == 0).then_some(())
        })
        .await;
        let worker = || self.trips.of("insert into skald.barrier");
        let (before, sent) = (worker(), commands.len());
        assert_eq!(self.inventory.execute(commands).await.len(), sent);
        worker() - before
    }
}

#[tokio::test]
async fn a_wave_costs_few_round_trips_however_many_orders_it_has() {
    let mut installation = Installation::new().await;
    let direct = installation.database.url.clone();
    let trips = Trips::start_at(&direct, 0).await;
    installation.config.postgres.url = trips.url.as_str().into();
    let inventory = installation.start().await;
    inventory.restock("r1", "apple", 1_000).await.expect("restocked");
    let meter = Meter { trips, inventory: &inventory, direct };
    let mut costs = Vec::new();
    // the first round prepares the statements
    for _ in 0..2 {
        let ids: Vec<_> = (0..ORDERS).map(|_| order()).collect();
        let (first, second) = ids.split_at(ORDERS / 2);
        let reserves = meter.wave(ids.iter().map(|id| reserve(*id, &[("apple", 1)])).collect()).await;
        let commits = meter.wave(first.iter().map(|id| commit(*id)).collect()).await;
        let fresh = (0..ORDERS).map(|_| reserve(order(), &[("apple", 1)]));
        let mixed = meter.wave(second.iter().map(|id| release(*id)).chain(fresh).collect()).await;
        costs = vec![("reserve", reserves), ("commit", commits), ("release and reserve", mixed)];
    }
    assert_eq!(costs, [("reserve", 7), ("commit", 8), ("release and reserve", 8)]);
    inventory.stop().await;
}
