//! Orders as people see them. Pure.

use skald_proto::order::v1::{Order, OrderStatus};

use crate::output::{
    style::Tone,
    table::{Cell, Table, pairs},
    text::{and_more, money, precise, time, when},
};

/// Without the prefix that the contract needs.
pub fn status_name(status: OrderStatus) -> &'static str {
    status.as_str_name().trim_start_matches("ORDER_STATUS_")
}

fn tone(status: OrderStatus) -> Tone {
    match status {
        OrderStatus::Completed => Tone::Good,
        OrderStatus::Cancelling | OrderStatus::Cancelled => Tone::Warn,
        _ => Tone::Busy,
    }
}

/// All of one order; `now` in seconds.
pub fn one(order: &Order, now: i64, colours: bool) -> String {
    let attention = if order.needs_attention { "it waits for a person of the shop" } else { "" };
    let fulfilment = if order.needs_fulfilment { "by the seller" } else { "" };
    let head = pairs(
        &[
            ("order", Cell::from(&order.order_id)),
            ("status", Cell::new(status_name(order.status()), tone(order.status()))),
            ("reason", Cell::from(&order.reason)),
            ("attention", Cell::new(attention, Tone::Bad)),
            ("customer", Cell::from(&order.customer_id)),
            ("total", money(order.total_minor, &order.currency).into()),
            ("fulfilment", fulfilment.into()),
            ("note", Cell::from(&order.note)),
            ("created", when(order.created_at.as_ref(), now).into()),
            ("updated", when(order.updated_at.as_ref(), now).into()),
            ("version", order.version.to_string().into()),
        ],
        colours,
    );
    let mut parts = vec![head];
    let mut lines = Table::new(&["SKU", ">QUANTITY", ">UNIT PRICE", "SELLER"]);
    for line in &order.lines {
        lines.row([
            Cell::from(&line.sku),
            line.quantity.to_string().into(),
            money(line.unit_price_minor, &order.currency).into(),
            Cell::from(&line.seller_id),
        ]);
    }
    if !lines.is_empty() {
        parts.push(lines.render(colours));
    }
    let mut missing = Table::new(&["MISSING", ">REQUESTED", ">AVAILABLE"]);
    for item in &order.missing {
        missing.row([
            Cell::from(&item.sku),
            item.requested.to_string().into(),
            item.available.to_string().into(),
        ]);
    }
    if !missing.is_empty() {
        parts.push(missing.render(colours));
    }
    parts.join("\n\n")
}

/// One line of a watch.
pub fn change(order: &Order, colours: bool) -> String {
    let status = tone(order.status()).paint(status_name(order.status()), colours);
    let line = format!("{}  {status}  {}", precise(order.updated_at.as_ref()), order.reason);
    line.trim_end().to_owned()
}

/// Many orders; `more`: there are others behind them.
pub fn list(orders: &[Order], more: bool, colours: bool) -> String {
    if orders.is_empty() {
        return "no such order".to_owned();
    }
    let mut table = Table::new(&["ORDER", "STATUS", "REASON", "CUSTOMER", ">TOTAL", "CREATED (UTC)"]);
    for order in orders {
        let reason = if order.needs_attention {
            Cell::new("NEEDS ATTENTION", Tone::Bad)
        } else {
            Cell::from(&order.reason)
        };
        table.row([
            Cell::from(&order.order_id),
            Cell::new(status_name(order.status()), tone(order.status())),
            reason,
            Cell::from(&order.customer_id),
            money(order.total_minor, &order.currency).into(),
            time(order.created_at.as_ref()).into(),
        ]);
    }
    and_more(table.render(colours), more)
}
