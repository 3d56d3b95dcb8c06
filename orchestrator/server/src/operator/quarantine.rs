//! Sagas that take no input, because one of theirs could not be handled. Whoever has looked lets them go on.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use skald_kit::pg;
use skald_proto::admin::v1 as wire;
use sqlx::Connection as _;
use tonic::Status;

use super::Signed;
use crate::{
    intake::{
        Desk,
        errors::{self, BadFields},
        validate,
    },
    job::Reply,
    store::{action, saga},
};

pub(super) async fn release(
    desk: &Desk,
    request: wire::ReleaseQuarantineRequest,
) -> Result<wire::ReleaseQuarantineResponse, Status> {
    let mut bad = BadFields::default();
    let id = validate::id(&mut bad, "saga_id", &request.saga_id);
    let wire::ReleaseQuarantineRequest { request_id, actor, reason, .. } = &request;
    let signed = Signed { request_id, actor, reason };
    signed.check(&mut bad);
    bad.into_result()?;
    desk.read("saga", id).await?;
    let record = action::Action {
        request_id: request_id.clone(),
        saga: Some(id),
        verb: "RELEASE_QUARANTINE".into(),
        actor: actor.clone(),
        reason: reason.clone(),
        request: Sha256::digest(request.encode_to_vec()).to_vec(),
        answer: Vec::new(),
    };
    let unreadable = |e: sqlx::Error| errors::unreadable(&e);
    let mut conn = pg::connection(&desk.shared.config.postgres.url).await.map_err(unreadable)?;
    let mut tx = conn.begin().await.map_err(unreadable)?;
    let known = action::answered(&mut tx, std::slice::from_ref(request_id)).await.map_err(unreadable)?;
    if let Some(first) = known.first() {
        if first.request != record.request {
            return Err(errors::refused(Reply::RequestTaken, "action", request_id));
        }
        return Ok(wire::ReleaseQuarantineResponse { released: true });
    }
    let released = saga::release(&mut tx, id, desk.shared.clock.now_ms()).await.map_err(unreadable)?;
    if released {
        action::insert(&mut tx, &record).await.map_err(unreadable)?;
    }
    tx.commit().await.map_err(unreadable)?;
    if released {
        desk.look(id);
    }
    Ok(wire::ReleaseQuarantineResponse { released })
}
