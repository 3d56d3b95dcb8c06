//! `skald saga`: a client of `skald.saga.v1.SagaService`, and of the operator's desk where something is done.

mod history;
mod list;
pub mod timeline;
pub mod view;

use skald_proto::{
    admin::v1::{self as admin, action::Verb},
    saga::v1::{GetRequest, SagaStatus, saga_service_client::SagaServiceClient},
};

use crate::{
    client::{Orchestrator, Peer as _, ids::Id},
    exit::{Exit, Failure},
    operator::{act, explain, now},
    output::{self, Format, json},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show one with its steps: attempts, next retry, last error
    Get(One),
    /// Show every input that it accepted and what came along, oldest first
    History(One),
    /// Show or count many, by what is known of them
    List(Box<list::List>),
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
    #[command(flatten)]
    id: Id,
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
        Command::Get(One { id, server }) => {
            let saga_id = id.of(&server).await?;
            let mut client = SagaServiceClient::new(server.connect().await?);
            let answer = client.get(GetRequest { saga_id }).await?;
            let saga = answer.into_inner().saga.unwrap_or_default();
            output::show(
                server.format(),
                || json::message(&saga),
                |colours| view::one(&saga, now(), colours),
            )?;
        }
        Command::History(One { id, server }) => history::run(id, server).await?,
        Command::List(args) => args.run().await?,
        Command::Explain(One { id, server }) => return explain::run(id, server).await,
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
