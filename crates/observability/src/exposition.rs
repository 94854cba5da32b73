//! Prometheus' text format, version 0.0.4: families of samples, and how counts go on from an earlier text.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::collections::{HashMap, HashSet};
use std::fmt;

/// What a metric's value does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows, until the process ends.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A gauge of what was last found: it holds until a run finds something else.
    Lasting,
}

/// A metric with its samples.
#[derive(Debug, PartialEq)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// One line of plain text.
    pub(crate) help: &'static str,
    pub(crate) samples: Vec<Sample>,
}

/// A value and what it is of.
#[derive(Debug, PartialEq)]
pub(crate) struct Sample {
    /// Name and labels, as the text has them.
    series: String,
    value: f64,
}

impl Sample {
    pub(crate) fn new(name: &str, labels: &[(&str, &str)], value: f64) -> Self {
        let labels: Vec<_> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", Escaped(value)))
            .collect();
        let series = match labels.is_empty() {
            true => name.to_owned(),
            false => format!("{name}{{{}}}", labels.join(",")),
        };
        Self { series, value }
    }
}

/// A label's value: backslash, double quote and line feed are escaped, everything else is as it is.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => write!(f, "{c}"),
        })
    }
}

/// Everything that is told at one moment.
#[derive(Debug, Default)]
pub(crate) struct Exposition(pub(crate) Vec<Family>);

impl Exposition {
    /// Counters go on from where they stood in `earlier`, which an exposition like this one was printed to. What has no sample this time
    /// stays as it was if it lasts; of table syncs that are not told of at all, and of the source, everything does if `others` is set.
    pub(crate) fn go_on_from(&mut self, earlier: &str, others: bool) {
        let mut stood: HashMap<&str, f64> = earlier.lines().filter_map(sample).collect();
        for family in &mut self.0 {
            for sample in &mut family.samples {
                let Some(stood) = stood.remove(sample.series.as_str()) else {
                    continue;
                };
                if family.kind == Kind::Counter {
                    sample.value += stood;
                }
            }
        }
        let samples = self.0.iter().flat_map(|family| &family.samples);
        let told: HashSet<String> = samples
            .filter_map(|sample| table_sync(&sample.series).map(str::to_owned))
            .collect();
        let mut left: Vec<_> = stood.into_iter().collect();
        left.sort_by_key(|(series, _)| *series);
        for (series, value) in left {
            let name = series.split('{').next();
            // What this version does not know any more is left behind.
            let Some(family) = self.0.iter_mut().find(|family| Some(family.name) == name) else {
                continue;
            };
            let stays = match table_sync(series) {
                Some(table) if told.contains(table) => family.kind != Kind::Gauge,
                _ => others,
            };
            if stays {
                let series = series.to_owned();
                family.samples.push(Sample { series, value });
            }
        }
    }
}

/// Those labels of a series that say of which table sync it is; the direction is the last of them. Quotes in a label's value are escaped, so
/// that none looks like this.
fn table_sync(series: &str) -> Option<&str> {
    const DIRECTION: &str = "\",direction=\"";
    let (_, labels) = series.split_once('{')?;
    let direction = labels.find(DIRECTION)? + DIRECTION.len();
    let length = labels[direction..].find('"')?;
    Some(&labels[..direction + length])
}

/// A line of samples. Label values hold no line feed, and the value no blank.
fn sample(line: &str) -> Option<(&str, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let value: f64 = value.parse().ok()?;
    (!line.starts_with('#') && value.is_finite()).then_some((series, value))
}

impl fmt::Display for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for family in &self.0 {
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge | Kind::Lasting => "gauge",
            };
            writeln!(f, "# HELP {} {}", family.name, family.help)?;
            writeln!(f, "# TYPE {} {kind}", family.name)?;
            for sample in &family.samples {
                writeln!(f, "{} {}", sample.series, sample.value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposition(counter: f64, gauge: f64) -> Exposition {
        let family = |name, kind, value| Family {
            name,
            kind,
            help: "What it is.",
            samples: vec![Sample::new(name, &[("table", "dbo.A")], value)],
        };
        Exposition(vec![
            family("rows_total", Kind::Counter, counter),
            family("age_seconds", Kind::Gauge, gauge),
        ])
    }

    #[test]
    fn labels_are_escaped_as_the_format_says() {
        for (value, escaped) in [
            ("plain", "plain"),
            (r#"a"b"#, r#"a\"b"#),
            (r"a\b", r"a\\b"),
            ("a\nb", r"a\nb"),
            (r"a\nb", r"a\\nb"),
            ("é{}=,🦀 #", "é{}=,🦀 #"),
        ] {
            assert_eq!(Escaped(value).to_string(), escaped);
        }
    }

    #[test]
    fn it_is_printed_as_the_format_says() {
        let expect = "# HELP rows_total What it is.\n# TYPE rows_total counter\nrows_total{table=\"dbo.A\"} 3\n\
                      # HELP age_seconds What it is.\n# TYPE age_seconds gauge\nage_seconds{table=\"dbo.A\"} 1.5\n";
        assert_eq!(exposition(3.0, 1.5).to_string(), expect);
    }

    #[test]
    fn counters_go_on_and_gauges_do_not() {
        let mut next = exposition(2.0, 7.0);
        next.go_on_from(&exposition(3.0, 1.5).to_string(), true);
        assert_eq!(next.to_string(), exposition(5.0, 7.0).to_string());
    }

    #[test]
    fn what_stays_without_a_sample_is_decided_by_kind_and_table() {
        fn of(table: &str) -> [(&str, &str); 3] {
            [("sync", "shop"), ("table", table), ("direction", "capture")]
        }
        // It looks as if the label ended in it.
        let hostile = "dbo.A\",direction=\"capture\",x=\"";
        let family = |name, kind, tables: &[&str]| Family {
            name,
            kind,
            help: "What it is.",
            samples: tables
                .iter()
                .map(|table| Sample::new(name, &of(table), 1.0))
                .collect(),
        };
        let exposition = |told: &[&str], all: &[&str]| {
            Exposition(vec![
                family("told_total", Kind::Counter, told),
                family("errors_total", Kind::Counter, all),
                family("age_seconds", Kind::Gauge, all),
                family("success_seconds", Kind::Lasting, all),
            ])
        };
        let tables = ["dbo.A", "dbo.B", hostile];
        let earlier = exposition(&tables, &tables).to_string() + "behind_seconds{sync=\"shop\"} 5\n";
        for others in [true, false] {
            let mut next = exposition(&["dbo.A"], &[]);
            next.0.push(family("behind_seconds", Kind::Gauge, &[]));
            next.go_on_from(&earlier, others);
            let text = next.to_string();
            for (name, table, stays) in [
                ("told_total", "dbo.A", true),
                ("errors_total", "dbo.A", true),
                ("success_seconds", "dbo.A", true),
                ("age_seconds", "dbo.A", false),
                ("errors_total", "dbo.B", others),
                ("age_seconds", "dbo.B", others),
                ("success_seconds", "dbo.B", others),
                ("errors_total", hostile, others),
                ("success_seconds", hostile, others),
            ] {
                let series = Sample::new(name, &of(table), 1.0).series;
                assert_eq!(
                    text.contains(&format!("\n{series} ")),
                    stays,
                    "{series} in:\n{text}"
                );
            }
            assert_eq!(
                text.contains("\nbehind_seconds{sync=\"shop\"} 5\n"),
                others,
                "{text}"
            );
        }
    }

    #[test]
    fn other_series_stay_if_they_are_to_and_are_known() {
        let earlier = "rows_total{table=\"dbo.B } 1\"} 4\nrows_total{table=\"x\"} NaN\nold_total{table=\"dbo.A\"} 1\nrubbish\n\n# x 1\n";
        for others in [true, false] {
            let mut next = exposition(2.0, 7.0);
            next.go_on_from(earlier, others);
            let text = next.to_string();
            assert_eq!(
                text.contains("rows_total{table=\"dbo.B } 1\"} 4\n"),
                others,
                "{text}"
            );
            let lines = exposition(2.0, 7.0).to_string().lines().count() + usize::from(others);
            assert_eq!(text.lines().count(), lines, "{text}");
        }
    }
}
