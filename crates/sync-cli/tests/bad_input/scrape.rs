//! A scrape, read as strictly as Prometheus' text format is written down.

use std::collections::{BTreeMap, BTreeSet};

/// A metric's labels and its value.
pub(crate) type Samples = Vec<(BTreeMap<String, String>, f64)>;

/// The samples of each metric, also of those that have none.
pub(crate) struct Scrape(pub(crate) BTreeMap<String, Samples>);

impl Scrape {
    /// Reads the text format, and takes nothing that <https://prometheus.io/docs/instrumenting/exposition_formats/> does not allow, nor what is
    /// bad manners: a metric without a meaning, a counter that is not called one, a series that is there twice.
    #[track_caller]
    pub(crate) fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line does not end");
        let mut metrics: BTreeMap<String, Samples> = BTreeMap::new();
        let mut series = BTreeSet::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let help = line
                .strip_prefix("# HELP ")
                .unwrap_or_else(|| panic!("no help: {line}"));
            let (name, meaning) = help.split_once(' ').unwrap();
            assert!(!meaning.is_empty(), "{line}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
            let kind = if name.ends_with("_total") {
                "counter"
            } else {
                "gauge"
            };
            assert_eq!(lines.next(), Some(format!("# TYPE {name} {kind}").as_str()));
            let mut samples = Samples::new();
            while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
                let rest = sample
                    .strip_prefix(name)
                    .unwrap_or_else(|| panic!("of another metric: {sample}"));
                let (labels, value) = labels(rest);
                assert!(
                    series.insert((name.to_owned(), labels.clone())),
                    "twice: {sample}"
                );
                samples.push((
                    labels,
                    value.parse().unwrap_or_else(|_| panic!("no number: {sample}")),
                ));
            }
            assert!(
                metrics.insert(name.to_owned(), samples).is_none(),
                "twice: {line}"
            );
        }
        Self(metrics)
    }

    /// The value of the one sample of a metric that has these labels.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels)
            .unwrap_or_else(|| panic!("{name} has no sample with {labels:?}: {:?}", self.0[name]))
    }

    #[track_caller]
    pub(crate) fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |found: &BTreeMap<String, String>| {
            labels
                .iter()
                .all(|(label, value)| found.get(*label).map(String::as_str) == Some(*value))
        };
        let samples = self.0.get(name).unwrap_or_else(|| panic!("there is no {name}"));
        let found: Vec<_> = samples.iter().filter(|(labels, _)| has(labels)).collect();
        assert!(
            found.len() <= 1,
            "{name} has more than one sample with {labels:?}"
        );
        found.first().map(|(_, value)| *value)
    }
}

/// The labels that a sample begins with, unescaped, and what follows them after a blank.
#[track_caller]
fn labels(text: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    let Some(mut rest) = text.strip_prefix('{') else {
        return (labels, text.strip_prefix(' ').unwrap());
    };
    loop {
        let (label, value) = rest.split_once("=\"").unwrap();
        assert!(
            label.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
            "{text}"
        );
        let (mut unescaped, mut chars) = (String::new(), value.char_indices());
        let end = loop {
            match chars.next().unwrap() {
                (end, '"') => break end,
                (_, '\\') => unescaped.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    c => panic!("\\{c} is no escape: {text}"),
                }),
                (_, c) => unescaped.push(c),
            }
        };
        assert!(labels.insert(label.to_owned(), unescaped).is_none(), "{text}");
        rest = &value[end + 1..];
        match rest.strip_prefix("} ") {
            Some(value) => return (labels, value),
            None => rest = rest.strip_prefix(',').unwrap(),
        }
    }
}
