//! Sagas that take no input, because one of theirs could not be handled. Whoever has looked lets them go on.

use skald_proto::admin::v1 as wire;
use tonic::Status;
use uuid::Uuid;

use super::{Signed, once};
use crate::{
    intake::{
        Desk,
        errors::{self, BadFields},
        validate,
    },
    store::saga,
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
    let record = once::record(&signed, "RELEASE_QUARANTINE", Some(id), &request);
    let mut conn = once::connect(desk).await?;
    let mut tx = match once::begin(&mut conn, &record).await? {
        Ok(tx) => tx,
        Err(first) => return Ok(first),
    };
    let done = free(desk, &mut tx, id).await;
    let answer = once::end(desk, tx, &record, done).await?;
    if answer.released {
        desk.look(id);
    }
    Ok(answer)
}

async fn free(
    desk: &Desk,
    conn: &mut sqlx::PgConnection,
    id: Uuid,
) -> Result<wire::ReleaseQuarantineResponse, Status> {
    desk.read("saga", id).await?;
    let released = saga::release(conn, id, desk.shared.clock.now_ms()).await;
    Ok(wire::ReleaseQuarantineResponse { released: released.map_err(|e| errors::unreadable(&e))? })
}
