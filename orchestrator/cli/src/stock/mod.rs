//! `skald stock`: a client of `skald.inventory.v1.InventoryService`.

mod desk;
pub mod view;

use skald_proto::inventory::v1::{
    GetStockRequest, ListStockRequest, RestockRequest, Stock,
    inventory_service_client::InventoryServiceClient,
};
use tonic::Code;

use crate::{
    client::{Connection, Inventory, Peer as _, pages},
    exit::{Exit, Failure},
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
    /// Show the counters of a SKU
    Get(Get),
    /// Show the counters of all, by SKU
    List(List),
    /// Bring what is available to a number; a new SKU is made
    Set(Set),
    /// Add goods, or take available ones away; a new SKU is made
    Add(Add),
    /// Correct the counters of a SKU after a count in the warehouse
    Adjust(desk::Adjust),
    /// Show reservations, the newest orders first
    Reservations(desk::Reservations),
    /// Add up all reservations and compare them with the counters: 1 when something differs
    Check(desk::Check),
}

#[derive(Debug, clap::Args)]
struct Get {
    /// The SKU
    sku: String,
    #[command(flatten)]
    server: Inventory,
}

#[derive(Debug, clap::Args)]
struct List {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    server: Inventory,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "It asks what is available and adds the difference, so that reserved and sold goods stay as they are; orders
that come in between count against the new number.

Example:
  skald stock set teapot 20 --reason 'counted on Monday'"
)]
struct Set {
    /// The SKU
    sku: String,
    /// How many are to be available
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    available: i64,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    server: Inventory,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  skald stock add teapot 20 --reason delivery --request-id delivery-4711
  skald stock add teapot -1 --reason broken")]
struct Add {
    /// The SKU
    sku: String,
    /// How many; negative takes away
    #[arg(allow_negative_numbers = true)]
    delta: i64,
    /// Repeats of one id are one change [default: a new one]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    server: Inventory,
}

#[derive(Debug, clap::Args)]
struct Why {
    /// Kept with the change
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    reason: String,
}

impl Args {
    pub(crate) fn format(&self) -> Format {
        match &self.command {
            Command::Get(args) => args.server.format(),
            Command::List(args) => args.server.format(),
            Command::Set(args) => args.server.format(),
            Command::Add(args) => args.server.format(),
            Command::Adjust(args) => args.format(),
            Command::Reservations(args) => args.format(),
            Command::Check(args) => args.format(),
        }
    }
}

type Client = InventoryServiceClient<Connection>;

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::Get(Get { sku, server }) => {
            let mut client = Client::new(server.connect().await?);
            let answer = client.get_stock(GetStockRequest { sku }).await?;
            shown(&server, &answer.into_inner().stock.unwrap_or_default())
        }
        Command::List(args) => list(args).await,
        Command::Set(args) => set(args).await,
        Command::Add(args) => {
            let mut client = Client::new(args.server.connect().await?);
            let id = args.request_id.unwrap_or_else(new_id);
            restock(&mut client, args.sku, args.delta, id, args.why, &args.server).await
        }
        Command::Adjust(args) => args.run().await,
        Command::Reservations(args) => args.run().await,
        Command::Check(args) => args.run().await,
    }
}

fn new_id() -> String {
    format!("cli-{}", uuid::Uuid::new_v4().simple())
}

async fn list(args: List) -> Result<Exit, Failure> {
    let mut client = Client::new(args.server.connect().await?);
    let list = pages::List { format: args.server.format(), limit: args.limit, most: PAGE };
    let page = async |page_size, page_token| {
        let page = client.list_stock(ListStockRequest { page_size, page_token }).await?.into_inner();
        Ok((page.stock, page.next_page_token))
    };
    list.show(json::message, view::list, page).await?;
    Ok(Exit::Ok)
}

async fn set(args: Set) -> Result<Exit, Failure> {
    let mut client = Client::new(args.server.connect().await?);
    let there = match client.get_stock(GetStockRequest { sku: args.sku.clone() }).await {
        Ok(answer) => answer.into_inner().stock.unwrap_or_default(),
        Err(status) if status.code() == Code::NotFound => Stock::default(),
        Err(status) => return Err(status.into()),
    };
    let delta = args.available - there.available;
    if delta == 0 && !there.sku.is_empty() {
        return shown(&args.server, &there);
    }
    restock(&mut client, args.sku, delta, new_id(), args.why, &args.server).await
}

async fn restock(
    client: &mut Client,
    sku: String,
    delta: i64,
    request_id: String,
    why: Why,
    server: &Inventory,
) -> Result<Exit, Failure> {
    let actor = server.client().to_owned();
    let request = RestockRequest { sku, delta, request_id: request_id.clone(), actor, reason: why.reason };
    let answer = client.restock(request).await.map_err(|status| {
        let failure = Failure::from(status);
        match failure.exit {
            Exit::Unavailable => failure.advice(format!(
                "it may have been carried out: repeat it as `stock add` with --request-id {request_id}"
            )),
            Exit::Refused => failure.advice("`skald stock get SKU` shows what is available"),
            _ => failure,
        }
    })?;
    shown(server, &answer.into_inner().stock.unwrap_or_default())
}

fn shown(server: &Inventory, stock: &Stock) -> Result<Exit, Failure> {
    let table = |colours| view::list(std::slice::from_ref(stock), false, colours);
    output::show(server.format(), || json::message(stock), table)?;
    Ok(Exit::Ok)
}
