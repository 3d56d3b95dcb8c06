//! Stock as people see it. Pure.

use skald_proto::inventory::v1::Stock;

use crate::output::table::{Cell, Table};

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
    let mut text = table.render(colours);
    if more {
        text.push_str("\n… and more: --limit N shows them");
    }
    text
}
