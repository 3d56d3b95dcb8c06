//! Moves sagas under way to another version of their definition. The dry run folds the move into a copy of each; executing
//! is a bulk job, whose sagas are moved one by one as single actions.

use std::collections::HashMap;

use skald_core::{
    Definition, Input,
    input::{Act, Migrate, Operator},
};
use skald_proto::admin::v1 as wire;
use sqlx::PgConnection;
use tonic::Status;
use uuid::Uuid;

use super::{Signed, act, bulk, definitions, once};
use crate::{
    intake::{
        Desk,
        errors::{self, BadFields},
        validate,
    },
    store::{bulk::Filter, read},
};

/// Sagas that are looked at at once.
const PAGE: usize = 500;
/// Sagas that stand as examples, for each reason.
const EXAMPLES: usize = 3;
/// Reasons that are told apart.
const REASONS: usize = 50;

pub(super) async fn migrate(
    desk: &Desk,
    request: wire::MigrateDefinitionRequest,
) -> Result<wire::MigrateDefinitionResponse, Status> {
    let mut conn = once::connect(desk).await?;
    let (to, filter) = checked(desk, &mut conn, &request).await?;
    let mut answer =
        wire::MigrateDefinitionResponse { to: Some(definitions::version(&to)), ..Default::default() };
    if request.dry_run {
        foresee(desk, &mut conn, &to, &filter, &mut answer).await?;
        return Ok(answer);
    }
    let migrate = wire::Migrate { definition_hash: definitions::version(&to).hash };
    let job = wire::StartBulkRequest {
        filter: Some(wire::BulkFilter { definition: request.definition, ..Default::default() }),
        action: Some(wire::Action { verb: Some(wire::action::Verb::Migrate(migrate)) }),
        per_second: request.per_second,
        request_id: request.request_id,
        actor: request.actor,
        reason: request.reason,
        dry_run: false,
    };
    answer.bulk = Some(bulk::begin(desk, &mut conn, &job, &filter).await?);
    Ok(answer)
}

/// The version to move to, and which sagas: those of the same name that follow another.
async fn checked(
    desk: &Desk,
    conn: &mut PgConnection,
    request: &wire::MigrateDefinitionRequest,
) -> Result<(std::sync::Arc<Definition>, Filter), Status> {
    let wire::MigrateDefinitionRequest { definition: name, request_id, actor, reason, .. } = request;
    let registry = &desk.shared.registry;
    let mut bad = BadFields::default();
    if !request.dry_run {
        Signed { request_id, actor, reason }.check(&mut bad);
        bad.check(bulk::RATES.contains(&request.per_second), "per_second", bulk::RATE);
    }
    // Another instance may have stored what is meant here.
    registry.refresh(conn).await.map_err(|e| Status::unavailable(e.to_string()))?;
    definitions::is_known(desk, conn, &mut bad, name).await?;
    let to = if request.hash.is_empty() {
        let newest = registry.newest(name);
        bad.check(newest.is_some(), "hash", "must be given: this instance offers no version to new sagas");
        newest
    } else {
        let hash = validate::hash(&request.hash);
        bad.check(hash.is_some(), "hash", validate::HASH);
        let to = hash.and_then(|hash| registry.with_hash(&hash)).filter(|(_, to)| to.name == *name);
        bad.check(to.is_some(), "hash", "no version of this definition that is stored has it");
        to
    };
    bad.into_result()?;
    let (id, to) = to.ok_or_else(|| errors::not_found("definition", name))?;
    let mut others = registry.ids(name);
    others.retain(|other| *other != id);
    Ok((to, Filter { definitions: Some(others), before: Uuid::max(), ..Filter::default() }))
}

/// Tries the move on a copy of every saga.
async fn foresee(
    desk: &Desk,
    conn: &mut PgConnection,
    to: &Definition,
    filter: &Filter,
    answer: &mut wire::MigrateDefinitionResponse,
) -> Result<(), Status> {
    let unreadable = |e: sqlx::Error| errors::unreadable(&e);
    let (_, ids) = crate::store::bulk::matching(conn, filter, i64::MAX).await.map_err(unreadable)?;
    let mut stay: HashMap<String, wire::Stay> = HashMap::new();
    for page in ids.chunks(PAGE) {
        for row in read::some(conn, page).await.map_err(unreadable)? {
            let id = row.id.to_string();
            match obstacle(desk, to, &row).await? {
                None => {
                    answer.could_move += 1;
                    note(&mut answer.example_saga_ids, id);
                }
                Some(why) => {
                    answer.could_not += 1;
                    let why =
                        if stay.len() < REASONS || stay.contains_key(&why) { why } else { OTHER.into() };
                    let group = stay.entry(why).or_default();
                    group.count += 1;
                    note(&mut group.example_saga_ids, id);
                }
            }
        }
    }
    let named = |(why, group)| wire::Stay { why, ..group };
    answer.stay = stay.into_iter().map(named).collect();
    answer.stay.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.why.cmp(&b.why)));
    Ok(())
}

const OTHER: &str = "other reasons";

fn note(examples: &mut Vec<String>, id: String) {
    if examples.len() < EXAMPLES {
        examples.push(id);
    }
}

/// Why a saga can't move; None: it can.
async fn obstacle(desk: &Desk, to: &Definition, row: &read::Shown) -> Result<Option<String>, Status> {
    let definition = desk.definition(row.definition_id).await?;
    let act = Act::Migrate(Migrate { from: definition.hash().into(), to: to.hash().into() });
    let operator = Operator { expected_version: row.version as u32, act: Some(act), ..Default::default() };
    let input = Input::Operator(operator);
    // One that can't be read stays as it is, and does not keep the others from being looked at.
    let folded = match act::foresee(&definition, Some(to), row, desk.shared.clock.now_ms(), input) {
        Ok(folded) => folded,
        Err(unreadable) => return Ok(Some(unreadable.message().to_owned())),
    };
    Ok(folded.err().map(|why| match why {
        skald_core::Refused::NotAllowed(why) => why,
        other => other.to_string(),
    }))
}
