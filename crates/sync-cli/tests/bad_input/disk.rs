//! A disk that is full: under the Iceberg warehouse, and under the state store. The disk is a small tmpfs in a mount namespace of its own,
//! which root may make, and whoever may make user namespaces. `cargo xtask test` runs these tests where one of both is allowed.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::world::{CUSTOMERS, Ended, ONLY_CUSTOMERS, World, exit};

/// A process whose mount namespace has the small disk. The disk goes with it.
struct Disk {
    holder: Child,
    mount: PathBuf,
}

impl Disk {
    /// A disk of so many kilobytes at `mount`.
    fn at(mount: PathBuf, kilobytes: u32) -> Self {
        std::fs::create_dir(&mount).unwrap();
        let mut unshare = Command::new("unshare");
        if is_root() {
            unshare.arg("--mount");
        } else {
            unshare.args(["--user", "--map-root-user", "--mount"]);
        }
        let script = format!("mount -t tmpfs -o size={kilobytes}k tmpfs \"$0\" && echo mounted && exec cat");
        let mut holder = unshare
            .args(["sh", "-c", &script])
            .arg(&mount)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("`unshare` of util-linux does not run: {error}"));
        let mut said = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap())
            .read_line(&mut said)
            .unwrap();
        assert_eq!(
            said, "mounted\n",
            "a small disk cannot be mounted: run this test as root, or allow user namespaces"
        );
        Self { holder, mount }
    }

    /// A command that runs where the disk is.
    fn command(&self) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &self.holder.id().to_string(), "--mount"]);
        if !is_root() {
            nsenter.args(["--user", "--preserve-credentials"]);
        }
        nsenter
    }

    fn resize(&self, kilobytes: u32) {
        let size = format!("remount,size={kilobytes}k");
        let mut remount = self.command();
        remount
            .args(["mount", "-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&self.mount);
        assert!(remount.status().unwrap().success());
    }

    /// Leaves so many kilobytes free.
    fn leave(&self, kilobytes: u32) {
        let mut df = self.command();
        df.args(["df", "--block-size=1k", "--output=used"])
            .arg(&self.mount);
        let said = String::from_utf8(df.output().unwrap().stdout).unwrap();
        let used: u32 = said.lines().nth(1).unwrap().trim().parse().unwrap();
        self.resize(used + kilobytes);
    }

    /// The data files on the disk.
    fn data_files(&self) -> usize {
        let mut find = self.command();
        find.arg("find").arg(&self.mount).args(["-name", "*.parquet"]);
        find.output().unwrap().stdout.split(|byte| *byte == b'\n').count() - 1
    }

    /// Calls `sync-cli` there.
    fn call(&self, world: &World, arguments: &[&str]) -> Ended {
        let mut command = self.command();
        command.arg(env!("CARGO_BIN_EXE_sync-cli"));
        Ended::new(&world.arguments(command, arguments).output().unwrap())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It has ended already if the test failed before.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

/// Rows that do not compress below half of their text: 400 digits of a hash each.
fn fill(world: &World, rows: u64) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut digits = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    };
    for id in 0..rows {
        let text: String = (0..25).map(|_| digits()).collect();
        world.sql(
            "shop",
            &format!("INSERT dbo.Big (id, text) VALUES ({id}, '{text}')"),
        );
    }
}

const BIG: &str = "CREATE TABLE dbo.Big (
    id int NOT NULL PRIMARY KEY, text varchar(400) NOT NULL, updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME())";

#[test]
#[ignore = "needs root or user namespaces; `cargo xtask test` runs it where it can"]
fn a_copy_that_fills_the_disk_resumes_when_there_is_room() {
    let world = World::with(BIG);
    fill(&world, 1_000);
    world.configure("- { table: dbo.Big, capture: { batch_size: 100 } }");
    let disk = Disk::at(world.path("warehouse"), 160);
    let full = disk.call(&world, &["run"]);
    full.expect(exit::TEMPORARY, &["No space left on device", "make room"]);
    assert!(world.sql("mirror", "SELECT OBJECT_ID(N'dbo.Big')")[0][0].is_null());

    disk.resize(16_384);
    let resumed = disk.call(&world, &["run", "--output", "json"]);
    resumed.expect(exit::SUCCESS, &[]);
    let report: serde_json::Value = serde_json::from_str(&resumed.text).unwrap();
    let captured = report["tables"][0]["records_inserted"].as_u64().unwrap();
    assert!(
        (1..1_000).contains(&captured),
        "{captured} rows after the disk was full"
    );
    disk.call(&world, &["verify"])
        .expect(exit::SUCCESS, &["every row matches"]);
    assert_eq!(world.target_rows("dbo.Big").len(), 1_000);
}

#[test]
#[ignore = "needs root or user namespaces; `cargo xtask test` runs it where it can"]
fn an_increment_that_fills_the_disk_is_made_when_there_is_room() {
    let world = World::with(BIG);
    world.configure("- table: dbo.Big");
    let disk = Disk::at(world.path("warehouse"), 160);
    disk.call(&world, &["run"]).expect(exit::SUCCESS, &[]);
    fill(&world, 1_000);
    for _ in 0..2 {
        let full = disk.call(&world, &["run"]);
        full.expect(exit::TEMPORARY, &["No space left on device", "make room"]);
        assert_eq!(disk.data_files(), 0, "a file was left behind");
        assert_eq!(world.target_rows("dbo.Big").len(), 0);
    }
    disk.resize(16_384);
    disk.call(&world, &["run"]).expect(exit::SUCCESS, &["1000"]);
    disk.call(&world, &["verify"])
        .expect(exit::SUCCESS, &["every row matches"]);
    assert_eq!(world.target_rows("dbo.Big").len(), 1_000);
}

/// Whichever file it is that finds no room: data, deletes, manifest, list of manifests, metadata.
#[test]
#[ignore = "needs root or user namespaces; `cargo xtask test` runs it where it can"]
fn no_file_that_finds_no_room_costs_a_row() {
    // A commit needs fourteen of them.
    const PAGES: u32 = 24;
    let world = World::with(BIG);
    fill(&world, 100);
    world.configure("- table: dbo.Big");
    let disk = Disk::at(world.path("warehouse"), 16_384);
    disk.call(&world, &["run"]).expect(exit::SUCCESS, &[]);
    let mut failed = 0;
    for pages in 0..PAGES {
        let change =
            format!("text = 'changed {pages}', updated_at = SYSUTCDATETIME() WHERE id % {PAGES} = {pages}");
        world.sql("shop", &format!("UPDATE dbo.Big SET {change}"));
        disk.leave(4 * pages);
        let ended = disk.call(&world, &["run"]);
        if ended.code != exit::SUCCESS {
            failed += 1;
            ended.expect(exit::TEMPORARY, &["No space left on device", "make room"]);
        }
        disk.resize(16_384);
        disk.call(&world, &["run"]).expect(exit::SUCCESS, &[]);
    }
    disk.call(&world, &["verify"])
        .expect(exit::SUCCESS, &["every row matches"]);
    assert!((6..PAGES).contains(&failed), "{failed} runs found no room");
}

/// The state store is a convenience: the run succeeds and says what it could not save, and the next one loses and doubles nothing.
#[test]
#[ignore = "needs root or user namespaces; `cargo xtask test` runs it where it can"]
fn a_full_disk_under_the_states_costs_a_warning() {
    for table in [CUSTOMERS.to_owned(), CUSTOMERS.replace("PRIMARY KEY", "")] {
        let world = World::with(&table);
        world.configure(ONLY_CUSTOMERS);
        let disk = Disk::at(world.path("state"), 4);
        let ballast = world.path("state/ballast");
        let fill = format!("head -c 4096 /dev/zero > '{}'", ballast.display());
        assert!(
            disk.command()
                .args(["sh", "-c", &fill])
                .status()
                .unwrap()
                .success()
        );
        let ended = disk.call(&world, &["run"]);
        ended.expect(
            exit::SUCCESS,
            &["warning", "could not be saved", "No space left on device"],
        );
        assert_eq!(world.target_rows("dbo.Customers").len(), 2);

        disk.resize(1_024);
        if table == CUSTOMERS {
            let ended = disk.call(&world, &["run", "--output", "json"]);
            ended.expect(exit::SUCCESS, &["\"records_written\": 0"]);
        } else {
            disk.call(&world, &["run"]).expect(exit::FAILURE, &["--full"]);
        }
        disk.call(&world, &["verify"])
            .expect(exit::SUCCESS, &["every row matches"]);
        assert_eq!(world.target_rows("dbo.Customers").len(), 2);
    }
}
