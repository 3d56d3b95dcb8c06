//! `skald bulk`: a verb on many sagas, at a rate.

use skald_proto::{
    admin::v1::{self as admin, BulkState, action::Verb, admin_service_client::AdminServiceClient},
    saga::v1::SagaStatus,
};

use super::{Signed, view};
use crate::{
    client::{Orchestrator, Peer as _},
    exit::{Exit, Failure},
    output::{self, Format, json},
    sagas::Status,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Count what fits, show some, ask, and begin
    Start(Box<Start>),
    /// Show a job and how far it is
    Get(Get),
    /// Show jobs, newest first
    List(List),
    /// Hold a job
    Pause(Change),
    /// Let a job go on
    Resume(Change),
    /// End a job; what it has not come to stays as it is
    Abort(Change),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The sagas are chosen when the job begins, each with its version: one that has moved on since is left alone. Any
orchestrator carries the job on. --request-id names it.

Example:
  skald bulk start retry --parked-participant payment --parked-code UNAVAILABLE --rate 20 --reason 'the bank is back'"
)]
struct Start {
    /// What is done to each
    #[arg(value_enum)]
    verb: BulkVerb,
    /// Sagas per second
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    rate: f64,
    /// Of this definition
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    definition: String,
    /// That stand here
    #[arg(long, value_enum, value_name = "STATUS")]
    status: Option<Status>,
    /// Of this customer
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    customer: String,
    /// Parked at this step
    #[arg(long, value_name = "STEP", default_value = "", hide_default_value = true)]
    parked_step: String,
    /// Parked at this participant
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    parked_participant: String,
    /// Parked for this code
    #[arg(long, value_name = "CODE", default_value = "", hide_default_value = true)]
    parked_code: String,
    /// The step, of skip and resolve
    #[arg(long, value_name = "STEP", default_value = "", hide_default_value = true)]
    step: String,
    /// What makes you sure, of skip and resolve
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    evidence: String,
    /// Count and show, change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    #[command(flatten)]
    signed: Signed,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum BulkVerb {
    Retry,
    Skip,
    Resolve,
    Compensate,
    Cancel,
    Pause,
    Resume,
}

#[derive(Debug, clap::Args)]
struct Get {
    /// The job's name
    job: String,
    #[command(flatten)]
    server: Orchestrator,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    server: Orchestrator,
}

#[derive(Debug, clap::Args)]
struct Change {
    /// The job's name
    job: String,
    #[command(flatten)]
    signed: Signed,
}

impl Args {
    pub(crate) fn format(&self) -> Format {
        match &self.command {
            Command::Start(start) => start.signed.format(),
            Command::Get(get) => get.server.format(),
            Command::List(list) => list.server.format(),
            Command::Pause(c) | Command::Resume(c) | Command::Abort(c) => c.signed.format(),
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::Start(args) => start(*args).await?,
        Command::Get(Get { job, server }) => {
            let mut client = AdminServiceClient::new(server.connect().await?);
            let answer = client.get_bulk(admin::GetBulkRequest { request_id: job }).await?.into_inner();
            show(server.format(), &answer.bulk.into_iter().collect::<Vec<_>>())?;
        }
        Command::List(List { server }) => {
            let mut client = AdminServiceClient::new(server.connect().await?);
            let answer = client.list_bulks(admin::ListBulksRequest {}).await?.into_inner();
            show(server.format(), &answer.bulks)?;
        }
        Command::Pause(args) => change(args, BulkState::Paused).await?,
        Command::Resume(args) => change(args, BulkState::Running).await?,
        Command::Abort(args) => change(args, BulkState::Aborted).await?,
    }
    Ok(Exit::Ok)
}

async fn start(args: Start) -> Result<(), Failure> {
    let signed = &args.signed;
    let request = admin::StartBulkRequest {
        filter: Some(admin::BulkFilter {
            definition: args.definition.clone(),
            status: args.status.map_or(SagaStatus::Unspecified, Into::into).into(),
            customer_id: args.customer.clone(),
            parked_step: args.parked_step.clone(),
            parked_participant: args.parked_participant.clone(),
            parked_code: args.parked_code.clone(),
            ..Default::default()
        }),
        action: Some(admin::Action { verb: Some(verb(&args)) }),
        per_second: args.rate,
        request_id: signed.request_id(),
        actor: signed.actor.clone(),
        reason: signed.reason.clone(),
        dry_run: true,
    };
    let mut client = signed.connect().await?;
    if args.dry_run || !signed.yes {
        let foreseen = client.start_bulk(request.clone()).await?.into_inner();
        if args.dry_run {
            return output::show(
                signed.format(),
                || json::message(&foreseen),
                |c| view::bulk_foreseen(&foreseen, c),
            );
        }
        eprintln!("{}", view::bulk_foreseen(&foreseen, output::style::colours(&std::io::stderr())));
        signed.confirm(&format!("Do it to {} sagas, {} a second", foreseen.count, args.rate))?;
    }
    let started =
        client.start_bulk(admin::StartBulkRequest { dry_run: false, ..request }).await?.into_inner();
    show(signed.format(), &started.bulk.into_iter().collect::<Vec<_>>())
}

fn verb(args: &Start) -> Verb {
    let (step, evidence) = (args.step.clone(), args.evidence.clone());
    match args.verb {
        BulkVerb::Retry => Verb::Retry(admin::Retry { step }),
        BulkVerb::Skip => Verb::Skip(admin::Skip { step, evidence, ..Default::default() }),
        BulkVerb::Resolve => Verb::Resolve(admin::Resolve { step, evidence, unfenced: false }),
        BulkVerb::Compensate => Verb::Compensate(admin::Compensate {}),
        BulkVerb::Cancel => Verb::Cancel(admin::Cancel {}),
        BulkVerb::Pause => Verb::Pause(admin::Pause {}),
        BulkVerb::Resume => Verb::Resume(admin::Resume {}),
    }
}

async fn change(Change { job, signed }: Change, state: BulkState) -> Result<(), Failure> {
    let request = admin::ChangeBulkRequest {
        request_id: job,
        state: state.into(),
        actor: signed.actor.clone(),
        reason: signed.reason.clone(),
    };
    let answer = signed.connect().await?.change_bulk(request).await?.into_inner();
    show(signed.format(), &answer.bulk.into_iter().collect::<Vec<_>>())
}

fn show(format: Format, bulks: &[admin::Bulk]) -> Result<(), Failure> {
    output::list(format, bulks, json::message, |colours| view::bulks(bulks, colours))
}
