//! SET, EXECUTE and DBCC.

use super::Parser;
use crate::ast::{
    Argument, Execute, Expr, Isolation, Literal, ProcedureName, SetOption, StatementKind, UnaryOp,
};
use crate::error::SqlResult;
use crate::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn set(&mut self) -> SqlResult<StatementKind> {
        self.expect("SET")?;
        if let TokenKind::Variable(name) = self.kind(0).clone() {
            self.advance();
            let op = self.take_assignment_op()?;
            return Ok(StatementKind::SetVariable {
                name,
                op,
                value: self.value()?,
            });
        }
        self.set_option().map(StatementKind::SetOption)
    }

    fn set_option(&mut self) -> SqlResult<SetOption> {
        if self.eat("TRANSACTION") {
            self.expect_words(&["ISOLATION", "LEVEL"])?;
            return Ok(SetOption::Isolation(self.isolation()?));
        }
        if self.eat("IDENTITY_INSERT") {
            let table = self.object_name()?;
            return Ok(SetOption::IdentityInsert {
                table,
                on: self.switch()?,
            });
        }
        if self.eat("STATISTICS") {
            let names = self.option_names()?;
            return Ok(SetOption::Statistics {
                names,
                on: self.switch()?,
            });
        }
        let names = self.option_names()?;
        if self.is_word("ON") || self.is_word("OFF") {
            return Ok(SetOption::Switch {
                names,
                on: self.switch()?,
            });
        }
        let [name] = names.as_slice() else {
            return Err(self.unexpected());
        };
        let takes_value = matches!(
            name.as_str(),
            "TEXTSIZE"
                | "ROWCOUNT"
                | "LOCK_TIMEOUT"
                | "DATEFIRST"
                | "DATEFORMAT"
                | "LANGUAGE"
                | "DEADLOCK_PRIORITY"
                | "CONTEXT_INFO"
                | "QUERY_GOVERNOR_COST_LIMIT"
                | "FIPS_FLAGGER"
        );
        if !takes_value {
            return Err(self.unexpected());
        }
        Ok(SetOption::Value {
            name: name.clone(),
            value: self.simple_argument()?,
        })
    }

    fn option_names(&mut self) -> SqlResult<Vec<String>> {
        self.comma_list(|parser| Ok(parser.word()?.to_ascii_uppercase()))
    }

    pub(super) fn isolation(&mut self) -> SqlResult<Isolation> {
        if self.eat("SNAPSHOT") {
            return Ok(Isolation::Snapshot);
        }
        if self.eat("SERIALIZABLE") {
            return Ok(Isolation::Serializable);
        }
        if self.eat_words(&["REPEATABLE", "READ"]) {
            return Ok(Isolation::RepeatableRead);
        }
        self.expect("READ")?;
        if self.eat("UNCOMMITTED") {
            return Ok(Isolation::ReadUncommitted);
        }
        self.expect("COMMITTED").map(|()| Isolation::ReadCommitted)
    }

    pub(super) fn execute(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        if self.is_word("AS") {
            return Err(self.unsupported("EXECUTE AS"));
        }
        if self.eat_symbol("(") {
            let text = self.value()?;
            self.expect_symbol(")")?;
            return Ok(StatementKind::ExecuteString(text));
        }
        if let TokenKind::Variable(name) = self.kind(0).clone() {
            self.advance();
            if self.eat_symbol("=") {
                return self.call_procedure(Some(name));
            }
            return self.call_arguments(None, ProcedureName::Variable(name));
        }
        self.call_procedure(None)
    }

    /// `procedure arguments`
    pub(super) fn call_procedure(&mut self, status: Option<String>) -> SqlResult<StatementKind> {
        if let TokenKind::Variable(name) = self.kind(0).clone() {
            self.advance();
            return self.call_arguments(status, ProcedureName::Variable(name));
        }
        let name = self.object_name()?;
        self.call_arguments(status, ProcedureName::Name(name))
    }

    fn call_arguments(
        &mut self,
        status: Option<String>,
        procedure: ProcedureName,
    ) -> SqlResult<StatementKind> {
        let arguments = if self.argument_follows() {
            self.comma_list(Self::argument)?
        } else {
            Vec::new()
        };
        if self.eat_words(&["WITH", "RECOMPILE"]) || self.eat_words(&["WITH", "RESULT", "SETS"]) {
            self.eat_one_of(&["NONE", "UNDEFINED"]);
            if self.is_symbol("(") {
                self.skip_parentheses()?;
            }
        }
        Ok(StatementKind::Execute(Box::new(Execute {
            status,
            procedure,
            arguments,
        })))
    }

    fn argument_follows(&self) -> bool {
        match self.kind(0) {
            TokenKind::Constant(_) | TokenKind::Variable(_) | TokenKind::Symbol("-" | "+") => true,
            _ => self.is_word("NULL") || self.is_word("DEFAULT") || self.peek_name(0).is_some(),
        }
    }

    fn argument(&mut self) -> SqlResult<Argument> {
        let mut name = None;
        if let TokenKind::Variable(variable) = self.kind(0).clone()
            && self.symbol_at(1, "=")
        {
            self.advance();
            self.advance();
            name = Some(variable);
        }
        let value = if self.eat("DEFAULT") {
            None
        } else {
            Some(self.simple_argument()?)
        };
        let output = self.eat_one_of(&["OUTPUT", "OUT"]).is_some();
        Ok(Argument { name, value, output })
    }

    /// A constant, a variable, or a bare word that stands for a string: EXEC and SET take no expressions.
    fn simple_argument(&mut self) -> SqlResult<Expr> {
        if self.eat_symbol("-") {
            let operand = Box::new(self.simple_argument()?);
            return Ok(Expr::Unary {
                op: UnaryOp::Negate,
                operand,
            });
        }
        self.eat_symbol("+");
        match self.kind(0).clone() {
            TokenKind::Constant(literal) => {
                self.advance();
                Ok(Expr::Literal(literal))
            }
            TokenKind::Variable(name) => {
                self.advance();
                Ok(if name.starts_with("@@") {
                    Expr::Global(name.to_uppercase())
                } else {
                    Expr::Variable(name)
                })
            }
            _ if self.eat("NULL") => Ok(Expr::Literal(Literal::Null)),
            _ => {
                let text = self.name()?.encode_utf16().collect();
                Ok(Expr::Literal(Literal::Str { text, national: true }))
            }
        }
    }

    pub(super) fn dbcc(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        let command = self.word()?.to_ascii_uppercase();
        let arguments = if self.eat_symbol("(") {
            let arguments = if self.is_symbol(")") {
                Vec::new()
            } else {
                self.comma_list(Self::simple_argument)?
            };
            self.expect_symbol(")")?;
            arguments
        } else {
            Vec::new()
        };
        if self.eat("WITH") {
            self.comma_list(Self::word)?;
        }
        Ok(StatementKind::Dbcc { command, arguments })
    }
}
