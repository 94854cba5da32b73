//! Random interleaved transactions of up to eight sessions against a model written from Microsoft's pages (Transaction locking and row
//! versioning, rowversion, MIN_ACTIVE_ROWVERSION, CHANGETABLE, cdc.*_CT), not from the engine. Half of the runs have READ_COMMITTED_SNAPSHOT.
//!
//! `MODEL_RUNS` sets the number of runs, `MODEL_SEED` the first seed: `MODEL_RUNS=400 cargo test --test engine model -- --nocapture`
//! shows what they met.

#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what the model does not expect ends the test"
)]
mod driver;
mod history;
mod random;
#[expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what the model does not expect ends the test"
)]
mod run;
#[expect(clippy::panic, reason = "what the model does not expect ends the test")]
mod statement;

use run::{Met, Run};

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

#[test]
fn random_transactions_agree_with_the_model() {
    let (runs, first) = (setting("MODEL_RUNS", 16), setting("MODEL_SEED", 1));
    let mut total = Met::default();
    let mut all = Vec::new();
    for seed in first..first + runs {
        let met = Run::new(seed).play();
        println!("seed {seed}: {met:?}");
        total.add(&met);
        all.push(met);
    }
    let share = |of: fn(&Met) -> u64| 100 * all.iter().filter(|met| of(met) > 0).count() as u64 / runs;
    let shares = [
        ("commits out of order", share(|met| met.commits_out_of_order)),
        ("waits for locks", share(|met| met.lock_waits)),
        ("error 3960", share(|met| met.stale)),
        ("error 1205", share(|met| met.deadlocks)),
    ];
    println!("seeds {first} to {}: in all {total:?}", first + runs - 1);
    for (what, share) in shares {
        println!("{share} % of the runs met {what}");
        assert!(share >= 30 || runs < 16, "only {share} % of the runs met {what}");
    }
    assert!(total.commits > runs, "hardly anything was committed: {total:?}");
}
