//! Identifiers and the names made of them.

use super::Parser;
use super::keywords::is_reserved;
use crate::ast::{Literal, ObjectName, Target};
use crate::error::{SqlError, SqlResult};
use crate::lexer::TokenKind;

impl Parser<'_> {
    /// The identifier that comes next, if one does.
    pub(super) fn peek_name(&self, ahead: usize) -> Option<&str> {
        match self.kind(ahead) {
            TokenKind::Quoted(name) => Some(name),
            TokenKind::Word(word) if !is_reserved(word) => Some(word),
            _ => None,
        }
    }

    pub(super) fn name(&mut self) -> SqlResult<String> {
        let Some(name) = self.peek_name(0).map(str::to_owned) else {
            return Err(self.unexpected());
        };
        self.advance();
        Ok(name)
    }

    /// A name that may be a reserved word too: options and the like.
    pub(super) fn word(&mut self) -> SqlResult<String> {
        let (TokenKind::Word(word) | TokenKind::Quoted(word)) = self.kind(0) else {
            return Err(self.unexpected());
        };
        let word = word.clone();
        self.advance();
        Ok(word)
    }

    /// `(a, b)`
    pub(super) fn name_list(&mut self) -> SqlResult<Vec<String>> {
        self.parenthesized(Self::name)
    }

    /// `(a, b)` if a parenthesis comes next.
    pub(super) fn optional_name_list(&mut self) -> SqlResult<Vec<String>> {
        if self.is_symbol("(") {
            self.name_list()
        } else {
            Ok(Vec::new())
        }
    }

    /// One to four parts; the inner ones may be empty, as in `db..t`.
    pub(super) fn object_name(&mut self) -> SqlResult<ObjectName> {
        let mut parts = vec![Some(self.name()?)];
        while self.eat_symbol(".") {
            if self.is_symbol(".") {
                parts.push(None);
            } else {
                parts.push(Some(self.part_after_dot()?));
            }
        }
        self.object_name_of(parts)
    }

    /// After a dot a reserved word is still an error, except for the pseudo-columns.
    fn part_after_dot(&mut self) -> SqlResult<String> {
        if self.is_word("IDENTITYCOL") || self.is_word("ROWGUIDCOL") {
            self.word()
        } else {
            self.name()
        }
    }

    pub(super) fn object_name_of(&self, mut parts: Vec<Option<String>>) -> SqlResult<ObjectName> {
        if parts.len() > 4 {
            let message =
                "The object name contains more than the maximum number of prefixes. The maximum is 3.";
            return Err(SqlError::new(117, 15, 1, message).at_line(self.line()));
        }
        let Some(Some(name)) = parts.pop() else {
            return Err(self.unexpected());
        };
        let mut next = || parts.pop().flatten();
        let (schema, database, server) = (next(), next(), next());
        Ok(ObjectName {
            server,
            database,
            schema,
            name,
        })
    }

    /// A table or a table variable to write to.
    pub(super) fn target(&mut self) -> SqlResult<Target> {
        if let TokenKind::Variable(name) = self.kind(0) {
            let name = name.clone();
            self.advance();
            return Ok(Target::Variable(name));
        }
        Ok(Target::Table(self.object_name()?))
    }

    pub(super) fn variable(&mut self) -> SqlResult<String> {
        let TokenKind::Variable(name) = self.kind(0) else {
            return Err(self.unexpected());
        };
        let name = name.clone();
        self.advance();
        Ok(name)
    }

    /// `AS alias`, `alias` or nothing. A string may be an alias of a column.
    pub(super) fn alias(&mut self, allow_string: bool) -> SqlResult<Option<String>> {
        let required = self.eat("AS");
        if allow_string && let TokenKind::Constant(Literal::Str { text, .. }) = self.kind(0) {
            let alias = String::from_utf16_lossy(text);
            self.advance();
            return Ok(Some(alias));
        }
        if required || self.peek_name(0).is_some() {
            self.name().map(Some)
        } else {
            Ok(None)
        }
    }

    /// An alias of a table, which must not swallow the words that may follow one.
    pub(super) fn table_alias(&mut self) -> SqlResult<Option<String>> {
        const FOLLOWERS: [&str; 6] = ["USING", "APPLY", "OUTPUT", "OFFSET", "WINDOW", "GO"];
        let follows = FOLLOWERS.iter().any(|word| self.is_word(word));
        if follows { Ok(None) } else { self.alias(false) }
    }

    /// A string constant.
    pub(super) fn string(&mut self) -> SqlResult<String> {
        let TokenKind::Constant(Literal::Str { text, .. }) = self.kind(0) else {
            return Err(self.unexpected());
        };
        let text = String::from_utf16_lossy(text);
        self.advance();
        Ok(text)
    }

    /// An integer constant with its sign.
    pub(super) fn integer(&mut self) -> SqlResult<i64> {
        let negative = self.eat_symbol("-");
        let number = match self.kind(0) {
            TokenKind::Constant(Literal::Int(number)) => i64::from(*number),
            TokenKind::Constant(Literal::Decimal {
                unscaled, scale: 0, ..
            }) => i64::try_from(*unscaled).map_err(|_| self.unexpected())?,
            _ => return Err(self.unexpected()),
        };
        self.advance();
        Ok(if negative { -number } else { number })
    }

    /// `ON` or `OFF`.
    pub(super) fn switch(&mut self) -> SqlResult<bool> {
        if self.eat("ON") {
            return Ok(true);
        }
        self.expect("OFF").map(|()| false)
    }
}
