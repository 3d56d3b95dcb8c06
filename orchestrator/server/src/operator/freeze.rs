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
    store::participant::{self, Freeze},
};

pub(super) async fn freeze(
    desk: &Desk,
    request: wire::FreezeParticipantRequest,
) -> Result<wire::FreezeParticipantResponse, Status> {
    let wire::FreezeParticipantRequest { participant: name, request_id, actor, reason } = &request;
    let signed = Signed { request_id, actor, reason };
    check(desk, name, &signed)?;
    let record = once::record(&signed, format!("FREEZE {name}"), None, &request);
    let mut conn = once::connect(desk).await?;
    let mut tx = match once::begin(&mut conn, &record).await? {
        Ok(tx) => tx,
        Err(first) => return Ok(wire::FreezeParticipantResponse { repeated: true, ..first }),
    };
    let unreadable = |e: sqlx::Error| errors::unreadable(&e);
    participant::freeze(&mut tx, name, actor, reason).await.map_err(unreadable)?;
    let freezes = participant::frozen(&mut tx).await.map_err(unreadable)?;
    let freeze = freezes.into_iter().find(|freeze| freeze.participant == *name);
    let participant = Some(shown(name, freeze, None));
    let answer = wire::FreezeParticipantResponse { participant, repeated: false };
    let answer = once::end(desk, tx, &record, Ok(answer)).await?;
    learn(desk, conn).await;
    Ok(answer)
}

pub(super) async fn thaw(
    desk: &Desk,
    request: wire::ThawParticipantRequest,
) -> Result<wire::ThawParticipantResponse, Status> {
    let wire::ThawParticipantRequest { participant: name, request_id, actor, reason } = &request;
    let signed = Signed { request_id, actor, reason };
    check(desk, name, &signed)?;
    let record = once::record(&signed, format!("THAW {name}"), None, &request);
    let mut conn = once::connect(desk).await?;
    let mut tx = match once::begin(&mut conn, &record).await? {
        Ok(tx) => tx,
        Err(first) => return Ok(wire::ThawParticipantResponse { repeated: true, ..first }),
    };
    let thawed = participant::thaw(&mut tx, name).await.map_err(|e| errors::unreadable(&e))?;
    let ramp = desk.shared.config.driver.ramp().as_millis() as i64;
    let until = thawed.then(|| desk.shared.clock.now_ms() + ramp);
    let participant = Some(shown(name, None, until));
    let answer = wire::ThawParticipantResponse { participant, repeated: false };
    let answer = once::end(desk, tx, &record, Ok(answer)).await?;
    learn(desk, conn).await;
    Ok(answer)
}

pub(super) fn list(desk: &Desk) -> wire::ListParticipantsResponse {
    let shared = &desk.shared;
    let known = |name: &String| {
        shown(name, shared.frozen.of(name), shared.budget.ramp_until(name, shared.clock.now_ms()))
    };
    wire::ListParticipantsResponse {
        participants: shared.registry.participants().iter().map(known).collect(),
    }
}

fn shown(name: &str, freeze: Option<Freeze>, ramp: Option<i64>) -> wire::Participant {
    wire::Participant {
        name: name.to_owned(),
        frozen_at: freeze.as_ref().map(|f| view::timestamp(f.at)),
        frozen_by: freeze.as_ref().map(|f| f.by.clone()).unwrap_or_default(),
        reason: freeze.map(|f| f.reason).unwrap_or_default(),
        ramp_until: ramp.map(view::timestamp),
    }
}

fn check(desk: &Desk, name: &str, signed: &Signed<'_>) -> Result<(), Status> {
    let mut bad = BadFields::default();
    signed.check(&mut bad);
    let known = desk.shared.registry.participants();
    let names = || known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    bad.check(known.contains(name), "participant", format!("no definition names it; known: {}", names()));
    bad.into_result()
}

/// This instance knows at once; the others, and this one if it can't read now, within a second.
async fn learn(desk: &Desk, mut conn: PgConnection) {
    if let Err(error) = desk.shared.refresh_frozen(&mut conn).await {
        tracing::debug!("who is frozen is read again in a second: {error}");
    }
    let _ = conn.close().await;
}
