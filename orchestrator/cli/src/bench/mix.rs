//! The orders that are submitted: which one is the n-th, and how it must end. Pure, so that the end can be checked
//! without remembering every order.

use skald_proto::order::v1::{OrderDraft, OrderLine, SubmitOrderRequest};
use uuid::Uuid;

/// Of a hundred orders these are declined by the payment gateway …
const DECLINED: [u64; 5] = [7, 27, 47, 67, 87];
/// … and these want more than there is.
const OUT_OF_STOCK: [u64; 2] = [13, 63];
/// Customers who order again and again.
const CUSTOMERS: u64 = 10_000;
/// The article of which there is one, while each order for it wants two.
pub(super) const SOLD_OUT: &str = "BENCH-SOLD-OUT";

/// How an order must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Completed,
    Declined,
    OutOfStock,
}

/// The recipe of the orders of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    /// Keeps the idempotency keys of runs apart.
    pub(super) seed: u64,
    /// Articles.
    pub(super) skus: u64,
    /// Those that half of all lines ask for.
    pub(super) hot: u64,
    /// Lines of each order.
    pub(super) lines: u64,
}

impl Mix {
    /// How the n-th order must end.
    pub(super) fn fate(n: u64) -> Fate {
        let place = n % 100;
        if DECLINED.contains(&place) {
            Fate::Declined
        } else if OUT_OF_STOCK.contains(&place) {
            Fate::OutOfStock
        } else {
            Fate::Completed
        }
    }

    /// An article's name.
    pub(super) fn sku(i: u64) -> String {
        format!("BENCH-{i:06}")
    }

    /// The articles and quantities of the n-th order, each article once.
    pub(super) fn lines(&self, n: u64) -> Vec<(String, i64)> {
        let mut random = Random(self.seed ^ n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut chosen: Vec<u64> = Vec::new();
        let wanted = self.lines.min(self.skus);
        while (chosen.len() as u64) < wanted {
            let hot = self.hot > 0 && random.next().is_multiple_of(2);
            let mut i = random.next() % if hot { self.hot.min(self.skus) } else { self.skus };
            while chosen.contains(&i) {
                i = (i + 1) % self.skus;
            }
            chosen.push(i);
        }
        let mut lines: Vec<(String, i64)> =
            chosen.into_iter().map(|i| (Self::sku(i), (random.next() % 3 + 1) as i64)).collect();
        if Self::fate(n) == Fate::OutOfStock {
            // The last line can't be had: those before it must not be taken either.
            lines.pop();
            lines.push((SOLD_OUT.to_owned(), 2));
        }
        lines
    }

    /// The n-th order.
    pub(super) fn request(&self, n: u64) -> SubmitOrderRequest {
        let mut random = Random(!self.seed ^ n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let lines = self.lines(n).into_iter().map(|(sku, quantity)| OrderLine {
            sku,
            quantity,
            unit_price_minor: (random.next() % 9_900 + 100) as i64,
            seller_id: String::new(),
        });
        let token = if Self::fate(n) == Fate::Declined { "tok_declined" } else { "tok_ok" };
        let order = OrderDraft {
            lines: lines.collect(),
            customer_id: format!("customer-{}", random.next() % CUSTOMERS),
            currency: "EUR".to_owned(),
            payment_token: Some(token.to_owned()),
            needs_fulfilment: false,
            note: String::new(),
        };
        // As most clients make theirs: a random UUID, which also falls anywhere into the index of keys.
        let key = Uuid::from_u64_pair(random.next(), random.next());
        SubmitOrderRequest { idempotency_key: key.to_string(), order: Some(order) }
    }

    /// What the n-th order costs, in minor units.
    pub(super) fn total(&self, n: u64) -> i64 {
        let lines = self.request(n).order.map(|order| order.lines).unwrap_or_default();
        lines.iter().map(|line| line.quantity * line.unit_price_minor).sum()
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const MIX: Mix = Mix { seed: 42, skus: 20, hot: 3, lines: 4 };

    #[test]
    fn seven_of_a_hundred_orders_do_not_complete() {
        let count = |fate| (0..1_000).filter(|n| Mix::fate(*n) == fate).count();
        assert_eq!([count(Fate::Declined), count(Fate::OutOfStock), count(Fate::Completed)], [50, 20, 930]);
    }

    #[test]
    fn an_order_is_the_same_whenever_it_is_asked_for() {
        for n in 0..100 {
            assert_eq!(MIX.request(n), MIX.request(n));
        }
        let keys: BTreeSet<String> = (0..1_000).map(|n| MIX.request(n).idempotency_key).collect();
        assert_eq!(keys.len(), 1_000);
    }

    #[test]
    fn each_article_stands_in_an_order_once_and_half_the_lines_are_hot() {
        let mut hot = 0;
        for n in 0..1_000 {
            let lines = MIX.lines(n);
            let skus: BTreeSet<&String> = lines.iter().map(|(sku, _)| sku).collect();
            assert_eq!((skus.len(), lines.len()), (4, 4));
            hot += lines.iter().filter(|(sku, _)| (0..3).any(|i| *sku == Mix::sku(i))).count();
        }
        assert!((1_800..3_000).contains(&hot), "{hot} of 4,000");
        assert_eq!(Mix { skus: 1, ..MIX }.lines(1).len(), 1, "no more lines than articles");
    }

    #[test]
    fn what_can_not_be_had_comes_last() {
        let lines = MIX.lines(13);
        assert_eq!((lines.len(), lines.last()), (4, Some(&(SOLD_OUT.to_owned(), 2))));
        assert!(MIX.lines(14).iter().all(|(sku, _)| sku != SOLD_OUT));
        assert_eq!(MIX.request(27).order.and_then(|o| o.payment_token).as_deref(), Some("tok_declined"));
    }
}
