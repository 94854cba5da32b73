//! Statements, their separation, and control of flow.

use super::Parser;
use crate::ast::{
    Batch, Cte, DeclaredType, Expr, Literal, RaisError, Statement, StatementKind, ThrowArguments,
    TransactionName, VariableDeclaration, WaitKind,
};
use crate::error::{SqlError, SqlResult};
use crate::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn batch(&mut self) -> SqlResult<Batch> {
        let statements = self.statements_until(|parser| *parser.kind(0) == TokenKind::End)?;
        Ok(Batch { statements })
    }

    /// Statements with or without semicolons, until `end` holds.
    pub(super) fn statements_until(&mut self, end: impl Fn(&Self) -> bool) -> SqlResult<Vec<Statement>> {
        let mut statements = Vec::new();
        loop {
            while self.eat_symbol(";") {}
            if end(self) {
                return Ok(statements);
            }
            statements.push(self.statement()?);
        }
    }

    pub(super) fn statement(&mut self) -> SqlResult<Statement> {
        let line = self.line();
        let kind = self
            .nested(Self::statement_kind)
            .map_err(|error| error.at_line(line))?;
        Ok(Statement { line, kind })
    }

    fn statement_kind(&mut self) -> SqlResult<StatementKind> {
        let TokenKind::Word(word) = self.kind(0) else {
            return if self.is_symbol("(") {
                self.select_statement(Vec::new())
            } else {
                self.bare_call()
            };
        };
        match word.to_ascii_uppercase().as_str() {
            "SELECT" => self.select_statement(Vec::new()),
            "INSERT" => self.insert(Vec::new()),
            "UPDATE" => self.update(Vec::new()),
            "DELETE" => self.delete(Vec::new()),
            "MERGE" => self.merge(Vec::new()),
            "WITH" => self.with_statement(),
            "DECLARE" => self.declare(),
            "SET" => self.set(),
            "IF" => self.if_statement(),
            "WHILE" => self.while_statement(),
            "BREAK" => self.single(StatementKind::Break),
            "CONTINUE" => self.single(StatementKind::Continue),
            "BEGIN" => self.begin(),
            "THROW" => self.throw(),
            "RAISERROR" => self.raiserror(),
            "PRINT" => {
                self.advance();
                Ok(StatementKind::Print(self.value()?))
            }
            "RETURN" => self.return_statement(),
            "EXEC" | "EXECUTE" => self.execute(),
            "USE" => {
                self.advance();
                Ok(StatementKind::Use(self.name()?))
            }
            "WAITFOR" => self.waitfor(),
            "COMMIT" => self.commit(),
            "ROLLBACK" => self.rollback(),
            "SAVE" => self.save(),
            "CREATE" => self.create(),
            "ALTER" => self.alter(),
            "DROP" => self.drop(),
            "TRUNCATE" => {
                self.advance();
                self.expect("TABLE")?;
                Ok(StatementKind::TruncateTable(self.object_name()?))
            }
            "GRANT" | "DENY" | "REVOKE" => self.permission(),
            "DBCC" => self.dbcc(),
            "BACKUP" => self.backup(),
            "RESTORE" => self.restore(),
            "KILL" => {
                self.advance();
                Ok(StatementKind::Kill(self.value()?))
            }
            "CHECKPOINT" => self.single(StatementKind::Checkpoint),
            "ENABLE" | "DISABLE" if self.word_at(1, "TRIGGER") => self.switch_trigger(),
            "OPEN" | "FETCH" | "CLOSE" | "DEALLOCATE" => Err(self.unsupported("cursors")),
            "GOTO" | "REVERT" | "SETUSER" | "BULK" | "READTEXT" | "WRITETEXT" | "UPDATETEXT"
            | "RECONFIGURE" | "SHUTDOWN" => Err(self.unsupported(&word.to_ascii_uppercase())),
            _ => self.bare_call(),
        }
    }

    fn single(&mut self, kind: StatementKind) -> SqlResult<StatementKind> {
        self.advance();
        Ok(kind)
    }

    /// The first statement of a batch may call a procedure without EXEC.
    fn bare_call(&mut self) -> SqlResult<StatementKind> {
        if self.at == 0 && self.peek_name(0).is_some() {
            self.call_procedure(None)
        } else {
            Err(self.unexpected())
        }
    }

    /// `WITH` before a statement: common table expressions or a change tracking context.
    fn with_statement(&mut self) -> SqlResult<StatementKind> {
        if self.are_words(&["WITH", "CHANGE_TRACKING_CONTEXT"]) && self.symbol_at(2, "(") {
            self.advance();
            self.advance();
            self.expect_symbol("(")?;
            let context = self.change_context()?;
            self.expect_symbol(")")?;
            let ctes = if self.eat_symbol(",") {
                self.cte_list()?
            } else {
                Vec::new()
            };
            let statement = match self.changing_statement(ctes)? {
                Ok(statement) => Box::new(statement),
                Err(_) => return Err(self.unexpected()),
            };
            return Ok(StatementKind::WithChangeTrackingContext { context, statement });
        }
        let ctes = self.ctes()?;
        match self.changing_statement(ctes)? {
            Ok(statement) => Ok(statement),
            Err(ctes) => self.select_statement(ctes),
        }
    }

    /// INSERT, UPDATE, DELETE or MERGE; gives the common table expressions back if it is none of them.
    fn changing_statement(&mut self, ctes: Vec<Cte>) -> SqlResult<Result<StatementKind, Vec<Cte>>> {
        Ok(Ok(if self.is_word("INSERT") {
            self.insert(ctes)?
        } else if self.is_word("UPDATE") {
            self.update(ctes)?
        } else if self.is_word("DELETE") {
            self.delete(ctes)?
        } else if self.is_word("MERGE") {
            self.merge(ctes)?
        } else {
            return Ok(Err(ctes));
        }))
    }

    /// A variable or a binary constant; SQL Server takes no other expression here.
    fn change_context(&mut self) -> SqlResult<Expr> {
        match self.kind(0) {
            TokenKind::Variable(_) | TokenKind::Constant(Literal::Binary(_)) => self.value(),
            _ => Err(self.unexpected()),
        }
    }

    fn declare(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        let TokenKind::Variable(first) = self.kind(0).clone() else {
            let cursor = ["CURSOR", "INSENSITIVE", "SCROLL"];
            return Err(if cursor.iter().any(|word| self.word_at(1, word)) {
                self.unsupported("cursors")
            } else {
                self.unexpected()
            });
        };
        let table_at = 1 + usize::from(self.word_at(1, "AS"));
        if self.word_at(table_at, "TABLE") {
            (0..=table_at).for_each(|_| self.advance());
            self.declare_name(&first)?;
            let table = self.table_definition()?;
            return Ok(StatementKind::DeclareTable { name: first, table });
        }
        let declarations = self.comma_list(|parser| {
            let name = parser.variable()?;
            parser.declare_name(&name)?;
            parser.eat("AS");
            if parser.is_word("CURSOR") {
                return Err(parser.unsupported("cursors"));
            }
            let ty = parser.declared_type()?;
            let is_scalar = matches!(ty, DeclaredType::Scalar(_));
            let value = if is_scalar && parser.eat_symbol("=") {
                Some(parser.value()?)
            } else {
                None
            };
            Ok(VariableDeclaration { name, ty, value })
        })?;
        Ok(StatementKind::Declare(declarations))
    }

    /// 134 for a second declaration in the text, whether it would run or not.
    fn declare_name(&mut self, name: &str) -> SqlResult<()> {
        if self.declared.insert(name.to_lowercase()) {
            return Ok(());
        }
        let message = format!(
            "The variable name '{name}' has already been declared. Variable names must be unique within a query batch or \
             stored procedure."
        );
        Err(SqlError::new(134, 15, 2, message).at_line(self.line()))
    }

    fn if_statement(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        let condition = self.condition()?;
        let then = Box::new(self.statement()?);
        let semicolon_before_else = self.is_symbol(";") && self.word_at(1, "ELSE");
        if semicolon_before_else {
            self.advance();
        }
        let otherwise = if self.eat("ELSE") {
            Some(Box::new(self.statement()?))
        } else {
            None
        };
        Ok(StatementKind::If {
            condition,
            then,
            otherwise,
        })
    }

    fn while_statement(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        let condition = self.condition()?;
        Ok(StatementKind::While {
            condition,
            body: Box::new(self.statement()?),
        })
    }

    fn begin(&mut self) -> SqlResult<StatementKind> {
        self.expect("BEGIN")?;
        if self.eat("TRY") {
            return self.try_catch();
        }
        if self.is_word("DISTRIBUTED") {
            return Err(self.unsupported("distributed transactions"));
        }
        if self.eat_one_of(&["TRAN", "TRANSACTION"]).is_some() {
            let name = self.transaction_name()?;
            if self.eat_words(&["WITH", "MARK"]) && matches!(self.kind(0), TokenKind::Constant(_)) {
                self.advance();
            }
            return Ok(StatementKind::BeginTransaction { name });
        }
        let statements = self.statements_until(|parser| parser.is_word("END"))?;
        if statements.is_empty() {
            return Err(self.unexpected());
        }
        self.expect("END")?;
        Ok(StatementKind::Block(statements))
    }

    fn try_catch(&mut self) -> SqlResult<StatementKind> {
        let attempt = self.statements_until(|parser| parser.is_word("END"))?;
        self.expect_words(&["END", "TRY"])?;
        self.eat_symbol(";");
        self.expect_words(&["BEGIN", "CATCH"])?;
        let catch = self.statements_until(|parser| parser.is_word("END"))?;
        self.expect_words(&["END", "CATCH"])?;
        Ok(StatementKind::TryCatch { attempt, catch })
    }

    fn throw(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        if !matches!(self.kind(0), TokenKind::Constant(_) | TokenKind::Variable(_)) {
            return Ok(StatementKind::Throw(None));
        }
        let number = self.value()?;
        self.expect_symbol(",")?;
        let message = self.value()?;
        self.expect_symbol(",")?;
        let state = self.value()?;
        Ok(StatementKind::Throw(Some(Box::new(ThrowArguments {
            number,
            message,
            state,
        }))))
    }

    fn raiserror(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        let mut values = self.parenthesized(Self::value)?.into_iter();
        let (Some(message), Some(severity), Some(state)) = (values.next(), values.next(), values.next())
        else {
            return Err(self.unexpected());
        };
        let arguments = values.collect();
        let mut raise = RaisError {
            message,
            severity,
            state,
            arguments,
            nowait: false,
            seterror: false,
            log: false,
        };
        if self.eat("WITH") {
            self.comma_list(|parser| {
                match parser.eat_one_of(&["NOWAIT", "SETERROR", "LOG"]) {
                    Some("NOWAIT") => raise.nowait = true,
                    Some("SETERROR") => raise.seterror = true,
                    Some(_) => raise.log = true,
                    None => return Err(parser.unexpected()),
                }
                Ok(())
            })?;
        }
        Ok(StatementKind::RaisError(Box::new(raise)))
    }

    fn return_statement(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        let has_value = match self.kind(0) {
            TokenKind::Constant(_) | TokenKind::Variable(_) => true,
            TokenKind::Symbol(symbol) => matches!(*symbol, "(" | "-" | "+" | "~"),
            _ => self.peek_name(0).is_some() && self.symbol_at(1, "("),
        };
        let value = if has_value { Some(self.value()?) } else { None };
        Ok(StatementKind::Return(value))
    }

    fn waitfor(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        let kind = match self.eat_one_of(&["DELAY", "TIME"]) {
            Some("DELAY") => WaitKind::Delay,
            Some(_) => WaitKind::Time,
            None => return Err(self.unexpected()),
        };
        Ok(StatementKind::WaitFor {
            kind,
            value: self.value()?,
        })
    }

    fn commit(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        if self.eat_one_of(&["TRAN", "TRANSACTION"]).is_some() {
            self.transaction_name()?;
        } else {
            self.eat("WORK");
        }
        if self.eat("WITH") {
            self.skip_parentheses()?;
        }
        Ok(StatementKind::Commit)
    }

    fn rollback(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        if self.eat_one_of(&["TRAN", "TRANSACTION"]).is_some() {
            return Ok(StatementKind::Rollback {
                name: self.transaction_name()?,
            });
        }
        self.eat("WORK");
        Ok(StatementKind::Rollback { name: None })
    }

    fn save(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        if self.eat_one_of(&["TRAN", "TRANSACTION"]).is_none() {
            return Err(self.unexpected());
        }
        match self.transaction_name()? {
            Some(name) => Ok(StatementKind::SaveTransaction { name }),
            None => Err(self.unexpected()),
        }
    }

    fn transaction_name(&mut self) -> SqlResult<Option<TransactionName>> {
        if let TokenKind::Variable(name) = self.kind(0) {
            let name = TransactionName::Variable(name.clone());
            self.advance();
            return Ok(Some(name));
        }
        let contextual = self.is_word("THROW");
        if contextual || self.peek_name(0).is_none() {
            return Ok(None);
        }
        self.name().map(|name| Some(TransactionName::Name(name)))
    }

    /// Skips what has no effect here, up to the next statement.
    pub(super) fn skip_statement(&mut self) {
        const STARTS: [&str; 24] = [
            "SELECT",
            "INSERT",
            "UPDATE",
            "DELETE",
            "MERGE",
            "DECLARE",
            "IF",
            "WHILE",
            "BEGIN",
            "END",
            "PRINT",
            "RETURN",
            "EXEC",
            "EXECUTE",
            "USE",
            "COMMIT",
            "ROLLBACK",
            "CREATE",
            "ALTER",
            "DROP",
            "TRUNCATE",
            "GRANT",
            "RAISERROR",
            "ELSE",
        ];
        loop {
            let stop = match self.kind(0) {
                TokenKind::End | TokenKind::Symbol(";") => true,
                TokenKind::Word(word) => STARTS.iter().any(|start| word.eq_ignore_ascii_case(start)),
                _ => false,
            };
            if stop {
                return;
            }
            if self.skip_parentheses().is_err() {
                self.advance();
            }
        }
    }

    /// 111: views, procedures and triggers stand alone in their batch.
    pub(super) fn require_first(&self, first: usize, what: &str) -> SqlResult<()> {
        if first == 0 {
            return Ok(());
        }
        let message = format!("'{what}' must be the first statement in a query batch.");
        Err(SqlError::new(111, 15, 1, message).at_line(self.line()))
    }
}
