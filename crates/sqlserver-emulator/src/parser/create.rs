//! CREATE and DROP, and the ALTER of what CREATE OR ALTER makes.

use super::Parser;
use super::types::DECLARED_LENGTH;
use crate::ast::{
    AlterIndexAction, CreateIndex, CreateMode, CreateProcedure, CreateTrigger, CreateView, DeclaredType,
    ObjectKind, ObjectName, ParameterDefinition, StatementKind,
};
use crate::error::{SqlError, SqlResult};
use crate::lexer::TokenKind;

/// Where a statement with a body began, and whether it may replace an object.
struct Beginning {
    token: usize,
    byte: usize,
    mode: CreateMode,
}

impl Parser<'_> {
    pub(super) fn create(&mut self) -> SqlResult<StatementKind> {
        let mut beginning = Beginning {
            token: self.at,
            byte: self.start(),
            mode: CreateMode::Create,
        };
        self.expect("CREATE")?;
        if self.eat_words(&["OR", "ALTER"]) {
            beginning.mode = CreateMode::CreateOrAlter;
        }
        let TokenKind::Word(word) = self.kind(0) else {
            return Err(self.unexpected());
        };
        match word.to_ascii_uppercase().as_str() {
            "TABLE" => {
                self.advance();
                let name = self.object_name()?;
                Ok(StatementKind::CreateTable {
                    name,
                    table: self.table_definition()?,
                })
            }
            "UNIQUE" | "CLUSTERED" | "NONCLUSTERED" | "COLUMNSTORE" | "INDEX" => self.create_index(),
            "SCHEMA" => self.create_schema(),
            "DATABASE" => self.create_database(),
            "VIEW" => self.view(beginning),
            "TRIGGER" => self.trigger(beginning),
            "PROC" | "PROCEDURE" => self.procedure(beginning),
            "LOGIN" => self.create_login(),
            "USER" => self.create_user(),
            "TYPE" => self.create_type(),
            "STATISTICS" => {
                self.skip_statement();
                Ok(StatementKind::NoEffect)
            }
            other => Err(self.unsupported(&format!("CREATE {other}"))),
        }
    }

    pub(super) fn alter(&mut self) -> SqlResult<StatementKind> {
        let beginning = Beginning {
            token: self.at,
            byte: self.start(),
            mode: CreateMode::Alter,
        };
        self.expect("ALTER")?;
        let TokenKind::Word(word) = self.kind(0) else {
            return Err(self.unexpected());
        };
        match word.to_ascii_uppercase().as_str() {
            "TABLE" => self.alter_table(),
            "DATABASE" => self.alter_database(),
            "INDEX" => self.alter_index(),
            "VIEW" => self.view(beginning),
            "TRIGGER" => self.trigger(beginning),
            "PROC" | "PROCEDURE" => self.procedure(beginning),
            "ROLE" | "SERVER" => self.alter_role(),
            other => Err(self.unsupported(&format!("ALTER {other}"))),
        }
    }

    fn create_index(&mut self) -> SqlResult<StatementKind> {
        let unique = self.eat("UNIQUE");
        let clustered = self.clustered();
        let columnstore = self.eat("COLUMNSTORE");
        self.expect("INDEX")?;
        let name = self.name()?;
        self.expect("ON")?;
        let table = self.object_name()?;
        let index = if columnstore && !self.is_symbol("(") {
            self.storage_clause()?;
            self.empty_index(name, table)
        } else {
            self.index_after_name(name, table, unique)?
        };
        let clustered = clustered.unwrap_or(index.clustered);
        Ok(StatementKind::CreateIndex(Box::new(CreateIndex {
            clustered,
            columnstore,
            ..index
        })))
    }

    fn empty_index(&self, name: String, table: ObjectName) -> CreateIndex {
        CreateIndex {
            name,
            table,
            unique: false,
            clustered: false,
            columnstore: false,
            columns: Vec::new(),
            include: Vec::new(),
            filter: None,
            ignore_dup_key: false,
        }
    }

    /// `[CLUSTERED] (columns) [INCLUDE (…)] [WHERE …] [WITH (…)]`
    pub(super) fn index_after_name(
        &mut self,
        name: String,
        table: ObjectName,
        unique: bool,
    ) -> SqlResult<CreateIndex> {
        let mut index = CreateIndex {
            unique,
            ..self.empty_index(name, table)
        };
        index.clustered = self.clustered().unwrap_or(false);
        index.columns = self.index_columns()?;
        if self.eat("INCLUDE") {
            index.include = self.name_list()?;
        }
        if self.eat("WHERE") {
            index.filter = Some(self.expr_text(Self::condition)?);
        }
        if self.is_word("WITH") && self.symbol_at(1, "(") {
            let start = self.start();
            self.storage_clause()?;
            let options: String = self.text_since(start).to_uppercase().split_whitespace().collect();
            index.ignore_dup_key = options.contains("IGNORE_DUP_KEY=ON");
        }
        self.storage_clause()?;
        Ok(index)
    }

    fn alter_index(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        let name = if self.eat("ALL") { None } else { Some(self.name()?) };
        self.expect("ON")?;
        let table = self.object_name()?;
        let action = match self.eat_one_of(&["REBUILD", "REORGANIZE", "DISABLE"]) {
            Some("REBUILD") => AlterIndexAction::Rebuild,
            Some("REORGANIZE") => AlterIndexAction::Reorganize,
            Some(_) => AlterIndexAction::Disable,
            None => return Err(self.unexpected()),
        };
        self.storage_clause()?;
        Ok(StatementKind::AlterIndex { name, table, action })
    }

    fn create_schema(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        let name = self.name()?;
        if self.eat("AUTHORIZATION") {
            self.name()?;
        }
        Ok(StatementKind::CreateSchema { name })
    }

    fn create_type(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        let name = self.object_name()?;
        if self.eat("AS") {
            self.expect("TABLE")?;
            let table = self.table_definition()?;
            return Ok(StatementKind::CreateTableType { name, table });
        }
        if self.is_word("EXTERNAL") {
            return Err(self.unsupported("CLR types of users"));
        }
        self.expect("FROM")?;
        let ty = self.builtin_type(DECLARED_LENGTH)?;
        let nullable = self.nullability()?.unwrap_or(true);
        Ok(StatementKind::CreateType { name, ty, nullable })
    }

    fn view(&mut self, beginning: Beginning) -> SqlResult<StatementKind> {
        self.require_first(beginning.token, "CREATE VIEW")?;
        self.advance();
        let name = self.object_name()?;
        let columns = self.optional_name_list()?;
        if self.eat("WITH") {
            self.comma_list(Self::word)?;
        }
        self.expect("AS")?;
        let query = self.query()?;
        if self.eat_words(&["WITH", "CHECK"]) {
            self.expect("OPTION")?;
        }
        let text = self.text_since(beginning.byte);
        let mode = beginning.mode;
        Ok(StatementKind::CreateView(Box::new(CreateView {
            name,
            columns,
            query,
            text,
            mode,
        })))
    }

    fn trigger(&mut self, beginning: Beginning) -> SqlResult<StatementKind> {
        self.require_first(beginning.token, "CREATE TRIGGER")?;
        self.advance();
        let name = self.object_name()?;
        self.expect("ON")?;
        if self.is_word("DATABASE") || self.is_word("ALL") {
            return Err(self.unsupported("DDL triggers"));
        }
        let table = self.object_name()?;
        self.procedure_options()?;
        let instead_of = self.eat_words(&["INSTEAD", "OF"]);
        if !instead_of && !self.eat("AFTER") {
            self.expect("FOR")?;
        }
        let events = self.comma_list(|parser| {
            let event = parser.eat_one_of(&["INSERT", "UPDATE", "DELETE"]);
            event.ok_or_else(|| parser.unexpected())
        })?;
        self.eat_words(&["NOT", "FOR", "REPLICATION"]);
        self.expect("AS")?;
        let (body, body_line) = self.body()?;
        Ok(StatementKind::CreateTrigger(Box::new(CreateTrigger {
            name,
            table,
            instead_of,
            insert: events.contains(&"INSERT"),
            update: events.contains(&"UPDATE"),
            delete: events.contains(&"DELETE"),
            body,
            body_line,
            text: self.text_since(beginning.byte),
            mode: beginning.mode,
        })))
    }

    fn procedure(&mut self, beginning: Beginning) -> SqlResult<StatementKind> {
        self.require_first(beginning.token, "CREATE/ALTER PROCEDURE")?;
        self.advance();
        let name = self.object_name()?;
        let in_parentheses = self.eat_symbol("(");
        let parameters = if matches!(self.kind(0), TokenKind::Variable(_)) {
            self.parameters()?
        } else {
            Vec::new()
        };
        if in_parentheses {
            self.expect_symbol(")")?;
        }
        self.procedure_options()?;
        self.expect("AS")?;
        let (body, body_line) = self.body()?;
        let text = self.text_since(beginning.byte);
        let mode = beginning.mode;
        let procedure = CreateProcedure {
            name,
            parameters,
            body,
            body_line,
            text,
            mode,
        };
        Ok(StatementKind::CreateProcedure(Box::new(procedure)))
    }

    /// `WITH RECOMPILE, EXECUTE AS OWNER`: without effect here.
    fn procedure_options(&mut self) -> SqlResult<()> {
        if !self.eat("WITH") {
            return Ok(());
        }
        self.comma_list(|parser| {
            let execute = parser.is_word("EXECUTE") || parser.is_word("EXEC");
            parser.word()?;
            if execute {
                parser.expect("AS")?;
                parser.advance();
            }
            Ok(())
        })?;
        Ok(())
    }

    /// The rest of the batch, which must parse, and its first line.
    fn body(&mut self) -> SqlResult<(String, u32)> {
        let (start, line) = (self.start(), self.line());
        self.statements_until(|parser| *parser.kind(0) == TokenKind::End)?;
        Ok((self.text_since(start), line))
    }

    /// `@a type = default OUTPUT, …`
    pub(super) fn parameters(&mut self) -> SqlResult<Vec<ParameterDefinition>> {
        self.comma_list(|parser| {
            let name = parser.variable()?;
            parser.eat("AS");
            let ty = parser.declared_type()?;
            parser.nullability()?;
            let default = if parser.eat_symbol("=") {
                Some(parser.value()?)
            } else {
                None
            };
            let output = parser.eat_one_of(&["OUTPUT", "OUT"]).is_some();
            let read_only = parser.eat("READONLY");
            if read_only && matches!(ty, DeclaredType::Scalar(_)) {
                let message = format!(
                    "The parameter \"{name}\" can not be declared READONLY since it is not a table-valued parameter."
                );
                return Err(SqlError::new(346, 15, 1, message).at_line(parser.line()));
            }
            Ok(ParameterDefinition {
                name,
                ty,
                default,
                output,
                read_only,
            })
        })
    }

    pub(super) fn drop(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        let word = self.word()?.to_ascii_uppercase();
        let kind = match word.as_str() {
            "INDEX" => return self.drop_index(),
            "TABLE" => ObjectKind::Table,
            "VIEW" => ObjectKind::View,
            "PROC" | "PROCEDURE" => ObjectKind::Procedure,
            "FUNCTION" => ObjectKind::Function,
            "TRIGGER" => ObjectKind::Trigger,
            "SCHEMA" => ObjectKind::Schema,
            "DATABASE" => ObjectKind::Database,
            "TYPE" => ObjectKind::Type,
            "LOGIN" => ObjectKind::Login,
            "USER" => ObjectKind::User,
            "SYNONYM" | "SEQUENCE" | "STATISTICS" | "ROLE" => ObjectKind::Other,
            _ => return Err(SqlError::unsupported(format_args!("DROP {word}")).at_line(self.line())),
        };
        let if_exists = self.eat_words(&["IF", "EXISTS"]);
        let names = self.comma_list(Self::object_name)?;
        Ok(StatementKind::Drop {
            kind,
            names,
            if_exists,
        })
    }

    /// `DROP INDEX i ON t`, or the old form `DROP INDEX t.i`.
    fn drop_index(&mut self) -> SqlResult<StatementKind> {
        let if_exists = self.eat_words(&["IF", "EXISTS"]);
        let first = self.object_name()?;
        if self.eat("ON") {
            let table = self.object_name()?;
            self.storage_clause()?;
            return Ok(StatementKind::DropIndex {
                name: first.name,
                table,
                if_exists,
            });
        }
        let ObjectName {
            database,
            schema: Some(table),
            name,
            ..
        } = first
        else {
            return Err(self.unexpected());
        };
        let table = ObjectName {
            server: None,
            database: None,
            schema: database,
            name: table,
        };
        Ok(StatementKind::DropIndex {
            name,
            table,
            if_exists,
        })
    }

    /// `ENABLE TRIGGER name ON table`
    pub(super) fn switch_trigger(&mut self) -> SqlResult<StatementKind> {
        let enable = self.eat("ENABLE");
        if !enable {
            self.expect("DISABLE")?;
        }
        self.expect("TRIGGER")?;
        let name = if self.eat("ALL") {
            None
        } else {
            Some(self.object_name()?)
        };
        self.expect("ON")?;
        Ok(StatementKind::SwitchTrigger {
            enable,
            name,
            table: self.object_name()?,
        })
    }
}
