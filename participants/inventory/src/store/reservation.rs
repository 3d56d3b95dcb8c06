//! Table `reservation`: what each order holds, held, or was given.

use skald_participant::Key;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::allocation::Line;

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Held,
    Committed,
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
pub(crate) struct Reservation {
    pub(crate) key: Key,
    pub(crate) state: State,
    pub(crate) lines: Vec<Line>,
    pub(crate) held_at: i64,
    pub(crate) ended_at: Option<i64>,
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
