//! An emulator with a source and a target database, a directory, and calls of the program.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use sqlserver_emulator::{Emulator, EmulatorConfig, EngineConfig, Value};
use tempfile::TempDir;

/// Two customers, keyed and with a tracking column.
pub(crate) const CUSTOMERS: &str = "CREATE TABLE dbo.Customers (
    id int NOT NULL PRIMARY KEY, name nvarchar(20) NULL, updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME());
    INSERT dbo.Customers (id, name) VALUES (1, N'Ada'), (2, N'Grace')";

/// The entry that takes them.
pub(crate) const ONLY_CUSTOMERS: &str = "- table: dbo.Customers";

/// Exit codes, as `exit.rs` promises them to schedulers.
pub(crate) mod exit {
    pub(crate) const SUCCESS: i32 = 0;
    pub(crate) const FAILURE: i32 = 1;
    pub(crate) const USAGE: i32 = 2;
    pub(crate) const DIFFERENT: i32 = 3;
    pub(crate) const BUSY: i32 = 4;
    pub(crate) const TEMPORARY: i32 = 75;
}

/// How a call ended, and everything that it printed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) text: String,
}

impl Ended {
    pub(crate) fn new(output: &Output) -> Self {
        let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
        Self {
            code: output.status.code().unwrap(),
            text: text.concat(),
        }
    }

    /// Expects this exit code and each of these texts.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, says: &[&str]) -> &Self {
        assert_eq!(self.code, code, "{}", self.text);
        for part in says {
            assert!(
                self.text.contains(part),
                "{part:?} is missing from:\n{}",
                self.text
            );
        }
        self
    }

    /// Expects that this is nowhere in the output.
    #[track_caller]
    pub(crate) fn never_says(&self, secret: &str) {
        assert!(
            !self.text.contains(secret),
            "{secret:?} is in the output:\n{}",
            self.text
        );
    }
}

/// The databases `shop` and `mirror`, an empty warehouse and an empty state store.
pub(crate) struct World {
    pub(crate) emulator: Emulator,
    pub(crate) directory: TempDir,
}

impl World {
    /// A world whose source database has run this batch.
    pub(crate) fn with(source: &str) -> Self {
        let config = EmulatorConfig {
            engine: EngineConfig {
                databases: vec!["shop".into(), "mirror".into()],
                ..EngineConfig::default()
            },
            ..EmulatorConfig::default()
        };
        let world = Self {
            emulator: futures::executor::block_on(Emulator::start(config)).unwrap(),
            directory: TempDir::new().unwrap(),
        };
        world.sql("shop", source);
        world
    }

    /// Runs a batch without the wire, and returns its first result's rows.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, batch: &str) -> Vec<Vec<Value>> {
        let results = self
            .emulator
            .execute(database, batch)
            .unwrap_or_else(|error| panic!("{batch}: {error:?}"));
        results
            .into_iter()
            .next()
            .map(|result| result.rows)
            .unwrap_or_default()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the configuration of a relay with these entries under `tables`.
    pub(crate) fn configure(&self, tables: &str) {
        self.configure_but(tables, &[]);
    }

    /// The same, with texts replaced.
    #[track_caller]
    pub(crate) fn configure_but(&self, tables: &str, replace: &[(&str, &str)]) {
        let port = self.emulator.address().port();
        let (user, password) = (self.emulator.user(), self.emulator.password());
        let database = |name: &str| {
            format!(
                "  sqlserver:\n    host: localhost\n    port: {port}\n    database: {name}\n    user: {user}\n    \
                 password: {password}\n    trust_server_certificate: true\n"
            )
        };
        let mut text = format!(
            "sync: bad\nsource:\n{}target:\n{}iceberg:\n  filesystem:\n    warehouse: {}\nstate:\n  file: {}\n\
             run: {{ attempts: 1 }}\ntables:\n{tables}\n",
            database("shop"),
            database("mirror"),
            self.path("warehouse").display(),
            self.path("state").display(),
        );
        for (from, to) in replace {
            assert!(text.contains(from), "{from:?} is not in the configuration");
            text = text.replace(from, to);
        }
        std::fs::write(self.path("sync.yaml"), text).unwrap();
    }

    /// A call of the program.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.arguments(Command::new(env!("CARGO_BIN_EXE_sync-cli")), arguments)
    }

    /// A command that ends with the program, with its arguments.
    pub(crate) fn arguments(&self, mut command: Command, arguments: &[&str]) -> Command {
        command
            .args(arguments)
            .arg("--config")
            .arg(self.path("sync.yaml"));
        command.current_dir(self.directory.path()).env_remove("RUST_LOG");
        command
    }

    /// Calls the program and waits for its end.
    pub(crate) fn call(&self, arguments: &[&str]) -> Ended {
        Ended::new(&self.command(arguments).output().unwrap())
    }

    /// Starts the program.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The rows of a table of the target, in order of the first column.
    #[track_caller]
    pub(crate) fn target_rows(&self, table: &str) -> Vec<Vec<Value>> {
        self.sql("mirror", &format!("SELECT * FROM {table} ORDER BY 1"))
    }

    /// How many snapshots an Iceberg table has.
    #[track_caller]
    pub(crate) fn snapshots(&self, table: &str) -> usize {
        let ended = self.call(&["snapshots", table, "--output", "json"]);
        ended.expect(exit::SUCCESS, &[]);
        let snapshots: serde_json::Value = serde_json::from_str(&ended.text).unwrap();
        snapshots.as_array().unwrap().len()
    }

    /// Expects that there is no Iceberg table, and no table in the target but our own.
    #[track_caller]
    pub(crate) fn expect_nothing_done(&self) {
        let warehouse = self.path("warehouse");
        let namespaces = std::fs::read_dir(&warehouse).map_or(0, Iterator::count);
        assert_eq!(namespaces, 0, "there is something in {}", warehouse.display());
        let tables = self.sql(
            "mirror",
            "SELECT name FROM sys.tables WHERE SCHEMA_NAME(schema_id) <> N'_sync'",
        );
        assert!(tables.is_empty(), "the target has {tables:?}");
    }
}
