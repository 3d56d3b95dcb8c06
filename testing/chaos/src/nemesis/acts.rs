//! How each fault is done and healed.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use skald_local::child::Signal;
use skald_proto::payment::v1::SetGatewayMoodRequest;

use super::{
    fault::{Between, Fault, Harm, Mood},
    groups,
};
use crate::{
    rng::Rng,
    world::{
        EACH, NODES, World,
        service::{self, Who},
        wire::Weather,
        wires::{Ends, Far, Near},
    },
};

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// To whom.
    pub(crate) to: String,
    /// Connections that broke, pieces that came late, messages that come again, bytes that were free: as the fault has it.
    pub(crate) effect: u64,
}

fn done(to: impl Into<String>, effect: u64) -> Result<Done> {
    Ok(Done { to: to.into(), effect })
}

/// Does it, lets it last, and heals it.
///
/// # Errors
/// The world does not do what it is told: that is no finding about Skald, and ends the run.
pub(crate) async fn perform(fault: Fault, world: &World, rng: &mut Rng) -> Result<Done> {
    let n = rng.below(EACH);
    match fault {
        Fault::Kill(who) => kill(world, who, &[n], seconds(rng, 1, 8)).await,
        Fault::KillBoth(who) => kill(world, who, &[0, 1], seconds(rng, 1, 8)).await,
        // Longer than a session (6 s) and a heartbeat: what it thaws into has gone on without it.
        Fault::Freeze(who) => freeze(world, who, n, seconds(rng, 3, 25)).await,
        Fault::Restart(who) => restart(world, who, n, false).await,
        Fault::RollingUpgrade => upgrade(world).await,
        Fault::KillBroker | Fault::FreezeBroker | Fault::LoseQuorum => brokers(fault, world, rng).await,
        Fault::KillPostgres | Fault::RestartPostgres | Fault::FillDisk | Fault::SlowDisk => {
            postgres(fault, world, rng).await
        }
        Fault::Wire(harm, between) => wires(harm, between, world, rng).await,
        Fault::ResetOffsets => reset_offsets(world, rng).await,
        Fault::Gateway(mood) => gateway(mood, world, rng).await,
        Fault::PowerLoss => power_loss(world, rng).await,
    }
}

fn seconds(rng: &mut Rng, low: u64, high: u64) -> Duration {
    Duration::from_millis(rng.between(low * 1000, high * 1000))
}

async fn kill(world: &World, who: Who, some: &[usize], down: Duration) -> Result<Done> {
    for n in some {
        world.service(who, *n).lock().await.kill().await?;
    }
    tokio::time::sleep(down).await;
    for n in some {
        world.service(who, *n).lock().await.launch()?;
    }
    done(names(who, some), some.len() as u64)
}

fn names(who: Who, some: &[usize]) -> String {
    let names: Vec<String> = some.iter().map(|n| format!("{}-{n}", who.name())).collect();
    names.join(", ")
}

async fn freeze(world: &World, who: Who, n: usize, time: Duration) -> Result<Done> {
    world.service(who, n).lock().await.signal(Signal::STOP)?;
    tokio::time::sleep(time).await;
    world.service(who, n).lock().await.signal(Signal::CONT)?;
    done(format!("{} for {:.1} s", names(who, &[n]), time.as_secs_f64()), 1)
}

/// Effect: 1 when it stopped softly.
async fn restart(world: &World, who: Who, n: usize, upgrade: bool) -> Result<Done> {
    let mut service = world.service(who, n).lock().await;
    let soft = service.stop().await?;
    if upgrade {
        service.upgrade();
    }
    service.launch()?;
    let how = if soft { "" } else { " (it had to be killed)" };
    done(format!("{}{how}", service.name), u64::from(soft))
}

async fn upgrade(world: &World) -> Result<Done> {
    let mut soft = 0;
    for who in [Who::Inventory, Who::Payment, Who::Orchestrator] {
        for n in 0..EACH {
            soft += restart(world, who, n, true).await?.effect;
            let (name, http) = {
                let service = world.service(who, n).lock().await;
                (service.name.clone(), service.http())
            };
            service::ready(&name, http).await?;
        }
    }
    done("all, one after the other", soft)
}

async fn brokers(fault: Fault, world: &World, rng: &mut Rng) -> Result<Done> {
    let first = rng.below(NODES.len());
    let node = NODES[first];
    match fault {
        Fault::FreezeBroker => {
            let time = seconds(rng, 4, 12);
            world.cluster.lock().await.signal(node, Signal::STOP)?;
            tokio::time::sleep(time).await;
            world.cluster.lock().await.signal(node, Signal::CONT)?;
            done(format!("broker {node} for {:.1} s", time.as_secs_f64()), 1)
        }
        _ => {
            let some = if fault == Fault::LoseQuorum {
                vec![node, NODES[(first + 1) % NODES.len()]]
            } else {
                vec![node]
            };
            let mut cluster = world.cluster.lock().await;
            for node in &some {
                cluster.kill(*node).await?;
            }
            tokio::time::sleep(seconds(rng, 3, 10)).await;
            for node in &some {
                cluster.spawn(*node).await?;
            }
            done(format!("broker {some:?}"), some.len() as u64)
        }
    }
}

async fn postgres(fault: Fault, world: &World, rng: &mut Rng) -> Result<Done> {
    match (fault, &world.disk) {
        (Fault::FillDisk, Some(disk)) => {
            let free = disk.fill().await?;
            tokio::time::sleep(seconds(rng, 4, 10)).await;
            disk.clear()?;
            // Without room for its log it ends by itself; whoever is on call starts it again.
            world.postgres.lock().await.revive().await?;
            done("its disk", free)
        }
        (Fault::SlowDisk, Some(disk)) => {
            let stalls = rng.between(5, 15);
            for _ in 0..stalls {
                disk.stall(Duration::from_millis(rng.between(100, 1500))).await?;
                tokio::time::sleep(Duration::from_millis(rng.between(10, 200))).await;
            }
            done("its disk", stalls)
        }
        (Fault::RestartPostgres, _) => {
            world.postgres.lock().await.restart().await?;
            done("PostgreSQL", 1)
        }
        _ => {
            let mut postgres = world.postgres.lock().await;
            postgres.kill().await?;
            tokio::time::sleep(seconds(rng, 1, 8)).await;
            postgres.restart().await?;
            done("PostgreSQL", 1)
        }
    }
}

async fn wires(harm: Harm, between: Between, world: &World, rng: &mut Rng) -> Result<Done> {
    let (name, meant) = ends(between, world, rng);
    let weather = match harm {
        Harm::Cut => Weather::Cut,
        Harm::Partition => Weather::Mute,
        Harm::Delay => Weather::Late(Duration::from_millis(rng.between(20, 800))),
        Harm::Narrow => Weather::Narrow(rng.between(2_000, 60_000)),
        Harm::LoseAnswers => Weather::AnswersLost(rng.between(2, 9)),
    };
    let bundle = world.wires.some(meant);
    let before = bundle.touched();
    bundle.set(weather);
    let time = seconds(rng, 4, 20);
    tokio::time::sleep(time).await;
    bundle.set(Weather::Fair);
    done(format!("{name} for {:.1} s", time.as_secs_f64()), bundle.touched() - before)
}

type Meant = Box<dyn Fn(&Ends) -> bool + Send>;

/// Which wires, and what they are called.
fn ends(between: Between, world: &World, rng: &mut Rng) -> (String, Meant) {
    // Both of a service, or one that the other can stand in for.
    let some = if rng.percent(30) { vec![0, 1] } else { vec![rng.below(EACH)] };
    let of = |who: Who, far: fn(Far) -> bool| -> (String, Meant) {
        let name = names(who, &some);
        let is_near = move |near| matches!(near, Near::Service(of, n) if of == who && some.contains(&n));
        (name, Box::new(move |ends| is_near(ends.near) && far(ends.far)))
    };
    let any = Who::ALL[rng.below(Who::ALL.len())];
    match between {
        Between::Postgres => of(any, |far| far == Far::Postgres),
        Between::Clients => of(Who::Orchestrator, |far| far == Far::Clients),
        Between::Peers => {
            let peers: Vec<Who> = world.grpc.iter().copied().collect();
            of(peers[rng.below(peers.len())], |far| far == Far::Peers)
        }
        // All brokers, or one of them.
        Between::Kafka if rng.percent(60) => of(any, |far| matches!(far, Far::Broker(_))),
        Between::Kafka => {
            let node = NODES[rng.below(NODES.len())];
            let (name, meant) = of(any, |_| true);
            let one: Meant = Box::new(move |ends| meant(ends) && ends.far == Far::Broker(node));
            (format!("{name} and broker {node}"), one)
        }
        Between::Brokers => {
            let node = NODES[rng.below(NODES.len())];
            let meant = move |ends: &Ends| match ends.near {
                Near::Broker(from) => from == node || ends.far == Far::Broker(node),
                Near::Service(..) => false,
            };
            (format!("broker {node}"), Box::new(meant))
        }
    }
}

/// Effect: messages that come again.
async fn reset_offsets(world: &World, rng: &mut Rng) -> Result<Done> {
    let over_kafka: Vec<Who> = Who::ALL.into_iter().filter(|who| !world.grpc.contains(who)).collect();
    let who = over_kafka[rng.below(over_kafka.len())];
    for service in world.all(who) {
        service.lock().await.stop().await?;
    }
    let again = groups::reset(world, who).await?;
    for service in world.all(who) {
        service.lock().await.launch()?;
    }
    done(names(who, &[0, 1]), again)
}

async fn gateway(mood: Mood, world: &World, rng: &mut Rng) -> Result<Done> {
    let mood = match mood {
        Mood::Down => SetGatewayMoodRequest { outage: true, ..Default::default() },
        Mood::Slow => {
            SetGatewayMoodRequest { latency_ms: rng.between(500, 5_000) as u32, ..Default::default() }
        }
        Mood::LosesAnswers => SetGatewayMoodRequest {
            lost_answers_per_mille: rng.between(300, 900) as u32,
            ..Default::default()
        },
    };
    let time = seconds(rng, 4, 15);
    // One that was killed before may be on its way up.
    for payment in world.all(Who::Payment) {
        let (name, http) = {
            let payment = payment.lock().await;
            (payment.name.clone(), payment.http())
        };
        service::ready(&name, http).await?;
    }
    world.gateway(mood).await?;
    tokio::time::sleep(time).await;
    world.gateway(SetGatewayMoodRequest::default()).await?;
    done(format!("for {:.1} s", time.as_secs_f64()), 1)
}

async fn power_loss(world: &World, rng: &mut Rng) -> Result<Done> {
    let mut postgres = world.postgres.lock().await;
    let mut cluster = world.cluster.lock().await;
    let all = || Who::ALL.into_iter().flat_map(|who| world.all(who));
    try_join_all(all().map(|service| async { service.lock().await.kill().await })).await?;
    postgres.kill().await?;
    for node in NODES {
        cluster.kill(node).await?;
    }
    tokio::time::sleep(seconds(rng, 1, 3)).await;
    // In any order: who comes up first finds nobody.
    for service in all() {
        service.lock().await.launch()?;
    }
    for node in NODES {
        cluster.spawn(node).await?;
    }
    postgres.restart().await?;
    done("everything", (EACH * Who::ALL.len() + NODES.len() + 1) as u64)
}
