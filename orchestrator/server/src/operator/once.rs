//! One action per request id: a repeat is told what the first call was told, be that an answer or a refusal.
//!
//! Kept is what was decided. Fields that are wrong, a server that is away or too busy decide nothing: such a call leaves
//! its request id free.

use prost::Message;
use sha2::{Digest as _, Sha256};
use skald_kit::{outbox, pg};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use tonic::{Code, Status};
use uuid::Uuid;

use super::Signed;
use crate::{
    audit,
    intake::{Desk, errors},
    job::Reply,
    store::action::{self, Action, Answered, Refusal},
};

/// A connection to write with.
pub(super) async fn connect(desk: &Desk) -> Result<PgConnection, Status> {
    pg::connection(&desk.shared.config.postgres.url).await.map_err(|e| errors::unreadable(&e))
}

/// What is kept of an action, before it is answered.
pub(super) fn record(
    signed: &Signed<'_>,
    verb: impl Into<String>,
    saga: Option<Uuid>,
    request: &impl Message,
) -> Action {
    Action {
        request_id: signed.request_id.to_owned(),
        saga,
        verb: verb.into(),
        actor: signed.actor.to_owned(),
        reason: signed.reason.to_owned(),
        request: Sha256::digest(request.encode_to_vec()).to_vec(),
        answer: Vec::new(),
    }
}

/// What the first call of this action was told; None: it broke off before it was told anything.
///
/// # Errors
/// The first refusal; ALREADY_EXISTS: the request id stands for another action.
pub(super) fn told<A: Message + Default>(record: &Action, first: Answered) -> Result<Option<A>, Status> {
    if !first.is(&record.verb, &record.request) {
        return Err(errors::refused(Reply::RequestTaken, "action", &record.request_id));
    }
    if let Some(refusal) = first.refusal {
        return Err(status(refusal));
    }
    let read = |bytes: Vec<u8>| A::decode(bytes.as_slice()).map_err(|e| Status::internal(e.to_string()));
    first.answer.map(read).transpose()
}

/// What the first call of this action was told, if there was one.
///
/// # Errors
/// As [`told`]; UNAVAILABLE.
pub(super) async fn first<A: Message + Default>(
    conn: &mut PgConnection,
    record: &Action,
) -> Result<Option<A>, Status> {
    let ids = std::slice::from_ref(&record.request_id);
    let first = action::answered(conn, ids).await.map_err(|e| errors::unreadable(&e))?.pop();
    first.map_or(Ok(None), |first| told(record, first))
}

/// Takes the request id for this action; gives what the first call was told, if there was one.
///
/// # Errors
/// As [`first`].
pub(super) async fn claim<A: Message + Default>(
    conn: &mut PgConnection,
    record: &Action,
) -> Result<Option<A>, Status> {
    let first = action::claim(conn, record).await.map_err(|e| errors::unreadable(&e))?;
    first.map_or(Ok(None), |first| told(record, first))
}

/// Begins an action in a transaction of its own; gives what the first call was told, if there was one.
///
/// # Errors
/// As [`first`].
pub(super) async fn begin<'a, A: Message + Default>(
    conn: &'a mut PgConnection,
    record: &Action,
) -> Result<Result<Transaction<'a, Postgres>, A>, Status> {
    let mut tx = conn.begin().await.map_err(|e| errors::unreadable(&e))?;
    Ok(match claim(&mut tx, record).await? {
        Some(first) => Err(first),
        None => Ok(tx),
    })
}

/// Ends what [`begin`] began: keeps the answer, and has `orders.audit` told of it; or keeps the refusal of an action that
/// has written nothing yet.
///
/// # Errors
/// What came in; UNAVAILABLE: nothing was kept.
pub(super) async fn end<A: Message>(
    desk: &Desk,
    mut tx: Transaction<'_, Postgres>,
    record: &Action,
    done: Result<A, Status>,
) -> Result<A, Status> {
    let kept = match &done {
        Ok(answer) => answered(desk, &mut tx, record, answer).await,
        Err(why) if is_decided(why) => {
            action::refuse(&mut tx, &record.request_id, &refusal(why)).await.map(|()| Vec::new())
        }
        // Rolled back with the transaction.
        Err(_) => return done,
    };
    let told = kept.map_err(|e| errors::unreadable(&e))?;
    tx.commit().await.map_err(|e| errors::unreadable(&e))?;
    desk.shared.relay.publish(told);
    done
}

/// Keeps the answer of an action that was claimed. Gives what `orders.audit` is told, to be published after the commit:
/// nothing when it had its answer before.
async fn answered(
    desk: &Desk,
    tx: &mut PgConnection,
    record: &Action,
    answer: &impl Message,
) -> Result<Vec<outbox::Row>, sqlx::Error> {
    if !action::answer(tx, &record.request_id, &answer.encode_to_vec()).await? {
        return Ok(Vec::new());
    }
    let told = vec![audit::act(&desk.shared, record)];
    outbox::insert(tx, desk.shared.instance, &told).await?;
    Ok(told)
}

/// Keeps the refusal of an action that has not begun. If it was told something else meanwhile, that counts.
///
/// # Errors
/// The refusal; UNAVAILABLE: it was not kept, and asking again is judged anew.
pub(super) async fn refuse<A: Message + Default>(
    desk: &Desk,
    record: &Action,
    why: Status,
) -> Result<A, Status> {
    if !is_decided(&why) {
        return Err(why);
    }
    let mut conn = desk.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
    match begin(&mut conn, record).await? {
        Err(first) => Ok(first),
        Ok(tx) => end(desk, tx, record, Err(why)).await,
    }
}

/// Somebody looked and said no; not that nobody could look.
fn is_decided(why: &Status) -> bool {
    use Code::{Aborted, FailedPrecondition, InvalidArgument, NotFound};
    matches!(why.code(), Aborted | FailedPrecondition | InvalidArgument | NotFound)
}

fn refusal(why: &Status) -> Refusal {
    // PostgreSQL stores no NUL in a text.
    let message = why.message().replace('\0', "");
    Refusal { code: why.code().into(), message, details: why.details().to_vec() }
}

fn status(refusal: Refusal) -> Status {
    let Refusal { code, message, details } = refusal;
    Status::with_details(Code::from_i32(code), message, details.into())
}
