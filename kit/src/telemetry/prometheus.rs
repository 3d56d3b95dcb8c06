//! The process's one metrics recorder and its Prometheus text.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Seconds: from a fast hop (0.5 ms) to a give-up deadline (an hour).
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0,
    1800.0, 3600.0,
];
/// Sizes: a batch holds 512 at most.
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
/// How often samples are folded into buckets when nobody scrapes; without it they pile up in memory.
const UPKEEP: Duration = Duration::from_secs(5);

/// Renders the metrics of the whole process.
#[derive(Clone)]
pub struct MetricsHandle(Option<PrometheusHandle>);

impl std::fmt::Debug for MetricsHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MetricsHandle")
    }
}

impl MetricsHandle {
    /// Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        self.0.as_ref().map_or_else(String::new, PrometheusHandle::render)
    }
}

/// The process's recorder: installed by the first call, shared by all services that run in the process.
pub fn metrics_handle() -> MetricsHandle {
    static HANDLE: OnceLock<MetricsHandle> = OnceLock::new();
    HANDLE.get_or_init(|| MetricsHandle(install())).clone()
}

fn install() -> Option<PrometheusHandle> {
    let installed = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), SIZES))
        .and_then(PrometheusBuilder::install_recorder);
    match installed {
        Ok(handle) => {
            let upkeep = handle.clone();
            let thread = std::thread::Builder::new().name("metrics".to_owned());
            let spawned = thread.spawn(move || {
                loop {
                    std::thread::sleep(UPKEEP);
                    upkeep.run_upkeep();
                }
            });
            if let Err(error) = spawned {
                tracing::warn!(%error, "metrics are kept up only when they are scraped");
            }
            Some(handle)
        }
        Err(error) => {
            tracing::error!(%error, "no metrics: another recorder was installed");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_recorder_is_installed_once_and_has_buckets() {
        super::metrics_handle();
        let handle = super::metrics_handle();
        metrics::histogram!("kit_test_seconds").record(0.003);
        metrics::histogram!("kit_test_batch_size").record(3.0);
        let text = handle.render();
        assert!(text.contains("kit_test_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        assert!(text.contains("kit_test_batch_size_bucket{le=\"4\"} 1"), "{text}");
    }
}
