//! The byte stream under the packets: plain, or TLS whose handshake travels inside PRELOGIN packets (MS-TDS 2.2.6.5).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use openssl::ssl::{Ssl, SslAcceptor};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::tds::packet::{DEFAULT_PACKET_SIZE, HEADER, header, kind};

const HANDSHAKE_BODY: usize = DEFAULT_PACKET_SIZE as usize - HEADER;

/// A client's connection.
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<SslStream<HandshakeFraming>>),
    /// After a login-only handshake: the TLS state is kept, unused, around the plain socket.
    AfterLogin(Box<SslStream<HandshakeFraming>>),
}

impl Transport {
    /// Performs the server's half of the handshake. With `in_prelogin` its records travel inside PRELOGIN packets.
    ///
    /// # Cancel safety
    /// Not cancel safe: the handshake is lost.
    pub(crate) async fn accept_tls(
        socket: TcpStream,
        acceptor: &SslAcceptor,
        in_prelogin: bool,
    ) -> io::Result<Self> {
        let ssl = Ssl::new(acceptor.context())?;
        let mut stream = Box::new(SslStream::new(ssl, HandshakeFraming::new(socket, in_prelogin))?);
        Pin::new(stream.as_mut())
            .accept()
            .await
            .map_err(io::Error::other)?;
        stream.get_mut().framing = false;
        Ok(Self::Tls(stream))
    }

    /// What comes and goes after the login is in clear text.
    pub(crate) fn drop_tls(self) -> Self {
        match self {
            Self::Tls(stream) => Self::AfterLogin(stream),
            other => other,
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            Self::AfterLogin(stream) => Pin::new(&mut stream.get_mut().socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            Self::AfterLogin(stream) => Pin::new(&mut stream.get_mut().socket).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Self::AfterLogin(stream) => Pin::new(&mut stream.get_mut().socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Self::AfterLogin(stream) => Pin::new(&mut stream.get_mut().socket).poll_shutdown(cx),
        }
    }
}

/// A socket whose traffic is wrapped in PRELOGIN packets while `framing` is set, and passes through afterwards.
pub(crate) struct HandshakeFraming {
    socket: TcpStream,
    framing: bool,
    header: [u8; HEADER],
    header_filled: usize,
    body_left: usize,
    outgoing: Vec<u8>,
    framed: Vec<u8>,
}

impl HandshakeFraming {
    fn new(socket: TcpStream, framing: bool) -> Self {
        Self {
            socket,
            framing,
            header: [0; HEADER],
            header_filled: 0,
            body_left: 0,
            outgoing: Vec::new(),
            framed: Vec::new(),
        }
    }

    /// Reads until the header of a packet with a body has come.
    fn poll_header(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.body_left == 0 {
            let mut rest = ReadBuf::new(self.header.get_mut(self.header_filled..).unwrap_or_default());
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut rest))?;
            let read = rest.filled().len();
            if read == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.header_filled += read;
            if self.header_filled < HEADER {
                continue;
            }
            self.header_filled = 0;
            let [packet_kind, _, high, low, ..] = self.header;
            if packet_kind != kind::PRELOGIN {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("a packet of type {packet_kind} came during the TLS handshake"),
                )));
            }
            self.body_left = usize::from(u16::from_be_bytes([high, low])).saturating_sub(HEADER);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what the handshake has produced, as one message.
    fn poll_framed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outgoing = std::mem::take(&mut self.outgoing);
        let mut bodies = outgoing.chunks(HANDSHAKE_BODY).peekable();
        while let Some(body) = bodies.next() {
            let last = bodies.peek().is_none();
            self.framed.extend(header(kind::PRELOGIN, last, body.len(), 0, 0));
            self.framed.extend_from_slice(body);
        }
        while !self.framed.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.framed))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.framed.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for HandshakeFraming {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.framing {
            return Pin::new(&mut this.socket).poll_read(cx, buf);
        }
        ready!(this.poll_framed(cx))?;
        ready!(this.poll_header(cx))?;
        let limit = buf.remaining().min(this.body_left);
        let mut body = ReadBuf::new(buf.initialize_unfilled_to(limit));
        ready!(Pin::new(&mut this.socket).poll_read(cx, &mut body))?;
        let read = body.filled().len();
        buf.advance(read);
        this.body_left -= read;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HandshakeFraming {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.framing {
            return Pin::new(&mut this.socket).poll_write(cx, buf);
        }
        this.outgoing.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_framed(cx))?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
