//! Packets after a login, over a socket, to an emulator of their own.
//!
//! An input is packets, each with its type and status and behind a mark, so that a change of one leaves the others whole; the
//! lengths are made right when it is sent. The client reads an answer before it goes on, unless the status says `AT_ONCE`.
#![no_main]

#[path = "allocations.rs"]
mod allocations;
#[path = "world.rs"]
mod world;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use sqlserver_emulator::{Emulator, EmulatorConfig, Encryption, Engine};

#[global_allocator]
static ALLOCATIONS: allocations::Counted = allocations::Counted;

const MARK: [u8; 4] = [0xFE, 0xED, 0xFA, 0xCE];
/// A status bit that TDS does not have: the next packet is sent before this one's answer has come.
const AT_ONCE: u8 = 0x80;
const END_OF_MESSAGE: u8 = 0x01;
/// A client waits so long for an answer; then it hangs up.
const PATIENCE: Duration = Duration::from_millis(100);
const HEADER: usize = 8;
const PACKET: usize = 32_767;

/// PRELOGIN: version 0.0, no encryption.
const PRELOGIN: [u8; 26] = [
    0x12, 1, 0, 26, 0, 0, 1, 0, // header
    0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xFF, // options
    0, 0, 0, 0, 0, 0, 2,
];

/// LOGIN7 for TDS 7.4 and packets of 32,767 bytes.
static LOGIN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    const FIXED: usize = 94;
    let login = world::login();
    let utf16 = |text: &str| {
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    let hidden = utf16(&login.password)
        .into_iter()
        .map(|byte| byte.rotate_left(4) ^ 0xA5)
        .collect();
    let mut body = vec![0; FIXED];
    body[4..8].copy_from_slice(&0x7400_0004u32.to_le_bytes());
    body[8..12].copy_from_slice(&(PACKET as u32).to_le_bytes());
    for (place, text) in [
        (40, utf16(&login.name)),
        (44, hidden),
        (48, utf16("fuzz")),
        (68, utf16(world::DATABASE)),
    ] {
        let start = (body.len() as u16).to_le_bytes();
        body[place..place + 2].copy_from_slice(&start);
        body[place + 2..place + 4].copy_from_slice(&((text.len() / 2) as u16).to_le_bytes());
        body.extend(text);
    }
    let length = body.len() as u32;
    body[..4].copy_from_slice(&length.to_le_bytes());
    packet(16, END_OF_MESSAGE, &body)
});

fn packet(kind: u8, status: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = ((body.len() + HEADER) as u16).to_be_bytes();
    [&[kind, status, high, low, 0, 0, 1, 0], body].concat()
}

/// Reads one message to its end; false if the server hung up, keeps silent or does not come to an end.
fn answered(socket: &mut TcpStream) -> bool {
    let begun = Instant::now();
    let mut header = [0; HEADER];
    let mut body = [0; PACKET];
    loop {
        if socket.read_exact(&mut header).is_err() {
            return false;
        }
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        assert!(
            (HEADER + 1..=PACKET).contains(&length),
            "a packet of {length} bytes"
        );
        if socket.read_exact(&mut body[..length - HEADER]).is_err() {
            return false;
        }
        if header[1] & END_OF_MESSAGE != 0 {
            return true;
        }
        if begun.elapsed() > PATIENCE {
            return false;
        }
    }
}

fn converse(socket: &mut TcpStream, input: &[u8]) {
    let mut rest = input;
    while !rest.is_empty() {
        let end = rest.windows(MARK.len()).position(|four| four == MARK);
        let end = end.unwrap_or(rest.len());
        if let [kind, status, body @ ..] = &rest[..end] {
            let body = &body[..body.len().min(PACKET - HEADER)];
            if socket
                .write_all(&packet(*kind, *status & !AT_ONCE, body))
                .is_err()
            {
                return;
            }
            if status & END_OF_MESSAGE != 0 && status & AT_ONCE == 0 && !answered(socket) {
                return;
            }
        }
        rest = rest.get(end + MARK.len()..).unwrap_or_default();
    }
    let _ = socket.shutdown(std::net::Shutdown::Write);
    while answered(socket) {}
}

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let config = EmulatorConfig {
        engine: world::config(),
        encryption: Encryption::NotSupported,
        record: None,
        ..EmulatorConfig::default()
    };
    let emulator = runtime.block_on(Emulator::start(config)).expect("an emulator");
    emulator
        .execute(world::DATABASE, world::SCHEMA)
        .expect("the schema is right");
    let engine = Arc::clone(emulator.engine());
    let mut socket = TcpStream::connect(emulator.address()).expect("it listens");
    socket.set_nodelay(true).expect("no delay");
    for request in [&PRELOGIN[..], &LOGIN] {
        socket.write_all(request).expect("the login is sent");
        assert!(answered(&mut socket), "the login failed");
    }
    socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    socket.set_write_timeout(Some(PATIENCE)).expect("a time limit");
    allocations::begin();
    converse(&mut socket, data);
    drop(socket);
    drop(emulator);
    abandoned(&engine);
    allocations::end();
});

/// Waits until nobody but the caller has the engine.
fn abandoned(engine: &Arc<Engine>) {
    let begun = Instant::now();
    while Arc::strong_count(engine) > 1 {
        assert!(
            begun.elapsed().as_secs() < 10,
            "a session outlives its connection"
        );
        std::thread::sleep(Duration::from_micros(100));
    }
}
