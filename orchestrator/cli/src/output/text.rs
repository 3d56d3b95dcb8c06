//! Times and money as people read and write them.

use std::time::SystemTime;

use prost_types::Timestamp;

/// `2026-11-21 01:23:20`, UTC; empty when there is none.
pub fn time(at: Option<&Timestamp>) -> String {
    let text = at.map(ToString::to_string).unwrap_or_default();
    text.split(['.', 'Z']).next().unwrap_or_default().replace('T', " ")
}

/// With milliseconds: `2026-11-21 01:23:20.042`.
pub fn precise(at: Option<&Timestamp>) -> String {
    match at {
        None => String::new(),
        Some(timestamp) => format!("{}.{:03}", time(at), timestamp.nanos / 1_000_000),
    }
}

/// How far a time is from `now` (seconds): `12 s ago`, `in 3 min`; empty when there is none.
pub fn ago(at: Option<&Timestamp>, now: i64) -> String {
    let Some(at) = at else { return String::new() };
    let seconds = now - at.seconds;
    let (n, unit) = match seconds.unsigned_abs() {
        n @ 0..=119 => (n, "s"),
        n @ 120..=7_199 => (n / 60, "min"),
        n @ 7_200..=172_799 => (n / 3_600, "h"),
        n => (n / 86_400, "d"),
    };
    if seconds < 0 { format!("in {n} {unit}") } else { format!("{n} {unit} ago") }
}

/// A time and how far it is from `now` (seconds): `2026-11-21 01:23:20 (12 s ago)`; empty when there is none.
pub fn when(at: Option<&Timestamp>, now: i64) -> String {
    if at.is_none() { String::new() } else { format!("{} ({})", time(at), ago(at, now)) }
}

/// How long something took, milliseconds: `42 ms`, `1.5 s`, `3 min`, `2 h`, `9 d`.
pub fn took(ms: i64) -> String {
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

/// A time as it is typed: a point such as 2026-11-21 or 2026-11-21T04:00:00Z, or an age such as 7d.
///
/// # Errors
/// It is neither.
pub fn point(text: &str) -> Result<SystemTime, String> {
    let date = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    match (humantime::parse_duration(text), humantime::parse_rfc3339_weak(&date)) {
        (Ok(age), _) => Ok(SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)),
        (_, Ok(at)) => Ok(at),
        _ => Err(format!("{text:?} is no time, such as 2026-11-21 or 7d")),
    }
}

/// Under a list of which there is more.
const MORE: &str = "… and more: --limit N shows them";

/// A list, and whether there is more of it.
pub fn and_more(mut list: String, more: bool) -> String {
    if more {
        list.push('\n');
        list.push_str(MORE);
    }
    list
}

/// Digits behind the point (ISO 4217). Two, but for these.
fn digits(currency: &str) -> usize {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI"
        | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

/// Minor units as an amount: `4.50 EUR`, `450 JPY`.
pub fn money(minor: i64, currency: &str) -> String {
    let digits = digits(currency);
    let text = format!("{:0>width$}", minor.unsigned_abs(), width = digits + 1);
    let (whole, fraction) = text.split_at(text.len() - digits);
    let sign = if minor < 0 { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction} {currency}").trim_end().to_owned()
}

/// An amount as minor units: `4.50`, `4.5` and `4` of EUR are 450, 450 and 400.
///
/// # Errors
/// It is no amount, or finer than the currency.
pub fn minor_units(amount: &str, currency: &str) -> Result<i64, String> {
    let digits = digits(currency);
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || (amount.contains('.') && fraction.is_empty())
    {
        return Err(format!("{amount:?} is no amount, such as 4.50"));
    }
    if fraction.len() > digits {
        return Err(format!("{amount:?} is finer than {currency} can be: {digits} digits behind the point"));
    }
    format!("{whole}{fraction:0<digits$}").parse().map_err(|_| format!("{amount:?} is too much"))
}
