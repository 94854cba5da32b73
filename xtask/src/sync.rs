//! Calls of `sync-cli` on one configuration, as a user makes them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cargo::{Programs, root};
use crate::server::Server;

/// `sync-cli` with a configuration file and the environment that it names.
#[derive(Debug)]
pub(crate) struct SyncCli {
    program: PathBuf,
    config: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl SyncCli {
    /// Uses a copy of `config`, a path from the root, against `server`, with warehouse and state below `directory`.
    pub(crate) fn new(programs: &Programs, config: &str, server: &Server, directory: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(root().join(config))
            .with_context(|| format!("{config} cannot be read"))?;
        Self::of(programs, &text, server, directory)
    }

    /// The same with the text of a configuration.
    pub(crate) fn of(programs: &Programs, text: &str, server: &Server, directory: &Path) -> Result<Self> {
        let text = match server.server_certificate {
            Some(_) => text.to_owned(),
            None => text.replace(
                "server_certificate: ${DEMO_SERVER_CERTIFICATE}",
                "trust_server_certificate: true",
            ),
        };
        let config = directory.join("sync.yaml");
        std::fs::write(&config, text)?;
        let server_certificate = server.server_certificate.as_deref().unwrap_or(Path::new(""));
        let environment = vec![
            ("DEMO_HOST", server.host.to_owned()),
            ("DEMO_PORT", server.port.to_string()),
            ("DEMO_USER", server.user.to_owned()),
            ("DEMO_PASSWORD", server.password.to_owned()),
            (
                "DEMO_SERVER_CERTIFICATE",
                server_certificate.display().to_string(),
            ),
            ("DEMO_DIRECTORY", directory.display().to_string()),
        ];
        Ok(Self {
            program: programs.path("sync-cli"),
            config,
            environment,
        })
    }

    /// A call of it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config).args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it with its output shown, and returns its exit code.
    pub(crate) fn show(&self, arguments: &[&str]) -> Result<i32> {
        println!("$ sync-cli {}", arguments.join(" "));
        let status = self
            .command(arguments)
            .status()
            .context("sync-cli did not start")?;
        println!();
        status.code().context("sync-cli was killed")
    }

    /// Runs it with its output shown; it must succeed.
    pub(crate) fn must(&self, arguments: &[&str]) -> Result<()> {
        let code = self.show(arguments)?;
        ensure!(code == 0, "`sync-cli {}` ended with {code}", arguments.join(" "));
        Ok(())
    }

    /// Runs it with `--output json`, and returns its exit code and what it printed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<(i32, Value)> {
        let output = self
            .command(arguments)
            .args(["--output", "json"])
            .output()
            .context("sync-cli did not start")?;
        let code = output.status.code().context("sync-cli was killed")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let value = serde_json::from_str(&text).with_context(|| {
            format!(
                "`sync-cli {}` printed {text:?} and {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            )
        })?;
        Ok((code, value))
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// The variables that the configuration needs, as a shell takes them.
    pub(crate) fn exports(&self) -> String {
        self.environment
            .iter()
            .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', "'\\''")))
            .collect()
    }
}
