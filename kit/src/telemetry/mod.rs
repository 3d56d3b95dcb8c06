//! Logs, spans and metrics are set up here, once per process; what is worth saying is decided elsewhere.

mod prometheus;
pub mod trace;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{Log, LogFormat, Otlp};

pub use prometheus::{MetricsHandle, metrics_handle};

/// Time that a stopping process gives its last spans.
const FLUSH: Duration = Duration::from_secs(2);

static EXPORTING: AtomicBool = AtomicBool::new(false);

/// Spans are exported by this process: without that, none needs to be made.
pub fn exporting() -> bool {
    EXPORTING.load(Ordering::Relaxed)
}

/// Keep it until the end of `main`: dropping it sends the spans that are left.
#[must_use]
#[derive(Debug)]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider
            && let Err(error) = provider.shutdown_with_timeout(FLUSH)
        {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Sets up logging to standard error, metrics, and spans when an endpoint is set. Call it once, inside the
/// tokio runtime.
///
/// # Errors
/// The filter or the endpoint cannot be parsed, or logging was set up before.
pub fn init(log: &Log, otlp: &Otlp, service: &str) -> Result<Guard> {
    metrics_handle();
    let filter = EnvFilter::try_new(&log.filter).with_context(|| format!("log.filter {:?}", log.filter))?;
    let provider = otlp
        .endpoint
        .as_deref()
        .map(|endpoint| provider(endpoint, otlp.sample_ratio, service))
        .transpose()?;
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("skald"))
            .with_location(false)
            .with_threads(false)
    });
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Human => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours).boxed()
        }
        LogFormat::Json => {
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
        }
    };
    tracing_subscriber::registry()
        .with(lines)
        .with(spans)
        .with(filter)
        .try_init()
        .context("logging was set up before")?;
    EXPORTING.store(provider.is_some(), Ordering::Relaxed);
    Ok(Guard { provider })
}

fn provider(endpoint: &str, sample_ratio: f64, service: &str) -> Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .with_context(|| format!("otlp.endpoint {endpoint:?}"))?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio)));
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(resource)
        .build())
}
