//! Servers that cannot be used.

use sqlserver_emulator::Fault;

use crate::world::{CUSTOMERS, Ended, ONLY_CUSTOMERS, World, exit};

#[test]
fn a_server_that_cannot_be_used_is_told_with_the_remedy_and_nothing_is_done() {
    let world = World::with(CUSTOMERS);
    let port = world.emulator.address().port().to_string();
    let cases: &[(&str, &str, &str, i32, &[&str])] = &[
        (
            "a wrong password",
            &format!("password: {}", world.emulator.password()),
            "password: not-this-one",
            exit::FAILURE,
            &["the login was refused", "18456", "`user`", "`password`"],
        ),
        (
            "a missing database",
            "database: shop",
            "database: shoppe",
            exit::FAILURE,
            &["shoppe", "4060"],
        ),
        (
            "a certificate that nobody vouches for",
            "    trust_server_certificate: true\n",
            "",
            exit::USAGE,
            &[
                "trust_server_certificate",
                "server_certificate",
                "host_name_in_certificate",
            ],
        ),
        (
            "nobody there",
            &format!("port: {port}"),
            "port: 1",
            exit::TEMPORARY,
            &["localhost", "`host`", "`port`"],
        ),
    ];
    for (name, from, to, code, says) in cases {
        println!("{name}");
        world.configure_but(ONLY_CUSTOMERS, &[(from, to)]);
        let ended = world.call(&["run"]);
        ended.expect(*code, says);
        ended.never_says("not-this-one");
        ended.never_says(world.emulator.password());
        let check = world.call(&["check"]);
        check.expect(exit::FAILURE, says);
        check.never_says("not-this-one");
        world.expect_nothing_done();
    }
}

#[test]
fn the_servers_own_certificate_or_its_authority_is_enough() {
    let world = World::with(CUSTOMERS);
    std::fs::write(world.path("server.pem"), world.emulator.certificate_pem()).unwrap();
    world.configure_but(
        ONLY_CUSTOMERS,
        &[("trust_server_certificate: true", "server_certificate: server.pem")],
    );
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    world.configure_but(
        ONLY_CUSTOMERS,
        &[(
            "trust_server_certificate: true",
            "server_certificate: nowhere.pem",
        )],
    );
    world
        .call(&["run"])
        .expect(exit::USAGE, &["server_certificate", "nowhere.pem"]);
    std::fs::write(world.path("authority.pem"), world.emulator.ca_pem()).unwrap();
    world.configure_but(ONLY_CUSTOMERS, &[("    trust_server_certificate: true\n", "")]);
    let mut command = world.command(&["run"]);
    command.env("SSL_CERT_FILE", world.path("authority.pem"));
    Ended::new(&command.output().unwrap()).expect(exit::SUCCESS, &[]);
}

#[test]
fn the_grants_that_check_prints_are_what_is_missing() {
    let world = World::with(CUSTOMERS);
    for database in ["shop", "mirror"] {
        let user = "CREATE USER sync_writer FOR LOGIN sync_writer";
        if database == "shop" {
            world.sql(
                database,
                "CREATE LOGIN sync_writer WITH PASSWORD = 'Wr1ter-Passw0rd!'",
            );
        }
        world.sql(database, user);
    }
    world.sql("shop", "DENY SELECT ON dbo.Customers TO sync_writer");
    let user = format!("user: {}", world.emulator.user());
    let password = format!("password: {}", world.emulator.password());
    let other = [
        (user.as_str(), "user: sync_writer"),
        (password.as_str(), "password: Wr1ter-Passw0rd!"),
    ];
    world.configure_but(ONLY_CUSTOMERS, &other);

    let denied = ["dbo.Customers", "229", "GRANT SELECT ON [dbo].[Customers]"];
    world.call(&["run"]).expect(exit::FAILURE, &denied);
    world.call(&["check"]).expect(exit::FAILURE, &denied);
    world.expect_nothing_done();

    world.sql("shop", "GRANT SELECT ON dbo.Customers TO sync_writer");
    let check = world.call(&["check"]);
    check.expect(
        exit::FAILURE,
        &["rights are missing", "GRANT VIEW SERVER STATE TO [<login>];"],
    );
    let missing = check.text.split("rights are missing").nth(1).unwrap();
    let grants: Vec<_> = missing
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("GRANT"))
        .collect();
    let expected = [
        "GRANT CREATE TABLE, CREATE SCHEMA TO [<user>];",
        "GRANT ALTER ON SCHEMA::[dbo] TO [<user>];",
    ];
    assert_eq!(grants, expected, "{}", check.text);
    for grant in grants {
        world.sql("mirror", &grant.replace("<user>", "sync_writer"));
    }
    let says = [
        "rights are sufficient",
        "GRANT SELECT ON [dbo].[Customers] TO [<user>];",
        "GRANT ALTER, SELECT, INSERT, UPDATE, DELETE ON SCHEMA::[dbo] TO [<user>];",
    ];
    world.call(&["check"]).expect(exit::SUCCESS, &says);
}

/// The log runs full at the first statement on data, at the fourth, and so on: nothing is lost, and the next run goes on.
#[test]
fn a_full_log_of_the_target_costs_a_run_and_no_row() {
    let world = World::with(CUSTOMERS);
    world.configure(ONLY_CUSTOMERS);
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    let mut failed = 0;
    for id in 3.. {
        world.sql(
            "shop",
            &format!(
                "INSERT dbo.Customers (id, name) VALUES ({id}, N'new');
                 UPDATE dbo.Customers SET name = N'{id}', updated_at = SYSUTCDATETIME() WHERE id = 1"
            ),
        );
        world
            .emulator
            .faults()
            .order(Fault::FullLog, "mirror", 3 * failed);
        let run = world.call(&["run"]);
        if run.code == exit::SUCCESS {
            break;
        }
        run.expect(exit::TEMPORARY, &["transaction log", "is full", "make room"]);
        failed += 1;
        world.call(&["run"]).expect(exit::SUCCESS, &[]);
        world
            .call(&["verify"])
            .expect(exit::SUCCESS, &["every row matches"]);
    }
    assert!(failed >= 4, "only {failed} runs met the full log");
}
