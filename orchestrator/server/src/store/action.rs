//! `operator_action`: what operators asked, and what they were told. A request id stands for one action.

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

/// An action that was answered before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its key.
    pub request_id: String,
    /// SHA-256 of the request.
    pub request: Vec<u8>,
    /// As the desk encoded it.
    pub answer: Vec<u8>,
}

/// Of these request ids, those that were answered before.
pub async fn answered(conn: &mut PgConnection, ids: &[String]) -> Result<Vec<Answered>, sqlx::Error> {
    sqlx::query_as!(
        Answered,
        r#"select request_id, request, coalesce(answer, '') as "answer!"
             from public.operator_action where request_id = any($1)"#,
        ids
    )
    .fetch_all(conn)
    .await
}

/// What became of a request id that an action wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It was free, or this action broke off before it was answered: do it.
    Mine,
    /// It was answered before: the first answer.
    Answered(Vec<u8>),
    /// It stands for something else.
    Taken,
}

/// Keeps an action that takes its time, without its answer.
pub async fn claim(conn: &mut PgConnection, a: &Action) -> Result<Claim, sqlx::Error> {
    let first = sqlx::query!(
        "with mine as (
           insert into public.operator_action (request_id, saga_id, verb, actor, reason, request)
           values ($1, $2, $3, $4, $5, $6) on conflict do nothing)
         select request, answer from public.operator_action where request_id = $1",
        a.request_id,
        a.saga,
        a.verb,
        a.actor,
        a.reason,
        a.request
    )
    .fetch_optional(conn)
    .await?;
    Ok(match first {
        None => Claim::Mine,
        Some(first) if first.request != a.request => Claim::Taken,
        Some(first) => first.answer.map_or(Claim::Mine, Claim::Answered),
    })
}

/// Keeps the answer of an action that was claimed.
pub async fn answer(conn: &mut PgConnection, request_id: &str, answer: &[u8]) -> Result<(), sqlx::Error> {
    sqlx::query!("update public.operator_action set answer = $2 where request_id = $1", request_id, answer)
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
