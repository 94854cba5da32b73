//! Whether the list finds mistakes: an emulator is built from a copy of the sources that can make each mistake of
//! `tests/conformance/mutants.yaml`, and is asked to make one at a time. The sources themselves know nothing of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::cargo::{build_emulator_of, root};

/// Says which mistake the emulator is to make.
pub(super) const VARIABLE: &str = "EMULATOR_MUTANT";

/// A mistake.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mutant {
    /// What it does wrong.
    pub(super) name: String,
    /// Its file below the emulator's `src`.
    file: PathBuf,
    /// Text that is there once; what is between `«` and `»` is changed.
    r#in: String,
    /// What stands there instead.
    to: String,
}

impl Mutant {
    /// The source with a choice between right and wrong.
    fn planted(&self, source: &str) -> Result<String> {
        let parts = self.r#in.split_once('«').and_then(|(before, rest)| {
            let (right, after) = rest.split_once('»')?;
            Some((before, right, after))
        });
        let (before, right, after) = parts.with_context(|| format!("{}: « and » are missing", self.name))?;
        let whole = format!("{before}{right}{after}");
        let found = source.matches(&whole).count();
        ensure!(
            found == 1,
            "{}: {whole:?} is {found} times in {}",
            self.name,
            self.file.display()
        );
        let (name, wrong) = (&self.name, &self.to);
        let choice = format!("(if crate::mutants::on({name:?}) {{ {wrong} }} else {{ {right} }})");
        Ok(source.replacen(&whole, &format!("{before}{choice}{after}"), 1))
    }
}

/// The mistakes, and the emulator that can make them.
pub(super) fn build(list: &Path) -> Result<(Vec<Mutant>, PathBuf)> {
    let text = std::fs::read_to_string(list).with_context(|| format!("{} cannot be read", list.display()))?;
    let mutants: Vec<Mutant> =
        serde_saphyr::from_str(&text).with_context(|| format!("{} is not understood", list.display()))?;
    let tree = super::toolchains::directory().join("mutants");
    copy_sources(&tree)?;
    let sources = tree.join("crates/sqlserver-emulator/src");
    for mutant in &mutants {
        let file = sources.join(&mutant.file);
        let source =
            std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        std::fs::write(&file, mutant.planted(&source)?)?;
    }
    let library = sources.join("lib.rs");
    let module = format!(
        "\nmod mutants {{\n    pub(crate) fn on(name: &str) -> bool {{\n        \
         static ONE: std::sync::LazyLock<Option<String>> = std::sync::LazyLock::new(|| std::env::var({VARIABLE:?}).ok());\n        \
         ONE.as_deref() == Some(name)\n    }}\n}}\n"
    );
    let source = std::fs::read_to_string(&library)?;
    // A choice stands in parentheses wherever it is.
    std::fs::write(&library, format!("#![allow(unused_parens)]\n{source}{module}"))?;
    // Of the same version, cargo would take it for the emulator itself, of which it has a build already.
    let manifest = tree.join("Cargo.toml");
    let own =
        std::fs::read_to_string(&manifest)?.replacen("\nversion = \"", "\nversion = \"0.0.0-mutants.", 1);
    std::fs::write(&manifest, own)?;
    let built = build_emulator_of(&tree, "--offline")?;
    let emulator = super::toolchains::directory().join("emulator-of-mutants");
    std::fs::copy(&built, &emulator).with_context(|| format!("{} cannot be copied", built.display()))?;
    Ok((mutants, emulator))
}

/// Copies what git knows of the tree, so that the workspace is whole.
fn copy_sources(to: &Path) -> Result<()> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .context("git is needed for a list of the sources")?;
    ensure!(
        listed.status.success(),
        "git ls-files ended with {}",
        listed.status
    );
    let paths = String::from_utf8(listed.stdout)?;
    for path in paths.split_terminator('\0') {
        let (from, to) = (root().join(path), to.join(path));
        if let Some(directory) = to.parent() {
            std::fs::create_dir_all(directory)?;
        }
        // Unchanged files keep their times, so that cargo builds only what changed.
        let content = std::fs::read(&from).with_context(|| format!("{} cannot be read", from.display()))?;
        if std::fs::read(&to).ok().as_ref() != Some(&content) {
            std::fs::write(&to, content)?;
        }
    }
    Ok(())
}
