//! Nothing acknowledged is lost, nobody got two orders for one key, each order ended as it must, and its history leads exactly
//! there.

use std::collections::BTreeMap;

use prost::Message as _;
use skald_core::{
    Definition, FORMAT,
    history::{self, Row},
    state,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Findings, Promise, as_promised};

/// Statuses as the table has them.
const COMPLETED: i16 = 3;
const COMPENSATED: i16 = 4;

/// How an order ended: cancelled for a reason, else completed.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) reason: Option<String>,
}

#[derive(Debug, sqlx::FromRow)]
struct Saga {
    id: Uuid,
    definition_id: i32,
    status: i16,
    version: i32,
    format: i16,
    quarantine: Option<String>,
    reason: Option<String>,
    state: Vec<u8>,
    request: Vec<u8>,
}

#[derive(Debug, sqlx::FromRow)]
struct HistoryRow {
    saga_id: Uuid,
    seq: i32,
    at: i64,
    rules: i16,
    kind: i16,
    actor: String,
    input: Vec<u8>,
    digest: i64,
}

/// One line about each saga that has not ended.
pub(super) async fn under_way(conn: &mut PgConnection) -> String {
    let rows: Vec<(Uuid, i16, i16, Vec<u8>)> = sqlx::query_as(
        "select id, status, format, state from public.saga where wake_at is not null order by id limit 5",
    )
    .fetch_all(conn)
    .await
    .unwrap_or_default();
    let line = |(id, status, format, bytes): &(Uuid, i16, i16, Vec<u8>)| {
        let steps = state::decode(*format as u32, bytes).map(|s| {
            let step = |s: &state::Step| format!("{} {:?}{}", s.name, s.status(), s.parked);
            s.steps.iter().map(step).collect::<Vec<_>>().join(", ")
        });
        format!("\n  {id} status {status}: {}", steps.unwrap_or_else(|e| e.to_string()))
    };
    rows.iter().map(line).collect()
}

/// Gives how each order ended.
pub(super) async fn judge(
    conn: &mut PgConnection,
    ledger: &[Promise],
    findings: &mut Findings,
) -> BTreeMap<Uuid, Ended> {
    let sagas: Vec<Saga> = sqlx::query_as(
        "select id, definition_id, status, version, format, quarantine, reason, state, request from public.saga",
    )
    .fetch_all(&mut *conn)
    .await
    .expect("the sagas can be read");
    promises(conn, &sagas, ledger, findings).await;
    histories(conn, &sagas, findings).await;
    let mut ended = BTreeMap::new();
    for saga in sagas {
        let id = saga.id;
        findings
            .check(saga.quarantine.is_none(), || format!("order {id} is quarantined: {:?}", saga.quarantine));
        let reason = match saga.status {
            COMPLETED => None,
            COMPENSATED => Some(saga.reason.clone().unwrap_or_default()),
            other => {
                findings.0.push(format!("order {id} has not ended: status {other}"));
                continue;
            }
        };
        ended.insert(id, Ended { reason });
    }
    for promise in ledger {
        if let Some(how) = ended.get(&promise.id) {
            findings.check(as_promised(promise, how), || {
                format!("order {} ended {:?}, it must end {:?}", promise.id, how.reason, promise.end)
            });
        }
    }
    ended
}

/// Each acknowledged order is there, each one that is there was acknowledged, and each key means one order.
async fn promises(conn: &mut PgConnection, sagas: &[Saga], ledger: &[Promise], findings: &mut Findings) {
    let keys: Vec<(String, Uuid)> = sqlx::query_as("select key, saga_id from public.submission")
        .fetch_all(conn)
        .await
        .expect("the keys can be read");
    let keys: BTreeMap<String, Uuid> = keys.into_iter().collect();
    for promise in ledger {
        let Promise { id, key, .. } = promise;
        findings
            .check(sagas.iter().any(|s| s.id == *id), || format!("order {id} was acknowledged and is lost"));
        findings
            .check(keys.get(key) == Some(id), || format!("key {key} means {:?}, not {id}", keys.get(key)));
    }
    // Every client repeats until it is answered: an order that nobody was told of is a second one for some key.
    for saga in sagas {
        findings.check(ledger.iter().any(|p| p.id == saga.id), || {
            format!("nobody was told of order {}", saga.id)
        });
    }
    let distinct: std::collections::BTreeSet<&str> = ledger.iter().map(|p| p.key.as_str()).collect();
    findings
        .check(keys.len() == distinct.len(), || format!("{} keys stand for {}", keys.len(), distinct.len()));
}

/// No gap, and folding each history gives its digests, row by row, and the state that is stored.
async fn histories(conn: &mut PgConnection, sagas: &[Saga], findings: &mut Findings) {
    let definitions: Vec<(i32, Vec<u8>)> = sqlx::query_as("select id, body from public.definition")
        .fetch_all(&mut *conn)
        .await
        .expect("definitions");
    let definitions: BTreeMap<i32, Definition> = definitions
        .into_iter()
        .map(|(id, body)| (id, Definition::decode(body.as_slice()).expect("a definition")))
        .collect();
    let rows: Vec<HistoryRow> = sqlx::query_as(
        "select saga_id, seq, (extract(epoch from at) * 1000)::bigint as at, rules, kind, actor, input, digest
         from public.history order by saga_id, seq",
    )
    .fetch_all(conn)
    .await
    .expect("the histories can be read");
    let mut by_saga: BTreeMap<Uuid, Vec<Row>> = BTreeMap::new();
    for row in rows {
        by_saga.entry(row.saga_id).or_default().push(Row {
            seq: row.seq as u32,
            at: row.at,
            rules: row.rules as u32,
            kind: row.kind as u32,
            actor: row.actor,
            input: row.input,
            digest: row.digest,
        });
    }
    for saga in sagas {
        let id = saga.id;
        let rows = by_saga.remove(&id).unwrap_or_default();
        let seqs: Vec<u32> = rows.iter().map(|row| row.seq).collect();
        let expected: Vec<u32> = (1..=saga.version as u32).collect();
        findings
            .check(seqs == expected, || format!("order {id}: version {}, history {seqs:?}", saga.version));
        findings.check(saga.format as u32 == FORMAT, || format!("order {id} has format {}", saga.format));
        match history::replay(&definitions[&saga.definition_id], id, &saga.request, &rows) {
            Ok(state) => findings.check(state::encode(&state) == saga.state, || {
                format!("order {id}: its history leads to another state than the stored one")
            }),
            Err(why) => findings.0.push(format!("order {id}: {why}")),
        }
    }
    for id in by_saga.keys() {
        findings.0.push(format!("there is a history of {id}, which is no order"));
    }
}
