//! What the simulated gateway answers, given what its books say, and what it writes into them. Pure.
//!
//! It is naive on purpose: only the key keeps it from moving money twice. Whatever else would be a second charge or a second
//! refund is carried out and stands in the books, where a test sees it.

use std::collections::{HashMap, HashSet};

use super::super::{Answer, Fault, Kind};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Charge { token: String, amount_minor: i64, currency: String },
    Refund { charge_ref: String, amount_minor: i64, currency: String },
    Find(Kind),
}

impl Op {
    /// As in `gateway.call.kind`.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Charge { .. } => "charge",
            Self::Refund { .. } => "refund",
            Self::Find(_) => "find",
        }
    }
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) op: Op,
    pub(super) key: String,
    pub(super) our_ref: String,
    /// Fails before it does anything.
    pub(super) outage: bool,
    /// Does its work and loses the answer.
    pub(super) lose_answer: bool,
}

/// What a key was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remembered {
    Moved(String),
    Declined(String),
    /// `tok_flaky`'s first call.
    NotNow,
}

/// What the books say about the calls of a batch; young keys only.
#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    pub(super) remembered: HashMap<String, Remembered>,
    /// The first movement of each kind by our reference.
    pub(super) moved: HashMap<(Kind, String), String>,
    /// Which of the charges to be refunded there are.
    pub(super) charges: HashSet<String>,
}

/// A movement of money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Movement {
    pub(super) reference: String,
    pub(super) kind: Kind,
    pub(super) key: String,
    pub(super) our_ref: String,
    pub(super) amount_minor: i64,
    pub(super) currency: String,
}

/// What has to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entries {
    /// Kind, key, our reference, answer: one per call.
    pub(super) calls: Vec<(&'static str, String, String, String)>,
    pub(super) movements: Vec<Movement>,
    /// The last word on each key.
    pub(super) remembered: HashMap<String, Remembered>,
}

/// What the caller gets.
pub(super) type Reply = Result<Option<Answer>, Fault>;

impl Books {
    /// Answers one call, and notes it in `entries`. `reference` makes up a new one.
    pub(super) fn answer(
        &mut self,
        ask: &Ask,
        entries: &mut Entries,
        mut reference: impl FnMut(Kind) -> String,
    ) -> Reply {
        let (reply, mut text) = if ask.outage {
            (Err(Fault::Unavailable), "unavailable".to_owned())
        } else {
            self.decide(ask, entries, &mut reference)
        };
        let lost = ask.lose_answer && reply.is_ok() || reply == Err(Fault::Lost);
        if lost {
            text.push_str(", lost");
        }
        entries.calls.push((ask.op.kind(), ask.key.clone(), ask.our_ref.clone(), text));
        if lost { Err(Fault::Lost) } else { reply }
    }

    fn decide(
        &mut self,
        ask: &Ask,
        entries: &mut Entries,
        reference: &mut impl FnMut(Kind) -> String,
    ) -> (Reply, String) {
        if let Op::Find(kind) = ask.op {
            return self.find(kind, ask);
        }
        match self.remembered.get(&ask.key) {
            Some(Remembered::Moved(reference)) => {
                let answer = Answer::Moved { reference: reference.clone() };
                return (Ok(Some(answer)), format!("repeated: {reference}"));
            }
            Some(Remembered::Declined(code)) => {
                let answer = Answer::Declined { code: code.clone() };
                return (Ok(Some(answer)), format!("repeated: {code}"));
            }
            Some(Remembered::NotNow) | None => {}
        }
        match &ask.op {
            Op::Charge { token, amount_minor, currency } => match token.as_str() {
                "tok_ok" | "tok_slow" | "tok_flaky" | "tok_lost_answer" => {
                    if token == "tok_flaky" && !self.remembered.contains_key(&ask.key) {
                        self.remember(ask, Remembered::NotNow, entries);
                        return (Err(Fault::Unavailable), "unavailable".to_owned());
                    }
                    let (reply, text) =
                        self.moves(Kind::Charge, ask, *amount_minor, currency, entries, reference);
                    if token == "tok_lost_answer" { (Err(Fault::Lost), text) } else { (reply, text) }
                }
                "tok_declined" => self.declines("card_declined", ask, entries),
                "tok_insufficient_funds" => self.declines("insufficient_funds", ask, entries),
                "tok_outage" => (Err(Fault::Unavailable), "unavailable".to_owned()),
                _ => self.declines("invalid_token", ask, entries),
            },
            Op::Refund { charge_ref, amount_minor, currency } => {
                if self.charges.contains(charge_ref) {
                    self.moves(Kind::Refund, ask, *amount_minor, currency, entries, reference)
                } else {
                    self.declines("no_such_charge", ask, entries)
                }
            }
            Op::Find(_) => unreachable!("answered above"),
        }
    }

    fn find(&self, kind: Kind, ask: &Ask) -> (Reply, String) {
        if let Some(reference) = self.moved.get(&(kind, ask.our_ref.clone())) {
            let answer = Answer::Moved { reference: reference.clone() };
            return (Ok(Some(answer)), format!("found: {reference}"));
        }
        if let Some(Remembered::Declined(code)) = self.remembered.get(&ask.key) {
            let answer = Answer::Declined { code: code.clone() };
            return (Ok(Some(answer)), format!("found: {code}"));
        }
        (Ok(None), "not found".to_owned())
    }

    fn moves(
        &mut self,
        kind: Kind,
        ask: &Ask,
        amount_minor: i64,
        currency: &str,
        entries: &mut Entries,
        reference: &mut impl FnMut(Kind) -> String,
    ) -> (Reply, String) {
        let reference = reference(kind);
        self.remember(ask, Remembered::Moved(reference.clone()), entries);
        self.moved.entry((kind, ask.our_ref.clone())).or_insert_with(|| reference.clone());
        if kind == Kind::Charge {
            self.charges.insert(reference.clone());
        }
        entries.movements.push(Movement {
            reference: reference.clone(),
            kind,
            key: ask.key.clone(),
            our_ref: ask.our_ref.clone(),
            amount_minor,
            currency: currency.to_owned(),
        });
        let text = format!("moved: {reference}");
        (Ok(Some(Answer::Moved { reference })), text)
    }

    fn declines(&mut self, code: &str, ask: &Ask, entries: &mut Entries) -> (Reply, String) {
        self.remember(ask, Remembered::Declined(code.to_owned()), entries);
        (Ok(Some(Answer::Declined { code: code.to_owned() })), format!("declined: {code}"))
    }

    fn remember(&mut self, ask: &Ask, what: Remembered, entries: &mut Entries) {
        self.remembered.insert(ask.key.clone(), what.clone());
        entries.remembered.insert(ask.key.clone(), what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(token: &str, key: &str) -> Ask {
        let op = Op::Charge { token: token.to_owned(), amount_minor: 500, currency: "EUR".to_owned() };
        ask(op, key)
    }

    fn ask(op: Op, key: &str) -> Ask {
        Ask {
            op,
            key: key.to_owned(),
            our_ref: "saga/charge/1".to_owned(),
            outage: false,
            lose_answer: false,
        }
    }

    /// Answers all, with the references r1, r2 …
    fn play(books: &mut Books, asks: &[Ask]) -> (Vec<Reply>, Entries) {
        let mut entries = Entries::default();
        let mut number = 0;
        let mut reference = |_| {
            number += 1;
            format!("r{number}")
        };
        let replies = asks.iter().map(|ask| books.answer(ask, &mut entries, &mut reference)).collect();
        (replies, entries)
    }

    fn moved(reference: &str) -> Reply {
        Ok(Some(Answer::Moved { reference: reference.to_owned() }))
    }

    fn declined(code: &str) -> Reply {
        Ok(Some(Answer::Declined { code: code.to_owned() }))
    }

    #[test]
    fn each_token_does_what_is_documented() {
        let cases = [
            ("tok_ok", [moved("r1"), moved("r1")], 1),
            ("tok_slow", [moved("r1"), moved("r1")], 1),
            ("tok_declined", [declined("card_declined"), declined("card_declined")], 0),
            ("tok_insufficient_funds", [declined("insufficient_funds"), declined("insufficient_funds")], 0),
            ("tok_flaky", [Err(Fault::Unavailable), moved("r1")], 1),
            ("tok_lost_answer", [Err(Fault::Lost), moved("r1")], 1),
            ("tok_outage", [Err(Fault::Unavailable), Err(Fault::Unavailable)], 0),
            ("tok_unheard_of", [declined("invalid_token"), declined("invalid_token")], 0),
        ];
        for (token, expected, movements) in cases {
            let (replies, entries) = play(&mut Books::default(), &[charge(token, "k"), charge(token, "k")]);
            assert_eq!(replies, expected, "{token}");
            assert_eq!(entries.movements.len(), movements, "{token}");
            assert_eq!(entries.calls.len(), 2, "{token}");
        }
    }

    #[test]
    fn another_key_is_another_charge_and_both_are_seen() {
        let (replies, entries) =
            play(&mut Books::default(), &[charge("tok_ok", "k"), charge("tok_ok", "k#2")]);
        assert_eq!(replies, [moved("r1"), moved("r2")]);
        assert_eq!(entries.movements.len(), 2);
    }

    #[test]
    fn a_search_finds_movements_by_reference_and_declines_by_key() {
        let find = |key| ask(Op::Find(Kind::Charge), key);
        let asks = [
            find("k"),
            charge("tok_declined", "k"),
            find("k"),
            find("k#2"),
            charge("tok_ok", "k#2"),
            find("k#3"),
        ];
        let (replies, _) = play(&mut Books::default(), &asks);
        let expected = [
            Ok(None),
            declined("card_declined"),
            declined("card_declined"),
            Ok(None),
            moved("r1"),
            moved("r1"),
        ];
        assert_eq!(replies, expected);
        let refund = ask(Op::Find(Kind::Refund), "k#2");
        let mut books = Books::default();
        let (replies, _) = play(&mut books, &[charge("tok_ok", "k#2"), refund]);
        assert_eq!(replies, [moved("r1"), Ok(None)], "a charge is no refund");
    }

    #[test]
    fn only_what_was_charged_can_be_refunded() {
        let refund = |charge_ref: &str, key| {
            let op = Op::Refund {
                charge_ref: charge_ref.to_owned(),
                amount_minor: 500,
                currency: "EUR".to_owned(),
            };
            ask(op, key)
        };
        let asks = [charge("tok_ok", "c"), refund("r1", "u"), refund("r1", "u"), refund("r9", "v")];
        let (replies, entries) = play(&mut Books::default(), &asks);
        assert_eq!(replies, [moved("r1"), moved("r2"), moved("r2"), declined("no_such_charge")]);
        assert_eq!(
            entries.movements.iter().map(|m| m.kind).collect::<Vec<_>>(),
            [Kind::Charge, Kind::Refund]
        );
    }

    #[test]
    fn moods_strike_before_or_after_the_work() {
        let down = Ask { outage: true, ..charge("tok_ok", "a") };
        let lost = Ask { lose_answer: true, ..charge("tok_ok", "b") };
        let (replies, entries) = play(&mut Books::default(), &[down, lost, charge("tok_ok", "b")]);
        assert_eq!(replies, [Err(Fault::Unavailable), Err(Fault::Lost), moved("r1")]);
        assert_eq!(entries.movements.len(), 1);
        let answers: Vec<_> = entries.calls.iter().map(|call| call.3.as_str()).collect();
        assert_eq!(answers, ["unavailable", "moved: r1, lost", "repeated: r1"]);
    }
}
