//! Table `reservation`: what each order holds, held, or was given.

use skald_participant::Key;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::allocation::Line;

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Set aside.
    Held,
    /// Handed over.
    Committed,
    /// Available again.
    LetGo,
}

impl State {
    fn read(letter: i8, key: &Key) -> Result<Self, sqlx::Error> {
        match u8::try_from(letter) {
            Ok(b'H') => Ok(Self::Held),
            Ok(b'C') => Ok(Self::Committed),
            Ok(b'L') => Ok(Self::LetGo),
            // Not transient, and nobody else's fault: the runtime sets this command aside.
            _ => Err(sqlx::Error::ColumnDecode {
                index: format!("reservation.state of {}/{}/{}", key.saga, key.step, key.epoch),
                source: format!("{letter} is no state").into(),
            }),
        }
    }

    /// As in the column `state`.
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::Held => "H",
            Self::Committed => "C",
            Self::LetGo => "L",
        }
    }
}

/// One row. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// What it belongs to.
    pub key: Key,
    /// Where it stands.
    pub state: State,
    /// What is held.
    pub lines: Vec<Line>,
    /// Since when.
    pub held_at: i64,
    /// When it was let go or handed over.
    pub ended_at: Option<i64>,
}

fn lines(skus: Vec<String>, quantities: Vec<i64>) -> Vec<Line> {
    skus.into_iter().zip(quantities).map(|(sku, quantity)| Line { sku, quantity }).collect()
}

/// Locks those of these reservations that are there, in the order of their keys, and reads them.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    keys: &[Key],
) -> Result<Vec<Reservation>, sqlx::Error> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let sagas: Vec<Uuid> = keys.iter().map(|key| key.saga).collect();
    let steps: Vec<String> = keys.iter().map(|key| key.step.clone()).collect();
    let epochs: Vec<i32> = keys.iter().map(|key| key.epoch).collect();
    let rows = sqlx::query!(
        r#"select r.saga_id, r.step, r.epoch, r.state as "state: i8", r.skus, r.quantities,
                  (extract(epoch from r.held_at) * 1000000)::bigint as "held_at!",
                  (extract(epoch from r.ended_at) * 1000000)::bigint as ended_at
           from public.reservation r
           join unnest($1::uuid[], $2::text[], $3::int[]) as u(saga_id, step, epoch)
             on r.saga_id = u.saga_id and r.step = u.step and r.epoch = u.epoch
           order by r.saga_id, r.step, r.epoch for update of r"#,
        &sagas,
        &steps,
        &epochs,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let key = Key { saga: row.saga_id, step: row.step, epoch: row.epoch };
            Ok(Reservation {
                state: State::read(row.state, &key)?,
                key,
                lines: lines(row.skus, row.quantities),
                held_at: row.held_at,
                ended_at: row.ended_at,
            })
        })
        .collect()
}

/// The reservations of one saga, by step and epoch, without a lock.
pub(crate) async fn of_saga(
    connection: &mut PgConnection,
    saga: Uuid,
) -> Result<Vec<Reservation>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select step, epoch, state as "state: i8", skus, quantities,
                  (extract(epoch from held_at) * 1000000)::bigint as "held_at!",
                  (extract(epoch from ended_at) * 1000000)::bigint as ended_at
           from public.reservation where saga_id = $1 order by step, epoch"#,
        saga,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let key = Key { saga, step: row.step, epoch: row.epoch };
            Ok(Reservation {
                state: State::read(row.state, &key)?,
                key,
                lines: lines(row.skus, row.quantities),
                held_at: row.held_at,
                ended_at: row.ended_at,
            })
        })
        .collect()
}

/// Which reservations; `None` is any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) sku: Option<String>,
    pub(crate) saga: Option<Uuid>,
    pub(crate) state: Option<State>,
}

/// Rows that one page looks at: no index serves SKU or state, for every order would pay for it.
const WINDOW: i64 = 10_000;

/// At most `limit` reservations before this one, the newest orders first, and the row after which to go on.
pub(crate) async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    before: Option<&Key>,
    limit: i64,
) -> Result<(Vec<Reservation>, Option<Key>), sqlx::Error> {
    let (first, last) = (filter.saga.unwrap_or(Uuid::nil()), filter.saga.unwrap_or(Uuid::max()));
    let start = Key { saga: Uuid::max(), step: String::new(), epoch: 0 };
    let before = before.unwrap_or(&start);
    let rows = sqlx::query!(
        r#"select saga_id as "saga_id!", step as "step!", epoch as "epoch!", state as "state!: i8",
                  skus as "skus!", quantities as "quantities!",
                  (extract(epoch from held_at) * 1000000)::bigint as "held_at!",
                  (extract(epoch from ended_at) * 1000000)::bigint as ended_at,
                  n as "n!", fits as "fits!"
           from (select r.*, row_number() over (order by saga_id desc, step desc, epoch desc) as n,
                        ($6::text is null or skus @> array[$6]) and ($7::text is null or state = $7::"char") as fits
                 from public.reservation r
                 where (saga_id, step, epoch) < ($1, $2, $3) and saga_id between $4 and $5
                 order by saga_id desc, step desc, epoch desc limit $8) seen
           where fits or n = $8 order by n limit $9"#,
        before.saga,
        before.step,
        before.epoch,
        first,
        last,
        filter.sku,
        filter.state.map(State::letter),
        WINDOW,
        limit + 1,
    )
    .fetch_all(connection)
    .await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut found, mut next) = (Vec::with_capacity(rows.len()), None);
    for row in rows {
        let key = Key { saga: row.saga_id, step: row.step, epoch: row.epoch };
        if found.len() == limit {
            next = found.last().map(|last: &Reservation| last.key.clone());
            break;
        }
        if row.n == WINDOW {
            next = Some(key.clone());
        }
        if row.fits {
            found.push(Reservation {
                state: State::read(row.state, &key)?,
                key,
                lines: lines(row.skus, row.quantities),
                held_at: row.held_at,
                ended_at: row.ended_at,
            });
        }
    }
    Ok((found, next))
}
