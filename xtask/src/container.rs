//! Microsoft's SQL Server image in a container that goes with the task, by testcontainers. This project's own machines have no Docker: it
//! is compiled in CI, and has not been run there.

use std::time::Duration;

use anyhow::{Context, Result};
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::SyncRunner;
use testcontainers::{Container, GenericImage, ImageExt};

const PORT: u16 = 1433;

/// A running server; removed when this is dropped.
#[derive(Debug)]
pub(crate) struct SqlServer {
    _container: Container<GenericImage>,
    /// Its port on this machine.
    pub(crate) port: u16,
}

impl SqlServer {
    /// Starts it, with this password of `sa`.
    pub(crate) fn start(password: &str) -> Result<Self> {
        let container = GenericImage::new("mcr.microsoft.com/mssql/server", "2022-latest")
            .with_exposed_port(PORT.tcp())
            .with_wait_for(WaitFor::message_on_stdout(
                "SQL Server is now ready for client connections",
            ))
            .with_wait_for(WaitFor::message_on_stdout("Recovery is complete"))
            .with_env_var("ACCEPT_EULA", "Y")
            .with_env_var("MSSQL_SA_PASSWORD", password)
            .with_env_var("MSSQL_PID", "Developer")
            .with_startup_timeout(Duration::from_secs(300))
            .start()
            .context("the task needs Docker, and could not start a container")?;
        let port = container
            .get_host_port_ipv4(PORT.tcp())
            .context("the container names no port")?;
        Ok(Self {
            _container: container,
            port,
        })
    }
}
