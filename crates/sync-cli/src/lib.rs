//! The sync engine's command line: the one place that names concrete parts.
