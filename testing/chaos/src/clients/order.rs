//! What is ordered, and how each order must end, known before it is submitted.

use skald_proto::order::v1::{OrderDraft, OrderLine};

/// Plenty of it.
const TEA: &str = "TEA";
/// Plenty of it too.
const POT: &str = "POT";
/// One is there; whoever wants two gets none.
const RARE: &str = "RARE";
/// Fewer than there are orders for it, and everybody wants one.
pub(crate) const LAST: &str = "LAST";

/// What the shelf holds besides [`LAST`].
pub(crate) const SHELF: [(&str, i64); 3] = [(TEA, 100_000_000), (POT, 100_000_000), (RARE, 1)];

/// How an order must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// COMPLETED.
    Completed,
    /// CANCELLED for this reason.
    Cancelled(&'static str),
    /// COMPLETED, or CANCELLED with OUT_OF_STOCK: as many as there were goods.
    FirstCome,
    /// CANCELLED when its customer was told so; who was told nothing may find it either way.
    AsTold,
}

/// What its customer does besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    Pay,
    Cancel,
    /// Cancels while it is on its way already.
    CancelLate,
    /// Submits it twice at once, at two orchestrators, with one key.
    Twice,
}

/// An order that will be placed.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) draft: OrderDraft,
    pub(crate) end: End,
    pub(crate) then: Then,
}

/// The `n`th order: good ones, out of stock, declined, cancelled early and late, paid later, submitted twice, each kind of slow and
/// lying gateway.
pub(crate) fn mixed(n: usize) -> Order {
    use End::{AsTold, Cancelled, Completed, FirstCome};
    let one = |lines: &[(&str, i64)], token, end, then| Order { draft: draft(lines, token), end, then };
    let quantity = 1 + (n % 7) as i64;
    match n % 12 {
        0 => one(&[(TEA, quantity), (POT, 1)], Some("tok_slow"), Completed, Then::Nothing),
        1 => one(&[(TEA, quantity)], None, Cancelled("CUSTOMER"), Then::Cancel),
        2 => one(&[(POT, quantity)], Some("tok_ok"), Completed, Then::Twice),
        3 => one(&[(TEA, 1), (RARE, 2)], Some("tok_ok"), Cancelled("OUT_OF_STOCK"), Then::Nothing),
        4 => one(&[(TEA, quantity)], Some("tok_declined"), Cancelled("PAYMENT_DECLINED"), Then::Nothing),
        5 => one(&[(LAST, 1)], Some("tok_ok"), FirstCome, Then::Nothing),
        6 => one(&[(TEA, quantity)], None, Completed, Then::Pay),
        7 => one(&[(POT, quantity)], Some("tok_lost_answer"), Completed, Then::Nothing),
        8 => one(&[(TEA, quantity), (POT, 2)], Some("tok_flaky"), Completed, Then::Nothing),
        9 => one(&[(TEA, quantity)], Some("tok_slow"), AsTold, Then::CancelLate),
        _ => canary(n),
    }
}

/// One that nothing stands in the way of.
pub(crate) fn canary(n: usize) -> Order {
    let quantity = 1 + (n % 7) as i64;
    Order {
        draft: draft(&[(POT, quantity), (TEA, 1)], Some("tok_ok")),
        end: End::Completed,
        then: Then::Nothing,
    }
}

/// An order of these lines (SKU, quantity), 250 cents a unit; no token: it is paid later.
fn draft(lines: &[(&str, i64)], token: Option<&str>) -> OrderDraft {
    let line = |(sku, quantity): &(&str, i64)| OrderLine {
        sku: (*sku).to_owned(),
        quantity: *quantity,
        unit_price_minor: 250,
        seller_id: String::new(),
    };
    OrderDraft {
        customer_id: "customer".into(),
        lines: lines.iter().map(line).collect(),
        currency: "EUR".into(),
        payment_token: token.map(str::to_owned),
        needs_fulfilment: false,
        note: String::new(),
    }
}
