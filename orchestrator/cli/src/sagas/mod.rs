//! `skald saga`: a client of `skald.saga.v1.SagaService`, and of the operator's desk where something is done.

pub mod view;

use skald_proto::{
    admin::v1::{self as admin, action::Verb},
    saga::v1::{
        GetRequest, HistoryRequest, ListRequest, Saga, SagaStatus, saga_service_client::SagaServiceClient,
    },
};

use crate::{
    client::Orchestrator,
    exit::{Exit, Failure},
    operator::{act, explain},
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
    /// Show one with its steps: attempts, next retry, last error
    Get(One),
    /// Show every input that it accepted, oldest first
    History(One),
    /// Show many, newest first
    List(List),
    /// Say where one stands, what it waits for, what happens next by itself, and what you can do
    Explain(One),
    /// Try again now what waits to be tried again
    Retry(act::Retry),
    /// Take a step's action as done, on your word
    Skip(act::Skip),
    /// Take a step's undo as done by hand, on your word; or a contradiction as looked into
    Resolve(act::Resolve),
    /// Undo what was done, as long as the step of no return has not happened
    Compensate(act::On),
    /// Cancel it, as its customer would
    Cancel(act::On),
    /// Send nothing for it, let none of its deadlines fire
    Pause(act::On),
    /// Go on after a pause
    Resume(act::On),
    /// Let a quarantined one take inputs again
    Release(act::Release),
}

#[derive(Debug, clap::Args)]
struct One {
    /// The saga's id, which is its order's
    saga_id: String,
    #[command(flatten)]
    server: Orchestrator,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  skald saga list --status parked
  skald saga list --definition order --limit 5")]
struct List {
    /// Of this definition
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    definition: String,
    /// That stand here; parked ones need a person
    #[arg(long, value_enum, value_name = "STATUS")]
    status: Option<Status>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    server: Orchestrator,
}

/// Where a saga stands.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Status {
    Running,
    Compensating,
    Completed,
    Compensated,
    Parked,
    Paused,
}

impl From<Status> for SagaStatus {
    fn from(status: Status) -> SagaStatus {
        match status {
            Status::Running => SagaStatus::Running,
            Status::Compensating => SagaStatus::Compensating,
            Status::Completed => SagaStatus::Completed,
            Status::Compensated => SagaStatus::Compensated,
            Status::Parked => SagaStatus::Parked,
            Status::Paused => SagaStatus::Paused,
        }
    }
}

impl Args {
    pub(crate) fn format(&self) -> Format {
        match &self.command {
            Command::Get(args) | Command::History(args) => args.server.format(),
            Command::List(args) => args.server.format(),
            Command::Explain(args) => args.server.format(),
            Command::Retry(args) => args.format(),
            Command::Skip(args) => args.format(),
            Command::Resolve(args) => args.format(),
            Command::Compensate(on) | Command::Cancel(on) | Command::Pause(on) | Command::Resume(on) => {
                on.format()
            }
            Command::Release(args) => args.format(),
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::Get(One { saga_id, server }) => {
            let mut client = SagaServiceClient::new(server.connect().await?);
            let answer = client.get(GetRequest { saga_id }).await?;
            let saga = answer.into_inner().saga.unwrap_or_default();
            output::show(server.format(), || view::json(&saga), |colours| view::one(&saga, colours))?;
        }
        Command::History(args) => history(args).await?,
        Command::List(args) => list(args).await?,
        Command::Explain(One { saga_id, server }) => return explain::run(saga_id, server).await,
        Command::Retry(args) => return args.run().await,
        Command::Skip(args) => return args.run().await,
        Command::Resolve(args) => return args.run().await,
        Command::Compensate(on) => return act::act(on, Verb::Compensate(admin::Compensate {})).await,
        Command::Cancel(on) => return act::act(on, Verb::Cancel(admin::Cancel {})).await,
        Command::Pause(on) => return act::act(on, Verb::Pause(admin::Pause {})).await,
        Command::Resume(on) => return act::act(on, Verb::Resume(admin::Resume {})).await,
        Command::Release(args) => return args.run().await,
    }
    Ok(Exit::Ok)
}

async fn history(One { saga_id, server }: One) -> Result<(), Failure> {
    let mut client = SagaServiceClient::new(server.connect().await?);
    let mut rows = client.history(HistoryRequest { saga_id, after_seq: 0 }).await?.into_inner();
    let mut entries = Vec::new();
    while let Some(row) = rows.message().await? {
        let entry = row.entry.unwrap_or_default();
        match server.format() {
            Format::Json => output::line(&json::message(&entry).to_string())?,
            Format::Table => entries.push(entry),
        }
    }
    match server.format() {
        Format::Json => Ok(()),
        Format::Table => output::line(&view::history(&entries, output::colours())),
    }
}

async fn list(args: List) -> Result<(), Failure> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut client = SagaServiceClient::new(args.server.connect().await?);
    let mut request = ListRequest {
        definition: args.definition,
        status: args.status.map_or(SagaStatus::Unspecified, Into::into).into(),
        ..ListRequest::default()
    };
    let mut sagas: Vec<Saga> = Vec::new();
    let more = loop {
        request.page_size = i32::try_from((limit - sagas.len()).min(PAGE)).unwrap_or(i32::MAX);
        let page = client.list(request.clone()).await?.into_inner();
        sagas.extend(page.sagas);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() || sagas.len() >= limit {
            break !request.page_token.is_empty();
        }
    };
    match args.server.format() {
        Format::Json => sagas.iter().try_for_each(|saga| output::line(&view::json(saga).to_string())),
        Format::Table => output::line(&view::list(&sagas, more, output::colours())),
    }
}
