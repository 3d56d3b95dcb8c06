//! What a command's input means to inventory: the order's lines, checked again, because a participant
//! trusts no sender with its counters.

use std::collections::BTreeMap;

use prost::{Message, Name};
use skald_proto::order::v1::OrderInput;

use crate::allocation::Line;

/// As `skald.order.v1` says; a broken orchestrator must not make a wave huge.
const MAX_LINES: usize = 100;
const MAX_QUANTITY: i64 = 1_000_000;
const MAX_SKU: usize = 64;

/// An input that can't be an order. Sending it again does not make it better.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadInput {
    /// Not the message that inventory understands.
    #[error("the input is {0:?}, not skald.order.v1.OrderInput")]
    Type(String),
    /// The bytes are not that message.
    #[error("the input can't be decoded: {0}")]
    Bytes(#[from] prost::DecodeError),
    /// No line, or more than 100.
    #[error("the order has {0} lines; 1 to 100 are allowed")]
    Lines(usize),
    /// Not 1 to 64 characters of `[A-Za-z0-9._-]`.
    #[error("{0:?} is no SKU")]
    Sku(String),
    /// Not 1 to 1,000,000.
    #[error("{quantity} of {sku}; 1 to 1,000,000 are allowed")]
    Quantity {
        /// The line's SKU.
        sku: String,
        /// What was asked for.
        quantity: i64,
    },
}

/// The order's lines, each SKU once, sorted.
///
/// # Errors
/// When the input is no valid `OrderInput`.
pub fn lines(type_url: &str, value: &[u8]) -> Result<Vec<Line>, BadInput> {
    if type_url.rsplit('/').next() != Some(OrderInput::full_name().as_str()) {
        return Err(BadInput::Type(type_url.to_owned()));
    }
    let order = OrderInput::decode(value)?;
    if order.lines.is_empty() || order.lines.len() > MAX_LINES {
        return Err(BadInput::Lines(order.lines.len()));
    }
    let mut merged = BTreeMap::<String, i64>::new();
    for line in order.lines {
        if !is_sku(&line.sku) {
            return Err(BadInput::Sku(line.sku));
        }
        if !(1..=MAX_QUANTITY).contains(&line.quantity) {
            return Err(BadInput::Quantity { sku: line.sku, quantity: line.quantity });
        }
        *merged.entry(line.sku).or_default() += line.quantity;
    }
    Ok(merged.into_iter().map(|(sku, quantity)| Line { sku, quantity }).collect())
}

/// 1 to 64 characters of `[A-Za-z0-9._-]`.
#[must_use]
pub fn is_sku(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_SKU).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use skald_proto::order::v1::OrderLine;

    use super::*;

    const URL: &str = "type.googleapis.com/skald.order.v1.OrderInput";

    fn order(wanted: &[(&str, i64)]) -> Vec<u8> {
        let line = |(sku, quantity): &(&str, i64)| OrderLine {
            sku: (*sku).to_owned(),
            quantity: *quantity,
            ..Default::default()
        };
        OrderInput { lines: wanted.iter().map(line).collect(), ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn lines_are_merged_and_sorted() {
        let line = |sku: &str, quantity| Line { sku: sku.to_owned(), quantity };
        let read = lines(URL, &order(&[("b", 1), ("a", 2), ("b", 3)]));
        assert_eq!(read, Ok(vec![line("a", 2), line("b", 4)]));
    }

    #[test]
    fn what_is_no_order_is_refused() {
        let many = vec![("a", 1); 101];
        let quantity = |quantity| BadInput::Quantity { sku: "a".to_owned(), quantity };
        let cases = [
            (order(&[]), BadInput::Lines(0)),
            (order(&many), BadInput::Lines(101)),
            (order(&[("", 1)]), BadInput::Sku(String::new())),
            (order(&[("a b", 1)]), BadInput::Sku("a b".to_owned())),
            (order(&[("a", 0)]), quantity(0)),
            (order(&[("a", -1)]), quantity(-1)),
            (order(&[("a", 1_000_001)]), quantity(1_000_001)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(lines(URL, &bytes), Err(expected));
        }
        let other = "type.googleapis.com/skald.order.v1.Order";
        assert_eq!(lines(other, &[]), Err(BadInput::Type(other.to_owned())));
        assert!(matches!(lines(URL, &[0xff]), Err(BadInput::Bytes(_))));
    }
}
