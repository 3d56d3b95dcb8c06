//! The HTTP side of a service: metrics and health, nothing else.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::health::{Health, Status};
use crate::lifecycle::Shutdown;
use crate::telemetry::metrics_handle;

/// Binds `addr`; port 0 takes a free one.
///
/// # Errors
/// The address is taken or not ours; the error names it.
pub async fn bind(addr: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr} (HTTP)"))
}

/// Binds and serves until the stop is asked for.
///
/// # Errors
/// As [`bind`].
pub async fn serve(listen: SocketAddr, health: Health, shutdown: Shutdown) -> Result<()> {
    serve_on(bind(listen).await?, health, shutdown).await
}

/// Serves `/metrics`, `/health/live` and `/health/ready` until the stop is asked for.
///
/// # Errors
/// The listener broke.
pub async fn serve_on(listener: TcpListener, health: Health, shutdown: Shutdown) -> Result<()> {
    let stopping = shutdown.clone();
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state((health, shutdown));
    let graceful = async move { stopping.requested().await };
    axum::serve(listener, router).with_graceful_shutdown(graceful).await.context("the HTTP server broke")
}

async fn metrics() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics_handle().render())
        .into_response()
}

/// The process answers; a restart would not make it better. Always 200.
async fn live(State((health, _)): State<(Health, Shutdown)>) -> Response {
    json(StatusCode::OK, &health)
}

/// 200 when work can be taken, DEGRADED included; 503 when DOWN or stopping.
async fn ready(State((health, shutdown)): State<(Health, Shutdown)>) -> Response {
    let unavailable = health.overall() == Status::Down || shutdown.is_requested();
    json(if unavailable { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }, &health)
}

fn json(status: StatusCode, health: &Health) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], health.to_json()).into_response()
}
