//! An in-memory SQL Server that speaks TDS, for tests, demos and benchmarks.
