//! Definitions of which no new saga is taken, until somebody thaws them. Whoever claims a key looks at the table, so a
//! freeze holds everywhere from its commit on.

use std::collections::BTreeMap;

use skald_core::Definition;
use skald_proto::admin::v1 as wire;
use sqlx::PgConnection;
use tonic::Status;

use super::{Signed, once};
use crate::{
    intake::{
        Desk,
        errors::{self, BadFields},
        view,
    },
    store::definition::{self, Freeze},
};

pub(super) async fn freeze(
    desk: &Desk,
    request: wire::FreezeDefinitionRequest,
) -> Result<wire::FreezeDefinitionResponse, Status> {
    let wire::FreezeDefinitionRequest { definition: name, request_id, actor, reason } = &request;
    let signed = Signed { request_id, actor, reason };
    let mut conn = once::connect(desk).await?;
    check(desk, &mut conn, name, &signed).await?;
    let record = once::record(&signed, format!("FREEZE_DEFINITION {name}"), None, &request);
    let mut tx = match once::begin(&mut conn, &record).await? {
        Ok(tx) => tx,
        Err(first) => return Ok(wire::FreezeDefinitionResponse { repeated: true, ..first }),
    };
    definition::freeze(&mut tx, name, actor, reason).await.map_err(|e| errors::unreadable(&e))?;
    let definition = one(desk, &mut tx, name).await?;
    once::end(desk, tx, &record, Ok(wire::FreezeDefinitionResponse { definition, repeated: false })).await
}

pub(super) async fn thaw(
    desk: &Desk,
    request: wire::ThawDefinitionRequest,
) -> Result<wire::ThawDefinitionResponse, Status> {
    let wire::ThawDefinitionRequest { definition: name, request_id, actor, reason } = &request;
    let signed = Signed { request_id, actor, reason };
    let mut conn = once::connect(desk).await?;
    check(desk, &mut conn, name, &signed).await?;
    let record = once::record(&signed, format!("THAW_DEFINITION {name}"), None, &request);
    let mut tx = match once::begin(&mut conn, &record).await? {
        Ok(tx) => tx,
        Err(first) => return Ok(wire::ThawDefinitionResponse { repeated: true, ..first }),
    };
    definition::thaw(&mut tx, name).await.map_err(|e| errors::unreadable(&e))?;
    let definition = one(desk, &mut tx, name).await?;
    once::end(desk, tx, &record, Ok(wire::ThawDefinitionResponse { definition, repeated: false })).await
}

pub(super) async fn list(desk: &Desk) -> Result<wire::ListDefinitionsResponse, Status> {
    let mut conn = desk.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
    Ok(wire::ListDefinitionsResponse { definitions: all(desk, &mut conn).await? })
}

async fn check(desk: &Desk, conn: &mut PgConnection, name: &str, signed: &Signed<'_>) -> Result<(), Status> {
    let mut bad = BadFields::default();
    signed.check(&mut bad);
    is_known(desk, conn, &mut bad, name).await?;
    bad.into_result()
}

/// Some version of it is stored.
pub(super) async fn is_known(
    desk: &Desk,
    conn: &mut PgConnection,
    bad: &mut BadFields,
    name: &str,
) -> Result<(), Status> {
    if desk.shared.registry.ids(name).is_empty() {
        desk.shared.registry.refresh(conn).await.map_err(|e| Status::unavailable(e.to_string()))?;
    }
    let mut names: Vec<String> = desk.shared.registry.all().iter().map(|(_, d)| d.name.clone()).collect();
    names.sort();
    names.dedup();
    let known = names.iter().any(|known| known == name);
    bad.check(known, "definition", format!("none of this name is stored; known: {}", names.join(", ")));
    Ok(())
}

async fn one(desk: &Desk, conn: &mut PgConnection, name: &str) -> Result<Option<wire::Definition>, Status> {
    Ok(all(desk, conn).await?.into_iter().find(|definition| definition.name == name))
}

/// Every definition, by name, each with its versions, the newest first.
async fn all(desk: &Desk, conn: &mut PgConnection) -> Result<Vec<wire::Definition>, Status> {
    let registry = &desk.shared.registry;
    registry.refresh(conn).await.map_err(|e| Status::unavailable(e.to_string()))?;
    let freezes = definition::frozen(conn).await.map_err(|e| errors::unreadable(&e))?;
    let running = definition::running(conn).await.map_err(|e| errors::unreadable(&e))?;
    let running: BTreeMap<i32, i64> = running.into_iter().collect();
    let mut named: BTreeMap<String, Vec<wire::DefinitionVersion>> = BTreeMap::new();
    for (id, definition) in registry.all().into_iter().rev() {
        let offered = registry.newest(&definition.name).is_some_and(|(newest, _)| newest == id);
        let running = running.get(&id).copied().unwrap_or_default();
        let version = wire::DefinitionVersion { offered, running, ..version(&definition) };
        named.entry(definition.name.clone()).or_default().push(version);
    }
    let of = |name: &str| freezes.iter().find(|freeze| freeze.name == *name);
    Ok(named.into_iter().map(|(name, versions)| shown(of(&name), name, versions)).collect())
}

fn shown(freeze: Option<&Freeze>, name: String, versions: Vec<wire::DefinitionVersion>) -> wire::Definition {
    wire::Definition {
        name,
        frozen_at: freeze.map(|f| view::timestamp(f.at)),
        frozen_by: freeze.map(|f| f.by.clone()).unwrap_or_default(),
        reason: freeze.map(|f| f.reason.clone()).unwrap_or_default(),
        versions,
    }
}

/// Which it is; nothing of who follows it.
pub(super) fn version(definition: &Definition) -> wire::DefinitionVersion {
    let hash = definition.hash().iter().map(|byte| format!("{byte:02x}")).collect();
    wire::DefinitionVersion { version: definition.version as i32, hash, offered: false, running: 0 }
}
