//! The command line: its words, options and help. Does nothing.

use clap::{Parser, Subcommand};

use crate::{
    audit, bench, conformance, definition, dev, migrate,
    operator::{attention, bulk, letters, participants, stats},
    orders,
    output::Format,
    payment, replay, sagas, serve, stock, topics,
};

/// A durable saga orchestrator: takes orders, moves each through its steps, undoes what was done when one fails.
#[derive(Debug, Parser)]
#[command(
    name = "skald",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = HELP
)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const HELP: &str = "\
Begin with:
  skald dev                                           everything, with sample orders to watch
  skald order submit --customer ada --line tea-green:1:4.50 --token tok_ok --watch
  skald saga history ORDER_ID

Exit codes:
  0  it worked
  1  it did not
  2  arguments, settings or fields are wrong
  3  there is no such order, saga or SKU
  4  refused: where it stands does not allow it, or the key was used for something else
  5  unavailable: a server does not answer or is overloaded; try again
  6  the order that was watched was CANCELLED
  130  ended by Ctrl-C

Answers go to standard output, errors and log lines to standard error. Colours on a terminal alone; NO_COLOR
turns them off. --output json prints one document, an array where there can be several things; --output jsonl one object
a line, as soon as it is there. Both have the contracts' field names; an error is an object too.

An id may be shortened: to its first 8 digits or more, which are looked for among all, or to its last 6 or more, which
are looked for among what is under way, what needs a person and the newest 100,000. What can mean several is refused.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try it: everything in one process, with sample orders to watch
    Dev(dev::Args),
    /// Run one service, for production
    Serve(serve::Args),
    /// Place, show, follow, pay, fulfil and cancel orders
    Order(orders::Args),
    /// Show and change stock and reservations
    Stock(stock::Args),
    /// Show charges, settle what nobody knows, compare with the gateway
    Payment(payment::Args),
    /// Show sagas, explain and repair them
    Saga(sagas::Args),
    /// Show what needs a person
    Attention(attention::Args),
    /// Show, redrive and discard dead letters
    Dlq(letters::Args),
    /// Repair many sagas at a rate
    Bulk(bulk::Args),
    /// Say how many sagas stand where, what went through, what is oldest
    Stats(stats::Args),
    /// Freeze and thaw participants, and see their own desks
    Participant(participants::Args),
    /// Check that stock and money add up, over all databases
    Audit(audit::Args),
    /// Judge recorded histories by this binary, before it is deployed; tell their events again
    Replay(replay::Args),
    /// Compare, freeze and thaw definitions, move running sagas to a new version
    Definition(definition::Args),
    /// Tell a participant in any language whether it keeps the protocol's promises
    Conformance(conformance::Args),
    /// Bring databases up to date
    Migrate(migrate::Args),
    /// Check or create Kafka's topics
    Topics(topics::Args),
    /// Measure: real servers, separate processes, a load generator, a verification at the end
    Bench(bench::Args),
}

impl Command {
    /// How its errors are printed.
    pub(crate) fn format(&self) -> Format {
        match self {
            Command::Order(args) => args.format(),
            Command::Stock(args) => args.format(),
            Command::Payment(args) => args.format(),
            Command::Stats(args) => args.format(),
            Command::Saga(args) => args.format(),
            Command::Attention(args) => args.format(),
            Command::Dlq(args) => args.format(),
            Command::Bulk(args) => args.format(),
            Command::Participant(args) => args.format(),
            Command::Audit(args) => args.format(),
            Command::Conformance(args) => args.format(),
            Command::Replay(args) => args.format(),
            Command::Definition(args) => args.format(),
            Command::Migrate(args) => args.output,
            Command::Topics(args) => args.output,
            Command::Dev(_) | Command::Serve(_) | Command::Bench(_) => Format::Table,
        }
    }
}
