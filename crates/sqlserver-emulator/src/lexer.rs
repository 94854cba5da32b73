//! From text to tokens. Knows T-SQL's quoting, comments and constants, and none of its grammar.

use std::sync::Arc;

use crate::ast::Literal;
use crate::error::{SqlError, SqlResult};

/// One token and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    /// What it is.
    pub(crate) kind: TokenKind,
    /// First byte in the batch.
    pub(crate) start: usize,
    /// Byte after the last.
    pub(crate) end: usize,
    /// 1-based line of the first byte.
    pub(crate) line: u32,
}

/// Kinds of tokens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TokenKind {
    /// An identifier or keyword without quotes, as written; also `#t` and `$action`.
    Word(String),
    /// `[x]` or `"x"`, without its quotes.
    Quoted(String),
    /// `@x` and `@@x`, as written.
    Variable(String),
    /// A constant.
    Constant(Literal),
    /// Punctuation and operators.
    Symbol(&'static str),
    /// After the last token.
    End,
}

/// Longest first, so that `<=` is not read as `<`.
const SYMBOLS: [&str; 36] = [
    "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<=", ">=", "<>", "!=", "!<", "!>", "::", "+", "-", "*",
    "/", "%", "&", "|", "^", "~", "=", "<", ">", "(", ")", ",", ";", ".", "{", "}", ":", "!",
];

/// Splits a batch into tokens; the last is `End`. `quoted_identifier` decides what `"x"` is, until a SET in the text
/// changes it ("SET QUOTED_IDENTIFIER takes effect at parse-time").
pub(crate) fn tokenize(sql: &str, quoted_identifier: bool) -> SqlResult<Vec<Token>> {
    let mut lexer = Lexer {
        sql,
        at: 0,
        line: 1,
        quoted_identifier,
    };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks()?;
        let (start, line) = (lexer.at, lexer.line);
        let kind = lexer.token().map_err(|error| error.at_line(line))?;
        let done = kind == TokenKind::End;
        tokens.push(Token {
            kind,
            start,
            end: lexer.at,
            line,
        });
        if done {
            return Ok(tokens);
        }
        if let Some(on) = quoted_identifier_set(&tokens) {
            lexer.quoted_identifier = on;
        }
    }
}

/// Whether the text so far ends in `SET QUOTED_IDENTIFIER ON` or `OFF`, other options of the list between them or not.
fn quoted_identifier_set(tokens: &[Token]) -> Option<bool> {
    let word = |token: &Token| match &token.kind {
        TokenKind::Word(word) => Some(word.to_ascii_uppercase()),
        _ => None,
    };
    let on = match word(tokens.last()?)?.as_str() {
        "ON" => true,
        "OFF" => false,
        _ => return None,
    };
    // Backwards: names with commas between them, then SET.
    let (mut named, mut name_expected) = (false, true);
    for token in tokens.iter().rev().skip(1) {
        match &token.kind {
            TokenKind::Word(name) if name_expected => {
                named |= name.eq_ignore_ascii_case("QUOTED_IDENTIFIER");
                name_expected = false;
            }
            TokenKind::Word(name) if name.eq_ignore_ascii_case("SET") => return named.then_some(on),
            TokenKind::Symbol(",") if !name_expected => name_expected = true,
            _ => return None,
        }
    }
    None
}

/// `Incorrect syntax near 'x'.`
pub(crate) fn syntax_error(near: &str) -> SqlError {
    SqlError::new(102, 15, 1, format!("Incorrect syntax near '{near}'."))
}

struct Lexer<'a> {
    sql: &'a str,
    at: usize,
    line: u32,
    quoted_identifier: bool,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.sql.get(self.at..).unwrap_or_default()
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.sql.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn advance(&mut self, bytes: usize) {
        let passed = self
            .sql
            .as_bytes()
            .get(self.at..self.at + bytes)
            .unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u32;
        self.at += bytes;
    }

    /// The length of the longest prefix whose characters all satisfy `test`.
    fn span(&self, test: impl Fn(char) -> bool) -> usize {
        let rest = self.rest();
        rest.find(|c| !test(c)).unwrap_or(rest.len())
    }

    fn skip_blanks(&mut self) -> SqlResult<()> {
        loop {
            self.advance(self.span(|c| c.is_whitespace() || c == '\u{feff}' || c == '\0'));
            if self.rest().starts_with("--") {
                self.advance(self.span(|c| c != '\n'));
            } else if self.rest().starts_with("/*") {
                self.skip_comment()?;
            } else {
                return Ok(());
            }
        }
    }

    /// Comments nest.
    fn skip_comment(&mut self) -> SqlResult<()> {
        let line = self.line;
        let mut depth = 0;
        loop {
            let rest = self.rest();
            let (change, length) = if rest.starts_with("/*") {
                (1, 2)
            } else if rest.starts_with("*/") {
                (-1, 2)
            } else if let Some(c) = rest.chars().next() {
                (0, c.len_utf8())
            } else {
                return Err(SqlError::new(113, 15, 1, "Missing end comment mark '*/'.").at_line(line));
            };
            self.advance(length);
            depth += change;
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> SqlResult<TokenKind> {
        let Some(first) = self.rest().chars().next() else {
            return Ok(TokenKind::End);
        };
        match first {
            '\'' => self.string(false),
            'N' | 'n' if self.byte(1) == b'\'' => {
                self.advance(1);
                self.string(true)
            }
            '[' => self.quoted(']').map(TokenKind::Quoted),
            '"' if self.quoted_identifier => self.quoted('"').map(TokenKind::Quoted),
            '"' => {
                let text = self.quoted_text('"')?;
                Ok(string_constant(&text, false))
            }
            '@' => {
                let text = self.take(self.span(is_identifier_part));
                Ok(TokenKind::Variable(text))
            }
            '$' if !self.byte(1).is_ascii_alphabetic() => self.money(),
            '0' if matches!(self.byte(1), b'x' | b'X') => Ok(self.binary()),
            '0'..='9' => self.number(),
            '.' if self.byte(1).is_ascii_digit() => self.number(),
            c if is_identifier_start(c) => {
                let text = self.take(self.span(is_identifier_part));
                check_identifier(&text)?;
                Ok(TokenKind::Word(text))
            }
            other => self.symbol(other),
        }
    }

    fn take(&mut self, bytes: usize) -> String {
        let text = self.rest().get(..bytes).unwrap_or_default().to_owned();
        self.advance(bytes);
        text
    }

    fn symbol(&mut self, first: char) -> SqlResult<TokenKind> {
        let found = SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol));
        let Some(symbol) = found else {
            return Err(syntax_error(&first.to_string()));
        };
        self.advance(symbol.len());
        Ok(TokenKind::Symbol(symbol))
    }

    fn string(&mut self, national: bool) -> SqlResult<TokenKind> {
        let text = self.quoted_text('\'')?;
        Ok(string_constant(&text, national))
    }

    fn quoted(&mut self, close: char) -> SqlResult<String> {
        let text = self.quoted_text(close)?;
        if text.is_empty() {
            return Err(SqlError::new(
                1038,
                15,
                4,
                "An object or column name is missing or empty. For SELECT INTO statements, verify each column has a \
                 name. For other statements, look for empty alias names. Aliases defined as \"\" or [] are not allowed. \
                 Change the alias to a valid name.",
            ));
        }
        check_identifier(&text)?;
        Ok(text)
    }

    /// What stands between the quotes; a doubled closing quote stands for one.
    fn quoted_text(&mut self, close: char) -> SqlResult<String> {
        self.advance(1);
        let mut text = String::new();
        loop {
            let plain = self.span(|c| c != close);
            text.push_str(&self.take(plain));
            if self.rest().is_empty() {
                let shown: String = text.chars().take(128).collect();
                let message = format!("Unclosed quotation mark after the character string '{shown}'.");
                return Err(SqlError::new(105, 15, 1, message));
            }
            self.advance(1);
            if !self.rest().starts_with(close) {
                return Ok(text);
            }
            text.push(close);
            self.advance(1);
        }
    }

    /// An odd number of digits has a zero before them. A backslash and a line break may stand within.
    fn binary(&mut self) -> TokenKind {
        self.advance(2);
        let mut digits = Vec::new();
        loop {
            let run = self.take(self.span(|c| c.is_ascii_hexdigit()));
            digits.extend(run.bytes().map(hex_digit));
            if self.rest().starts_with("\\\n") {
                self.advance(2);
            } else {
                break;
            }
        }
        if digits.len() % 2 == 1 {
            digits.insert(0, 0);
        }
        let bytes: Vec<u8> = digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect();
        TokenKind::Constant(Literal::Binary(bytes.into()))
    }

    fn number(&mut self) -> SqlResult<TokenKind> {
        let mut text = self.take(self.span(|c| c.is_ascii_digit()));
        if self.byte(0) == b'.' {
            self.advance(1);
            text.push('.');
            text.push_str(&self.take(self.span(|c| c.is_ascii_digit())));
        }
        if matches!(self.byte(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(1), b'+' | b'-'));
            text.push_str(&self.take(1 + sign));
            text.push_str(&self.take(self.span(|c| c.is_ascii_digit())));
            return float_constant(&text);
        }
        exact_constant(&text)
    }

    fn money(&mut self) -> SqlResult<TokenKind> {
        self.advance(1);
        let sign = usize::from(matches!(self.byte(0), b'-' | b'+') && self.byte(1).is_ascii_digit());
        let negative = self.take(sign) == "-";
        let text = self.take(self.span(|c| c.is_ascii_digit() || c == '.'));
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let mut digits: String = fraction.chars().take(5).collect();
        while digits.len() < 5 {
            digits.push('0');
        }
        let all = format!("{whole}{digits}");
        let hundred_thousandths: i128 = if all.is_empty() {
            0
        } else {
            all.parse().unwrap_or(i128::MAX)
        };
        match i64::try_from(hundred_thousandths.saturating_add(5) / 10) {
            Ok(money) => Ok(TokenKind::Constant(Literal::Money(if negative {
                -money
            } else {
                money
            }))),
            Err(_) => Err(syntax_error(&text)),
        }
    }
}

fn string_constant(text: &str, national: bool) -> TokenKind {
    let text: Arc<[u16]> = text.encode_utf16().collect();
    TokenKind::Constant(Literal::Str { text, national })
}

/// `1e` stands for `1e0`.
fn float_constant(text: &str) -> SqlResult<TokenKind> {
    let complete = match text.chars().last() {
        Some(c) if c.is_ascii_digit() => text.to_owned(),
        _ => format!("{text}0"),
    };
    match complete.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(TokenKind::Constant(Literal::Float(value))),
        _ => Err(SqlError::new(
            168,
            15,
            1,
            format!(
                "The floating point value '{text}' is out of the range of computer representation (8 bytes)."
            ),
        )),
    }
}

/// An integer that fits is `int`, every other exact number `numeric` with as few digits as it needs.
fn exact_constant(text: &str) -> SqlResult<TokenKind> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.trim_start_matches('0');
    if !text.contains('.')
        && let Ok(number) = format!("0{whole}").parse::<i32>()
    {
        return Ok(TokenKind::Constant(Literal::Int(number)));
    }
    let precision = (whole.len() + fraction.len()).max(1);
    if precision > 38 {
        let message = format!(
            "The number '{text}' is out of the range for numeric representation (maximum precision 38)."
        );
        return Err(SqlError::new(1007, 15, 1, message));
    }
    let unscaled = format!("0{whole}{fraction}")
        .parse()
        .map_err(|_| syntax_error(text))?;
    let (precision, scale) = (precision as u8, fraction.len() as u8);
    Ok(TokenKind::Constant(Literal::Decimal {
        unscaled,
        precision,
        scale,
    }))
}

fn check_identifier(text: &str) -> SqlResult<()> {
    if text.encode_utf16().count() <= 128 {
        return Ok(());
    }
    let start: String = text.chars().take(128).collect();
    let message = format!("The identifier that starts with '{start}' is too long. Maximum length is 128.");
    Err(SqlError::new(103, 15, 4, message))
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

fn is_identifier_start(c: char) -> bool {
    c.is_alphabetic() || matches!(c, '_' | '#' | '$')
}

fn is_identifier_part(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '#' | '$' | '@')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(sql: &str) -> Vec<TokenKind> {
        let mut kinds: Vec<_> = tokenize(sql, true)
            .unwrap()
            .into_iter()
            .map(|token| token.kind)
            .collect();
        assert_eq!(kinds.pop(), Some(TokenKind::End));
        kinds
    }

    fn constant(sql: &str) -> Literal {
        match kinds(sql).as_slice() {
            [TokenKind::Constant(literal)] => literal.clone(),
            other => panic!("{sql}: {other:?}"),
        }
    }

    /// Documentation: "Constants (Transact-SQL)" and "Database identifiers".
    #[test]
    fn constants_have_the_documented_types() {
        let decimal = |unscaled, precision, scale| Literal::Decimal {
            unscaled,
            precision,
            scale,
        };
        for (sql, expected) in [
            ("2147483647", Literal::Int(i32::MAX)),
            ("0007", Literal::Int(7)),
            ("2147483648", decimal(2_147_483_648, 10, 0)),
            ("1.50", decimal(150, 3, 2)),
            ("0.10", decimal(10, 2, 2)),
            (".5", decimal(5, 1, 1)),
            ("1.", decimal(1, 1, 0)),
            ("1e3", Literal::Float(1000.0)),
            ("2E-2", Literal::Float(0.02)),
            ("$1234.56785", Literal::Money(12_345_679)),
            ("$", Literal::Money(0)),
            ("$-1.5", Literal::Money(-15_000)),
            ("0xABC", Literal::Binary([0x0A, 0xBC].as_slice().into())),
            ("0x", Literal::Binary([].as_slice().into())),
            (
                "'it''s'",
                Literal::Str {
                    text: "it's".encode_utf16().collect(),
                    national: false,
                },
            ),
            (
                "N'😀'",
                Literal::Str {
                    text: "😀".encode_utf16().collect(),
                    national: true,
                },
            ),
        ] {
            assert_eq!(constant(sql), expected, "{sql}");
        }
    }

    #[test]
    fn names_comments_and_operators() {
        assert_eq!(
            kinds("[a]]b].\"c\"\"d\" /* x /* y */ z */ <> @v -- end\n!= #t $action"),
            [
                TokenKind::Quoted("a]b".into()),
                TokenKind::Symbol("."),
                TokenKind::Quoted("c\"d".into()),
                TokenKind::Symbol("<>"),
                TokenKind::Variable("@v".into()),
                TokenKind::Symbol("!="),
                TokenKind::Word("#t".into()),
                TokenKind::Word("$action".into()),
            ]
        );
    }

    #[test]
    fn a_set_in_the_text_decides_what_double_quotes_are() {
        for (sql, identifier) in [
            ("set quoted_identifier off select \"a\"", false),
            ("SET ANSI_NULLS, QUOTED_IDENTIFIER OFF; SELECT \"a\"", false),
            (
                "SET QUOTED_IDENTIFIER OFF SET QUOTED_IDENTIFIER ON SELECT \"a\"",
                true,
            ),
            ("SET ANSI_NULLS OFF SELECT \"a\"", true),
            ("SET QUOTED_IDENTIFIER OFF SELECT x FROM y JOIN z ON \"a\"", false),
        ] {
            let quoted = kinds(sql)
                .last()
                .is_some_and(|kind| matches!(kind, TokenKind::Quoted(_)));
            assert_eq!(quoted, identifier, "{sql}");
        }
    }

    #[test]
    fn what_is_not_closed_or_too_long_is_an_error_with_its_line() {
        for (sql, number, line) in [
            ("select\n 'abc", 105, 2),
            ("select\n\n /* abc", 113, 3),
            ("select [a", 105, 1),
            ("select 123456789012345678901234567890123456789", 1007, 1),
            ("select ?", 102, 1),
        ] {
            let error = tokenize(sql, true).unwrap_err();
            assert_eq!(
                (error.number, error.line, error.class),
                (number, line, 15),
                "{sql}"
            );
        }
    }
}
