//! Sort keys: byte strings whose byte order is a collation's order and whose equality is its equality.
//!
//! The weights follow SQL Server's order for Latin text (symbols, digits, letters; accents, then case as
//! tie-breakers); other scripts sort by code point. Trailing blanks do not count, as SQL's comparison demands.

use super::Collation;

const SYMBOLS: u16 = 0x0100;
const DIGITS: u16 = 0x0200;
const LATIN: u16 = 0x0300;
const OTHERS: u32 = 0x1000;
/// Ends a level; less than every weight.
const END: u16 = 0;

/// Appends the sort key of `text` to `out`.
pub(super) fn append(collation: &Collation, text: &[u16], out: &mut Vec<u8>) {
    let text = trimmed(text);
    if collation.binary {
        for c in code_points(text) {
            out.extend(&c.to_be_bytes()[1..]);
        }
        return;
    }
    let mut accents = Vec::new();
    let mut cases = Vec::new();
    for c in code_points(text) {
        append_primary(c, out, &mut accents, &mut cases);
    }
    if collation.accent_sensitive {
        append_level(&accents, out);
    }
    if collation.case_sensitive {
        append_level(&cases, out);
    }
}

fn trimmed(text: &[u16]) -> &[u16] {
    let end = text
        .iter()
        .rposition(|&unit| unit != u16::from(b' '))
        .map_or(0, |at| at + 1);
    &text[..end]
}

/// Code points; a lone surrogate stands for itself.
fn code_points(text: &[u16]) -> impl Iterator<Item = u32> {
    char::decode_utf16(text.iter().copied())
        .map(|decoded| decoded.map_or_else(|lone| u32::from(lone.unpaired_surrogate()), u32::from))
}

/// A tie-breaking level: marked with `END`, trailing ordinary weights left out.
fn append_level(weights: &[u8], out: &mut Vec<u8>) {
    let end = weights
        .iter()
        .rposition(|&weight| weight != 1)
        .map_or(0, |at| at + 1);
    out.extend(END.to_be_bytes());
    out.extend(&weights[..end]);
}

fn append_primary(c: u32, out: &mut Vec<u8>, accents: &mut Vec<u8>, cases: &mut Vec<u8>) {
    let Some(c) = char::from_u32(c) else {
        return push(OTHERS + c, 1, 1, out, accents, cases);
    };
    match c {
        '\0'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{feff}' => {}
        '0'..='9' => push(
            u32::from(DIGITS) + (u32::from(c) - 0x30),
            1,
            1,
            out,
            accents,
            cases,
        ),
        'ß' => "ss"
            .chars()
            .for_each(|c| append_letter(c, 2, 1, out, accents, cases)),
        'æ' | 'Æ' => append_pair("ae", c == 'Æ', out, accents, cases),
        'œ' | 'Œ' => append_pair("oe", c == 'Œ', out, accents, cases),
        _ if c.is_ascii() && !c.is_ascii_alphabetic() => {
            push(u32::from(SYMBOLS) + u32::from(c), 1, 1, out, accents, cases);
        }
        _ => {
            let lower = c.to_lowercase().next().unwrap_or(c);
            let (base, accent) = decompose(lower);
            append_letter(base, accent, if lower == c { 1 } else { 2 }, out, accents, cases);
        }
    }
}

fn append_pair(letters: &str, upper: bool, out: &mut Vec<u8>, accents: &mut Vec<u8>, cases: &mut Vec<u8>) {
    let case = if upper { 2 } else { 1 };
    letters
        .chars()
        .for_each(|c| append_letter(c, 2, case, out, accents, cases));
}

fn append_letter(
    base: char,
    accent: u8,
    case: u8,
    out: &mut Vec<u8>,
    accents: &mut Vec<u8>,
    cases: &mut Vec<u8>,
) {
    let weight = match base {
        'a'..='z' => u32::from(LATIN) + (u32::from(base) - u32::from('a')) * 4,
        _ => OTHERS + u32::from(base),
    };
    push(weight, accent, case, out, accents, cases);
}

fn push(weight: u32, accent: u8, case: u8, out: &mut Vec<u8>, accents: &mut Vec<u8>, cases: &mut Vec<u8>) {
    match u16::try_from(weight) {
        Ok(weight) => out.extend(weight.to_be_bytes()),
        Err(_) => {
            out.extend(u16::MAX.to_be_bytes());
            out.extend(weight.to_be_bytes());
        }
    }
    accents.push(accent);
    cases.push(case);
}

/// A lower-case Latin letter as its base letter and a number for its accent (1 for none).
fn decompose(c: char) -> (char, u8) {
    const ACCENTED: [(&str, char); 16] = [
        ("àáâãäåāăą", 'a'),
        ("çćĉċč", 'c'),
        ("ďđ", 'd'),
        ("èéêëēĕėęě", 'e'),
        ("ĝğġģ", 'g'),
        ("ĥħ", 'h'),
        ("ìíîïĩīĭį", 'i'),
        ("ĺļľł", 'l'),
        ("ñńņň", 'n'),
        ("òóôõöøōŏő", 'o'),
        ("ŕŗř", 'r'),
        ("śŝşš", 's'),
        ("ţťŧ", 't'),
        ("ùúûüũūŭůűų", 'u'),
        ("ýÿŷ", 'y'),
        ("źżž", 'z'),
    ];
    if c.is_ascii() {
        return (c, 1);
    }
    for (letters, base) in ACCENTED {
        if let Some(at) = letters.chars().position(|letter| letter == c) {
            return (base, at as u8 + 2);
        }
    }
    (c, 1)
}
