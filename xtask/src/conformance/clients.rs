//! What is known of each client: `tests/conformance/clients.yaml`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::cases::{Case, Do};
use super::mode::Mode;

/// A client and its habits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Client {
    /// Its name.
    pub(crate) name: String,
    /// How it can connect.
    modes: Vec<Mode>,
    /// How many digits of a second's fraction its values keep; all seven unless said.
    #[serde(default = "seven")]
    pub(crate) fraction_digits: usize,
    /// Whether decimals come with the zeros at the end of their fraction.
    #[serde(default = "yes")]
    pub(crate) keeps_scale: bool,
    /// Which of a batch's counts it gives.
    pub(crate) counts: Counts,
    /// Why it gives none, of statements without a bulk load.
    #[serde(default)]
    no_counts: Option<String>,
    /// What it cannot do at all, and why that is so.
    #[serde(default)]
    lacks: BTreeMap<Do, String>,
    /// Types that it cannot bind as parameters, and why.
    #[serde(default)]
    cannot_bind: BTreeMap<String, String>,
    /// Types whose values it does not show in full, and why.
    #[serde(default)]
    cannot_show: BTreeMap<String, String>,
    /// Cases that fail by its own doing. One `*` stands for anything; a mode before the name limits it to that.
    #[serde(default)]
    defects: BTreeMap<String, Defect>,
}

/// A client's own mistake.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Defect {
    /// What it does wrong.
    pub(crate) reason: String,
    /// What the case then gives, with `%` for anything. Whatever else it gives is no defect of the client's.
    pub(crate) gives: String,
}

/// Which counts a client gives of a batch with several statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Counts {
    /// One for each statement that has one.
    All,
    /// As `All`, but a statement without a count looks as if it had none changed.
    Zeros,
    /// The last statement's.
    Last,
    /// Their sum.
    Sum,
}

fn yes() -> bool {
    true
}

fn seven() -> usize {
    7
}

impl Client {
    /// The modes to run, of those that are asked for; all without any.
    pub(crate) fn modes(&self, asked: &[Mode]) -> Vec<Mode> {
        let wanted = |mode: &Mode| asked.is_empty() || asked.contains(mode);
        self.modes.iter().copied().filter(wanted).collect()
    }

    /// Why it cannot run a case, if it cannot.
    pub(crate) fn cannot(&self, case: &Case) -> Option<&str> {
        case.steps.iter().find_map(|step| {
            let lacks = self.lacks.get(&step.action());
            let mut parameters = step.parameter_types();
            let cannot_bind = || parameters.find_map(|declared| self.cannot_bind.get(family(declared)));
            let shown = step
                .declared
                .as_deref()
                .and_then(|declared| self.cannot_show.get(family(declared)));
            let counted = || {
                self.no_counts
                    .as_ref()
                    .filter(|_| step.counts.is_some() && step.action() != Do::Bulk)
            };
            lacks
                .or(shown)
                .or_else(cannot_bind)
                .or_else(counted)
                .map(String::as_str)
        })
    }

    /// The defect of its own that explains why it fails a case.
    pub(crate) fn defect(&self, mode: Mode, case: &Case) -> Option<&Defect> {
        let name = case.full_name();
        let mode = format!("{mode} ");
        let fits = |pattern: &str| {
            let pattern = pattern.strip_prefix(&mode).unwrap_or(pattern);
            match pattern.split_once('*') {
                Some((start, end)) => name.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
                None => name == pattern,
            }
        };
        self.defects
            .iter()
            .find(|(pattern, _)| fits(pattern))
            .map(|(_, defect)| defect)
    }
}

/// A declared type without its length: `decimal` of `decimal(9,2)`.
pub(crate) fn family(declared: &str) -> &str {
    declared.split('(').next().unwrap_or(declared)
}

/// Reads the list.
pub(crate) fn load(directory: &Path) -> Result<Vec<Client>> {
    let path = directory.join("clients.yaml");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{} is not understood", path.display()))
}
