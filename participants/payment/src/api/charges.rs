//! ListCharges: which charges stand where, the open ones above all.

use std::time::{SystemTime, UNIX_EPOCH};

use skald_kit::ids;
use skald_participant::{
    Key, page,
    status::{Fields, of_database},
};
use skald_proto::payment::v1::{ChargeState, ListChargesRequest, ListChargesResponse};
use sqlx::PgPool;
use tonic::Status;
use uuid::Uuid;

use super::charge;
use crate::store::{State, list};

/// Clocks of this process and of the database differ by less.
const CLOCKS_MS: f64 = 60_000.0;

/// One page.
pub(super) async fn list(pool: &PgPool, request: ListChargesRequest) -> Result<ListChargesResponse, Status> {
    let ListChargesRequest { state, older_than, page_size, page_token } = request;
    let mut fields = Fields::default();
    let wanted = ChargeState::try_from(state);
    fields.check(wanted.is_ok(), "state", "is not known");
    let age = fields.age(older_than, "older_than");
    let size = page::size(&mut fields, page_size);
    let from = page::key(&page_token);
    fields.check(page_token.is_empty() || from.is_some(), "page_token", page::TOKEN);
    fields.done()?;
    let state = match wanted.unwrap_or_default() {
        ChargeState::Unspecified => None,
        ChargeState::Intent => Some(State::Intent),
        ChargeState::Captured => Some(State::Captured),
        ChargeState::Declined => Some(State::Declined),
        ChargeState::Void => Some(State::Void),
        ChargeState::Refunded => Some(State::Refunded),
        ChargeState::Unresolved => Some(State::Unresolved),
    };
    let mut connection = pool.acquire().await.map_err(of_database)?;
    let (found, next_page_token) = if let Some(state @ (State::Intent | State::Unresolved)) = state {
        let from = from.unwrap_or_else(|| before(Uuid::nil()));
        let mut found =
            list::open(&mut connection, state, age, &from, size + 1).await.map_err(of_database)?;
        let next = page::cut(&mut found, size, |charge| page::token(&charge.key));
        (found, next)
    } else {
        let from = from.unwrap_or_else(|| before(youngest(age)));
        let (found, next) =
            list::newest(&mut connection, state, age, &from, size).await.map_err(of_database)?;
        (found, next.as_ref().map_or_else(String::new, page::token))
    };
    Ok(ListChargesResponse { charges: found.into_iter().map(charge).collect(), next_page_token })
}

/// No charge is older than its order: orders that are younger than `age` seconds need not be looked at.
fn youngest(age: f64) -> Uuid {
    if age == 0.0 {
        return Uuid::max();
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // the fraction of a millisecond is lost in the minute
    ids::lower_bound((since.as_secs_f64() * 1_000.0 - age * 1_000.0 + CLOCKS_MS) as i64)
}

fn before(saga: Uuid) -> Key {
    Key { saga, step: String::new(), epoch: 0 }
}
