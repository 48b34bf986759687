//! `/metrics`, `/healthz` and `/readyz`.
//!
//! The caller binds the listener and says when to stop, so that a test can use port 0.

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::metrics::Metrics;
use crate::live::Shared;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The capture loop goes round every 50 ms; after this long it must be stuck.
const STUCK: Duration = Duration::from_secs(10);

/// How long requests under way may take once the end was asked for.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

struct Exporter {
    metrics: Metrics,
    shared: Shared,
}

/// Serves until `shutdown` is ready; requests under way are finished.
///
/// # Errors
///
/// What the listener says.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    shared: Shared,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(Exporter { metrics, shared }));
    let (told, tell) = tokio::sync::oneshot::channel();
    let shutdown = async move {
        shutdown.await;
        // Nobody waits any more where the server has ended by itself.
        let _ = told.send(());
    };
    tokio::select! {
        ended = async { axum::serve(listener, router).with_graceful_shutdown(shutdown).await } => ended,
        // A client that never ends its request must not keep the agent from ending.
        () = async { if tell.await.is_ok() { tokio::time::sleep(LAST_REQUESTS).await } else { std::future::pending().await } } => Ok(()),
    }
}

async fn index() -> &'static str {
    "nslookout\n\n/metrics   for Prometheus or Datadog\n/healthz   is the capture loop alive?\n/readyz    are the interfaces under watch?\n"
}

async fn metrics_text(State(exporter): State<Arc<Exporter>>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (kind, text) = if wants_open_metrics(accept) {
        (OPEN_METRICS, exporter.metrics.open_metrics())
    } else {
        (CLASSIC, exporter.metrics.classic())
    };
    match text {
        Ok(text) => ([(CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Prometheus names both and prefers OpenMetrics by a higher q; a browser and curl name neither.
fn wants_open_metrics(accept: &str) -> bool {
    let accept = accept.to_ascii_lowercase();
    let quality = |wanted: &str| {
        accept
            .split(',')
            .filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next()?;
                let quality =
                    parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok())?;
                (kind == wanted).then_some(quality)
            })
            .fold(0.0_f32, f32::max)
    };
    let open_metrics = quality("application/openmetrics-text");
    open_metrics > 0.0 && open_metrics >= quality("text/plain")
}

async fn healthz(State(exporter): State<Arc<Exporter>>) -> Response {
    let silent = exporter.shared.lock().beat.elapsed();
    if silent < STUCK {
        "ok\n".into_response()
    } else {
        let text = format!("the capture loop has been stuck for {:.0} s\n", silent.as_secs_f64());
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn readyz(State(exporter): State<Arc<Exporter>>) -> Response {
    let live = exporter.shared.lock();
    let watched = live.counters.as_ref().map_or(0, |counters| counters.interfaces.len());
    if live.ready && watched > 0 {
        format!("ok: {watched} interfaces under watch\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no interface under watch yet\n").into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::wants_open_metrics;

    #[test]
    fn the_format_follows_the_accept_header() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert!(wants_open_metrics(prometheus));
        assert!(wants_open_metrics("application/openmetrics-text"));
        assert!(!wants_open_metrics("text/plain;version=0.0.4;q=0.9,application/openmetrics-text;q=0.2"));
        assert!(!wants_open_metrics("*/*"));
        assert!(!wants_open_metrics(""));
        assert!(!wants_open_metrics("application/openmetrics-text;q=0"));
    }
}
