//! MERGE, which must end with a semicolon.

use super::Parser;
use crate::ast::{Cte, Merge, MergeAction, MergeClause, MergeWhen, StatementKind};
use crate::error::{SqlError, SqlResult};

impl Parser<'_> {
    pub(super) fn merge(&mut self, ctes: Vec<Cte>) -> SqlResult<StatementKind> {
        self.expect("MERGE")?;
        let top = self.top()?;
        self.eat("INTO");
        let target = self.target()?;
        let mut hints = self.table_hints()?;
        let alias = self.table_alias()?;
        hints.extend(self.table_hints()?);
        self.expect("USING")?;
        let source = self.table_source()?;
        self.expect("ON")?;
        let on = self.condition()?;
        let mut clauses = Vec::new();
        while self.eat("WHEN") {
            clauses.push(self.merge_clause()?);
        }
        if clauses.is_empty() {
            return Err(self.unexpected());
        }
        let output = self.output_clause()?;
        self.query_options()?;
        if !self.is_symbol(";") {
            let message = "A MERGE statement must be terminated by a semi-colon (;).";
            return Err(SqlError::new(10_713, 15, 1, message).at_line(self.line()));
        }
        let merge = Merge {
            ctes,
            top,
            target,
            alias,
            hints,
            source,
            on,
            clauses,
            output,
        };
        Ok(StatementKind::Merge(Box::new(merge)))
    }

    fn merge_clause(&mut self) -> SqlResult<MergeClause> {
        let when = if self.eat("MATCHED") {
            MergeWhen::Matched
        } else {
            self.expect_words(&["NOT", "MATCHED"])?;
            if self.eat_words(&["BY", "SOURCE"]) {
                MergeWhen::NotMatchedBySource
            } else {
                self.eat_words(&["BY", "TARGET"]);
                MergeWhen::NotMatchedByTarget
            }
        };
        let condition = if self.eat("AND") {
            Some(self.condition()?)
        } else {
            None
        };
        self.expect("THEN")?;
        Ok(MergeClause {
            when,
            condition,
            action: self.merge_action(when)?,
        })
    }

    /// Only rows that the target lacks can be inserted, only others changed.
    fn merge_action(&mut self, when: MergeWhen) -> SqlResult<MergeAction> {
        if when == MergeWhen::NotMatchedByTarget {
            self.expect("INSERT")?;
            let columns = if self.is_symbol("(") {
                self.column_list()?
            } else {
                Vec::new()
            };
            if self.eat_words(&["DEFAULT", "VALUES"]) {
                return Ok(MergeAction::Insert {
                    columns,
                    values: None,
                });
            }
            self.expect("VALUES")?;
            return Ok(MergeAction::Insert {
                columns,
                values: Some(self.parenthesized(Self::value)?),
            });
        }
        if self.eat("DELETE") {
            return Ok(MergeAction::Delete);
        }
        self.expect_words(&["UPDATE", "SET"])?;
        Ok(MergeAction::Update(self.comma_list(Self::assignment)?))
    }
}
