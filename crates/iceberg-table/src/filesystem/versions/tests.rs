use tempfile::TempDir;

use super::*;

fn directory() -> (TempDir, Versions) {
    let directory = TempDir::new().unwrap();
    let versions = Versions::new(directory.path().join("t/metadata"));
    (directory, versions)
}

fn publish(versions: &Versions, after: u64) -> Publication {
    versions
        .publish(
            after,
            format!("after {after}").as_bytes(),
            &format!(".{after}.tmp"),
        )
        .unwrap()
}

fn newest(versions: &Versions) -> Option<u64> {
    versions.newest().unwrap().map(|version| version.number)
}

fn hint(versions: &Versions) -> String {
    fs::read_to_string(versions.directory.join(HINT)).unwrap()
}

fn numbers(versions: &Versions) -> Vec<u64> {
    versions
        .listed()
        .unwrap()
        .iter()
        .map(|version| version.number)
        .collect()
}

#[test]
fn versions_count_up_and_leave_nothing_else_behind() {
    let (_guard, versions) = directory();
    assert_eq!(newest(&versions), None);
    for after in 0..3 {
        assert_eq!(publish(&versions, after), Publication::Published);
        assert_eq!(newest(&versions), Some(after + 1));
        assert_eq!(hint(&versions), (after + 1).to_string());
    }
    assert_eq!(fs::read_dir(&versions.directory).unwrap().count(), 4);
}

#[test]
fn a_number_is_taken_once() {
    let (_guard, versions) = directory();
    publish(&versions, 0);
    let racers: Vec<_> = (0..8)
        .map(|racer| {
            let versions = versions.clone();
            std::thread::spawn(move || {
                let json = format!("racer {racer}");
                let published = versions
                    .publish(1, json.as_bytes(), &format!(".{racer}.tmp"))
                    .unwrap();
                (published, json)
            })
        })
        .collect();
    let outcomes: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
    let winners: Vec<_> = outcomes
        .iter()
        .filter(|(outcome, _)| *outcome == Publication::Published)
        .collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(fs::read_to_string(versions.path(2)).unwrap(), winners[0].1);
}

/// The hint was never written, or is damaged, or lags behind: nothing is lost, and the hint is repaired.
#[test]
fn a_bad_hint_is_repaired() {
    for damage in [
        None,
        Some(&b""[..]),
        Some(b"abc"),
        Some(b"-3"),
        Some(b"\xff\xfe"),
        Some(b"99999999999999999999999"),
        Some(b"1 "),
    ] {
        let (_guard, versions) = directory();
        (0..3).for_each(|after| assert_eq!(publish(&versions, after), Publication::Published));
        let path = versions.directory.join(HINT);
        match damage {
            None => fs::remove_file(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
        assert_eq!(newest(&versions), Some(3), "{damage:?}");
        assert_eq!(publish(&versions, 3), Publication::Published);
        assert_eq!(
            (newest(&versions), hint(&versions).as_str()),
            (Some(4), "4"),
            "{damage:?}"
        );
    }
}

#[test]
fn a_hint_above_everything_says_what_was_lost() {
    let (_guard, versions) = directory();
    (0..2).for_each(|after| assert_eq!(publish(&versions, after), Publication::Published));
    fs::write(versions.directory.join(HINT), "7").unwrap();
    let error = versions.newest().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.message().contains("names 7, and the newest version is 2"),
        "{error}"
    );
    assert!(error.advice().contains("version-hint.text"), "{}", error.advice());
    assert_eq!(hint(&versions), "7");

    numbers(&versions)
        .iter()
        .for_each(|number| fs::remove_file(versions.path(*number)).unwrap());
    assert_eq!(versions.newest().unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn the_hint_never_goes_down() {
    let (_guard, versions) = directory();
    (0..3).for_each(|after| assert_eq!(publish(&versions, after), Publication::Published));
    versions.write_hint(1);
    assert_eq!(hint(&versions), "3");
}

#[test]
fn a_writer_that_slept_across_pruning_does_not_win() {
    let (_guard, versions) = directory();
    (0..5).for_each(|after| assert_eq!(publish(&versions, after), Publication::Published));
    fs::remove_file(versions.path(1)).unwrap();
    fs::remove_file(versions.path(2)).unwrap();
    assert!(matches!(publish(&versions, 1), Publication::Uncertain(_)));
    assert_eq!((newest(&versions), hint(&versions).as_str()), (Some(5), "5"));
}

#[test]
fn pruning_goes_oldest_first_and_stops_at_what_is_young() {
    let (_guard, versions) = directory();
    (0..6).for_each(|after| assert_eq!(publish(&versions, after), Publication::Published));
    let written = modified(&versions.path(6)).unwrap();
    let prune = |keep_previous, age_ms| {
        versions
            .prune(Pruning {
                keep_previous,
                now: Timestamp(written.0 + age_ms),
            })
            .unwrap()
    };

    prune(2, MINIMUM_AGE_MS / 2);
    assert_eq!(numbers(&versions), [1, 2, 3, 4, 5, 6]);

    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    for number in [1, 2, 4] {
        File::options()
            .write(true)
            .open(versions.path(number))
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    prune(2, MINIMUM_AGE_MS / 2);
    assert_eq!(
        numbers(&versions),
        [3, 4, 5, 6],
        "4 is old, but 3 before it is not"
    );

    prune(0, 10 * MINIMUM_AGE_MS);
    assert_eq!(numbers(&versions), [6]);
}

/// A name that cannot be linked to and cannot be read may be ours all the same.
#[test]
fn a_failed_link_that_cannot_be_looked_at_is_uncertain() {
    let (_guard, versions) = directory();
    publish(&versions, 0);
    std::os::unix::fs::symlink("nowhere", versions.path(2)).unwrap();
    let published = publish(&versions, 1);
    assert!(matches!(published, Publication::Uncertain(_)), "{published:?}");
    assert_eq!(newest(&versions), Some(1));
}
