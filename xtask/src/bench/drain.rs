//! A socket that throws a result away: the fastest that anybody can be. It logs in without encryption, sends one batch, counts the
//! bytes that come and takes the row count from the last token ([MS-TDS] 2.2.6.4, 2.2.6.5, 2.2.6.7, 2.2.7.6).

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};

const HEADER: usize = 8;
const SQL_BATCH: u8 = 1;
const LOGIN7: u8 = 16;
const PRELOGIN: u8 = 18;
const END_OF_MESSAGE: u8 = 1;
const TDS_7_4: u32 = 0x7400_0004;
/// The fixed part of LOGIN7, with the table of offsets.
const LOGIN_FIXED: usize = 94;
const DONE: u8 = 0xFD;
const DONE_LENGTH: usize = 13;
const PACKET_SIZE: u32 = 32_767;

/// What came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drained {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// A login.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Login<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    pub(crate) database: &'a str,
}

/// Runs `sql` and throws its rows away.
pub(crate) fn drain(login: Login<'_>, sql: &str) -> Result<Drained> {
    let mut socket = TcpStream::connect((login.host, login.port)).context("the server does not answer")?;
    socket.set_nodelay(true)?;
    send(&mut socket, PRELOGIN, &prelogin())?;
    swallow(&mut socket)?;
    send(&mut socket, LOGIN7, &login7(login))?;
    swallow(&mut socket).context("the login failed")?;
    send(&mut socket, SQL_BATCH, &batch(sql))?;
    swallow(&mut socket)
}

/// VERSION, and ENCRYPTION: not supported.
fn prelogin() -> Vec<u8> {
    const ENCRYPT_NOT_SUP: u8 = 2;
    let mut body = vec![0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xFF];
    body.extend([0; 6]);
    body.push(ENCRYPT_NOT_SUP);
    body
}

fn login7(login: Login<'_>) -> Vec<u8> {
    let utf16 = |text: &str| {
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    let hidden = |text: &str| {
        let bytes = utf16(text).into_iter();
        bytes.map(|byte| byte.rotate_left(4) ^ 0xA5).collect()
    };
    // Host, user, password, application, server, extension, library, language, database.
    let texts = [
        utf16(""),
        utf16(login.user),
        hidden(login.password),
        utf16("bench"),
        utf16(login.host),
        Vec::new(),
        utf16("bench"),
        Vec::new(),
        utf16(login.database),
    ];
    let (mut offsets, mut data) = (Vec::new(), Vec::new());
    let mut place = |text: &[u8]| {
        offsets.extend(((LOGIN_FIXED + data.len()) as u16).to_le_bytes());
        offsets.extend(((text.len() / 2) as u16).to_le_bytes());
        data.extend_from_slice(text);
    };
    texts.iter().for_each(|text| place(text));
    let client_id = offsets.len();
    for _ in 0..3 {
        let end = ((LOGIN_FIXED + data.len()) as u16).to_le_bytes();
        offsets.extend([end[0], end[1], 0, 0]);
    }
    offsets.splice(client_id..client_id, [0; 6]);
    offsets.extend([0; 4]);
    let mut body = ((LOGIN_FIXED + data.len()) as u32).to_le_bytes().to_vec();
    body.extend(TDS_7_4.to_le_bytes());
    body.extend(PACKET_SIZE.to_le_bytes());
    // Program version, process, connection; option flags (ODBC, so that ANSI settings are on); time zone, language.
    body.extend([0; 12]);
    body.extend([0xE0, 0x03, 0, 0]);
    body.extend([0; 8]);
    body.extend(offsets);
    body.extend(data);
    body
}

fn batch(sql: &str) -> Vec<u8> {
    // ALL_HEADERS with the transaction descriptor: none, one request outstanding.
    let mut body = vec![22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    body.extend(sql.encode_utf16().flat_map(u16::to_le_bytes));
    body
}

fn send(socket: &mut TcpStream, kind: u8, body: &[u8]) -> Result<()> {
    // Login and batch must fit a packet of the size before negotiation.
    ensure!(
        body.len() + HEADER <= 4096,
        "the request is too long for one packet"
    );
    let [high, low] = ((body.len() + HEADER) as u16).to_be_bytes();
    let mut packet = vec![kind, END_OF_MESSAGE, high, low, 0, 0, 1, 0];
    packet.extend_from_slice(body);
    Ok(socket.write_all(&packet)?)
}

/// Reads one message to its end.
fn swallow(socket: &mut TcpStream) -> Result<Drained> {
    let mut buffer = vec![0; 1 << 20];
    // The bytes that are known but not looked at yet; a packet's body is skipped over without being kept.
    let (mut filled, mut at, mut bytes) = (0, 0, 0_u64);
    let mut tail = Vec::new();
    loop {
        while filled - at < HEADER {
            buffer.copy_within(at..filled, 0);
            (filled, at) = (filled - at, 0);
            filled += read(socket, buffer.get_mut(filled..).unwrap_or_default())?;
        }
        let Some([_, status, high, low, ..]) = buffer.get(at..at + HEADER) else {
            bail!("a packet without a header came");
        };
        let (last, length) = (status & END_OF_MESSAGE != 0, u16::from_be_bytes([*high, *low]));
        let end = at + usize::from(length);
        ensure!(
            usize::from(length) >= HEADER,
            "a packet is shorter than its header"
        );
        if end > buffer.len() {
            buffer.copy_within(at..filled, 0);
            (filled, at) = (filled - at, 0);
            continue;
        }
        while filled < end {
            filled += read(socket, buffer.get_mut(filled..).unwrap_or_default())?;
        }
        bytes += u64::from(length);
        let body = buffer.get(at + HEADER..end).unwrap_or_default();
        tail.extend_from_slice(
            body.get(body.len().saturating_sub(DONE_LENGTH)..)
                .unwrap_or_default(),
        );
        tail.drain(..tail.len().saturating_sub(DONE_LENGTH));
        at = end;
        if last {
            return Ok(Drained {
                rows: counted(&tail),
                bytes,
            });
        }
    }
}

fn read(socket: &mut TcpStream, into: &mut [u8]) -> Result<usize> {
    match socket.read(into)? {
        0 => bail!("the server hung up"),
        read => Ok(read),
    }
}

/// The row count of the DONE that ends a message.
fn counted(tail: &[u8]) -> u64 {
    let rows = tail.get(5..).and_then(|count| count.try_into().ok());
    match (tail.first(), rows) {
        (Some(&DONE), Some(rows)) => u64::from_le_bytes(rows),
        _ => 0,
    }
}
