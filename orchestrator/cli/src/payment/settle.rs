//! `skald payment settle`: shows what is known of the charge, asks, and settles it on a named person's word.

use skald_proto::{
    participant::v1::Verb,
    payment::v1::{
        Charge, ChargeState, DidNotHappen, GetChargeRequest, Happened, SettleRequest, SettleResponse,
        settle_request::Found,
    },
};

use super::{Client, view};
use crate::{
    client::{
        Payment,
        ids::{Id, LookUp},
    },
    exit::{Exit, Failure},
    operator::{Signed, now},
    output::{self, Format, json, style},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Look into the provider's own records first. What waits for it hears the answer: a charge that happened counts as captured
(and is refunded when its order was cancelled), one that did not counts as declined; a refund that did not happen is asked
for again, with a new key.

Examples:
  skald payment settle 7eefed93ca12 --step charge --happened ch_4711 --reason 'seen at the bank' --dry-run
  skald payment settle 7eefed93ca12 --step charge --undo --did-not-happen --reason 'the bank says no'")]
pub(super) struct Settle {
    #[command(flatten)]
    id: Id,
    /// The step, as in the definition
    #[arg(long, value_name = "STEP", default_value = "charge")]
    step: String,
    /// Of this try of the step
    #[arg(long, value_name = "N", default_value_t = 1)]
    epoch: u32,
    /// The refund, not the charge
    #[arg(long)]
    undo: bool,
    /// The money moved: the provider's reference of that movement
    #[arg(
        long,
        value_name = "REFERENCE",
        required_unless_present = "did_not_happen",
        conflicts_with = "did_not_happen"
    )]
    happened: Option<String>,
    /// The money did not move, and never will under any key used so far
    #[arg(long)]
    did_not_happen: bool,
    /// Show what is known and what would be told, change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    #[command(flatten)]
    at: LookUp,
    #[command(flatten)]
    signed: Signed<Payment>,
}

impl Settle {
    pub(super) fn format(&self) -> Format {
        self.signed.format()
    }

    pub(super) async fn run(self) -> Result<(), Failure> {
        let order_id = self.id.look_up(&self.at).await?;
        let mut client = Client::new(self.signed.server().connect().await?);
        let request = self.request(order_id.clone());
        if self.dry_run || !self.signed.is_sure() {
            let known = client.get_charge(GetChargeRequest { order_id }).await?.into_inner().charges;
            let charge = known.iter().find(|c| c.step == request.step && c.epoch == request.epoch);
            let charge = charge.ok_or_else(|| none(&request, &known))?;
            let text = |colours| view::settling(&request, charge, waits(&request, charge), now(), colours);
            if self.dry_run {
                return output::show(self.format(), || json::message(charge), text);
            }
            eprintln!("{}", text(style::colours(&std::io::stderr())));
            self.signed.confirm("Settle it so")?;
        }
        let done: SettleResponse = client.settle(request).await?.into_inner();
        output::show(self.format(), || json::message(&done), |c| view::settled(&done, now(), c))
    }

    fn request(&self, saga_id: String) -> SettleRequest {
        let found = match &self.happened {
            Some(reference) => Found::Happened(Happened { reference: reference.clone() }),
            None => Found::DidNotHappen(DidNotHappen {}),
        };
        SettleRequest {
            saga_id,
            step: self.step.clone(),
            epoch: self.epoch,
            verb: if self.undo { Verb::Undo } else { Verb::Run }.into(),
            found: Some(found),
            request_id: self.signed.request_id(),
            actor: self.signed.actor().to_owned(),
            reason: self.signed.reason().to_owned(),
        }
    }
}

/// As far as the charge alone tells: payment itself decides.
fn waits(request: &SettleRequest, charge: &Charge) -> bool {
    match request.verb() {
        Verb::Run => charge.state() == ChargeState::Unresolved,
        _ => matches!(charge.state(), ChargeState::Captured | ChargeState::Unresolved),
    }
}

fn none(request: &SettleRequest, known: &[Charge]) -> Failure {
    let there: Vec<String> = known.iter().map(|c| format!("--step {} --epoch {}", c.step, c.epoch)).collect();
    let what = format!(
        "order {} has no charge of step {} and epoch {}",
        request.saga_id, request.step, request.epoch
    );
    Failure::new(Exit::NotFound, what).advice(format!("it has: {}", there.join(", ")))
}
