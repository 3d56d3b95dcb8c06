//! `skald stock adjust|reservations|check`: what operators do with stock beside deliveries.

use skald_proto::inventory::v1::{
    AdjustRequest, AuditRequest, GetStockRequest, ListReservationsRequest, ReservationState,
};

use super::{Client, view};
use crate::{
    client::{
        Inventory, Peer as _,
        ids::{self, LookUp},
        pages,
    },
    exit::{Exit, Failure},
    operator::{Signed, now},
    output::{self, Format, json, style},
};

/// The most that one call gives.
const PAGE: usize = 1_000;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
For goods that are there and not counted, or counted and not there. Deliveries come by `skald stock add`. Reserved and sold
goods stay as they are; no more can be taken away than is available.

Example:
  skald stock adjust teapot -2 --reason 'two were broken' --dry-run")]
pub(super) struct Adjust {
    /// The SKU
    sku: String,
    /// How many more (or, negative, fewer) there are than the counters say
    #[arg(allow_negative_numbers = true)]
    delta: i64,
    /// Show what would follow, change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    #[command(flatten)]
    signed: Signed<Inventory>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  skald stock reservations --state held --sku teapot
  skald stock reservations --order 7eefed93ca12")]
pub(super) struct Reservations {
    /// With this SKU
    #[arg(long, value_name = "SKU", default_value = "", hide_default_value = true)]
    sku: String,
    /// Of this order; its id may be shortened, as in `skald order get`
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    order: String,
    /// That stand here
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<State>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    at: LookUp,
    #[command(flatten)]
    server: Inventory,
}

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum State {
    Held,
    Committed,
    Released,
}

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    server: Inventory,
}

impl From<State> for ReservationState {
    fn from(state: State) -> ReservationState {
        match state {
            State::Held => ReservationState::Held,
            State::Committed => ReservationState::Committed,
            State::Released => ReservationState::Released,
        }
    }
}

impl Adjust {
    pub(super) fn format(&self) -> Format {
        self.signed.format()
    }

    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let Adjust { sku, delta, dry_run, signed } = self;
        let format = signed.format();
        let mut client = Client::new(signed.server().connect().await?);
        if dry_run || !signed.is_sure() {
            let stock = client.get_stock(GetStockRequest { sku: sku.clone() }).await?.into_inner().stock;
            let stock = stock.unwrap_or_default();
            if dry_run {
                output::show(
                    format,
                    || json::message(&stock),
                    |colours| view::adjusting(&stock, delta, colours),
                )?;
                return Ok(Exit::Ok);
            }
            eprintln!("{}", view::adjusting(&stock, delta, style::colours(&std::io::stderr())));
            signed.confirm("Do it")?;
        }
        let request = AdjustRequest {
            sku,
            delta,
            request_id: signed.request_id(),
            actor: signed.actor().to_owned(),
            reason: signed.reason().to_owned(),
        };
        let done = client.adjust(request).await?.into_inner();
        output::show(format, || json::message(&done), |colours| view::adjusted(&done, colours))?;
        Ok(Exit::Ok)
    }
}

impl Reservations {
    pub(super) fn format(&self) -> Format {
        self.server.format()
    }

    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let request = ListReservationsRequest {
            order_id: ids::look_up(&self.order, &self.at).await?,
            sku: self.sku.clone(),
            state: self.state.map_or(ReservationState::Unspecified, Into::into).into(),
            ..ListReservationsRequest::default()
        };
        let mut client = Client::new(self.server.connect().await?);
        let list = pages::List { format: self.format(), limit: self.limit, most: PAGE };
        let text = |all: &[_], more, colours| view::reservations(all, more, now(), colours);
        let page = async |page_size, page_token| {
            let request = ListReservationsRequest { page_size, page_token, ..request.clone() };
            let page = client.list_reservations(request).await?.into_inner();
            Ok((page.reservations, page.next_page_token))
        };
        list.show(json::message, text, page).await?;
        Ok(Exit::Ok)
    }
}

impl Check {
    pub(super) fn format(&self) -> Format {
        self.server.format()
    }

    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let mut client = Client::new(self.server.connect().await?);
        let audit = client.audit(AuditRequest {}).await?.into_inner();
        output::show(self.format(), || json::message(&audit), |colours| view::check(&audit, colours))?;
        Ok(if audit.discrepancies.is_empty() { Exit::Ok } else { Exit::Failed })
    }
}
