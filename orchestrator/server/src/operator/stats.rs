//! How many sagas stand where: by status exactly, by step from their states, of which beyond a limit only a random
//! sample is read.

use std::collections::BTreeMap;

use skald_core::state;
use skald_kit::ids;
use skald_proto::{
    admin::v1 as wire,
    saga::v1::{SagaStatus, StepStatus},
};
use tonic::Status;
use uuid::Uuid;

use crate::{
    intake::{
        Desk,
        errors::{self, BadFields},
        view,
    },
    store::search,
};

/// States that are read for one answer, about.
const SAMPLE: i64 = 20_000;
/// What the sample's share is counted in.
const PARTS: i64 = 1024;
/// What is counted when nothing else is asked, seconds.
const WINDOW: i32 = 900;

pub(super) async fn get(
    desk: &Desk,
    request: wire::GetStatsRequest,
) -> Result<wire::GetStatsResponse, Status> {
    let mut bad = BadFields::default();
    let window = request.window_seconds;
    bad.check((0..=86_400).contains(&window), "window_seconds", "must be 0 (900) to 86400");
    bad.into_result()?;
    let window = if window == 0 { WINDOW } else { window };
    let unreadable = |e: sqlx::Error| errors::unreadable(&e);
    let mut conn = desk.pool.acquire().await.map_err(unreadable)?;
    let mut answer = wire::GetStatsResponse { window_seconds: window, ..Default::default() };

    let by_status = search::by_status(&mut conn).await.map_err(unreadable)?;
    let going = [SagaStatus::Running, SagaStatus::Compensating].map(|s| s as i16);
    let oldest = by_status.iter().filter(|(status, ..)| going.contains(status)).map(|(.., id)| *id).min();
    answer.oldest_in_flight = oldest.map(|id| id.to_string()).unwrap_or_default();
    answer.oldest_in_flight_at = oldest.and_then(began);
    answer.active = by_status.iter().map(|(_, n, _)| n).sum();
    answer.by_status = by_status.into_iter().map(|(status, n, oldest)| count(status, n, oldest)).collect();

    let mut counts: BTreeMap<(i32, String, i32), i64> = BTreeMap::new();
    let each = |definition: i32, format: i16, bytes: &[u8]| {
        answer.sampled += 1;
        let Ok(state) = state::decode(format as u32, bytes) else {
            answer.unreadable += 1;
            return;
        };
        for step in state.steps {
            *counts.entry((definition, step.name, step.status)).or_default() += 1;
        }
    };
    let share = share(answer.active);
    search::sample(&mut conn, share, each).await.map_err(unreadable)?;
    answer.estimated = i64::from(share) < PARTS;
    let scale = if answer.estimated { answer.active as f64 / answer.sampled.max(1) as f64 } else { 1.0 };
    answer.by_step = by_step(desk, counts, scale).await?;

    let now = desk.shared.clock.now_ms();
    let since = ids::lower_bound(now - i64::from(window) * 1000);
    for (status, n) in search::began(&mut conn, (since, Uuid::max())).await.map_err(unreadable)? {
        answer.started += n;
        match SagaStatus::try_from(i32::from(status)) {
            Ok(SagaStatus::Completed) => answer.completed += n,
            Ok(SagaStatus::Compensated) => answer.compensated += n,
            _ => {}
        }
    }
    Ok(answer)
}

/// So many sagas of a status, and the oldest of them.
pub(super) fn count(status: i16, count: i64, oldest: Uuid) -> wire::StatusCount {
    wire::StatusCount { status: i32::from(status), count, oldest: began(oldest) }
}

fn began(id: Uuid) -> Option<prost_types::Timestamp> {
    ids::timestamp_ms(id).map(view::timestamp)
}

/// The share of all states that is read.
fn share(active: i64) -> i32 {
    (PARTS * SAMPLE / active.max(1)).clamp(1, PARTS) as i32
}

/// What was counted, scaled to all that is under way.
async fn by_step(
    desk: &Desk,
    counts: BTreeMap<(i32, String, i32), i64>,
    scale: f64,
) -> Result<Vec<wire::StepCount>, Status> {
    // Versions of a definition are one.
    let mut named: BTreeMap<(String, String, i32), i64> = BTreeMap::new();
    let mut definitions = desk.definitions();
    for ((definition, step, status), n) in counts {
        let name = match definitions.get(definition).await? {
            Some(definition) => definition.name.clone(),
            None => format!("unknown definition {definition}"),
        };
        *named.entry((name, step, status)).or_default() += n;
    }
    let count = |((definition, step, status), n)| wire::StepCount {
        definition,
        step,
        status: StepStatus::try_from(status).unwrap_or_default().into(),
        count: (n as f64 * scale).round() as i64,
    };
    Ok(named.into_iter().map(count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_20_000_states_are_read() {
        for (active, expected) in [(0, 1024), (20_000, 1024), (20_001, 1023), (40_000, 512), (1 << 40, 1)] {
            assert_eq!(share(active), expected, "{active}");
        }
    }
}
