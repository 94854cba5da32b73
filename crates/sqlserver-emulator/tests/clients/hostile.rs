//! Bytes that no client sends: the server ends that connection, or answers, and serves the others.

use std::time::Duration;

use sqlserver_emulator::Emulator;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mssql::{number, source};

fn packet(kind: u8, status: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(body.len() + 8).unwrap().to_be_bytes();
    let mut packet = vec![kind, status, high, low, 0, 0, 1, 0];
    packet.extend_from_slice(body);
    packet
}

fn prelogin() -> Vec<u8> {
    packet(18, 1, &[1, 0, 6, 0, 1, 0xFF, 2])
}

/// A LOGIN7 for the emulator's own login.
fn login(emulator: &Emulator) -> Vec<u8> {
    let mut body = vec![0; 94];
    body[4..8].copy_from_slice(&0x7400_0004u32.to_le_bytes());
    for (offset, text, mask) in [(40, emulator.user(), false), (44, emulator.password(), true)] {
        let start = u16::try_from(body.len()).unwrap();
        body[offset..offset + 2].copy_from_slice(&start.to_le_bytes());
        let count = u16::try_from(text.encode_utf16().count()).unwrap();
        body[offset + 2..offset + 4].copy_from_slice(&count.to_le_bytes());
        let bytes = text.encode_utf16().flat_map(u16::to_le_bytes);
        body.extend(bytes.map(|byte| if mask { byte.rotate_left(4) ^ 0xA5 } else { byte }));
    }
    packet(16, 1, &body)
}

/// Sends `bytes`, closes the sending half and reads whatever comes back.
async fn send(emulator: &Emulator, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(emulator.address()).await.unwrap();
    let _ = socket.write_all(bytes).await;
    let _ = socket.shutdown().await;
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(60), read).await.unwrap();
    answer
}

#[tokio::test]
async fn a_broken_client_disturbs_nobody() {
    let emulator = crate::emulator().await;
    let mut other = source(&emulator).await;
    let headers = [22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    let rpc = |tail: &[u8]| packet(3, 1, &[&headers[..], tail].concat());
    let requests = [
        packet(1, 1, &[]),
        packet(1, 1, &[0xFF; 4]),
        packet(1, 1, &[4, 0, 0, 0, 0x41]),
        packet(99, 1, &[4, 0, 0, 0]),
        rpc(&[]),
        rpc(&[0xFF, 0xFF, 200, 0, 0, 0]),
        rpc(&[0xFF, 0xFF, 10, 0, 0, 0, 0, 0, 0xE7, 0xFF, 0xFF]),
        rpc(&[0xFF, 0xFF, 10, 0, 0, 0, 0, 0, 0xF3, 1, 2, 3]),
        rpc(&[0x00, 0x7F, 1, 2]),
        packet(7, 1, &[0x81, 0xFF, 0xFF, 0, 0]),
        packet(7, 1, &[0xD1]),
        packet(7, 0, &[0x81]),
        packet(14, 1, &[4, 0, 0, 0, 1, 0]),
        packet(6, 1, &[]),
        vec![1, 1, 0, 3, 0, 0, 0, 0],
        vec![1, 1],
    ];
    for request in requests {
        let bytes = [prelogin(), login(&emulator), request.clone()].concat();
        let answer = send(&emulator, &bytes).await;
        assert!(answer.len() > 100, "no login before {request:x?}: {answer:x?}");
        assert_eq!(number(&mut other, "SELECT 1").await, 1, "after {request:x?}");
    }
}

/// Whether an answer has the ERROR token of a number.
fn tells(answer: &[u8], number: i32) -> bool {
    let token = |bytes: &[u8]| bytes[0] == 0xAA && bytes[3..] == number.to_le_bytes();
    answer.windows(7).any(token)
}

#[tokio::test]
async fn what_the_protocol_has_and_the_emulator_has_not_is_told_by_number() {
    const INTEGRATED_SECURITY: u8 = 0x80;
    const OPTION_FLAGS_2: usize = 8 + 25;
    const VERSION: usize = 8 + 4;
    let emulator = crate::emulator().await;
    let mut windows = login(&emulator);
    windows[OPTION_FLAGS_2] |= INTEGRATED_SECURITY;
    let mut old = login(&emulator);
    old[VERSION..VERSION + 4].copy_from_slice(&0x7100_0001_u32.to_le_bytes());
    for (login, number) in [(windows, 18_452), (old, 17_836)] {
        let answer = send(&emulator, &[prelogin(), login].concat()).await;
        assert!(tells(&answer, number), "{number}: {answer:x?}");
    }
    let mut socket = logged_in(&emulator).await;
    let headers = [22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    let request = |kind, body: &[u8]| packet(kind, 1, &[&headers[..], body].concat());
    for (request, number) in [
        // sp_cursoropen; a distributed transaction; no procedure and no transaction request that there is
        (request(3, &[0xFF, 0xFF, 2, 0, 0, 0]), 48_999),
        (request(14, &[0, 0, 0, 0]), 48_999),
        (request(3, &[0xFF, 0xFF, 200, 0, 0, 0]), 8009),
        (request(14, &[77, 0]), 8009),
    ] {
        socket.write_all(&request).await.unwrap();
        let answer = response(&mut socket).await;
        assert!(tells(&answer, number), "{number} for {request:x?}: {answer:x?}");
    }
}

#[tokio::test]
async fn a_broken_handshake_ends_the_connection() {
    let emulator = crate::emulator().await;
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5],
        packet(18, 1, &[1]),
        packet(16, 1, &[0; 200]),
        [packet(18, 1, &[1, 0, 6, 0, 1, 0xFF, 1]), vec![0; 64]].concat(),
        [prelogin(), packet(16, 1, &[0xFF; 94])].concat(),
        [prelogin(), packet(16, 1, &[0; 93])].concat(),
        Vec::new(),
    ] {
        send(&emulator, &bytes).await;
    }
    let mut client = source(&emulator).await;
    assert_eq!(number(&mut client, "SELECT 1").await, 1);
}

/// Reads one whole response, without packet headers.
async fn response(socket: &mut TcpStream) -> Vec<u8> {
    let mut tokens = Vec::new();
    loop {
        let mut header = [0; 8];
        socket.read_exact(&mut header).await.unwrap();
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let mut body = vec![0; length - 8];
        socket.read_exact(&mut body).await.unwrap();
        tokens.extend(body);
        if header[1] & 1 == 1 {
            return tokens;
        }
    }
}

/// A connection whose login is answered.
async fn logged_in(emulator: &Emulator) -> TcpStream {
    let mut socket = TcpStream::connect(emulator.address()).await.unwrap();
    for handshake in [prelogin(), login(emulator)] {
        socket.write_all(&handshake).await.unwrap();
        response(&mut socket).await;
    }
    socket
}

fn batch(sql: &str) -> Vec<u8> {
    let headers = [22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    let text = sql.encode_utf16().flat_map(u16::to_le_bytes);
    packet(1, 1, &headers.into_iter().chain(text).collect::<Vec<_>>())
}

#[tokio::test]
async fn a_bulk_load_that_is_given_up_leaves_nothing() {
    const DONE_ATTENTION: [u8; 3] = [0xFD, 0x20, 0];
    let emulator = crate::emulator().await;
    let mut observer = source(&emulator).await;
    crate::mssql::rows(&mut observer, "CREATE TABLE dbo.t (id int NOT NULL)")
        .await
        .unwrap();
    let columns = [0x81, 1, 0, 0, 0, 0, 0, 8, 0, 0x38, 2, b'i', 0, b'd', 0];
    let rows = [0xD1, 1, 0, 0, 0, 0xD1, 2, 0, 0, 0, 0xD1, 3];
    let begun = packet(7, 0, &[&columns[..], &rows].concat());
    for (ending, acknowledged) in [
        (None, false),
        (Some(packet(6, 1, &[])), true),
        (Some([packet(7, 3, &[0, 0, 0]), packet(6, 1, &[])].concat()), true),
    ] {
        let mut socket = logged_in(&emulator).await;
        socket
            .write_all(&batch("INSERT BULK Source.dbo.t (id int)"))
            .await
            .unwrap();
        response(&mut socket).await;
        socket.write_all(&begun).await.unwrap();
        if let Some(ending) = ending {
            socket.write_all(&ending).await.unwrap();
            assert!(response(&mut socket).await.starts_with(&DONE_ATTENTION));
            socket.write_all(&batch("SELECT 1")).await.unwrap();
            assert_eq!(
                response(&mut socket).await[0],
                0x81,
                "the connection is of no use any more"
            );
        }
        drop(socket);
        let count = number(&mut observer, "SELECT COUNT(*) FROM dbo.t").await;
        assert_eq!(count, 0, "acknowledged: {acknowledged}");
    }
}
