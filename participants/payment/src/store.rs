//! Table `charge`; the rooms beside it list charges and keep what people settled. Functions borrow a connection: the caller owns the transaction. Rows are locked in the order of their keys.

pub(crate) mod list;
pub(crate) mod settlement;

use skald_participant::Key;
use sqlx::PgConnection;
use uuid::Uuid;

/// Where a charge stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The gateway was or will be asked.
    Intent,
    /// The money was taken.
    Captured,
    /// The gateway said no.
    Declined,
    /// Sealed before anything was asked.
    Void,
    /// The money was given back.
    Refunded,
    /// Nobody knows: a person must find out.
    Unresolved,
}

impl State {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Intent, "I"),
        (Self::Captured, "C"),
        (Self::Declined, "D"),
        (Self::Void, "V"),
        (Self::Refunded, "R"),
        (Self::Unresolved, "U"),
    ];

    fn letter(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, letter)| letter)
    }

    fn read(letter: i8, key: &Key) -> Result<Self, sqlx::Error> {
        let found = Self::ALL.iter().find(|(_, l)| l.as_bytes() == letter.to_be_bytes());
        // Not transient, and nobody else's fault: the runtime sets this command aside.
        found.map(|(state, _)| *state).ok_or_else(|| sqlx::Error::ColumnDecode {
            index: format!("charge.state of {}/{}/{}", key.saga, key.step, key.epoch),
            source: format!("{letter} is no state").into(),
        })
    }
}

/// One row. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// What it belongs to.
    pub key: Key,
    /// In minor units.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// Who pays.
    pub customer_id: String,
    /// What the customer pays with.
    pub method_token: String,
    /// Where it stands.
    pub state: State,
    /// The gateway's reference of the charge.
    pub gateway_ref: Option<String>,
    /// The gateway's reference of the refund.
    pub refund_ref: Option<String>,
    /// When it was asked for.
    pub intent_at: i64,
    /// When the gateway answered.
    pub settled_at: Option<i64>,
    /// When it was given back.
    pub refunded_at: Option<i64>,
}

/// A row's columns as sqlx reads them.
struct Raw {
    saga_id: Uuid,
    step: String,
    epoch: i32,
    amount_minor: i64,
    currency: String,
    customer_id: String,
    method_token: String,
    state: i8,
    gateway_ref: Option<String>,
    refund_ref: Option<String>,
    intent_at: i64,
    settled_at: Option<i64>,
    refunded_at: Option<i64>,
}

impl TryFrom<Raw> for Charge {
    type Error = sqlx::Error;

    fn try_from(raw: Raw) -> Result<Self, sqlx::Error> {
        let key = Key { saga: raw.saga_id, step: raw.step, epoch: raw.epoch };
        Ok(Self {
            state: State::read(raw.state, &key)?,
            key,
            amount_minor: raw.amount_minor,
            currency: raw.currency,
            customer_id: raw.customer_id,
            method_token: raw.method_token,
            gateway_ref: raw.gateway_ref,
            refund_ref: raw.refund_ref,
            intent_at: raw.intent_at,
            settled_at: raw.settled_at,
            refunded_at: raw.refunded_at,
        })
    }
}

/// Keys as columns, sorted.
struct Keys {
    sagas: Vec<Uuid>,
    steps: Vec<String>,
    epochs: Vec<i32>,
}

impl Keys {
    fn of<'a>(keys: impl Iterator<Item = &'a Key> + Clone) -> Self {
        Self {
            sagas: keys.clone().map(|key| key.saga).collect(),
            steps: keys.clone().map(|key| key.step.clone()).collect(),
            epochs: keys.map(|key| key.epoch).collect(),
        }
    }
}

/// Locks those of these charges that are there, in the order of their keys, and reads them.
pub(crate) async fn lock(connection: &mut PgConnection, keys: &[Key]) -> Result<Vec<Charge>, sqlx::Error> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let keys = Keys::of(keys.iter());
    let rows = sqlx::query_as!(
        Raw,
        r#"select c.saga_id, c.step, c.epoch, c.amount_minor, c.currency as "currency!", c.customer_id, c.method_token,
                  c.state as "state: i8", c.gateway_ref, c.refund_ref,
                  (extract(epoch from c.intent_at) * 1000000)::bigint as "intent_at!",
                  (extract(epoch from c.settled_at) * 1000000)::bigint as settled_at,
                  (extract(epoch from c.refunded_at) * 1000000)::bigint as refunded_at
           from public.charge c
           join unnest($1::uuid[], $2::text[], $3::int[]) as u(saga_id, step, epoch)
             on c.saga_id = u.saga_id and c.step = u.step and c.epoch = u.epoch
           order by c.saga_id, c.step, c.epoch for update of c"#,
        &keys.sagas,
        &keys.steps,
        &keys.epochs,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Charge::try_from).collect()
}

/// The charges of one saga, by step and epoch, without a lock.
pub(crate) async fn of_saga(connection: &mut PgConnection, saga: Uuid) -> Result<Vec<Charge>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Raw,
        r#"select saga_id, step, epoch, amount_minor, currency as "currency!", customer_id, method_token,
                  state as "state: i8", gateway_ref, refund_ref,
                  (extract(epoch from intent_at) * 1000000)::bigint as "intent_at!",
                  (extract(epoch from settled_at) * 1000000)::bigint as settled_at,
                  (extract(epoch from refunded_at) * 1000000)::bigint as refunded_at
           from public.charge where saga_id = $1 order by step, epoch"#,
        saga,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Charge::try_from).collect()
}

/// Inserts new charges: intents, or void ones.
pub(crate) async fn insert(connection: &mut PgConnection, new: &[&Charge]) -> Result<(), sqlx::Error> {
    if new.is_empty() {
        return Ok(());
    }
    let keys = Keys::of(new.iter().map(|charge| &charge.key));
    let text =
        |pick: fn(&Charge) -> &str| -> Vec<String> { new.iter().map(|c| pick(c).to_owned()).collect() };
    let amounts: Vec<i64> = new.iter().map(|charge| charge.amount_minor).collect();
    let done = sqlx::query!(
        r#"insert into public.charge (saga_id, step, epoch, amount_minor, currency, customer_id, method_token, state, settled_at)
           select u.saga_id, u.step, u.epoch, u.amount_minor, u.currency, u.customer_id, u.method_token, u.state::"char",
                  case when u.state = 'V' then now() end
           from unnest($1::uuid[], $2::text[], $3::int[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[])
                as u(saga_id, step, epoch, amount_minor, currency, customer_id, method_token, state)
           order by u.saga_id, u.step, u.epoch"#,
        &keys.sagas,
        &keys.steps,
        &keys.epochs,
        &amounts,
        &text(|c| &c.currency),
        &text(|c| &c.customer_id),
        &text(|c| &c.method_token),
        &text(|c| c.state.letter()),
    )
    .execute(connection)
    .await?;
    expect_rows("table charge, insert of a wave", done.rows_affected(), new.len())
}

/// Writes what became of locked charges, each of which was in the state `from` beside it: nothing is settled or refunded twice.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    changed: &[(State, &Charge)],
) -> Result<(), sqlx::Error> {
    if changed.is_empty() {
        return Ok(());
    }
    let keys = Keys::of(changed.iter().map(|(_, charge)| &charge.key));
    let from: Vec<String> = changed.iter().map(|(from, _)| from.letter().to_owned()).collect();
    let to: Vec<String> = changed.iter().map(|(_, charge)| charge.state.letter().to_owned()).collect();
    let optional = |pick: fn(&Charge) -> &Option<String>| -> Vec<Option<String>> {
        changed.iter().map(|(_, charge)| pick(charge).clone()).collect()
    };
    let (gateway_refs, refund_refs) = (optional(|c| &c.gateway_ref), optional(|c| &c.refund_ref));
    let done = sqlx::query!(
        r#"update public.charge c
           set state = u.state::"char", gateway_ref = u.gateway_ref, refund_ref = u.refund_ref,
               settled_at = case when u.state in ('C', 'D') then now() else c.settled_at end,
               refunded_at = case when u.state = 'R' then now() else c.refunded_at end
           from unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[])
                as u(saga_id, step, epoch, was, state, gateway_ref, refund_ref)
           where c.saga_id = u.saga_id and c.step = u.step and c.epoch = u.epoch and c.state = u.was::"char""#,
        &keys.sagas,
        &keys.steps,
        &keys.epochs,
        &from,
        &to,
        &gateway_refs as &[Option<String>],
        &refund_refs as &[Option<String>],
    )
    .execute(connection)
    .await?;
    expect_rows("table charge, settling", done.rows_affected(), changed.len())
}

/// Says so when a statement touched another number of rows than it had to: under our locks that is a bug, or someone who wrote
/// without them.
fn expect_rows(what: &str, touched: u64, expected: usize) -> Result<(), sqlx::Error> {
    if touched == expected as u64 {
        Ok(())
    } else {
        Err(sqlx::Error::Protocol(format!("{what}: {touched} rows touched, not {expected}")))
    }
}
