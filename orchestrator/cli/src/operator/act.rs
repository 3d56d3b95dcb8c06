//! `skald saga retry|skip|resolve|compensate|cancel|pause|resume|release`: shows what would follow, asks, and does exactly
//! that or nothing.

use std::path::PathBuf;

use skald_proto::{
    admin::v1::{self as admin, action::Verb},
    saga::v1::{GetRequest, saga_service_client::SagaServiceClient},
};

use super::{Signed, view};
use crate::{
    client::ids::Id,
    exit::{Exit, Failure},
    output::{self, Format, json},
};

/// Which saga, on which version, and who acts.
#[derive(Debug, clap::Args)]
pub(crate) struct On {
    #[command(flatten)]
    id: Id,
    /// Act only on this version; without it, on the one that is shown
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    version: Option<i32>,
    /// Show what would follow, change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    #[command(flatten)]
    signed: Signed,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    on: On,
    /// This step alone; without it, every step that waits to be tried again
    #[arg(long, value_name = "STEP", default_value = "", hide_default_value = true)]
    step: String,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The participant is asked first. If the action did happen, the step is simply done. If not, it never will: the
step counts as done because you say so (vouched), stays in the attention list, and is not undone by command."
)]
pub(crate) struct Skip {
    #[command(flatten)]
    on: On,
    /// The step
    #[arg(long, value_name = "STEP")]
    step: String,
    /// What makes you sure
    #[arg(long, value_name = "TEXT")]
    evidence: String,
    /// Do not ask the participant: it is dead for good
    #[arg(long)]
    unfenced: bool,
    /// A file with what later steps need of this one: JSON with @type
    #[arg(long, value_name = "FILE")]
    result: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The participant is asked first. If the undo was done, its word counts. If not, it never will be: undo it by hand
after that, never before. Without --step it settles a contradiction that you have looked into."
)]
pub(crate) struct Resolve {
    #[command(flatten)]
    on: On,
    /// The step whose undo is done by hand; without it, the contradiction that the saga is parked for
    #[arg(long, value_name = "STEP", default_value = "", hide_default_value = true)]
    step: String,
    /// What makes you sure
    #[arg(long, value_name = "TEXT")]
    evidence: String,
    /// Do not ask the participant: it is dead for good
    #[arg(long)]
    unfenced: bool,
}

/// A saga that is let go on.
#[derive(Debug, clap::Args)]
pub(crate) struct Release {
    #[command(flatten)]
    id: Id,
    #[command(flatten)]
    signed: Signed,
}

impl On {
    pub(crate) fn format(&self) -> Format {
        self.signed.format()
    }
}

impl Retry {
    pub(crate) fn format(&self) -> Format {
        self.on.format()
    }

    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        act(self.on, Verb::Retry(admin::Retry { step: self.step })).await
    }
}

impl Skip {
    pub(crate) fn format(&self) -> Format {
        self.on.format()
    }

    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let result = self.result.as_ref().map(|file| result(file)).transpose()?;
        let Skip { on, step, evidence, unfenced, .. } = self;
        act(on, Verb::Skip(admin::Skip { step, evidence, unfenced, result })).await
    }
}

impl Resolve {
    pub(crate) fn format(&self) -> Format {
        self.on.format()
    }

    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let Resolve { on, step, evidence, unfenced } = self;
        act(on, Verb::Resolve(admin::Resolve { step, evidence, unfenced })).await
    }
}

/// A message from a file, as JSON with `@type`.
fn result(file: &std::path::Path) -> Result<prost_types::Any, Failure> {
    let wrong = |error: String| Failure::new(Exit::Usage, format!("{}: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    json::read_any(&text).map_err(wrong)
}

/// Foresees, asks, acts on the version that was foreseen.
pub(crate) async fn act(on: On, verb: Verb) -> Result<Exit, Failure> {
    let On { id, version, dry_run, signed } = on;
    let saga_id = id.of(&signed.server).await?;
    let expected_version = match version {
        Some(version) => version,
        None => {
            let mut sagas = SagaServiceClient::new(signed.server.connect().await?);
            let saga = sagas.get(GetRequest { saga_id: saga_id.clone() }).await?.into_inner().saga;
            saga.unwrap_or_default().version
        }
    };
    let mut client = signed.connect().await?;
    let request = admin::ActRequest {
        saga_id,
        expected_version,
        request_id: signed.request_id(),
        actor: signed.actor.clone(),
        reason: signed.reason.clone(),
        dry_run: true,
        action: Some(admin::Action { verb: Some(verb) }),
    };
    if dry_run || !signed.yes {
        let foreseen = client.act(request.clone()).await?.into_inner();
        if dry_run {
            show(signed.format(), &foreseen, "it would do this, and nothing was changed")?;
            return Ok(Exit::Ok);
        }
        eprintln!(
            "{}",
            view::answer(&foreseen, "it would do this", output::style::colours(&std::io::stderr()))
        );
        signed.confirm("Do it")?;
    }
    let done = client.act(admin::ActRequest { dry_run: false, ..request }).await?.into_inner();
    show(signed.format(), &done, if done.repeated { "it was done before" } else { "done" })?;
    Ok(Exit::Ok)
}

fn show(format: Format, answer: &admin::ActResponse, title: &str) -> Result<(), Failure> {
    output::show(format, || json::message(answer), |colours| view::answer(answer, title, colours))
}

impl Release {
    pub(crate) fn format(&self) -> Format {
        self.signed.format()
    }

    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let Release { id, signed } = self;
        let saga_id = id.of(&signed.server).await?;
        signed.confirm(&format!("Let {saga_id} take inputs again"))?;
        let request = admin::ReleaseQuarantineRequest {
            saga_id,
            request_id: signed.request_id(),
            actor: signed.actor.clone(),
            reason: signed.reason.clone(),
        };
        let answer = signed.connect().await?.release_quarantine(request).await?.into_inner();
        let text = if answer.released { "it takes inputs again" } else { "it was not quarantined" };
        output::show(signed.format(), || json::message(&answer), |_| text.to_owned())?;
        Ok(Exit::Ok)
    }
}
