//! The section `observability`: where metrics are to be had.

use std::net::SocketAddr;
use std::path::PathBuf;

use model::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Period;

/// What an operator watches runs by: metrics in Prometheus' text format, and the health of each table.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Observability {
    /// Where `sync-cli run --follow` serves `/metrics` and `/health`, an address of this machine with a port such as `127.0.0.1:9464`; nowhere
    /// by default. There is no login and no TLS: on any other address than one of the loopback everybody who can reach it reads the
    /// names of tables, and their counts.
    pub listen: Option<SocketAddr>,
    /// A table counts as unhealthy that has not been in step for so long, although nothing has failed.
    pub stale_after: Period,
    /// A file that each `sync-cli run` leaves its metrics in when it ends, for the textfile collector of node_exporter. Its name
    /// ends with `.prom`, its directory exists, and each sync has one of its own.
    pub textfile: Option<PathBuf>,
}

impl Default for Observability {
    fn default() -> Self {
        Self {
            listen: None,
            stale_after: Period::seconds(900),
            textfile: None,
        }
    }
}

impl Observability {
    /// Whether others than this machine can read the metrics.
    pub(crate) fn is_open_to_others(&self) -> bool {
        self.listen
            .is_some_and(|address| !address.ip().to_canonical().is_loopback())
    }

    pub(super) fn validate(&self, max_interval: Period) -> Result<()> {
        let fail = |field: &str, why: &str| {
            let message = format!("`observability.{field}`: {why}");
            Err(Error::new(ErrorKind::Config, message))
        };
        // Only files of this name are collected.
        if let Some(file) = &self.textfile
            && file.extension().is_none_or(|extension| extension != "prom")
        {
            return fail("textfile", "must name a file that ends with `.prom`");
        }
        if self.listen.is_some() && self.stale_after <= max_interval {
            return fail("stale_after", "must be longer than `run.follow.max_interval`");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_is_closed_to_others() {
        for (address, open) in [
            ("127.0.0.1:9464", false),
            ("127.9.9.9:1", false),
            ("[::1]:9464", false),
            ("[::ffff:127.0.0.1]:9464", false),
            ("0.0.0.0:9464", true),
            ("[::]:9464", true),
            ("10.0.0.7:9464", true),
        ] {
            let settings = Observability {
                listen: Some(address.parse().unwrap()),
                ..Observability::default()
            };
            assert_eq!(settings.is_open_to_others(), open, "{address}");
        }
        assert!(!Observability::default().is_open_to_others());
    }
}
