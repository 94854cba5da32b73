use std::fs::{self, File};
use std::path::PathBuf;

use tempfile::TempDir;

use super::super::local::LocalVersions;
use super::*;

/// Versions in a directory of their own.
struct Directory {
    _guard: TempDir,
    path: PathBuf,
    versions: Versions,
}

fn directory() -> Directory {
    let guard = TempDir::new().unwrap();
    let path = guard.path().join("t/metadata");
    Directory {
        versions: Versions::new(LocalVersions::new(format!("file://{}", path.display()))),
        path,
        _guard: guard,
    }
}

impl Directory {
    async fn publish(&self, after: u64) -> Publication {
        let json = format!("after {after}").into_bytes();
        self.versions
            .publish(after, json, &after.to_string())
            .await
            .unwrap()
    }

    /// Publishes the versions up to `number`.
    async fn with(number: u64) -> Self {
        let directory = directory();
        for after in 0..number {
            assert_eq!(directory.publish(after).await, Publication::Published);
        }
        directory
    }

    async fn newest(&self) -> Option<u64> {
        self.versions.newest().await.unwrap().map(|(number, _)| number)
    }

    fn hint(&self) -> String {
        fs::read_to_string(self.path.join(HINT)).unwrap()
    }

    fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("v{number}.metadata.json"))
    }

    async fn numbers(&self) -> Vec<u64> {
        self.versions
            .0
            .list()
            .await
            .unwrap()
            .iter()
            .map(|version| version.number)
            .collect()
    }
}

#[tokio::test]
async fn versions_count_up_and_leave_nothing_else_behind() {
    let directory = directory();
    assert_eq!(directory.newest().await, None);
    for after in 0..3 {
        assert_eq!(directory.publish(after).await, Publication::Published);
        assert_eq!(directory.newest().await, Some(after + 1));
        assert_eq!(directory.hint(), (after + 1).to_string());
    }
    assert_eq!(fs::read_dir(&directory.path).unwrap().count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_taken_once() {
    let directory = Directory::with(1).await;
    let racers = (0..8).map(|racer| {
        let versions = directory.versions.clone();
        tokio::spawn(async move {
            let json = format!("racer {racer}");
            let published = versions
                .publish(1, json.clone().into_bytes(), &racer.to_string())
                .await;
            (published.unwrap(), json)
        })
    });
    let outcomes: Vec<_> = futures::future::join_all(racers)
        .await
        .into_iter()
        .map(|ended| ended.unwrap())
        .collect();
    let winners: Vec<_> = outcomes
        .iter()
        .filter(|(outcome, _)| *outcome == Publication::Published)
        .collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(fs::read_to_string(directory.file(2)).unwrap(), winners[0].1);
}

/// The hint was never written or is damaged: nothing is lost, and the hint is repaired.
#[tokio::test]
async fn a_bad_hint_is_repaired() {
    for damage in [
        None,
        Some(&b""[..]),
        Some(b"abc"),
        Some(b"-3"),
        Some(b"\xff\xfe"),
        Some(b"99999999999999999999999"),
        Some(b"1 "),
    ] {
        let directory = Directory::with(3).await;
        let path = directory.path.join(HINT);
        match damage {
            None => fs::remove_file(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
        assert_eq!(directory.newest().await, Some(3), "{damage:?}");
        assert_eq!(directory.publish(3).await, Publication::Published);
        let repaired = (directory.newest().await, directory.hint());
        assert_eq!(repaired, (Some(4), "4".to_owned()), "{damage:?}");
    }
}

/// A writer died between publishing a version and raising the hint; other engines read what the hint names.
#[tokio::test]
async fn a_hint_that_lags_behind_is_raised() {
    let directory = Directory::with(3).await;
    fs::write(directory.path.join(HINT), "1").unwrap();
    assert_eq!(directory.newest().await, Some(3));
    assert_eq!(directory.hint(), "3");
}

#[tokio::test]
async fn a_hint_above_everything_says_what_was_lost() {
    let directory = Directory::with(2).await;
    fs::write(directory.path.join(HINT), "7").unwrap();
    let error = directory.versions.newest().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.message().contains("names 7, and the newest version is 2"),
        "{error}"
    );
    assert!(error.advice().contains("version-hint.text"), "{}", error.advice());
    assert_eq!(directory.hint(), "7");

    for number in directory.numbers().await {
        fs::remove_file(directory.file(number)).unwrap();
    }
    let error = directory.versions.newest().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn the_hint_never_goes_down() {
    let directory = Directory::with(3).await;
    directory.versions.0.raise_hint(1).await;
    assert_eq!(directory.hint(), "3");
}

#[tokio::test]
async fn a_writer_that_slept_across_pruning_does_not_win() {
    let directory = Directory::with(5).await;
    fs::remove_file(directory.file(1)).unwrap();
    fs::remove_file(directory.file(2)).unwrap();
    assert!(matches!(directory.publish(1).await, Publication::Uncertain(_)));
    assert_eq!(
        (directory.newest().await, directory.hint().as_str()),
        (Some(5), "5")
    );
}

#[tokio::test]
async fn pruning_goes_oldest_first_and_stops_at_what_is_young() {
    let directory = Directory::with(6).await;
    let written = directory.versions.0.list().await.unwrap()[5].written;
    let prune = async |keep_previous, age_ms| {
        let pruning = Pruning {
            keep_previous,
            now: Timestamp(written.0 + age_ms),
        };
        directory.versions.prune(pruning).await.unwrap();
        directory.numbers().await
    };

    assert_eq!(prune(2, MINIMUM_AGE_MS / 2).await, [1, 2, 3, 4, 5, 6]);

    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    for number in [1, 2, 4] {
        let file = File::options().write(true).open(directory.file(number)).unwrap();
        file.set_modified(old).unwrap();
    }
    assert_eq!(
        prune(2, MINIMUM_AGE_MS / 2).await,
        [3, 4, 5, 6],
        "4 is old, but 3 before it is not"
    );
    assert_eq!(prune(0, 10 * MINIMUM_AGE_MS).await, [6]);
}

/// A name that cannot be linked to and cannot be read may be ours all the same.
#[tokio::test]
async fn a_failed_link_that_cannot_be_looked_at_is_uncertain() {
    let directory = Directory::with(1).await;
    std::os::unix::fs::symlink("nowhere", directory.file(2)).unwrap();
    let published = directory.publish(1).await;
    assert!(matches!(published, Publication::Uncertain(_)), "{published:?}");
    assert_eq!(directory.newest().await, Some(1));
}
