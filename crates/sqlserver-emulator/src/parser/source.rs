//! Table sources: what FROM and USING may name, their hints and joins.

use super::Parser;
use crate::ast::{ChangeTableRequest, JoinKind, Query, QueryBody, TableHint, TableSource};
use crate::error::{SqlError, SqlResult};
use crate::lexer::TokenKind;

impl Parser<'_> {
    /// One source with its joins.
    pub(super) fn table_source(&mut self) -> SqlResult<TableSource> {
        let mut left = self.nested(Self::single_source)?;
        loop {
            if self.eat_words(&["CROSS", "APPLY"]) {
                left = self.apply(left, false)?;
            } else if self.eat_words(&["OUTER", "APPLY"]) {
                left = self.apply(left, true)?;
            } else if self.eat_words(&["CROSS", "JOIN"]) {
                let right = Box::new(self.single_source()?);
                left = TableSource::Join {
                    kind: JoinKind::Cross,
                    left: Box::new(left),
                    right,
                    on: None,
                };
            } else if let Some(kind) = self.join_kind()? {
                left = self.join(kind, left)?;
            } else if ["PIVOT", "UNPIVOT", "TABLESAMPLE"]
                .iter()
                .any(|word| self.is_word(word))
            {
                let what = self.word()?.to_ascii_uppercase();
                return Err(self.unsupported(&what));
            } else if self.are_words(&["FOR", "SYSTEM_TIME"]) {
                return Err(self.unsupported("temporal tables"));
            } else {
                return Ok(left);
            }
        }
    }

    fn apply(&mut self, left: TableSource, outer: bool) -> SqlResult<TableSource> {
        let right = Box::new(self.single_source()?);
        Ok(TableSource::Apply {
            outer,
            left: Box::new(left),
            right,
        })
    }

    /// `a JOIN b JOIN c ON … ON …` nests to the right: joins before the ON belong to the right side.
    fn join(&mut self, kind: JoinKind, left: TableSource) -> SqlResult<TableSource> {
        let mut right = self.nested(Self::single_source)?;
        while !self.is_word("ON") {
            let Some(inner) = self.join_kind()? else {
                return Err(self.unexpected());
            };
            right = self.nested(|parser| parser.join(inner, right))?;
        }
        self.expect("ON")?;
        let on = Some(self.condition()?);
        Ok(TableSource::Join {
            kind,
            left: Box::new(left),
            right: Box::new(right),
            on,
        })
    }

    /// `[INNER | LEFT | RIGHT | FULL [OUTER]] [LOOP | HASH | MERGE] JOIN`
    fn join_kind(&mut self) -> SqlResult<Option<JoinKind>> {
        if self.eat("JOIN") {
            return Ok(Some(JoinKind::Inner));
        }
        let kind = match self.eat_one_of(&["INNER", "LEFT", "RIGHT", "FULL"]) {
            Some("INNER") => JoinKind::Inner,
            Some("LEFT") => JoinKind::Left,
            Some("RIGHT") => JoinKind::Right,
            Some(_) => JoinKind::Full,
            None => return Ok(None),
        };
        if kind != JoinKind::Inner {
            self.eat("OUTER");
        }
        let _algorithm = self.eat_one_of(&["LOOP", "HASH", "MERGE", "REMOTE"]);
        self.expect("JOIN")?;
        Ok(Some(kind))
    }

    fn single_source(&mut self) -> SqlResult<TableSource> {
        if self.is_symbol("(") {
            return self.parenthesized_source();
        }
        if self.is_word("CHANGETABLE") && self.symbol_at(1, "(") {
            return self.change_table();
        }
        if let TokenKind::Variable(name) = self.kind(0) {
            let name = name.clone();
            self.advance();
            let alias = self.table_alias()?;
            self.table_hints()?;
            return Ok(TableSource::Variable { name, alias });
        }
        let name = self.object_name()?;
        if self.is_symbol("(") && !self.old_style_hints() {
            let arguments = self.optional_arguments()?;
            let alias = self.table_alias()?;
            let columns = if alias.is_some() {
                self.optional_name_list()?
            } else {
                Vec::new()
            };
            return Ok(TableSource::Function {
                name,
                arguments,
                alias,
                columns,
            });
        }
        let mut hints = self.table_hints()?;
        let alias = self.table_alias()?;
        hints.extend(self.table_hints()?);
        Ok(TableSource::Named { name, alias, hints })
    }

    fn parenthesized_source(&mut self) -> SqlResult<TableSource> {
        let mut ahead = 1;
        while self.symbol_at(ahead, "(") {
            ahead += 1;
        }
        let query = ["SELECT", "VALUES", "WITH"]
            .iter()
            .any(|word| self.word_at(ahead, word));
        if query && (ahead == 1 || self.alias_follows_parentheses()) {
            let line = self.line();
            let query = Box::new(self.parenthesized_query()?);
            refuse_as_table(&query).map_err(|error| error.at_line(line))?;
            let Some(alias) = self.table_alias()? else {
                return Err(self.unexpected());
            };
            return Ok(TableSource::Derived {
                query,
                alias,
                columns: self.optional_name_list()?,
            });
        }
        self.expect_symbol("(")?;
        let source = self.table_source()?;
        self.expect_symbol(")")?;
        Ok(source)
    }

    /// Whether the parenthesis that opens here is closed before an alias: then it surrounds a query, not a join.
    fn alias_follows_parentheses(&self) -> bool {
        let mut depth = 0_i32;
        for ahead in 0.. {
            match self.kind(ahead) {
                TokenKind::Symbol("(") => depth += 1,
                TokenKind::Symbol(")") => depth -= 1,
                TokenKind::End => return false,
                _ => {}
            }
            if depth == 0 {
                return self.word_at(ahead + 1, "AS") || self.peek_name(ahead + 1).is_some();
            }
        }
        false
    }

    fn optional_arguments(&mut self) -> SqlResult<Vec<crate::ast::Expr>> {
        if self.symbol_at(1, ")") {
            self.advance();
            self.advance();
            return Ok(Vec::new());
        }
        self.parenthesized(Self::value)
    }

    fn change_table(&mut self) -> SqlResult<TableSource> {
        self.advance();
        self.expect_symbol("(")?;
        let versions = self.eat("VERSION");
        if !versions {
            self.expect("CHANGES")?;
        }
        let table = self.object_name()?;
        self.expect_symbol(",")?;
        let request = if versions {
            let columns = self.name_list()?;
            self.expect_symbol(",")?;
            ChangeTableRequest::Version {
                columns,
                values: self.parenthesized(Self::value)?,
            }
        } else {
            ChangeTableRequest::Changes {
                last: self.change_version()?,
            }
        };
        self.expect_symbol(")")?;
        let line = self.line();
        let Some(alias) = self.table_alias()? else {
            let message = "A table returned by the CHANGETABLE function must be aliased.";
            return Err(SqlError::user(22_104, message).at_line(line));
        };
        let columns = self.optional_name_list()?;
        Ok(TableSource::ChangeTable {
            table,
            request,
            alias,
            columns,
        })
    }

    /// A variable, constant or NULL; SQL Server takes no other expression here.
    fn change_version(&mut self) -> SqlResult<crate::ast::Expr> {
        let version = self.value()?;
        if self.is_symbol(")") || self.is_symbol(",") {
            if self.eat_symbol(",") {
                self.word()?;
            }
            return match version {
                crate::ast::Expr::Literal(_) | crate::ast::Expr::Variable(_) => Ok(version),
                _ => Err(self.unexpected()),
            };
        }
        Err(self.unexpected())
    }

    /// `t (NOLOCK)`: hints without WITH.
    fn old_style_hints(&self) -> bool {
        let TokenKind::Word(word) = self.kind(1) else {
            return false;
        };
        self.is_symbol("(")
            && (self.symbol_at(2, ")") || self.symbol_at(2, ","))
            && !matches!(known_hint(&word.to_ascii_uppercase()), TableHint::Other(_))
    }

    /// `WITH (…)` or the old form without WITH.
    pub(super) fn table_hints(&mut self) -> SqlResult<Vec<TableHint>> {
        let with = self.is_word("WITH") && self.symbol_at(1, "(");
        if with {
            self.advance();
        } else if !self.old_style_hints() {
            return Ok(Vec::new());
        }
        self.expect_symbol("(")?;
        let mut hints = vec![self.table_hint()?];
        while !self.eat_symbol(")") {
            self.eat_symbol(",");
            hints.push(self.table_hint()?);
        }
        Ok(hints)
    }

    fn table_hint(&mut self) -> SqlResult<TableHint> {
        let start = self.start();
        let word = self.word()?.to_ascii_uppercase();
        if self.eat_symbol("=") {
            if self.is_symbol("(") {
                self.skip_parentheses()?
            } else {
                self.advance()
            }
        } else if self.is_symbol("(") {
            self.skip_parentheses()?;
        }
        Ok(match known_hint(&word) {
            TableHint::Other(_) => TableHint::Other(self.text_since(start)),
            hint => hint,
        })
    }
}

/// What a query must not have in a derived table: errors 156 and 1033.
fn refuse_as_table(query: &Query) -> SqlResult<()> {
    let error = |number, message: &str| Err(SqlError::new(number, 15, 1, message));
    let select = match &query.body {
        QueryBody::Select(select) => Some(select),
        _ => None,
    };
    if select.is_some_and(|select| select.into.is_some()) {
        return error(156, "Incorrect syntax near the keyword 'INTO'.");
    }
    let cut = select.is_some_and(|select| select.top.is_some()) || query.offset.is_some();
    if !query.order_by.is_empty() && !cut && query.for_clause.is_none() {
        return error(
            1033,
            "The ORDER BY clause is invalid in views, inline functions, derived tables, subqueries, and common table expressions, unless TOP, OFFSET or FOR XML is also specified.",
        );
    }
    Ok(())
}

fn known_hint(word: &str) -> TableHint {
    match word {
        "NOLOCK" | "READUNCOMMITTED" => TableHint::NoLock,
        "HOLDLOCK" | "SERIALIZABLE" => TableHint::HoldLock,
        "REPEATABLEREAD" => TableHint::RepeatableRead,
        "READCOMMITTED" => TableHint::ReadCommitted,
        "READCOMMITTEDLOCK" => TableHint::ReadCommittedLock,
        "UPDLOCK" => TableHint::UpdLock,
        "XLOCK" => TableHint::XLock,
        "TABLOCK" => TableHint::TabLock,
        "TABLOCKX" => TableHint::TabLockX,
        "ROWLOCK" => TableHint::RowLock,
        "PAGLOCK" => TableHint::PagLock,
        "READPAST" => TableHint::ReadPast,
        "NOWAIT" => TableHint::NoWait,
        "SNAPSHOT" => TableHint::Snapshot,
        other => TableHint::Other(other.to_owned()),
    }
}
