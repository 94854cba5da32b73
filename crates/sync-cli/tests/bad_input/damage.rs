//! Files that are damaged, in the way, or held by somebody else.

use std::path::PathBuf;
use std::time::Duration;

use sqlserver_client::{ConnectOptions, Connection, Secret};

use crate::world::{CUSTOMERS, Ended, ONLY_CUSTOMERS, World, exit};

const HINT: &str = "warehouse/dbo/Customers/metadata/version-hint.text";

fn copied() -> World {
    let world = World::with(CUSTOMERS);
    world.configure(ONLY_CUSTOMERS);
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    world
}

/// Adds a row, and expects that exactly this row moves and that every row is equal afterwards.
fn expect_only_the_new_row_moves(world: &World, says: &[&str]) {
    world.sql("shop", "INSERT dbo.Customers (id, name) VALUES (3, N'Edsger')");
    let ended = world.call(&["run", "--output", "json"]);
    ended.expect(exit::SUCCESS, &["\"records_inserted\": 2"]);
    ended.expect(exit::SUCCESS, says);
    world
        .call(&["verify"])
        .expect(exit::SUCCESS, &["every row matches"]);
    assert_eq!(world.target_rows("dbo.Customers").len(), 3);
}

#[test]
fn a_damaged_version_hint_is_written_again_and_costs_no_row() {
    for damage in ["", "not a number", "\u{0}\u{0}\u{0}"] {
        let world = copied();
        let hint = world.path(HINT);
        std::fs::write(&hint, damage).unwrap();
        world.call(&["run"]).expect(exit::SUCCESS, &["version hint"]);
        let repaired: u64 = std::fs::read_to_string(&hint).unwrap().trim().parse().unwrap();
        assert!(repaired > 0);
        expect_only_the_new_row_moves(&world, &[]);
    }
}

#[test]
fn a_version_hint_above_all_versions_stops_the_sync() {
    let world = copied();
    std::fs::write(world.path(HINT), "99").unwrap();
    let before = world.target_rows("dbo.Customers");
    world
        .call(&["run"])
        .expect(exit::FAILURE, &["99", "version-hint.text"]);
    assert_eq!(world.target_rows("dbo.Customers"), before);
}

fn state_files(world: &World) -> Vec<PathBuf> {
    let files = std::fs::read_dir(world.path("state")).unwrap();
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect()
}

#[test]
fn a_damaged_state_file_is_told_and_rebuilt_from_the_marks() {
    let damages = [
        ("no JSON", (|_| "{".to_owned()) as fn(&str) -> String),
        ("a changed number", |text| {
            text.replacen("\"epoch\":", "\"epoch\": 9", 1)
        }),
        ("nothing", |_| String::new()),
    ];
    for (name, damage) in damages {
        println!("{name}");
        let world = copied();
        let (files, snapshots) = (state_files(&world), world.snapshots("dbo.Customers"));
        assert_eq!(files.len(), 2, "one per direction");
        for file in &files {
            let text = std::fs::read_to_string(file).unwrap();
            let damaged = damage(&text);
            assert_ne!(damaged, text);
            std::fs::write(file, damaged).unwrap();
        }
        world
            .call(&["run"])
            .expect(exit::SUCCESS, &["warning", "damaged", "state"]);
        assert_eq!(world.snapshots("dbo.Customers"), snapshots, "nothing had changed");
        assert_eq!(world.target_rows("dbo.Customers").len(), 2);
        expect_only_the_new_row_moves(&world, &[]);
    }
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let world = World::with(CUSTOMERS);
    std::fs::write(world.path("a file"), "").unwrap();
    for section in ["warehouse", "state"] {
        let place = world.path(section).display().to_string();
        let below = world.path("a file").join(section).display().to_string();
        world.configure_but(ONLY_CUSTOMERS, &[(&place, &below)]);
        let check = world.call(&["check"]);
        check.expect(exit::FAILURE, &[&below, section]);
        if section == "warehouse" {
            world.call(&["run"]).expect(exit::FAILURE, &[&below]);
            world.expect_nothing_done();
        }
    }
}

#[tokio::test]
async fn a_second_run_of_the_same_sync_ends_at_once_and_names_the_first() {
    let world = World::with(CUSTOMERS);
    world.configure(ONLY_CUSTOMERS);
    // The first run waits for this transaction.
    let mut application = session(&world).await;
    application
        .execute(
            "BEGIN TRANSACTION; UPDATE dbo.Customers SET name = N'Ada L.' WHERE id = 1",
            &[],
        )
        .await
        .unwrap();
    let first = world.spawn(&["run"]);
    let holder = held_by(&world);
    assert!(holder.contains(&format!("process {}", first.id())), "{holder}");
    world
        .call(&["run"])
        .expect(exit::BUSY, &[&holder, "nothing was done"]);
    application.execute("COMMIT", &[]).await.unwrap();
    Ended::new(&first.wait_with_output().unwrap()).expect(exit::SUCCESS, &[]);
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    world.call(&["verify"]).expect(exit::SUCCESS, &[]);
}

/// Waits until a run has taken the lease, and returns the holder's name.
fn held_by(world: &World) -> String {
    for _ in 0..1000 {
        let files = std::fs::read_dir(world.path("state"))
            .into_iter()
            .flatten()
            .flatten();
        for file in files.map(|file| file.path()) {
            let holder = std::fs::read_to_string(&file).unwrap_or_default();
            if file.extension().is_some_and(|extension| extension == "holder") && !holder.is_empty() {
                return holder;
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nobody took the lease");
}

async fn session(world: &World) -> Connection {
    let password = Secret::new(world.emulator.password());
    let port = world.emulator.address().port();
    let mut options = ConnectOptions::new("localhost", port, "shop", world.emulator.user(), password);
    options.trust_server_certificate = true;
    options.application_name = "an application".into();
    Connection::open(&options).await.unwrap()
}

#[test]
fn a_spill_directory_that_cannot_be_used_is_found_by_check() {
    let world = copied();
    let run = "run: { attempts: 1";
    world.configure_but(
        ONLY_CUSTOMERS,
        &[(run, &format!("{run}, spill: /dev/null/spill"))],
    );
    let says = ["/dev/null/spill", "run.spill", "can be written"];
    world.call(&["check"]).expect(exit::FAILURE, &says);
}
