//! Charges in memory: those that a wave or some intents locked, and the rules over them. No SQL, no gateway, no clock.

use std::collections::BTreeMap;

use prost::Name;
use prost_types::Any;
use skald_participant::{
    Command, Domain, Failed, Intent, Key, Rejection, RunAnswer, Settlement, UndoAnswer, Verb,
};
use skald_proto::payment::v1 as proto;

use crate::{
    events::Told,
    input,
    store::{Charge, State},
};

/// The action that takes money; its undo is [`REFUND`].
pub const CHARGE: &str = "charge";
/// Gives it back.
pub const REFUND: &str = "refund";

/// What the gateway has to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Money from the customer.
    Charge {
        /// In minor units.
        amount_minor: i64,
        /// ISO 4217.
        currency: String,
        /// What the customer pays with.
        token: String,
    },
    /// And back.
    Refund {
        /// The gateway's reference of the charge.
        charge_ref: String,
        /// In minor units.
        amount_minor: i64,
        /// ISO 4217.
        currency: String,
    },
}

#[derive(Debug)]
struct Entry {
    /// As it was read; `None` when it is new.
    was: Option<State>,
    charge: Charge,
}

/// The locked charges, and what became of them.
#[derive(Debug, Default)]
pub struct Charges {
    entries: BTreeMap<Key, Entry>,
    /// What others are told.
    pub told: Vec<Told>,
}

impl Charges {
    /// Starts from rows that the caller holds the locks of.
    pub fn new(rows: Vec<Charge>) -> Self {
        let entry = |charge: Charge| (charge.key.clone(), Entry { was: Some(charge.state), charge });
        Self { entries: rows.into_iter().map(entry).collect(), told: Vec::new() }
    }

    /// Charges to be inserted.
    pub fn new_ones(&self) -> Vec<&Charge> {
        self.entries.values().filter(|entry| entry.was.is_none()).map(|entry| &entry.charge).collect()
    }

    /// Charges to be updated, with the state that they must be in until then.
    pub fn changed(&self) -> Vec<(State, &Charge)> {
        let changed = |entry: &'_ Entry| entry.was.filter(|was| *was != entry.charge.state);
        self.entries.values().filter_map(|entry| Some((changed(entry)?, &entry.charge))).collect()
    }

    fn insert(&mut self, command: &Command, due: input::Due, method_token: String, state: State) {
        let key = command.key();
        let charge = Charge {
            key: key.clone(),
            amount_minor: due.amount_minor,
            currency: due.currency,
            customer_id: due.customer_id,
            method_token,
            state,
            gateway_ref: None,
            refund_ref: None,
            intent_at: 0,
            settled_at: None,
            refunded_at: None,
        };
        self.entries.insert(key, Entry { was: None, charge });
    }

    fn charge(&mut self, command: &Command) -> Result<RunAnswer, Failed> {
        let due = input::due(command)?;
        // An order that costs nothing needs no gateway and leaves no row: there is nothing to give back.
        if due.amount_minor == 0 {
            return Ok(RunAnswer::Succeeded(Some(charged(String::new(), 0, due.currency))));
        }
        let token = input::token(command)?;
        match self.entries.get(&command.key()).map(|entry| entry.charge.state) {
            None => {
                self.insert(command, due, token, State::Intent);
                Ok(RunAnswer::Intent)
            }
            // Another instance was first, after the barrier was looked up: inserting the verdict finds that out. A final failure
            // would be believed, for it is not inserted.
            Some(State::Intent) => Ok(RunAnswer::Intent),
            Some(State::Captured | State::Refunded) => {
                let reference =
                    self.entries.get(&command.key()).and_then(|entry| entry.charge.gateway_ref.clone());
                let result = charged(reference.unwrap_or_default(), due.amount_minor, due.currency);
                Ok(RunAnswer::Succeeded(Some(result)))
            }
            Some(State::Declined) => Ok(RunAnswer::Rejected(declined(String::new()))),
            Some(state @ (State::Void | State::Unresolved)) => {
                let message = format!("charge {} is {state:?}", name(&command.key()));
                Err(Failed::retryable("CONFLICT", message))
            }
        }
    }

    fn refund(&mut self, command: &Command) -> Result<UndoAnswer, Failed> {
        let key = command.key();
        let Some(entry) = self.entries.get(&key) else {
            let due = input::due(command)?;
            if due.amount_minor == 0 {
                return Ok(UndoAnswer::Undone(Some(refunded(String::new(), 0, due.currency))));
            }
            return Err(inconsistent(&key, "succeeded, but is not there"));
        };
        let charge = &entry.charge;
        match (charge.state, &charge.refund_ref) {
            (State::Captured, _) => Ok(UndoAnswer::Intent),
            // By other means than a command; never twice.
            (State::Refunded, Some(reference)) => {
                let result = refunded(reference.clone(), charge.amount_minor, charge.currency.clone());
                Ok(UndoAnswer::Undone(Some(result)))
            }
            (State::Unresolved, _) => {
                Err(Failed::last("UNRESOLVED", format!("{} waits for a person", name(&key))))
            }
            (state, _) => Err(inconsistent(&key, &format!("succeeded, but is {state:?}"))),
        }
    }

    fn tell(&mut self, key: &Key, decline_code: String, intent: &Intent) {
        if let Some(entry) = self.entries.get(key) {
            let traceparent = intent.traceparent.clone();
            self.told.push(Told { charge: entry.charge.clone(), decline_code, traceparent });
        }
    }
}

impl Domain for Charges {
    type Call = Call;

    fn run(&mut self, command: &Command) -> RunAnswer {
        match command.action.as_str() {
            CHARGE => self.charge(command).unwrap_or_else(RunAnswer::Failed),
            other => RunAnswer::Failed(Failed::retryable("UNIMPLEMENTED", format!("action {other:?}"))),
        }
    }

    fn undo(&mut self, command: &Command) -> UndoAnswer {
        self.refund(command).unwrap_or_else(UndoAnswer::Failed)
    }

    /// Leaves a void row, so that people see that this charge never will be.
    fn seal(&mut self, command: &Command) {
        if self.entries.contains_key(&command.key()) {
            return;
        }
        if let Ok(due) = input::due(command)
            && due.amount_minor > 0
        {
            self.insert(command, due, String::new(), State::Void);
        }
    }

    fn call(&self, intent: &Intent) -> Option<Call> {
        let charge = &self.entries.get(&intent.key)?.charge;
        let (amount_minor, currency) = (charge.amount_minor, charge.currency.clone());
        match intent.verb {
            Verb::Run => Some(Call::Charge { amount_minor, currency, token: charge.method_token.clone() }),
            Verb::Undo => {
                let charge_ref = charge.gateway_ref.clone()?;
                Some(Call::Refund { charge_ref, amount_minor, currency })
            }
            Verb::SealRun | Verb::SealUndo => None,
        }
    }

    fn settle(&mut self, intent: &Intent, settlement: &Settlement) {
        let Some(entry) = self.entries.get_mut(&intent.key) else {
            tracing::error!(
                charge = name(&intent.key),
                ?settlement,
                "an intent settles, but its charge is not there"
            );
            return;
        };
        let charge = &mut entry.charge;
        let mut decline_code = String::new();
        match settlement {
            Settlement::Succeeded(result) => {
                charge.state = State::Captured;
                charge.gateway_ref = unpack(result.as_ref(), |m: proto::Charged| m.gateway_ref);
            }
            Settlement::Rejected(rejection) => {
                charge.state = State::Declined;
                let detail = rejection.detail.as_ref();
                decline_code = unpack(detail, |m: proto::Declined| m.decline_code).unwrap_or_default();
            }
            Settlement::Undone(result) => {
                charge.state = State::Refunded;
                // The column must not be null; a person who settled by hand may have had no reference.
                let reference = unpack(result.as_ref(), |m: proto::Refunded| m.refund_ref);
                charge.refund_ref = Some(reference.unwrap_or_default());
            }
            Settlement::Unresolved => {
                charge.state = State::Unresolved;
                return;
            }
            // A refund goes back to the charge that it is for.
            Settlement::Again => {
                charge.state = if charge.gateway_ref.is_some() { State::Captured } else { State::Intent };
                return;
            }
        }
        let key = intent.key.clone();
        self.tell(&key, decline_code, intent);
    }
}

/// Result of `charge`.
pub(crate) fn charged(gateway_ref: String, amount_minor: i64, currency: String) -> Any {
    pack(&proto::Charged { gateway_ref, amount_minor, currency })
}

/// Result of `refund`.
pub(crate) fn refunded(refund_ref: String, amount_minor: i64, currency: String) -> Any {
    pack(&proto::Refunded { refund_ref, amount_minor, currency })
}

/// The business no of `charge`.
pub(crate) fn declined(code: String) -> Rejection {
    Rejection {
        code: "PAYMENT_DECLINED".to_owned(),
        message: format!("the payment was declined: {code}"),
        detail: Some(pack(&proto::Declined { decline_code: code })),
    }
}

fn pack<M: Name>(message: &M) -> Any {
    Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: message.encode_to_vec() }
}

fn unpack<M: Name + Default>(any: Option<&Any>, pick: fn(M) -> String) -> Option<String> {
    any.and_then(|any| any.to_msg::<M>().ok()).map(pick)
}

fn name(key: &Key) -> String {
    format!("{}/{}/{}", key.saga, key.step, key.epoch)
}

/// Final: the barrier and the charge disagree, which a person must look at.
fn inconsistent(key: &Key, what: &str) -> Failed {
    tracing::error!(charge = name(key), what, "barrier and charge disagree");
    Failed::last("INCONSISTENT", format!("charge {} {what}", name(key)))
}

#[cfg(test)]
mod tests;
