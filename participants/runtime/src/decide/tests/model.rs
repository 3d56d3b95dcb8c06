//! Random commands, repeats, stale look-ups and settlings against a barrier in memory: what is promised holds after each.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

/// The database's part: rows, and what happened in the world.
#[derive(Clone, Default)]
struct World {
    rows: BTreeMap<(Key, Slot), Row>,
    /// Effects and their undoing per key.
    ran: HashMap<Key, u32>,
    undone: HashMap<Key, u32>,
    /// The first verdict told per key and slot.
    told: HashMap<(Key, Slot), Answer>,
}

/// A domain over the world: committed with the plan or not at all.
struct Effects {
    world: World,
    outcome: u8,
}

impl Domain for Effects {
    type Call = NoCall;

    fn run(&mut self, c: &Command) -> RunAnswer {
        match self.outcome % 4 {
            0 => RunAnswer::Rejected(rejection()),
            1 => RunAnswer::Failed(Failed::retryable("UNAVAILABLE", "later")),
            2 => RunAnswer::Intent,
            _ => {
                *self.world.ran.entry(c.key()).or_default() += 1;
                RunAnswer::Succeeded(result())
            }
        }
    }

    fn undo(&mut self, c: &Command) -> UndoAnswer {
        match self.outcome % 3 {
            0 => UndoAnswer::Failed(Failed::retryable("UNAVAILABLE", "later")),
            1 => UndoAnswer::Intent,
            _ => {
                *self.world.undone.entry(c.key()).or_default() += 1;
                UndoAnswer::Undone(result())
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Happens {
    /// A command arrives; its look-up sees the rows of `stale` events ago.
    Command { saga: u8, verb: usize, epoch: i32, outcome: u8, stale: usize },
    /// An open intent settles.
    Settle { pick: usize, succeeds: bool },
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0..2_u8, 0..4_usize, 1..3_i32, any::<u8>(), 0..4_usize).prop_map(|(saga, verb, epoch, outcome, stale)| {
            Happens::Command { saga, verb, epoch, outcome, stale }
        }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(pick, succeeds)| Happens::Settle { pick, succeeds }),
    ]
}

impl World {
    fn stored(&self) -> Stored {
        Stored::new(self.rows.values().cloned(), [])
    }

    fn verdict(&self, key: &Key, slot: Slot) -> Option<Verdict> {
        self.rows.get(&(key.clone(), slot)).map(|row| row.verdict)
    }

    /// The inserts of a plan, or nothing: someone else was first.
    fn insert(&mut self, rows: &[Row]) -> bool {
        if rows.iter().any(|row| self.rows.contains_key(&(row.key.clone(), row.slot))) {
            return false;
        }
        self.rows.extend(rows.iter().map(|row| ((row.key.clone(), row.slot), row.clone())));
        true
    }

    /// What the sweeper and the settler do.
    fn settle(&mut self, pick: usize, succeeds: bool) {
        let open: Vec<_> = self.rows.values().filter(|row| row.verdict == Verdict::Intent).cloned().collect();
        if open.is_empty() {
            return;
        }
        let Row { key, slot, .. } = open[pick % open.len()].clone();
        let verdict = match (slot, self.verdict(&key, Slot::Run)) {
            (Slot::Run, _) if succeeds => {
                *self.ran.entry(key.clone()).or_default() += 1;
                Verdict::Done
            }
            (Slot::Run, _) => Verdict::Rejected,
            (Slot::Undo, Some(Verdict::Intent)) => return,
            (Slot::Undo, Some(Verdict::Done)) => {
                *self.undone.entry(key.clone()).or_default() += 1;
                Verdict::Done
            }
            (Slot::Undo, _) => Verdict::Nothing,
        };
        let answer = match (slot, verdict) {
            (Slot::Run, Verdict::Done) => Some(Answer::Succeeded(Succeeded { result: result() })),
            (Slot::Undo, Verdict::Done) => Some(Answer::Undone(Undone { result: result() })),
            (_, Verdict::Rejected) => Some(Answer::Rejected(rejection().into())),
            _ => None,
        };
        self.rows.insert((key.clone(), slot), Row { key, slot, verdict, answer });
    }

    /// The first verdict is the one that every repeat gets.
    fn tell(&mut self, c: &Command, answer: Answer) {
        if matches!(answer, Answer::Failed(_)) {
            return;
        }
        let slot = match c.verb {
            Verb::Run | Verb::SealRun => Slot::Run,
            Verb::Undo | Verb::SealUndo => Slot::Undo,
        };
        let first = self.told.entry((c.key(), slot)).or_insert_with(|| answer.clone());
        assert_eq!(*first, answer, "{c:?} was told something else before");
    }

    fn check(&self) {
        for (key, ran) in &self.ran {
            assert_eq!(*ran, 1, "{key:?} took effect more than once");
            assert_eq!(self.verdict(key, Slot::Run), Some(Verdict::Done));
        }
        for (key, undone) in &self.undone {
            assert_eq!(*undone, 1, "{key:?} was undone more than once");
            assert!(self.ran.contains_key(key), "{key:?} was undone and had not happened");
            assert_eq!(self.verdict(key, Slot::Undo), Some(Verdict::Done));
        }
        for (key, slot) in self.rows.keys() {
            assert!(
                *slot == Slot::Run || self.verdict(key, Slot::Run).is_some(),
                "an undo without its action"
            );
        }
    }
}

/// Decides until the plan can be written, as the executor does.
fn execute(world: &mut World, past: &World, c: &Command, outcome: u8) {
    let mut look_up = past.stored();
    loop {
        let mut effects = Effects { world: world.clone(), outcome };
        let plan = Triage::new(&[c], &look_up, bounds(), ACTIONS).decide(Some(&mut effects));
        let met = |touch: &Touch| world.verdict(&c.key(), touch.slot) == Some(Verdict::Intent);
        if plan.touches.iter().all(met) && world.insert(&plan.inserts) {
            if !plan.inserts.is_empty() {
                (world.ran, world.undone) = (effects.world.ran, effects.world.undone);
            }
            if let Some(answer) = plan.answers.into_iter().next().flatten() {
                world.tell(c, answer);
            }
            return;
        }
        look_up = world.stored();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn at_most_one_effect_and_the_first_verdict_for_ever(history in prop::collection::vec(happens(), 1..40)) {
        let mut pasts = vec![World::default()];
        for event in history {
            let mut world = pasts[pasts.len() - 1].clone();
            match event {
                Happens::Settle { pick, succeeds } => world.settle(pick, succeeds),
                Happens::Command { saga, verb, epoch, outcome, stale } => {
                    let verb = [Verb::Run, Verb::Undo, Verb::SealRun, Verb::SealUndo][verb];
                    let mut c = command(150 + u128::from(saga), verb);
                    c.epoch = epoch;
                    let past = pasts[pasts.len().saturating_sub(1 + stale)].clone();
                    execute(&mut world, &past, &c, outcome);
                }
            }
            world.check();
            pasts.push(world);
        }
    }
}
