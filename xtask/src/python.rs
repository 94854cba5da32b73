//! A virtual environment with the readers and clients that we did not write.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::{root, succeed};

/// Python with everything of `tests/requirements.txt`.
#[derive(Debug)]
pub(crate) struct Python {
    program: PathBuf,
}

impl Python {
    /// Makes the environment below `target/`, or brings it up to date.
    pub(crate) fn prepare() -> Result<Self> {
        let directory = root().join("target/python");
        let program = directory.join("bin/python");
        if !program.exists() {
            succeed(Command::new("python3").args(["-m", "venv"]).arg(&directory))
                .context("the integration suite needs Python 3.11 or later with venv")?;
        }
        succeed(
            Command::new(&program)
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--requirement",
                ])
                .arg("tests/requirements.txt"),
        )?;
        Ok(Self { program })
    }

    /// The interpreter.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// A call of a script of ours, by its path from the root.
    pub(crate) fn script(&self, path: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(root().join(path));
        command
    }
}
