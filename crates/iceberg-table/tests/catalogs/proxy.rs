//! A link between a catalog and its server that breaks at one request, in one way.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::faults::Fault;

/// Where a request of the protocol ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Postgres,
}

/// Listens on a port of its own until it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    link: Arc<Link>,
    listener: tokio::task::JoinHandle<()>,
}

struct Link {
    protocol: Protocol,
    server: String,
    fault: Fault,
    at: usize,
    requests: AtomicUsize,
    late: Mutex<Option<(usize, TcpStream, Vec<u8>)>>,
}

impl Proxy {
    /// In front of `server`, a host and a port; breaks at request `at`, counted from zero.
    pub(crate) async fn start(protocol: Protocol, server: &str, fault: Fault, at: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let link = Arc::new(Link {
            protocol,
            server: server.to_owned(),
            fault,
            at,
            requests: AtomicUsize::new(0),
            late: Mutex::new(None),
        });
        let shared = link.clone();
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let link = shared.clone();
                tokio::spawn(async move { link.relay(client).await });
            }
        });
        Self {
            address,
            link,
            listener,
        }
    }

    /// Whether the request that fails has been reached.
    pub(crate) fn has_failed(&self) -> bool {
        self.link.requests.load(Ordering::SeqCst) > self.link.at
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Link {
    /// One connection, until either side ends it or it breaks.
    async fn relay(&self, mut client: TcpStream) {
        let mut server = TcpStream::connect(&self.server).await.unwrap();
        let mut request = Vec::new();
        let mut answer = vec![0; 64 << 10];
        let mut is_first = true;
        loop {
            tokio::select! {
                read = client.read_buf(&mut request) => {
                    if !matches!(read, Ok(1..)) {
                        return;
                    }
                    if !self.is_complete(&request, is_first) {
                        continue;
                    }
                    is_first = false;
                    let whole = std::mem::take(&mut request);
                    match self.forward(whole, server).await {
                        Some(open) => server = open,
                        None => return,
                    }
                }
                read = server.read(&mut answer) => {
                    let Ok(bytes @ 1..) = read else { return };
                    if client.write_all(&answer[..bytes]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Sends a request on; `None` if the link breaks.
    async fn forward(&self, request: Vec<u8>, mut server: TcpStream) -> Option<TcpStream> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let due = self.late.lock().unwrap().take_if(|(due, ..)| *due <= number);
        if let Some((_, late, request)) = due {
            carry_out(late, &request).await;
        }
        if number != self.at {
            server.write_all(&request).await.ok()?;
            return Some(server);
        }
        match self.fault {
            Fault::RequestLost => None,
            Fault::AnswerLost => {
                carry_out(server, &request).await;
                None
            }
            Fault::Late(requests) => {
                *self.late.lock().unwrap() = Some((number + requests, server, request));
                None
            }
            Fault::ConflictWithItself | Fault::RefusedTheSecondTime => {
                self.carry_out_twice(&mut server, &request).await?;
                Some(server)
            }
        }
    }

    /// Sends a request to be carried out, and once more for the answer.
    async fn carry_out_twice(&self, server: &mut TcpStream, request: &[u8]) -> Option<()> {
        match self.protocol {
            Protocol::Http => carry_out(TcpStream::connect(&self.server).await.unwrap(), request).await,
            // In a session, only the execution of a prepared statement means the same the second time.
            Protocol::Postgres if request.first() == Some(&b'B') => {
                server.write_all(request).await.ok()?;
                postgres_answer(server).await.ok()?;
            }
            Protocol::Postgres => {}
        }
        server.write_all(request).await.ok()
    }

    fn is_complete(&self, request: &[u8], is_first: bool) -> bool {
        match self.protocol {
            Protocol::Http => http_is_complete(request),
            Protocol::Postgres => postgres_is_complete(request, is_first),
        }
    }
}

/// Sends a request and waits until the server begins to answer: by then it has done what it does.
async fn carry_out(mut server: TcpStream, request: &[u8]) {
    let mut answer = [0];
    server.write_all(request).await.unwrap();
    server.read_exact(&mut answer).await.unwrap();
}

/// Reads an answer up to the server's being ready for the next request.
async fn postgres_answer(server: &mut TcpStream) -> std::io::Result<()> {
    loop {
        let kind = server.read_u8().await?;
        let length = server.read_u32().await? as usize;
        let mut body = vec![0; length - 4];
        server.read_exact(&mut body).await?;
        if kind == b'Z' {
            return Ok(());
        }
    }
}

fn http_is_complete(request: &[u8]) -> bool {
    let Some(head) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let lines = std::str::from_utf8(&request[..head]).unwrap().lines();
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse::<usize>().unwrap());
    request.len() >= head + 4 + length
}

/// A startup message is a length and a body, any other one has its type before that. The client waits after these types.
fn postgres_is_complete(request: &[u8], is_first: bool) -> bool {
    let mut rest = request;
    let mut last = None;
    let mut is_startup = is_first;
    while !rest.is_empty() {
        let start = usize::from(!is_startup);
        let Some(length) = rest.get(start..start + 4) else {
            return false;
        };
        let end = start + u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if rest.len() < end {
            return false;
        }
        last = if is_startup { Some(b'S') } else { Some(rest[0]) };
        is_startup = false;
        rest = &rest[end..];
    }
    matches!(last, Some(b'S' | b'Q' | b'X' | b'p' | b'H'))
}
