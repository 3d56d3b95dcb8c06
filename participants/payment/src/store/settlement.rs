//! Table `settlement`: what named persons settled, by the id of the request, with what it was answered.

use skald_participant::{Key, Slot};
use sqlx::PgConnection;

/// One request to settle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settlement {
    pub(crate) request_id: String,
    pub(crate) key: Key,
    pub(crate) slot: Slot,
    /// The gateway's; `None`: it did not happen.
    pub(crate) reference: Option<String>,
    pub(crate) actor: String,
    pub(crate) reason: String,
}

/// Notes a request; false: its id is there already. Waits for a transaction that has just noted it.
pub(crate) async fn insert(connection: &mut PgConnection, wanted: &Settlement) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "insert into public.settlement (request_id, saga_id, step, epoch, verb, reference, actor, reason)
         values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing",
        wanted.request_id,
        wanted.key.saga,
        wanted.key.step,
        wanted.key.epoch,
        wanted.slot.code(),
        wanted.reference,
        wanted.actor,
        wanted.reason,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Keeps the answer of a request that was just noted.
pub(crate) async fn answered(
    connection: &mut PgConnection,
    request_id: &str,
    answer: &[u8],
) -> Result<(), sqlx::Error> {
    let update =
        sqlx::query!("update public.settlement set answer = $2 where request_id = $1", request_id, answer);
    update.execute(connection).await?;
    Ok(())
}

/// The request with this id, and its answer.
pub(crate) async fn get(
    connection: &mut PgConnection,
    request_id: &str,
) -> Result<Option<(Settlement, Vec<u8>)>, sqlx::Error> {
    let found = sqlx::query!(
        r#"select request_id, saga_id, step, epoch, verb as "verb!: i8", reference, actor, reason, answer
           from public.settlement where request_id = $1"#,
        request_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.and_then(|row| {
        let settlement = Settlement {
            request_id: row.request_id,
            key: Key { saga: row.saga_id, step: row.step, epoch: row.epoch },
            slot: Slot::from_code(row.verb)?,
            reference: row.reference,
            actor: row.actor,
            reason: row.reason,
        };
        Some((settlement, row.answer.unwrap_or_default()))
    }))
}
