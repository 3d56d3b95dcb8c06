//! `skald saga explain`: one page about a saga.

use skald_proto::admin::v1::{ExplainRequest, admin_service_client::AdminServiceClient};

use super::view;
use crate::{
    client::Orchestrator,
    exit::{Exit, Failure},
    output::{self, json},
};

/// Asks for the page and shows it.
pub(crate) async fn run(saga_id: String, server: Orchestrator) -> Result<Exit, Failure> {
    let mut client = AdminServiceClient::new(server.connect().await?);
    let page = client.explain(ExplainRequest { saga_id }).await?.into_inner();
    output::show(
        server.format(),
        || json::message(&page),
        |colours| view::page(&page, super::now(), colours),
    )?;
    Ok(Exit::Ok)
}
