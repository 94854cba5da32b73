//! The client against the emulator, over the wire.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what supports a test fails it by panicking"
)]

mod catalog;
mod connect;
mod second;
mod streams;
mod transactions;
mod types;

use sqlserver_client::{ConnectOptions, Connection, Encrypt, Secret};
use sqlserver_emulator::{Emulator, EmulatorConfig, EngineConfig, Login};

/// A server with the database `shop`, the administrator `sa` and the limited login `reader`.
async fn start() -> Emulator {
    start_without(&[]).await
}

/// The same, but it does not know these keywords and functions.
async fn start_without(lacks: &[&str]) -> Emulator {
    let mut engine = EngineConfig {
        databases: vec!["shop".to_owned()],
        lacks: lacks.iter().copied().map(str::to_owned).collect(),
        ..EngineConfig::default()
    };
    engine.logins.push(Login {
        name: "reader".to_owned(),
        password: "Reader!2022".to_owned(),
        sysadmin: false,
        view_server_state: false,
    });
    Emulator::start(EmulatorConfig {
        engine,
        ..EmulatorConfig::default()
    })
    .await
    .unwrap()
}

/// How to reach it without TLS beyond the login.
fn options(emulator: &Emulator) -> ConnectOptions {
    ConnectOptions {
        encrypt: Encrypt::Optional,
        trust_server_certificate: true,
        ..ConnectOptions::new(
            emulator.address().ip().to_string(),
            emulator.address().port(),
            "shop",
            emulator.user(),
            Secret::new(emulator.password()),
        )
    }
}

async fn connect(emulator: &Emulator) -> Connection {
    Connection::open(&options(emulator)).await.unwrap()
}

/// Runs statements that must succeed.
async fn run(connection: &mut Connection, statements: &[&str]) {
    for statement in statements {
        if let Err(error) = connection.execute(statement, &[]).await {
            panic!("{statement}: {error} {:?}", std::error::Error::source(&error));
        }
    }
}
