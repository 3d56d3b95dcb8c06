//! Reconcile: reads the gateway's records and our charges page by page and tells what differs. Decides nothing; changes nothing.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    time::{SystemTime, UNIX_EPOCH},
};

use futures::{Stream, StreamExt as _, stream};
use prost_types::Timestamp;
use skald_kit::ids;
use skald_participant::{
    Key, page,
    status::{Fields, of_database, timestamp},
};
use skald_proto::payment::v1::{Difference, GatewayMovement, ReconcileRequest, ReconcileResponse};
use sqlx::PgPool;
use tonic::Status;
use uuid::Uuid;

use super::charge;
use crate::{
    gateway::{Answer, Fault, Gateway, Kind, Record, guarded::Guarded},
    reconcile::{Place, Verdict, at_gateway, claims, only_ours},
    store::{Charge, list},
};

const PAGE: i32 = 500;
/// Records that are read to find those of a page of charges; what is not among them is searched for one by one.
const NEARBY: i64 = 1_000;
/// Searches at once: a comparison must not take the gateway from the charges.
const SEARCHES: usize = 4;
/// Year 9999, in seconds: the last that a timestamp has.
const LAST: i64 = 253_402_300_799;

/// The answer.
pub(super) type Pages = Pin<Box<dyn Stream<Item = Result<ReconcileResponse, Status>> + Send>>;

/// What a charge of ours claims, our reference of it, and what the gateway says.
type Searched = ((Charge, Kind, String), String, Option<Answer>);

/// One comparison.
struct Comparison<G> {
    pool: PgPool,
    gateway: Guarded<G>,
    /// Microseconds since 1970; the end is excluded.
    since: i64,
    until: i64,
    size: i64,
}

/// Starts a comparison, or goes on with one.
pub(super) fn start<G: Gateway>(
    pool: PgPool,
    gateway: Guarded<G>,
    request: ReconcileRequest,
) -> Result<Pages, Status> {
    let ReconcileRequest { since, until, page_size, page_token } = request;
    let mut fields = Fields::default();
    let from = since.and_then(micros);
    fields.check(from.is_some(), "since", "must be a time from 1970 on");
    let to = until.map_or_else(|| Some(now()), micros);
    let later = to.is_some_and(|to| from.is_none_or(|from| from < to));
    fields.check(later, "until", "must be a time after since");
    let size = page::size_or(&mut fields, page_size, PAGE);
    let place = Place::read(&page_token);
    fields.check(page_token.is_empty() || place.is_some(), "page_token", page::TOKEN);
    fields.done()?;
    let (since, until) = (from.unwrap_or_default(), to.unwrap_or_default());
    let place = place.unwrap_or_else(|| Place::Gateway(since, String::new()));
    let comparison = Comparison { pool, gateway, since, until, size };
    let pages = stream::try_unfold((comparison, Some(place)), async |(comparison, place)| {
        let Some(place) = place else { return Ok(None) };
        let (page, next) = comparison.page(place).await?;
        Ok(Some((page, (comparison, next))))
    });
    Ok(Box::pin(pages))
}

impl<G: Gateway> Comparison<G> {
    async fn page(&self, place: Place) -> Result<(ReconcileResponse, Option<Place>), Status> {
        let token = place.token();
        let away = |fault: Fault| {
            Status::unavailable(format!(
                "the gateway does not answer ({fault}); go on with page_token {token:?}"
            ))
        };
        let (mut page, next) = match place {
            Place::Gateway(at, reference) => {
                let records =
                    self.gateway.records((at, &reference), self.until, self.size).await.map_err(away)?;
                let more = records.len() as i64 >= self.size;
                let last = records.last().filter(|_| more).map(|r| Place::Gateway(r.at, r.reference.clone()));
                (self.theirs(&records).await.map_err(of_database)?, Some(last.unwrap_or(Place::Ours(None))))
            }
            Place::Ours(after) => {
                let charges = self.charges(after).await.map_err(of_database)?;
                let more = charges.len() as i64 >= self.size;
                let last = charges.last().filter(|_| more).map(|c| Place::Ours(Some(c.key.clone())));
                (self.ours(&charges).await.map_err(away)?, last)
            }
        };
        page.next_page_token = next.as_ref().map_or_else(String::new, Place::token);
        Ok((page, next))
    }

    /// Records of the gateway, looked up among ours: read later, so that what settles meanwhile is no difference.
    async fn theirs(&self, records: &[Record]) -> Result<ReconcileResponse, sqlx::Error> {
        let mut page = ReconcileResponse { movements: records.len() as i64, ..Default::default() };
        let keys: Vec<Key> = records.iter().filter_map(|record| page::key(&record.our_ref)).collect();
        let mut connection = self.pool.acquire().await?;
        // The intents first: a refund that settles in between is found among the charges.
        let refunding: HashSet<Key> =
            list::being_refunded(&mut connection, &keys).await?.into_iter().collect();
        let ours: HashMap<Key, Charge> = list::of_keys(&mut connection, &keys)
            .await?
            .into_iter()
            .map(|charge| (charge.key.clone(), charge))
            .collect();
        for record in records {
            let key = page::key(&record.our_ref);
            let known = key.as_ref().and_then(|key| ours.get(key));
            let refunding = key.as_ref().is_some_and(|key| refunding.contains(key));
            match at_gateway(record, known, refunding) {
                Verdict::Same => {}
                Verdict::Open => page.open += 1,
                Verdict::Differs(kind) => page.differences.push(Difference {
                    kind: kind.into(),
                    our_ref: record.our_ref.clone(),
                    gateway: Some(movement(record)),
                    charge: known.cloned().map(charge),
                }),
            }
        }
        Ok(page)
    }

    async fn charges(&self, after: Option<Key>) -> Result<Vec<Charge>, sqlx::Error> {
        let start = || Key { saga: Uuid::nil(), step: String::new(), epoch: 0 };
        let orders = (first_of(self.since), first_of(self.until));
        let mut connection = self.pool.acquire().await?;
        list::of_orders(&mut connection, orders, &after.unwrap_or_else(start), self.size).await
    }

    /// Charges of ours, looked for at the gateway: most of them among its records of that time, the others one by one.
    async fn ours(&self, charges: &[Charge]) -> Result<ReconcileResponse, Fault> {
        let mut page = ReconcileResponse { charges: charges.len() as i64, ..Default::default() };
        let made = |charge: &Charge| ids::timestamp_ms(charge.key.saga).map(|ms| ms * 1_000);
        let nearby = match charges.first().and_then(made) {
            Some(first) => self.gateway.records((first, ""), self.until, NEARBY).await?,
            None => Vec::new(),
        };
        let nearby: HashSet<(Kind, String)> = nearby.into_iter().map(|r| (r.kind, r.reference)).collect();
        let claimed = charges.iter().flat_map(|ours| {
            claims(ours).into_iter().map(|(kind, reference)| (ours.clone(), kind, reference.to_owned()))
        });
        let missing: Vec<(Charge, Kind, String)> =
            claimed.filter(|(_, kind, reference)| !nearby.contains(&(*kind, reference.clone()))).collect();
        let mut searches = stream::iter(missing).map(|claim| self.search(claim)).buffered(SEARCHES);
        while let Some(searched) = searches.next().await {
            let ((ours, kind, reference), our_ref, found) = searched?;
            let theirs = match found {
                Some(Answer::Moved { reference }) => Some(reference),
                Some(Answer::Declined { .. }) | None => None,
            };
            if theirs.as_ref() == Some(&reference) {
                continue;
            }
            let refund = kind == Kind::Refund;
            page.differences.push(Difference {
                kind: only_ours(kind).into(),
                our_ref,
                gateway: theirs.map(|reference| GatewayMovement { reference, refund, ..Default::default() }),
                charge: Some(charge(ours)),
            });
        }
        Ok(page)
    }

    async fn search(&self, claim: (Charge, Kind, String)) -> Result<Searched, Fault> {
        let our_ref = page::token(&claim.0.key);
        let found = self.gateway.find(claim.1, &our_ref, "").await?;
        Ok((claim, our_ref, found))
    }
}

fn movement(record: &Record) -> GatewayMovement {
    GatewayMovement {
        reference: record.reference.clone(),
        refund: record.kind == Kind::Refund,
        amount_minor: record.amount_minor,
        currency: record.currency.clone(),
        at: Some(timestamp(record.at)),
    }
}

/// The least id of an order made at that time or later.
fn first_of(micros: i64) -> Uuid {
    ids::lower_bound(micros.div_euclid(1_000) + i64::from(micros.rem_euclid(1_000) > 0))
}

fn micros(time: Timestamp) -> Option<i64> {
    let sound = (0..=LAST).contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos);
    sound.then(|| time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
