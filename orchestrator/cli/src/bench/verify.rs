//! The reckoning: every acknowledged order ended as it had to, stock and money add up. Asks the services and the
//! simulated gateway's own books; [`stock`] and [`money`] judge, without I/O.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use skald_proto::inventory::v1::{
    AuditRequest, ListStockRequest, Stock, inventory_service_client::InventoryServiceClient,
};
use sqlx::{Connection as _, PgConnection};
use tonic::transport::Channel;
use uuid::Uuid;

use super::book::{Book, Entry};
use super::mix::{Fate, Mix};

/// Articles per question.
const PAGE: i32 = 1_000;
/// Violations of one kind that are listed; the others are counted.
const LISTED: usize = 5;

/// What a run left behind.
pub(super) struct Evidence<'a> {
    pub(super) book: &'a Book,
    pub(super) mix: Mix,
    pub(super) inventory: InventoryServiceClient<Channel>,
    /// Databases.
    pub(super) orchestrator: String,
    pub(super) payment: String,
}

/// Money that moved for one order, by the gateway's books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moved {
    charges: i64,
    refunds: i64,
    charged_minor: i64,
    refunded_minor: i64,
}

/// All that does not add up.
///
/// # Errors
/// A service or database could not be asked.
pub(super) async fn violations(mut evidence: Evidence<'_>) -> Result<Vec<String>> {
    let (entries, mut found) = evidence.book.close();
    let open: Vec<Uuid> = entries.iter().filter(|e| e.is_durable() && !e.has_ended()).map(|e| e.id).collect();
    found.extend(listed("an acknowledged order has not ended", open.iter().map(Uuid::to_string)));
    found.extend(sagas(&evidence.orchestrator, &entries).await.context("counting sagas")?);
    let audit = evidence.inventory.audit(AuditRequest {}).await?.into_inner();
    let wrong = audit.discrepancies.iter().map(|d| format!("{d:?}"));
    found.extend(listed("the audit of inventory found a discrepancy", wrong));
    let all = list_stock(&mut evidence.inventory).await?;
    found.extend(stock(&evidence.mix, &entries, &all));
    let moved = movements(&evidence.payment).await.context("reading the gateway's books")?;
    found.extend(money(&evidence.mix, &entries, moved));
    Ok(found)
}

/// The orchestrator's own table, counted: as many of each end as events were seen.
async fn sagas(url: &str, entries: &[Entry]) -> Result<Vec<String>> {
    let mut connection = PgConnection::connect(url).await?;
    let (completed, compensated, others): (i64, i64, i64) = sqlx::query_as(
        "select count(*) filter (where status = 3), count(*) filter (where status = 4),
                count(*) filter (where status not in (3, 4)) from public.saga",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    let count =
        |wanted: fn(Fate) -> bool| entries.iter().filter(|e| e.end.is_some_and(wanted)).count() as i64;
    let expected = (count(|f| f == Fate::Completed), count(|f| f != Fate::Completed), 0);
    let stored = (completed, compensated, others);
    let text = format!(
        "sagas (completed, compensated, other) are stored as {stored:?}, their events said {expected:?}"
    );
    Ok((stored != expected).then_some(text).into_iter().collect())
}

async fn list_stock(inventory: &mut InventoryServiceClient<Channel>) -> Result<Vec<Stock>> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = inventory.list_stock(ListStockRequest { page_size: PAGE, page_token }).await?.into_inner();
        all.extend(page.stock);
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        page_token = page.next_page_token;
    }
}

/// Committed is what the completed orders had, and nothing is held any more.
fn stock(mix: &Mix, entries: &[Entry], all: &[Stock]) -> Vec<String> {
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for n in (0..entries.len()).filter(|n| entries[*n].end == Some(Fate::Completed)) {
        for (sku, quantity) in mix.lines(n as u64) {
            *expected.entry(sku).or_default() += quantity;
        }
    }
    let mut wrong = Vec::new();
    for stock in all {
        let committed = expected.remove(&stock.sku).unwrap_or(0);
        let adds_up = stock.available + stock.reserved + stock.committed == stock.stocked;
        if stock.committed != committed || stock.reserved != 0 || stock.available < 0 || !adds_up {
            wrong.push(format!("{stock:?}, completed orders have {committed}"));
        }
    }
    wrong.extend(
        expected.into_iter().map(|(sku, quantity)| format!("{sku} is unknown, orders have {quantity}")),
    );
    listed("stock does not add up", wrong.into_iter())
}

async fn movements(url: &str) -> Result<HashMap<Uuid, Moved>> {
    let mut connection = PgConnection::connect(url).await?;
    let mut rows = sqlx::query_as::<_, (String, i64, i64, i64, i64)>(
        "select split_part(our_ref, '/', 1), count(*) filter (where kind = 'charge'), count(*) filter (where kind = 'refund'),
                (coalesce(sum(amount_minor) filter (where kind = 'charge'), 0))::bigint,
                (coalesce(sum(amount_minor) filter (where kind = 'refund'), 0))::bigint
         from gateway.movement group by 1",
    )
    .fetch(&mut connection);
    let mut all = HashMap::new();
    while let Some((saga, charges, refunds, charged_minor, refunded_minor)) = rows.try_next().await? {
        all.insert(saga.parse()?, Moved { charges, refunds, charged_minor, refunded_minor });
    }
    drop(rows);
    connection.close().await?;
    Ok(all)
}

/// One charge of the right amount per completed order, none refunded; of any other order each charge has one refund.
fn money(mix: &Mix, entries: &[Entry], mut moved: HashMap<Uuid, Moved>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (n, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.is_durable()) {
        let found = moved.remove(&entry.id).unwrap_or_default();
        let right = match entry.end {
            Some(Fate::Completed) => {
                let total = mix.total(n as u64);
                found == Moved { charges: 1, charged_minor: total, ..Moved::default() }
            }
            // Not ended: told already, and its charge may be on its way.
            None if !entry.has_ended() => found.charges <= 1 && found.refunds <= found.charges,
            _ => {
                found.charges <= 1
                    && found.refunds == found.charges
                    && found.refunded_minor == found.charged_minor
            }
        };
        if !right {
            wrong.push(format!("order {} ended {:?}: {found:?}", entry.id, entry.end));
        }
    }
    wrong.extend(moved.into_iter().map(|(id, found)| format!("nobody placed order {id}: {found:?}")));
    listed("money does not add up", wrong.into_iter())
}

/// The first few, and how many more.
fn listed(what: &str, mut wrong: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let all = wrong.len();
    let mut lines: Vec<String> = wrong.by_ref().take(LISTED).map(|text| format!("{what}: {text}")).collect();
    if all > LISTED {
        lines.push(format!("{what}: {} more", all - LISTED));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::book::End;
    use super::*;

    const MIX: Mix = Mix { seed: 1, skus: 3, hot: 0, lines: 1 };

    /// Twenty orders, each ended as it had to.
    fn entries() -> Vec<Entry> {
        let book = Book::new();
        for n in 0..20_u64 {
            let id = Uuid::from_u128(u128::from(n) + 1);
            book.open(Instant::now());
            book.durable(n, id);
            book.ended(vec![(id, End::As(Mix::fate(n)))]);
        }
        book.close().0
    }

    fn good_stock(entries: &[Entry]) -> Vec<Stock> {
        let mut all: BTreeMap<String, Stock> = BTreeMap::new();
        for n in (0..entries.len() as u64).filter(|n| Mix::fate(*n) == Fate::Completed) {
            for (sku, quantity) in MIX.lines(n) {
                let entry = all.entry(sku.clone()).or_insert(Stock { sku, ..Stock::default() });
                entry.committed += quantity;
                entry.stocked += quantity;
            }
        }
        all.into_values().collect()
    }

    fn good_money(entries: &[Entry]) -> HashMap<Uuid, Moved> {
        let completed = (0..entries.len()).filter(|n| Mix::fate(*n as u64) == Fate::Completed);
        let moved = |n| Moved { charges: 1, charged_minor: MIX.total(n), ..Moved::default() };
        completed.map(|n| (entries[n].id, moved(n as u64))).collect()
    }

    #[test]
    fn a_good_run_has_no_violation() {
        let entries = entries();
        assert_eq!(stock(&MIX, &entries, &good_stock(&entries)), Vec::<String>::new());
        assert_eq!(money(&MIX, &entries, good_money(&entries)), Vec::<String>::new());
    }

    #[test]
    fn each_unit_too_many_or_too_few_is_seen() {
        let entries = entries();
        let faults: [fn(&mut Stock); 4] = [
            |s| s.committed += 1,
            |s| {
                s.committed -= 1;
                s.available += 1;
            },
            |s| {
                s.reserved += 1;
                s.stocked += 1;
            },
            |s| s.stocked += 1,
        ];
        for (i, fault) in faults.into_iter().enumerate() {
            let mut all = good_stock(&entries);
            fault(&mut all[0]);
            assert_eq!(stock(&MIX, &entries, &all).len(), 1, "fault {i}");
        }
        assert_eq!(stock(&MIX, &entries, &good_stock(&entries)[1..]).len(), 1, "an article is gone");
    }

    #[test]
    fn each_cent_too_many_or_too_few_is_seen() {
        let entries = entries();
        let (completed, declined) = (entries[0].id, entries[7].id);
        type Fault = fn(&mut Moved);
        let faults: [(Uuid, Fault); 7] = [
            (completed, |m| m.charges = 2),
            (completed, |m| m.charged_minor += 1),
            (completed, |m| *m = Moved::default()),
            (completed, |m| m.refunds = 1),
            (declined, |m| m.charges = 1),
            (declined, |m| *m = Moved { charges: 1, refunds: 2, ..Moved::default() }),
            (Uuid::max(), |m| m.charges = 1),
        ];
        for (i, (id, fault)) in faults.into_iter().enumerate() {
            let mut all = good_money(&entries);
            fault(all.entry(id).or_default());
            assert_eq!(money(&MIX, &entries, all).len(), 1, "fault {i}");
        }
        let mut refunded = good_money(&entries);
        refunded.insert(declined, Moved { charges: 1, refunds: 1, charged_minor: 5, refunded_minor: 5 });
        assert_eq!(money(&MIX, &entries, refunded), Vec::<String>::new());
    }

    #[test]
    fn many_violations_of_a_kind_are_counted() {
        let lines = listed("x", (0..9).map(|i| i.to_string()));
        assert_eq!((lines.len(), lines[0].as_str(), lines[5].as_str()), (6, "x: 0", "x: 4 more"));
    }
}
