//! Random interleaved transactions of up to eight sessions against a model written from Microsoft's pages (Transaction locking and row
//! versioning, rowversion, MIN_ACTIVE_ROWVERSION, CHANGETABLE, cdc.*_CT), not from the engine.
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
    let mut out_of_order = 0;
    for seed in first..first + runs {
        let met = Run::new(seed).play();
        out_of_order += u64::from(met.commits_out_of_order > 0);
        println!("seed {seed}: {met:?}");
        total.add(&met);
    }
    let share = 100 * out_of_order / runs;
    println!(
        "seeds {first} to {}: {share} % of the runs with commits out of order; in all {total:?}",
        first + runs - 1
    );
    assert!(share >= 30, "only {share} % of the runs commit out of order");
    assert!(total.commits > runs, "hardly anything was committed: {total:?}");
    if runs >= 16 {
        assert!(
            total.lock_waits > 0 && total.stale > 0 && total.deadlocks > 0,
            "the runs met too little: {total:?}"
        );
    }
}
