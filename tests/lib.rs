//! End-to-end suites; see `main.rs`.
