//! Columns and constraints, of CREATE TABLE, ALTER TABLE and table variables.

use super::Parser;
use super::types::DECLARED_LENGTH;
use crate::ast::{
    ColumnDefinition, ColumnType, ComputedDefinition, ConstraintKind, CreateIndex, DefaultDefinition,
    ExprText, ForeignKey, IdentityDefinition, IndexColumn, ObjectName, ReferentialAction, TableConstraint,
    TableDefinition,
};
use crate::error::{SqlError, SqlResult};
use crate::types::SqlType;

impl Parser<'_> {
    /// `(columns, constraints) [ON filegroup] [WITH (…)]`
    pub(super) fn table_definition(&mut self) -> SqlResult<TableDefinition> {
        let mut table = TableDefinition {
            columns: Vec::new(),
            constraints: Vec::new(),
            indexes: Vec::new(),
        };
        self.expect_symbol("(")?;
        loop {
            self.table_item(&mut table)?;
            if !self.eat_symbol(",") || self.is_symbol(")") {
                break;
            }
        }
        self.expect_symbol(")")?;
        self.storage_clause()?;
        Ok(table)
    }

    /// One column, constraint or index, added to `table`.
    pub(super) fn table_item(&mut self, table: &mut TableDefinition) -> SqlResult<()> {
        if self.is_word("PERIOD") && self.word_at(1, "FOR") {
            return Err(self.unsupported("temporal tables"));
        }
        if self.is_word("INDEX") {
            table.indexes.push(self.inline_index()?);
            return Ok(());
        }
        let constraint = ["CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "DEFAULT"];
        if constraint.iter().any(|word| self.is_word(word)) {
            table.constraints.push(self.table_constraint()?);
        } else {
            table.columns.push(self.column()?);
        }
        Ok(())
    }

    /// `ON filegroup`, `TEXTIMAGE_ON filegroup`, `WITH (DATA_COMPRESSION = …)`: without effect here.
    pub(super) fn storage_clause(&mut self) -> SqlResult<()> {
        loop {
            if self.is_word("ON") && (self.peek_name(1).is_some() || self.word_at(1, "PRIMARY")) {
                self.advance();
                self.word()?;
                if self.is_symbol("(") {
                    self.skip_parentheses()?;
                }
            } else if self.eat("TEXTIMAGE_ON") {
                self.word()?;
            } else if self.is_word("WITH") && self.symbol_at(1, "(") {
                self.advance();
                let kinds = ["MEMORY_OPTIMIZED", "SYSTEM_VERSIONING", "LEDGER", "DATA_DELETION"];
                if let Some(kind) = kinds.iter().find(|kind| self.word_at(1, kind)) {
                    return Err(self.unsupported(&format!("WITH ({kind} …)")));
                }
                self.skip_parentheses()?;
            } else {
                return Ok(());
            }
        }
    }

    pub(super) fn new_column(&self, name: String) -> ColumnDefinition {
        ColumnDefinition {
            name,
            ty: None,
            collation: None,
            nullable: None,
            identity: None,
            rowguidcol: false,
            sparse: false,
            masked: None,
            computed: None,
            default: None,
            constraints: Vec::new(),
        }
    }

    fn column(&mut self) -> SqlResult<ColumnDefinition> {
        let name = self.name()?;
        let mut column = self.new_column(name);
        if self.eat("AS") {
            let value = self.expr_text(Self::value)?;
            let persisted = self.eat("PERSISTED");
            column.computed = Some(ComputedDefinition { value, persisted });
        } else if column.name.eq_ignore_ascii_case("timestamp") && self.peek_name(0).is_none() {
            column.ty = Some(ColumnType::Builtin(SqlType::RowVersion));
        } else {
            column.ty = Some(self.column_type(DECLARED_LENGTH)?);
        }
        while self.column_attribute(&mut column)? {}
        Ok(column)
    }

    /// `ALTER COLUMN c type [COLLATE …] [NULL | NOT NULL]`
    pub(super) fn altered_column(&mut self) -> SqlResult<ColumnDefinition> {
        let name = self.name()?;
        let mut column = self.new_column(name);
        column.ty = Some(self.column_type(DECLARED_LENGTH)?);
        if self.eat("COLLATE") {
            column.collation = Some(self.word()?);
        }
        self.eat("SPARSE");
        column.nullable = self.nullability()?;
        Ok(column)
    }

    /// `NULL`, `NOT NULL` or nothing.
    pub(super) fn nullability(&mut self) -> SqlResult<Option<bool>> {
        if self.eat("NULL") {
            return Ok(Some(true));
        }
        if self.eat("NOT") {
            return self.expect("NULL").map(|()| Some(false));
        }
        Ok(None)
    }

    fn column_attribute(&mut self, column: &mut ColumnDefinition) -> SqlResult<bool> {
        if self.eat("COLLATE") {
            column.collation = Some(self.word()?);
        } else if self.is_word("NULL") || self.are_words(&["NOT", "NULL"]) {
            column.nullable = self.nullability()?;
        } else if self.eat("IDENTITY") {
            column.identity = Some(self.identity()?);
        } else if self.eat_words(&["NOT", "FOR", "REPLICATION"]) {
            // identity values and constraints are the same here whoever writes
        } else if self.eat("ROWGUIDCOL") {
            column.rowguidcol = true;
        } else if self.eat("SPARSE") {
            column.sparse = true;
        } else if self.eat("MASKED") {
            self.expect("WITH")?;
            self.expect_symbol("(")?;
            self.expect("FUNCTION")?;
            self.expect_symbol("=")?;
            column.masked = Some(self.string()?);
            self.expect_symbol(")")?;
        } else if self.is_word("GENERATED") || self.is_word("ENCRYPTED") {
            let what = self.word()?.to_ascii_uppercase();
            return Err(SqlError::unsupported(format_args!("{what} columns")).at_line(self.line()));
        } else if self.eat("INDEX") {
            return Err(self.unsupported("an index at a column"));
        } else {
            return self.column_constraint(column);
        }
        Ok(true)
    }

    fn identity(&mut self) -> SqlResult<IdentityDefinition> {
        if !self.eat_symbol("(") {
            return Ok(IdentityDefinition {
                seed: 1,
                increment: 1,
            });
        }
        let seed = self.integer()?;
        self.expect_symbol(",")?;
        let increment = self.integer()?;
        self.expect_symbol(")")?;
        Ok(IdentityDefinition { seed, increment })
    }

    fn column_constraint(&mut self, column: &mut ColumnDefinition) -> SqlResult<bool> {
        let starts = [
            "CONSTRAINT",
            "DEFAULT",
            "PRIMARY",
            "UNIQUE",
            "FOREIGN",
            "REFERENCES",
            "CHECK",
        ];
        if !starts.iter().any(|word| self.is_word(word)) {
            return Ok(false);
        }
        let name = if self.eat("CONSTRAINT") {
            Some(self.name()?)
        } else {
            None
        };
        if self.eat("DEFAULT") {
            let value = self.expr_text(Self::value)?;
            self.eat_words(&["WITH", "VALUES"]);
            column.default = Some(DefaultDefinition { name, value });
            return Ok(true);
        }
        let kind = if self.is_word("PRIMARY") || self.is_word("UNIQUE") {
            let own = vec![IndexColumn {
                name: column.name.clone(),
                descending: false,
            }];
            self.key_constraint(own)?
        } else if self.is_word("CHECK") {
            self.check_constraint()?
        } else {
            if self.eat("FOREIGN") {
                self.expect("KEY")?;
            }
            self.foreign_key(vec![column.name.clone()])?
        };
        column.constraints.push(TableConstraint { name, kind });
        Ok(true)
    }

    /// A constraint of the table, as also `ALTER TABLE … ADD` takes it.
    fn table_constraint(&mut self) -> SqlResult<TableConstraint> {
        let name = if self.eat("CONSTRAINT") {
            Some(self.name()?)
        } else {
            None
        };
        let kind = if self.is_word("PRIMARY") || self.is_word("UNIQUE") {
            self.key_constraint(Vec::new())?
        } else if self.is_word("CHECK") {
            self.check_constraint()?
        } else if self.eat("DEFAULT") {
            let value = self.expr_text(Self::value)?;
            self.expect("FOR")?;
            let column = self.name()?;
            self.eat_words(&["WITH", "VALUES"]);
            ConstraintKind::Default { column, value }
        } else {
            self.expect_words(&["FOREIGN", "KEY"])?;
            let columns = self.name_list()?;
            self.foreign_key(columns)?
        };
        Ok(TableConstraint { name, kind })
    }

    /// `own` is the column that the constraint is written at; a table's constraint names its columns.
    fn key_constraint(&mut self, own: Vec<IndexColumn>) -> SqlResult<ConstraintKind> {
        let primary = self.eat("PRIMARY");
        self.expect(if primary { "KEY" } else { "UNIQUE" })?;
        let clustered = self.clustered();
        let columns = if own.is_empty() {
            self.index_columns()?
        } else {
            own
        };
        self.storage_clause()?;
        Ok(ConstraintKind::Key {
            primary,
            clustered,
            columns,
        })
    }

    pub(super) fn clustered(&mut self) -> Option<bool> {
        let word = self.eat_one_of(&["CLUSTERED", "NONCLUSTERED"]);
        word.map(|word| word == "CLUSTERED")
    }

    pub(super) fn index_columns(&mut self) -> SqlResult<Vec<IndexColumn>> {
        self.parenthesized(|parser| {
            let name = parser.name()?;
            let descending = parser.eat("DESC");
            if !descending {
                parser.eat("ASC");
            }
            Ok(IndexColumn { name, descending })
        })
    }

    fn check_constraint(&mut self) -> SqlResult<ConstraintKind> {
        self.expect("CHECK")?;
        self.eat_words(&["NOT", "FOR", "REPLICATION"]);
        self.expect_symbol("(")?;
        let check = self.expr_text(Self::condition)?;
        self.expect_symbol(")")?;
        Ok(ConstraintKind::Check(check))
    }

    fn foreign_key(&mut self, columns: Vec<String>) -> SqlResult<ConstraintKind> {
        self.expect("REFERENCES")?;
        let table = self.object_name()?;
        let references = self.optional_name_list()?;
        let mut key = ForeignKey {
            columns,
            table,
            references,
            on_delete: ReferentialAction::NoAction,
            on_update: ReferentialAction::NoAction,
        };
        loop {
            if self.eat_words(&["ON", "DELETE"]) {
                key.on_delete = self.referential_action()?;
            } else if self.eat_words(&["ON", "UPDATE"]) {
                key.on_update = self.referential_action()?;
            } else if !self.eat_words(&["NOT", "FOR", "REPLICATION"]) {
                return Ok(ConstraintKind::ForeignKey(key));
            }
        }
    }

    fn referential_action(&mut self) -> SqlResult<ReferentialAction> {
        if self.eat("CASCADE") {
            return Ok(ReferentialAction::Cascade);
        }
        if self.eat_words(&["NO", "ACTION"]) {
            return Ok(ReferentialAction::NoAction);
        }
        self.expect("SET")?;
        if self.eat("NULL") {
            return Ok(ReferentialAction::SetNull);
        }
        self.expect("DEFAULT").map(|()| ReferentialAction::SetDefault)
    }

    fn inline_index(&mut self) -> SqlResult<CreateIndex> {
        self.expect("INDEX")?;
        let name = self.name()?;
        let unique = self.eat("UNIQUE");
        let table = ObjectName {
            server: None,
            database: None,
            schema: None,
            name: String::new(),
        };
        self.index_after_name(name, table, unique)
    }

    /// What `parse` reads, together with its text.
    pub(super) fn expr_text(
        &mut self,
        parse: impl FnOnce(&mut Self) -> SqlResult<crate::ast::Expr>,
    ) -> SqlResult<ExprText> {
        let start = self.start();
        let expr = parse(self)?;
        Ok(ExprText {
            expr,
            text: self.text_since(start),
        })
    }
}
