//! What `init` answers to somebody who has no configuration yet.

use crate::world::{CUSTOMERS, Ended, World, exit};

/// Calls `init` with these flags besides those that it needs, and trusts the server's authority if there is a file of it.
fn init(world: &World, flags: &[&str]) -> Ended {
    let port = world.emulator.address().port().to_string();
    let mut arguments = vec!["init", "--port", &port, "--user", world.emulator.user()];
    arguments.extend(flags);
    call(world, &arguments)
}

fn call(world: &World, arguments: &[&str]) -> Ended {
    let mut command = world.command(arguments);
    command.env("SOURCE_PASSWORD", world.emulator.password());
    if world.path("authority.pem").exists() {
        command.env("SSL_CERT_FILE", world.path("authority.pem"));
    }
    Ended::new(&command.output().unwrap())
}

#[test]
fn what_is_wrong_is_told_by_flags_and_not_by_keys_of_a_file() {
    let world = World::with(CUSTOMERS);
    let shop = ["--host", "localhost", "--database", "shop"];
    let distrusted = init(&world, &shop);
    distrusted.expect(
        exit::USAGE,
        &[
            "`--server-certificate FILE`",
            "`--host-name-in-certificate NAME`",
            "`--trust-server-certificate`",
        ],
    );
    for key in [
        "server_certificate",
        "host_name_in_certificate",
        "trust_server_certificate",
    ] {
        distrusted.never_says(&format!("`{key}"));
    }
    let nowhere = [
        "--server-certificate",
        "nowhere.pem",
        "--host",
        "localhost",
        "--database",
        "shop",
    ];
    init(&world, &nowhere).expect(
        exit::USAGE,
        &["nowhere.pem", "check the file that `--server-certificate FILE`"],
    );
    let instance = ["--host", "localhost\\SQL1", "--database", "shop"];
    init(&world, &instance).expect(exit::USAGE, &["an instance name", "`sync-cli init --help`"]);
    let trusting = |database| {
        [
            "--trust-server-certificate",
            "--host",
            "localhost",
            "--database",
            database,
        ]
    };
    init(&world, &trusting("shoppe")).expect(exit::FAILURE, &["4060", "`--database`"]);
    assert!(!world.path("sync.yaml").exists());
    init(&world, &trusting("shop")).expect(exit::SUCCESS, &[]);
    call(&world, &["run"]).expect(exit::SUCCESS, &[]);
}

#[test]
fn the_name_in_the_certificate_is_used_and_written() {
    let world = World::with(CUSTOMERS);
    std::fs::write(world.path("authority.pem"), world.emulator.ca_pem()).unwrap();
    let named = |name| {
        [
            "--host",
            "127.0.0.1",
            "--database",
            "shop",
            "--host-name-in-certificate",
            name,
        ]
    };
    init(&world, &named("db.example")).expect(exit::USAGE, &["`--host-name-in-certificate NAME`"]);
    init(&world, &named("localhost")).expect(exit::SUCCESS, &[]);
    let written = std::fs::read_to_string(world.path("sync.yaml")).unwrap();
    assert!(
        written.contains("host_name_in_certificate: localhost\n"),
        "{written}"
    );
    call(&world, &["run"]).expect(exit::SUCCESS, &[]);
}

#[test]
fn a_table_without_a_key_that_is_declared_to_be_read_whole_is_no_warning() {
    let world = World::with("CREATE TABLE dbo.Log (line nvarchar(20) NULL); INSERT dbo.Log VALUES (N'a')");
    let flags = [
        "--trust-server-certificate",
        "--host",
        "localhost",
        "--database",
        "shop",
    ];
    init(&world, &flags).expect(exit::SUCCESS, &["every run reads it whole"]);
    let whole = "· dbo.Log: the table has no key, and is replaced whole by each run";
    call(&world, &["check"]).expect(exit::SUCCESS, &[whole]);
    for _ in 0..2 {
        let ended = call(&world, &["run"]);
        ended.expect(exit::SUCCESS, &[]).never_says("no key");
    }
}
