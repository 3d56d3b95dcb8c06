//! Many charges at once, without locks: for lists, and for the comparison with the gateway's records.

use skald_participant::Key;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Charge, Keys, Raw, State};

/// Rows that one page looks at: no index serves the state, for every charge would pay for it.
const WINDOW: i64 = 10_000;

/// At most `limit` open charges (to be called, or unresolved) after this one, by key. Each of them has an intent, of which there
/// are few.
pub(crate) async fn open(
    connection: &mut PgConnection,
    state: State,
    age: f64,
    after: &Key,
    limit: i64,
) -> Result<Vec<Charge>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Raw,
        r#"select c.saga_id, c.step, c.epoch, c.amount_minor, c.currency as "currency!", c.customer_id, c.method_token,
                  c.state as "state: i8", c.gateway_ref, c.refund_ref,
                  (extract(epoch from c.intent_at) * 1000000)::bigint as "intent_at!",
                  (extract(epoch from c.settled_at) * 1000000)::bigint as settled_at,
                  (extract(epoch from c.refunded_at) * 1000000)::bigint as refunded_at
           from (select distinct saga_id, step, epoch from skald.intent
                 where (saga_id, step, epoch) > ($1, $2, $3)) i
           join public.charge c on c.saga_id = i.saga_id and c.step = i.step and c.epoch = i.epoch
           where c.state = $4::text::"char" and c.intent_at <= now() - make_interval(secs => $5)
           order by c.saga_id, c.step, c.epoch limit $6"#,
        after.saga,
        after.step,
        after.epoch,
        state.letter(),
        age,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Charge::try_from).collect()
}

/// At most `limit` charges before this one, the newest orders first, and the row after which to go on.
pub(crate) async fn newest(
    connection: &mut PgConnection,
    state: Option<State>,
    age: f64,
    before: &Key,
    limit: i64,
) -> Result<(Vec<Charge>, Option<Key>), sqlx::Error> {
    let rows = sqlx::query!(
        r#"select saga_id as "saga_id!", step as "step!", epoch as "epoch!", amount_minor as "amount_minor!",
                  currency as "currency!", customer_id as "customer_id!", method_token as "method_token!",
                  state as "state!: i8", gateway_ref, refund_ref,
                  (extract(epoch from intent_at) * 1000000)::bigint as "intent_at!",
                  (extract(epoch from settled_at) * 1000000)::bigint as settled_at,
                  (extract(epoch from refunded_at) * 1000000)::bigint as refunded_at,
                  n as "n!", fits as "fits!"
           from (select c.*, row_number() over (order by saga_id desc, step desc, epoch desc) as n,
                        ($4::text is null or state = $4::"char")
                          and intent_at <= now() - make_interval(secs => $5) as fits
                 from public.charge c
                 where (saga_id, step, epoch) < ($1, $2, $3)
                 order by saga_id desc, step desc, epoch desc limit $6) seen
           where fits or n = $6 order by n limit $7"#,
        before.saga,
        before.step,
        before.epoch,
        state.map(State::letter),
        age,
        WINDOW,
        limit + 1,
    )
    .fetch_all(connection)
    .await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut found, mut next) = (Vec::with_capacity(rows.len()), None);
    for r in rows {
        if found.len() == limit {
            next = found.last().map(|last: &Charge| last.key.clone());
            break;
        }
        if r.n == WINDOW {
            next = Some(Key { saga: r.saga_id, step: r.step.clone(), epoch: r.epoch });
        }
        if r.fits {
            found.push(Charge::try_from(Raw {
                saga_id: r.saga_id,
                step: r.step,
                epoch: r.epoch,
                amount_minor: r.amount_minor,
                currency: r.currency,
                customer_id: r.customer_id,
                method_token: r.method_token,
                state: r.state,
                gateway_ref: r.gateway_ref,
                refund_ref: r.refund_ref,
                intent_at: r.intent_at,
                settled_at: r.settled_at,
                refunded_at: r.refunded_at,
            })?);
        }
    }
    Ok((found, next))
}

/// At most `limit` charges of orders from `first` on and before `end`, after this one, by key.
pub(crate) async fn of_orders(
    connection: &mut PgConnection,
    (first, end): (Uuid, Uuid),
    after: &Key,
    limit: i64,
) -> Result<Vec<Charge>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Raw,
        r#"select saga_id, step, epoch, amount_minor, currency as "currency!", customer_id, method_token,
                  state as "state: i8", gateway_ref, refund_ref,
                  (extract(epoch from intent_at) * 1000000)::bigint as "intent_at!",
                  (extract(epoch from settled_at) * 1000000)::bigint as settled_at,
                  (extract(epoch from refunded_at) * 1000000)::bigint as refunded_at
           from public.charge
           where saga_id >= $1 and saga_id < $2 and (saga_id, step, epoch) > ($3, $4, $5)
           order by saga_id, step, epoch limit $6"#,
        first,
        end,
        after.saga,
        after.step,
        after.epoch,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Charge::try_from).collect()
}

/// Those of these charges that are there, in no order.
pub(crate) async fn of_keys(connection: &mut PgConnection, keys: &[Key]) -> Result<Vec<Charge>, sqlx::Error> {
    let keys = Keys::of(keys.iter());
    let rows = sqlx::query_as!(
        Raw,
        r#"select c.saga_id, c.step, c.epoch, c.amount_minor, c.currency as "currency!", c.customer_id, c.method_token,
                  c.state as "state: i8", c.gateway_ref, c.refund_ref,
                  (extract(epoch from c.intent_at) * 1000000)::bigint as "intent_at!",
                  (extract(epoch from c.settled_at) * 1000000)::bigint as settled_at,
                  (extract(epoch from c.refunded_at) * 1000000)::bigint as refunded_at
           from (select distinct * from unnest($1::uuid[], $2::text[], $3::int[])) as u(saga_id, step, epoch)
           join public.charge c on c.saga_id = u.saga_id and c.step = u.step and c.epoch = u.epoch"#,
        &keys.sagas,
        &keys.steps,
        &keys.epochs,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Charge::try_from).collect()
}

/// Those of these charges whose refund is under way: it will settle by itself.
pub(crate) async fn being_refunded(
    connection: &mut PgConnection,
    keys: &[Key],
) -> Result<Vec<Key>, sqlx::Error> {
    let keys = Keys::of(keys.iter());
    let rows = sqlx::query!(
        r#"select i.saga_id, i.step, i.epoch
           from unnest($1::uuid[], $2::text[], $3::int[]) as u(saga_id, step, epoch)
           join skald.intent i on i.saga_id = u.saga_id and i.step = u.step and i.epoch = u.epoch
           where i.verb = 'U' and i.answered is distinct from 'UNRESOLVED'"#,
        &keys.sagas,
        &keys.steps,
        &keys.epochs,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|r| Key { saga: r.saga_id, step: r.step, epoch: r.epoch }).collect())
}
