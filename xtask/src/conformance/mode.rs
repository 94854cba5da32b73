//! How a client's connection is encrypted.

use serde::{Deserialize, Serialize};

/// The three ways to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Plain text; TLS for the login only where the client insists.
    Plain,
    /// TLS inside TDS 7.4 for everything.
    Tls,
    /// TDS 8.0: TLS before the first byte of TDS.
    Strict,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Tls => "tls",
            Self::Strict => "strict",
        })
    }
}
