//! The text of `json`: it must be well formed, and comes back without the blanks between its parts.

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
            return Err(self.malformed());
        }
        match self.peek() {
            Some(b'{') => self.parts(b'}', depth, true),
            Some(b'[') => self.parts(b']', depth, false),
            Some(b'"') => self.string(),
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
        loop {
            self.blanks();
            if named {
                self.string()?;
                self.blanks();
                self.eat(b':')?;
                self.blanks();
            }
            self.value(depth + 1)?;
            self.blanks();
            if self.peek() == Some(end) {
                self.keep();
                return Ok(());
            }
            self.eat(b',')?;
        }
    }

    fn string(&mut self) -> SqlResult<()> {
        self.eat(b'"')?;
        loop {
            match self.text.get(self.at).copied() {
                None | Some(0..0x20) => return Err(self.malformed()),
                Some(unit) if unit == u16::from(b'"') => {
                    self.keep();
                    return Ok(());
                }
                Some(unit) if unit == u16::from(b'\\') => self.escape()?,
                Some(_) => self.keep(),
            }
        }
    }

    fn escape(&mut self) -> SqlResult<()> {
        self.keep();
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.keep(),
            Some(b'u') => {
                self.keep();
                for _ in 0..4 {
                    match self.peek() {
                        Some(digit) if digit.is_ascii_hexdigit() => self.keep(),
                        _ => return Err(self.malformed()),
                    }
                }
            }
            _ => return Err(self.malformed()),
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
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.keep();
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.keep();
            }
            self.digits()?;
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
            (" { \"a\" : 1 ,\t\"b c\":[ true , null,-0.5e+3 ] } ", r#"{"a":1,"b c":[true,null,-0.5e+3]}"#),
            ("[]", "[]"),
            ("{ }", "{}"),
            (r#"["\u00e9\n\"é 日"]"#, r#"["\u00e9\n\"é 日"]"#),
        ] {
            assert_eq!(of(text).as_deref(), Some(kept));
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in ["", "1", "\"a\"", "{", "[1,]", "{\"a\"}", "{a:1}", "[01]", "[1.]", "[\"\t\"]", "[tru]", "[] []", "[\"\\x\"]"] {
            assert_eq!(of(text), None, "{text}");
        }
        assert!(of(&"[".repeat(100_000)).is_none());
    }
}
