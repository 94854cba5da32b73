//! A virtual environment with the readers and clients that we did not write.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::{root, succeed};

/// Python with everything that some files of requirements name.
#[derive(Debug)]
pub(crate) struct Python {
    program: PathBuf,
}

impl Python {
    /// Makes the environment `name` below `target/`, or brings it up to date.
    pub(crate) fn prepare(name: &str, requirements: &[&str]) -> Result<Self> {
        let directory = root().join("target").join(name);
        let program = directory.join("bin/python");
        if !program.exists() {
            succeed(Command::new("python3").args(["-m", "venv"]).arg(&directory))
                .context("the task needs Python 3.11 or later with venv")?;
        }
        let mut install = Command::new(&program);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        for file in requirements {
            install.args(["--requirement", file]);
        }
        succeed(&mut install)?;
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
