//! A process that dies, or is cancelled, at every point where it waits.

use model::{ErrorKind, RunStatus};
use test_support::{Faults, MemorySink, MemoryTracking, kill_after};

use super::world::{Process, TIMESTAMP, World, failed_as};

/// What a process dies in.
struct Scene {
    name: &'static str,
    tracking: MemoryTracking,
    keyed: bool,
    /// Whether the table was synchronised before.
    again: bool,
    full: bool,
    /// Whether the target wants rows of a first copy alone.
    alone: bool,
}

const SCENES: [Scene; 9] = [
    scene("the first copy", TIMESTAMP, true, false, false),
    scene(
        "the first copy of versions",
        MemoryTracking::Versions,
        true,
        false,
        false,
    ),
    Scene {
        alone: true,
        ..scene("a first copy staged alone", TIMESTAMP, true, false, false)
    },
    Scene {
        alone: true,
        ..scene(
            "a first copy of versions staged alone",
            MemoryTracking::Versions,
            true,
            false,
            false,
        )
    },
    scene("a copy without a key", TIMESTAMP, false, false, false),
    scene("an increment", TIMESTAMP, true, true, false),
    scene(
        "an increment of versions",
        MemoryTracking::Versions,
        true,
        true,
        false,
    ),
    scene("a full run", TIMESTAMP, true, true, true),
    scene(
        "a full run without a key",
        MemoryTracking::Nothing,
        false,
        true,
        true,
    ),
];

const fn scene(name: &'static str, tracking: MemoryTracking, keyed: bool, again: bool, full: bool) -> Scene {
    Scene {
        name,
        tracking,
        keyed,
        again,
        full,
        alone: false,
    }
}

impl Scene {
    async fn set(&self) -> World {
        let mut world = World::new(7, self.tracking, self.keyed);
        if self.alone {
            world = world.with_sink(MemorySink::staging_alone);
        }
        world.put(0..11, "first");
        if self.again {
            world.succeeds().await;
            world.put(8..15, "second");
            if self.tracking == MemoryTracking::Versions {
                world.source.delete(&world.table, [1, 14]);
            }
        }
        world
    }

    fn process(&self, world: &World) -> Process {
        let process = world.process(Faults::never());
        if self.full { process.full() } else { process }
    }

    /// The run after one that `ended`, or did not. Without a key, and without `--full`, rows are copied once: a run that ended is
    /// followed by a refusal, and so is one whose store was lost.
    async fn resumes(&self, world: &World, ended: Ended, when: &str) {
        let outcome = self.process(world).run().await;
        let refused = failed_as(&outcome, ErrorKind::Unsupported);
        let may_refuse = !self.keyed && !self.full && ended != Ended::Killed;
        assert!(
            outcome.report.status == RunStatus::Succeeded || (refused && may_refuse),
            "{}, {when}: {:?}",
            self.name,
            outcome.error
        );
        world.assert_equal(&format!("in {}, {when}", self.name));
    }
}

/// How the run before ended.
#[derive(Clone, Copy, PartialEq)]
enum Ended {
    InOrder,
    Killed,
    KilledWithItsStore,
}

#[tokio::test(start_paused = true)]
async fn a_killed_run_is_resumed() {
    for scene in &SCENES {
        let mut polls = 0;
        loop {
            let world = scene.set().await;
            let ended = match kill_after(polls, scene.process(&world).run()).await {
                Some(_) => Ended::InOrder,
                None => Ended::Killed,
            };
            scene
                .resumes(&world, ended, &format!("killed after {polls} polls"))
                .await;
            if ended == Ended::InOrder {
                break;
            }
            polls += 1;
        }
        assert!(polls > 5, "{} was hardly killed", scene.name);
    }
}

/// The store is lost with the process.
#[tokio::test(start_paused = true)]
async fn a_killed_run_is_resumed_without_the_store() {
    for scene in &SCENES {
        for polls in (0..60).step_by(2) {
            let world = scene.set().await;
            kill_after(polls, scene.process(&world).run()).await;
            world.store.lose();
            scene
                .resumes(
                    &world,
                    Ended::KilledWithItsStore,
                    &format!("killed after {polls} polls"),
                )
                .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_is_resumed() {
    for scene in &SCENES {
        let mut cancelled = 0;
        for yields in 0..60 {
            let world = scene.set().await;
            let process = scene.process(&world);
            let cancel = async {
                for _ in 0..yields {
                    tokio::task::yield_now().await;
                }
                process.cancel.cancel();
            };
            let (outcome, ()) = tokio::join!(process.run(), cancel);
            let status = outcome.report.status;
            assert!(
                matches!(status, RunStatus::Cancelled | RunStatus::Succeeded),
                "{status:?}"
            );
            cancelled += usize::from(status == RunStatus::Cancelled);
            let ended = match status {
                RunStatus::Succeeded => Ended::InOrder,
                _ => Ended::Killed,
            };
            scene
                .resumes(&world, ended, &format!("cancelled after {yields} yields"))
                .await;
        }
        assert!(cancelled > 3, "{} was hardly cancelled", scene.name);
    }
}
