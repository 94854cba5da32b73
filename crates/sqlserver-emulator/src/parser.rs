//! From tokens to the syntax tree, by recursive descent. Nothing of a batch runs unless all of it parses.

mod alter_table;
mod create;
mod database;
mod expr;
mod function;
mod keywords;
mod merge;
mod names;
mod query;
mod rows;
mod security;
mod session;
mod source;
mod statement;
mod table;
mod types;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use crate::ast::{Batch, ParameterDefinition};
use crate::error::{SqlError, SqlResult};
use crate::lexer::{Token, TokenKind, syntax_error, tokenize};
use keywords::is_reserved;

/// Parses a batch. `quoted_identifier` is the session's setting of that name.
pub(crate) fn parse_batch(sql: &str, quoted_identifier: bool) -> SqlResult<Batch> {
    Parser::new(sql, quoted_identifier)?.batch()
}

/// Parses the second argument of `sp_executesql`: `@a int, @b nvarchar(10) OUTPUT`; empty text declares nothing.
pub(crate) fn parse_parameters(sql: &str) -> SqlResult<Vec<ParameterDefinition>> {
    if sql.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut parser = Parser::new(sql, true)?;
    let parameters = parser.parameters()?;
    parser.expect_end()?;
    Ok(parameters)
}

/// Parses one expression.
#[cfg(test)]
pub(crate) fn parse_expression(sql: &str) -> SqlResult<crate::ast::Expr> {
    let mut parser = Parser::new(sql, true)?;
    let expr = parser.nested(Parser::disjunction)?;
    parser.expect_end()?;
    Ok(expr)
}

struct Parser<'a> {
    sql: &'a str,
    tokens: Vec<Token>,
    at: usize,
    /// Variables of the batch so far, in lower case.
    declared: HashSet<String>,
    /// How many expressions and queries the current place is nested in.
    depth: u32,
}

/// Deeper nesting is refused as SQL Server does (error 191), before the stack ends.
const MAX_DEPTH: u32 = 120;

impl<'a> Parser<'a> {
    fn new(sql: &'a str, quoted_identifier: bool) -> SqlResult<Self> {
        Ok(Self {
            sql,
            tokens: tokenize(sql, quoted_identifier)?,
            at: 0,
            declared: HashSet::new(),
            depth: 0,
        })
    }

    fn token(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).or(self.tokens.last())
    }

    fn kind(&self, ahead: usize) -> &TokenKind {
        self.token(ahead).map_or(&TokenKind::End, |token| &token.kind)
    }

    fn line(&self) -> u32 {
        self.token(0).map_or(1, |token| token.line)
    }

    /// Byte at which the next token starts.
    fn start(&self) -> usize {
        self.token(0).map_or(self.sql.len(), |token| token.start)
    }

    /// The text from byte `start` to the end of the last token taken.
    fn text_since(&self, start: usize) -> String {
        let end = self
            .at
            .checked_sub(1)
            .and_then(|at| self.tokens.get(at))
            .map_or(start, |token| token.end);
        self.sql.get(start..end).unwrap_or_default().to_owned()
    }

    fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len().saturating_sub(1));
    }

    /// Whether the token `ahead` is this keyword.
    fn word_at(&self, ahead: usize, word: &str) -> bool {
        matches!(self.kind(ahead), TokenKind::Word(text) if text.eq_ignore_ascii_case(word))
    }

    fn is_word(&self, word: &str) -> bool {
        self.word_at(0, word)
    }

    /// Whether these keywords come next, in this order.
    fn are_words(&self, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(ahead, word)| self.word_at(ahead, word))
    }

    fn symbol_at(&self, ahead: usize, symbol: &str) -> bool {
        matches!(self.kind(ahead), TokenKind::Symbol(text) if *text == symbol)
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        self.symbol_at(0, symbol)
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    fn eat_words(&mut self, words: &[&str]) -> bool {
        let found = self.are_words(words);
        if found {
            words.iter().for_each(|_| self.advance());
        }
        found
    }

    /// The first of `words` that comes next.
    fn eat_one_of(&mut self, words: &[&'static str]) -> Option<&'static str> {
        words.iter().copied().find(|word| self.eat(word))
    }

    fn expect(&mut self, word: &str) -> SqlResult<()> {
        if self.eat(word) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn expect_words(&mut self, words: &[&str]) -> SqlResult<()> {
        words.iter().try_for_each(|word| self.expect(word))
    }

    fn eat_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn expect_symbol(&mut self, symbol: &str) -> SqlResult<()> {
        if self.eat_symbol(symbol) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn expect_end(&self) -> SqlResult<()> {
        if *self.kind(0) == TokenKind::End {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    /// `item, item, …`
    fn comma_list<T>(&mut self, mut item: impl FnMut(&mut Self) -> SqlResult<T>) -> SqlResult<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat_symbol(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `(item, item, …)`
    fn parenthesized<T>(&mut self, item: impl FnMut(&mut Self) -> SqlResult<T>) -> SqlResult<Vec<T>> {
        self.expect_symbol("(")?;
        let items = self.comma_list(item)?;
        self.expect_symbol(")")?;
        Ok(items)
    }

    /// Skips a parenthesized group whose content has no effect here.
    fn skip_parentheses(&mut self) -> SqlResult<()> {
        self.expect_symbol("(")?;
        let mut depth = 1;
        while depth > 0 {
            match self.kind(0) {
                TokenKind::Symbol("(") => depth += 1,
                TokenKind::Symbol(")") => depth -= 1,
                TokenKind::End => return Err(self.unexpected()),
                _ => {}
            }
            self.advance();
        }
        Ok(())
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> SqlResult<T>) -> SqlResult<T> {
        if self.depth >= MAX_DEPTH {
            let message = "Some part of your SQL statement is nested too deeply. Rewrite the query or break it up \
                           into smaller queries.";
            return Err(SqlError::new(191, 15, 1, message).at_line(self.line()));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// 48999 at the next token.
    fn unsupported(&self, what: &str) -> SqlError {
        SqlError::unsupported(what).at_line(self.line())
    }

    /// 102, or 156 for a keyword, at the next token; at the end of the batch, at the last one.
    fn unexpected(&self) -> SqlError {
        let at_end = *self.kind(0) == TokenKind::End;
        let position = if at_end {
            self.at.saturating_sub(1)
        } else {
            self.at
        };
        let Some(token) = self.tokens.get(position) else {
            return syntax_error("").at_line(1);
        };
        let text = self.sql.get(token.start..token.end).unwrap_or_default();
        let error = match &token.kind {
            TokenKind::Word(word) if is_reserved(word) && !at_end => {
                SqlError::new(156, 15, 1, format!("Incorrect syntax near the keyword '{text}'."))
            }
            TokenKind::Quoted(name) => syntax_error(name),
            TokenKind::Constant(crate::ast::Literal::Str { text, .. }) => {
                syntax_error(&String::from_utf16_lossy(text))
            }
            _ => syntax_error(text),
        };
        error.at_line(token.line)
    }
}
