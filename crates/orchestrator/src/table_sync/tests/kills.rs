//! A process that dies, or is cancelled, at every point where it waits.

use model::{ErrorKind, RunStatus};
use test_support::{Faults, MemoryTracking, kill_after};

use super::world::{Process, TIMESTAMP, World, failed_as};

/// What a process dies in.
struct Scene {
    name: &'static str,
    tracking: MemoryTracking,
    keyed: bool,
    /// Whether the table was synchronised before.
    again: bool,
    full: bool,
}

const SCENES: [Scene; 7] = [
    scene("the first copy", TIMESTAMP, true, false, false),
    scene(
        "the first copy of versions",
        MemoryTracking::Versions,
        true,
        false,
        false,
    ),
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
    }
}

impl Scene {
    async fn set(&self) -> World {
        let world = World::new(7, self.tracking, self.keyed);
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

    /// The run after the kill.
    async fn resumes(&self, world: &World, when: &str) {
        let outcome = self.process(world).run().await;
        let refused = !self.keyed && failed_as(&outcome, ErrorKind::Unsupported);
        assert!(
            refused || outcome.report.status == RunStatus::Succeeded,
            "{}, {when}: {:?}",
            self.name,
            outcome.error
        );
        world.assert_equal(&format!("in {}, {when}", self.name));
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_run_is_resumed() {
    for scene in &SCENES {
        let mut polls = 0;
        loop {
            let world = scene.set().await;
            let ended = kill_after(polls, scene.process(&world).run()).await;
            scene
                .resumes(&world, &format!("killed after {polls} polls"))
                .await;
            if ended.is_some() {
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
                .resumes(&world, &format!("killed after {polls} polls"))
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
            scene
                .resumes(&world, &format!("cancelled after {yields} yields"))
                .await;
        }
        assert!(cancelled > 3, "{} was hardly cancelled", scene.name);
    }
}
