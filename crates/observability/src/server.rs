//! `/metrics` and `/health` over HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use model::{Error, ErrorKind, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::metrics::Metrics;

type Answer = Response<Full<Bytes>>;

/// So many requests are answered at once; others wait.
const AT_ONCE: usize = 16;

/// A connection may take so long in all.
const PATIENCE: Duration = Duration::from_secs(10);

/// And so long until it has said what it wants: a place is not for those who say nothing.
const HEAD_PATIENCE: Duration = Duration::from_secs(2);

/// Longer heads of requests are refused; also what a connection buffers.
const LONGEST_HEAD: usize = 8 << 10;

/// The pause after a connection could not be accepted, as when too many files are open.
const REFUSED: Duration = Duration::from_secs(1);

/// A place where metrics are asked for.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Takes the address; nobody is answered yet.
    ///
    /// # Errors
    ///
    /// `Config` if it cannot be had.
    pub async fn bind(address: SocketAddr) -> Result<Self> {
        let failed = |error| {
            Error::new(
                ErrorKind::Config,
                format!("cannot listen on {address}, where metrics are to be served"),
            )
            .caused_by(error)
            .hint(
                "if another process listens there, perhaps another run of a sync, stop it or set `observability.listen` to another port; \
                 the address must be one of this machine's",
            )
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens, with the port that was given if none was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is dropped. A table counts as unhealthy that has not been in step for `stale_after`.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any point; connections end with it.
    pub async fn serve(self, metrics: Arc<Metrics>, stale_after: Duration) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut answers = JoinSet::new();
        while let Ok(place) = places.clone().acquire_owned().await {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a request for metrics cannot be accepted");
                    sleep(REFUSED).await;
                    continue;
                }
            };
            while answers.try_join_next().is_some() {}
            let metrics = metrics.clone();
            answers.spawn(async move {
                if let Ok(Err(error)) = timeout(PATIENCE, answer(stream, &metrics, stale_after)).await {
                    tracing::debug!(%error, "a request for metrics was not answered");
                }
                drop(place);
            });
        }
    }
}

/// Answers one request.
async fn answer(stream: TcpStream, metrics: &Metrics, stale_after: Duration) -> hyper::Result<()> {
    let service = service_fn(async |request| Ok::<_, Infallible>(respond(&request, metrics, stale_after)));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(LONGEST_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn respond(request: &Request<Incoming>, metrics: &Metrics, stale_after: Duration) -> Answer {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match request.uri().path() {
        "/metrics" => respond_with(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            metrics.text(),
        ),
        "/health" => {
            let health = metrics.health(stale_after);
            let status = match health.healthy {
                true => StatusCode::OK,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            let body = serde_json::to_string(&health).unwrap_or_default() + "\n";
            respond_with(status, "application/json", body)
        }
        _ => plain(StatusCode::NOT_FOUND, "there are /metrics and /health\n"),
    }
}

fn plain(status: StatusCode, line: &'static str) -> Answer {
    respond_with(status, "text/plain; charset=utf-8", line)
}

fn respond_with(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use model::{SyncId, TableName};
    use test_support::SimClock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    /// Port 0 of this machine: any that is free.
    const ANY: &str = "127.0.0.1:0";

    async fn served(metrics: Metrics) -> (SocketAddr, AbortOnDropHandle<()>) {
        let server = Server::bind(ANY.parse().unwrap()).await.unwrap();
        let address = server.address();
        let serving = tokio::spawn(server.serve(Arc::new(metrics), Duration::from_secs(60)));
        (address, AbortOnDropHandle::new(serving))
    }

    fn metrics() -> Metrics {
        Metrics::new("shop", "1", Arc::new(SimClock::default()), || None)
    }

    /// Status, head without its date and body of the answer.
    async fn ask(address: SocketAddr, request: &str) -> (String, String, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let (status, head) = head.split_once("\r\n").unwrap_or((head, ""));
        let head: Vec<_> = head
            .split("\r\n")
            .filter(|line| !line.starts_with("date: "))
            .collect();
        (status.to_owned(), head.join("\n"), body.to_owned())
    }

    #[tokio::test]
    async fn each_request_gets_the_answer_that_http_asks_for() {
        let (address, _serving) = served(metrics()).await;
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(LONGEST_HEAD));
        for (request, status, content) in [
            (
                "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n",
                "200 OK",
                "# TYPE sync_commits_total counter\n",
            ),
            (
                "GET /health HTTP/1.1\r\nHost: h\r\n\r\n",
                "200 OK",
                r#""healthy":true"#,
            ),
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "404 Not Found", "/metrics"),
            (
                "DELETE /metrics HTTP/1.1\r\nHost: h\r\n\r\n",
                "405 Method Not Allowed",
                "GET",
            ),
            ("GET http://h/metrics?name=x HTTP/1.0\r\n\r\n", "200 OK", "# TYPE"),
            ("hello\r\n\r\n", "400 Bad Request", ""),
            (&long, "431 Request Header Fields Too Large", ""),
        ] {
            let (found, head, body) = ask(address, request).await;
            assert_eq!(found.split_once(' ').unwrap().1, status, "{request}");
            assert!(body.contains(content), "{request}: {body}");
            assert!(
                head.contains(&format!("content-length: {}", body.len())),
                "{head}"
            );
        }
        let (_, whole, body) = ask(address, "GET /metrics HTTP/1.1\r\n\r\n").await;
        let (_, head, none) = ask(address, "HEAD /metrics HTTP/1.1\r\n\r\n").await;
        assert_eq!((head, none.as_str()), (whole, ""));
        assert!(!body.is_empty());
    }

    #[tokio::test]
    async fn a_sync_with_a_table_that_is_not_in_step_is_unavailable() {
        let metrics = metrics();
        metrics.count(&SyncId::new("a"), &TableName::new("dbo", "A \"x\""), "apply");
        let (address, _serving) = served(metrics).await;
        let (status, _, body) = ask(address, "GET /health HTTP/1.1\r\n\r\n").await;
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let expect = serde_json::json!({
            "sync": "shop", "healthy": false, "tables": 1,
            "unhealthy": [{
                "table": "dbo.[A \"x\"]", "direction": "apply", "why": "its first cycle has not ended", "last_success": null,
            }],
        });
        assert_eq!(body, expect);
    }

    #[tokio::test]
    async fn clients_that_say_nothing_do_not_keep_the_others_out() {
        let (address, _serving) = served(metrics()).await;
        let mut silent = Vec::new();
        for _ in 0..AT_ONCE - 1 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        for _ in 0..2 * AT_ONCE {
            let (status, ..) = ask(address, "GET /metrics HTTP/1.1\r\n\r\n").await;
            assert_eq!(status, "HTTP/1.1 200 OK");
        }
    }

    /// On a clock that moves when nothing else does.
    #[tokio::test(start_paused = true)]
    async fn clients_that_say_nothing_give_their_places_up_soon() {
        let (address, _serving) = served(metrics()).await;
        let began = tokio::time::Instant::now();
        let mut silent = Vec::new();
        for _ in 0..AT_ONCE {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let (status, ..) = ask(address, "GET /health HTTP/1.1\r\n\r\n").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        let waited = began.elapsed();
        assert!((HEAD_PATIENCE..2 * HEAD_PATIENCE).contains(&waited), "{waited:?}");
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_told_with_what_to_do() {
        let first = Server::bind(ANY.parse().unwrap()).await.unwrap();
        let error = Server::bind(first.address()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(
            error.to_string().contains(&first.address().to_string()),
            "{error}"
        );
        assert!(
            error.advice().contains("observability.listen"),
            "{}",
            error.advice()
        );
    }
}
