//! `skald attention`: the operators' inbox.

use skald_proto::admin::v1::{
    self as admin, AttentionFilter, AttentionKind, admin_service_client::AdminServiceClient,
};

use super::view;
use crate::{
    client::{Connection, Orchestrator, Peer as _, ids::Id, pages},
    exit::{Exit, Failure},
    output::{self, Format, json, text},
};

/// The most that one call gives.
const PAGE: usize = 500;

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without a subcommand: what needs a person, in groups that are probably one trouble.

Examples:
  skald attention
  skald attention list --kind parked --participant payment
  skald attention take ORDER --kind parked --step charge --note 'asking the bank'"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    server: Orchestrator,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the items, oldest first
    List(List),
    /// Say that you look after one
    Take(One),
    /// Let one go
    Release(One),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Of this kind
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Option<Kind>,
    /// At this step
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
    /// At this participant
    #[arg(long, value_name = "NAME")]
    participant: Option<String>,
    /// For this code
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    server: Orchestrator,
}

#[derive(Debug, clap::Args)]
struct One {
    #[command(flatten)]
    id: Id,
    /// Of this kind
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Kind,
    /// The step; without it, the saga itself
    #[arg(long, value_name = "STEP", default_value = "", hide_default_value = true)]
    step: String,
    /// For whoever looks next
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    /// Who looks after it
    #[arg(long, value_name = "WHO", env = "USER", hide_env_values = true)]
    actor: String,
    /// To release what somebody else has taken: that person's name
    #[arg(long, value_name = "WHO", default_value = "", hide_default_value = true)]
    taken_by: String,
    /// Repeats of one id are one action, and get the first answer; without it, a new one is made
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    #[command(flatten)]
    server: Orchestrator,
}

/// Why something stands in the inbox.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    Parked,
    Vouched,
    Quarantined,
    DeadLetter,
    Slow,
}

impl From<Kind> for AttentionKind {
    fn from(kind: Kind) -> AttentionKind {
        match kind {
            Kind::Parked => AttentionKind::Parked,
            Kind::Vouched => AttentionKind::Vouched,
            Kind::Quarantined => AttentionKind::Quarantined,
            Kind::DeadLetter => AttentionKind::DeadLetter,
            Kind::Slow => AttentionKind::Slow,
        }
    }
}

impl Args {
    fn server(&self) -> &Orchestrator {
        match &self.command {
            None => &self.server,
            Some(Command::List(list)) => &list.server,
            Some(Command::Take(one) | Command::Release(one)) => &one.server,
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.server().format()
    }
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    let format = args.format();
    let mut client = AdminServiceClient::new(args.server().connect().await?);
    match args.command {
        None => {
            let request = admin::SummarizeAttentionRequest::default();
            let groups = client.summarize_attention(request).await?.into_inner().groups;
            output::list(format, &groups, json::message, |colours| {
                view::groups(&groups, super::now(), colours)
            })?;
        }
        Some(Command::List(args)) => list(&mut client, args).await?,
        Some(Command::Take(one)) => {
            let saga_id = one.id.of(&one.server).await?;
            let One { kind, step, note, actor, request_id, .. } = one;
            let (kind, request_id) = (AttentionKind::from(kind).into(), super::request_id(request_id));
            let request = admin::TakeAttentionRequest { saga_id, step, kind, actor, note, request_id };
            let item = client.take_attention(request).await?.into_inner().item;
            items(format, &item.into_iter().collect::<Vec<_>>())?;
        }
        Some(Command::Release(one)) => {
            let saga_id = one.id.of(&one.server).await?;
            let One { kind, step, note, actor, taken_by, request_id, .. } = one;
            let (kind, request_id) = (AttentionKind::from(kind).into(), super::request_id(request_id));
            let request =
                admin::ReleaseAttentionRequest { saga_id, step, kind, actor, note, taken_by, request_id };
            let item = client.release_attention(request).await?.into_inner().item;
            items(format, &item.into_iter().collect::<Vec<_>>())?;
        }
    }
    Ok(Exit::Ok)
}

async fn list(client: &mut AdminServiceClient<Connection>, args: List) -> Result<(), Failure> {
    let filter = AttentionFilter {
        kind: args.kind.map_or(AttentionKind::Unspecified, Into::into).into(),
        step: args.step,
        participant: args.participant,
        code: args.code,
        taken_by: None,
    };
    let list = pages::List { format: args.server.format(), limit: args.limit, most: PAGE };
    let text =
        |items: &[_], more, colours| text::and_more(view::attention(items, super::now(), colours), more);
    let page = async |page_size, page_token| {
        let filter = Some(filter.clone());
        let request = admin::ListAttentionRequest { filter, page_size, page_token };
        let page = client.list_attention(request).await?.into_inner();
        Ok((page.items, page.next_page_token))
    };
    list.show(json::message, text, page).await
}

fn items(format: Format, items: &[admin::Attention]) -> Result<(), Failure> {
    output::list(format, items, json::message, |colours| view::attention(items, super::now(), colours))
}
