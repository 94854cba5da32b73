//! INSERT, INSERT BULK, UPDATE, DELETE and their OUTPUT clause.

use super::Parser;
use super::types::DECLARED_LENGTH;
use crate::ast::{
    Assignment, ColumnName, Cte, Delete, Insert, InsertBulk, InsertSource, OutputClause, OutputTarget,
    StatementKind, Update,
};
use crate::error::SqlResult;
use crate::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn insert(&mut self, ctes: Vec<Cte>) -> SqlResult<StatementKind> {
        self.expect("INSERT")?;
        if self.eat("BULK") {
            return self.insert_bulk();
        }
        let top = self.top()?;
        self.eat("INTO");
        let target = self.target()?;
        let hints = self.table_hints()?;
        let columns = if self.column_list_follows() {
            self.column_list()?
        } else {
            Vec::new()
        };
        let output = self.output_clause()?;
        let source = self.insert_source()?;
        self.query_options()?;
        Ok(StatementKind::Insert(Box::new(Insert {
            ctes,
            top,
            target,
            hints,
            columns,
            output,
            source,
        })))
    }

    /// `INSERT t (SELECT …)` has a query in the parentheses, not columns.
    fn column_list_follows(&self) -> bool {
        self.is_symbol("(") && !self.symbol_at(1, "(") && !self.word_at(1, "SELECT")
    }

    /// Columns may be qualified by their table.
    pub(super) fn column_list(&mut self) -> SqlResult<Vec<String>> {
        self.parenthesized(|parser| Ok(parser.object_name()?.name))
    }

    fn insert_source(&mut self) -> SqlResult<InsertSource> {
        if self.eat_words(&["DEFAULT", "VALUES"]) {
            return Ok(InsertSource::DefaultValues);
        }
        if self.is_word("VALUES") {
            return Ok(InsertSource::Values(self.values()?));
        }
        if self.is_word("EXEC") || self.is_word("EXECUTE") {
            return Ok(match self.execute()? {
                StatementKind::ExecuteString(text) => InsertSource::ExecuteString(text),
                StatementKind::Execute(call) => InsertSource::Execute(call),
                _ => return Err(self.unexpected()),
            });
        }
        Ok(InsertSource::Query(Box::new(self.query()?)))
    }

    fn insert_bulk(&mut self) -> SqlResult<StatementKind> {
        let table = self.object_name()?;
        let columns = if self.is_symbol("(") {
            self.parenthesized(|parser| {
                let name = parser.name()?;
                let mut column = parser.new_column(name);
                column.ty = Some(parser.column_type(DECLARED_LENGTH)?);
                if parser.eat("COLLATE") {
                    column.collation = Some(parser.word()?);
                }
                column.nullable = parser.nullability()?;
                Ok(column)
            })?
        } else {
            Vec::new()
        };
        let mut bulk = InsertBulk {
            table,
            columns,
            keep_nulls: false,
            check_constraints: false,
            fire_triggers: false,
        };
        if self.eat("WITH") {
            self.parenthesized(|parser| parser.bulk_option(&mut bulk))?;
        }
        Ok(StatementKind::InsertBulk(bulk))
    }

    fn bulk_option(&mut self, bulk: &mut InsertBulk) -> SqlResult<()> {
        match self.word()?.to_ascii_uppercase().as_str() {
            "KEEP_NULLS" | "KEEPNULLS" => bulk.keep_nulls = true,
            "CHECK_CONSTRAINTS" => bulk.check_constraints = true,
            "FIRE_TRIGGERS" => bulk.fire_triggers = true,
            "TABLOCK" => {}
            "ORDER" => self.skip_parentheses()?,
            "ROWS_PER_BATCH" | "KILOBYTES_PER_BATCH" => {
                self.expect_symbol("=")?;
                self.integer()?;
            }
            _ => return Err(self.unexpected()),
        }
        Ok(())
    }

    pub(super) fn update(&mut self, ctes: Vec<Cte>) -> SqlResult<StatementKind> {
        self.expect("UPDATE")?;
        if self.eat("STATISTICS") {
            self.object_name()?;
            self.skip_statement();
            return Ok(StatementKind::NoEffect);
        }
        let top = self.top()?;
        let target = self.target()?;
        let hints = self.table_hints()?;
        self.expect("SET")?;
        let assignments = self.comma_list(Self::assignment)?;
        let output = self.output_clause()?;
        let from = if self.eat("FROM") {
            self.comma_list(Self::table_source)?
        } else {
            Vec::new()
        };
        let filter = self.where_clause()?;
        self.query_options()?;
        let update = Update {
            ctes,
            top,
            target,
            hints,
            assignments,
            output,
            from,
            filter,
        };
        Ok(StatementKind::Update(Box::new(update)))
    }

    pub(super) fn assignment(&mut self) -> SqlResult<Assignment> {
        if let TokenKind::Variable(variable) = self.kind(0).clone() {
            self.advance();
            let op = self.take_assignment_op()?;
            let column = if op.is_none() && self.column_assignment_follows() {
                let column = self.column_name()?;
                self.take_assignment_op()?;
                Some(column)
            } else {
                None
            };
            return Ok(Assignment::Variable {
                variable,
                column,
                op,
                value: self.value()?,
            });
        }
        let column = self.column_name()?;
        let op = self.take_assignment_op()?;
        Ok(Assignment::Column {
            column,
            op,
            value: self.value()?,
        })
    }

    /// `@v = c = …`: a name, perhaps qualified, and another `=`.
    fn column_assignment_follows(&self) -> bool {
        let mut ahead = 0;
        while self.peek_name(ahead).is_some() {
            if self.symbol_at(ahead + 1, "=") {
                return true;
            }
            if !self.symbol_at(ahead + 1, ".") {
                return false;
            }
            ahead += 2;
        }
        false
    }

    pub(super) fn take_assignment_op(&mut self) -> SqlResult<Option<crate::ast::BinaryOp>> {
        let Some(op) = self.assignment_op(0) else {
            return Err(self.unexpected());
        };
        self.advance();
        Ok(op)
    }

    fn column_name(&mut self) -> SqlResult<ColumnName> {
        let mut parts = vec![self.name()?];
        while self.eat_symbol(".") {
            parts.push(self.name()?);
        }
        let name = parts.pop().unwrap_or_default();
        Ok(ColumnName {
            qualifier: parts,
            name,
        })
    }

    pub(super) fn delete(&mut self, ctes: Vec<Cte>) -> SqlResult<StatementKind> {
        self.expect("DELETE")?;
        let top = self.top()?;
        self.eat("FROM");
        let target = self.target()?;
        let hints = self.table_hints()?;
        let output = self.output_clause()?;
        let from = if self.eat("FROM") {
            self.comma_list(Self::table_source)?
        } else {
            Vec::new()
        };
        let filter = self.where_clause()?;
        self.query_options()?;
        Ok(StatementKind::Delete(Box::new(Delete {
            ctes,
            top,
            target,
            hints,
            output,
            from,
            filter,
        })))
    }

    /// `OUTPUT … [INTO target (columns)]`, if it comes next.
    pub(super) fn output_clause(&mut self) -> SqlResult<Option<OutputClause>> {
        if !self.eat("OUTPUT") {
            return Ok(None);
        }
        let items = self.comma_list(Self::select_item)?;
        let into = if self.eat("INTO") {
            let target = self.target()?;
            let columns = if self.column_list_follows() {
                self.column_list()?
            } else {
                Vec::new()
            };
            Some(OutputTarget { target, columns })
        } else {
            None
        };
        Ok(Some(OutputClause { items, into }))
    }
}
