//! The matrix of clients and groups, and what is red in it.

use std::collections::BTreeMap;
use std::fmt;

use super::cases::Case;
use super::mode::Mode;

/// What a client's answer to one case is worth.
#[derive(Debug)]
pub(crate) enum Cell {
    /// As the documentation says.
    Passed,
    /// The client cannot ask, for this reason.
    NotApplicable(String),
    /// Fails by the client's own defect.
    Defect(String),
    /// Differs from the documentation.
    Failed(String),
}

#[derive(Debug, Default)]
struct Count {
    passed: usize,
    defects: usize,
    failed: usize,
}

#[derive(Debug)]
struct Row {
    label: String,
    groups: BTreeMap<String, Count>,
}

/// Clients × groups.
#[derive(Debug)]
pub(crate) struct Matrix {
    groups: Vec<String>,
    summary: String,
    rows: Vec<Row>,
    /// What failed, and for whom.
    failures: BTreeMap<String, Vec<String>>,
    notes: BTreeMap<String, usize>,
}

impl Matrix {
    /// An empty matrix over the groups of these cases.
    pub(crate) fn new(cases: &[Case]) -> Self {
        let mut groups: Vec<_> = cases.iter().map(|case| case.group.clone()).collect();
        groups.dedup();
        let errors = cases.iter().filter(|case| case.is_error_or_count()).count();
        Self {
            groups,
            summary: format!("{} cases, {errors} of them about errors or counts", cases.len()),
            rows: Vec::new(),
            failures: BTreeMap::new(),
            notes: BTreeMap::new(),
        }
    }

    /// A client that cannot be had: its whole row is red.
    pub(crate) fn not_installed(&mut self, client: &str, error: String) {
        let failure = format!("cannot be installed: {error}");
        self.failures.entry(failure).or_default().push(client.to_owned());
    }

    /// A client's answers in one mode.
    pub(crate) fn add<'a>(
        &mut self,
        client: &str,
        mode: Mode,
        cells: impl Iterator<Item = (&'a Case, Cell)>,
    ) {
        let label = format!("{client} {mode}");
        let mut groups: BTreeMap<String, Count> = BTreeMap::new();
        for (case, cell) in cells {
            let count = groups.entry(case.group.clone()).or_default();
            match cell {
                Cell::Passed => count.passed += 1,
                Cell::NotApplicable(reason) => {
                    *self
                        .notes
                        .entry(format!("{client}: not asked: {reason}"))
                        .or_default() += 1
                }
                Cell::Defect(reason) => {
                    count.defects += 1;
                    *self
                        .notes
                        .entry(format!("{client}: its own defect: {reason}"))
                        .or_default() += 1;
                }
                Cell::Failed(difference) => {
                    count.failed += 1;
                    let failure = format!("{}: {difference}", case.full_name());
                    self.failures.entry(failure).or_default().push(label.clone());
                }
            }
        }
        eprintln!("{label}: {}", shown(&groups));
        self.rows.push(Row { label, groups });
    }

    /// Whether every client got what the documentation says.
    pub(crate) fn is_green(&self) -> bool {
        self.failures.is_empty()
    }
}

fn shown(groups: &BTreeMap<String, Count>) -> String {
    let sum = |part: fn(&Count) -> usize| groups.values().map(part).sum::<usize>();
    format!(
        "{} passed, {} defects, {} failed",
        sum(|c| c.passed),
        sum(|c| c.defects),
        sum(|c| c.failed)
    )
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (
            self.passed + self.defects + self.failed,
            self.failed,
            self.defects,
        ) {
            (0, ..) => f.pad("–"),
            (_, 0, 0) => f.pad(&format!("{}", self.passed)),
            (_, 0, defects) => f.pad(&format!("{}+{defects}d", self.passed)),
            (_, failed, _) => f.pad(&format!("{} ✗{failed}", self.passed)),
        }
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.summary)?;
        write!(f, "{:<20}", "")?;
        for group in &self.groups {
            write!(f, " {group:>13}")?;
        }
        writeln!(f)?;
        for row in &self.rows {
            write!(f, "{:<20}", row.label)?;
            for group in &self.groups {
                match row.groups.get(group) {
                    Some(count) => write!(f, " {count:>13}")?,
                    None => write!(f, " {:>13}", "–")?,
                }
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "\nA number: cases passed; +Nd: N more fail by the client's own defect; ✗N: N failed."
        )?;
        for (note, cases) in &self.notes {
            writeln!(f, "  {note} ({cases})")?;
        }
        for (failure, labels) in &self.failures {
            writeln!(f, "✗ {failure} [{}]", labels.join(", "))?;
        }
        Ok(())
    }
}
