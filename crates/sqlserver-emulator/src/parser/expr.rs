//! Expressions and predicates, by descending precedence: `~`; `* / %`; `+ - & ^ |`; comparisons; NOT; AND; OR.
//! ("Operator precedence (Transact-SQL)")

use super::Parser;
use super::types::CAST_LENGTH;
use crate::ast::{BinaryOp, ColumnName, CompareOp, Expr, FunctionCall, Literal, UnaryOp};
use crate::error::{SqlError, SqlResult};
use crate::lexer::TokenKind;

impl Parser<'_> {
    /// An expression that gives a value.
    pub(super) fn value(&mut self) -> SqlResult<Expr> {
        let expr = self.nested(Self::additive)?;
        if is_predicate(&expr) {
            Err(self.unexpected())
        } else {
            Ok(expr)
        }
    }

    /// A predicate: what may follow WHERE, ON, IF and WHEN.
    pub(super) fn condition(&mut self) -> SqlResult<Expr> {
        let expr = self.nested(Self::disjunction)?;
        self.require_predicate(expr)
    }

    fn require_predicate(&self, expr: Expr) -> SqlResult<Expr> {
        if is_predicate(&expr) {
            return Ok(expr);
        }
        let near = self
            .token(0)
            .and_then(|token| self.sql.get(token.start..token.end))
            .unwrap_or_default();
        let message = format!(
            "An expression of non-boolean type specified in a context where a condition is expected, near '{near}'."
        );
        Err(SqlError::new(4145, 15, 1, message).at_line(self.line()))
    }

    pub(super) fn disjunction(&mut self) -> SqlResult<Expr> {
        let mut left = self.conjunction()?;
        while self.is_word("OR") {
            left = self.require_predicate(left)?;
            self.advance();
            let right = self.conjunction()?;
            let right = self.require_predicate(right)?;
            left = Expr::Or(Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> SqlResult<Expr> {
        let mut left = self.negation()?;
        while self.is_word("AND") {
            left = self.require_predicate(left)?;
            self.advance();
            let right = self.negation()?;
            let right = self.require_predicate(right)?;
            left = Expr::And(Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn negation(&mut self) -> SqlResult<Expr> {
        if !self.eat("NOT") {
            return self.predicate();
        }
        let operand = self.nested(Self::negation)?;
        let operand = self.require_predicate(operand)?;
        Ok(Expr::Not(Box::new(operand)))
    }

    fn predicate(&mut self) -> SqlResult<Expr> {
        if self.eat("EXISTS") {
            return Ok(Expr::Exists(Box::new(self.parenthesized_query()?)));
        }
        let left = self.additive()?;
        if is_predicate(&left) {
            return Ok(left);
        }
        if let Some(op) = self.compare_op() {
            return self.comparison(left, op);
        }
        let operand = Box::new(left);
        if self.eat("IS") {
            return self.is_test(operand);
        }
        let negated =
            self.is_word("NOT") && ["LIKE", "BETWEEN", "IN"].iter().any(|word| self.word_at(1, word));
        if negated {
            self.advance();
        }
        match self.eat_one_of(&["LIKE", "BETWEEN", "IN"]) {
            Some("LIKE") => self.like(operand, negated),
            Some("BETWEEN") => {
                let low = Box::new(self.value()?);
                self.expect("AND")?;
                Ok(Expr::Between {
                    operand,
                    low,
                    high: Box::new(self.value()?),
                    negated,
                })
            }
            Some(_) => self.membership(operand, negated),
            None => Ok(*operand),
        }
    }

    fn compare_op(&mut self) -> Option<CompareOp> {
        let TokenKind::Symbol(symbol) = self.kind(0) else {
            return None;
        };
        let op = match *symbol {
            "=" => CompareOp::Equal,
            "<>" | "!=" => CompareOp::NotEqual,
            "<" => CompareOp::Less,
            "<=" | "!>" => CompareOp::LessOrEqual,
            ">" => CompareOp::Greater,
            ">=" | "!<" => CompareOp::GreaterOrEqual,
            _ => return None,
        };
        self.advance();
        Some(op)
    }

    fn comparison(&mut self, left: Expr, op: CompareOp) -> SqlResult<Expr> {
        let left = Box::new(left);
        let quantifier =
            ["ALL", "ANY", "SOME"].iter().any(|word| self.is_word(word)) && self.symbol_at(1, "(");
        if quantifier {
            let all = self.is_word("ALL");
            self.advance();
            return Ok(Expr::Quantified {
                op,
                left,
                all,
                query: Box::new(self.parenthesized_query()?),
            });
        }
        Ok(Expr::Compare {
            op,
            left,
            right: Box::new(self.value()?),
        })
    }

    fn is_test(&mut self, operand: Box<Expr>) -> SqlResult<Expr> {
        let negated = self.eat("NOT");
        if self.eat_words(&["DISTINCT", "FROM"]) {
            return Ok(Expr::IsDistinct {
                left: operand,
                right: Box::new(self.value()?),
                negated,
            });
        }
        self.expect("NULL")?;
        Ok(Expr::IsNull { operand, negated })
    }

    fn like(&mut self, operand: Box<Expr>, negated: bool) -> SqlResult<Expr> {
        let pattern = Box::new(self.value()?);
        let escape = if self.eat("ESCAPE") {
            Some(Box::new(self.value()?))
        } else {
            None
        };
        Ok(Expr::Like {
            operand,
            pattern,
            escape,
            negated,
        })
    }

    fn membership(&mut self, operand: Box<Expr>, negated: bool) -> SqlResult<Expr> {
        if self.symbol_at(0, "(") && (self.word_at(1, "SELECT") || self.word_at(1, "WITH")) {
            return Ok(Expr::InQuery {
                operand,
                query: Box::new(self.parenthesized_query()?),
                negated,
            });
        }
        Ok(Expr::InList {
            operand,
            list: self.parenthesized(Self::value)?,
            negated,
        })
    }

    fn additive(&mut self) -> SqlResult<Expr> {
        let mut left = self.multiplicative()?;
        while let Some(op) = self.binary_op(&[
            ("+", BinaryOp::Add),
            ("-", BinaryOp::Subtract),
            ("&", BinaryOp::BitAnd),
            ("|", BinaryOp::BitOr),
            ("^", BinaryOp::BitXor),
        ]) {
            let right = self.multiplicative()?;
            left = self.binary(op, left, right)?;
        }
        Ok(left)
    }

    fn multiplicative(&mut self) -> SqlResult<Expr> {
        let mut left = self.unary()?;
        while let Some(op) = self.binary_op(&[
            ("*", BinaryOp::Multiply),
            ("/", BinaryOp::Divide),
            ("%", BinaryOp::Modulo),
        ]) {
            let right = self.unary()?;
            left = self.binary(op, left, right)?;
        }
        Ok(left)
    }

    fn binary_op(&mut self, ops: &[(&str, BinaryOp)]) -> Option<BinaryOp> {
        let (_, op) = ops.iter().find(|(symbol, _)| self.is_symbol(symbol))?;
        self.advance();
        Some(*op)
    }

    fn binary(&self, op: BinaryOp, left: Expr, right: Expr) -> SqlResult<Expr> {
        if is_predicate(&left) || is_predicate(&right) {
            return Err(self.unexpected());
        }
        Ok(Expr::Binary {
            op,
            left: Box::new(left),
            right: Box::new(right),
        })
    }

    fn unary(&mut self) -> SqlResult<Expr> {
        let op = match self.kind(0) {
            TokenKind::Symbol("-") => UnaryOp::Negate,
            TokenKind::Symbol("+") => UnaryOp::Plus,
            TokenKind::Symbol("~") => UnaryOp::BitNot,
            _ => return self.collated(),
        };
        self.advance();
        let operand = self.nested(Self::unary)?;
        Ok(match (op, operand) {
            (UnaryOp::Negate, Expr::Literal(literal)) if negated(&literal).is_some() => {
                Expr::Literal(negated(&literal).unwrap_or(literal))
            }
            (_, operand) => Expr::Unary {
                op,
                operand: Box::new(operand),
            },
        })
    }

    fn collated(&mut self) -> SqlResult<Expr> {
        let mut expr = self.primary()?;
        while self.eat("COLLATE") {
            expr = Expr::Collate {
                operand: Box::new(expr),
                collation: self.word()?,
            };
        }
        Ok(expr)
    }

    fn primary(&mut self) -> SqlResult<Expr> {
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
            TokenKind::Symbol("(") => self.parentheses(),
            TokenKind::Symbol("{") => self.odbc_escape(),
            TokenKind::Quoted(_) => self.column_or_call(),
            TokenKind::Word(word) => self.word_expression(&word.to_ascii_uppercase()),
            _ => Err(self.unexpected()),
        }
    }

    fn parentheses(&mut self) -> SqlResult<Expr> {
        let mut ahead = 1;
        while self.symbol_at(ahead, "(") {
            ahead += 1;
        }
        if self.word_at(ahead, "SELECT") && self.query_in_parentheses() {
            return Ok(Expr::Subquery(Box::new(self.parenthesized_query()?)));
        }
        self.expect_symbol("(")?;
        let expr = self.nested(Self::disjunction)?;
        self.expect_symbol(")")?;
        Ok(expr)
    }

    /// `((SELECT 1) + 1)` begins like a query and is none: look at what follows the inner query's parenthesis.
    fn query_in_parentheses(&self) -> bool {
        if self.word_at(1, "SELECT") {
            return true;
        }
        let mut depth = 0_i32;
        for ahead in 1.. {
            match self.kind(ahead) {
                TokenKind::Symbol("(") => depth += 1,
                TokenKind::Symbol(")") => depth -= 1,
                TokenKind::End => return false,
                _ => {}
            }
            if depth == 0 {
                return ["UNION", "EXCEPT", "INTERSECT"]
                    .iter()
                    .any(|word| self.word_at(ahead + 1, word))
                    || self.symbol_at(ahead + 1, ")");
            }
        }
        false
    }

    fn word_expression(&mut self, word: &str) -> SqlResult<Expr> {
        match word {
            "NULL" => {
                self.advance();
                Ok(Expr::Literal(Literal::Null))
            }
            "DEFAULT" => {
                self.advance();
                Ok(Expr::Default)
            }
            "CASE" => self.case(),
            "CAST" | "TRY_CAST" if self.symbol_at(1, "(") => self.cast(word == "TRY_CAST"),
            "CONVERT" | "TRY_CONVERT" if self.symbol_at(1, "(") => self.convert(word == "TRY_CONVERT"),
            "CURRENT_TIMESTAMP" | "CURRENT_USER" | "SESSION_USER" | "SYSTEM_USER" | "USER" => {
                self.advance();
                let name = if word == "USER" { "CURRENT_USER" } else { word };
                Ok(Expr::Function(Box::new(FunctionCall::plain(name, Vec::new()))))
            }
            "LEFT" | "RIGHT" | "COALESCE" | "NULLIF" | "UPDATE" if self.symbol_at(1, "(") => {
                self.advance();
                self.call(word.to_owned())
            }
            "IDENTITYCOL" | "ROWGUIDCOL" => {
                self.advance();
                Ok(Expr::Column(ColumnName {
                    qualifier: Vec::new(),
                    name: format!("${word}"),
                }))
            }
            "$ACTION" => {
                self.advance();
                Ok(Expr::MergeAction)
            }
            _ => self.column_or_call(),
        }
    }

    /// `a`, `t.a`, `f(…)`, `s.f(…)`
    fn column_or_call(&mut self) -> SqlResult<Expr> {
        let quoted = matches!(self.kind(0), TokenKind::Quoted(_));
        let mut parts = vec![self.name()?];
        while self.is_symbol(".") && !self.symbol_at(1, "*") {
            self.advance();
            parts.push(if self.is_symbol(".") {
                String::new()
            } else {
                self.name()?
            });
        }
        if self.is_symbol("(") {
            let single = parts.len() == 1 && !quoted;
            let name = if single {
                parts.concat().to_ascii_uppercase()
            } else {
                parts.join(".")
            };
            return self.call(name);
        }
        let name = parts.pop().unwrap_or_default();
        Ok(Expr::Column(ColumnName {
            qualifier: parts,
            name,
        }))
    }

    fn case(&mut self) -> SqlResult<Expr> {
        self.expect("CASE")?;
        let operand = if self.is_word("WHEN") {
            None
        } else {
            Some(Box::new(self.value()?))
        };
        let mut branches = Vec::new();
        while self.eat("WHEN") {
            let when = if operand.is_some() {
                self.value()?
            } else {
                self.condition()?
            };
            self.expect("THEN")?;
            branches.push((when, self.value()?));
        }
        if branches.is_empty() {
            return Err(self.unexpected());
        }
        let otherwise = if self.eat("ELSE") {
            Some(Box::new(self.value()?))
        } else {
            None
        };
        self.expect("END")?;
        Ok(Expr::Case {
            operand,
            branches,
            otherwise,
        })
    }

    fn cast(&mut self, attempt: bool) -> SqlResult<Expr> {
        self.advance();
        self.expect_symbol("(")?;
        let operand = Box::new(self.value()?);
        self.expect("AS")?;
        let ty = self.builtin_type(CAST_LENGTH)?;
        self.expect_symbol(")")?;
        Ok(Expr::Cast { operand, ty, attempt })
    }

    fn convert(&mut self, attempt: bool) -> SqlResult<Expr> {
        self.advance();
        self.expect_symbol("(")?;
        let ty = self.builtin_type(CAST_LENGTH)?;
        self.expect_symbol(",")?;
        let operand = Box::new(self.value()?);
        let style = if self.eat_symbol(",") {
            Some(Box::new(self.value()?))
        } else {
            None
        };
        self.expect_symbol(")")?;
        Ok(Expr::Convert {
            operand,
            ty,
            style,
            attempt,
        })
    }
}

/// A negative constant is a constant; `-2147483648` stays a negated `numeric`, as SQL Server has it.
fn negated(literal: &Literal) -> Option<Literal> {
    match *literal {
        Literal::Int(number) => number.checked_neg().map(Literal::Int),
        Literal::Decimal {
            unscaled,
            precision,
            scale,
        } => Some(Literal::Decimal {
            unscaled: -unscaled,
            precision,
            scale,
        }),
        Literal::Float(number) => Some(Literal::Float(-number)),
        Literal::Money(number) => Some(Literal::Money(-number)),
        _ => None,
    }
}

/// Whether `expr` is true, false or unknown rather than a value.
pub(super) fn is_predicate(expr: &Expr) -> bool {
    match expr {
        Expr::Compare { .. }
        | Expr::Quantified { .. }
        | Expr::And(..)
        | Expr::Or(..)
        | Expr::Not(_)
        | Expr::IsNull { .. }
        | Expr::IsDistinct { .. }
        | Expr::Like { .. }
        | Expr::Between { .. }
        | Expr::InList { .. }
        | Expr::InQuery { .. }
        | Expr::Exists(_) => true,
        Expr::Function(call) => call.name == "UPDATE",
        _ => false,
    }
}
