//! The query of `mode: polling`: one SELECT with `:last_sync` and `:this_sync`, which become bound parameters.
//!
//! The text is taken apart as T-SQL takes it apart, so that nothing in a text, a quoted name or a comment is taken for a placeholder. It is
//! used as a derived table, where the server's grammar allows a query and nothing else; what is looked at here is that the text cannot
//! leave its parentheses, and that common table expressions, which have to stand before the statement, are nothing but that.

use model::{Error, ErrorKind, Result};

use crate::fingerprint::fingerprint;

/// The name under which statements see the query's rows.
pub(crate) const POLLED: &str = "polled";

/// The parameter of `:last_sync`: from where on changes are asked for.
pub(crate) const LAST: &str = "last_sync";

/// The parameter of `:this_sync`: up to where increments are complete.
pub(crate) const THIS: &str = "this_sync";

/// A query, ready to stand in a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PollingQuery {
    /// `WITH …`, for the beginning of a statement; empty without one.
    pub(crate) with: String,
    select: String,
    fingerprint: u64,
}

impl PollingQuery {
    /// Reads a query.
    ///
    /// # Errors
    ///
    /// `Config`, saying what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut tokens = tokens(text)?;
        if let Some(last) = tokens.iter().rposition(|token| token.kind != Kind::Blank)
            && tokens.get(last).is_some_and(|token| token.is(";"))
        {
            tokens.truncate(last);
        }
        check(&tokens)?;
        let select = select(&tokens)?;
        let written = |tokens: &[Token<'_>]| tokens.iter().map(Token::bound).collect::<String>();
        let (with, select) = tokens.split_at(select);
        let meaning = tokens.iter().filter(|token| token.kind != Kind::Blank);
        Ok(Self {
            with: written(with),
            select: written(select),
            fingerprint: fingerprint(meaning.map(|token| token.text)),
        })
    }

    /// The query's rows as something to select from. The text has lines of its own, so that a comment at its end hides nothing.
    pub(crate) fn rows(&self) -> String {
        format!("(\n{}\n) AS {POLLED}", self.select)
    }

    /// What tells this query from another one. Blanks and comments make no difference.
    pub(crate) fn name(&self) -> String {
        format!("query {:016x}", self.fingerprint)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// White space and comments.
    Blank,
    Word,
    /// A name in brackets or double quotes.
    Name,
    Text,
    /// With the name of its parameter.
    Placeholder(&'static str),
    Symbol,
}

#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
}

impl Token<'_> {
    fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Symbol) && self.text.eq_ignore_ascii_case(text)
    }

    /// As it is sent.
    fn bound(&self) -> String {
        match self.kind {
            Kind::Placeholder(name) => format!("@{name}"),
            _ => self.text.to_owned(),
        }
    }
}

fn wrong(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Config, format!("`capture.query` {why}")).hint(
        "for example `capture.query: SELECT id, changed_at FROM dbo.Orders WHERE changed_at >= :last_sync AND changed_at < :this_sync`",
    )
}

/// Takes the text apart. Every character is in one token.
fn tokens(text: &str) -> Result<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (kind, length) = match first {
            _ if first.is_whitespace() => (Kind::Blank, first.len_utf8()),
            _ if rest.starts_with("--") => (Kind::Blank, rest.find('\n').unwrap_or(rest.len())),
            _ if rest.starts_with("/*") => (Kind::Blank, comment(rest)?),
            '\'' => (Kind::Text, quoted(rest, '\'')?),
            '"' => (Kind::Name, quoted(rest, '"')?),
            '[' => (Kind::Name, quoted(rest, ']')?),
            _ if rest.starts_with("::") => (Kind::Symbol, 2),
            ':' => placeholder(rest)?,
            _ if is_of_word(first) => {
                let end = rest.find(|c| !is_of_word(c));
                (Kind::Word, end.unwrap_or(rest.len()))
            }
            _ => (Kind::Symbol, first.len_utf8()),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(Token { kind, text: token });
        rest = after;
    }
    Ok(tokens)
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '@' | '#' | '$')
}

/// The length of a comment, in which comments may be nested.
fn comment(text: &str) -> Result<usize> {
    let (mut depth, mut at) = (0_u32, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let step = if rest.starts_with("/*") {
            depth += 1;
            2
        } else if rest.starts_with("*/") {
            depth -= 1;
            2
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            return Ok(at);
        }
    }
    Err(wrong("ends within a comment"))
}

/// The length of what is in quotes, which are doubled inside.
fn quoted(text: &str, end: char) -> Result<usize> {
    let mut marks = text.char_indices().skip(1).filter(|(_, c)| *c == end).peekable();
    while let Some((at, _)) = marks.next() {
        if marks.next_if(|(next, _)| *next == at + 1).is_none() {
            return Ok(at + 1);
        }
    }
    Err(wrong("ends within a text or a quoted name"))
}

fn placeholder(text: &str) -> Result<(Kind, usize)> {
    let after = text.get(1..).unwrap_or_default();
    let end = after.find(|c| !is_of_word(c)).unwrap_or(after.len());
    let name = after.get(..end).unwrap_or_default();
    let known = [LAST, THIS]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(name));
    match known {
        Some(known) => Ok((Kind::Placeholder(known), 1 + end)),
        None => Err(wrong(format!("has :{name}; only :{LAST} and :{THIS} are known"))),
    }
}

/// Whether the text stays within its parentheses, is one statement, and asks for changes.
fn check(tokens: &[Token<'_>]) -> Result<()> {
    let mut depth = 0_i32;
    for token in tokens {
        depth += i32::from(token.is("(")) - i32::from(token.is(")"));
        if depth < 0 {
            return Err(wrong("closes a parenthesis that it has not opened"));
        }
        if token.is(";") {
            return Err(wrong("must be one statement, without a semicolon"));
        }
    }
    if depth > 0 {
        return Err(wrong("does not close a parenthesis"));
    }
    if let Some(limit) = limit(tokens) {
        return Err(wrong(format!(
            "names a part of the changes only, by {}; the others would never be asked for again",
            limit.text
        )));
    }
    let asks = tokens.iter().any(|token| token.kind == Kind::Placeholder(LAST));
    if !asks {
        return Err(wrong(format!(
            "has no :{LAST}, so it would name every row each time; `mode: full` does that"
        )));
    }
    Ok(())
}

/// What leaves out rows of the query itself, not of a subquery: `TOP`, or `OFFSET … FETCH`.
fn limit<'a>(tokens: &[Token<'a>]) -> Option<Token<'a>> {
    let mut depth = 0_i32;
    tokens.iter().copied().find(|token| {
        depth += i32::from(token.is("(")) - i32::from(token.is(")"));
        depth == 0 && (token.is("TOP") || token.is("OFFSET"))
    })
}

/// The place of the SELECT, behind the common table expressions if there are any: `WITH name (columns) AS (query), …`.
fn select(tokens: &[Token<'_>]) -> Result<usize> {
    let tokens: Vec<_> = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.kind != Kind::Blank)
        .collect();
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|(_, token)| token.is(text));
    let behind_parentheses = |start: usize| {
        let mut depth = 0;
        for (at, (_, token)) in tokens.iter().enumerate().skip(start) {
            depth += i32::from(token.is("(")) - i32::from(token.is(")"));
            if depth == 0 {
                return (at > start).then_some(at + 1);
            }
        }
        None
    };
    let behind_with = || {
        let mut at = 0;
        loop {
            // The keyword or a comma, and a name.
            at += 2;
            at = behind_parentheses(at).unwrap_or(at);
            at = behind_parentheses(at + 1).filter(|_| is(at, "AS"))?;
            if !is(at, ",") {
                return Some(at);
            }
        }
    };
    let start = if is(0, "WITH") { behind_with() } else { Some(0) };
    let select = start.filter(|at| is(*at, "SELECT")).and_then(|at| tokens.get(at));
    select.map(|(place, _)| *place).ok_or_else(|| {
        wrong("must be one SELECT, which may begin with common table expressions: WITH … AS (…)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> PollingQuery {
        PollingQuery::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn placeholders_are_bound_and_nothing_else_is_touched() {
        for (text, with, rows) in [
            (
                "SELECT id FROM t WHERE c >= :last_sync AND c < :This_Sync",
                "",
                "SELECT id FROM t WHERE c >= @last_sync AND c < @this_sync",
            ),
            (
                "SELECT ':last_sync', N'it''s :this_sync', \"a:\"\"b\", [c:]]d] FROM t -- of :last_sync\nWHERE c>:last_sync",
                "",
                "SELECT ':last_sync', N'it''s :this_sync', \"a:\"\"b\", [c:]]d] FROM t -- of :last_sync\nWHERE c>@last_sync",
            ),
            (
                "/* :a /* nested */ ' */ SELECT geography::Point(1, 2, 4326) FROM t WHERE c > :last_sync -- '",
                "/* :a /* nested */ ' */ ",
                "SELECT geography::Point(1, 2, 4326) FROM t WHERE c > @last_sync -- '",
            ),
            (
                "WITH a AS (SELECT 1 AS x), [b (] (y, z) AS (SELECT id, c FROM t WHERE c > :last_sync) SELECT y FROM [b (] ;",
                "WITH a AS (SELECT 1 AS x), [b (] (y, z) AS (SELECT id, c FROM t WHERE c > @last_sync) ",
                "SELECT y FROM [b (] ",
            ),
            (
                "select c.[é] from (select 1) c where :last_sync < c.ü",
                "",
                "select c.[é] from (select 1) c where @last_sync < c.ü",
            ),
        ] {
            let query = parsed(text);
            assert_eq!(query.with, with, "{text}");
            assert_eq!(query.rows(), format!("(\n{rows}\n) AS polled"), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_query_for_changes_is_refused() {
        for (text, why) in [
            ("", ":last_sync"),
            ("SELECT id FROM t", ":last_sync"),
            ("SELECT id FROM t WHERE c = ':last_sync'", ":last_sync"),
            ("SELECT id FROM t -- :last_sync", ":last_sync"),
            ("SELECT id FROM t WHERE c > :lastsync", ":lastsync"),
            ("SELECT id FROM t WHERE c > : last_sync", "has :;"),
            ("SELECT TOP (9) id FROM t WHERE c > :last_sync", "by TOP"),
            (
                "SELECT id FROM t WHERE c > :last_sync ORDER BY c OFFSET 0 ROWS FETCH NEXT 9 ROWS ONLY",
                "by OFFSET",
            ),
            ("UPDATE t SET c = :last_sync", "one SELECT"),
            ("EXEC p :last_sync", "one SELECT"),
            ("(SELECT id FROM t WHERE c > :last_sync)", "one SELECT"),
            ("SELECT id FROM t WHERE c > :last_sync; DROP TABLE t", "semicolon"),
            ("SELECT id FROM t WHERE c > :last_sync) AS x --", "parenthesis"),
            (
                "SELECT id FROM t WHERE c > :last_sync) AS x, (SELECT 1 AS y",
                "parenthesis",
            ),
            ("SELECT id FROM (t WHERE c > :last_sync", "parenthesis"),
            ("SELECT id FROM t WHERE c > :last_sync AND d = 'x", "text"),
            ("SELECT id FROM t WHERE c > :last_sync AND [d = 1", "name"),
            ("SELECT id FROM t WHERE c > :last_sync /* /* */", "comment"),
            (
                "WITH a AS (SELECT 1 AS x) DELETE t WHERE c > :last_sync",
                "one SELECT",
            ),
            (
                "WITH a AS (SELECT 1 AS x) INSERT t SELECT x FROM a WHERE x > :last_sync",
                "one SELECT",
            ),
            ("WITH a SELECT id FROM t WHERE c > :last_sync", "one SELECT"),
            (
                "WITH XMLNAMESPACES ('u' AS n) SELECT id FROM t WHERE c > :last_sync",
                "one SELECT",
            ),
            (
                "WITH a AS (SELECT 1 AS x), SELECT id FROM t WHERE c > :last_sync",
                "one SELECT",
            ),
        ] {
            let error = PollingQuery::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_query_has_the_same_name_however_it_is_laid_out() {
        let name = parsed("SELECT id FROM t WHERE c > :last_sync").name();
        for (text, same) in [
            ("SELECT id\n  FROM t -- all\n WHERE c > :last_sync;", true),
            ("SELECT id FROM t WHERE c >= :last_sync", false),
            ("SELECT id FROM t WHERE c > :last_sync AND d = 1", false),
            ("SELECT i d FROM t WHERE c > :last_sync", false),
        ] {
            assert_eq!(parsed(text).name() == name, same, "{text}");
        }
        // FNV-1a of the tokens, each with a blank behind it, computed by Python.
        assert_eq!(name, "query 2e9ad3f7f0f43422");
    }

    #[test]
    fn no_panic_on_damaged_queries() {
        let query =
            "WITH a (b) AS (SELECT 1) SELECT [x] FROM t WHERE c > :last_sync AND d = N'é''' /* /**/ */ -- e";
        for start in 0..query.len() {
            for end in start..query.len() {
                if let Some(part) = query.get(start..end) {
                    let _ = PollingQuery::parse(part);
                }
            }
        }
    }
}
