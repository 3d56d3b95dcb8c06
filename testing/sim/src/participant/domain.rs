//! The business of the simulated participants: inventory's and payment's real one, and a plain one for random definitions.

use std::collections::BTreeMap;

use prost_types::Any;
use skald_inventory::domain::Wave;
use skald_participant::{
    Action, Command, Domain, Failed, Intent, Key, Rejection, RunAnswer, Settlement, UndoAnswer,
};
use skald_payment::domain::{Call, Charges};

/// Which business a service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Inventory,
    Payment,
    Plain,
}

impl Kind {
    /// What it can do; an older binary knows less.
    pub(crate) fn actions(self, old: bool) -> &'static [Action] {
        const fn action(name: &'static str, undo: Option<&'static str>) -> Action {
            Action { name, undo }
        }
        const INVENTORY: &[Action] = &[action("reserve", Some("release")), action("commit", None)];
        const PAYMENT: &[Action] = &[action("charge", Some("refund"))];
        const PLAIN: &[Action] = &[action("do", Some("undo")), action("look", None), action("go", None)];
        match (self, old) {
            (Kind::Inventory, false) => INVENTORY,
            (Kind::Payment, false) => PAYMENT,
            (Kind::Plain, false) => PLAIN,
            (Kind::Inventory, true) => &INVENTORY[..1],
            (Kind::Plain, true) => &PLAIN[..1],
            (Kind::Payment, true) => &[],
        }
    }
}

/// What a plain action did, by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Ran,
    Undone,
}

/// A business whose effects are only counted.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    pub effects: BTreeMap<Key, Effect>,
    pub changed: Vec<(Key, Effect)>,
    /// One in so many is answered with a no.
    pub rejects: u64,
}

/// The domain of a wave, and what is to fail in it by chance.
#[derive(Debug)]
pub(crate) struct Any3 {
    pub business: Business,
    /// Commands, by key, that can't be done this time.
    pub fails: BTreeMap<Key, Failed>,
}

#[derive(Debug)]
pub(crate) enum Business {
    Inventory(Wave),
    Payment(Charges),
    Plain(Plain),
}

impl Domain for Any3 {
    type Call = Call;

    fn run(&mut self, command: &Command) -> RunAnswer {
        if let Some(failed) = self.fails.remove(&command.key()) {
            return RunAnswer::Failed(failed);
        }
        match &mut self.business {
            Business::Inventory(wave) => wave.run(command),
            Business::Payment(charges) => charges.run(command),
            Business::Plain(plain) => plain.run(command),
        }
    }

    fn undo(&mut self, command: &Command) -> UndoAnswer {
        if let Some(failed) = self.fails.remove(&command.key()) {
            return UndoAnswer::Failed(failed);
        }
        match &mut self.business {
            Business::Inventory(wave) => wave.undo(command),
            Business::Payment(charges) => charges.undo(command),
            Business::Plain(plain) => plain.undo(command),
        }
    }

    fn seal(&mut self, command: &Command) {
        match &mut self.business {
            Business::Inventory(wave) => wave.seal(command),
            Business::Payment(charges) => charges.seal(command),
            Business::Plain(_) => {}
        }
    }

    fn call(&self, intent: &Intent) -> Option<Call> {
        match &self.business {
            Business::Payment(charges) => charges.call(intent),
            _ => None,
        }
    }

    fn settle(&mut self, intent: &Intent, settlement: &Settlement) {
        if let Business::Payment(charges) = &mut self.business {
            charges.settle(intent, settlement);
        }
    }
}

impl Plain {
    fn run(&mut self, command: &Command) -> RunAnswer {
        let key = command.key();
        // A no that depends on the command alone, as a shop's credit check might.
        let lot = (command.saga.as_u128() as u64 ^ (key.epoch as u64) << 7 ^ key.step.len() as u64)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        if self.rejects > 0 && (lot >> 32).is_multiple_of(self.rejects) {
            let code = if lot & 1 == 0 { "NO" } else { "NEVER" };
            return RunAnswer::Rejected(Rejection {
                code: code.into(),
                message: "not today".into(),
                detail: None,
            });
        }
        // Another instance was first, after the look-up: inserting finds that out.
        if command.action != "look" && !self.effects.contains_key(&key) {
            self.effects.insert(key.clone(), Effect::Ran);
            self.changed.push((key, Effect::Ran));
        }
        RunAnswer::Succeeded(Some(Any { type_url: "type.googleapis.com/sim.Done".into(), value: vec![1] }))
    }

    fn undo(&mut self, command: &Command) -> UndoAnswer {
        let key = command.key();
        match self.effects.get(&key) {
            Some(Effect::Ran) => {
                self.effects.insert(key.clone(), Effect::Undone);
                self.changed.push((key, Effect::Undone));
                UndoAnswer::Undone(None)
            }
            Some(Effect::Undone) => UndoAnswer::Undone(None),
            None => UndoAnswer::Failed(Failed::last("INCONSISTENT", "it succeeded, but is not there")),
        }
    }
}
