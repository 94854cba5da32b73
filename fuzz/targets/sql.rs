//! Batches in a session of an engine of their own. They are cancelled after a while, as ATTENTION does it.
#![no_main]

#[path = "allocations.rs"]
mod allocations;
#[path = "world.rs"]
mod world;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use sqlserver_emulator::{Discard, Engine, LoginInfo, Session};

#[global_allocator]
static ALLOCATIONS: allocations::Counted = allocations::Counted;

/// What lies between two batches of an input.
const GO: &str = "\nGO\n";
const PATIENCE: Duration = Duration::from_millis(100);

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let login = world::login();
    let engine = Engine::new(world::config());
    let login = LoginInfo {
        user: login.name,
        password: login.password,
        database: Some(world::DATABASE.to_owned()),
        ..LoginInfo::default()
    };
    let mut session = Session::new(&engine, login).expect("the login is right");
    session.batch(world::SCHEMA, &mut Discard);
    let cancel = session.cancel_flag();
    let (finished, end) = channel::<()>();
    let watch = std::thread::spawn(move || {
        if end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            cancel.store(true, Ordering::SeqCst);
        }
    });
    allocations::begin();
    for batch in text.split(GO) {
        session.batch(batch, &mut Discard);
    }
    allocations::end();
    drop(finished);
    watch.join().expect("the watch does not panic");
});
