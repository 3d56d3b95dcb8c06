//! `skald order`: a client of `skald.order.v1.OrderService`.

mod submit;
pub mod view;

use std::time::{Duration, SystemTime};

use skald_proto::order::v1::{
    CancelOrderRequest, FulfilOrderRequest, GetOrderRequest, ListOrdersRequest, Order, OrderStatus,
    PayOrderRequest, WatchOrderRequest, order_service_client::OrderServiceClient,
};

use crate::{
    client::{Connection, Orchestrator, Peer as _, ids::Id, pages},
    exit::{Exit, Failure},
    operator::now,
    output::{self, Format, Rows, json},
};

pub use submit::line as parse_line;
pub use view::status_name;

/// The most that one call gives.
const PAGE: usize = 500;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Place an order
    Submit(submit::Args),
    /// Show one
    Get(One),
    /// Show many, newest first
    List(List),
    /// Follow one until its end: 0 when it is COMPLETED, 6 when it is CANCELLED
    Watch(One),
    /// Pay one that was placed without a payment token
    Pay(Pay),
    /// Say that the seller did his part
    Fulfil(Fulfil),
    /// Cancel one, while its goods were not committed
    Cancel(Cancel),
}

#[derive(Debug, clap::Args)]
struct One {
    #[command(flatten)]
    id: Id,
    #[command(flatten)]
    server: Orchestrator,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  skald order list --status reserved --since 2h
  skald order list --customer ada --limit 5 --output jsonl | jq -r .order_id")]
struct List {
    /// Of this customer
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// That stand here
    #[arg(long, value_enum, value_name = "STATUS")]
    status: Option<Status>,
    /// Placed within this time, such as 30m or 2h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    server: Orchestrator,
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Status {
    Pending,
    Reserved,
    Paid,
    Fulfilled,
    Completed,
    Cancelling,
    Cancelled,
}

impl From<Status> for OrderStatus {
    fn from(status: Status) -> OrderStatus {
        match status {
            Status::Pending => OrderStatus::Pending,
            Status::Reserved => OrderStatus::Reserved,
            Status::Paid => OrderStatus::Paid,
            Status::Fulfilled => OrderStatus::Fulfilled,
            Status::Completed => OrderStatus::Completed,
            Status::Cancelling => OrderStatus::Cancelling,
            Status::Cancelled => OrderStatus::Cancelled,
        }
    }
}

#[derive(Debug, clap::Args)]
struct Pay {
    #[command(flatten)]
    id: Id,
    /// The payment provider's token; the simulated gateway knows tok_ok, tok_declined, tok_slow …
    #[arg(long, value_name = "TOKEN")]
    token: String,
    /// Repeats of one id are one payment [default: the token]
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    request_id: String,
    #[command(flatten)]
    server: Orchestrator,
}

#[derive(Debug, clap::Args)]
struct Fulfil {
    #[command(flatten)]
    id: Id,
    /// Who fulfilled
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    seller: String,
    /// Such as a tracking number
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reference: String,
    /// Repeats of one id are one fulfilment [default: the reference]
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    request_id: String,
    #[command(flatten)]
    server: Orchestrator,
}

#[derive(Debug, clap::Args)]
struct Cancel {
    #[command(flatten)]
    id: Id,
    /// Kept in the history
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    #[command(flatten)]
    server: Orchestrator,
}

impl Args {
    pub(crate) fn format(&self) -> Format {
        match &self.command {
            Command::Submit(args) => args.server.format(),
            Command::Get(args) | Command::Watch(args) => args.server.format(),
            Command::List(args) => args.server.format(),
            Command::Pay(args) => args.server.format(),
            Command::Fulfil(args) => args.server.format(),
            Command::Cancel(args) => args.server.format(),
        }
    }
}

async fn client(server: &Orchestrator) -> Result<OrderServiceClient<Connection>, Failure> {
    Ok(OrderServiceClient::new(server.connect().await?))
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::Submit(args) => submit::run(args).await,
        Command::Get(One { id, server }) => {
            let order_id = id.of(&server).await?;
            let answer = client(&server).await?.get_order(GetOrderRequest { order_id }).await?;
            shown(&server, answer.into_inner().order)
        }
        Command::List(args) => list(args).await,
        Command::Watch(One { id, server }) => {
            let order_id = id.of(&server).await?;
            watch(&mut client(&server).await?, order_id, &server).await
        }
        Command::Pay(Pay { id, token, request_id, server }) => {
            let order_id = id.of(&server).await?;
            let request = PayOrderRequest { order_id, payment_token: token, request_id };
            let answer = client(&server).await?.pay_order(request).await?;
            shown(&server, answer.into_inner().order)
        }
        Command::Fulfil(Fulfil { id, seller, reference, request_id, server }) => {
            let order_id = id.of(&server).await?;
            let request = FulfilOrderRequest { order_id, seller_id: seller, reference, request_id };
            let answer = client(&server).await?.fulfil_order(request).await?;
            shown(&server, answer.into_inner().order)
        }
        Command::Cancel(Cancel { id, note, server }) => {
            let order_id = id.of(&server).await?;
            let answer = client(&server).await?.cancel_order(CancelOrderRequest { order_id, note }).await?;
            shown(&server, answer.into_inner().order)
        }
    }
}

fn shown(server: &Orchestrator, order: Option<Order>) -> Result<Exit, Failure> {
    let order = order.unwrap_or_default();
    output::show(server.format(), || json::message(&order), |colours| view::one(&order, now(), colours))?;
    Ok(Exit::Ok)
}

async fn list(args: List) -> Result<Exit, Failure> {
    let request = ListOrdersRequest {
        customer_id: args.customer.unwrap_or_default(),
        status: args.status.map_or(OrderStatus::Unspecified, Into::into).into(),
        created_from: args.since.and_then(|since| SystemTime::now().checked_sub(since)).map(Into::into),
        ..ListOrdersRequest::default()
    };
    let mut client = client(&args.server).await?;
    let list = pages::List { format: args.server.format(), limit: args.limit, most: PAGE };
    let page = async |page_size, page_token| {
        let request = ListOrdersRequest { page_size, page_token, ..request.clone() };
        let page = client.list_orders(request).await?.into_inner();
        Ok((page.orders, page.next_page_token))
    };
    list.show(json::message, view::list, page).await?;
    Ok(Exit::Ok)
}

/// Shows each change until the order's end.
async fn watch(
    client: &mut OrderServiceClient<Connection>,
    order_id: String,
    server: &Orchestrator,
) -> Result<Exit, Failure> {
    let mut changes =
        client.watch_order(WatchOrderRequest { order_id: order_id.clone() }).await?.into_inner();
    let (format, mut rows) = (server.format(), Rows::new(server.format()));
    while let Some(change) = changes.message().await? {
        let order = change.order.unwrap_or_default();
        match format {
            Format::Table => output::line(&view::change(&order, output::colours()))?,
            Format::Json | Format::Jsonl => rows.add(&json::message(&order))?,
        }
        let exit = match order.status() {
            OrderStatus::Completed => Exit::Ok,
            OrderStatus::Cancelled => Exit::Cancelled,
            _ => continue,
        };
        rows.end()?;
        return Ok(exit);
    }
    Err(Failure::new(Exit::Unavailable, "the stream ended before the order did")
        .advice(format!("watch again: skald order watch {order_id}")))
}
