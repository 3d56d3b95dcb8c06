//! Participants that get no commands, and of whose steps no deadline fires, until somebody thaws them.

use skald_proto::admin::v1 as wire;
use sqlx::{Connection as _, PgConnection};
use tonic::Status;

use super::{Signed, once};
use crate::{
    intake::{
        Desk,
        errors::{self, BadFields},
        view,
    },
    job::Reply,
    store::{action, participant},
};

pub(super) async fn freeze(
    desk: &Desk,
    request: wire::FreezeParticipantRequest,
) -> Result<wire::FreezeParticipantResponse, Status> {
    let wire::FreezeParticipantRequest { participant: name, request_id, actor, reason } = &request;
    let signed = Signed { request_id, actor, reason };
    let record = once::record(&signed, format!("FREEZE {name}"), None, &request);
    change(desk, true, name, &signed, record).await?;
    Ok(wire::FreezeParticipantResponse { participant: Some(shown(desk, name)) })
}

pub(super) async fn thaw(
    desk: &Desk,
    request: wire::ThawParticipantRequest,
) -> Result<wire::ThawParticipantResponse, Status> {
    let wire::ThawParticipantRequest { participant: name, request_id, actor, reason } = &request;
    let signed = Signed { request_id, actor, reason };
    let record = once::record(&signed, format!("THAW {name}"), None, &request);
    change(desk, false, name, &signed, record).await?;
    Ok(wire::ThawParticipantResponse { participant: Some(shown(desk, name)) })
}

pub(super) fn list(desk: &Desk) -> wire::ListParticipantsResponse {
    let names = desk.shared.registry.participants();
    wire::ListParticipantsResponse { participants: names.iter().map(|name| shown(desk, name)).collect() }
}

fn shown(desk: &Desk, name: &str) -> wire::Participant {
    let freeze = desk.shared.frozen.of(name);
    let ramp = desk.shared.budget.ramp_until(name, desk.shared.clock.now_ms());
    wire::Participant {
        name: name.to_owned(),
        frozen_at: freeze.as_ref().map(|f| view::timestamp(f.at)),
        frozen_by: freeze.as_ref().map(|f| f.by.clone()).unwrap_or_default(),
        reason: freeze.map(|f| f.reason).unwrap_or_default(),
        ramp_until: ramp.map(view::timestamp),
    }
}

/// In one transaction with the record of the action; this instance knows at once, the others within a second.
async fn change(
    desk: &Desk,
    frozen: bool,
    name: &str,
    signed: &Signed<'_>,
    record: action::Action,
) -> Result<(), Status> {
    let mut bad = BadFields::default();
    signed.check(&mut bad);
    let known = desk.shared.registry.participants();
    let names = || known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    bad.check(known.contains(name), "participant", format!("no definition names it; known: {}", names()));
    bad.into_result()?;
    let mut conn = once::connect(desk).await?;
    let done = store(&mut conn, frozen, name, signed, &record).await.map_err(|e| errors::unreadable(&e))?;
    desk.shared.refresh_frozen(&mut conn).await.map_err(|e| errors::unreadable(&e))?;
    let _ = conn.close().await;
    if done { Ok(()) } else { Err(errors::refused(Reply::RequestTaken, "action", signed.request_id)) }
}

/// False: the request id was used for something else.
async fn store(
    conn: &mut PgConnection,
    frozen: bool,
    name: &str,
    signed: &Signed<'_>,
    record: &action::Action,
) -> Result<bool, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let known = action::answered(&mut tx, std::slice::from_ref(&record.request_id)).await?;
    if let Some(first) = known.first() {
        return Ok(first.is(&record.verb, &record.request));
    }
    if frozen {
        participant::freeze(&mut tx, name, signed.actor, signed.reason).await?;
    } else {
        participant::thaw(&mut tx, name).await?;
    }
    action::insert(&mut tx, record).await?;
    tx.commit().await.map(|()| true)
}
