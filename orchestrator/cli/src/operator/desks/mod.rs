//! `skald participant status|barrier|intents`: a client of `skald.participant.v1.ParticipantAdminService`, which every
//! participant serves.

pub mod view;

use std::time::Duration;

use skald_proto::participant::v1::{
    GetBarrierRequest, GetStatusRequest, ListIntentsRequest,
    participant_admin_service_client::ParticipantAdminServiceClient,
};

use super::now;
use crate::{
    client::{Connection, Orchestrator, Peer as _, connect, ids::Id},
    exit::{Exit, Failure},
    output::{self, Format, Rows, json},
};

/// The most that one call gives.
const PAGE: usize = 1_000;

/// Whose desk, and where it is.
#[derive(Debug, clap::Args)]
struct Desk {
    /// The participant, as in definitions
    participant: String,
    /// Its own desk: host:port [default: SKALD_INVENTORY_SERVER or SKALD_PAYMENT_SERVER, else where `skald dev` has them]
    #[arg(long, value_name = "ADDR")]
    desk: Option<String>,
    #[command(flatten)]
    server: Orchestrator,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    desk: Desk,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Barrier {
    #[command(flatten)]
    desk: Desk,
    #[command(flatten)]
    id: Id,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Intents {
    #[command(flatten)]
    desk: Desk,
    /// Only those that have been open for longer, such as 10m
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
}

impl Desk {
    async fn connect(&self) -> Result<ParticipantAdminServiceClient<Connection>, Failure> {
        let name = self.participant.as_str();
        // What `skald dev` starts, and what `skald stock` and `skald payment` read.
        let (variable, usual) = match name {
            "inventory" => ("SKALD_INVENTORY_SERVER", "127.0.0.1:7080"),
            "payment" => ("SKALD_PAYMENT_SERVER", "127.0.0.1:7090"),
            _ => ("--desk", ""),
        };
        let set = || std::env::var(variable).ok().filter(|address| !address.is_empty());
        let address = self.desk.clone().or_else(set).unwrap_or_else(|| usual.to_owned());
        if address.is_empty() {
            let failure = Failure::new(Exit::Usage, format!("where {name} has its desk is not known"));
            return Err(failure.advice("name it with --desk host:port"));
        }
        let connection = connect(&address, name, variable, self.server.client()).await?;
        Ok(ParticipantAdminServiceClient::new(connection))
    }

    fn format(&self) -> Format {
        self.server.format()
    }
}

impl Status {
    pub(crate) fn format(&self) -> Format {
        self.desk.format()
    }

    pub(crate) async fn run(self) -> Result<(), Failure> {
        let status = self.desk.connect().await?.get_status(GetStatusRequest {}).await?.into_inner();
        output::show(self.format(), || json::message(&status), |c| view::status(&status, now(), c))
    }
}

impl Barrier {
    pub(crate) fn format(&self) -> Format {
        self.desk.format()
    }

    pub(crate) async fn run(self) -> Result<(), Failure> {
        let saga_id = self.id.of(&self.desk.server).await?;
        let request = GetBarrierRequest { saga_id };
        let rows = self.desk.connect().await?.get_barrier(request).await?.into_inner().rows;
        output::list(self.format(), &rows, json::message, |c| view::barrier(&rows, now(), c))
    }
}

impl Intents {
    pub(crate) fn format(&self) -> Format {
        self.desk.format()
    }

    pub(crate) async fn run(self) -> Result<(), Failure> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let mut client = self.desk.connect().await?;
        let older_than = self.older_than.and_then(|age| age.try_into().ok());
        let mut request = ListIntentsRequest { older_than, ..ListIntentsRequest::default() };
        let (mut intents, mut rows) = (Vec::new(), Rows::new(self.format()));
        loop {
            request.page_size = i32::try_from((limit - intents.len()).min(PAGE)).unwrap_or(i32::MAX);
            let page = client.list_intents(request.clone()).await?.into_inner();
            page.intents.iter().try_for_each(|intent| rows.add(&json::message(intent)))?;
            intents.extend(page.intents);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() || intents.len() >= limit {
                break;
            }
        }
        let more = !request.page_token.is_empty();
        match self.format() {
            Format::Table => output::line(&view::intents(&intents, more, now(), output::colours())),
            Format::Json | Format::Jsonl => rows.end(),
        }
    }
}
