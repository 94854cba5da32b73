//! LIKE and PATINDEX: `%`, `_`, `[a-c]`, `[^a-c]` and an escape character. Blanks at the end of a pattern count; those
//! at the end of the text count only in Unicode.

use std::cmp::Ordering;

use super::compare::{compare, plain_equals};
use crate::collation::Collation;
use crate::value::Value;

/// One element of a pattern.
#[derive(Debug, Clone, PartialEq)]
enum Element {
    /// `%`
    Any,
    /// `_`
    One,
    /// A character of its own.
    Exact(u16),
    /// `[…]`, with ranges; a single character is a range of one.
    Class { negated: bool, ranges: Vec<(u16, u16)> },
}

/// A pattern ready to match.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pattern {
    elements: Vec<Element>,
    collation: &'static Collation,
    ignores_trailing_blanks: bool,
}

impl Pattern {
    /// A class without its closing bracket matches nothing, as in SQL Server.
    pub(super) fn new(pattern: &[u16], escape: Option<u16>, collation: &'static Collation) -> Self {
        let mut elements = Vec::new();
        let mut rest = pattern;
        while let Some((&unit, tail)) = rest.split_first() {
            rest = tail;
            let element = match char::from_u32(u32::from(unit)) {
                _ if Some(unit) == escape => {
                    let Some((&literal, tail)) = rest.split_first() else {
                        break;
                    };
                    rest = tail;
                    Element::Exact(literal)
                }
                Some('%') => Element::Any,
                Some('_') => Element::One,
                Some('[') => class(&mut rest, escape),
                _ => Element::Exact(unit),
            };
            elements.push(element);
        }
        Self {
            elements,
            collation,
            ignores_trailing_blanks: false,
        }
    }

    /// The pattern as it is applied to `char` and `varchar`, when neither side is Unicode.
    pub(super) fn ignoring_trailing_blanks(self) -> Self {
        Self {
            ignores_trailing_blanks: true,
            ..self
        }
    }

    fn is_end(&self, rest: &[u16]) -> bool {
        rest.is_empty() || self.ignores_trailing_blanks && rest.iter().all(|unit| *unit == u16::from(b' '))
    }

    /// Whether all of `text` matches.
    pub(super) fn matches(&self, text: &[u16]) -> bool {
        let (mut at, mut element) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match self.elements.get(element) {
                Some(Element::Any) => {
                    retry = Some((at, element + 1));
                    element += 1;
                    continue;
                }
                Some(one) if text.get(at).is_some_and(|unit| self.accepts(one, *unit)) => {
                    at += 1;
                    element += 1;
                    continue;
                }
                None if self.is_end(&text[at..]) => return true,
                _ => {}
            }
            // Let the last `%` take one more character.
            let Some((from, after)) = retry else { return false };
            if from >= text.len() {
                return false;
            }
            retry = Some((from + 1, after));
            (at, element) = (from + 1, after);
        }
    }

    fn accepts(&self, element: &Element, unit: u16) -> bool {
        match element {
            Element::Any => false,
            Element::One => true,
            Element::Exact(expected) => plain_equals(&[unit], &[*expected], self.collation)
                .unwrap_or_else(|| self.order(unit, *expected).is_eq()),
            Element::Class { negated, ranges } => {
                let within = ranges
                    .iter()
                    .any(|(low, high)| self.order(unit, *low).is_ge() && self.order(unit, *high).is_le());
                within != *negated
            }
        }
    }

    fn order(&self, a: u16, b: u16) -> Ordering {
        if a == b {
            return Ordering::Equal;
        }
        let blank = u16::from(b' ');
        if a == blank || b == blank {
            // A sort key drops blanks; here they count.
            return a.cmp(&b);
        }
        let text = |unit: u16| Value::Str([unit].as_slice().into());
        compare(&text(a), &text(b), Some(self.collation)).unwrap_or(Ordering::Less)
    }
}

fn class(rest: &mut &[u16], escape: Option<u16>) -> Element {
    let caret = u16::from(b'^');
    let negated = rest.first() == Some(&caret);
    if negated {
        *rest = &rest[1..];
    }
    let mut members = Vec::new();
    loop {
        let Some((&unit, tail)) = rest.split_first() else {
            return Element::Class {
                negated: false,
                ranges: Vec::new(),
            };
        };
        *rest = tail;
        if Some(unit) == escape
            && let Some((&literal, tail)) = tail.split_first()
        {
            *rest = tail;
            members.push((literal, false));
        } else if unit == u16::from(b']') {
            break;
        } else {
            members.push((unit, unit == u16::from(b'-')));
        }
    }
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some((low, _)) = members.get(at) {
        match (members.get(at + 1), members.get(at + 2)) {
            (Some((_, true)), Some((high, _))) => {
                ranges.push((*low, *high));
                at += 3;
            }
            _ => {
                ranges.push((*low, *low));
                at += 1;
            }
        }
    }
    Element::Class { negated, ranges }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documentation: "LIKE (Transact-SQL)", with its examples.
    #[test]
    fn patterns_match_as_documented() {
        let units = |text: &str| text.encode_utf16().collect::<Vec<_>>();
        for (text, pattern, escape, expected) in [
            ("computer", "%put%", None, true),
            ("Sean", "_ean", None, true),
            ("Carsen", "[C-P]arsen", None, true),
            ("barsen", "[C-P]arsen", None, false),
            ("del", "de[^l]%", None, false),
            ("den", "de[^l]%", None, true),
            ("5%", "5[%]", None, true),
            ("a_b", "a!_b", Some('!'), true),
            ("axb", "a!_b", Some('!'), false),
            ("]", "]", None, true),
            ("[", "[[]", None, true),
            ("a", "A", None, true),
            ("a", "a ", None, false),
            ("a ", "a", None, false),
            ("ab", "a", None, false),
            ("aab", "%ab", None, true),
            ("", "%", None, true),
            ("x", "[x", None, false),
            ("-", "[a-]", None, true),
        ] {
            let escape = escape.map(|c: char| c as u16);
            let pattern_ = Pattern::new(&units(pattern), escape, Collation::server_default());
            assert_eq!(
                pattern_.matches(&units(text)),
                expected,
                "{text:?} LIKE {pattern:?}"
            );
        }
    }

    /// The same page: trailing blanks of the matched expression are ignored unless it is Unicode.
    #[test]
    fn text_that_is_not_unicode_may_end_in_blanks() {
        let units = |text: &str| text.encode_utf16().collect::<Vec<_>>();
        for (text, pattern, expected) in [
            ("a  ", "a", true),
            ("a ", "a ", true),
            ("a", "a ", false),
            (" a", "a", false),
            ("a ", "%[^ ]", true),
            ("a b", "a", false),
        ] {
            let prepared =
                Pattern::new(&units(pattern), None, Collation::server_default()).ignoring_trailing_blanks();
            assert_eq!(
                prepared.matches(&units(text)),
                expected,
                "{text:?} LIKE {pattern:?}"
            );
        }
    }
}
