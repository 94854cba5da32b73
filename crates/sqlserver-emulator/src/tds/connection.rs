//! One client's connection, from its first byte to its last: PRELOGIN, TLS, LOGIN7, then packets in and responses out.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::collation::Collation;
use crate::emulator::Encryption;
use crate::engine::Engine;
use crate::error::SqlError;
use crate::faults::Faults;
use crate::session::Session;
use crate::tds::link::Link;
use crate::tds::login::{Login7, NewTypes};
use crate::tds::packet::{
    DEFAULT_PACKET_SIZE, HEADER, MAX_PACKET_SIZE, MessageWriter, Packet, Piece, header, kind, read_packet,
    status,
};
use crate::tds::prelogin::{self, TlsScope};
use crate::tds::reader::WireError;
use crate::tds::record::{Record, Recorder};
use crate::tds::request::{Message, Request};
use crate::tds::response::Response;
use crate::tds::session_thread::SessionThread;
use crate::tds::tls::TlsIdentity;
use crate::tds::token;
use crate::tds::transport::Transport;

/// A request may be this long at most; bulk loads are streamed and have no limit.
const LONGEST_MESSAGE: usize = 1 << 30;
/// Packets of requests that wait for the session's thread.
const WAITING_REQUESTS: usize = 8;
/// Pieces of a response that wait for the socket.
const WAITING_PIECES: usize = 4;
/// The first byte of a TLS handshake record: a client that begins with TLS speaks TDS 8.0.
const TLS_HANDSHAKE: u8 = 0x16;

/// What every connection of one emulator needs.
pub(crate) struct Server {
    pub(crate) engine: Arc<Engine>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) encryption: Encryption,
    pub(crate) tls: TlsIdentity,
    pub(crate) recorder: Option<Recorder>,
}

/// Serves one client until either side hangs up.
pub(crate) async fn serve(socket: TcpStream, server: Arc<Server>) {
    let peer = socket.peer_addr().ok();
    if let Err(error) = converse(socket, &server).await {
        tracing::debug!(?peer, %error, "connection ended");
    }
}

async fn converse(socket: TcpStream, server: &Server) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let handshaken = handshake(socket, server).await?;
    match log_in(handshaken, server).await? {
        Some((transport, client)) => run(transport, client, server).await,
        None => Ok(()),
    }
}

/// A transport that is ready for LOGIN7.
struct Handshaken {
    transport: Transport,
    drop_tls_after_login: bool,
}

/// PRELOGIN and TLS.
async fn handshake(socket: TcpStream, server: &Server) -> io::Result<Handshaken> {
    let mut first = [0];
    socket.peek(&mut first).await?;
    let strict = first == [TLS_HANDSHAKE] && server.encryption != Encryption::NotSupported;
    let mut transport = if strict {
        Transport::accept_tls(socket, &server.tls.acceptor, false).await?
    } else {
        Transport::Plain(socket)
    };
    let body = read_message(&mut transport, kind::PRELOGIN).await?;
    let wanted = prelogin::parse(&body).map_err(invalid)?;
    let (answer, scope) = prelogin::negotiate(wanted, server.encryption);
    write_message(&mut transport, &prelogin::response(answer)).await?;
    match transport {
        Transport::Plain(socket) if scope != TlsScope::None => Ok(Handshaken {
            transport: Transport::accept_tls(socket, &server.tls.acceptor, true).await?,
            drop_tls_after_login: scope == TlsScope::Login,
        }),
        transport => Ok(Handshaken {
            transport,
            drop_tls_after_login: false,
        }),
    }
}

/// A client that is logged in.
struct Client {
    session: Session,
    packet_size: u32,
    reads_nbcrow: bool,
    reads: NewTypes,
    record: Option<Record>,
}

/// LOGIN7 and its answer; nothing if the login failed.
async fn log_in(handshaken: Handshaken, server: &Server) -> io::Result<Option<(Transport, Client)>> {
    let mut transport = handshaken.transport;
    let body = read_message(&mut transport, kind::LOGIN7).await?;
    // With login-only TLS the answer to LOGIN7 already travels in clear text.
    if handshaken.drop_tls_after_login {
        transport = transport.drop_tls();
    }
    let login = Login7::parse(&body).map_err(invalid)?;
    let packet_size = match login.packet_size {
        0 => DEFAULT_PACKET_SIZE,
        size => size.clamp(512, MAX_PACKET_SIZE),
    };
    let (tds_version, reads_nbcrow) = (login.tds_version, login.reads_nbcrow());
    let (features, reads) = (login.shared_features(), login.new_types());
    let program = login.program_name.clone();
    let mut out = Vec::new();
    match open_session(login, packet_size, server) {
        Ok(session) => {
            let recorder = server.recorder.as_ref();
            let record = recorder
                .map(|recorder| recorder.session(&program, session.id()))
                .transpose()?;
            greet(&mut out, &session, tds_version, packet_size, &features, server);
            write_message(&mut transport, &out).await?;
            let client = Client {
                session,
                packet_size,
                reads_nbcrow,
                reads,
                record,
            };
            Ok(Some((transport, client)))
        }
        Err(errors) => {
            for error in &errors {
                token::message(&mut out, error, &server.engine.config().server_name);
            }
            token::done(&mut out, token::kind::DONE, token::done::ERROR, 0, 0);
            write_message(&mut transport, &out).await?;
            transport.shutdown().await?;
            Ok(None)
        }
    }
}

fn open_session(login: Login7, packet_size: u32, server: &Server) -> Result<Session, Vec<SqlError>> {
    if !login.version_is_supported() {
        return Err(vec![SqlError::new(
            17_836,
            20,
            1,
            "The emulator speaks TDS 7.3 and later; set the client's protocol version to 7.3 or 7.4.",
        )]);
    }
    if login.integrated_security {
        return Err(vec![SqlError::new(
            18_452,
            14,
            1,
            "Login failed. The emulator supports SQL Server authentication only.",
        )]);
    }
    let user = login.user.clone();
    Session::new(&server.engine, login.into_info(packet_size)).map_err(|error| {
        // An unknown database is reported first, then the failed login, as SQL Server does.
        let failed = (error.number == 4060)
            .then(|| SqlError::new(18_456, 14, 1, format!("Login failed for user '{user}'.")));
        std::iter::once(error).chain(failed).collect()
    })
}

/// The answer to a login that succeeded.
fn greet(
    out: &mut Vec<u8>,
    session: &Session,
    tds_version: u32,
    packet_size: u32,
    features: &[u8],
    server: &Server,
) {
    let server_name = &server.engine.config().server_name;
    let info = |number, text: String| SqlError::new(number, 0, 1, text);
    token::database(out, session.database(), "master");
    let text = format!("Changed database context to '{}'.", session.database());
    token::message(out, &info(5701, text), server_name);
    token::collation(out, Collation::server_default());
    token::language(out, "us_english");
    let text = "Changed language setting to us_english.".to_owned();
    token::message(out, &info(5703, text), server_name);
    token::login_ack(out, tds_version);
    token::packet_size(out, packet_size, DEFAULT_PACKET_SIZE);
    if !features.is_empty() {
        token::feature_ext_ack(out, features);
    }
    token::done(out, token::kind::DONE, 0, 0, 0);
}

/// Runs a session on its own thread between the two halves of its connection.
async fn run(transport: Transport, client: Client, server: &Server) -> io::Result<()> {
    let id = client.session.id();
    let link = Arc::new(Link::new(client.session.cancel_flag()));
    let (pieces, outgoing) = mpsc::channel(WAITING_PIECES);
    let (requests, incoming) = mpsc::channel(WAITING_REQUESTS);
    let response = Response::new(
        MessageWriter::new(pieces, client.packet_size, id),
        Arc::clone(&link),
        Arc::clone(&server.faults),
        server.engine.config().server_name.clone(),
        client.session.database().to_owned(),
        client.reads_nbcrow,
        client.reads,
    );
    let session = SessionThread::new(client.session, incoming, response, Arc::clone(&link));
    thread::Builder::new()
        .name(format!("session {id}"))
        .spawn(move || session.run())?;
    server.faults.connected(id, &link);
    let (reader, writer) = tokio::io::split(transport);
    let outcome = tokio::select! {
        read = read_requests(reader, requests, &link, client.record) => read,
        written = write_responses(writer, outgoing, &server.faults) => written,
        () = link.hung_up() => Ok(()),
    };
    server.faults.disconnected(id);
    if !link.is_closed() {
        link.cancel();
    }
    outcome
}

/// Turns packets into requests. ATTENTION also sets the session's flag at once, ahead of the queue.
async fn read_requests(
    mut reader: ReadHalf<Transport>,
    requests: mpsc::Sender<Request>,
    link: &Link,
    mut record: Option<Record>,
) -> io::Result<()> {
    let mut message: Option<Message> = None;
    while let Some(packet) = read_packet(&mut reader).await? {
        if let Some(record) = &mut record {
            record.packet(&packet)?;
        }
        let request = match packet.kind {
            kind::ATTENTION => {
                message = None;
                link.cancel();
                Some(Request::Attention)
            }
            kind::BULK_LOAD => Some(Request::Bulk(packet)),
            _ => assemble(&mut message, packet)?,
        };
        if let Some(request) = request
            && requests.send(request).await.is_err()
        {
            break;
        }
    }
    Ok(())
}

/// Adds a packet to its message; gives the message once it is whole.
fn assemble(message: &mut Option<Message>, packet: Packet) -> io::Result<Option<Request>> {
    let (last, ignore) = (packet.is_last(), packet.status & status::IGNORE != 0);
    let whole = match message.take() {
        None => Message {
            kind: packet.kind,
            status: packet.status,
            body: packet.body,
        },
        Some(mut begun) => {
            begun.body.extend_from_slice(&packet.body);
            begun
        }
    };
    if whole.body.len() > LONGEST_MESSAGE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a request is longer than 1 GB",
        ));
    }
    if !last {
        *message = Some(whole);
        return Ok(None);
    }
    Ok((!ignore).then_some(Request::Message(whole)))
}

/// Hands responses to the socket. An ordered latency comes before each response.
async fn write_responses(
    mut writer: WriteHalf<Transport>,
    mut pieces: mpsc::Receiver<Piece>,
    faults: &Faults,
) -> io::Result<()> {
    let mut begins = true;
    while let Some(piece) = pieces.recv().await {
        let latency = faults.latency();
        if begins && !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        begins = piece.last;
        writer.write_all(&piece.bytes).await?;
        writer.flush().await?;
    }
    writer.shutdown().await
}

/// Reads one message of the handshake.
async fn read_message<R: AsyncRead + Unpin>(reader: &mut R, expected: u8) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Some(packet) = read_packet(reader).await? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if packet.kind != expected {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a packet of type {} came instead of type {expected}", packet.kind),
            ));
        }
        body.extend_from_slice(&packet.body);
        if packet.is_last() {
            return Ok(body);
        }
        if body.len() > u16::MAX.into() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a handshake message is longer than 64 KB",
            ));
        }
    }
}

/// Writes one message of the handshake, in packets of the default size.
async fn write_message<W: AsyncWrite + Unpin>(writer: &mut W, payload: &[u8]) -> io::Result<()> {
    let mut wire = Vec::new();
    let mut bodies = payload.chunks(DEFAULT_PACKET_SIZE as usize - HEADER).peekable();
    let mut id = 0;
    while let Some(body) = bodies.next() {
        id += 1;
        let last = bodies.peek().is_none();
        wire.extend(header(kind::TABULAR_RESULT, last, body.len(), 0, id));
        wire.extend_from_slice(body);
    }
    writer.write_all(&wire).await?;
    writer.flush().await
}

fn invalid(error: WireError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{error:?}"))
}
