//! `skald.saga.v1.SagaService`: sagas of any definition.

use std::pin::Pin;

use futures::Stream;
use skald_core::{
    Definition, Input,
    input::{CancelRequested, Signal},
};
use skald_kit::ids;
use skald_proto::saga::v1::{self as wire, saga_service_server::SagaService};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Desk,
    desk::{Caller, Wish},
    errors::{self, BadFields},
    history, validate, view,
};
use crate::store::read::{self, Filter, Shown};

/// Changes that wait for a slow watcher; more are skipped, for the newest state says it all.
const WATCH_QUEUE: usize = 4;
/// Rows of a list that are read at once.
const LIST_ROWS: i64 = 100;
/// A page of a list that is larger ends, bytes: clients take 4 MiB unless told otherwise.
const PAGE_BYTES: usize = 1 << 20;
/// History rows that are read at once.
const HISTORY_PAGE: i64 = 200;
/// The largest input, bytes.
const MAX_INPUT: usize = 256 * 1024;
/// The largest signal payload, bytes.
const MAX_PAYLOAD: usize = 64 * 1024;

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SagaService for Desk {
    async fn start(
        &self,
        request: Request<wire::StartRequest>,
    ) -> Result<Response<wire::StartResponse>, Status> {
        let caller = Caller::of(request.metadata())?;
        let start = request.into_inner();
        let mut bad = BadFields::default();
        validate::key(&mut bad, "idempotency_key", &start.idempotency_key);
        validate::text(&mut bad, "customer_id", &start.customer_id, 0, 128);
        let input_size = start.input.as_ref().map_or(0, |i| i.value.len());
        bad.check(start.input.is_some(), "input", "is missing");
        bad.check(input_size <= MAX_INPUT, "input", "must be at most 256 KiB");
        bad.check(start.signals.len() <= 16, "signals", "must be at most 16");
        for (i, signal) in start.signals.iter().enumerate() {
            let size = signal.payload.as_ref().map_or(0, |p| p.value.len());
            bad.check(size <= MAX_PAYLOAD, format!("signals[{i}].payload"), "must be at most 64 KiB");
        }
        if let Some((_, definition)) = self.shared.registry.newest(&start.definition) {
            let fits = start.input.as_ref().is_none_or(|input| {
                definition.input.is_empty() || input.type_url.rsplit('/').next() == Some(&definition.input)
            });
            bad.check(fits, "input", format!("must be a {}", definition.input));
            validate::signals(&mut bad, &definition, &start.signals);
        }
        bad.into_result()?;
        let signals = start.signals.into_iter().map(|s| signal(s, "submission".into())).collect();
        let wish = Wish {
            definition: start.definition,
            key: start.idempotency_key,
            input: view::payload(start.input),
            signals,
            customer_id: start.customer_id,
        };
        let (saga, created) = self.begin(&caller, wish).await?;
        Ok(Response::new(wire::StartResponse { saga_id: saga.to_string(), created }))
    }

    async fn get(&self, request: Request<wire::GetRequest>) -> Result<Response<wire::GetResponse>, Status> {
        let id = one_id(&request.get_ref().saga_id)?;
        let row = self.read("saga", id).await?;
        Ok(Response::new(wire::GetResponse { saga: Some(self.shown(&row, true).await?) }))
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        let list = request.into_inner();
        let mut bad = BadFields::default();
        let page = validate::page_size(&mut bad, list.page_size);
        let before = page_before(&mut bad, &list.page_token);
        let status = wire::SagaStatus::try_from(list.status);
        bad.check(status.is_ok(), "status", "is not a status of a saga");
        bad.into_result()?;
        let named = !list.definition.is_empty();
        let mut filter = range(list.created_from.as_ref(), list.created_before.as_ref(), before);
        filter.definitions = named.then(|| self.shared.registry.ids(&list.definition));
        filter.statuses = (list.status != 0).then(|| vec![list.status as i16]);
        filter.customer_id = (!list.customer_id.is_empty()).then_some(list.customer_id);
        let show = |row: &Shown, definition: Option<&_>| Some(view::listed(row, definition, false));
        let (sagas, next_page_token) = self.page(filter, page, show).await?;
        Ok(Response::new(wire::ListResponse { sagas, next_page_token }))
    }

    type WatchStream = Out<wire::WatchResponse>;

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let id = one_id(&request.get_ref().saga_id)?;
        let shown = |desk: Desk, row: Shown| async move {
            let saga = desk.shown(&row, true).await?;
            let over = matches!(saga.status(), wire::SagaStatus::Completed | wire::SagaStatus::Compensated);
            Ok((wire::WatchResponse { saga: Some(saga) }, over))
        };
        Ok(Response::new(self.watched("saga", id, shown).await?))
    }

    async fn signal(
        &self,
        request: Request<wire::SignalRequest>,
    ) -> Result<Response<wire::SignalResponse>, Status> {
        let caller = Caller::of(request.metadata())?;
        let given = request.into_inner();
        let mut bad = BadFields::default();
        let id = validate::id(&mut bad, "saga_id", &given.saga_id);
        validate::key(&mut bad, "signal_id", &given.signal_id);
        bad.check(given.signal.is_some(), "signal", "is missing");
        let named = given.signal.unwrap_or_default();
        let size = named.payload.as_ref().map_or(0, |p| p.value.len());
        bad.check(size <= MAX_PAYLOAD, "signal.payload", "must be at most 64 KiB");
        bad.into_result()?;
        let definition = self.definition(self.read("saga", id).await?.definition_id).await?;
        let mut bad = BadFields::default();
        validate::signal_name(&mut bad, "signal.name", &definition, &named.name);
        bad.into_result()?;
        self.fold(&caller, "saga", id, Input::Signal(signal(named, given.signal_id))).await?;
        let row = self.read("saga", id).await?;
        Ok(Response::new(wire::SignalResponse { version: row.version }))
    }

    async fn cancel(
        &self,
        request: Request<wire::CancelRequest>,
    ) -> Result<Response<wire::CancelResponse>, Status> {
        let caller = Caller::of(request.metadata())?;
        let given = request.into_inner();
        let mut bad = BadFields::default();
        let id = validate::id(&mut bad, "saga_id", &given.saga_id);
        validate::text(&mut bad, "note", &given.note, 0, 512);
        bad.into_result()?;
        self.fold(&caller, "saga", id, Input::CancelRequested(CancelRequested { note: given.note })).await?;
        let row = self.read("saga", id).await?;
        Ok(Response::new(wire::CancelResponse { saga: Some(self.shown(&row, true).await?) }))
    }

    type HistoryStream = Out<wire::HistoryResponse>;

    async fn history(
        &self,
        request: Request<wire::HistoryRequest>,
    ) -> Result<Response<Self::HistoryStream>, Status> {
        let mut after = request.get_ref().after_seq;
        let mut bad = BadFields::default();
        let id = validate::id(&mut bad, "saga_id", &request.get_ref().saga_id);
        bad.check(after >= 0, "after_seq", "must not be negative");
        bad.into_result()?;
        let saga = self.read("saga", id).await?;
        let desk = self.clone();
        let (out, stream) = mpsc::channel(HISTORY_PAGE as usize);
        tokio::spawn(async move {
            loop {
                let rows = match desk.history_page(id, after).await {
                    Ok(rows) if rows.is_empty() => return,
                    Ok(rows) => rows,
                    Err(status) => {
                        let _ = out.send(Err(status)).await;
                        return;
                    }
                };
                for row in &rows {
                    after = row.seq as i32;
                    let mut entry = view::entry(row);
                    if row.seq == 1 {
                        entry.payloads = history::submitted(&saga.request);
                    }
                    if out.send(Ok(wire::HistoryResponse { entry: Some(entry) })).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

impl Desk {
    async fn shown(&self, row: &Shown, with_input: bool) -> Result<wire::Saga, Status> {
        let definition = self.definitions().get(row.definition_id).await?;
        Ok(view::listed(row, definition.as_deref(), with_input))
    }

    pub(crate) async fn history_page(
        &self,
        id: Uuid,
        after: i32,
    ) -> Result<Vec<skald_core::history::Row>, Status> {
        let mut conn = self.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
        read::history(&mut conn, id, after, HISTORY_PAGE).await.map_err(|e| errors::unreadable(&e))
    }

    /// One page, newest first, and the token of the next one; rows of which `show` makes nothing are passed over. What
    /// can't be read ends no list.
    /// A page ends early when it is large.
    pub(super) async fn page<T: prost::Message>(
        &self,
        mut filter: Filter,
        size: usize,
        show: impl Fn(&Shown, Option<&Definition>) -> Option<T>,
    ) -> Result<(Vec<T>, String), Status> {
        let (mut page, mut bytes, mut definitions) = (Vec::new(), 0, self.definitions());
        loop {
            let rows = self.rows(&filter).await?;
            let last = (rows.len() as i64) < LIST_ROWS;
            for row in rows {
                if page.len() == size || bytes >= PAGE_BYTES {
                    return Ok((page, filter.before.to_string()));
                }
                filter.before = row.id;
                let definition = definitions.get(row.definition_id).await?;
                if let Some(shown) = show(&row, definition.as_deref()) {
                    bytes += shown.encoded_len();
                    page.push(shown);
                }
            }
            if last {
                return Ok((page, String::new()));
            }
        }
    }

    async fn rows(&self, filter: &Filter) -> Result<Vec<Shown>, Status> {
        let mut conn = self.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
        read::list(&mut conn, filter, LIST_ROWS).await.map_err(|e| errors::unreadable(&e))
    }

    /// The present state first, then each change, until `shown` says that it was the last one.
    pub(super) async fn watched<T, F, R>(
        &self,
        what: &'static str,
        id: Uuid,
        shown: F,
    ) -> Result<Out<T>, Status>
    where
        T: Send + 'static,
        F: Fn(Desk, Shown) -> R + Send + 'static,
        R: Future<Output = Result<(T, bool), Status>> + Send,
    {
        let mut watcher =
            self.shared.watchers.watch(id).ok_or_else(|| errors::overloaded("too many sagas are watched"))?;
        let first = self.read(what, id).await?;
        let desk = self.clone();
        let (out, stream) = mpsc::channel(WATCH_QUEUE);
        tokio::spawn(async move {
            let mut row = first;
            loop {
                let version = row.version;
                let (message, over) = match shown(desk.clone(), row).await {
                    Ok((message, over)) => (Ok(message), over),
                    Err(status) => (Err(status), true),
                };
                if out.send(message).await.is_err() || over {
                    return;
                }
                row = loop {
                    tokio::select! {
                        () = watcher.changed() => {}
                        () = out.closed() => return,
                        () = desk.shutdown.requested() => {
                            let _ = out.send(Err(Status::unavailable("this instance is stopping; watch again"))).await;
                            return;
                        }
                    }
                    let turn = desk.looks.acquire().await;
                    let read = desk.read(what, id).await;
                    drop(turn);
                    match read {
                        Ok(row) if row.version > version => break row,
                        Ok(_) => {}
                        Err(status) => {
                            let _ = out.send(Err(status)).await;
                            return;
                        }
                    }
                };
            }
        });
        Ok(Box::pin(ReceiverStream::new(stream)))
    }
}

fn signal(named: wire::NamedSignal, signal_id: String) -> Signal {
    Signal { name: named.name, signal_id, payload: named.payload.map(crate::bus::wire::payload) }
}

fn one_id(text: &str) -> Result<Uuid, Status> {
    let mut bad = BadFields::default();
    let id = validate::id(&mut bad, "saga_id", text);
    bad.into_result().map(|()| id)
}

/// Ids below this page's; all when there is no token.
pub(super) fn page_before(bad: &mut BadFields, token: &str) -> Uuid {
    if token.is_empty() {
        return Uuid::max();
    }
    Uuid::try_parse(token).unwrap_or_else(|_| {
        bad.add("page_token", "is not one that an answer gave");
        Uuid::max()
    })
}

/// The ids of a time range: a UUIDv7 begins with its time.
pub(crate) fn range(
    from: Option<&prost_types::Timestamp>,
    before: Option<&prost_types::Timestamp>,
    page: Uuid,
) -> Filter {
    let bound = |t: &prost_types::Timestamp| ids::lower_bound(view::millis(t));
    Filter {
        from: from.map_or(Uuid::nil(), bound),
        before: before.map_or(Uuid::max(), bound).min(page),
        ..Filter::default()
    }
}
