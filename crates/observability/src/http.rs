//! As much of HTTP/1.1 as a scrape needs: a request without a body, and one answer per connection.

use model::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longer heads are refused.
const LONGEST_HEAD: usize = 8 << 10;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// To read what is at a path, the query left out.
    Read {
        path: String,
        /// Whether only the head of the answer is wanted.
        head_only: bool,
    },
    /// To do something else.
    Other,
    /// Nothing that can be understood.
    Bad,
}

/// Reads the head of a request.
///
/// # Errors
///
/// `Unavailable` if the connection ends before it.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Request> {
    let mut head = Vec::with_capacity(1 << 10);
    loop {
        match head.windows(4).position(|end| end == b"\r\n\r\n") {
            Some(end) if end <= LONGEST_HEAD => return Ok(parse(&head[..end])),
            None if head.len() <= LONGEST_HEAD => {}
            _ => return Ok(Request::Bad),
        }
        if stream.read_buf(&mut head).await.map_err(lost)? == 0 {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the connection ended within a request",
            ));
        }
    }
}

fn parse(head: &[u8]) -> Request {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let parts: Option<Vec<_>> = std::str::from_utf8(line)
        .ok()
        .map(|line| line.split(' ').collect());
    match parts.as_deref() {
        Some([method, target, version]) if version.starts_with("HTTP/1.") && target.starts_with('/') => {
            let path = target.split('?').next().unwrap_or(target);
            match *method {
                "GET" | "HEAD" => Request::Read {
                    path: path.to_owned(),
                    head_only: *method == "HEAD",
                },
                _ => Request::Other,
            }
        }
        _ => Request::Bad,
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    /// Code and reason.
    pub(crate) status: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

impl Response {
    /// A line of plain text.
    pub(crate) fn plain(status: &'static str, line: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: format!("{line}\n"),
        }
    }

    /// Writes the answer; the connection ends with it.
    ///
    /// # Errors
    ///
    /// `Unavailable` if nobody listens any more.
    pub(crate) async fn write(&self, stream: &mut (impl AsyncWrite + Unpin), head_only: bool) -> Result<()> {
        let mut text = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nAllow: GET, HEAD\r\nCache-Control: no-store\r\n\
             Connection: close\r\n\r\n",
            self.status,
            self.content_type,
            self.body.len()
        );
        if !head_only {
            text.push_str(&self.body);
        }
        stream.write_all(text.as_bytes()).await.map_err(lost)?;
        stream.shutdown().await.map_err(lost)
    }
}

fn lost(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "a connection was lost").caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(path: &str, head_only: bool) -> Option<Request> {
        let path = path.to_owned();
        Some(Request::Read { path, head_only })
    }

    #[tokio::test]
    async fn requests_are_read() {
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(9 << 10));
        for (text, expect) in [
            (
                "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n",
                reads("/metrics", false),
            ),
            ("GET /metrics?name=x HTTP/1.0\r\n\r\n", reads("/metrics", false)),
            ("HEAD /health HTTP/1.1\r\n\r\nrest", reads("/health", true)),
            (
                "POST /metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
                Some(Request::Other),
            ),
            ("GET http://h/metrics HTTP/1.1\r\n\r\n", Some(Request::Bad)),
            ("GET /metrics HTTP/2.0\r\n\r\n", Some(Request::Bad)),
            ("GET  /metrics HTTP/1.1\r\n\r\n", Some(Request::Bad)),
            ("\r\n\r\n", Some(Request::Bad)),
            ("\u{16}\u{3}\u{1}\r\n\r\n", Some(Request::Bad)),
            (&long, Some(Request::Bad)),
            ("GET /metrics HTTP/1.1\r\nHost: h\r\n", None),
            ("", None),
        ] {
            assert_eq!(read(&mut text.as_bytes()).await.ok(), expect, "{text:.60}");
        }
    }

    #[test]
    fn damaged_requests_are_no_panic() {
        let requests = ["GET /metrics?a=b HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n"];
        test_support::damage(&requests, |damaged| {
            let Some(end) = damaged.windows(4).position(|end| end == b"\r\n\r\n") else {
                return false;
            };
            parse(&damaged[..end]) != Request::Bad
        });
    }
}
