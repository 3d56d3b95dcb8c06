//! Fetches what is judged, page by page, in read-only transactions. The order of reading is what makes it safe beside
//! running services: an order's state first, and then what that state promises, which never goes away again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use prost::Message as _;
use skald_core::{
    input::Request,
    state::{self, Phase},
};
use skald_proto::order::v1::OrderInput;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    Report,
    judge::{self, Charge, Evidence, Moved, Reservation, Sku, Standing},
};
use crate::exit::{Exit, Failure};

/// Orders that are judged at once.
const PAGE: i64 = 10_000;

struct Databases {
    orchestrator: PgConnection,
    inventory: PgConnection,
    payment: PgConnection,
    gateway: bool,
}

/// Reads and judges everything, or one order, whose id may be shortened.
///
/// # Errors
/// A database can't be reached or read; it is not clear which order is meant.
pub(super) async fn report(urls: &[String; 3], typed: Option<&str>) -> Result<Report, Failure> {
    let [orchestrator, inventory, payment] = urls;
    let mut db = Databases {
        orchestrator: connect("the orchestrator's database", orchestrator).await?,
        inventory: connect("inventory's database", inventory).await?,
        payment: connect("payment's database", payment).await?,
        gateway: false,
    };
    let one = match typed {
        Some(typed) => Some(meant(&mut db.orchestrator, typed).await?),
        None => None,
    };
    db.gateway = sqlx::query_scalar("select to_regclass('gateway.movement') is not null")
        .fetch_one(&mut db.payment)
        .await
        .context("payment's database")?;
    let mut report = Report { gateway: db.gateway, ..Report::default() };
    let mut after = Uuid::nil();
    loop {
        let orders = orders(&mut db.orchestrator, after, one).await.context("reading sagas")?;
        let Some(last) = orders.last() else { break };
        after = last.id;
        let evidence = evidence(&mut db, orders).await?;
        report.orders += evidence.len() as u64;
        report.vouched +=
            evidence.iter().map(|e| u64::from(e.goods_vouched) + u64::from(e.money_vouched)).sum::<u64>();
        report.violations.extend(evidence.iter().flat_map(judge::order));
        if one.is_some() {
            break;
        }
    }
    if let Some(id) = one {
        return if report.orders > 0 { Ok(report) } else { Err(nobody(&id.to_string())) };
    }
    let strangers = strangers(&mut db).await?;
    report.violations.extend(evidence(&mut db, strangers).await?.iter().flat_map(judge::order));
    let skus = skus(&mut db.inventory).await.context("reading stock")?;
    report.skus = skus.len() as u64;
    report.violations.extend(skus.iter().flat_map(judge::sku));
    Ok(report)
}

async fn connect(what: &str, url: &str) -> anyhow::Result<PgConnection> {
    let mut conn = PgConnection::connect(url).await.with_context(|| format!("{what} does not answer"))?;
    sqlx::query("set default_transaction_read_only = on").execute(&mut conn).await?;
    Ok(conn)
}

/// The order that is meant: by the primary key when its first digits are given, else by a look at every id.
async fn meant(conn: &mut PgConnection, typed: &str) -> Result<Uuid, Failure> {
    if let Ok(whole) = Uuid::try_parse(typed) {
        return Ok(whole);
    }
    let digits = typed.replace('-', "").to_lowercase();
    if !(6..32).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        let why =
            format!("{typed:?} is no id, nor the first 8 digits of one or more, nor the last 6 or more");
        return Err(Failure::new(Exit::Usage, why));
    }
    let mut found = Vec::new();
    if digits.len() >= 8 {
        let end = |with: &str| format!("{digits}{}", with.repeat(32 - digits.len()));
        let begins = sqlx::query_scalar(
            "select s.id from public.saga s join public.definition d on d.id = s.definition_id and d.name = 'order'
              where s.id between $1::uuid and $2::uuid order by s.id limit 10",
        );
        found = begins.bind(end("0")).bind(end("f")).fetch_all(&mut *conn).await.context("reading ids")?;
    }
    if found.is_empty() {
        let ends = sqlx::query_scalar(
            "select s.id from public.saga s join public.definition d on d.id = s.definition_id and d.name = 'order'
              where right(replace(s.id::text, '-', ''), length($1)) = $1 order by s.id limit 10",
        );
        found = ends.bind(&digits).fetch_all(conn).await.context("reading ids")?;
    }
    match found.as_slice() {
        [] => Err(nobody(typed)),
        [one] => Ok(*one),
        several => {
            let named: Vec<String> = several.iter().map(Uuid::to_string).collect();
            let why = format!("{typed} can mean several: {}", named.join(", "));
            Err(Failure::new(Exit::Usage, why).advice("give more digits"))
        }
    }
}

fn nobody(order: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no order {order}"))
}

/// The next orders by id, those of the order saga alone.
async fn orders(conn: &mut PgConnection, after: Uuid, one: Option<Uuid>) -> anyhow::Result<Vec<Evidence>> {
    let rows: Vec<(Uuid, i16, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "select s.id, s.format, s.state, s.request from public.saga s
           join public.definition d on d.id = s.definition_id and d.name = 'order'
          where s.id > $1 and ($2::uuid is null or s.id = $2) order by s.id limit $3",
    )
    .bind(after)
    .bind(one)
    .bind(PAGE)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|(id, format, state, request)| ordered(id, format, &state, &request)).collect()
}

fn ordered(id: Uuid, format: i16, state: &[u8], request: &[u8]) -> anyhow::Result<Evidence> {
    let state = state::decode(format as u32, state).with_context(|| format!("order {id}"))?;
    let input = Request::decode(request).with_context(|| format!("order {id}"))?.input.unwrap_or_default();
    // Whoever starts a saga of the definition may send anything: nothing may have been reserved or charged for what is no order.
    let input = OrderInput::decode(input.value.as_slice()).unwrap_or_default();
    let vouched = |step: &str| state.steps.iter().any(|s| s.name == step && s.vouched);
    Ok(Evidence {
        id,
        standing: match state.phase() {
            Phase::Completed => Standing::Completed,
            Phase::Compensated => Standing::Compensated,
            Phase::Forward | Phase::Compensating => Standing::Underway,
        },
        total_minor: input.total_minor,
        lines: input.lines.into_iter().map(|line| (line.sku, line.quantity)).collect(),
        goods_vouched: vouched("reserve") || vouched("commit"),
        money_vouched: vouched("charge"),
        reservations: Vec::new(),
        charges: Vec::new(),
        moved: None,
    })
}

/// What the participants have of these orders.
async fn evidence(db: &mut Databases, mut orders: Vec<Evidence>) -> anyhow::Result<Vec<Evidence>> {
    let ids: Vec<Uuid> = orders.iter().map(|e| e.id).collect();
    let mut reservations = reservations(&mut db.inventory, &ids).await.context("reading reservations")?;
    let mut charges = charges(&mut db.payment, &ids).await.context("reading charges")?;
    let mut moved = if db.gateway { moved(&mut db.payment, &ids).await? } else { BTreeMap::new() };
    for order in &mut orders {
        order.reservations = reservations.remove(&order.id).unwrap_or_default();
        order.charges = charges.remove(&order.id).unwrap_or_default();
        order.moved = db.gateway.then(|| moved.remove(&order.id).unwrap_or_default());
    }
    Ok(orders)
}

async fn reservations(
    conn: &mut PgConnection,
    ids: &[Uuid],
) -> Result<BTreeMap<Uuid, Vec<Reservation>>, sqlx::Error> {
    let rows: Vec<(Uuid, String, Vec<String>, Vec<i64>)> = sqlx::query_as(
        "select saga_id, state::text, skus, quantities from public.reservation where saga_id = any($1)",
    )
    .bind(ids)
    .fetch_all(conn)
    .await?;
    let mut by_order: BTreeMap<Uuid, Vec<Reservation>> = BTreeMap::new();
    for (id, state, skus, quantities) in rows {
        let lines = skus.into_iter().zip(quantities).collect();
        by_order.entry(id).or_default().push(Reservation { state: letter(&state), lines });
    }
    Ok(by_order)
}

async fn charges(conn: &mut PgConnection, ids: &[Uuid]) -> Result<BTreeMap<Uuid, Vec<Charge>>, sqlx::Error> {
    let rows: Vec<(Uuid, String, i64)> = sqlx::query_as(
        "select saga_id, state::text, amount_minor from public.charge where saga_id = any($1)",
    )
    .bind(ids)
    .fetch_all(conn)
    .await?;
    let mut by_order: BTreeMap<Uuid, Vec<Charge>> = BTreeMap::new();
    for (id, state, amount_minor) in rows {
        by_order.entry(id).or_default().push(Charge { state: letter(&state), amount_minor });
    }
    Ok(by_order)
}

async fn moved(conn: &mut PgConnection, ids: &[Uuid]) -> anyhow::Result<BTreeMap<Uuid, Moved>> {
    let rows: Vec<(Uuid, i64, i64, i64, i64)> = sqlx::query_as(
        "select id, count(*) filter (where kind = 'charge'), count(*) filter (where kind = 'refund'),
                (coalesce(sum(amount_minor) filter (where kind = 'charge'), 0))::bigint,
                (coalesce(sum(amount_minor) filter (where kind = 'refund'), 0))::bigint
           from unnest($1::uuid[]) as n(id)
           join gateway.movement m on split_part(m.our_ref, '/', 1) = n.id::text
          group by id",
    )
    .bind(ids)
    .fetch_all(conn)
    .await
    .context("reading the gateway's books")?;
    let moved = rows.into_iter().map(|(id, charges, refunds, charged_minor, refunded_minor)| {
        (id, Moved { charges, refunds, charged_minor, refunded_minor })
    });
    Ok(moved.collect())
}

fn letter(state: &str) -> char {
    state.chars().next().unwrap_or('?')
}

/// Orders of which a participant has something and the orchestrator nothing. Whoever submits mints the id and stores the
/// saga first, so one that is not there when it is asked for last never was.
async fn strangers(db: &mut Databases) -> anyhow::Result<Vec<Evidence>> {
    let held = "select saga_id from public.reservation where state <> 'L'";
    let taken = "select saga_id from public.charge where state in ('C', 'I', 'U')";
    let held: Vec<Uuid> = sqlx::query_scalar(held).fetch_all(&mut db.inventory).await?;
    let taken: Vec<Uuid> = sqlx::query_scalar(taken).fetch_all(&mut db.payment).await?;
    let suspects: BTreeSet<Uuid> = held.into_iter().chain(taken).collect();
    let mut strangers = Vec::new();
    for some in suspects.into_iter().collect::<Vec<_>>().chunks(PAGE as usize) {
        let unknown: Vec<Uuid> = sqlx::query_scalar(
            "select n.id from unnest($1::uuid[]) as n(id)
              where not exists (select from public.saga s where s.id = n.id)",
        )
        .bind(some)
        .fetch_all(&mut db.orchestrator)
        .await?;
        strangers.extend(unknown.into_iter().map(|id| Evidence {
            id,
            standing: Standing::Unknown,
            total_minor: 0,
            lines: Vec::new(),
            goods_vouched: false,
            money_vouched: false,
            reservations: Vec::new(),
            charges: Vec::new(),
            moved: None,
        }));
    }
    Ok(strangers)
}

/// Counters and reservations in one statement, so in one snapshot.
async fn skus(conn: &mut PgConnection) -> Result<Vec<Sku>, sqlx::Error> {
    let rows: Vec<(String, i64, i64, i64, i64, i64, i64)> = sqlx::query_as(
        "with lines as (
           select u.sku, r.state, sum(u.n)::bigint as n
             from public.reservation r, unnest(r.skus, r.quantities) as u(sku, n) group by 1, 2)
         select s.sku, s.stocked, s.available, s.reserved, s.committed,
                coalesce((select n from lines l where l.sku = s.sku and l.state = 'H'), 0),
                coalesce((select n from lines l where l.sku = s.sku and l.state = 'C'), 0)
           from public.stock s order by s.sku",
    )
    .fetch_all(conn)
    .await?;
    let sku = |(sku, stocked, available, reserved, committed, held, sold)| Sku {
        sku,
        stocked,
        available,
        reserved,
        committed,
        held,
        sold,
    };
    Ok(rows.into_iter().map(sku).collect())
}
