//! A server that does not know all that this one knows.

use crate::error::{SqlError, SqlResult};
use crate::eval::unknown_function;
use crate::lexer::{Token, TokenKind, syntax_error, tokenize};

/// Refuses a batch that has one of the words that the server lacks.
pub(crate) fn refuse(sql: &str, quoted_identifier: bool, lacks: &[String]) -> SqlResult<()> {
    if lacks.is_empty() {
        return Ok(());
    }
    let tokens = tokenize(sql, quoted_identifier)?;
    let followed = tokens.iter().zip(tokens.iter().skip(1));
    let mut refused = followed.filter_map(|(token, next)| unknown(token, next, lacks));
    refused.next().map_or(Ok(()), Err)
}

fn unknown(token: &Token, next: &Token, lacks: &[String]) -> Option<SqlError> {
    let TokenKind::Word(word) = &token.kind else {
        return None;
    };
    if !lacks.iter().any(|lacking| lacking.eq_ignore_ascii_case(word)) {
        return None;
    }
    let error = match next.kind {
        TokenKind::Symbol("(") => unknown_function(word),
        _ => syntax_error(word),
    };
    Some(error.at_line(token.line))
}
