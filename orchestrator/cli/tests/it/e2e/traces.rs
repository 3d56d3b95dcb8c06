//! One order is one connected trace over all processes, as a collector of OpenTelemetry's protocol gets it: from its
//! submission through each participant and back, a re-sending and a later signal included.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::Span,
};
use skald_proto::order::v1::{OrderStatus, SubmitOrderRequest, order_service_client::OrderServiceClient};
use tonic::{Request, Response, Status};

use super::{
    LIMIT,
    shop::{SHELF, Shop, TEA, draft},
    world::{Kind, World},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Every span with the service that it is from.
#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|r| r.attributes).unwrap_or_default();
            let service = text(&attributes, "service.name");
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Collector, String) {
        let collector = Collector::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server =
            tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        (collector, endpoint)
    }

    /// The spans of the trace so far, by id.
    fn trace(&self) -> BTreeMap<String, (String, Span)> {
        let all = self.0.lock().unwrap();
        let ours = all.iter().filter(|(_, span)| hex(&span.trace_id) == TRACE);
        ours.map(|(service, span)| (hex(&span.span_id), (service.clone(), span.clone()))).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|a| a.key == key).and_then(|a| a.value.clone());
    match value {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text,
        Some(AnyValue { value: Some(Value::BoolValue(is)) }) => is.to_string(),
        _ => String::new(),
    }
}

/// What a span is about: service, name and step.
fn about((service, span): &(String, Span)) -> (String, String, String) {
    (service.clone(), span.name.clone(), text(&span.attributes, "step"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_one_connected_trace_over_all_processes() {
    let (collector, endpoint) = Collector::start().await;
    let mut world = World::plan().spans(&endpoint).start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    let channel = world.service(Kind::Orchestrator, 0).channel();
    let mut request = Request::new(SubmitOrderRequest {
        idempotency_key: "traced".into(),
        order: Some(draft(&[(TEA, 1)], None)),
    });
    let caller = format!("00-{TRACE}-{CALLER}-01");
    request.metadata_mut().insert("traceparent", caller.parse().unwrap());
    let answer = OrderServiceClient::new(channel).submit_order(request).await.unwrap().into_inner();
    let id = answer.order_id.parse().unwrap();
    let until = async |status: OrderStatus| {
        skald_harness::eventually(&format!("{status:?}"), LIMIT, async || {
            let order = shop.look(id).await;
            if order.status() == status { Ok(()) } else { Err(order) }
        })
        .await;
    };
    until(OrderStatus::Reserved).await;
    // Nobody takes the charge at first: it is sent again. Over gRPC only when somebody is there.
    world.service(Kind::Payment, 0).kill9().await;
    shop.pay(id).await;
    let resent =
        |(_, span): &(String, Span)| span.name == "send" && text(&span.attributes, "resend") == "true";
    let is_resent = async || {
        skald_harness::eventually("a re-sending", LIMIT, async || {
            collector.trace().values().any(resent).then_some(())
        })
        .await;
    };
    if !world.is_over_grpc(Kind::Payment) {
        is_resent().await;
    }
    world.service_mut(Kind::Payment, 0).restart().await;
    is_resent().await;
    until(OrderStatus::Completed).await;

    let wanted = [
        ("orchestrator", "submit", ""),
        ("orchestrator", "send", "reserve"),
        ("inventory", "command", "reserve"),
        ("orchestrator", "outcome", "reserve"),
        ("orchestrator", "signal", ""),
        ("orchestrator", "send", "charge"),
        ("payment", "command", "charge"),
        ("orchestrator", "outcome", "charge"),
        ("orchestrator", "send", "commit"),
        ("inventory", "command", "commit"),
        ("orchestrator", "outcome", "commit"),
    ];
    let wanted: BTreeSet<_> =
        wanted.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())).into_iter().collect();
    let trace = skald_harness::eventually("every span", LIMIT, async || {
        let trace = collector.trace();
        let seen: BTreeSet<_> = trace.values().map(about).collect();
        let missing: Vec<_> = wanted.difference(&seen).cloned().collect();
        if missing.is_empty() { Ok(trace) } else { Err(missing) }
    })
    .await;
    // Each hangs on another one, or on the caller's.
    for (span, of) in trace.values().map(|all| (&all.1, about(all))) {
        let parent = hex(&span.parent_span_id);
        assert!(
            parent == CALLER || trace.contains_key(&parent),
            "{of:?} hangs on {parent}, which nobody sent"
        );
    }
    // What a participant does hangs on the command that asked for it, what follows on its answer.
    let parent = |of: &(String, Span)| trace.get(&hex(&of.1.parent_span_id)).map(about);
    for all in trace.values() {
        let (service, name, step) = about(all);
        let expected = match name.as_str() {
            "command" => ("orchestrator".to_owned(), "send".to_owned(), step),
            "outcome" if step == "reserve" => ("inventory".to_owned(), "command".to_owned(), step),
            _ => continue,
        };
        assert_eq!(parent(all), Some(expected), "{service} {name}");
    }
}
