//! What must be true of one order, and of one SKU. Pure.

use uuid::Uuid;

/// Something that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub rule: &'static str,
    /// The order or SKU.
    pub about: String,
    /// What was found.
    pub what: String,
}

/// Where an order stands, by its own state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// On its way.
    Underway,
    /// Each step took effect exactly once.
    Completed,
    /// Each effect was undone exactly once.
    Compensated,
    /// There is no such saga.
    Unknown,
}

/// Goods that inventory set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// H held, C committed, L let go.
    pub state: char,
    /// SKU and units.
    pub lines: Vec<(String, i64)>,
}

/// A charge as payment knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// I intent, C captured, D declined, V void, R refunded, U unresolved.
    pub state: char,
    /// Minor units.
    pub amount_minor: i64,
}

/// Money that moved, by the gateway's own books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// How often it was charged.
    pub charges: i64,
    /// How often it was refunded.
    pub refunds: i64,
    /// Minor units.
    pub charged_minor: i64,
    /// Minor units.
    pub refunded_minor: i64,
}

/// Everything about one order.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Its id.
    pub id: Uuid,
    /// By its own state, read before the rest.
    pub standing: Standing,
    /// Minor units.
    pub total_minor: i64,
    /// SKU and units.
    pub lines: Vec<(String, i64)>,
    /// A person's word stands for goods (reserve, commit).
    pub goods_vouched: bool,
    /// A person's word stands for money (charge).
    pub money_vouched: bool,
    /// At inventory.
    pub reservations: Vec<Reservation>,
    /// At payment.
    pub charges: Vec<Charge>,
    /// At the gateway; None = its books can't be read.
    pub moved: Option<Moved>,
}

/// The counters of a SKU, and what its reservations come to, read in one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sku {
    /// Its name.
    pub sku: String,
    /// available + reserved + committed.
    pub stocked: i64,
    /// Free.
    pub available: i64,
    /// Set aside.
    pub reserved: i64,
    /// Sold.
    pub committed: i64,
    /// Units of held reservations.
    pub held: i64,
    /// Units of committed reservations.
    pub sold: i64,
}

/// What is wrong with an order.
pub fn order(e: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    if !e.goods_vouched {
        found.extend(goods(e).map(|what| violation("goods", e, what)));
    }
    if !e.money_vouched {
        found.extend(money(e).map(|what| violation("money", e, what)));
        found.extend(e.moved.and_then(|moved| books(e, moved)).map(|what| violation("gateway", e, what)));
    }
    found
}

fn violation(rule: &'static str, e: &Evidence, what: String) -> Violation {
    Violation { rule, about: e.id.to_string(), what: format!("{:?}: {what}", e.standing) }
}

/// A completed order has its goods, once; a compensated one has none.
fn goods(e: &Evidence) -> Option<String> {
    let live = || e.reservations.iter().filter(|r| r.state != 'L');
    let fine = match e.standing {
        Standing::Completed => {
            let mut wanted = e.lines.clone();
            wanted.sort();
            let exact = |r: &Reservation| {
                let mut got = r.lines.clone();
                got.sort();
                r.state == 'C' && got == wanted
            };
            live().count() == 1 && live().all(exact)
        }
        Standing::Underway => live().count() <= 1,
        Standing::Compensated | Standing::Unknown => live().next().is_none(),
    };
    (!fine).then(|| format!("it has {:?}", e.reservations))
}

/// A completed order was charged its total, once; a compensated one has its money back.
fn money(e: &Evidence) -> Option<String> {
    let taken: Vec<_> = e.charges.iter().filter(|c| matches!(c.state, 'C' | 'I' | 'U')).collect();
    let fine = match e.standing {
        Standing::Completed if e.total_minor == 0 => taken.is_empty(),
        Standing::Completed => {
            taken.len() == 1 && taken[0].state == 'C' && taken[0].amount_minor == e.total_minor
        }
        Standing::Underway => taken.len() <= 1,
        Standing::Compensated | Standing::Unknown => taken.is_empty(),
    };
    (!fine).then(|| format!("it costs {} and payment has {:?}", e.total_minor, e.charges))
}

/// What the gateway did is what the order's state promises.
fn books(e: &Evidence, m: Moved) -> Option<String> {
    let fine = match e.standing {
        Standing::Completed if e.total_minor == 0 => m == Moved::default(),
        Standing::Completed => m == Moved { charges: 1, charged_minor: e.total_minor, ..Moved::default() },
        Standing::Underway => m.charges <= 1 && m.refunds <= m.charges,
        Standing::Compensated | Standing::Unknown => {
            m.charges <= 1 && m.refunds == m.charges && m.refunded_minor == m.charged_minor
        }
    };
    (!fine).then(|| format!("it costs {} and the gateway has {m:?}", e.total_minor))
}

/// What is wrong with a SKU.
pub fn sku(s: &Sku) -> Vec<Violation> {
    let rules = [
        (s.available + s.reserved + s.committed == s.stocked, "its counters do not add up"),
        ([s.available, s.reserved, s.committed].iter().all(|n| *n >= 0), "a counter is below 0"),
        (s.held == s.reserved, "what reservations hold is not what is reserved"),
        (s.sold == s.committed, "what reservations sold is not what is committed"),
    ];
    let wrong = rules.into_iter().filter(|(holds, _)| !holds);
    wrong
        .map(|(_, what)| Violation { rule: "stock", about: s.sku.clone(), what: format!("{what}: {s:?}") })
        .collect()
}
