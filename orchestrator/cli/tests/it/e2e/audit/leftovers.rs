//! Nothing is left behind: no dead letter, nothing that asks for a person, no open intent; and the world was told of each end.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Ended, Findings, Kind, World};
use crate::e2e::topics::{Record, Topics};

pub(super) async fn judge(world: &World, ended: &BTreeMap<Uuid, Ended>, findings: &mut Findings) {
    let queries = [
        (Kind::Orchestrator, "entries for a person", "select count(*) from public.attention"),
        (Kind::Orchestrator, "sagas beyond every partition", "select count(*) from public.saga_default"),
        (Kind::Inventory, "open intents", "select count(*) from skald.barrier where verdict = 'I'"),
        (Kind::Payment, "open intents", "select count(*) from skald.barrier where verdict = 'I'"),
    ];
    for (kind, what, query) in queries {
        let left: i64 = sqlx::query_scalar(query).fetch_one(&mut world.sql(kind).await).await.expect(query);
        findings.check(left == 0, || format!("{}: {left} {what}", kind.name()));
    }
    let topics = Topics::of(world, "audit");
    for topic in topics.named(".dlq") {
        let messages = topics.messages(&[&topic]);
        findings.check(messages == 0, || format!("{messages} dead letters in {topic}"));
    }
    let events = topics.read(&["orders.events"]);
    let told: BTreeSet<(String, String)> =
        events.into_iter().map(|Record { key, kind, .. }| (key, kind)).collect();
    for (id, how) in ended {
        let last = if how.reason.is_none() { "order.completed" } else { "order.cancelled" };
        for kind in ["order.created", last] {
            let told = told.contains(&(id.to_string(), kind.to_owned()));
            findings.check(told, || format!("order {id}: nobody was told {kind}"));
        }
    }
}
