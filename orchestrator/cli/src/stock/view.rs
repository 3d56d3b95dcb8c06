//! Stock as people see it. Pure.

use skald_proto::inventory::v1::{AdjustResponse, AuditResponse, Reservation, ReservationState, Stock};

use crate::output::{
    style::Tone,
    table::{Cell, Table},
    text::{and_more, when},
};

/// The counters; `more`: there are others behind them.
pub fn list(stock: &[Stock], more: bool, colours: bool) -> String {
    if stock.is_empty() {
        return "there is no stock".to_owned();
    }
    let mut table = Table::new(&["SKU", ">AVAILABLE", ">RESERVED", ">COMMITTED", ">STOCKED"]);
    for stock in stock {
        table.row([
            Cell::from(&stock.sku),
            stock.available.to_string().into(),
            stock.reserved.to_string().into(),
            stock.committed.to_string().into(),
            stock.stocked.to_string().into(),
        ]);
    }
    and_more(table.render(colours), more)
}

/// What a correction would do.
pub fn adjusting(stock: &Stock, delta: i64, colours: bool) -> String {
    let Stock { sku, available, stocked, .. } = stock;
    let (then, more) = (available + delta, if delta < 0 { "fewer" } else { "more" });
    let mut out = vec![
        list(std::slice::from_ref(stock), false, colours),
        Tone::Strong
            .paint(&format!("{} {more} of {sku} would be available and stocked", delta.abs()), colours),
        format!("  available {available} → {then}, stocked {stocked} → {}", stocked + delta),
    ];
    if then < 0 {
        let refused = "no more can be taken away than is available: inventory will refuse";
        out.push(Tone::Warn.paint(refused, colours));
    }
    out.join("\n")
}

/// What a correction did.
pub fn adjusted(done: &AdjustResponse, colours: bool) -> String {
    let title = if done.applied { "adjusted" } else { "it was adjusted before; right after that there was" };
    let stock: Vec<Stock> = done.stock.clone().into_iter().collect();
    format!("{}\n{}", Tone::Strong.paint(title, colours), list(&stock, false, colours))
}

/// Reservations; `more`: there are others behind them; `now` in seconds.
pub fn reservations(all: &[Reservation], more: bool, now: i64, colours: bool) -> String {
    if all.is_empty() {
        return and_more("no such reservation".to_owned(), more);
    }
    let mut table = Table::new(&["ORDER", "STEP", ">EPOCH", "STATE", "HELD (UTC)", "ENDED (UTC)", "GOODS"]);
    for one in all {
        let tone = match one.state() {
            ReservationState::Held => Tone::Busy,
            ReservationState::Committed => Tone::Good,
            ReservationState::Released | ReservationState::Unspecified => Tone::Warn,
        };
        let goods: Vec<String> = one.lines.iter().map(|l| format!("{} × {}", l.quantity, l.sku)).collect();
        table.row([
            Cell::from(&one.order_id),
            Cell::from(&one.step),
            one.epoch.to_string().into(),
            Cell::new(one.state().as_str_name().trim_start_matches("RESERVATION_STATE_"), tone),
            when(one.held_at.as_ref(), now).into(),
            when(one.ended_at.as_ref(), now).into(),
            goods.join(", ").into(),
        ]);
    }
    and_more(table.render(colours), more)
}

/// Whether counters and reservations agree.
pub fn check(audit: &AuditResponse, colours: bool) -> String {
    let looked = format!("{} SKUs looked at", audit.skus);
    if audit.discrepancies.is_empty() {
        return format!("{looked}\n{}", Tone::Good.paint("counters and reservations agree", colours));
    }
    let columns = ["SKU", ">RESERVED", ">BY RESERVATIONS", ">COMMITTED", ">BY RESERVATIONS"];
    let mut table = Table::new(&columns);
    for found in &audit.discrepancies {
        let counters = found.counters.clone().unwrap_or_default();
        table.row([
            Cell::new(&counters.sku, Tone::Bad),
            counters.reserved.to_string().into(),
            found.reserved.to_string().into(),
            counters.committed.to_string().into(),
            found.committed.to_string().into(),
        ]);
    }
    format!("{looked}\n{}\n{} discrepancies", table.render(colours), audit.discrepancies.len())
}
