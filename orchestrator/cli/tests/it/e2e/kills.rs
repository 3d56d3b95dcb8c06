//! kill -9 in mid-flight, one test for each thing that can die. Each shows that the kill hit work in flight, that orders went on
//! being placed meanwhile, and that afterwards every acknowledged order is final and goods and money add up exactly.

use std::ops::Range;

use skald_harness::budget;
use uuid::Uuid;

use super::{
    LIMIT, audit,
    flight::{Flight, freeze_at_work, freeze_when},
    shop::{Load, Order, SHELF, Shop, mixed},
    world::{Kind, World},
};

/// Clients that place orders at the same time.
const CLIENTS: usize = 8;

/// So many calls are refused while PostgreSQL is away: long enough that everybody's heartbeat is missed.
const REFUSED: usize = 500;

/// How many orders a test places.
fn orders() -> usize {
    budget().pick(50, 200)
}

/// A share of them: the first two fifths before the kill, the third one across it, the rest while the thing is dead.
fn fifths(fifths: Range<usize>) -> impl Iterator<Item = Order> {
    let fifth = orders() / 5;
    (fifths.start * fifth..fifths.end * fifth).map(mixed)
}

/// A world with goods, its clients, and the first orders on their way.
async fn under_load(plan: super::world::Plan) -> (World, Shop, Load) {
    let mut world = plan.start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    let load = Load::start(&shop, fifths(0..2), CLIENTS);
    (world, shop, load)
}

async fn eventually_more(what: &str, than: usize, count: impl Fn() -> usize) {
    skald_harness::eventually(what, LIMIT, async || if count() > than { Ok(()) } else { Err(count()) }).await;
}

/// Everything that must hold when all is over.
async fn judge(world: &World, shop: &Shop, loads: [Load; 3]) {
    for load in loads {
        load.done().await;
    }
    let ends = audit::at_rest(world, shop).await;
    let ledger = shop.ledger();
    assert_eq!(ends.values().sum::<usize>(), orders(), "{ends:?}");
    let tenth = orders() / 10;
    // Three units of LAST for a tenth of the orders; what else there is ends in one way only.
    let sold_out = tenth - 3;
    let expected = [6 * tenth + 3, tenth, tenth + sold_out, tenth];
    let got = ["COMPLETED", "CUSTOMER", "OUT_OF_STOCK", "PAYMENT_DECLINED"]
        .map(|end| ends.get(end).copied().unwrap_or(0));
    assert_eq!(got, expected, "{ends:?}");
    let (unavailable, unanswered, found) = ledger.iter().fold((0, 0, 0), |(a, b, c), promise| {
        (a + promise.unavailable.min(1), b + promise.unanswered.len().min(1), c + usize::from(promise.found))
    });
    println!(
        "{ends:?}; submissions that were repeated after UNAVAILABLE: {unavailable}, after no answer: {unanswered}, \
         found placed: {found}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_orchestrator() {
    let (mut world, shop, first) = under_load(World::plan()).await;
    let hit = freeze_at_work(&world, Kind::Orchestrator, 0, orders() / 5).await;
    let tried = shop.tries();
    let second = Load::start(&shop, fifths(2..3), CLIENTS);
    eventually_more("clients to call the frozen orchestrator", tried, || shop.tries()).await;
    world.service(Kind::Orchestrator, 0).kill9().await;
    let third = Load::start(&shop, fifths(3..5), CLIENTS);
    let after = Flight::read(&mut world.sql(Kind::Orchestrator).await).await;
    assert_eq!(after.sagas, hit.sagas, "what was under way when it froze is under way when it is dead");
    println!("killed with {} sagas under way, commands in flight: {:?}", after.sagas.len(), after.commands);
    eventually_more("clients to be told UNAVAILABLE", 0, || shop.unavailable()).await;
    world.service_mut(Kind::Orchestrator, 0).restart().await;
    judge(&world, &shop, [first, second, third]).await;
    told_and_repeated(&shop);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_inventory() {
    of_a_participant(Kind::Inventory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_payment() {
    of_a_participant(Kind::Payment).await;
}

async fn of_a_participant(kind: Kind) {
    let (mut world, shop, first) = under_load(World::plan()).await;
    let mut conn = world.sql(Kind::Orchestrator).await;
    let what = format!("{} with commands in flight", kind.name());
    let hit = freeze_when(world.service(kind, 0), &what, async || {
        let flight = Flight::read(&mut conn).await;
        // Payment in the middle of a call: the intent is committed, the gateway is asked, nobody has the answer.
        let calling = kind != Kind::Payment || open_calls(&world).await > 0;
        if flight.work_for(kind) >= orders() / 10 && calling { Ok(flight) } else { Err(flight) }
    })
    .await;
    let open = open_calls(&world).await;
    let second = Load::start(&shop, fifths(2..3), CLIENTS);
    world.service(kind, 0).kill9().await;
    println!("killed {} with commands in flight: {:?}, open calls: {open}", kind.name(), hit.commands);
    let accepted = shop.accepted();
    let third = Load::start(&shop, fifths(3..5), CLIENTS);
    eventually_more("orders to be accepted while it is dead", accepted, || shop.accepted()).await;
    world.service_mut(kind, 0).restart().await;
    judge(&world, &shop, [first, second, third]).await;
}

/// Calls of the gateway that were begun and are not settled.
async fn open_calls(world: &World) -> i64 {
    let mut conn = world.sql(Kind::Payment).await;
    sqlx::query_scalar("select count(*) from skald.intent where calls > 0")
        .fetch_one(&mut conn)
        .await
        .expect("read")
}

/// Waits until commands are in flight at both participants, and the gateway is being asked.
async fn in_flight(world: &World) -> Flight {
    let mut conn = world.sql(Kind::Orchestrator).await;
    skald_harness::eventually("commands in flight at both participants", LIMIT, async || {
        let flight = Flight::read(&mut conn).await;
        let commands = [Kind::Inventory, Kind::Payment].iter().all(|kind| flight.work_for(*kind) > 0);
        if commands && open_calls(world).await > 0 { Ok(flight) } else { Err(flight) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_broker() {
    let (mut world, shop, first) = under_load(World::plan().own_kafka()).await;
    let before = in_flight(&world).await;
    let second = Load::start(&shop, fifths(2..3), CLIENTS);
    world.kafka.as_mut().expect("our own").kill().await.expect("killed");
    let accepted = shop.accepted();
    let third = Load::start(&shop, fifths(3..5), CLIENTS);
    let after = Flight::read(&mut world.sql(Kind::Orchestrator).await).await;
    let hit = before.sagas.intersection(&after.sagas).count();
    println!(
        "killed with {} sagas under way, {hit} of them afterwards too: {:?}",
        before.sagas.len(),
        after.commands
    );
    assert!(hit > 0, "the kill hit work in flight");
    // Without a broker orders are accepted all the same.
    eventually_more("orders to be accepted without a broker", accepted, || shop.accepted()).await;
    world.kafka.as_mut().expect("our own").restart().await.expect("restarted");
    judge(&world, &shop, [first, second, third]).await;
}

/// Freezes both participants with commands in flight at each while the gateway is being asked, and leaves them frozen; gives the
/// orders that were placed meanwhile, too.
async fn freeze_participants(world: &World, shop: &Shop) -> (Flight, Load) {
    let mut conn = world.sql(Kind::Orchestrator).await;
    freeze_when(world.service(Kind::Payment, 0), "payment with open calls", async || {
        let flight = Flight::read(&mut conn).await;
        let open = open_calls(world).await;
        if flight.work_for(Kind::Payment) > 2 && open > 0 { Ok(()) } else { Err((flight, open)) }
    })
    .await;
    world.service(Kind::Inventory, 0).freeze();
    let load = Load::start(shop, fifths(2..3), CLIENTS);
    let flight = skald_harness::eventually("commands in flight at both participants", LIMIT, async || {
        let flight = Flight::read(&mut conn).await;
        let both = [Kind::Inventory, Kind::Payment].iter().all(|kind| flight.work_for(*kind) > 2);
        if both { Ok(flight) } else { Err(flight) }
    })
    .await;
    (flight, load)
}

/// The participants are frozen while it dies, so that they meet its absence in the middle of their work.
#[tokio::test(flavor = "multi_thread")]
async fn of_postgresql() {
    let (mut world, shop, first) = under_load(World::plan().own_postgres()).await;
    let known = alive(&world).await;
    let (before, second) = freeze_participants(&world, &shop).await;
    let open = open_calls(&world).await;
    world.postgres.as_mut().expect("our own").kill().await.expect("killed");
    for kind in [Kind::Inventory, Kind::Payment] {
        world.service(kind, 0).thaw();
    }
    let third = Load::start(&shop, fifths(3..5), CLIENTS);
    println!("killed with {} sagas under way: {:?}, open calls: {open}", before.sagas.len(), before.commands);
    eventually_more("clients to be told UNAVAILABLE again and again", REFUSED, || shop.unavailable()).await;
    world.postgres.as_mut().expect("our own").restart().await.expect("restarted");
    let after = Flight::read(&mut world.sql(Kind::Orchestrator).await).await;
    let hit = before.sagas.intersection(&after.sagas).count();
    assert!(hit > 0, "the kill hit work in flight");
    judge(&world, &shop, [first, second, third]).await;
    told_and_repeated(&shop);
    assert_eq!(
        alive(&world).await,
        known,
        "the only orchestrator was never gone, though its heartbeat was missed"
    );
}

/// The orchestrators that are known; a row that was removed and made again has another time.
async fn alive(world: &World) -> Vec<(Uuid, String)> {
    let mut conn = world.sql(Kind::Orchestrator).await;
    skald_harness::eventually("an orchestrator to be known", LIMIT, async || {
        let query = "select id, started_at::text from skald.instance";
        let alive: Vec<(Uuid, String)> =
            sqlx::query_as(query).fetch_all(&mut conn).await.map_err(|error| error.to_string())?;
        if alive.is_empty() { Err(String::from("none is")) } else { Ok(alive) }
    })
    .await
}

fn told_and_repeated(shop: &Shop) {
    let repeated = shop.ledger().iter().filter(|promise| promise.unavailable > 0).count();
    assert!(repeated > 0, "clients that got UNAVAILABLE repeated with the same key, and got one order each");
}
