//! How often what goes wrong: drawn from the seed, so that some runs have one kind of fault in plenty and others a little of each.

use crate::rng::Rng;

/// Every kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Fault {
    /// An orchestrator dies between two fields of its plan, or in the middle of a transaction.
    CrashOrchestrator,
    /// A participant dies between two fields of its plan, or in the middle of a transaction.
    CrashParticipant,
    /// A node dies at any time.
    Crash,
    /// A node stands still for seconds to hours, transactions and all.
    Freeze,
    /// COMMIT's answer is lost; it happened or not.
    CommitUnknown,
    /// A transaction ends in a conflict or a broken connection before its commit.
    Conflict,
    /// A message is lost after it was taken.
    Lost,
    /// A message comes twice.
    Duplicated,
    /// A message is late by seconds, so that others overtake it.
    Reordered,
    /// A message is late by minutes to days.
    Delayed,
    /// A message's bytes are broken.
    Broken,
    /// A node can't reach the broker.
    CutFromBus,
    /// A node can't reach its database.
    CutFromDatabase,
    /// A payment node can't reach the gateway, which others reach.
    CutFromGateway,
    /// The consumer group is split anew while old owners go on.
    Rebalance,
    /// Offsets go back to the earliest.
    OffsetsReset,
    /// A node's clock jumps: an orchestrator's by hours, a participant's by minutes.
    ClockJump,
    /// A participant answers nothing for a while.
    Silent,
    /// A participant is slow.
    Slow,
    /// A participant answers *failed*, retryable.
    Failed,
    /// A participant answers *failed*, final.
    FailedFinal,
    /// The gateway is down.
    GatewayDown,
    /// The gateway is slow.
    GatewaySlow,
    /// The gateway did it and its answer is lost.
    GatewayAnswerLost,
    /// A payment node stands still between its check and the call, or between intent and call.
    FrozenBeforeCall,
    /// The gateway declines.
    Declined,
    /// An operator acts.
    Operator,
    /// An operator acts without a fence.
    Unfenced,
    /// An operator freezes a participant.
    FrozenParticipant,
    /// The customer cancels.
    Cancel,
    /// A client repeats its submission, here or elsewhere.
    ClientRepeats,
    /// A reply to a client is lost.
    ReplyLost,
    /// A participant's node runs an older binary, which knows fewer actions.
    OldParticipant,
    /// An orchestrator runs an older binary, which reads no newer format.
    OldOrchestrator,
}

/// All of them, in the order of their numbers.
pub const ALL: [Fault; 34] = [
    Fault::CrashOrchestrator,
    Fault::CrashParticipant,
    Fault::Crash,
    Fault::Freeze,
    Fault::CommitUnknown,
    Fault::Conflict,
    Fault::Lost,
    Fault::Duplicated,
    Fault::Reordered,
    Fault::Delayed,
    Fault::Broken,
    Fault::CutFromBus,
    Fault::CutFromDatabase,
    Fault::CutFromGateway,
    Fault::Rebalance,
    Fault::OffsetsReset,
    Fault::ClockJump,
    Fault::Silent,
    Fault::Slow,
    Fault::Failed,
    Fault::FailedFinal,
    Fault::GatewayDown,
    Fault::GatewaySlow,
    Fault::GatewayAnswerLost,
    Fault::FrozenBeforeCall,
    Fault::Declined,
    Fault::Operator,
    Fault::Unfenced,
    Fault::FrozenParticipant,
    Fault::Cancel,
    Fault::ClientRepeats,
    Fault::ReplyLost,
    Fault::OldParticipant,
    Fault::OldOrchestrator,
];

impl Fault {
    /// As on the command line and in reports: `crash-orchestrator`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.counter().trim_start_matches("fault: ")
    }

    /// Its counter's name.
    #[must_use]
    pub fn counter(self) -> &'static str {
        match self {
            Fault::CrashOrchestrator => "fault: crash-orchestrator",
            Fault::CrashParticipant => "fault: crash-participant",
            Fault::Crash => "fault: crash",
            Fault::Freeze => "fault: freeze",
            Fault::CommitUnknown => "fault: commit-unknown",
            Fault::Conflict => "fault: conflict",
            Fault::Lost => "fault: lost",
            Fault::Duplicated => "fault: duplicated",
            Fault::Reordered => "fault: reordered",
            Fault::Delayed => "fault: delayed",
            Fault::Broken => "fault: broken",
            Fault::CutFromBus => "fault: cut-from-bus",
            Fault::CutFromDatabase => "fault: cut-from-database",
            Fault::CutFromGateway => "fault: cut-from-gateway",
            Fault::Rebalance => "fault: rebalance",
            Fault::OffsetsReset => "fault: offsets-reset",
            Fault::ClockJump => "fault: clock-jump",
            Fault::Silent => "fault: silent",
            Fault::Slow => "fault: slow",
            Fault::Failed => "fault: failed",
            Fault::FailedFinal => "fault: failed-final",
            Fault::GatewayDown => "fault: gateway-down",
            Fault::GatewaySlow => "fault: gateway-slow",
            Fault::GatewayAnswerLost => "fault: gateway-answer-lost",
            Fault::FrozenBeforeCall => "fault: frozen-before-call",
            Fault::Declined => "fault: declined",
            Fault::Operator => "fault: operator",
            Fault::Unfenced => "fault: unfenced",
            Fault::FrozenParticipant => "fault: frozen-participant",
            Fault::Cancel => "fault: cancel",
            Fault::ClientRepeats => "fault: client-repeats",
            Fault::ReplyLost => "fault: reply-lost",
            Fault::OldParticipant => "fault: old-participant",
            Fault::OldOrchestrator => "fault: old-orchestrator",
        }
    }

    /// By its name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Fault> {
        ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// At most so many times in ten thousand chances.
    fn most(self) -> u32 {
        match self {
            Fault::CrashOrchestrator | Fault::CrashParticipant => 300,
            Fault::CommitUnknown | Fault::Conflict => 800,
            Fault::Lost | Fault::Duplicated => 1500,
            Fault::Reordered => 2500,
            Fault::Delayed => 250,
            Fault::Broken => 300,
            Fault::Failed => 2500,
            Fault::FailedFinal => 400,
            Fault::GatewayAnswerLost | Fault::GatewaySlow => 2500,
            Fault::GatewayDown => 1500,
            Fault::FrozenBeforeCall => 400,
            Fault::Declined => 1500,
            Fault::Operator => 6000,
            Fault::Unfenced => 800,
            Fault::Cancel => 2500,
            Fault::ClientRepeats => 3000,
            Fault::ReplyLost => 3000,
            Fault::OldParticipant | Fault::OldOrchestrator => 5000,
            // Those that come over a node or a group as a whole: how likely one is in a tenth of the storm.
            _ => 4000,
        }
    }
}

/// The rates of one run.
#[derive(Clone, Debug)]
pub struct Faults {
    rates: [u32; ALL.len()],
    /// The storm goes on.
    pub storm: bool,
}

impl Faults {
    /// Drawn: half of the kinds are absent, the others have any rate up to their greatest. `without` never happen.
    #[must_use]
    pub fn draw(rng: &mut Rng, without: &[Fault]) -> Faults {
        let mut rates = [0; ALL.len()];
        for (rate, fault) in rates.iter_mut().zip(ALL) {
            let drawn = if rng.below(2) == 0 { 0 } else { rng.between(1, i64::from(fault.most())) as u32 };
            if !without.contains(&fault) {
                *rate = drawn;
            }
        }
        Faults { rates, storm: true }
    }

    /// In ten thousand; 0 once the storm is over.
    #[must_use]
    pub fn rate(&self, fault: Fault) -> u32 {
        if self.storm { self.rates[fault as usize] } else { 0 }
    }
}
