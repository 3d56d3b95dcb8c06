//! `skald saga history`: every input of a saga, as a timeline.

use skald_proto::saga::v1::{HistoryRequest, saga_service_client::SagaServiceClient};

use super::timeline;
use crate::{
    client::{Orchestrator, Peer as _, ids::Id},
    exit::Failure,
    operator::now,
    output::{self, Format, Rows, json},
};

/// Reads the stream; programs get each row as it comes.
pub(super) async fn run(id: Id, server: Orchestrator) -> Result<(), Failure> {
    let saga_id = id.of(&server).await?;
    let mut client = SagaServiceClient::new(server.connect().await?);
    let request = HistoryRequest { saga_id: saga_id.clone(), after_seq: 0 };
    let mut stream = client.history(request).await?.into_inner();
    let (mut entries, mut rows) = (Vec::new(), Rows::new(server.format()));
    while let Some(row) = stream.message().await? {
        let entry = row.entry.unwrap_or_default();
        rows.add(&json::message(&entry))?;
        if server.format() == Format::Table {
            entries.push(entry);
        }
    }
    match server.format() {
        Format::Table => output::line(&timeline::text(&saga_id, &entries, now(), output::colours())),
        Format::Json | Format::Jsonl => rows.end(),
    }
}
