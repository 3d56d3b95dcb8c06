//! `skald saga list`: sagas by what is known of them, shown or counted.

use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, SystemTime},
};

use skald_proto::{
    admin::v1::{ListSagasRequest, ListSagasResponse, SagaOrder, admin_service_client::AdminServiceClient},
    saga::v1::{SagaStatus, StepStatus},
};

use super::{Status, view};
use crate::{
    client::{Connection, Orchestrator, Peer as _},
    exit::Failure,
    operator::now,
    output::{self, Format, Rows, json, text},
};

/// The most that one call gives.
const PAGE: usize = 500;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each filter that is given must hold; those about a step hold for one and the same step. TIME is an age such as 30m
or 7d, or a point such as 2026-11-21 or 2026-11-21T04:00:00Z.

Most filters have no index, for such an index would cost every order something: on millions of sagas a search takes its
time, and says on the terminal how far it is. What is under way, a customer's sagas and a time range are fast.

Examples:
  skald saga list --status parked
  skald saga list --step charge --step-status running --before 10m --oldest-first
  skald saga list --participant payment --code UNAVAILABLE --count
  skald saga list --wake-within 5m
  skald saga list --status completed --since 1d --limit 100000 --output jsonl | jq -r .saga_id"
)]
pub(super) struct List {
    /// Of this definition
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    definition: String,
    /// That stand here; parked ones need a person
    #[arg(long, value_enum, value_name = "STATUS")]
    status: Option<Status>,
    /// At this stage, as the customer sees it
    #[arg(long, value_name = "STAGE", default_value = "", hide_default_value = true)]
    stage: String,
    /// With a step of this name
    #[arg(long, value_name = "STEP", default_value = "", hide_default_value = true)]
    step: String,
    /// With a step that stands here
    #[arg(long, value_enum, value_name = "STATUS")]
    step_status: Option<StepState>,
    /// With a step at this participant that was entered
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    participant: String,
    /// With this last error, or parked for it
    #[arg(long, value_name = "CODE", default_value = "", hide_default_value = true)]
    code: String,
    /// Of this customer
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    customer: String,
    /// That began then or later
    #[arg(long, value_name = "TIME", value_parser = text::point)]
    since: Option<SystemTime>,
    /// That began before then: with an age, those that are older
    #[arg(long, value_name = "TIME", value_parser = text::point)]
    before: Option<SystemTime>,
    /// That are looked at again within this time from now, the soonest first
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "oldest_first")]
    wake_within: Option<Duration>,
    /// The oldest first
    #[arg(long)]
    oldest_first: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Go on where an earlier list with the same filters ended
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    page_token: String,
    /// Only say how many there are, by status
    #[arg(long, conflicts_with = "limit")]
    count: bool,
    #[command(flatten)]
    pub(super) server: Orchestrator,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum StepState {
    Waiting,
    Running,
    AwaitingSignal,
    Sealing,
    Succeeded,
    Rejected,
    Sealed,
    Undoing,
    Undone,
    NothingToUndo,
    Dropped,
    Fencing,
}

impl From<StepState> for StepStatus {
    fn from(state: StepState) -> StepStatus {
        match state {
            StepState::Waiting => StepStatus::Waiting,
            StepState::Running => StepStatus::Running,
            StepState::AwaitingSignal => StepStatus::AwaitingSignal,
            StepState::Sealing => StepStatus::Sealing,
            StepState::Succeeded => StepStatus::Succeeded,
            StepState::Rejected => StepStatus::Rejected,
            StepState::Sealed => StepStatus::Sealed,
            StepState::Undoing => StepStatus::Undoing,
            StepState::Undone => StepStatus::Undone,
            StepState::NothingToUndo => StepStatus::NothingToUndo,
            StepState::Dropped => StepStatus::Dropped,
            StepState::Fencing => StepStatus::Fencing,
        }
    }
}

impl List {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut client = AdminServiceClient::new(self.server.connect().await?);
        if self.count { self.counted(&mut client).await } else { self.listed(&mut client).await }
    }

    fn request(&self) -> ListSagasRequest {
        let wake = self.wake_within.map(|within| SystemTime::now() + within);
        let order = if self.oldest_first { SagaOrder::OldestFirst } else { SagaOrder::Unspecified };
        ListSagasRequest {
            definition: self.definition.clone(),
            status: self.status.map_or(SagaStatus::Unspecified, Into::into).into(),
            stage: self.stage.clone(),
            step: self.step.clone(),
            step_status: self.step_status.map_or(StepStatus::Unspecified, Into::into).into(),
            participant: self.participant.clone(),
            error_code: self.code.clone(),
            customer_id: self.customer.clone(),
            created_from: self.since.map(Into::into),
            created_before: self.before.map(Into::into),
            wake_before: wake.map(Into::into),
            order: order.into(),
            page_token: self.page_token.clone(),
            count_only: self.count,
            ..ListSagasRequest::default()
        }
    }

    async fn listed(&self, client: &mut AdminServiceClient<Connection>) -> Result<(), Failure> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let (mut request, mut search) = (self.request(), Search::default());
        let (mut sagas, mut rows) = (Vec::new(), Rows::new(self.server.format()));
        let mut shown = 0;
        while shown < limit {
            request.page_size = i32::try_from((limit - shown).min(PAGE)).unwrap_or(i32::MAX);
            let page = client.list_sagas(request.clone()).await?.into_inner();
            shown += page.sagas.len();
            search.add(&page, shown as i64);
            page.sagas.iter().try_for_each(|saga| rows.add(&json::message(saga)))?;
            if self.server.format() == Format::Table {
                sagas.extend(page.sagas);
            }
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        search.clear();
        match self.server.format() {
            Format::Table => {
                let mut table = view::list(&sagas, now(), output::colours());
                if !request.page_token.is_empty() {
                    table += &format!(
                        "\n… and perhaps more: --limit N shows them, or --page-token {} goes on",
                        request.page_token
                    );
                }
                output::line(&table)?;
            }
            Format::Json | Format::Jsonl => rows.end()?,
        }
        search.tell_unreadable();
        Ok(())
    }

    async fn counted(&self, client: &mut AdminServiceClient<Connection>) -> Result<(), Failure> {
        let (mut request, mut search) = (self.request(), Search::default());
        let mut counts = view::Counts::default();
        loop {
            let page = client.list_sagas(request.clone()).await?.into_inner();
            counts.add(&page.counts);
            search.add(&page, counts.total());
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        search.clear();
        counts.unreadable = search.unreadable;
        output::show(self.server.format(), || counts.json(), |colours| counts.text(now(), colours))
    }
}

/// How far a search is, for whoever waits at a terminal.
#[derive(Default)]
struct Search {
    pages: u32,
    examined: i64,
    unreadable: i64,
    told: bool,
}

impl Search {
    fn add(&mut self, page: &ListSagasResponse, found: i64) {
        self.pages += 1;
        self.examined += page.examined;
        self.unreadable += page.unreadable;
        // One that is over at once says nothing.
        if self.pages > 1 && std::io::stderr().is_terminal() {
            self.told = true;
            eprint!("\r\x1b[Ksearching: {} looked at, {found} found", self.examined);
            let _ = std::io::stderr().flush();
        }
    }

    fn clear(&self) {
        if self.told {
            eprint!("\r\x1b[K");
        }
    }

    fn tell_unreadable(&self) {
        if self.unreadable > 0 {
            eprintln!(
                "{} more can't be read, so that it is not known whether they fit; a list without filters of stage, step, \
                 participant and code shows them",
                self.unreadable
            );
        }
    }
}
