//! Calls to cargo: what CI and the README run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// How programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build; already there after the tests.
    Dev,
    /// Optimised; for real amounts of data.
    Release,
}

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Runs a command in the root; its failure is ours.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command
        .current_dir(root())
        .status()
        .with_context(|| format!("{shown} did not start"))?;
    ensure!(status.success(), "{shown} ended with {status}");
    Ok(())
}

/// Cargo, the one that runs us, without what it told us of our own package: build scripts that look at those variables (of `ring`) would
/// run again each time that cargo is called by hand and by us in turn.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let own = name.to_string_lossy();
        if own.starts_with("CARGO_PKG_") || own.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs this very task again, built with what containers need. It is built beside, because a running program cannot be replaced everywhere.
pub(crate) fn run_with_docker() -> Result<()> {
    let mut command = cargo();
    command
        .args([
            "run",
            "--quiet",
            "--locked",
            "--bin",
            "xtask",
            "--features",
            "xtask/docker",
        ])
        .arg("--target-dir")
        .arg(target().join("docker"))
        .arg("--")
        .args(std::env::args_os().skip(1));
    succeed(&mut command)
}

/// Where everything is built.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Format, lints, documentation, and whether the lock file of the other workspace still fits ours.
pub(crate) fn check() -> Result<()> {
    succeed(cargo().args(["fmt", "--all", "--check"]))?;
    succeed(cargo().args([
        "fetch",
        "--quiet",
        "--locked",
        "--manifest-path",
        "fuzz/Cargo.toml",
    ]))?;
    let all = ["--workspace", "--locked", "--features", "xtask/docker"];
    let deny = ["--all-targets", "--", "-D", "warnings"];
    succeed(cargo().arg("clippy").args(all).args(deny))?;
    let mut documentation = cargo();
    documentation.arg("doc").args(all).arg("--no-deps");
    succeed(documentation.env("RUSTDOCFLAGS", "-D warnings"))
}

/// All tests, documentation examples included.
pub(crate) fn test() -> Result<()> {
    succeed(cargo().args(["test", "--workspace", "--locked"]))?;
    if !can_mount()? {
        println!(
            "\nNOT RUN: the tests of a full disk, which need root or user namespaces to mount a small one"
        );
        return Ok(());
    }
    let disk = ["test", "--workspace", "--locked", "--test", "bad_input"];
    succeed(cargo().args(disk).args(["--", "--ignored", "disk::"]))
}

/// Whether a disk can be mounted in a mount namespace, as the tests of a full disk do.
fn can_mount() -> Result<bool> {
    let user = Command::new("id")
        .arg("-u")
        .output()
        .context("`id` does not run")?;
    let mut unshare = Command::new("unshare");
    if user.stdout != b"0\n" {
        unshare.args(["--user", "--map-root-user"]);
    }
    let mounted = unshare
        .args(["--mount", "mount", "-t", "tmpfs", "tmpfs"])
        .arg(std::env::temp_dir())
        .output();
    // Not every system has the program.
    Ok(mounted.is_ok_and(|output| output.status.success()))
}

/// A run of some test programs, by name. Packages are not named, here and below: cargo would build for their features alone what is
/// there for those of the whole workspace.
pub(crate) fn test_program(names: &[&str]) -> Command {
    let mut command = cargo();
    command.args(["test", "--quiet", "--locked"]);
    for name in names {
        command.args(["--test", name]);
    }
    command
}

/// The adversarial suite with so many histories, telling what each found.
pub(crate) fn test_adversary(seeds: u32) -> Result<()> {
    let mut command = test_program(&["all"]);
    command.args(["--", "adversary::", "--nocapture"]);
    succeed(command.env("ADVERSARY_SEEDS", seeds.to_string()))
}

/// The tests that need readers and writers of others, in this Python.
pub(crate) fn test_readers(python: &Path) -> Result<()> {
    let mut command = test_program(&["sink", "reader"]);
    command.args(["--", "--ignored"]);
    succeed(command.env("READERS_PYTHON", python))
}

/// The live tests of the crates that send T-SQL and the end-to-end tests, with their sessions recorded in a directory. Without the
/// adversarial suite, which sends a great deal and nothing else.
pub(crate) fn test_recorded(directory: &Path) -> Result<()> {
    let mut command = test_program(&["live", "all", "bad_input"]);
    command.args(["--", "--skip", "adversary::"]);
    succeed(command.env("SQLSERVER_EMULATOR_RECORD", directory))
}

/// Builds the runner of the clients in Rust; gives its path.
pub(crate) fn build_conformance_client() -> Result<PathBuf> {
    let build = ["build", "--quiet", "--locked", "--example", "conformance_client"];
    succeed(cargo().args(build))?;
    Ok(target().join("debug/examples/conformance_client"))
}

/// Builds the emulator alone; gives its path.
pub(crate) fn build_emulator() -> Result<PathBuf> {
    build_emulator_of(root(), "--locked")
}

/// Builds the emulator of this workspace or of a copy of it that has another version; gives its path. `lock` says what may become of
/// the lock file.
pub(crate) fn build_emulator_of(tree: &Path, lock: &str) -> Result<PathBuf> {
    let manifest = tree.join("Cargo.toml");
    let mut command = cargo();
    command.args([
        "build",
        "--quiet",
        lock,
        "--bin",
        "sqlserver-emulator",
        "--manifest-path",
    ]);
    succeed(command.arg(manifest).arg("--target-dir").arg(target()))?;
    Ok(target().join("debug/sqlserver-emulator"))
}

/// One of the tests that write or read tables in `warehouse` for the sake of other engines.
pub(crate) fn interop_test(name: &str, warehouse: &Path, settings: &[(&str, u32)]) -> Result<()> {
    let mut command = test_program(&["histories"]);
    command.args([name, "--", "--ignored", "--nocapture"]);
    command.env("INTEROP_DIRECTORY", warehouse);
    for (setting, value) in settings {
        command.env(setting, value.to_string());
    }
    succeed(&mut command)
}

/// One case of the measurements of Iceberg tables, which leaves its tables in `warehouse` if somebody else is to have them.
pub(crate) fn bench_tables(case: &str, size: Option<u64>, warehouse: Option<&Path>) -> Result<()> {
    let mut command = cargo();
    command.args(["bench", "--quiet", "--locked", "--bench", "tables", "--", case]);
    command.args(size.map(|size| size.to_string()));
    if let Some(warehouse) = warehouse {
        command.env("BENCH_WAREHOUSE", warehouse);
    }
    succeed(&mut command)
}

/// Where `sync-cli` and the emulator are, once built.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// Builds both.
    pub(crate) fn build(profile: Profile) -> Result<Self> {
        Self::build_all(profile, &["sync-cli", "sqlserver-emulator"])
    }

    /// Builds both for measurements, and this program, whose workers are measured too.
    pub(crate) fn build_with_workers() -> Result<Self> {
        Self::build_all(Profile::Release, &["sync-cli", "sqlserver-emulator", "xtask"])
    }

    /// Builds the emulator and this program.
    pub(crate) fn build_emulator_with_workers() -> Result<Self> {
        Self::build_all(Profile::Release, &["sqlserver-emulator", "xtask"])
    }

    fn build_all(profile: Profile, names: &[&str]) -> Result<Self> {
        let mut command = cargo();
        command.args(["build", "--quiet", "--locked"]);
        for name in names {
            command.args(["--bin", name]);
        }
        if profile == Profile::Release {
            command.arg("--release");
        }
        succeed(&mut command)?;
        Ok(Self {
            directory: target().join(if profile == Profile::Release {
                "release"
            } else {
                "debug"
            }),
        })
    }

    /// The path of one of them.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}
