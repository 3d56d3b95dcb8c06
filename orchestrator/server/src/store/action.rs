//! `operator_action`: what operators asked, and what they were told, refusals too. A request id stands for one action.

use sqlx::PgConnection;
use uuid::Uuid;

/// What is kept of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Chosen by the caller.
    pub request_id: String,
    /// None = it was about no saga.
    pub saga: Option<Uuid>,
    /// Such as RETRY.
    pub verb: String,
    /// Who acted.
    pub actor: String,
    /// In that person's words.
    pub reason: String,
    /// SHA-256 of the request as we encode it.
    pub request: Vec<u8>,
    /// As the desk encodes it.
    pub answer: Vec<u8>,
}

/// Why an action was refused, as the caller was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of google.rpc.Code.
    pub code: i32,
    /// In words.
    pub message: String,
    /// google.rpc.Status, encoded; empty = there are no details.
    pub details: Vec<u8>,
}

/// An action that was asked before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its key.
    pub request_id: String,
    /// Such as RETRY.
    pub verb: String,
    /// SHA-256 of the request.
    pub request: Vec<u8>,
    /// As the desk encoded it; None: it was refused, or broke off before it was answered.
    pub answer: Option<Vec<u8>>,
    /// Why it was refused; None: it was not.
    pub refusal: Option<Refusal>,
}

impl Answered {
    /// It was the same action.
    pub fn is(&self, verb: &str, request: &[u8]) -> bool {
        self.verb == verb && self.request == request
    }
}

/// Of these request ids, those that were asked before.
pub async fn answered(conn: &mut PgConnection, ids: &[String]) -> Result<Vec<Answered>, sqlx::Error> {
    let rows = sqlx::query!(
        "select request_id, verb, request, answer, refused_code, refused, refused_details
           from public.operator_action where request_id = any($1)",
        ids
    )
    .fetch_all(conn)
    .await?;
    let answered = rows.into_iter().map(|row| Answered {
        request_id: row.request_id,
        verb: row.verb,
        request: row.request,
        answer: row.answer,
        refusal: row.refused_code.map(|code| Refusal {
            code,
            message: row.refused.unwrap_or_default(),
            details: row.refused_details.unwrap_or_default(),
        }),
    });
    Ok(answered.collect())
}

/// Keeps an action before it is done, without its answer. None: its request id was free. Somebody who claims the same one
/// meanwhile is waited for.
pub async fn claim(conn: &mut PgConnection, a: &Action) -> Result<Option<Answered>, sqlx::Error> {
    let mine = sqlx::query!(
        "insert into public.operator_action (request_id, saga_id, verb, actor, reason, request)
         values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        a.request_id,
        a.saga,
        a.verb,
        a.actor,
        a.reason,
        a.request
    )
    .execute(&mut *conn)
    .await?;
    if mine.rows_affected() > 0 {
        return Ok(None);
    }
    Ok(answered(conn, std::slice::from_ref(&a.request_id)).await?.pop())
}

/// Keeps the answer of an action that was claimed; false: it has one.
pub async fn answer(conn: &mut PgConnection, request_id: &str, answer: &[u8]) -> Result<bool, sqlx::Error> {
    let kept = sqlx::query!(
        "update public.operator_action set answer = $2 where request_id = $1 and answer is null",
        request_id,
        answer
    )
    .execute(conn)
    .await?;
    Ok(kept.rows_affected() > 0)
}

/// Keeps why an action was refused that was claimed, and not answered.
pub async fn refuse(conn: &mut PgConnection, request_id: &str, why: &Refusal) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update public.operator_action set refused_code = $2, refused = $3, refused_details = $4
          where request_id = $1 and answer is null",
        request_id,
        why.code,
        why.message,
        why.details
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps an action. A request id that was taken meanwhile is a unique violation of `operator_action_pkey`.
pub async fn insert(conn: &mut PgConnection, a: &Action) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into public.operator_action (request_id, saga_id, verb, actor, reason, request, answer)
         values ($1, $2, $3, $4, $5, $6, $7)",
        a.request_id,
        a.saga,
        a.verb,
        a.actor,
        a.reason,
        a.request,
        a.answer
    )
    .execute(conn)
    .await?;
    Ok(())
}
