//! What was put around a message when it died: our headers stand behind its own. Taken off, it is what it was.

/// A letter's headers, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    /// The message's own.
    pub(super) own: &'a [(String, String)],
    /// Where it was.
    pub(super) topic: Option<&'a str>,
    /// Where it was.
    pub(super) partition: Option<i32>,
    /// Where it was.
    pub(super) offset: Option<i64>,
    /// It was too large for a dead letter: what is there is its beginning.
    pub(super) cut: bool,
}

/// What the orchestrator and the participants add.
const OURS: [&str; 7] = [
    "skald-reason",
    "skald-attempts",
    "skald-origin-topic",
    "skald-origin-partition",
    "skald-origin-offset",
    "skald-origin-no-key",
    "skald-cut-from-bytes",
];

impl Envelope<'_> {
    /// The last of ours begin with the reason; what stands before is the message's, whatever it is called.
    pub(super) fn of(headers: &[(String, String)]) -> Envelope<'_> {
        let begins = headers.iter().rposition(|(name, _)| name == OURS[0]);
        let whole = begins.filter(|&i| headers[i..].iter().all(|(name, _)| OURS.contains(&name.as_str())));
        let (own, ours) = headers.split_at(whole.unwrap_or(headers.len()));
        let get = |name: &str| ours.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        Envelope {
            own,
            topic: get("skald-origin-topic"),
            partition: get("skald-origin-partition").and_then(|p| p.parse().ok()),
            offset: get("skald-origin-offset").and_then(|o| o.parse().ok()),
            cut: get("skald-cut-from-bytes").is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_was_added_is_taken_off_and_nothing_else() {
        let ours = [
            ("skald-reason", "UNDECODABLE"),
            ("skald-attempts", "1"),
            ("skald-origin-topic", "t"),
            ("skald-origin-partition", "3"),
            ("skald-origin-offset", "7"),
        ];
        // Somebody else's message may have such headers as well.
        let own =
            [("traceparent", "abc"), ("skald-origin-topic", "forged"), ("skald-reason", "mine"), ("n", "1")];
        let all = headers(&[&own[..], &ours].concat());
        let envelope = Envelope::of(&all);
        assert_eq!(envelope.own, headers(&own));
        assert_eq!((envelope.topic, envelope.partition, envelope.offset), (Some("t"), Some(3), Some(7)));
        assert!(!envelope.cut);
        let cut = headers(&[&ours[..], &[("skald-cut-from-bytes", "9000000")]].concat());
        assert!(Envelope::of(&cut).cut && Envelope::of(&cut).own.is_empty());
        let strange = headers(&[&ours[..], &[("else", "1")]].concat());
        let envelope = Envelope::of(&strange);
        assert_eq!((envelope.own.len(), envelope.topic), (6, None), "nobody knows where it was");
    }
}
