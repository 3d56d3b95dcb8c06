//! What a service says about itself and what it depends on. Only says it: who acts on it decides elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

/// How well a dependency, or all of them, works. Ordered: worse is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Works.
    Up,
    /// Work is taken but something is missing: slower, delayed, or accepted only up to a bound.
    Degraded,
    /// Work cannot be taken.
    Down,
}

/// One dependency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// How well it works.
    pub status: Status,
    /// One line for a person; no secret.
    pub detail: String,
}

/// All that a service says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The service's name.
    pub service: String,
    /// The worst of its dependencies; UP when there is none.
    pub status: Status,
    /// By name.
    pub dependencies: BTreeMap<&'static str, Dependency>,
}

/// The registry of a service's health; clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    report: Arc<watch::Sender<Report>>,
}

impl Health {
    /// A service of which nothing is known yet. Set what it cannot live without to DOWN before it listens.
    pub fn new(service: impl Into<String>) -> Self {
        let report = Report { service: service.into(), status: Status::Up, dependencies: BTreeMap::new() };
        Self { report: Arc::new(watch::Sender::new(report)) }
    }

    /// Records how `dependency` works now. Saying the same again costs little and wakes nobody.
    pub fn set(&self, dependency: &'static str, status: Status, detail: impl Into<String>) {
        let entry = Dependency { status, detail: detail.into() };
        self.report.send_if_modified(|report| {
            let before = report.dependencies.get(dependency);
            if before == Some(&entry) {
                return false;
            }
            if before.is_none_or(|before| before.status != status) {
                announce(&report.service, dependency, &entry);
            }
            report.dependencies.insert(dependency, entry);
            report.status = report.dependencies.values().map(|d| d.status).max().unwrap_or(Status::Up);
            true
        });
    }

    /// The worst of all dependencies.
    pub fn overall(&self) -> Status {
        self.report.borrow().status
    }

    /// All of it, as it is now.
    pub fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// The name of the service.
    pub fn service(&self) -> String {
        self.report.borrow().service.clone()
    }

    /// Follows every change.
    pub fn subscribe(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }

    /// The report as one JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&*self.report.borrow())
            .unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }
}

fn announce(service: &str, dependency: &'static str, entry: &Dependency) {
    let level = match entry.status {
        Status::Up => 2.0,
        Status::Degraded => 1.0,
        Status::Down => 0.0,
    };
    metrics::gauge!("skald_health", "service" => service.to_owned(), "dependency" => dependency).set(level);
    if entry.status == Status::Up {
        tracing::info!(service, dependency, detail = entry.detail, "health: UP");
    } else {
        tracing::warn!(service, dependency, detail = entry.detail, "health: {:?}", entry.status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_dependency_decides() {
        let health = Health::new("inventory");
        assert_eq!(health.overall(), Status::Up);
        health.set("postgres", Status::Down, "connecting");
        health.set("kafka", Status::Degraded, "no broker");
        assert_eq!(health.overall(), Status::Down);
        health.set("postgres", Status::Up, "");
        assert_eq!(health.overall(), Status::Degraded);
        assert_eq!(
            health.to_json(),
            r#"{"service":"inventory","status":"DEGRADED","dependencies":{"kafka":{"status":"DEGRADED","detail":"no broker"},"postgres":{"status":"UP","detail":""}}}"#
        );
    }

    #[test]
    fn saying_the_same_again_wakes_nobody() {
        let health = Health::new("inventory");
        health.set("kafka", Status::Up, "1 broker");
        let mut watcher = health.subscribe();
        watcher.mark_unchanged();
        health.set("kafka", Status::Up, "1 broker");
        assert!(!watcher.has_changed().unwrap());
        health.set("kafka", Status::Up, "2 brokers");
        assert!(watcher.has_changed().unwrap());
    }
}
