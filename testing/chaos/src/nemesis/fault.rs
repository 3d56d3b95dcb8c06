//! Every kind of fault, by name.

use std::fmt;

use crate::world::service::Who;

/// What a wire does, without figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Harm {
    Cut,
    Partition,
    Delay,
    Narrow,
    LoseAnswers,
}

/// Between whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Between {
    /// A process and the brokers.
    Kafka,
    /// A broker and the others.
    Brokers,
    /// A process and PostgreSQL.
    Postgres,
    /// Clients and an orchestrator.
    Clients,
    /// The orchestrators and a participant that is called over gRPC.
    Peers,
}

/// What the gateway does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mood {
    Down,
    Slow,
    LosesAnswers,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// kill -9 of one process.
    Kill(Who),
    /// kill -9 of both.
    KillBoth(Who),
    /// SIGSTOP, and SIGCONT; most often when its group and its heartbeat have given it up.
    Freeze(Who),
    /// SIGTERM, and a start.
    Restart(Who),
    /// All processes, one after the other, softly, the binary exchanged.
    RollingUpgrade,
    /// kill -9 of one broker.
    KillBroker,
    /// SIGSTOP of one broker.
    FreezeBroker,
    /// kill -9 of two brokers: nothing is acknowledged any more.
    LoseQuorum,
    KillPostgres,
    RestartPostgres,
    /// Not one more byte fits on PostgreSQL's disk.
    FillDisk,
    /// PostgreSQL's disk stands still again and again.
    SlowDisk,
    Wire(Harm, Between),
    /// A consumer group goes back to the earliest message.
    ResetOffsets,
    Gateway(Mood),
    /// kill -9 of everything at once.
    PowerLoss,
}

/// All of them.
pub(crate) fn all() -> Vec<Fault> {
    use Fault::*;
    let mut all = Vec::new();
    for who in Who::ALL {
        all.extend([Kill(who), KillBoth(who), Freeze(who), Restart(who)]);
    }
    all.extend([RollingUpgrade, KillBroker, FreezeBroker, LoseQuorum, KillPostgres, RestartPostgres]);
    all.extend([FillDisk, SlowDisk]);
    for between in [Between::Kafka, Between::Brokers, Between::Postgres, Between::Clients, Between::Peers] {
        let harms = [Harm::Cut, Harm::Partition, Harm::Delay, Harm::Narrow, Harm::LoseAnswers];
        all.extend(harms.map(|harm| Wire(harm, between)));
    }
    all.push(ResetOffsets);
    all.extend([Mood::Down, Mood::Slow, Mood::LosesAnswers].map(Gateway));
    all.push(PowerLoss);
    all
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |who: &Who| match who {
            Who::Inventory => "inventories".to_owned(),
            _ => format!("{}s", who.name()),
        };
        f.pad(&match self {
            Fault::Kill(who) => format!("kill-{}", who.name()),
            Fault::KillBoth(who) => format!("kill-both-{}", plural(who)),
            Fault::Freeze(who) => format!("freeze-{}", who.name()),
            Fault::Restart(who) => format!("restart-{}", who.name()),
            Fault::RollingUpgrade => "rolling-upgrade".into(),
            Fault::KillBroker => "kill-broker".into(),
            Fault::FreezeBroker => "freeze-broker".into(),
            Fault::LoseQuorum => "lose-quorum".into(),
            Fault::KillPostgres => "kill-postgres".into(),
            Fault::RestartPostgres => "restart-postgres".into(),
            Fault::FillDisk => "fill-disk".into(),
            Fault::SlowDisk => "slow-disk".into(),
            Fault::Wire(harm, between) => {
                let harm = match harm {
                    Harm::Cut => "cut",
                    Harm::Partition => "partition",
                    Harm::Delay => "delay",
                    Harm::Narrow => "narrow",
                    Harm::LoseAnswers => "lose-answers",
                };
                let between = match between {
                    Between::Kafka => "kafka",
                    Between::Brokers => "brokers",
                    Between::Postgres => "postgres",
                    Between::Clients => "clients",
                    Between::Peers => "peers",
                };
                format!("{harm}-{between}")
            }
            Fault::ResetOffsets => "reset-offsets".into(),
            Fault::Gateway(mood) => match mood {
                Mood::Down => "gateway-down".into(),
                Mood::Slow => "gateway-slow".into(),
                Mood::LosesAnswers => "gateway-loses-answers".into(),
            },
            Fault::PowerLoss => "power-loss".into(),
        })
    }
}

/// What a fault needs for itself while it lasts: two that share something do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Processes,
    Brokers,
    Postgres,
    Wires,
    Gateway,
}

impl Fault {
    /// By its name.
    pub(crate) fn by_name(name: &str) -> Option<Fault> {
        all().into_iter().find(|fault| fault.to_string() == name)
    }

    /// What it needs for itself.
    pub(crate) fn parts(self) -> &'static [Part] {
        use Part::*;
        match self {
            Fault::Kill(_) | Fault::KillBoth(_) | Fault::Freeze(_) | Fault::Restart(_) => &[Processes],
            // A soft stop may take as long as it wants to while what it needs is away.
            Fault::RollingUpgrade => &[Processes, Brokers, Postgres, Wires, Gateway],
            Fault::KillBroker | Fault::FreezeBroker | Fault::LoseQuorum => &[Brokers],
            Fault::KillPostgres | Fault::RestartPostgres | Fault::FillDisk | Fault::SlowDisk => &[Postgres],
            Fault::Wire(..) => &[Wires],
            Fault::ResetOffsets => &[Processes, Brokers, Wires],
            // A payment that is dead, or starts anew, knows of no mood.
            Fault::Gateway(_) => &[Processes, Gateway, Postgres],
            Fault::PowerLoss => &[Processes, Brokers, Postgres, Wires, Gateway],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own_and_is_found_by_it() {
        let names: BTreeSet<String> = all().iter().map(Fault::to_string).collect();
        assert_eq!(names.len(), all().len());
        for fault in all() {
            assert_eq!(Fault::by_name(&fault.to_string()), Some(fault));
        }
    }
}
