//! `skald saga explain`: one page about a saga.

use skald_proto::admin::v1::{ExplainRequest, admin_service_client::AdminServiceClient};

use super::view;
use crate::{
    client::{Orchestrator, Peer as _, ids::Id},
    exit::{Exit, Failure},
    output::{self, json},
};

/// Asks for the page and shows it.
pub(crate) async fn run(id: Id, server: Orchestrator) -> Result<Exit, Failure> {
    let saga_id = id.of(&server).await?;
    let mut client = AdminServiceClient::new(server.connect().await?);
    let page = client.explain(ExplainRequest { saga_id }).await?.into_inner();
    output::show(
        server.format(),
        || json::message(&page),
        |colours| view::page(&page, super::now(), colours),
    )?;
    Ok(Exit::Ok)
}
