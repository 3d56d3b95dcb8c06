//! What operators see. Pure.

use skald_proto::{
    admin::v1::{self as admin, action::Verb},
    saga::v1::{SagaStatus, StepStatus},
};

use super::desks::view::told;
use crate::{
    output::{
        style::Tone,
        table::{Cell, Table},
        text::{self, ago, time},
    },
    sagas,
};

/// What an action did or would do.
pub fn answer(answer: &admin::ActResponse, title: &str, colours: bool) -> String {
    let status = answer.status().as_str_name().trim_start_matches("SAGA_STATUS_");
    let mut lines =
        vec![format!("{} (version {}, {status})", Tone::Strong.paint(title, colours), answer.version)];
    if !answer.definition.is_empty() {
        lines.push(format!("  follow {}", answer.definition));
    }
    for step in &answer.steps {
        let name = |status: StepStatus| match status {
            // A move brought it.
            StepStatus::Unspecified => "new",
            status => status.as_str_name().trim_start_matches("STEP_STATUS_"),
        };
        let vouched = if step.vouched { ", on your word" } else { "" };
        lines.push(format!("  {}: {} → {}{vouched}", step.step, name(step.from()), name(step.to())));
    }
    for command in &answer.commands {
        lines.push(format!("  send {}", sent(command)));
    }
    if answer.commands.is_empty() {
        let paused = answer.status() == SagaStatus::Paused;
        lines.push(if paused {
            "  send nothing until it is resumed".into()
        } else {
            "  send nothing".into()
        });
    }
    lines.join("\n")
}

fn sent(c: &admin::PlannedCommand) -> String {
    let admin::PlannedCommand { participant, step, verb, action, epoch, attempt, frozen } = c;
    let waits = if *frozen { ", which is frozen: it waits until a thaw" } else { "" };
    format!("{verb} of {step} to {participant} ({action}, epoch {epoch}, attempt {attempt}){waits}")
}

/// One page about a saga; `now` in seconds.
pub fn page(page: &admin::ExplainResponse, now: i64, colours: bool) -> String {
    let saga = page.saga.clone().unwrap_or_default();
    let head = |text: &str| Tone::Strong.paint(text, colours);
    let mut out = vec![format!("{} {}", head(&saga.saga_id), page.stands)];
    let since = ago(saga.updated_at.as_ref(), now);
    out.push(format!(
        "{}, version {}, customer {}, last change {} ({since})",
        saga.definition,
        saga.version,
        saga.customer_id,
        time(saga.updated_at.as_ref())
    ));
    out.push(String::new());
    out.push(sagas::view::steps(&saga.steps, colours));
    out.push(String::new());
    out.push(head("It waits for"));
    if page.waits.is_empty() {
        out.push("  nothing".into());
    }
    for wait in &page.waits {
        out.push(format!("  {}, since {}", wait.text, ago(wait.since.as_ref(), now)));
        if !wait.sent_to.is_empty() {
            let looks = if wait.resends > 0 {
                format!(", {} looks into silence", wait.resends)
            } else {
                String::new()
            };
            out.push(Tone::Dim.paint(&format!("    {}{looks}", wait.sent_to), colours));
        }
    }
    out.extend(theirs(page, colours));
    out.push(head("What happens by itself"));
    if page.upcoming.is_empty() {
        out.push("  nothing".into());
    }
    for next in &page.upcoming {
        out.push(format!("  {} ({})  {}", time(next.at.as_ref()), ago(next.at.as_ref(), now), next.text));
    }
    out.push(head("What you can do"));
    if page.possible.is_empty() {
        let quarantined = !saga.quarantine.is_empty();
        out.push(if quarantined {
            "  skald saga release, once its cause is mended".into()
        } else {
            "  nothing".into()
        });
    }
    let mut table = Table::new(&["", "", ""]);
    for possible in &page.possible {
        let verb = possible.action.as_ref().and_then(|action| action.verb.as_ref());
        table.row([Cell::from(""), Cell::from(words(verb)), Cell::from(&possible.text)]);
    }
    out.extend(table.lines(colours).into_iter().skip(1));
    out.join("\n")
}

/// What participants say, and what could not be learned.
fn theirs(page: &admin::ExplainResponse, colours: bool) -> Vec<String> {
    if page.participants.is_empty() && page.unknown.is_empty() {
        return Vec::new();
    }
    let mut out = vec![Tone::Strong.paint("What participants say", colours)];
    for view in &page.participants {
        let lag = view.lag.map(|lag| format!("lag {lag}"));
        let breaker = (!view.breaker.is_empty()).then(|| format!("breaker {}", view.breaker));
        let intents = (view.open_intents > 0).then(|| {
            format!("{} open calls, {} of them unresolved", view.open_intents, view.unresolved_intents)
        });
        let known = [lag, breaker, intents].into_iter().flatten().collect::<Vec<_>>().join(", ");
        out.push(format!("  {}: {known}", view.participant).trim_end_matches([':', ' ']).to_owned());
        for row in &view.barrier {
            let verb = row.verb().as_str_name().trim_start_matches("VERB_");
            let verdict = row.verdict().as_str_name().trim_start_matches("BARRIER_VERDICT_");
            let line = format!("    {} {verb} epoch {}: {verdict} {}", row.step, row.epoch, told(row));
            out.push(line.trim_end().into());
        }
    }
    out.extend(page.disagreements.iter().map(|line| Tone::Bad.paint(&format!("  ! {line}"), colours)));
    out.extend(page.unknown.iter().map(|line| Tone::Warn.paint(&format!("  ? {line}"), colours)));
    out
}

/// A verb as it is typed.
fn words(verb: Option<&Verb>) -> String {
    match verb {
        Some(Verb::Retry(r)) if r.step.is_empty() => "retry".into(),
        Some(Verb::Retry(r)) => format!("retry --step {}", r.step),
        Some(Verb::Skip(s)) if s.result.is_some() => format!("skip --step {} --result FILE", s.step),
        Some(Verb::Skip(s)) => format!("skip --step {}", s.step),
        Some(Verb::Resolve(r)) if r.step.is_empty() => "resolve".into(),
        Some(Verb::Resolve(r)) => format!("resolve --step {}", r.step),
        Some(Verb::Compensate(_)) => "compensate".into(),
        Some(Verb::Cancel(_)) => "cancel".into(),
        Some(Verb::Pause(_)) => "pause".into(),
        Some(Verb::Resume(_)) => "resume".into(),
        Some(Verb::Migrate(m)) => format!("migrate to {:.12}", m.definition_hash),
        None => String::new(),
    }
}

/// Who there is, and who is frozen.
pub fn participants(all: &[admin::Participant], colours: bool) -> String {
    let mut table = Table::new(&["PARTICIPANT", "FROZEN SINCE (UTC)", "BY", "RAMP UNTIL (UTC)", "WHY"]);
    for one in all {
        let tone = if one.frozen_at.is_some() { Tone::Bad } else { Tone::Plain };
        table.row([
            Cell::new(&one.name, tone),
            time(one.frozen_at.as_ref()).into(),
            Cell::from(&one.frozen_by),
            time(one.ramp_until.as_ref()).into(),
            Cell::from(&one.reason),
        ]);
    }
    table.render(colours)
}

/// What a bulk job would do.
pub fn bulk_foreseen(foreseen: &admin::StartBulkResponse, colours: bool) -> String {
    let title = format!("{} sagas fit", foreseen.count);
    let mut lines = vec![Tone::Strong.paint(&title, colours)];
    for example in &foreseen.examples {
        if !example.refused.is_empty() {
            lines.push(format!("  {}  refused: {}", example.saga_id, example.refused));
            continue;
        }
        let sends: Vec<String> = example.commands.iter().map(sent).collect();
        let sends =
            if sends.is_empty() { "sends nothing".into() } else { format!("send {}", sends.join(", ")) };
        lines.push(format!("  {}  {sends}", example.saga_id));
    }
    if foreseen.count > foreseen.examples.len() as i64 {
        lines.push("  …".into());
    }
    lines.join("\n")
}

/// Bulk jobs and how far they are.
pub fn bulks(bulks: &[admin::Bulk], colours: bool) -> String {
    if bulks.is_empty() {
        return "no bulk job".to_owned();
    }
    let mut table =
        Table::new(&["JOB", "STATE", "VERB", ">TOTAL", ">DONE", ">MOVED", ">REFUSED", ">PER S", "BY", "WHY"]);
    for bulk in bulks {
        let state = bulk.state().as_str_name().trim_start_matches("BULK_STATE_");
        let tone = if state == "RUNNING" { Tone::Busy } else { Tone::Plain };
        table.row([
            Cell::from(&bulk.request_id),
            Cell::new(state, tone),
            words(bulk.action.as_ref().and_then(|action| action.verb.as_ref())).trim_end().into(),
            bulk.total.to_string().into(),
            bulk.done.to_string().into(),
            bulk.moved.to_string().into(),
            bulk.refused.to_string().into(),
            bulk.per_second.to_string().into(),
            Cell::from(&bulk.actor),
            Cell::from(&bulk.reason),
        ]);
    }
    let mut out = table.render(colours);
    for refusal in bulks.iter().flat_map(|bulk| &bulk.refusals) {
        out += &format!("\n  {} refused: {}", refusal.saga_id, refusal.why);
    }
    out
}

fn kind(kind: admin::AttentionKind) -> &'static str {
    kind.as_str_name().trim_start_matches("ATTENTION_KIND_")
}

/// The inbox in groups; `now` in seconds.
pub fn groups(groups: &[admin::AttentionGroup], now: i64, colours: bool) -> String {
    if groups.is_empty() {
        return Tone::Good.paint("nothing needs a person", colours);
    }
    let mut table =
        Table::new(&["KIND", "STEP", "PARTICIPANT", "CODE", ">COUNT", ">TAKEN", "OLDEST", "EXAMPLE"]);
    for group in groups {
        table.row([
            Cell::new(kind(group.kind()), Tone::Bad),
            Cell::from(&group.step),
            Cell::from(&group.participant),
            Cell::from(&group.code),
            group.count.to_string().into(),
            group.taken.to_string().into(),
            ago(group.oldest.as_ref(), now).into(),
            Cell::from(&group.example_saga_id),
        ]);
    }
    table.render(colours)
}

/// Items of the inbox; `now` in seconds.
pub fn attention(items: &[admin::Attention], now: i64, colours: bool) -> String {
    if items.is_empty() {
        return Tone::Good.paint("nothing needs a person", colours);
    }
    let mut table =
        Table::new(&["SAGA", "KIND", "STEP", "PARTICIPANT", "CODE", "SINCE", "TAKEN BY", "MESSAGE"]);
    for item in items {
        let note = if item.note.is_empty() { String::new() } else { format!(" (note: {})", item.note) };
        table.row([
            Cell::from(&item.saga_id),
            Cell::new(kind(item.kind()), Tone::Bad),
            Cell::from(&item.step),
            Cell::from(&item.participant),
            Cell::from(&item.code),
            ago(item.since.as_ref(), now).into(),
            Cell::from(&item.taken_by),
            format!("{}{note}", item.message).into(),
        ]);
    }
    table.render(colours)
}

pub(super) fn standing(state: admin::DeadLetterState) -> &'static str {
    state.as_str_name().trim_start_matches("DEAD_LETTER_STATE_")
}

/// Dead letters; `more`: there are others behind them; `now` in seconds.
pub fn letters(letters: &[admin::DeadLetter], more: bool, now: i64, colours: bool) -> String {
    if letters.is_empty() {
        return Tone::Good.paint("no dead letter", colours);
    }
    let mut table = Table::new(&[">ID", "STATE", "TOPIC", "SAGA", "SINCE", ">BYTES", "REASON"]);
    for letter in letters {
        table.row([
            letter.id.to_string().into(),
            standing(letter.state()).into(),
            Cell::from(&letter.origin_topic),
            Cell::from(&letter.saga_id),
            ago(letter.at.as_ref(), now).into(),
            letter.payload_bytes.to_string().into(),
            Cell::from(&letter.reason),
        ]);
    }
    text::and_more(table.render(colours), more)
}

/// What was or would be sent again.
pub fn redrive(answer: &admin::RedriveDeadLettersResponse, dry_run: bool) -> String {
    let what = if dry_run { "would be sent again" } else { "sent again" };
    let mut lines = vec![format!("{} {what}", answer.redriven)];
    for letter in &answer.planned {
        lines.push(format!(
            "  {} to {}/{}, {} bytes",
            letter.id, letter.topic, letter.partition, letter.payload_bytes
        ));
    }
    lines.extend(answer.left.iter().map(|left| format!("  {} stays: {}", left.id, left.why)));
    lines.join("\n")
}
