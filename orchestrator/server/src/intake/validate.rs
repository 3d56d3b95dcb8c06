//! Every bad field of a request at once. The limits are the contracts'.

use skald_core::Definition;
use skald_proto::{
    order::v1::{OrderDraft, OrderInput, OrderLine},
    saga::v1::NamedSignal,
};
use uuid::Uuid;

use super::errors::BadFields;

/// Money of one order at most, in minor units.
const MAX_TOTAL: i128 = 1_000_000_000_000_000;
const MAX_PRICE: i64 = 1_000_000_000_000;
const MAX_QUANTITY: i64 = 1_000_000;
const MAX_LINES: usize = 100;

/// A text of so many characters that has no control character (NUL can't be stored).
pub fn text(bad: &mut BadFields, field: &str, value: &str, min: usize, max: usize) {
    let length = value.chars().count();
    let limits =
        if min == 0 { format!("at most {max} characters") } else { format!("{min} to {max} characters") };
    bad.check((min..=max).contains(&length), field, format!("must be {limits}, has {length}"));
    bad.check(!value.contains('\0'), field, "must not contain NUL");
}

/// An id; nil when it is none.
pub fn id(bad: &mut BadFields, field: &str, text: &str) -> Uuid {
    Uuid::try_parse(text).unwrap_or_else(|_| {
        bad.add(field, "must be a UUID");
        Uuid::nil()
    })
}

/// Signals that come along: each one that the definition waits for, none twice.
pub fn signals(bad: &mut BadFields, definition: &Definition, signals: &[NamedSignal]) {
    let most = definition.steps.len();
    bad.check(signals.len() <= most, "signals", "are more than the definition has steps");
    for (i, signal) in signals.iter().take(most).enumerate() {
        signal_name(bad, &format!("signals[{i}].name"), definition, &signal.name);
        let twice = signals[..i].iter().any(|s| s.name == signal.name);
        bad.check(!twice, format!("signals[{i}].name"), "came before in this request");
    }
}

/// The name of a signal that the definition waits for.
pub fn signal_name(bad: &mut BadFields, field: &str, definition: &Definition, name: &str) {
    let known = definition.index(name).is_some_and(|s| definition.steps[s].is_signal());
    bad.check(known, field, format!("{} has no signal {name:?}", definition.name));
}

/// 1 to 128 printable ASCII characters.
pub fn key(bad: &mut BadFields, field: &str, value: &str) {
    let printable = value.bytes().all(|b| (0x20..0x7f).contains(&b));
    bad.check(
        (1..=128).contains(&value.len()) && printable,
        field,
        "must be 1 to 128 printable ASCII characters",
    );
}

/// What a hash must be.
pub const HASH: &str = "must be 64 hexadecimal digits";

/// SHA-256 from its hexadecimal digits.
pub fn hash(text: &str) -> Option<Vec<u8>> {
    let digits = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let byte = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).ok();
    digits.then(|| (0..64).step_by(2).filter_map(byte).collect())
}

/// A SKU: 1 to 64 characters of `[A-Za-z0-9._-]`.
fn sku(bad: &mut BadFields, field: &str, value: &str) {
    let legal = value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    bad.check(
        (1..=64).contains(&value.len()) && legal,
        field,
        "must be 1 to 64 characters of [A-Za-z0-9._-]",
    );
}

/// An order to be placed: checks it, computes its total, gives what the saga gets to see.
pub fn order(bad: &mut BadFields, draft: Option<&OrderDraft>) -> OrderInput {
    let Some(draft) = draft else {
        bad.add("order", "is missing");
        return OrderInput::default();
    };
    text(bad, "order.customer_id", &draft.customer_id, 1, 128);
    text(bad, "order.note", &draft.note, 0, 1000);
    let currency_ok = draft.currency.len() == 3 && draft.currency.bytes().all(|b| b.is_ascii_uppercase());
    bad.check(currency_ok, "order.currency", "must be an ISO 4217 code: three upper-case letters");
    if let Some(token) = &draft.payment_token {
        text(bad, "order.payment_token", token, 1, 128);
    }
    bad.check((1..=MAX_LINES).contains(&draft.lines.len()), "order.lines", "must be 1 to 100 lines");
    let mut total: i128 = 0;
    // A request holds half a million empty ones, and each is compared with those before it.
    for (i, line) in draft.lines.iter().take(MAX_LINES).enumerate() {
        order_line(bad, i, line);
        let twice = draft.lines[..i].iter().any(|l| l.sku == line.sku);
        bad.check(!twice, format!("order.lines[{i}].sku"), "stands in a line before; add the quantities up");
        // One line can't exceed an i128, a hundred can.
        total = total.saturating_add(i128::from(line.quantity) * i128::from(line.unit_price_minor));
    }
    let total_ok = (-MAX_TOTAL..=MAX_TOTAL).contains(&total);
    bad.check(
        total_ok,
        "order.lines",
        "come to more than 10^15 minor units, the most that one order may cost",
    );
    OrderInput {
        customer_id: draft.customer_id.clone(),
        lines: draft.lines.clone(),
        currency: draft.currency.clone(),
        total_minor: if total_ok { total as i64 } else { 0 },
        note: draft.note.clone(),
        needs_fulfilment: draft.needs_fulfilment,
    }
}

fn order_line(bad: &mut BadFields, i: usize, line: &OrderLine) {
    sku(bad, &format!("order.lines[{i}].sku"), &line.sku);
    let quantity_ok = (1..=MAX_QUANTITY).contains(&line.quantity);
    bad.check(quantity_ok, format!("order.lines[{i}].quantity"), "must be 1 to 1,000,000");
    let price_ok = (0..=MAX_PRICE).contains(&line.unit_price_minor);
    bad.check(price_ok, format!("order.lines[{i}].unit_price_minor"), "must be 0 to 10^12");
    text(bad, &format!("order.lines[{i}].seller_id"), &line.seller_id, 0, 64);
}

/// A page's size: 0 means 50, at most 500.
pub fn page_size(bad: &mut BadFields, size: i32) -> usize {
    bad.check((0..=500).contains(&size), "page_size", "must be 0 (50) to 500");
    if size == 0 { 50 } else { size.clamp(1, 500) as usize }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    fn line(sku: &str, quantity: i64, unit_price_minor: i64) -> OrderLine {
        OrderLine { sku: sku.into(), quantity, unit_price_minor, seller_id: String::new() }
    }

    fn draft(lines: Vec<OrderLine>) -> OrderDraft {
        OrderDraft { customer_id: "c".into(), lines, currency: "EUR".into(), ..Default::default() }
    }

    fn fields(draft: &OrderDraft) -> Vec<String> {
        let mut bad = BadFields::default();
        order(&mut bad, Some(draft));
        let Err(status) = bad.into_result() else { return Vec::new() };
        let violations = status.get_details_bad_request().unwrap().field_violations;
        violations.into_iter().map(|v| v.field).collect()
    }

    #[test]
    fn a_good_order_gets_its_total() {
        let mut bad = BadFields::default();
        let input = order(&mut bad, Some(&draft(vec![line("A", 2, 150), line("B", 1, 0)])));
        bad.into_result().unwrap();
        assert_eq!(input.total_minor, 300);
    }

    #[test]
    fn each_bad_field_is_named() {
        let mut bad = draft(vec![line("A", 0, -1), line("A", 1, 1), line("b ad", 1, 1)]);
        bad.customer_id.clear();
        bad.currency = "eur".into();
        bad.payment_token = Some(String::new());
        assert_eq!(
            fields(&bad),
            [
                "order.customer_id",
                "order.currency",
                "order.payment_token",
                "order.lines[0].quantity",
                "order.lines[0].unit_price_minor",
                "order.lines[1].sku",
                "order.lines[2].sku",
            ]
        );
    }

    #[test]
    fn a_total_that_overflows_is_refused() {
        let many = (0..100).map(|i| line(&format!("S{i}"), MAX_QUANTITY, MAX_PRICE)).collect();
        assert_eq!(fields(&draft(many)), ["order.lines"]);
        assert_eq!(fields(&draft(vec![line("A", i64::MAX, i64::MAX)])).len(), 3);
        for price in [i64::MIN, i64::MAX] {
            let lines = ["A", "B", "C", "D"].map(|sku| line(sku, i64::MIN, price));
            assert_eq!(fields(&draft(lines.into())).len(), 9);
        }
    }
}
