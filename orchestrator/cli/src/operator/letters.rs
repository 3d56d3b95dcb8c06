//! `skald dlq`: messages that could not be understood or handled.

use skald_proto::admin::v1::{
    self as admin, DeadLetterFilter, DeadLetterState, admin_service_client::AdminServiceClient,
};

use super::{Signed, letter, view};
use crate::{
    client::{Orchestrator, Peer as _, ids, pages},
    exit::{Exit, Failure},
    output::{self, Format, json},
};

/// The most that one call gives.
const PAGE: usize = 500;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show dead letters, newest first
    List(List),
    /// Show one, whole
    Show(Show),
    /// Send some again, to where they were meant for
    Redrive(Redrive),
    /// Say that some are of no use
    Discard(Chosen),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Those that were dealt with too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    server: Orchestrator,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Meant for this topic
    #[arg(long, value_name = "TOPIC", default_value = "", hide_default_value = true)]
    topic: String,
    /// About this order; its id may be shortened, as in `skald saga get`
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    saga: String,
}

impl Which {
    async fn filter(&self, server: &Orchestrator) -> Result<Option<DeadLetterFilter>, Failure> {
        let Which { topic, saga } = self;
        let saga_id = ids::of(saga, server).await?;
        let any = !topic.is_empty() || !saga.is_empty();
        Ok(any.then(|| DeadLetterFilter { origin_topic: topic.clone(), saga_id, since: None }))
    }
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Its number
    id: i64,
    #[command(flatten)]
    server: Orchestrator,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "It is always safe: what was handled already, or is too old, is known as such. One that can't be delivered stays open."
)]
struct Redrive {
    #[command(flatten)]
    chosen: Chosen,
    /// Per second
    #[arg(long, value_name = "N", default_value_t = 50)]
    rate: i32,
    /// Show what would be sent, send nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct Chosen {
    /// Their numbers; or else --topic or --saga
    ids: Vec<i64>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    signed: Signed,
}

impl Args {
    pub(crate) fn format(&self) -> Format {
        match &self.command {
            Command::List(list) => list.server.format(),
            Command::Show(show) => show.server.format(),
            Command::Redrive(redrive) => redrive.chosen.signed.format(),
            Command::Discard(chosen) => chosen.signed.format(),
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::List(args) => list(args).await?,
        Command::Show(Show { id, server }) => {
            let mut client = AdminServiceClient::new(server.connect().await?);
            let whole = client.get_dead_letter(admin::GetDeadLetterRequest { id }).await?.into_inner();
            let text = |colours| letter::text(&whole, super::now(), colours);
            output::show(server.format(), || letter::json(&whole), text)?;
        }
        Command::Redrive(args) => redrive(args).await?,
        Command::Discard(Chosen { ids, which, signed }) => {
            signed.confirm("Discard them: they stay in the table, and are not offered again")?;
            let request = admin::DiscardDeadLettersRequest {
                ids,
                filter: which.filter(&signed.server).await?,
                request_id: signed.request_id(),
                actor: signed.actor.clone(),
                reason: signed.reason.clone(),
            };
            let answer = signed.connect().await?.discard_dead_letters(request).await?.into_inner();
            let text = format!("{} discarded", answer.discarded);
            output::show(signed.format(), || json::message(&answer), |_| text)?;
        }
    }
    Ok(Exit::Ok)
}

async fn list(args: List) -> Result<(), Failure> {
    let state = if args.all { DeadLetterState::Unspecified } else { DeadLetterState::Open };
    let filter = args.which.filter(&args.server).await?;
    let mut client = AdminServiceClient::new(args.server.connect().await?);
    let list = pages::List { format: args.server.format(), limit: args.limit, most: PAGE };
    let text = |letters: &[_], more, colours| view::letters(letters, more, super::now(), colours);
    let page = async |page_size, page_token| {
        let filter = filter.clone();
        let request = admin::ListDeadLettersRequest { state: state.into(), filter, page_size, page_token };
        let page = client.list_dead_letters(request).await?.into_inner();
        Ok((page.letters, page.next_page_token))
    };
    list.show(json::message, text, page).await
}

async fn redrive(args: Redrive) -> Result<(), Failure> {
    let Redrive { chosen: Chosen { ids, which, signed }, rate, dry_run } = args;
    let request = admin::RedriveDeadLettersRequest {
        ids,
        filter: which.filter(&signed.server).await?,
        per_second: rate,
        dry_run: true,
        request_id: signed.request_id(),
        actor: signed.actor.clone(),
        reason: signed.reason.clone(),
    };
    let mut client = signed.connect().await?;
    if dry_run || !signed.yes {
        let foreseen = client.redrive_dead_letters(request.clone()).await?.into_inner();
        if dry_run {
            return output::show(
                signed.format(),
                || json::message(&foreseen),
                |_| view::redrive(&foreseen, true),
            );
        }
        eprintln!("{}", view::redrive(&foreseen, true));
        signed.confirm("Send them")?;
    }
    let request = admin::RedriveDeadLettersRequest { dry_run: false, ..request };
    let done = client.redrive_dead_letters(request).await?.into_inner();
    output::show(signed.format(), || json::message(&done), |_| view::redrive(&done, false))
}
