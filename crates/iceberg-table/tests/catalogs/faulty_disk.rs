//! A local disk on which each file operation of a commit fails once, in every way: see `faulty_disk.c`.
//!
//! A program cannot load that before its C library by itself, so [`again`] starts this one a second time.

use std::io::ErrorKind;
use std::process::Command;

use model::CommitOutcome;
use tempfile::TempDir;

use crate::place::{Place, new_table};
use crate::writer::{Writer, assert_files};

const DIRECTORY: &str = "FAULTY_DISK";

/// The test `name` of this program: a commit at each of whose file operations the disk fails, in a place on that disk.
pub(crate) fn loses_nothing<P: Place>(name: &str, place: impl FnOnce() -> P) {
    if std::env::var_os(DIRECTORY).is_none() {
        return again(name);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(a_fault_at_any_file_operation_loses_nothing(&place()));
}

/// Runs one test of this program on a faulty disk.
fn again(name: &str) {
    let directory = TempDir::new().unwrap();
    let library = directory.path().join("faulty_disk.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/catalogs/faulty_disk.c");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wall", source, "-ldl", "-o"])
        .arg(&library)
        .status();
    assert!(compiled.unwrap().success());
    let disk = directory.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("LD_PRELOAD", library)
        .env(DIRECTORY, &disk)
        .env("TMPDIR", &disk)
        .output()
        .unwrap();
    let said = [run.stdout, run.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    println!("{said}");
    assert!(run.status.success() && said.contains("1 passed"));
}

/// How an operation fails.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// It is not carried out.
    Not,
    /// It is carried out and answered with an error.
    Answered,
    /// It is carried out twice, and the second answer counts.
    Twice,
}

/// The operation number `at` from now on fails.
fn fail(way: Way, at: usize) {
    let way = match way {
        Way::Not => 'b',
        Way::Answered => 'a',
        Way::Twice => 't',
    };
    let answer = std::fs::metadata(format!("/faulty-disk/{way}/{at}")).unwrap_err();
    assert_eq!(answer.kind(), ErrorKind::NotFound);
}

/// Nothing fails any more. Whether something did.
fn heal() -> bool {
    let answer = std::fs::metadata("/faulty-disk/heal").unwrap_err();
    answer.kind() != ErrorKind::NotFound
}

async fn a_fault_at_any_file_operation_loses_nothing(place: &dyn Place) {
    for way in [Way::Not, Way::Answered, Way::Twice] {
        let mut failed = 0;
        while is_survived(place, way, failed).await {
            failed += 1;
        }
        println!("{way:?}: {failed} file operations failed");
        assert!(failed >= 10, "{way:?}: {failed} file operations failed");
    }
}

/// A commit during which the disk fails, then one by somebody else, then the first is sent again. Whether the disk failed at all: the
/// commit has so many operations.
async fn is_survived(place: &dyn Place, way: Way, at: usize) -> bool {
    let name = new_table(place).await;
    let foreign = Writer::new(place.catalog(), &name, "foreign");
    let ours = Writer::new(place.catalog(), &name, "ours");
    let mut acknowledged = Vec::new();
    let earlier = foreign.one_row(&foreign.load().await).await;
    acknowledged.push(foreign.send_until_known(&earlier).await);
    let commit = ours.one_row(&foreign.load().await).await;
    fail(way, at);
    let ended = ours.send(&commit).await;
    let has_failed = heal();
    if let Err(error) = &ended {
        let table = foreign.load().await;
        let unchanged = table.metadata().snapshots().len() == 1;
        assert!(unchanged, "{way:?} at {at}: it was committed after {error}");
    }
    if !has_failed {
        assert!(matches!(ended, Ok(CommitOutcome::Committed(_))), "{ended:?}");
    }
    let later = foreign.one_row(&foreign.load().await).await;
    acknowledged.push(foreign.send_until_known(&later).await);
    acknowledged.push(ours.send_until_known(&commit).await);
    assert_files(place.catalog().as_ref(), &name, &acknowledged).await;
    has_failed
}
