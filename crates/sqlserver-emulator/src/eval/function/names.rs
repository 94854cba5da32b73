//! QUOTENAME and PARSENAME.

use super::Arguments;
use crate::error::SqlResult;
use crate::value::Value;

/// NULL for names over 128 characters and for quotes that are none.
pub(super) fn quote_name(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let quote = if arguments.given(1) {
        arguments.string(1)
    } else {
        "[".to_owned()
    };
    let (open, close) = match quote.as_str() {
        "[" | "]" => ('[', ']'),
        "(" | ")" => ('(', ')'),
        "{" | "}" => ('{', '}'),
        "<" | ">" => ('<', '>'),
        "'" => ('\'', '\''),
        "\"" => ('"', '"'),
        "`" => ('`', '`'),
        _ => return Ok(Value::Null),
    };
    let name = arguments.string(0);
    let doubled = name.replace(close, &format!("{close}{close}"));
    Ok(Value::text(&format!("{open}{doubled}{close}")))
}

/// The nth part from the right; quotes are taken off.
pub(super) fn parse_name(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let parts = split_name(&arguments.string(0));
    let from_right = usize::try_from(arguments.integer(1)).unwrap_or(0);
    let part = parts.filter(|parts| parts.len() <= 4).and_then(|parts| {
        let at = parts.len().checked_sub(from_right).filter(|_| from_right > 0)?;
        parts.get(at).filter(|part| !part.is_empty()).cloned()
    });
    Ok(part.map_or(Value::Null, |part| Value::text(&part)))
}

/// None for a name whose quotes are not closed.
fn split_name(name: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = name.chars().peekable();
    loop {
        let mut part = String::new();
        let close = match rest.peek() {
            Some('[') => Some(']'),
            Some('"') => Some('"'),
            _ => None,
        };
        if let Some(close) = close {
            rest.next();
            loop {
                let c = rest.next()?;
                if c == close && rest.next_if_eq(&close).is_none() {
                    break;
                }
                part.push(c);
            }
        } else {
            while let Some(c) = rest.next_if(|c| *c != '.') {
                part.push(c);
            }
        }
        parts.push(part);
        match rest.next() {
            None => return Some(parts),
            Some('.') => {}
            Some(_) => return None,
        }
    }
}
