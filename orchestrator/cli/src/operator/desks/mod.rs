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
    client::{Connection, Orchestrator, Peer as _, connect, ids::Id, pages},
    exit::{Exit, Failure},
    output::{self, Format, json},
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
        let connection = connect(&address, name, variable, &self.server.common().who()).await?;
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
        let mut client = self.desk.connect().await?;
        let older_than = self.older_than.and_then(|age| age.try_into().ok());
        let list = pages::List { format: self.format(), limit: self.limit, most: PAGE };
        let text = |intents: &[_], more, colours| view::intents(intents, more, now(), colours);
        let page = async |page_size, page_token| {
            let request = ListIntentsRequest { older_than, page_size, page_token };
            let page = client.list_intents(request).await?.into_inner();
            Ok((page.intents, page.next_page_token))
        };
        list.show(json::message, text, page).await
    }
}
