//! `skald participant`: freeze, thaw, list; and what each says at its own desk.

use skald_proto::admin::v1 as admin;

use super::{Signed, desks, view};
use crate::{
    client::{Orchestrator, Peer as _},
    exit::{Exit, Failure},
    output::{self, Format, json},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send it no commands, let no deadline fire for it
    Freeze(One),
    /// Send it commands again, at a pace
    Thaw(One),
    /// Show who there is, and who is frozen
    List(List),
    /// Say how one fares: lag, breaker, open calls; asked at its own desk
    Status(desks::Status),
    /// Show what one remembers of an order, asked at its own desk
    Barrier(desks::Barrier),
    /// Show calls to the outside world that have not settled, asked at its own desk
    Intents(desks::Intents),
}

#[derive(Debug, clap::Args)]
struct One {
    /// Its name, as in definitions
    participant: String,
    #[command(flatten)]
    signed: Signed,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    server: Orchestrator,
}

impl Args {
    pub(crate) fn format(&self) -> Format {
        match &self.command {
            Command::Freeze(one) | Command::Thaw(one) => one.signed.format(),
            Command::List(list) => list.server.format(),
            Command::Status(args) => args.format(),
            Command::Barrier(args) => args.format(),
            Command::Intents(args) => args.format(),
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::Freeze(One { participant, signed }) => {
            signed.confirm(&format!("Freeze {participant}: no command goes to it, its deadlines wait"))?;
            let request = admin::FreezeParticipantRequest {
                participant,
                request_id: signed.request_id(),
                actor: signed.actor.clone(),
                reason: signed.reason.clone(),
            };
            let answer = signed.connect().await?.freeze_participant(request).await?.into_inner();
            show(signed.format(), answer.participant.into_iter().collect())?;
        }
        Command::Thaw(One { participant, signed }) => {
            signed.confirm(&format!("Thaw {participant}: what waits goes out"))?;
            let request = admin::ThawParticipantRequest {
                participant,
                request_id: signed.request_id(),
                actor: signed.actor.clone(),
                reason: signed.reason.clone(),
            };
            let answer = signed.connect().await?.thaw_participant(request).await?.into_inner();
            show(signed.format(), answer.participant.into_iter().collect())?;
        }
        Command::List(List { server }) => {
            let mut client = admin::admin_service_client::AdminServiceClient::new(server.connect().await?);
            let all = client.list_participants(admin::ListParticipantsRequest {}).await?.into_inner();
            show(server.format(), all.participants)?;
        }
        Command::Status(args) => args.run().await?,
        Command::Barrier(args) => args.run().await?,
        Command::Intents(args) => args.run().await?,
    }
    Ok(Exit::Ok)
}

fn show(format: Format, all: Vec<admin::Participant>) -> Result<(), Failure> {
    output::list(format, &all, json::message, |colours| view::participants(&all, colours))
}
