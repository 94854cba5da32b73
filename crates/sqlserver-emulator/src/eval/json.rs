//! The text of `json`: it must be well formed, and comes back as SQL Server 2025 is reported to write it. Blanks between its parts go,
//! of members with one name the first stays, strings have the shortest escapes, names and numbers stay as they are written.

use crate::error::{SqlError, SqlResult};

/// Objects and arrays within each other ("JSON data in SQL Server").
const DEEPEST: usize = 128;

/// The document as the server keeps it. Error 13609 for text that is none.
pub(super) fn normal(text: &[u16]) -> SqlResult<Vec<u16>> {
    let mut reader = Reader {
        text,
        at: 0,
        out: Vec::with_capacity(text.len()),
    };
    reader.blanks();
    if !matches!(reader.peek(), Some(b'{' | b'[')) {
        return Err(reader.malformed());
    }
    reader.value(0)?;
    reader.blanks();
    match reader.at == text.len() {
        true => Ok(reader.out),
        false => Err(reader.malformed()),
    }
}

struct Reader<'a> {
    text: &'a [u16],
    at: usize,
    out: Vec<u16>,
}

impl Reader<'_> {
    /// The next unit, if it is ASCII.
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).and_then(|unit| u8::try_from(*unit).ok())
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn keep(&mut self) {
        self.out.extend(self.text.get(self.at));
        self.at += 1;
    }

    fn eat(&mut self, byte: u8) -> SqlResult<()> {
        match self.peek() == Some(byte) {
            true => {
                self.keep();
                Ok(())
            }
            false => Err(self.malformed()),
        }
    }

    fn malformed(&self) -> SqlError {
        let found = self.text.get(self.at).copied().unwrap_or(u16::from(b'.'));
        let message = format!(
            "JSON text is not properly formatted. Unexpected character '{}' is found at position {}.",
            String::from_utf16_lossy(&[found]),
            self.at
        );
        SqlError::new(13_609, 16, 4, message)
    }

    fn value(&mut self, depth: usize) -> SqlResult<()> {
        if depth > DEEPEST {
            return Err(SqlError::unsupported(
                "JSON that is nested more than 128 levels deep",
            ));
        }
        match self.peek() {
            Some(b'{') => self.parts(b'}', depth, true),
            Some(b'[') => self.parts(b']', depth, false),
            Some(b'"') => self.string(false),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => Err(self.malformed()),
        }
    }

    fn parts(&mut self, end: u8, depth: usize, named: bool) -> SqlResult<()> {
        self.keep();
        self.blanks();
        if self.peek() == Some(end) {
            self.keep();
            return Ok(());
        }
        let mut names: Vec<Vec<u16>> = Vec::new();
        loop {
            self.blanks();
            let start = self.out.len();
            let mut repeated = false;
            if named {
                self.string(true)?;
                let name = self.out.split_off(start);
                repeated = names.contains(&name);
                self.out.extend(&name);
                names.push(name);
                self.blanks();
                self.eat(b':')?;
                self.blanks();
            }
            self.value(depth + 1)?;
            if repeated {
                // With the comma in front of it.
                self.out.truncate(start - 1);
            }
            self.blanks();
            if self.peek() == Some(end) {
                self.keep();
                return Ok(());
            }
            self.eat(b',')?;
        }
    }

    /// Names of members keep their escapes.
    fn string(&mut self, name: bool) -> SqlResult<()> {
        self.eat(b'"')?;
        loop {
            match self.text.get(self.at).copied() {
                None | Some(0..0x20) => return Err(self.malformed()),
                Some(unit) if unit == u16::from(b'"') => {
                    self.keep();
                    return Ok(());
                }
                Some(unit) if unit == u16::from(b'\\') => self.escape(name)?,
                Some(_) => self.keep(),
            }
        }
    }

    fn escape(&mut self, name: bool) -> SqlResult<()> {
        let start = self.out.len();
        self.keep();
        match self.peek() {
            Some(b'/') if !name => {
                self.out.truncate(start);
                self.keep();
            }
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.keep(),
            Some(b'u') => {
                self.keep();
                for _ in 0..4 {
                    match self.peek() {
                        Some(digit) if digit.is_ascii_hexdigit() => self.keep(),
                        _ => return Err(self.malformed()),
                    }
                }
                if !name {
                    self.decode_escape(start)?;
                }
            }
            _ => return Err(self.malformed()),
        }
        Ok(())
    }

    /// Writes the character of the `\uXXXX` that `out` ends with.
    fn decode_escape(&mut self, start: usize) -> SqlResult<()> {
        let escape = String::from_utf16_lossy(&self.out.split_off(start));
        let digits = escape.get(2..).unwrap_or_default();
        let unit = u16::from_str_radix(digits, 16).map_err(|_| self.malformed())?;
        match unit {
            0x08 => self.out.extend("\\b".encode_utf16()),
            0x09 => self.out.extend("\\t".encode_utf16()),
            0x0A => self.out.extend("\\n".encode_utf16()),
            0x0C => self.out.extend("\\f".encode_utf16()),
            0x0D => self.out.extend("\\r".encode_utf16()),
            0x22 => self.out.extend("\\\"".encode_utf16()),
            0x5C => self.out.extend("\\\\".encode_utf16()),
            0..0x20 => self.out.extend(format!("\\u{unit:04X}").encode_utf16()),
            0xD800..0xE000 => return Err(SqlError::unsupported("a surrogate that is escaped in JSON")),
            _ => self.out.push(unit),
        }
        Ok(())
    }

    fn digits(&mut self) -> SqlResult<()> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.malformed());
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.keep();
        }
        Ok(())
    }

    fn number(&mut self) -> SqlResult<()> {
        let start = self.out.len();
        if self.peek() == Some(b'-') {
            self.keep();
        }
        match self.peek() {
            Some(b'0') => self.keep(),
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.keep();
            self.digits()?;
        }
        let written = self.out.get(start..).unwrap_or_default();
        let digits = written.iter().filter(|unit| (0x30..0x3A).contains(*unit)).count();
        if digits > 38 || matches!(self.peek(), Some(b'e' | b'E')) {
            return Err(SqlError::unsupported(
                "a number in JSON with an exponent or more than 38 digits",
            ));
        }
        let is_zero = written.iter().all(|unit| !(0x31..0x3A).contains(unit));
        if is_zero && written.first() == Some(&u16::from(b'-')) {
            self.out.remove(start);
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> SqlResult<()> {
        word.iter().try_for_each(|byte| self.eat(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<String> {
        let units: Vec<_> = text.encode_utf16().collect();
        normal(&units).ok().map(|units| String::from_utf16_lossy(&units))
    }

    #[test]
    fn blanks_between_parts_go_and_nothing_else() {
        for (text, kept) in [
            (
                " { \"a\" : 1 ,\t\"b c\":[ true , null,-0.50, -0.0 ] } ",
                r#"{"a":1,"b c":[true,null,-0.50,0.0]}"#,
            ),
            (r#"{"a":1,"b":2,"a":[3]}"#, r#"{"a":1,"b":2}"#),
            (r#"{"\/":"\/\u002f\u0009\u001f"}"#, r#"{"\/":"//\t\u001F"}"#),
            ("[]", "[]"),
            ("{ }", "{}"),
            (r#"["\u00e9\n\"é 日"]"#, r#"["é\n\"é 日"]"#),
        ] {
            assert_eq!(of(text).as_deref(), Some(kept));
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in [
            "",
            "1",
            "\"a\"",
            "{",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "[01]",
            "[1.]",
            "[\"\t\"]",
            "[tru]",
            "[] []",
            "[\"\\x\"]",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        for text in [
            "[1e2]",
            "[123456789012345678901234567890123456789]",
            r#"["\ud83d\ude00"]"#,
        ] {
            assert_eq!(of(text), None, "{text} is left out");
        }
        assert!(of(&"[".repeat(100_000)).is_none());
    }
}
