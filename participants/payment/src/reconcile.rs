//! What a comparison of the gateway's records with our charges says. Pure.

use skald_participant::Key;
use skald_proto::payment::v1::DifferenceKind;

use crate::{
    gateway::{Kind, Record},
    store::{Charge, State},
};

/// What one comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    /// It is under way and will settle.
    Open,
    Differs(DifferenceKind),
}

/// A record of the gateway against what we know, which was read after it. `refunding`: our refund is under way.
pub(crate) fn at_gateway(record: &Record, ours: Option<&Charge>, refunding: bool) -> Verdict {
    let reference = ours.and_then(|charge| match record.kind {
        Kind::Charge => charge.gateway_ref.as_ref(),
        Kind::Refund => charge.refund_ref.as_ref(),
    });
    match (ours, record.kind) {
        (Some(charge), _) if reference == Some(&record.reference) => {
            let same = charge.amount_minor == record.amount_minor && charge.currency == record.currency;
            if same { Verdict::Same } else { Verdict::Differs(DifferenceKind::Amount) }
        }
        (Some(charge), Kind::Charge) if charge.state == State::Intent => Verdict::Open,
        (_, Kind::Charge) => Verdict::Differs(DifferenceKind::ChargeOnlyAtGateway),
        (Some(_), Kind::Refund) if refunding && reference.is_none() => Verdict::Open,
        (_, Kind::Refund) => Verdict::Differs(DifferenceKind::RefundOnlyAtGateway),
    }
}

/// What a charge of ours says that the gateway did.
pub(crate) fn claims(charge: &Charge) -> Vec<(Kind, &str)> {
    let charged = charge.gateway_ref.as_deref().map(|reference| (Kind::Charge, reference));
    let refunded = charge.refund_ref.as_deref().map(|reference| (Kind::Refund, reference));
    charged.into_iter().chain(refunded).collect()
}

/// What it is when the gateway did not do it.
pub(crate) fn only_ours(kind: Kind) -> DifferenceKind {
    match kind {
        Kind::Charge => DifferenceKind::ChargeOnlyOurs,
        Kind::Refund => DifferenceKind::RefundOnlyOurs,
    }
}

/// Where a comparison goes on: the gateway's records first, then our charges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// After this record: its time in microseconds since 1970, and its reference.
    Gateway(i64, String),
    /// After this charge; `None`: at the first.
    Ours(Option<Key>),
}

impl Place {
    /// As clients keep it.
    pub(crate) fn token(&self) -> String {
        match self {
            Self::Gateway(at, reference) => format!("gateway/{at}/{reference}"),
            Self::Ours(None) => "ours".to_owned(),
            Self::Ours(Some(key)) => format!("ours/{}", skald_participant::page::token(key)),
        }
    }

    /// From a token.
    pub(crate) fn read(token: &str) -> Option<Self> {
        match token.split_once('/') {
            None => (token == "ours").then_some(Self::Ours(None)),
            Some(("ours", key)) => Some(Self::Ours(Some(skald_participant::page::key(key)?))),
            Some(("gateway", place)) => {
                let (at, reference) = place.split_once('/')?;
                let sound = !reference.contains('\0');
                Some(Self::Gateway(at.parse().ok()?, reference.to_owned())).filter(|_| sound)
            }
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
