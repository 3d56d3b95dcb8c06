//! Sagas by what is known of them. Candidates come in the order of an index, light; columns are looked at first, then
//! the decoded states of what is left; after about a second the page is what was found so far.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use prost::Message as _;
use skald_core::{
    Definition,
    state::{self, StepStatus},
};
use skald_proto::{
    admin::v1 as wire,
    saga::v1::{SagaStatus, StepStatus as WireStep},
};
use sqlx::PgConnection;
use tonic::Status;
use uuid::Uuid;

use super::stats;
use crate::{
    intake::{
        Desk,
        desk::Definitions,
        errors::{self, BadFields},
        saga::range,
        validate, view,
    },
    store::{
        read::Shown,
        search::{self, Candidate},
    },
};

/// How long is searched for one page.
const BUDGET: Duration = Duration::from_secs(1);
/// Candidates that are read at once.
const CANDIDATES: i64 = 5_000;
/// Rows that are read at once.
const ROWS: usize = 100;
/// A page that is larger ends, bytes: clients take 4 MiB unless told otherwise.
const PAGE_BYTES: usize = 1 << 20;
/// A wake-up time that is later than any.
const NEVER_US: i64 = 1 << 53;

/// What a saga must be.
struct Wanted {
    definitions: Option<Vec<i32>>,
    status: Option<i16>,
    stage: String,
    customer_id: String,
    step: String,
    step_status: i32,
    participant: String,
    error_code: String,
}

/// What is left to look at.
struct Place {
    /// The ids, or with a wake-up filter all.
    from: Uuid,
    before: Uuid,
    oldest_first: bool,
    /// With a wake-up filter: behind this place, before that time.
    wake: Option<((i64, Uuid), i64)>,
}

pub(super) async fn list(
    desk: &Desk,
    request: wire::ListSagasRequest,
) -> Result<wire::ListSagasResponse, Status> {
    let mut bad = BadFields::default();
    let size = validate::page_size(&mut bad, request.page_size);
    let mut place = place(&mut bad, &request);
    let mut page = Page { size, count_only: request.count_only, ..Page::default() };
    let wanted = wanted(desk, &mut bad, request);
    bad.into_result()?;
    let mut conn = desk.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
    let mut definitions = desk.definitions();
    // Who only counts by what candidates tell reads no rows.
    let reads_rows = !page.count_only || wanted.is_about_states() || !wanted.customer_id.is_empty();
    let began = Instant::now();
    loop {
        let candidates = wanted.candidates(&mut conn, &place).await.map_err(|e| errors::unreadable(&e))?;
        let last = (candidates.len() as i64) < CANDIDATES;
        for chunk in candidates.chunks(ROWS) {
            let judged = wanted.by_columns(&mut definitions, chunk).await?;
            let rows =
                if reads_rows { wanted.rows(&mut conn, chunk, &judged).await? } else { HashMap::new() };
            for (candidate, fit) in chunk.iter().zip(judged) {
                if page.is_full() {
                    return Ok(page.ends(place.token()));
                }
                place.pass(candidate);
                page.answer.examined += 1;
                if fit != Fit::Yes || !reads_rows {
                    page.judge(fit, candidate);
                    continue;
                }
                let Some(row) = rows.get(&candidate.id) else { continue };
                let definition = definitions.get(row.definition_id).await?;
                let fit = wanted.by_state(row, definition.as_deref());
                page.judge(fit, candidate);
                if fit == Fit::Yes && !page.count_only {
                    page.show(view::listed(row, definition.as_deref(), false));
                }
            }
            if began.elapsed() >= BUDGET {
                return Ok(page.ends(place.token()));
            }
        }
        if last {
            return Ok(page.ends(String::new()));
        }
    }
}

/// Whether a saga is what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Yes,
    No,
    /// It can't be read.
    Unknown,
}

impl From<bool> for Fit {
    fn from(fits: bool) -> Fit {
        if fits { Fit::Yes } else { Fit::No }
    }
}

/// What was found for a page.
#[derive(Default)]
struct Page {
    answer: wire::ListSagasResponse,
    size: usize,
    count_only: bool,
    bytes: usize,
    /// By status: how many, and the oldest.
    counts: BTreeMap<i16, (i64, Uuid)>,
}

impl Page {
    fn is_full(&self) -> bool {
        self.answer.sagas.len() == self.size || self.bytes >= PAGE_BYTES
    }

    fn judge(&mut self, fit: Fit, candidate: &Candidate) {
        match fit {
            Fit::No => {}
            Fit::Unknown => self.answer.unreadable += 1,
            Fit::Yes => {
                let (count, oldest) = self.counts.entry(candidate.status).or_insert((0, candidate.id));
                *count += 1;
                *oldest = candidate.id.min(*oldest);
            }
        }
    }

    fn show(&mut self, saga: skald_proto::saga::v1::Saga) {
        self.bytes += saga.encoded_len();
        self.answer.sagas.push(saga);
    }

    fn ends(self, next_page_token: String) -> wire::ListSagasResponse {
        let counts = self.counts.into_iter().filter(|_| self.count_only);
        let counts = counts.map(|(status, (count, oldest))| stats::count(status, count, oldest));
        wire::ListSagasResponse { counts: counts.collect(), next_page_token, ..self.answer }
    }
}

impl Wanted {
    /// By the best index that there is.
    async fn candidates(
        &self,
        conn: &mut PgConnection,
        place: &Place,
    ) -> Result<Vec<Candidate>, sqlx::Error> {
        let (ids, oldest_first) = ((place.from, place.before), place.oldest_first);
        if let Some((after, before_us)) = place.wake {
            return search::waking(conn, after, before_us, CANDIDATES).await;
        }
        if !self.customer_id.is_empty() {
            return search::customers(conn, &self.customer_id, ids, oldest_first, CANDIDATES).await;
        }
        if self.is_under_way() {
            return search::active(conn, self.status, ids, oldest_first, CANDIDATES).await;
        }
        search::all(conn, ids, oldest_first, CANDIDATES).await
    }

    /// Only a saga that is looked at again can be like that.
    fn is_under_way(&self) -> bool {
        let status = self.status.map(|s| SagaStatus::try_from(i32::from(s)).unwrap_or_default());
        let ended = [SagaStatus::Completed, SagaStatus::Compensated];
        let going = [
            WireStep::Running,
            WireStep::AwaitingSignal,
            WireStep::Sealing,
            WireStep::Undoing,
            WireStep::Fencing,
        ];
        status.is_some_and(|s| !ended.contains(&s))
            || going.iter().any(|s| *s as i32 == self.step_status)
            || !self.error_code.is_empty()
    }

    /// The rows of the candidates whose columns fit.
    async fn rows(
        &self,
        conn: &mut PgConnection,
        candidates: &[Candidate],
        judged: &[Fit],
    ) -> Result<HashMap<Uuid, Shown>, Status> {
        let fitting = candidates.iter().zip(judged).filter(|(_, fit)| **fit == Fit::Yes);
        let ids: Vec<Uuid> = fitting.map(|(candidate, _)| candidate.id).collect();
        let rows = search::rows(conn, &ids).await.map_err(|e| errors::unreadable(&e))?;
        Ok(rows
            .into_iter()
            .filter(|row| self.customer_id.is_empty() || row.customer_id == self.customer_id)
            .map(|row| (row.id, row))
            .collect())
    }

    /// What each one's columns say.
    async fn by_columns(
        &self,
        definitions: &mut Definitions<'_>,
        candidates: &[Candidate],
    ) -> Result<Vec<Fit>, Status> {
        let mut judged = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let fits = self.status.is_none_or(|status| status == candidate.status)
                && self.definitions.as_ref().is_none_or(|ids| ids.contains(&candidate.definition_id));
            if !fits || self.stage.is_empty() {
                judged.push(fits.into());
                continue;
            }
            let definition = definitions.get(candidate.definition_id).await?;
            let stage = |d: &Definition| {
                let stage = (candidate.stage as usize).checked_sub(1).and_then(|i| d.stages.get(i));
                Fit::from(stage == Some(&self.stage))
            };
            judged.push(definition.as_deref().map_or(Fit::Unknown, stage));
        }
        Ok(judged)
    }

    fn is_about_steps(&self) -> bool {
        !self.step.is_empty() || self.step_status != 0 || !self.participant.is_empty()
    }

    /// More has to be read than columns.
    fn is_about_states(&self) -> bool {
        self.is_about_steps() || !self.error_code.is_empty()
    }

    /// What its state says, where something is asked of that.
    fn by_state(&self, row: &Shown, definition: Option<&Definition>) -> Fit {
        if !self.is_about_states() {
            return Fit::Yes;
        }
        let Some(definition) = definition else { return Fit::Unknown };
        let Ok(mut state) = state::decode(row.format as u32, &row.state) else { return Fit::Unknown };
        if state.aligned(definition).is_none() {
            return Fit::Unknown;
        }
        let itself = !self.is_about_steps() && code(&state.parked) == self.error_code;
        let mut steps = state.steps.iter().zip(&definition.steps);
        Fit::from(itself || steps.any(|(step, graph)| self.fits_step(step, graph)))
    }

    /// One and the same step has it all.
    fn fits_step(&self, step: &state::Step, graph: &skald_core::definition::Step) -> bool {
        let error = step.last_error.as_ref().map_or("", |e| &e.code);
        (self.step.is_empty() || step.name == self.step)
            && (self.step_status == 0 || step.status == self.step_status)
            && (self.participant.is_empty()
                || graph.participant == self.participant && step.status() != StepStatus::Waiting)
            && (self.error_code.is_empty()
                || error == self.error_code
                || code(&step.parked) == self.error_code)
    }
}

/// The code that a reason for parking begins with.
fn code(parked: &str) -> &str {
    parked.split_once(": ").map_or(parked, |(code, _)| code)
}

impl Place {
    /// This one was looked at.
    fn pass(&mut self, candidate: &Candidate) {
        if let Some((after, _)) = &mut self.wake {
            *after = (candidate.wake_us, candidate.id);
        } else if self.oldest_first {
            self.from = next(candidate.id);
        } else {
            self.before = candidate.id;
        }
    }

    fn token(&self) -> String {
        match self.wake {
            Some(((us, id), _)) => format!("{us}/{id}"),
            None if self.oldest_first => self.from.to_string(),
            None => self.before.to_string(),
        }
    }
}

fn next(id: Uuid) -> Uuid {
    Uuid::from_u128(id.as_u128().saturating_add(1))
}

/// Where a request begins.
fn place(bad: &mut BadFields, request: &wire::ListSagasRequest) -> Place {
    let ids = range(request.created_from.as_ref(), request.created_before.as_ref(), Uuid::max());
    let order = wire::SagaOrder::try_from(request.order);
    bad.check(order.is_ok(), "order", "is not an order");
    let (wake_from, wake_before) = (request.wake_from.as_ref(), request.wake_before.as_ref());
    let by_wake = wake_from.is_some() || wake_before.is_some();
    let mut place = Place {
        from: ids.from,
        before: ids.before,
        oldest_first: order == Ok(wire::SagaOrder::OldestFirst),
        wake: by_wake.then(|| {
            let us = |t: &prost_types::Timestamp| view::millis(t).clamp(0, NEVER_US / 1000) * 1000;
            ((wake_from.map_or(0, us), Uuid::nil()), wake_before.map_or(NEVER_US, us))
        }),
    };
    bad.check(!by_wake || request.order == 0, "order", "can't be chosen with a wake-up filter");
    if !request.page_token.is_empty() && place.go_on(&request.page_token).is_none() {
        bad.add("page_token", "is not one that an answer to this request gave");
    }
    place
}

impl Place {
    /// Goes on where a token says.
    fn go_on(&mut self, token: &str) -> Option<()> {
        if let Some((after, _)) = &mut self.wake {
            let (us, id) = token.split_once('/')?;
            let us = us.parse().ok().filter(|us| (0..NEVER_US).contains(us))?;
            *after = (us, Uuid::try_parse(id).ok()?).max(*after);
        } else if self.oldest_first {
            self.from = Uuid::try_parse(token).ok()?.max(self.from);
        } else {
            self.before = Uuid::try_parse(token).ok()?.min(self.before);
        }
        Some(())
    }
}

fn wanted(desk: &Desk, bad: &mut BadFields, request: wire::ListSagasRequest) -> Wanted {
    bad.check(SagaStatus::try_from(request.status).is_ok(), "status", "is not a status of a saga");
    bad.check(WireStep::try_from(request.step_status).is_ok(), "step_status", "is not a status of a step");
    for (field, value) in [
        ("definition", &request.definition),
        ("stage", &request.stage),
        ("step", &request.step),
        ("participant", &request.participant),
        ("error_code", &request.error_code),
        ("customer_id", &request.customer_id),
    ] {
        validate::text(bad, field, value, 0, 128);
    }
    let named = !request.definition.is_empty();
    Wanted {
        definitions: named.then(|| desk.shared.registry.ids(&request.definition)),
        status: (request.status != 0).then_some(request.status as i16),
        stage: request.stage,
        customer_id: request.customer_id,
        step: request.step,
        step_status: request.step_status,
        participant: request.participant,
        error_code: request.error_code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(request: &wire::ListSagasRequest) -> (Place, bool) {
        let mut bad = BadFields::default();
        let place = place(&mut bad, request);
        (place, bad.into_result().is_ok())
    }

    fn candidate(id: u128, wake_us: i64) -> Candidate {
        Candidate { id: Uuid::from_u128(id), definition_id: 1, status: 1, stage: 0, wake_us }
    }

    #[test]
    fn a_token_goes_on_behind_what_was_looked_at() {
        use wire::SagaOrder::{NewestFirst, OldestFirst};
        for (order, from, before) in [(NewestFirst, 0, 7), (OldestFirst, 8, u128::MAX)] {
            let request = wire::ListSagasRequest { order: order.into(), ..Default::default() };
            let (mut first, _) = at(&request);
            first.pass(&candidate(7, 0));
            let (second, ok) = at(&wire::ListSagasRequest { page_token: first.token(), ..request });
            assert!(ok);
            assert_eq!((second.from.as_u128(), second.before.as_u128()), (from, before));
        }
        let wake_from = Some(view::timestamp(1_000));
        let request = wire::ListSagasRequest { wake_from, ..Default::default() };
        let (mut first, _) = at(&request);
        assert_eq!(first.wake, Some(((1_000_000, Uuid::nil()), NEVER_US)));
        first.pass(&candidate(7, 1_000_005));
        let (second, _) = at(&wire::ListSagasRequest { page_token: first.token(), ..request.clone() });
        assert_eq!(second.wake, Some(((1_000_005, Uuid::from_u128(7)), NEVER_US)));
        for token in ["nonsense", "1/nonsense", &Uuid::nil().to_string()] {
            assert!(
                !at(&wire::ListSagasRequest { page_token: token.into(), ..request.clone() }).1,
                "{token}"
            );
        }
        assert!(!at(&wire::ListSagasRequest { order: 1, ..request }).1, "it has its order");
    }

    #[test]
    fn the_code_of_a_reason_is_what_stands_before_the_colon() {
        assert_eq!(
            [code("UNRESOLVED: ask the bank"), code("CANCELLED"), code("")],
            ["UNRESOLVED", "CANCELLED", ""]
        );
    }
}
