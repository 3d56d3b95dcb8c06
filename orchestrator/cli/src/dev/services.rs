//! The three services as tasks of this process. One that fails stops all.

use std::net::SocketAddr;

use skald_kit::{
    config::{Listen, Shutdown as Stopping},
    lifecycle::{Shutdown, Tasks},
};

use skald_server::config::Participant;

use super::{place::Ports, servers::Servers};

/// Seconds that each service has for its soft stop.
const STOP_SECONDS: u32 = 5;

/// Starts them; they become ready by themselves, in any order.
pub(super) fn start(servers: &Servers, ports: Ports, shutdown: &Shutdown) -> Tasks {
    let listen = |(grpc, http)| Listen { grpc, http };
    let stopping = Stopping { deadline_seconds: STOP_SECONDS };
    let tasks = Tasks::new(shutdown);

    let mut orchestrator = skald_server::Config::default();
    orchestrator.postgres.url = servers.url("skald_orchestrator");
    orchestrator.kafka = servers.kafka.clone();
    orchestrator.listen = listen(ports.orchestrator());
    orchestrator.shutdown = stopping.clone();
    let desks = [("inventory", ports.inventory()), ("payment", ports.payment())];
    let at =
        |(name, (grpc, _)): (&str, (SocketAddr, _))| (name.to_owned(), Participant::at(grpc.to_string()));
    orchestrator.participants = desks.map(at).into();
    tasks.spawn("orchestrator", skald_server::run(orchestrator, shutdown.clone()));

    let mut inventory = skald_inventory::Config::default();
    inventory.postgres.url = servers.url("skald_inventory");
    inventory.kafka = servers.kafka.clone();
    inventory.listen = listen(ports.inventory());
    inventory.shutdown = stopping.clone();
    tasks.spawn("inventory", skald_inventory::run(inventory, shutdown.clone()));

    let mut payment = skald_payment::Config::default();
    payment.postgres.url = servers.url("skald_payment");
    payment.kafka = servers.kafka.clone();
    payment.listen = listen(ports.payment());
    payment.shutdown = stopping;
    tasks.spawn("payment", skald_payment::run(payment, shutdown.clone()));
    tasks
}
