//! `skald payment`: a client of `skald.payment.v1.PaymentService`: what was charged, settling what nobody knows, and comparing
//! the gateway's records with ours.

mod reconcile;
mod settle;
pub mod view;

use std::time::Duration;

use skald_proto::payment::v1::{
    ChargeState, GetChargeRequest, ListChargesRequest, payment_service_client::PaymentServiceClient,
};

use crate::{
    client::{
        Connection, Payment, Peer as _,
        ids::{self, LookUp},
        pages,
    },
    exit::{Exit, Failure},
    operator::now,
    output::{self, Format, json},
};

/// The most that one call gives.
const PAGE: usize = 1_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show charges: the newest orders first, open ones oldest first
    Charges(Charges),
    /// Settle a charge or refund of which nobody knows whether it happened, on your word
    Settle(Box<settle::Settle>),
    /// Compare the gateway's records with ours: 1 when something differs
    Reconcile(reconcile::Reconcile),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  skald payment charges --state unresolved
  skald payment charges --state intent --older-than 10m
  skald payment charges --order 7eefed93ca12")]
struct Charges {
    /// That stand here; UNRESOLVED ones need a person
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<State>,
    /// Whose intent is older, such as 10m
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// Of this order; its id may be shortened, as in `skald order get`
    #[arg(long, value_name = "ID", conflicts_with_all = ["state", "older_than"])]
    order: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    at: LookUp,
    #[command(flatten)]
    server: Payment,
}

/// Where a charge stands.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum State {
    Intent,
    Captured,
    Declined,
    Void,
    Refunded,
    Unresolved,
}

impl From<State> for ChargeState {
    fn from(state: State) -> ChargeState {
        match state {
            State::Intent => ChargeState::Intent,
            State::Captured => ChargeState::Captured,
            State::Declined => ChargeState::Declined,
            State::Void => ChargeState::Void,
            State::Refunded => ChargeState::Refunded,
            State::Unresolved => ChargeState::Unresolved,
        }
    }
}

impl Args {
    pub(crate) fn format(&self) -> Format {
        match &self.command {
            Command::Charges(args) => args.server.format(),
            Command::Settle(args) => args.format(),
            Command::Reconcile(args) => args.format(),
        }
    }
}

type Client = PaymentServiceClient<Connection>;

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::Charges(args) => charges(args).await?,
        Command::Settle(args) => args.run().await?,
        Command::Reconcile(args) => return args.run().await,
    }
    Ok(Exit::Ok)
}

async fn charges(args: Charges) -> Result<(), Failure> {
    let format = args.server.format();
    if let Some(order) = &args.order {
        let order_id = ids::look_up(order, &args.at).await?;
        let mut client = Client::new(args.server.connect().await?);
        let charges = client.get_charge(GetChargeRequest { order_id }).await?.into_inner().charges;
        return output::list(format, &charges, json::message, |c| view::charges(&charges, false, now(), c));
    }
    let mut client = Client::new(args.server.connect().await?);
    let request = ListChargesRequest {
        state: args.state.map_or(ChargeState::Unspecified, Into::into).into(),
        older_than: args.older_than.and_then(|age| age.try_into().ok()),
        ..ListChargesRequest::default()
    };
    let list = pages::List { format, limit: args.limit, most: PAGE };
    let text = |charges: &[_], more, colours| view::charges(charges, more, now(), colours);
    let page = async |page_size, page_token| {
        let request = ListChargesRequest { page_size, page_token, ..request.clone() };
        let page = client.list_charges(request).await?.into_inner();
        Ok((page.charges, page.next_page_token))
    };
    list.show(json::message, text, page).await
}
