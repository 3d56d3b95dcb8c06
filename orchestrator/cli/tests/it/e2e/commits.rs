//! A process dies in the middle of a COMMIT. Whether the commit then takes place or not, nobody may have heard of it: nothing is
//! sent before the commit and nobody is answered before it.

use std::collections::BTreeSet;

use prost::Message as _;
use skald_harness::budget;
use skald_proto::participant::v1::{Outcome, Verb, outcome::Answer};
use sqlx::{Executor as _, PgConnection};
use uuid::Uuid;

use super::{
    LIMIT, audit,
    shop::{End, Load, Order, SHELF, Shop, TEA, Then, draft},
    topics::{self, Record, Topics},
    world::{Kind, World},
};

/// What a transaction is about when it is held.
#[derive(Clone, Copy, Debug)]
enum About {
    Accepting,
    Reserving,
    CommittingGoods,
    Intending,
    Settling,
}

impl About {
    fn kind(self) -> Kind {
        match self {
            About::Accepting => Kind::Orchestrator,
            About::Reserving | About::CommittingGoods => Kind::Inventory,
            About::Intending | About::Settling => Kind::Payment,
        }
    }

    /// What it writes.
    fn writes(self) -> &'static str {
        match self {
            About::Accepting => "insert on public.submission",
            About::Reserving => "insert on public.reservation",
            About::CommittingGoods => "update on public.reservation",
            About::Intending => "insert on public.charge",
            About::Settling => "update on public.charge",
        }
    }
}

/// Holds transactions of one kind inside their COMMIT: a deferred trigger waits there for a lock of ours.
struct Hold {
    ours: PgConnection,
}

impl Hold {
    async fn on(world: &World, about: About) -> Hold {
        let mut ours = world.sql(about.kind()).await;
        ours.execute("select pg_advisory_lock(1)").await.expect("nobody else has it");
        ours.execute(
            "create or replace function public.hold() returns trigger language plpgsql as
             $$ begin perform pg_advisory_xact_lock_shared(1); return null; end $$",
        )
        .await
        .expect("a function");
        let trigger = format!(
            "create constraint trigger hold after {} deferrable initially deferred for each row execute function public.hold()",
            about.writes()
        );
        ours.execute(sqlx::AssertSqlSafe(trigger)).await.expect("a trigger");
        Hold { ours }
    }

    /// The processes of the database that wait in a COMMIT.
    async fn held(&mut self) -> Vec<i32> {
        sqlx::query_scalar(
            "select pid from pg_stat_activity
             where datname = current_database() and wait_event = 'advisory' and upper(query) = 'COMMIT'",
        )
        .fetch_all(&mut self.ours)
        .await
        .expect("the activity can be read")
    }

    async fn until_held(&mut self) -> Vec<i32> {
        skald_harness::eventually("a commit to be held", LIMIT, async || {
            let held = self.held().await;
            if held.is_empty() { Err("none is") } else { Ok(held) }
        })
        .await
    }

    /// What is held takes place, or does not.
    async fn end(mut self, about: About, held: Vec<i32>, takes_place: bool) {
        if !takes_place {
            for pid in held {
                sqlx::query("select pg_terminate_backend($1)")
                    .bind(pid)
                    .execute(&mut self.ours)
                    .await
                    .expect("ended");
            }
            skald_harness::eventually("the held commits to fail", LIMIT, async || {
                let held = self.held().await;
                if held.is_empty() { Ok(()) } else { Err(held) }
            })
            .await;
        }
        self.ours.execute("select pg_advisory_unlock(1)").await.expect("let go");
        let table = about.writes().rsplit(' ').next().unwrap_or_default();
        // Waits for those who have written to it.
        self.ours.execute(sqlx::AssertSqlSafe(format!("drop trigger hold on {table}"))).await.expect("gone");
    }
}

/// What others have heard that is not committed: messages sent, clients answered, calls of the gateway.
async fn said_too_early(world: &World, shop: &Shop, kind: Kind) -> Vec<String> {
    match kind {
        Kind::Orchestrator => {
            let sagas: Vec<Uuid> = sqlx::query_scalar("select id from public.saga")
                .fetch_all(&mut world.sql(kind).await)
                .await
                .expect("the sagas can be read");
            let sent =
                Topics::of(world, "looker").read(&topics::COMMANDS).into_iter().map(|record| record.key);
            let answered = shop.ledger().into_iter().map(|promise| promise.id.to_string());
            let stored: BTreeSet<String> = sagas.iter().map(Uuid::to_string).collect();
            sent.chain(answered).filter(|id| !stored.contains(id)).collect()
        }
        Kind::Inventory | Kind::Payment => {
            let rows = "select saga_id || '/' || step || '/' || verb::text || case when verdict = 'I' then ' open' else '' end
                        from skald.barrier";
            let rows: Vec<String> = sqlx::query_scalar(rows)
                .fetch_all(&mut world.sql(kind).await)
                .await
                .expect("the barrier can be read");
            let stored: BTreeSet<String> = rows.into_iter().collect();
            let outcomes = Topics::of(world, "looker").read(&[&format!("skald.{}.outcomes", kind.name())]);
            let unknown = outcomes.iter().filter_map(verdict).filter(|name| !stored.contains(name));
            let calls = if kind == Kind::Payment { called(world).await } else { Vec::new() };
            let unwritten = calls
                .into_iter()
                .filter(|name| !stored.contains(name) && !stored.contains(&format!("{name} open")));
            unknown.chain(unwritten).collect()
        }
    }
}

/// Names the barrier row in which a verdict must stand; None for a failure, which is not stored.
fn verdict(record: &Record) -> Option<String> {
    let outcome = Outcome::decode(record.payload.as_slice()).expect("an outcome");
    let verb = match outcome.verb() {
        Verb::Undo | Verb::SealUndo => 'U',
        _ => 'R',
    };
    let failed = matches!(outcome.answer, Some(Answer::Failed(_)));
    (!failed).then(|| format!("{}/{}/{verb}", outcome.saga_id, outcome.step))
}

/// Names the barrier rows of the charges that the gateway was asked for.
async fn called(world: &World) -> Vec<String> {
    sqlx::query_scalar(
        "select split_part(our_ref, '/', 1) || '/' || split_part(our_ref, '/', 2) || '/R' from gateway.call",
    )
    .fetch_all(&mut world.sql(Kind::Payment).await)
    .await
    .expect("the gateway's books can be read")
}

/// One death; gives whether a client found its order placed though nobody had told it.
async fn die(world: &mut World, shop: &Shop, about: About, takes_place: bool) -> bool {
    topics::quiet(world).await;
    let known = shop.accepted();
    let mut hold = Hold::on(world, about).await;
    let good =
        || Order { draft: draft(&[(TEA, 2)], Some("tok_ok")), end: End::Completed, then: Then::Nothing };
    let load = Load::start(shop, (0..4).map(|_| good()), 4);
    let held = hold.until_held().await;
    if let About::Settling = about {
        // The commands are finished, as far as Kafka knows: what is settled now is told only to who asks again.
        topics::finished(world, Kind::Payment).await;
    }
    let process = world.service(about.kind(), 0);
    process.kill9().await;
    let early = said_too_early(world, shop, about.kind()).await;
    assert_eq!(early, Vec::<String>::new(), "{about:?}: said before it was committed");
    println!(
        "{about:?}: killed with {} transactions in their COMMIT; they take place: {takes_place}",
        held.len()
    );
    hold.end(about, held, takes_place).await;
    world.service_mut(about.kind(), 0).restart().await;
    load.done().await;
    let ends = audit::at_rest(world, shop).await;
    assert_eq!(ends.get("COMPLETED"), Some(&(known + 4)), "{ends:?}");
    shop.ledger()[known..].iter().any(|promise| promise.found)
}

async fn deaths(ci: &[(About, bool)], full: &[(About, bool)]) {
    let mut world = World::plan().start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    for (about, takes_place) in budget().pick(ci, full) {
        let found = die(&mut world, &shop, *about, *takes_place).await;
        let expected = about.kind() == Kind::Orchestrator && *takes_place;
        assert_eq!(
            found, expected,
            "{about:?}: whoever repeats finds the order, if and only if it was committed"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_orchestrator_dies_in_it() {
    let both = [(About::Accepting, false), (About::Accepting, true)];
    deaths(&both, &both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inventory_dies_in_it() {
    use About::{CommittingGoods, Reserving};
    let all = [(Reserving, false), (CommittingGoods, true), (Reserving, true), (CommittingGoods, false)];
    deaths(&all[..2], &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payment_dies_in_it() {
    use About::{Intending, Settling};
    let all = [(Intending, false), (Settling, true), (Intending, true), (Settling, false)];
    deaths(&all[..2], &all).await;
}
