//! Charges, and what differs from the gateway's records, as people see them. Pure.

use serde_json::{Value, json};
use skald_proto::{
    participant::v1::Verb,
    payment::v1::{
        Charge, ChargeState, Difference, ReconcileResponse, SettleRequest, SettleResponse,
        settle_request::Found,
    },
};

use crate::output::{
    style::Tone,
    table::{Cell, Table},
    text::{and_more, money, when},
};

fn state(charge: &Charge) -> Cell {
    let tone = match charge.state() {
        ChargeState::Captured => Tone::Good,
        ChargeState::Intent => Tone::Busy,
        ChargeState::Unresolved | ChargeState::Unspecified => Tone::Bad,
        ChargeState::Declined | ChargeState::Void | ChargeState::Refunded => Tone::Warn,
    };
    Cell::new(charge.state().as_str_name().trim_start_matches("CHARGE_STATE_"), tone)
}

/// Charges; `more`: there are others behind them; `now` in seconds.
pub fn charges(charges: &[Charge], more: bool, now: i64, colours: bool) -> String {
    if charges.is_empty() {
        return and_more("no such charge".to_owned(), more);
    }
    let columns =
        ["ORDER", "STEP", ">EPOCH", "STATE", ">AMOUNT", "CUSTOMER", "INTENT (UTC)", "REFERENCE", "REFUND"];
    let mut table = Table::new(&columns);
    for charge in charges {
        table.row([
            Cell::from(&charge.order_id),
            Cell::from(&charge.step),
            charge.epoch.to_string().into(),
            state(charge),
            money(charge.amount_minor, &charge.currency).into(),
            Cell::from(&charge.customer_id),
            when(charge.intent_at.as_ref(), now).into(),
            Cell::from(&charge.gateway_ref),
            Cell::from(&charge.refund_ref),
        ]);
    }
    and_more(table.render(colours), more)
}

/// What would be settled how; `waits`: it looks as if it waits for that; `now` in seconds.
pub fn settling(request: &SettleRequest, charge: &Charge, waits: bool, now: i64, colours: bool) -> String {
    let what = if request.verb() == Verb::Undo { "refund" } else { "charge" };
    let found = match &request.found {
        Some(Found::Happened(happened)) => format!("did happen, as {}", happened.reference),
        _ => "did not happen and never will".to_owned(),
    };
    let amount = money(charge.amount_minor, &charge.currency);
    let mut out = vec![
        charges(std::slice::from_ref(charge), false, now, colours),
        Tone::Strong.paint(&format!("it would be told: the {what} of {amount} {found}"), colours),
        format!("  by {}: {}", request.actor, request.reason),
    ];
    if !waits {
        let doubt = "it does not look as if it waits for a person; payment will say so and refuse";
        out.push(Tone::Warn.paint(doubt, colours));
    }
    out.join("\n")
}

/// After it; `now` in seconds.
pub fn settled(done: &SettleResponse, now: i64, colours: bool) -> String {
    let title = if done.applied { "settled" } else { "it was settled before" };
    let charge = done.charge.clone().into_iter().collect::<Vec<_>>();
    format!("{}\n{}", Tone::Strong.paint(title, colours), charges(&charge, false, now, colours))
}

/// What a reconciliation has found so far.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// Movements of the gateway.
    pub movements: i64,
    /// Charges of ours.
    pub charges: i64,
    /// Movements that are under way here.
    pub open: i64,
    /// How many differences.
    pub differing: i64,
    /// They, for a table.
    pub differences: Vec<Difference>,
}

impl Compared {
    /// Counts a page.
    pub fn add(&mut self, page: &ReconcileResponse) {
        self.movements += page.movements;
        self.charges += page.charges;
        self.open += page.open;
        self.differing += page.differences.len() as i64;
    }

    /// The sum, for programs.
    pub fn json(&self) -> Value {
        let Compared { movements, charges, open, differing, .. } = self;
        json!({ "movements": movements, "charges": charges, "open": open, "differences": differing })
    }

    /// For eyes; `now` in seconds.
    pub fn text(&self, now: i64, colours: bool) -> String {
        let Compared { movements, charges, open, differing, differences } = self;
        let mut out = format!("{movements} movements, {charges} charges compared");
        if *open > 0 {
            out += &format!("; {open} movements are under way here and will settle");
        }
        if *differing == 0 {
            return format!("{out}\n{}", Tone::Good.paint("no difference", colours));
        }
        let columns = ["DIFFERENCE", "ORDER / STEP / EPOCH", "GATEWAY", "REFERENCE", "OURS", "SINCE (UTC)"];
        let mut table = Table::new(&columns);
        for difference in differences {
            let moved = difference.gateway.as_ref();
            let ours = difference.charge.as_ref();
            table.row([
                Cell::new(difference.kind().as_str_name().trim_start_matches("DIFFERENCE_KIND_"), Tone::Bad),
                Cell::from(&difference.our_ref),
                moved.map(|m| money(m.amount_minor, &m.currency)).unwrap_or_default().into(),
                moved.map(|m| m.reference.clone()).unwrap_or_default().into(),
                ours.map_or_else(Cell::default, state),
                when(moved.and_then(|m| m.at.as_ref()).or(ours.and_then(|c| c.intent_at.as_ref())), now)
                    .into(),
            ]);
        }
        format!("{out}\n{}\n{differing} differences", table.render(colours))
    }
}
