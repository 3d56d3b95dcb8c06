//! `attention`: the operators' inbox.

use skald_core::plan;
use sqlx::PgConnection;
use uuid::Uuid;

/// Replaces what stands about some sagas' parked and vouched steps. `now` in ms.
pub async fn replace(
    conn: &mut PgConnection,
    now: i64,
    parked: &[(Uuid, Vec<plan::Attention>)],
) -> Result<(), sqlx::Error> {
    let sagas: Vec<Uuid> = parked.iter().map(|(saga, _)| *saga).collect();
    sqlx::query!(
        "delete from public.attention where saga_id = any($1) and kind in ('PARKED', 'VOUCHED')",
        &sagas
    )
    .execute(&mut *conn)
    .await?;
    let entries = || parked.iter().flat_map(|(saga, entries)| entries.iter().map(move |e| (*saga, e)));
    let ids: Vec<Uuid> = entries().map(|(saga, _)| saga).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let kinds: Vec<String> = entries().map(|(_, e)| e.kind.name().to_owned()).collect();
    let steps: Vec<String> = entries().map(|(_, e)| e.step.clone()).collect();
    let participants: Vec<String> = entries().map(|(_, e)| e.participant.clone()).collect();
    let codes: Vec<String> = entries().map(|(_, e)| e.code.clone()).collect();
    let messages: Vec<String> = entries().map(|(_, e)| e.message.clone()).collect();
    sqlx::query!(
        "insert into public.attention (saga_id, step, kind, participant, code, message, since)
         select n.saga_id, n.step, n.kind, nullif(n.participant, ''), n.code, n.message,
                to_timestamp($6::bigint / 1000.0)
           from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $7::text[])
             as n(saga_id, step, participant, code, message, kind)
         on conflict do nothing",
        &ids,
        &steps,
        &participants,
        &codes,
        &messages,
        now,
        &kinds
    )
    .execute(conn)
    .await?;
    Ok(())
}
