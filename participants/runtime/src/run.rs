//! Assembles a participant: consumer, waves, intents, relay, housekeeping, gRPC and HTTP.

use anyhow::Result;
use skald_kit::lifecycle::Shutdown;
use tonic::service::Routes;

use crate::{config::ParticipantConfig, service::Service};

/// The service's own gRPC API; the runtime adds ParticipantService, health and reflection.
#[derive(Debug, Default)]
pub struct Api {
    /// Its routes.
    pub routes: Routes,
    /// Full names of its services, for reflection and health: `skald.inventory.v1.InventoryService`.
    pub services: &'static [&'static str],
}

/// Runs the participant until the stop is asked for and everything in flight is finished. The database must have been
/// migrated ([`crate::migrations`]).
///
/// # Errors
/// A topic is missing or has another number of partitions, an address is taken, or a task failed.
pub async fn run<S: Service>(
    _service: S,
    _config: ParticipantConfig,
    _api: Api,
    _shutdown: Shutdown,
) -> Result<()> {
    anyhow::bail!("not yet assembled")
}
