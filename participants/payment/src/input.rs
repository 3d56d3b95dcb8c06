//! What a command's input means to payment: how much of which currency, and with what. Checked again here, because a
//! participant trusts no sender with money.

use prost::Name;
use skald_participant::{Command, Failed};
use skald_proto::order::v1::{OrderInput, PaymentMethod};

/// As `skald.order.v1` says.
const MAX_TOTAL: i64 = 1_000_000_000_000_000;
const MAX_TOKEN: usize = 128;

/// What an order owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// In minor units, 0 or more.
    pub(crate) amount_minor: i64,
    /// ISO 4217.
    pub(crate) currency: String,
    pub(crate) customer_id: String,
}

/// What the order of this command owes.
///
/// # Errors
/// Final: the input is no order, or one that can't be paid.
pub(crate) fn due(command: &Command) -> Result<Due, Failed> {
    let order: OrderInput = command.input()?;
    if !(0..=MAX_TOTAL).contains(&order.total_minor) {
        return Err(bad(format!("total_minor is {}; 0 to 10^15 are allowed", order.total_minor)));
    }
    if order.currency.len() != 3 || !order.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(bad(format!("currency is {:?}, not three upper-case letters", order.currency)));
    }
    if order.customer_id.contains('\0') {
        return Err(bad("customer_id has a NUL"));
    }
    Ok(Due { amount_minor: order.total_minor, currency: order.currency, customer_id: order.customer_id })
}

/// The customer's payment token. Found by the type of the result, so a definition may name its step as it likes.
///
/// # Errors
/// Final: no needed result is a payment method, or it has no usable token.
pub(crate) fn token(command: &Command) -> Result<String, Failed> {
    let name = PaymentMethod::full_name();
    let mut results = command.needs.iter().filter_map(|need| need.result.as_ref());
    let found = results.find(|any| any.type_url.rsplit('/').next() == Some(name.as_str()));
    let any = found.ok_or_else(|| bad(format!("no needed result is a {name}")))?;
    let method: PaymentMethod = any.to_msg().map_err(|error| bad(error.to_string()))?;
    let fits = (1..=MAX_TOKEN).contains(&method.token.chars().count()) && !method.token.contains('\0');
    if fits { Ok(method.token) } else { Err(bad("the payment token must have 1 to 128 characters")) }
}

fn bad(message: impl Into<String>) -> Failed {
    Failed::last("BAD_INPUT", message)
}
