//! The payment gateway: the one place that knows what really happened to the money. It remembers keys for a while, as real ones do.

use std::collections::BTreeMap;

use skald_payment::gateway::{Answer, Kind};

/// For how long a key is remembered, ms.
pub(crate) const KEY_LIFETIME_MS: i64 = 24 * 3_600_000;
/// Payment sends nothing in a key's last hour, ms.
pub(crate) const KEY_MARGIN_MS: i64 = 3_600_000;

/// Money that moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Movement {
    pub reference: String,
    pub amount: i64,
    pub at: i64,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub kind: Kind,
    pub key: String,
    pub our_ref: String,
    pub amount: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Gateway {
    moved: BTreeMap<(bool, String), Vec<Movement>>,
    keys: BTreeMap<String, (Answer, i64)>,
    /// Requests on the network, by our reference.
    pub(crate) under_way: BTreeMap<String, u32>,
    count: u64,
    /// Nothing gets through until then.
    pub(crate) down_until: i64,
}

impl Gateway {
    /// A request arrives. `declines`: should this be the first under its key.
    pub(crate) fn ask(&mut self, now: i64, request: &Request, declines: bool) -> Answer {
        if let Some((answer, at)) = self.keys.get(&request.key)
            && now - at < KEY_LIFETIME_MS
        {
            return answer.clone();
        }
        let answer = if declines {
            Answer::Declined { code: "insufficient_funds".into() }
        } else {
            self.count += 1;
            let reference = format!("gw_{}", self.count);
            let name = (request.kind == Kind::Refund, request.our_ref.clone());
            let movement = Movement { reference: reference.clone(), amount: request.amount, at: now };
            self.moved.entry(name).or_default().push(movement);
            Answer::Moved { reference }
        };
        self.keys.insert(request.key.clone(), (answer.clone(), now));
        answer
    }

    /// Searches by our reference, and for what the key was answered.
    pub(crate) fn find(&self, now: i64, kind: Kind, our_ref: &str, key: &str) -> Option<Answer> {
        if let Some(first) = self.movements(kind, our_ref).first() {
            return Some(Answer::Moved { reference: first.reference.clone() });
        }
        let known = self.keys.get(key).filter(|(_, at)| now - at < KEY_LIFETIME_MS);
        known.map(|(answer, _)| answer.clone())
    }

    /// What moved for our reference.
    pub(crate) fn movements(&self, kind: Kind, our_ref: &str) -> &[Movement] {
        self.moved.get(&(kind == Kind::Refund, our_ref.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Everything that moved: a refund or not, our reference, the movements.
    pub(crate) fn all(&self) -> impl Iterator<Item = (bool, &str, &[Movement])> {
        self.moved.iter().map(|((refund, our_ref), moved)| (*refund, our_ref.as_str(), moved.as_slice()))
    }
}
