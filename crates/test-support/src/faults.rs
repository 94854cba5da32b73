//! What goes wrong, and when: by a seed, or by a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use model::{Error, ErrorKind};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;

/// How one call goes wrong. What only makes sense for a commit fails before the call elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails with this kind and did nothing.
    Before(ErrorKind),
    /// The call does its work and the answer is lost: a commit ends as unknown, another call as unavailable.
    AnswerLost,
    /// A commit is lost on its way and ends as unknown.
    RequestLost,
    /// A commit ends as unknown and happens while the sink is called for the next time.
    LandsLate,
    /// A commit ends as a conflict although nobody else committed.
    Conflict,
    /// A commit happens, and its process dies before it hears of that: the call never returns, see [`Faults::killed`]. No seed
    /// decides for it.
    Killed,
}

const ALL: [Fault; 6] = [
    Fault::Before(ErrorKind::Transient),
    Fault::Before(ErrorKind::Unavailable),
    Fault::AnswerLost,
    Fault::RequestLost,
    Fault::LandsLate,
    Fault::Conflict,
];

/// Decides for each call whether it goes wrong. Clones share the decision, so several wrappers can draw from one seed.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    plan: Mutex<Plan>,
    killed: Notify,
}

#[derive(Debug)]
enum Plan {
    Never,
    Seeded { random: Box<StdRng>, one_in: u32 },
    Scripted(VecDeque<Option<Fault>>),
}

impl Faults {
    fn new(plan: Plan) -> Self {
        Self(Arc::new(Shared {
            plan: Mutex::new(plan),
            killed: Notify::new(),
        }))
    }

    /// Nothing goes wrong.
    pub fn never() -> Self {
        Self::new(Plan::Never)
    }

    /// One call in `one_in` goes wrong, in a way that the seed decides.
    pub fn seeded(seed: u64, one_in: u32) -> Self {
        let random = Box::new(StdRng::seed_from_u64(seed));
        Self::new(Plan::Seeded { random, one_in })
    }

    /// Each call takes the next entry; after the last one nothing goes wrong.
    pub fn scripted(calls: impl IntoIterator<Item = Option<Fault>>) -> Self {
        Self::new(Plan::Scripted(calls.into_iter().collect()))
    }

    /// From now on nothing goes wrong.
    pub fn stop(&self) {
        *self.plan() = Plan::Never;
    }

    /// Waits until a call was [killed](Fault::Killed). Whoever waits then drops the process's future.
    pub async fn killed(&self) {
        self.0.killed.notified().await;
    }

    /// Dies.
    pub(crate) async fn die<T>(&self) -> T {
        self.0.killed.notify_one();
        std::future::pending().await
    }

    /// What goes wrong with the next call.
    pub(crate) fn draw(&self) -> Option<Fault> {
        match &mut *self.plan() {
            Plan::Never => None,
            Plan::Seeded { random, one_in } => random
                .random_ratio(1, *one_in)
                .then(|| ALL[random.random_range(0..ALL.len())]),
            Plan::Scripted(calls) => calls.pop_front().flatten(),
        }
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.0.plan.lock().expect("no test panics while it draws a fault")
    }
}

impl Fault {
    /// The error of a call that fails without having done anything.
    pub(crate) fn error(self) -> Error {
        let kind = match self {
            Self::Before(kind) => kind,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, "the test made this call fail").with("fault", format!("{self:?}"))
    }
}
