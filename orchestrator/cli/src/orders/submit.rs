//! `skald order submit`: an order from the command line or a file, under a key that makes it one order however often it is
//! sent.

use std::{io::Read as _, path::PathBuf};

use skald_proto::order::v1::{OrderDraft, OrderLine, SubmitOrderRequest};

use crate::{
    client::{Orchestrator, Peer as _},
    exit::{Exit, Failure},
    output::{
        self, json,
        table::{Cell, pairs},
        text,
    },
};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Whose it is
    #[arg(long, value_name = "ID", required_unless_present = "file")]
    customer: Option<String>,
    /// What is ordered, repeatable; the price of one in the currency's main unit, such as 4.50
    #[arg(long = "line", value_name = "SKU:QUANTITY:PRICE[:SELLER]", required_unless_present = "file")]
    lines: Vec<String>,
    /// ISO 4217
    #[arg(long, value_name = "CODE", default_value = "EUR")]
    currency: String,
    /// The payment provider's token; without it the order waits 30 minutes for `skald order pay`
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// It waits for `skald order fulfil` after it was paid
    #[arg(long)]
    needs_fulfilment: bool,
    /// Anything, 1,000 characters at most
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    /// The order as JSON (skald.order.v1.OrderDraft), from a file or - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["customer", "lines", "currency", "token", "needs_fulfilment", "note"])]
    file: Option<PathBuf>,
    /// The idempotency key: sent again with the same one, it is the same order [default: a new one]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Follow it until its end: 0 when it is COMPLETED, 6 when it is CANCELLED
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    pub(super) server: Orchestrator,
}

const HELP: &str = "\
Examples:
  skald order submit --customer ada --line tea-green:2:4.50 --line teapot:1:39 --token tok_ok --watch
  skald order submit --customer ada --line teapot:1:39 --needs-fulfilment
  echo '{\"customer_id\":\"ada\",\"currency\":\"EUR\",\"payment_token\":\"tok_ok\",
         \"lines\":[{\"sku\":\"teapot\",\"quantity\":1,\"unit_price_minor\":3900}]}' | skald order submit --file -

In a script, make the key yourself and repeat the call with it until it works: it is one order.";

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let draft = draft(&args)?;
    let key = args.key.clone().unwrap_or_else(|| format!("cli-{}", uuid::Uuid::new_v4().simple()));
    let mut client = super::client(&args.server).await?;
    let request = SubmitOrderRequest { idempotency_key: key.clone(), order: Some(draft) };
    let answer = client.submit_order(request).await.map_err(|status| {
        let failure = Failure::from(status);
        match failure.exit {
            Exit::Unavailable => {
                failure.advice(format!("it may have been accepted: repeat it with --key {key}"))
            }
            _ => failure,
        }
    })?;
    let accepted = answer.into_inner();
    let known = if accepted.created { "" } else { "an earlier call with this key had placed it" };
    let shown = || {
        let mut shown = json::message(&accepted);
        shown["idempotency_key"] = key.clone().into();
        shown
    };
    let (order, told) = (Cell::from(&accepted.order_id), Cell::from(&key));
    let head = [("order", order), ("key", told), ("known", known.into())];
    output::show(args.server.format(), shown, |colours| pairs(&head, colours))?;
    if args.watch { super::watch(&mut client, accepted.order_id, &args.server).await } else { Ok(Exit::Ok) }
}

fn draft(args: &Args) -> Result<OrderDraft, Failure> {
    if let Some(file) = &args.file {
        let wrong = |error: String| Failure::new(Exit::Usage, format!("--file {}: {error}", file.display()));
        let mut text = String::new();
        let read = if file.as_os_str() == "-" {
            std::io::stdin().read_to_string(&mut text)
        } else {
            std::fs::File::open(file).and_then(|mut open| open.read_to_string(&mut text))
        };
        read.map_err(|error| wrong(error.to_string()))?;
        return json::read(&text).map_err(wrong);
    }
    let lines = args.lines.iter().map(|text| {
        line(text, &args.currency)
            .map_err(|error| Failure::new(Exit::Usage, format!("--line {text}: {error}")))
    });
    Ok(OrderDraft {
        customer_id: args.customer.clone().unwrap_or_default(),
        lines: lines.collect::<Result<_, _>>()?,
        currency: args.currency.clone(),
        payment_token: args.token.clone(),
        needs_fulfilment: args.needs_fulfilment,
        note: args.note.clone(),
    })
}

/// `SKU:QUANTITY:PRICE[:SELLER]`.
///
/// # Errors
/// What is wrong with it, in one sentence.
pub fn line(text: &str, currency: &str) -> Result<OrderLine, String> {
    let parts: Vec<&str> = text.splitn(4, ':').collect();
    let [sku, quantity, price, seller @ ..] = parts.as_slice() else {
        return Err("expected SKU:QUANTITY:PRICE[:SELLER], such as teapot:1:39.00".to_owned());
    };
    Ok(OrderLine {
        sku: (*sku).to_owned(),
        quantity: quantity.parse().map_err(|_| format!("the quantity {quantity:?} is no whole number"))?,
        unit_price_minor: text::minor_units(price, currency)?,
        seller_id: seller.first().map(|seller| (*seller).to_owned()).unwrap_or_default(),
    })
}
