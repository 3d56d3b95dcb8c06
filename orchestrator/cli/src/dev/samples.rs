//! The sample orders: what each asks for, who does what on the way, and how it should end. Data only.

use std::time::Duration;

use skald_proto::order::v1::{OrderDraft, OrderLine, OrderStatus};

/// One sample order.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Short, for the table and the idempotency key.
    pub name: &'static str,
    /// What it is there for.
    pub story: &'static str,
    /// What is submitted.
    pub draft: OrderDraft,
    /// Someone who acts on the way.
    pub cue: Option<Cue>,
    /// How it should end.
    pub end: OrderStatus,
    /// Why, when it is cancelled.
    pub reason: &'static str,
}

/// When the order stands at `at`, someone waits a moment and acts.
#[derive(Clone, Copy, Debug)]
pub struct Cue {
    /// Where the order waits.
    pub at: OrderStatus,
    /// How long he takes, so that it can be seen.
    pub after: Duration,
    /// What is waited for.
    pub waits: &'static str,
    /// What he does.
    pub act: Act,
}

/// What someone does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The customer pays.
    Pay,
    /// The seller ships.
    Fulfil,
    /// The customer changes his mind.
    Cancel,
}

/// Units of each article that must be there before the orders are placed.
pub const STOCK: [(&str, i64); 4] =
    [("tea-green", 100), ("tea-black", 100), ("teapot", 20), ("teapot-gold", 1)];

/// All of them, in the order of the table.
pub fn all() -> Vec<Sample> {
    let plain = Sample {
        name: "good",
        story: "everything is there, and paid with the order",
        draft: draft("ada", &[("tea-green", 2, 450), ("teapot", 1, 3_900)], Some("tok_ok")),
        cue: None,
        end: OrderStatus::Completed,
        reason: "",
    };
    let seller =
        OrderDraft { needs_fulfilment: true, ..draft("edsger", &[("teapot", 1, 3_900)], Some("tok_ok")) };
    vec![
        plain.clone(),
        Sample {
            name: "out of stock",
            story: "3 asked for, 1 there: nothing is taken",
            draft: draft("bob", &[("tea-black", 1, 520), ("teapot-gold", 3, 99_000)], Some("tok_ok")),
            end: OrderStatus::Cancelled,
            reason: "OUT_OF_STOCK",
            ..plain.clone()
        },
        Sample {
            name: "declined",
            story: "the card is declined: the goods go back",
            draft: draft("carol", &[("tea-black", 2, 520)], Some("tok_declined")),
            end: OrderStatus::Cancelled,
            reason: "PAYMENT_DECLINED",
            ..plain.clone()
        },
        Sample {
            name: "pay later",
            story: "the customer pays a moment later",
            draft: draft("dana", &[("tea-green", 1, 450)], None),
            cue: cue(OrderStatus::Reserved, 1_200, "waits for the customer to pay", Act::Pay),
            ..plain.clone()
        },
        Sample {
            name: "needs a seller",
            story: "paid, and completed when the seller ships",
            draft: seller,
            cue: cue(OrderStatus::Paid, 1_600, "waits for the seller to ship", Act::Fulfil),
            ..plain.clone()
        },
        Sample {
            name: "cancelled",
            story: "the customer changes his mind before he pays",
            draft: draft("frances", &[("tea-black", 1, 520)], None),
            cue: cue(OrderStatus::Reserved, 900, "waits for the customer to pay", Act::Cancel),
            end: OrderStatus::Cancelled,
            reason: "CUSTOMER",
        },
        Sample {
            name: "slow gateway",
            story: "the payment provider takes 2 s to answer",
            draft: draft("grace", &[("tea-green", 3, 450)], Some("tok_slow")),
            ..plain
        },
    ]
}

fn draft(customer: &str, lines: &[(&str, i64, i64)], token: Option<&str>) -> OrderDraft {
    let line = |&(sku, quantity, unit_price_minor): &(&str, i64, i64)| OrderLine {
        sku: sku.into(),
        quantity,
        unit_price_minor,
        seller_id: String::new(),
    };
    OrderDraft {
        customer_id: customer.into(),
        lines: lines.iter().map(line).collect(),
        currency: "EUR".into(),
        payment_token: token.map(Into::into),
        needs_fulfilment: false,
        note: String::new(),
    }
}

fn cue(at: OrderStatus, after_ms: u64, waits: &'static str, act: Act) -> Option<Cue> {
    Some(Cue { at, after: Duration::from_millis(after_ms), waits, act })
}
