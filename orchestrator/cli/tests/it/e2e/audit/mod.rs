//! The judge: plain SQL over the three databases and the gateway's books, compared with what clients were promised. It shares
//! nothing with the code under test but the replay of histories and the messages in which an order is stored.

mod leftovers;
mod money;
mod sagas;
mod stock;

use std::collections::BTreeMap;

use super::{
    LIMIT,
    shop::{End, Promise, Shop},
    world::{Kind, World},
};
use sagas::Ended;

/// What was found wrong: all of it, for one thing rarely goes wrong alone.
#[derive(Debug, Default)]
struct Findings(Vec<String>);

impl Findings {
    fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.0.push(otherwise());
        }
    }
}

/// How many orders ended how: `COMPLETED`, or the reason.
pub(crate) type Ends = BTreeMap<String, usize>;

/// Waits until everything has come to rest, then judges.
///
/// # Panics
/// When something does not come to rest, or with everything that is wrong.
pub(crate) async fn at_rest(world: &World, shop: &Shop) -> Ends {
    rest(world).await;
    let ledger = shop.ledger();
    let mut findings = Findings::default();
    let ended = sagas::judge(&mut world.sql(Kind::Orchestrator).await, &ledger, &mut findings).await;
    stock::judge(&mut world.sql(Kind::Inventory).await, &world.stocked, &ledger, &ended, &mut findings).await;
    money::judge(&mut world.sql(Kind::Payment).await, &ledger, &ended, &mut findings).await;
    leftovers::judge(world, &ended, &mut findings).await;
    command(world, &mut findings);
    assert!(findings.0.is_empty(), "{} things are wrong:\n{}", findings.0.len(), findings.0.join("\n"));
    let mut ends = Ends::new();
    for how in ended.values() {
        let name = how.reason.clone().unwrap_or_else(|| "COMPLETED".to_owned());
        *ends.entry(name).or_default() += 1;
    }
    ends
}

/// What `skald audit` says: exit code, standard output and standard error.
pub(crate) fn by_command(world: &World) -> (i32, String, String) {
    of(world, &[])
}

/// The same of one order.
pub(crate) fn of(world: &World, order: &[&str]) -> (i32, String, String) {
    let url = |kind: Kind| format!("--{}={}", kind.name(), world.url(kind));
    let urls = Kind::ALL.map(url);
    let args = ["audit"].into_iter().chain(order.iter().copied()).chain(urls.iter().map(String::as_str));
    crate::commands::ended(&crate::commands::skald(&args.collect::<Vec<_>>()))
}

/// What whoever is on call would ask finds nothing either.
fn command(world: &World, findings: &mut Findings) {
    let (code, out, err) = by_command(world);
    findings.check(code == 0 && out.contains("all adds up"), || format!("skald audit: {code}\n{out}{err}"));
}

/// Until no saga is under way, no call is open, and every event is at the broker.
async fn rest(world: &World) {
    let queries = [
        (Kind::Orchestrator, "sagas under way", "select count(*) from public.saga where wake_at is not null"),
        (Kind::Orchestrator, "events", "select count(*) from skald.outbox"),
        (Kind::Inventory, "events", "select count(*) from skald.outbox"),
        (Kind::Payment, "events", "select count(*) from skald.outbox"),
        (Kind::Payment, "open calls", "select count(*) from skald.intent"),
    ];
    for (kind, what, query) in queries {
        let mut conn = world.sql(kind).await;
        let name = kind.name();
        skald_harness::eventually(&format!("no {what} at {name}"), LIMIT, async || {
            let left: i64 =
                sqlx::query_scalar(query).fetch_one(&mut conn).await.map_err(|e| e.to_string())?;
            if left > 0 && what == "sagas under way" {
                return Err(format!("{left}: {}", sagas::under_way(&mut conn).await));
            }
            if left == 0 { Ok(()) } else { Err(left.to_string()) }
        })
        .await;
    }
}

/// Whether an order ended as it must.
fn as_promised(promise: &Promise, how: &Ended) -> bool {
    match (promise.end, how.reason.as_deref()) {
        (End::Completed, reason) => reason.is_none(),
        (End::Cancelled(why), reason) => reason == Some(why),
        (End::FirstCome, reason) => matches!(reason, None | Some("OUT_OF_STOCK")),
    }
}
