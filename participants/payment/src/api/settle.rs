//! Settle: a named person says what became of a call that nobody can ask about any more. Once per request id.

use prost::Message as _;
use skald_participant::{
    CallResult, Failed, Key, NotSettled, Slot, page,
    status::{Fields, not_allowed, of_database, request_taken},
};
use skald_proto::{
    participant::v1::Verb,
    payment::v1::{self as proto, SettleRequest, SettleResponse, settle_request::Found},
};
use sqlx::PgConnection;
use tonic::Status;
use uuid::Uuid;

use super::{Api, charge};
use crate::{
    domain,
    gateway::Gateway,
    store::{self, Charge, settlement::Settlement},
};

const MAX_STEP: usize = 64;
const MAX_REFERENCE: usize = 128;
/// The gateway's code of a charge that a person found not to have happened.
const DID_NOT_HAPPEN: &str = "did_not_happen";

/// Carries a request out, or tells what it came to before.
pub(super) async fn run<G: Gateway>(api: &Api<G>, request: SettleRequest) -> Result<SettleResponse, Status> {
    let wanted = check(request)?;
    let mut transaction = api.pool.begin().await.map_err(of_database)?;
    if !store::settlement::insert(&mut transaction, &wanted).await.map_err(of_database)? {
        let charge = Some(repeated(&mut transaction, &wanted).await?);
        return Ok(SettleResponse { charge, applied: false });
    }
    let before = read(&mut transaction, &wanted.key).await?;
    let result = result(&wanted, before);
    let settled = api
        .by_hand
        .settle(&api.payment, &mut transaction, (&wanted.key, wanted.slot), result)
        .await
        .map_err(|why| refused(&wanted, why))?;
    let after = charge(read(&mut transaction, &wanted.key).await?);
    store::settlement::answered(&mut transaction, &wanted.request_id, &after.encode_to_vec())
        .await
        .map_err(of_database)?;
    // A commit of which nobody knows the end is UNAVAILABLE: the same request id finds out.
    transaction.commit().await.map_err(of_database)?;
    settled.committed();
    let Settlement { key, slot, reference, actor, reason, .. } = &wanted;
    tracing::warn!(charge = page::token(key), ?slot, ?reference, actor, reason, "settled by a person");
    Ok(SettleResponse { charge: Some(after), applied: true })
}

fn check(request: SettleRequest) -> Result<Settlement, Status> {
    let slot = match request.verb() {
        Verb::Run => Some(Slot::Run),
        Verb::Undo => Some(Slot::Undo),
        _ => None,
    };
    let SettleRequest { saga_id, step, epoch, found, request_id, actor, reason, .. } = request;
    let mut fields = Fields::default();
    let saga = Uuid::try_parse(&saga_id).ok();
    fields.check(saga.is_some(), "saga_id", "must be a UUID");
    fields.text(&step, "step", MAX_STEP);
    let epoch = i32::try_from(epoch).unwrap_or(0);
    fields.check(epoch > 0, "epoch", "must be 1 or more");
    fields.check(slot.is_some(), "verb", "must be VERB_RUN (the charge) or VERB_UNDO (the refund)");
    let reference = match found {
        Some(Found::Happened(happened)) => {
            fields.text(&happened.reference, "happened.reference", MAX_REFERENCE);
            Some(happened.reference)
        }
        Some(Found::DidNotHappen(_)) => None,
        None => {
            fields.check(false, "found", "must be happened or did_not_happen");
            None
        }
    };
    fields.act(&request_id, &actor, &reason);
    fields.done()?;
    let key = Key { saga: saga.unwrap_or_default(), step, epoch };
    Ok(Settlement { request_id, key, slot: slot.unwrap_or(Slot::Run), reference, actor, reason })
}

/// The charge, locked.
async fn read(connection: &mut PgConnection, key: &Key) -> Result<Charge, Status> {
    let mut found = store::lock(connection, std::slice::from_ref(key)).await.map_err(of_database)?;
    found
        .pop()
        .ok_or_else(|| Status::not_found(format!("no charge {}; nothing was changed", page::token(key))))
}

/// What the first one was answered.
async fn repeated(connection: &mut PgConnection, wanted: &Settlement) -> Result<proto::Charge, Status> {
    let first = store::settlement::get(connection, &wanted.request_id).await.map_err(of_database)?;
    let Some((_, answer)) = first.filter(|(first, _)| first == wanted) else {
        return Err(request_taken(&wanted.request_id));
    };
    proto::Charge::decode(answer.as_slice())
        .map_err(|_| Status::internal(format!("settlement.answer of {:?} is corrupt", wanted.request_id)))
}

/// As if the gateway had said it.
fn result(wanted: &Settlement, charge: Charge) -> CallResult {
    let Charge { amount_minor, currency, .. } = charge;
    match (wanted.slot, wanted.reference.clone()) {
        (Slot::Run, Some(reference)) => {
            CallResult::Succeeded(Some(domain::charged(reference, amount_minor, currency)))
        }
        (Slot::Run, None) => CallResult::Rejected(domain::declined(DID_NOT_HAPPEN.to_owned())),
        (Slot::Undo, Some(reference)) => {
            CallResult::Undone(Some(domain::refunded(reference, amount_minor, currency)))
        }
        // An undo is never rejected: the money goes back, with a new key.
        (Slot::Undo, None) => CallResult::Refused(Failed::retryable(
            "REFUND_DID_NOT_HAPPEN",
            "a person found that the refund did not happen; it is asked for again",
        )),
    }
}

fn refused(wanted: &Settlement, why: NotSettled) -> Status {
    let what = if wanted.slot == Slot::Run { "the charge" } else { "the refund" };
    let id = page::token(&wanted.key);
    match why {
        NotSettled::Unknown => {
            Status::not_found(format!("{what} of {id} was never asked for; nothing was changed"))
        }
        NotSettled::Settled(verdict) => {
            let stands = verdict.as_str_name().trim_start_matches("BARRIER_VERDICT_");
            not_allowed(&id, &format!("{what} is settled, someone was first"), stands)
        }
        NotSettled::UnderWay => {
            let why = format!("{what} is being looked into at the gateway, whose answer settles it");
            not_allowed(&id, &why, "INTENT")
        }
        NotSettled::Failed(code) => not_allowed(&id, &format!("{what} waits to be tried again"), &code),
        NotSettled::Behind => {
            not_allowed(&id, "the charge itself has no verdict: settle it first (VERB_RUN)", "INTENT")
        }
        NotSettled::Busy => {
            Status::unavailable("too many answers wait for the broker; nothing was changed, try again")
        }
        NotSettled::Database(error) => of_database(error),
    }
}
