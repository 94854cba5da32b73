//! Drives checks, tests, the demo, the integration suite and the benchmarks.
fn main() {}
