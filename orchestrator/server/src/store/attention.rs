//! `attention`: the operators' inbox. What stands there is written with what it is about, in one transaction.

use skald_core::plan;
use sqlx::PgConnection;
use uuid::Uuid;

/// Replaces what stands about some sagas' parked and vouched steps; what was there already keeps its time, and whoever
/// took it keeps it. `now` in ms.
pub async fn replace(
    conn: &mut PgConnection,
    now: i64,
    parked: &[(Uuid, Vec<plan::Attention>)],
) -> Result<(), sqlx::Error> {
    let sagas: Vec<Uuid> = parked.iter().map(|(saga, _)| *saga).collect();
    let entries = || parked.iter().flat_map(|(saga, entries)| entries.iter().map(move |e| (*saga, e)));
    let ids: Vec<Uuid> = entries().map(|(saga, _)| saga).collect();
    let kinds: Vec<String> = entries().map(|(_, e)| e.kind.name().to_owned()).collect();
    let steps: Vec<String> = entries().map(|(_, e)| e.step.clone()).collect();
    let participants: Vec<String> = entries().map(|(_, e)| e.participant.clone()).collect();
    let codes: Vec<String> = entries().map(|(_, e)| e.code.clone()).collect();
    let messages: Vec<String> = entries().map(|(_, e)| e.message.clone()).collect();
    sqlx::query!(
        "with gone as (
           delete from public.attention a
            where a.saga_id = any($1) and a.kind in ('PARKED', 'VOUCHED')
              and not exists (select from unnest($2::uuid[], $3::text[], $4::text[]) as n(saga_id, step, kind)
                               where n.saga_id = a.saga_id and n.step = a.step and n.kind = a.kind))
         insert into public.attention as a (saga_id, step, kind, participant, code, message, since)
         select n.saga_id, n.step, n.kind, nullif(n.participant, ''), n.code, n.message,
                to_timestamp($8::bigint / 1000.0)
           from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
             as n(saga_id, step, kind, participant, code, message)
         on conflict (saga_id, step, kind) do update set code = excluded.code, message = excluded.message
          where (a.code, a.message) is distinct from (excluded.code, excluded.message)",
        &sagas,
        &ids,
        &steps,
        &kinds,
        &participants,
        &codes,
        &messages,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A command that is unanswered for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    /// Whose.
    pub saga: Uuid,
    /// Which step's.
    pub step: String,
    /// Who does not answer.
    pub participant: String,
    /// For a person.
    pub message: String,
    /// When something happened to the saga last, ms.
    pub since: i64,
}

/// Replaces what stands about the slow steps of some sagas; what was there already stays as it was.
pub async fn slow(conn: &mut PgConnection, sagas: &[Uuid], slow: &[Slow]) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = slow.iter().map(|s| s.saga).collect();
    let steps: Vec<String> = slow.iter().map(|s| s.step.clone()).collect();
    let participants: Vec<String> = slow.iter().map(|s| s.participant.clone()).collect();
    let messages: Vec<String> = slow.iter().map(|s| s.message.clone()).collect();
    let since: Vec<i64> = slow.iter().map(|s| s.since).collect();
    sqlx::query!(
        "with gone as (
           delete from public.attention a
            where a.saga_id = any($1) and a.kind = 'SLOW'
              and not exists (select from unnest($2::uuid[], $3::text[]) as n(saga_id, step)
                               where n.saga_id = a.saga_id and n.step = a.step))
         insert into public.attention (saga_id, step, kind, participant, code, message, since)
         select n.saga_id, n.step, 'SLOW', n.participant, 'UNANSWERED', n.message, to_timestamp(n.since / 1000.0)
           from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[])
             as n(saga_id, step, participant, message, since)
         on conflict do nothing",
        sagas,
        &ids,
        &steps,
        &participants,
        &messages,
        &since
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Which items; None = any. An empty step is the saga itself, an empty participant none, an empty holder nobody.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// As the column has it.
    pub kind: Option<String>,
    /// As the column has it.
    pub step: Option<String>,
    /// Who is asked.
    pub participant: Option<String>,
    /// Such as UNAVAILABLE.
    pub code: Option<String>,
    /// Who looks after it.
    pub taken_by: Option<String>,
}

/// An item.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct Item {
    pub saga_id: Uuid,
    pub step: String,
    pub kind: String,
    pub participant: String,
    pub code: String,
    pub message: String,
    /// Microseconds: with the key it is an item's place in the list.
    pub since_us: i64,
    pub taken_by: String,
    pub note: String,
}

/// What names an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the key of the table")]
pub struct Key {
    pub saga_id: Uuid,
    pub step: String,
    pub kind: String,
}

/// Items that are probably one trouble.
#[derive(Debug)]
#[allow(missing_docs, reason = "as in the contract")]
pub struct Group {
    pub kind: String,
    pub step: String,
    pub participant: String,
    pub code: String,
    pub count: i64,
    pub taken: i64,
    pub oldest_us: i64,
    pub example: Uuid,
}

/// The groups, the largest first.
pub async fn groups(conn: &mut PgConnection, f: &Filter, limit: i64) -> Result<Vec<Group>, sqlx::Error> {
    sqlx::query_as!(
        Group,
        r#"select kind, step, coalesce(participant, '') as "participant!", code, count(*) as "count!",
                  count(taken_by) as "taken!", (extract(epoch from min(since)) * 1000000)::bigint as "oldest_us!",
                  (array_agg(saga_id order by since, saga_id))[1] as "example!"
             from public.attention
            where ($1::text is null or kind = $1) and ($2::text is null or step = $2)
              and ($3::text is null or coalesce(participant, '') = $3) and ($4::text is null or code = $4)
              and ($5::text is null or coalesce(taken_by, '') = $5)
            group by kind, step, participant, code
            order by count(*) desc, kind, step, participant, code limit $6"#,
        f.kind.as_deref(),
        f.step.as_deref(),
        f.participant.as_deref(),
        f.code.as_deref(),
        f.taken_by.as_deref(),
        limit
    )
    .fetch_all(conn)
    .await
}

/// Items behind this place, the oldest first.
pub async fn list(
    conn: &mut PgConnection,
    f: &Filter,
    (since_us, after): (i64, &Key),
    limit: i64,
) -> Result<Vec<Item>, sqlx::Error> {
    sqlx::query_as!(
        Item,
        r#"select saga_id, step, kind, coalesce(participant, '') as "participant!", code, message,
                  (extract(epoch from since) * 1000000)::bigint as "since_us!",
                  coalesce(taken_by, '') as "taken_by!", coalesce(note, '') as "note!"
             from public.attention
            where (since, saga_id, step, kind)
                  > (timestamptz 'epoch' + $6::bigint * interval '1 microsecond', $7::uuid, $8::text, $9::text)
              and ($1::text is null or kind = $1) and ($2::text is null or step = $2)
              and ($3::text is null or coalesce(participant, '') = $3) and ($4::text is null or code = $4)
              and ($5::text is null or coalesce(taken_by, '') = $5)
            order by since, saga_id, step, kind limit $10"#,
        f.kind.as_deref(),
        f.step.as_deref(),
        f.participant.as_deref(),
        f.code.as_deref(),
        f.taken_by.as_deref(),
        since_us,
        after.saga_id,
        after.step,
        after.kind,
        limit
    )
    .fetch_all(conn)
    .await
}

/// One item, locked until the transaction ends.
pub async fn lock(conn: &mut PgConnection, key: &Key) -> Result<Option<Item>, sqlx::Error> {
    sqlx::query_as!(
        Item,
        r#"select saga_id, step, kind, coalesce(participant, '') as "participant!", code, message,
                  (extract(epoch from since) * 1000000)::bigint as "since_us!",
                  coalesce(taken_by, '') as "taken_by!", coalesce(note, '') as "note!"
             from public.attention where saga_id = $1 and step = $2 and kind = $3 for update"#,
        key.saga_id,
        key.step,
        key.kind
    )
    .fetch_optional(conn)
    .await
}

/// Says who looks after an item (empty: nobody), with that person's note.
pub async fn hold(conn: &mut PgConnection, key: &Key, who: &str, note: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update public.attention set taken_by = nullif($4, ''), note = nullif($5, '')
          where saga_id = $1 and step = $2 and kind = $3",
        key.saga_id,
        key.step,
        key.kind,
        who,
        note
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How many items of each kind there are, and the age of the oldest in seconds.
pub async fn counts(conn: &mut PgConnection) -> Result<Vec<(String, i64, f64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select kind, count(*) as "n!", extract(epoch from clock_timestamp() - min(since))::float8 as "age!"
             from public.attention group by kind"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| (r.kind, r.n, r.age)).collect())
}
