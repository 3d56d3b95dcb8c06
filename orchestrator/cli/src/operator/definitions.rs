//! `skald definition list|freeze|thaw|migrate`: definitions of which no new saga is taken, and sagas that go on under another
//! version.

use skald_proto::admin::v1::{self as admin, admin_service_client::AdminServiceClient};

use super::{Signed, view as operators};
use crate::{
    client::{Orchestrator, Peer as _},
    definition::view,
    exit::{Exit, Failure},
    output::{self, Format, json},
};

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    server: Orchestrator,
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Its name: every version
    definition: String,
    #[command(flatten)]
    signed: Signed,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Moves every running saga of the definition that follows another version, as far as it can: what it has entered must be in
the new version as it was. The sagas are chosen when the job begins, each with its version; one that has moved on since is
left alone, and each that moves has a row in its history. Any orchestrator carries the job on: skald bulk get, pause,
resume, abort. Repeated later, it takes up what is left. Move when every orchestrator runs with the new definition.

Examples:
  skald definition migrate order --dry-run --reason 'shorter deadlines'
  skald definition migrate order --rate 50 --reason 'shorter deadlines'")]
pub(crate) struct Migrate {
    /// Its name
    definition: String,
    /// The hash of the version to move to; without it, the one that new sagas follow
    #[arg(long, value_name = "HASH", default_value = "", hide_default_value = true)]
    hash: String,
    /// Sagas per second
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    rate: f64,
    /// Look at every saga and show which could move, change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    #[command(flatten)]
    signed: Signed,
}

impl List {
    pub(crate) fn format(&self) -> Format {
        self.server.format()
    }

    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let mut client = AdminServiceClient::new(self.server.connect().await?);
        let all = client.list_definitions(admin::ListDefinitionsRequest {}).await?.into_inner();
        show(self.format(), &all.definitions)
    }
}

impl One {
    pub(crate) fn format(&self) -> Format {
        self.signed.format()
    }

    pub(crate) async fn freeze(self) -> Result<Exit, Failure> {
        let One { definition, signed } = self;
        signed.confirm(&format!("Freeze {definition}: no new saga of it is taken, those under way go on"))?;
        let request = admin::FreezeDefinitionRequest {
            definition,
            request_id: signed.request_id(),
            actor: signed.actor.clone(),
            reason: signed.reason.clone(),
        };
        let answer = signed.connect().await?.freeze_definition(request).await?.into_inner();
        show(signed.format(), answer.definition.as_slice())
    }

    pub(crate) async fn thaw(self) -> Result<Exit, Failure> {
        let One { definition, signed } = self;
        signed.confirm(&format!("Thaw {definition}: new sagas of it are taken again"))?;
        let request = admin::ThawDefinitionRequest {
            definition,
            request_id: signed.request_id(),
            actor: signed.actor.clone(),
            reason: signed.reason.clone(),
        };
        let answer = signed.connect().await?.thaw_definition(request).await?.into_inner();
        show(signed.format(), answer.definition.as_slice())
    }
}

impl Migrate {
    pub(crate) fn format(&self) -> Format {
        self.signed.format()
    }

    /// Foresees, asks, and has exactly the version moved to that was foreseen.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let Migrate { definition, hash, rate, dry_run, signed } = self;
        let mut client = signed.connect().await?;
        let mut request = admin::MigrateDefinitionRequest {
            definition: definition.clone(),
            hash,
            per_second: rate,
            request_id: signed.request_id(),
            actor: signed.actor.clone(),
            reason: signed.reason.clone(),
            dry_run: true,
        };
        if dry_run || !signed.yes {
            let foreseen = client.migrate_definition(request.clone()).await?.into_inner();
            let text = |colours| view::migration(&definition, &foreseen, colours);
            if dry_run {
                output::show(signed.format(), || json::message(&foreseen), text)?;
                return Ok(Exit::Ok);
            }
            eprintln!("{}", text(output::style::colours(&std::io::stderr())));
            signed.confirm(&format!("Move {} sagas, {rate} a second", foreseen.could_move))?;
            request.hash = foreseen.to.map(|to| to.hash).unwrap_or_default();
        }
        request.dry_run = false;
        let begun = client.migrate_definition(request).await?.into_inner();
        let jobs: Vec<admin::Bulk> = begun.bulk.into_iter().collect();
        output::list(signed.format(), &jobs, json::message, |colours| operators::bulks(&jobs, colours))?;
        Ok(Exit::Ok)
    }
}

fn show(format: Format, all: &[admin::Definition]) -> Result<Exit, Failure> {
    output::list(format, all, json::message, |colours| view::definitions(all, colours))?;
    Ok(Exit::Ok)
}
