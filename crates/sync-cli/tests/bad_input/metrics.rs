//! What an operator watches: metrics and health over HTTP beside `run --follow`, and a file after a run that ends.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value as Json;

use crate::follow::{FOLLOW, Following, names, until};
use crate::scrape::Scrape;
use crate::world::{CUSTOMERS, ONLY_CUSTOMERS, World, exit};

const TRACKED: &str = "- table: dbo.Customers\n  capture: { mode: change_tracking }";
const CAPTURING: &str = "EXEC sys.sp_cdc_enable_db;
     EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'Customers', @role_name = NULL;";
const CAPTURED: &str = "- table: dbo.Customers\n  capture: { mode: cdc }";
const TRACKING: &str = "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS); \
     ALTER TABLE dbo.Customers ENABLE CHANGE_TRACKING";

/// A sync that goes on and is watched.
struct Watched {
    following: Following,
    address: String,
}

impl Watched {
    fn start(world: &World, tables: &str) -> Self {
        configure(world, tables, "listen: 127.0.0.1:0");
        let following = Following::start(world, &["-v", "--output", "json"]);
        let address = following.logged("metrics are served address=");
        Self { following, address }
    }

    /// Status and body.
    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    #[track_caller]
    fn scrape(&self) -> Scrape {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        Scrape::read(&text)
    }

    fn health(&self) -> (u16, Json) {
        let (status, body) = self.get("/health");
        (status, serde_json::from_str(&body).unwrap())
    }
}

fn configure(world: &World, tables: &str, observability: &str) {
    let settings = format!("{FOLLOW}\nobservability: {{ {observability} }}");
    world.configure_but(tables, &[("run: { attempts: 1 }", &settings)]);
}

#[test]
fn the_metrics_are_what_the_report_says() {
    let world = World::with(CUSTOMERS);
    world.sql("shop", TRACKING);
    let watched = Watched::start(&world, TRACKED);
    until("the copy", || names(&world, "dbo.Customers").len() == 2);
    world.sql(
        "shop",
        "INSERT dbo.Customers (id, name) VALUES (3, N'Edsger'), (4, N'Barbara'), (5, N'Tony');
         UPDATE dbo.Customers SET name = N'Ada L.' WHERE id = 1; DELETE dbo.Customers WHERE id = 2",
    );
    let apply = [("table", "dbo.Customers"), ("direction", "apply")];
    let deleted = [apply[0], apply[1], ("operation", "delete")];
    until("the changes", || {
        watched.scrape().value("sync_written_rows_total", &deleted) == 1.0
    });
    // A cycle is counted after its last commit.
    let cycles = [apply[0], apply[1], ("outcome", "succeeded")];
    until("the end of the cycle", || {
        watched.scrape().value("sync_cycles_total", &cycles) >= 2.0
    });
    until("health", || watched.health().0 == 200);
    let (_, health) = watched.health();
    assert_eq!(
        (&health["healthy"], &health["tables"]),
        (&Json::Bool(true), &Json::from(2))
    );
    let scrape = watched.scrape();
    let (ended, out) = watched.following.stop("TERM");
    ended.expect(exit::SUCCESS, &[]);

    let last: Json = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let tables = last["tables"].as_array().unwrap();
    assert_eq!(tables.len(), 2, "{last}");
    for table in tables {
        let direction = match table["direction"].as_str().unwrap() {
            "source → iceberg" => "capture",
            _ => "apply",
        };
        let of = [
            ("sync", "bad"),
            ("table", "dbo.Customers"),
            ("direction", direction),
        ];
        let with = |label| [of[0], of[1], of[2], label];
        let count = |name: &str| table[name].as_u64().unwrap() as f64;
        assert_eq!(
            scrape.value("sync_read_rows_total", &of),
            count("records_processed")
        );
        for operation in ["insert", "update", "delete"] {
            let written = scrape.value("sync_written_rows_total", &with(("operation", operation)));
            let reported = match operation {
                "insert" => "records_inserted",
                "update" => "records_updated",
                _ => "records_deleted",
            };
            assert_eq!(written, count(reported), "{operation} {direction}: {table}");
        }
        // The copy, and at least one increment.
        assert!(scrape.value("sync_commits_total", &of) >= 2.0);
        assert!(scrape.value("sync_cycles_total", &with(("outcome", "succeeded"))) >= 2.0);
        for failed in ["failed", "gap", "cancelled", "skipped"] {
            assert_eq!(scrape.value("sync_cycles_total", &with(("outcome", failed))), 0.0);
        }
        assert_eq!(scrape.value("sync_last_cycle_succeeded", &of), 1.0);
        let success = scrape.value("sync_last_success_timestamp_seconds", &of);
        let in_step = scrape.value("sync_in_step_timestamp_seconds", &of);
        // A look that finds nothing later moves the one and not the other.
        for time in [success, in_step] {
            assert!((1.7e9..4e9).contains(&time), "{time} is no time in seconds");
        }
    }
    let kept = [("table", "dbo.Customers"), ("direction", "capture")];
    assert_eq!(scrape.value("sync_history_retention_seconds", &kept), 172_800.0);
    assert_eq!(scrape.find("sync_history_retention_seconds", &apply), None);
    assert!(scrape.value("sync_committed_bytes_total", &kept) > 0.0);
    assert_eq!(scrape.find("sync_committed_bytes_total", &apply), None);
    if cfg!(target_os = "linux") {
        assert!(scrape.value("process_resident_memory_bytes", &[]) > 1e6);
    }
    assert_eq!(
        scrape.value("sync_build_info", &[("version", env!("CARGO_PKG_VERSION"))]),
        1.0
    );
}

#[test]
fn a_table_that_fails_makes_the_sync_unhealthy_and_is_named_with_the_reason() {
    let world = World::with(CUSTOMERS);
    world.sql(
        "shop",
        "CREATE TABLE dbo.Keyless (name nvarchar(20) NULL); INSERT dbo.Keyless VALUES (N'secret row')",
    );
    let watched = Watched::start(&world, "- table: dbo.*");
    let failed = [
        ("table", "dbo.Keyless"),
        ("direction", "capture"),
        ("kind", "unsupported"),
    ];
    // It is copied once; the second cycle refuses.
    until("the failure", || {
        watched.scrape().find("sync_errors_total", &failed) > Some(0.0)
    });
    until("the other table", || names(&world, "dbo.Customers").len() == 2);
    let of = |table| [("table", table), ("direction", "capture")];
    until("the end of its cycle", || {
        watched
            .scrape()
            .find("sync_last_cycle_succeeded", &of("dbo.Customers"))
            == Some(1.0)
    });
    assert_eq!(
        watched
            .scrape()
            .value("sync_last_cycle_succeeded", &of("dbo.Keyless")),
        0.0
    );
    let health = || {
        let (status, health) = watched.health();
        assert_eq!((status, &health["healthy"]), (503, &Json::Bool(false)));
        health["unhealthy"].as_array().unwrap().clone()
    };
    let named = |table: &str| {
        health()
            .into_iter()
            .filter(|entry| entry["table"] == table)
            .collect::<Vec<_>>()
    };
    until("health of the other table", || named("dbo.Customers").is_empty());
    let keyless = named("dbo.Keyless");
    let why = |direction: &str| {
        let mut entries = keyless.iter().filter(|entry| entry["direction"] == direction);
        entries.next().unwrap()["why"].as_str().unwrap()
    };
    let captured = why("capture");
    assert!(
        captured.contains("unsupported") && captured.contains("mode: full"),
        "{captured}"
    );
    assert!(why("apply").contains("the step before it"), "{keyless:?}");
    assert!(!watched.get("/health").1.contains("secret"));
    watched
        .following
        .stop("TERM")
        .0
        .expect(exit::FAILURE, &["dbo.Keyless"]);
}

#[test]
fn a_capture_that_stands_still_is_seen() {
    let world = World::with(CUSTOMERS);
    world.sql(
        "shop",
        &format!("{CAPTURING} EXEC sys.sp_cdc_stop_job @job_type = N'capture'"),
    );
    let watched = Watched::start(&world, CAPTURED);
    until("the look at the capture", || {
        watched.scrape().find("sync_capture_job_running", &[]).is_some()
    });
    let scrape = watched.scrape();
    assert_eq!(scrape.value("sync_capture_job_running", &[]), 0.0);
    assert_eq!(scrape.value("sync_capture_agent_running", &[]), 1.0);
    assert_eq!(
        scrape.value("sync_capture_findings", &[("severity", "error")]),
        1.0
    );
    // The clean-up job spares three days, as a new one does.
    let capture = [("table", "dbo.Customers"), ("direction", "capture")];
    assert_eq!(
        scrape.value("sync_history_retention_seconds", &capture),
        259_200.0
    );
    drop(watched);
}

/// What is between the program and the server. Once it is still nothing passes any more, and nothing is closed.
struct Between {
    address: SocketAddr,
    still: Arc<AtomicBool>,
}

impl Between {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let between = Self {
            address: listener.local_addr().unwrap(),
            still: Arc::default(),
        };
        let still = between.still.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                for (from, to) in [(client, server), back] {
                    let still = still.clone();
                    thread::spawn(move || pass(from, to, &still));
                }
            }
        });
        between
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, still: &AtomicBool) {
    let mut buffer = [0; 1 << 14];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        while still.load(Ordering::SeqCst) {
            thread::park();
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// The source is asked at the end of a run how its capture stands. It does not answer.
#[test]
fn a_source_that_falls_silent_keeps_no_run_from_its_end_and_what_it_said_is_not_told_any_more() {
    let world = World::with(CUSTOMERS);
    world.sql("shop", CAPTURING);
    let between = Between::to(world.emulator.address());
    let file = world.path("sync_bad.prom");
    let port = format!("port: {}", world.emulator.address().port());
    let settings = format!(
        "run: {{ attempts: 1, follow: {{ interval: 50ms, max_interval: 200ms, stop_within: 1s }} }}\n\
         observability: {{ listen: 127.0.0.1:0, textfile: {} }}",
        file.display()
    );
    let between_port = format!("port: {}", between.address.port());
    world.configure_but(
        CAPTURED,
        &[("run: { attempts: 1 }", &settings), (&port, &between_port)],
    );
    let following = Following::start(&world, &["-v"]);
    let address = following.logged("metrics are served address=");
    let watched = Watched { following, address };
    until("the look at the capture", || {
        watched.scrape().find("sync_capture_job_running", &[]) == Some(1.0)
    });
    until("the copy", || names(&world, "dbo.Customers").len() == 2);
    between.still.store(true, Ordering::SeqCst);
    let (ended, _) = watched.following.stop("TERM");
    assert!(
        ended
            .text
            .contains("does not tell in time how its capture stands"),
        "{}",
        ended.text
    );
    let scrape = Scrape::read(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(scrape.find("sync_capture_job_running", &[]), None);
    let capture = [("table", "dbo.Customers"), ("direction", "capture")];
    assert!(scrape.value("sync_last_success_timestamp_seconds", &capture) > 1.7e9);
}

#[test]
fn a_table_that_fails_from_the_start_has_its_last_success_of_the_run_before() {
    let world =
        World::with("CREATE TABLE dbo.Keyless (name nvarchar(20) NULL); INSERT dbo.Keyless VALUES (N'x')");
    let entry = "- table: dbo.Keyless";
    world.configure(entry);
    // It is copied once; then a table without a key is refused.
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    let watched = Watched::start(&world, entry);
    let of = [("table", "dbo.Keyless"), ("direction", "capture")];
    until("the failure", || {
        watched.scrape().find("sync_last_cycle_succeeded", &of) == Some(0.0)
    });
    let scrape = watched.scrape();
    assert!(scrape.value("sync_last_success_timestamp_seconds", &of) > 1.7e9);
    assert_eq!(scrape.find("sync_in_step_timestamp_seconds", &of), None);
    watched.following.stop("TERM");
}

#[test]
fn a_hostile_name_stays_within_its_label() {
    let name = "a\"} 1\\n\nfake_total{x=\"\\";
    let world = World::with(&CUSTOMERS.replace("dbo.Customers", &format!("[{name}]")));
    let watched = Watched::start(&world, "- table: dbo.*");
    let table = format!("dbo.[{name}]");
    let of = [
        ("table", table.as_str()),
        ("direction", "capture"),
        ("operation", "insert"),
    ];
    until("the copy", || {
        watched.scrape().find("sync_written_rows_total", &of) == Some(2.0)
    });
    let (_, health) = watched.health();
    for entry in health["unhealthy"].as_array().unwrap() {
        assert_eq!(entry["table"], table, "{health}");
    }
    watched.following.stop("TERM");
}

#[test]
fn an_address_that_is_taken_is_told_before_anything_is_done() {
    let world = World::with(CUSTOMERS);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    configure(&world, ONLY_CUSTOMERS, &format!("listen: {address}"));
    let says = ["cannot listen on", &address, "observability.listen"];
    world.call(&["run", "--follow"]).expect(exit::USAGE, &says);
    world.expect_nothing_done();
    // A run that ends serves nothing, and is not kept from its work.
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
}

#[test]
fn check_warns_of_an_address_that_others_can_reach() {
    let world = World::with(CUSTOMERS);
    for (address, warned) in [
        ("0.0.0.0:9464", true),
        ("127.0.0.1:9464", false),
        ("'[::1]:9464'", false),
    ] {
        configure(&world, ONLY_CUSTOMERS, &format!("listen: {address}"));
        let ended = world.call(&["check"]);
        ended.expect(exit::SUCCESS, &[]);
        assert_eq!(
            ended.text.contains("! metrics: whoever can reach 0.0.0.0:9464"),
            warned,
            "{}",
            ended.text
        );
        assert_eq!(ended.text.contains("metrics:"), warned, "{}", ended.text);
    }
}

#[test]
fn a_run_that_ends_leaves_its_counts_in_a_file_that_go_on_from_run_to_run() {
    let world = World::with(CUSTOMERS);
    let file = world.path("sync_bad.prom");
    configure(&world, ONLY_CUSTOMERS, &format!("textfile: {}", file.display()));
    let inserted = [
        ("table", "dbo.Customers"),
        ("direction", "apply"),
        ("operation", "insert"),
    ];
    let succeeded = [
        ("table", "dbo.Customers"),
        ("direction", "apply"),
        ("outcome", "succeeded"),
    ];
    for (id, rows) in [(3, 3.0), (4, 4.0)] {
        world.sql(
            "shop",
            &format!("INSERT dbo.Customers (id, name) VALUES ({id}, N'x')"),
        );
        world.call(&["run"]).expect(exit::SUCCESS, &[]);
        let scrape = Scrape::read(&std::fs::read_to_string(&file).unwrap());
        assert_eq!(scrape.value("sync_written_rows_total", &inserted), rows);
        assert_eq!(scrape.value("sync_cycles_total", &succeeded), rows - 2.0);
    }
    world
        .call(&["check"])
        .expect(exit::SUCCESS, &["metrics: their file can be written"]);

    let missing = world.path("missing/sync.prom");
    configure(
        &world,
        ONLY_CUSTOMERS,
        &format!("textfile: {}", missing.display()),
    );
    let says = ["cannot write the file of metrics", "missing/sync.prom"];
    world.call(&["run"]).expect(exit::SUCCESS, &says);
    world.call(&["check"]).expect(exit::FAILURE, &says);
}

/// The metrics that an expression names, each with the labels that it is asked for by.
fn named(expression: &str) -> Vec<(String, Vec<String>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut named = Vec::new();
    let mut rest = expression;
    while let Some(begin) = rest.find(is_name) {
        let end = rest[begin..]
            .find(|c| !is_name(c))
            .map_or(rest.len(), |end| begin + end);
        let word = &rest[begin..end];
        rest = &rest[end..];
        if !word.starts_with("sync_") && !word.starts_with("process_") {
            continue;
        }
        let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let labels = matchers.into_iter().flat_map(|(matchers, _)| matchers.split(','));
        let labels = labels.map(|matcher| matcher.split(['=', '!']).next().unwrap().trim().to_owned());
        named.push((word.to_owned(), labels.collect()));
    }
    named
}

/// Every text under this key, at any depth.
fn texts<'a>(json: &'a Json, key: &str, found: &mut Vec<&'a str>) {
    match json {
        Json::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Json::String(text) if name == key => found.push(text),
                    value => texts(value, key, found),
                }
            }
        }
        Json::Array(values) => values.iter().for_each(|value| texts(value, key, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_and_the_alerts_name_metrics_that_exist() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/monitoring");
    let dashboard = std::fs::read_to_string(format!("{docs}/grafana.json")).unwrap();
    let dashboard: Json = serde_json::from_str(&dashboard).unwrap();
    let alerts = std::fs::read_to_string(format!("{docs}/alerts.yaml")).unwrap();
    let alerts: Json = serde_saphyr::from_str(&alerts).unwrap();
    let mut expressions = Vec::new();
    texts(&dashboard, "expr", &mut expressions);
    texts(&dashboard, "definition", &mut expressions);
    let panels = expressions.len();
    texts(&alerts, "expr", &mut expressions);
    assert!(panels >= 10 && expressions.len() - panels >= 8, "{expressions:?}");

    let world = World::with(CUSTOMERS);
    world.sql("shop", TRACKING);
    let watched = Watched::start(&world, TRACKED);
    until("the copy", || names(&world, "dbo.Customers").len() == 2);
    let scrape = watched.scrape();
    watched.following.stop("TERM");
    for expression in expressions {
        let named = named(expression);
        assert!(!named.is_empty(), "{expression} names no metric");
        for (name, labels) in named {
            let samples = scrape.0.get(&name);
            let samples = samples.unwrap_or_else(|| panic!("there is no {name}, as in {expression}"));
            for (found, _) in samples {
                for label in &labels {
                    assert!(
                        found.contains_key(label),
                        "{name} has no label {label}, as in {expression}"
                    );
                }
            }
        }
    }
}
