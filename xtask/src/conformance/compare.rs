//! What a client gave against what SQL Server's documentation says.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::cases::{Case, Step, rows};
use super::clients::{Client, Counts, family};
use super::job::{Failure, Outcome};

/// The texts of error messages as SQL Server's documentation lists them: `tests/conformance/messages.yaml`.
#[derive(Debug)]
pub(crate) struct Messages(BTreeMap<u32, String>);

impl Messages {
    /// Reads the list.
    pub(crate) fn load(directory: &Path) -> Result<Self> {
        let path = directory.join("messages.yaml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let texts =
            serde_saphyr::from_str(&text).with_context(|| format!("{} is not understood", path.display()))?;
        Ok(Self(texts))
    }

    /// Whether a client's error is one of these: by the number, where the client gives it, and by the text.
    fn fits(&self, numbers: &[u32], failure: &Failure) -> Result<(), String> {
        let texts: Option<Vec<_>> = numbers.iter().map(|number| self.0.get(number)).collect();
        let texts = texts.ok_or(format!("messages.yaml has no text for error {numbers:?}"))?;
        let known = failure.number.is_none_or(|got| numbers.contains(&got));
        if known && texts.iter().any(|text| contains(&failure.message, text)) {
            return Ok(());
        }
        Err(format!("error {numbers:?} ({texts:?}) expected, got {failure:?}"))
    }
}

/// Whether `text` has all parts of `template` between its `%` in order.
pub(super) fn contains(text: &str, template: &str) -> bool {
    let mut rest = text;
    template.split('%').all(|part| match rest.find(part) {
        Some(at) => {
            rest = rest.get(at + part.len()..).unwrap_or_default();
            true
        }
        None => false,
    })
}

/// The first difference between a case and its outcomes.
pub(crate) fn case(
    client: &Client,
    messages: &Messages,
    case: &Case,
    outcomes: &[Outcome],
) -> Result<(), String> {
    if outcomes.len() != case.steps.len() {
        return Err(format!(
            "{} steps have {} outcomes",
            case.steps.len(),
            outcomes.len()
        ));
    }
    for (number, (wanted, got)) in case.steps.iter().zip(outcomes).enumerate() {
        step(client, messages, wanted, got)
            .map_err(|difference| format!("step {}: {difference}", number + 1))?;
    }
    Ok(())
}

fn step(client: &Client, messages: &Messages, wanted: &Step, got: &Outcome) -> Result<(), String> {
    match (wanted.error, &got.error) {
        (None, Some(failure)) => return Err(format!("error {:?}: {}", failure.number, failure.message)),
        (Some(number), None) => return Err(format!("error {number} expected, got none")),
        (Some(number), Some(failure)) => {
            let numbers: Vec<_> = std::iter::once(number).chain(wanted.or_error).collect();
            messages.fits(&numbers, failure)?;
        }
        (None, None) => {}
    }
    if let Some(text) = &wanted.rows {
        results(client, wanted, text, got)?;
    }
    match &wanted.counts {
        Some(text) => counts(client, text, &got.counts),
        None => Ok(()),
    }
}

fn results(client: &Client, step: &Step, text: &str, got: &Outcome) -> Result<(), String> {
    let wanted: Vec<_> = match step.declared {
        Some(_) => vec![vec![cells(text)]],
        None => text.split("--\n").map(rows).collect(),
    };
    let declared = step.declared.as_deref().unwrap_or_default();
    let equal = wanted.len() == got.results.len()
        && wanted.iter().zip(&got.results).all(|(wanted, got)| {
            wanted.len() == got.len()
                && wanted.iter().zip(got).all(|(wanted, got)| {
                    wanted.len() == got.len()
                        && wanted.iter().zip(got).all(|(wanted, got)| {
                            normal(client, declared, wanted.as_deref())
                                == normal(client, declared, got.as_deref())
                        })
                })
        });
    if equal {
        return Ok(());
    }
    Err(format!(
        "rows {} expected, got {}",
        shown(&wanted),
        shown(&got.results)
    ))
}

/// The cells of a single value, which may itself hold line ends.
fn cells(text: &str) -> Vec<Option<String>> {
    let cell = |cell: &str| (cell != "NULL").then(|| cell.to_owned());
    match text.strip_suffix("|same") {
        Some(value) => vec![cell(value), Some("same".to_owned())],
        None => vec![cell(text)],
    }
}

/// A value in the form in which two are compared.
fn normal(client: &Client, declared: &str, text: Option<&str>) -> Option<String> {
    let text = text?;
    let number = |text: &str| {
        text.parse::<f64>()
            .map_or_else(|_| text.to_owned(), |number| format!("{number:e}"))
    };
    Some(match family(declared) {
        "float" => number(text),
        "real" => text
            .parse::<f32>()
            .map_or_else(|_| text.to_owned(), |number| format!("{number:e}")),
        "time" | "datetime" | "datetime2" | "smalldatetime" | "datetimeoffset" => {
            fraction(client.fraction_digits, text)
        }
        _ if !client.keeps_scale && text.parse::<f64>().is_ok() && text.contains('.') => {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => text.to_owned(),
    })
}

/// A time with as many digits of its fraction as the client keeps, and without zeros at the end.
fn fraction(digits: usize, text: &str) -> String {
    let Some((whole, rest)) = text.split_once('.') else {
        return text.to_owned();
    };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (fraction, zone) = rest.split_at(end);
    let kept = fraction
        .get(..digits.min(fraction.len()))
        .unwrap_or_default()
        .trim_end_matches('0');
    let point = if kept.is_empty() { "" } else { "." };
    format!("{whole}{point}{kept}{zone}")
}

fn counts(client: &Client, text: &str, got: &[Option<i64>]) -> Result<(), String> {
    let all: Vec<Option<i64>> = text.split_whitespace().map(|count| count.parse().ok()).collect();
    let last = all.last().copied().flatten();
    let fits = match client.counts {
        Counts::Zeros if all.iter().flatten().next().is_none() => {
            got.iter().flatten().all(|count| *count == 0)
        }
        Counts::All => all.iter().flatten().eq(got.iter().flatten()),
        Counts::Zeros => all
            .iter()
            .map(|count| count.unwrap_or(0))
            .eq(got.iter().map(|count| count.unwrap_or(0))),
        Counts::Last => last == got.last().copied().flatten(),
        Counts::Sum => all.iter().flatten().sum::<i64>() == got.iter().flatten().sum::<i64>(),
    };
    if fits {
        return Ok(());
    }
    Err(format!(
        "counts {all:?} expected ({:?}), got {got:?}",
        client.counts
    ))
}

fn shown(results: &[Vec<Vec<Option<String>>>]) -> String {
    let text = format!("{results:?}");
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_cut_to_what_a_client_keeps() {
        for (digits, text, expect) in [
            (7, "23:59:59.9999999", "23:59:59.9999999"),
            (6, "23:59:59.9999999", "23:59:59.999999"),
            (
                3,
                "2000-01-01 00:00:00.1200000 +01:00",
                "2000-01-01 00:00:00.12 +01:00",
            ),
            (7, "00:00:00.0000000", "00:00:00"),
            (7, "2000-01-01", "2000-01-01"),
        ] {
            assert_eq!(fraction(digits, text), expect);
        }
    }

    #[test]
    fn a_message_fits_its_template_with_words_around_it() {
        let template = "Violation of % constraint '%'.";
        assert!(contains(
            "[ODBC] Violation of PRIMARY KEY constraint 'pk'. Cannot …",
            template
        ));
        assert!(!contains("Violation of PRIMARY KEY 'pk'.", template));
    }
}
