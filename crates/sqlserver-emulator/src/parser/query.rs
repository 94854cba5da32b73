//! Queries: WITH, SELECT, set operators, ORDER BY, OPTION.

use super::Parser;
use crate::ast::{
    Cte, Expr, Query, QueryBody, Select, SelectItem, SelectStatement, SetOperator, StatementKind, Top,
};
use crate::error::SqlResult;
use crate::lexer::TokenKind;

/// Operators of `c += …`, `@v += …`.
pub(super) const COMPOUND_ASSIGNMENTS: [(&str, crate::ast::BinaryOp); 8] = {
    use crate::ast::BinaryOp::{Add, BitAnd, BitOr, BitXor, Divide, Modulo, Multiply, Subtract};
    [
        ("+=", Add),
        ("-=", Subtract),
        ("*=", Multiply),
        ("/=", Divide),
        ("%=", Modulo),
        ("&=", BitAnd),
        ("|=", BitOr),
        ("^=", BitXor),
    ]
};

impl Parser<'_> {
    pub(super) fn select_statement(&mut self, ctes: Vec<Cte>) -> SqlResult<StatementKind> {
        let query = self.query_after(ctes)?;
        Ok(StatementKind::Select(Box::new(SelectStatement { query })))
    }

    /// A query with its own WITH, as in a derived table or a view.
    pub(super) fn query(&mut self) -> SqlResult<Query> {
        let ctes = self.ctes()?;
        self.query_after(ctes)
    }

    pub(super) fn parenthesized_query(&mut self) -> SqlResult<Query> {
        self.nested(|parser| {
            parser.expect_symbol("(")?;
            let query = parser.query()?;
            parser.expect_symbol(")")?;
            Ok(query)
        })
    }

    /// `WITH a (x) AS (…), b AS (…)`, if it comes next.
    pub(super) fn ctes(&mut self) -> SqlResult<Vec<Cte>> {
        if !self.eat("WITH") {
            return Ok(Vec::new());
        }
        self.cte_list()
    }

    /// What follows WITH.
    pub(super) fn cte_list(&mut self) -> SqlResult<Vec<Cte>> {
        self.comma_list(|parser| {
            let name = parser.name()?;
            let columns = parser.optional_name_list()?;
            parser.expect("AS")?;
            Ok(Cte {
                name,
                columns,
                query: parser.parenthesized_query()?,
            })
        })
    }

    fn query_after(&mut self, ctes: Vec<Cte>) -> SqlResult<Query> {
        let body = self.set_operations()?;
        let order_by = if self.eat_words(&["ORDER", "BY"]) {
            self.order_items()?
        } else {
            Vec::new()
        };
        let (offset, fetch) = if order_by.is_empty() {
            (None, None)
        } else {
            self.offset_and_fetch()?
        };
        let for_clause = self.for_clause()?;
        let options = self.query_options()?;
        Ok(Query {
            ctes,
            body,
            order_by,
            offset,
            fetch,
            for_clause,
            options,
        })
    }

    fn offset_and_fetch(&mut self) -> SqlResult<(Option<Expr>, Option<Expr>)> {
        if !self.eat("OFFSET") {
            return Ok((None, None));
        }
        let offset = self.value()?;
        self.row_or_rows()?;
        if !self.eat("FETCH") {
            return Ok((Some(offset), None));
        }
        if !self.eat("NEXT") {
            self.expect("FIRST")?;
        }
        let fetch = self.value()?;
        self.row_or_rows()?;
        self.expect("ONLY")?;
        Ok((Some(offset), Some(fetch)))
    }

    fn row_or_rows(&mut self) -> SqlResult<()> {
        if self.eat("ROWS") {
            Ok(())
        } else {
            self.expect("ROW")
        }
    }

    /// `FOR XML PATH(''), TYPE`, `FOR JSON …`, `FOR BROWSE`: kept as text.
    fn for_clause(&mut self) -> SqlResult<Option<String>> {
        if !self.is_word("FOR") || !["XML", "JSON", "BROWSE"].iter().any(|word| self.word_at(1, word)) {
            return Ok(None);
        }
        self.advance();
        let start = self.start();
        self.advance();
        loop {
            if self.is_symbol("(") {
                self.skip_parentheses()?;
            } else if self.is_symbol(",") || (self.peek_name(0).is_some() && !self.is_symbol(")")) {
                self.advance();
            } else {
                return Ok(Some(self.text_since(start)));
            }
        }
    }

    /// `OPTION (RECOMPILE, MAXDOP 1, …)`, one text for each hint.
    pub(super) fn query_options(&mut self) -> SqlResult<Vec<String>> {
        if !self.is_word("OPTION") || !self.symbol_at(1, "(") {
            return Ok(Vec::new());
        }
        self.advance();
        self.parenthesized(|parser| {
            let start = parser.start();
            while !parser.is_symbol(",") && !parser.is_symbol(")") {
                match parser.kind(0) {
                    TokenKind::Symbol("(") => parser.skip_parentheses()?,
                    TokenKind::End => return Err(parser.unexpected()),
                    _ => parser.advance(),
                }
            }
            Ok(parser.text_since(start).to_uppercase())
        })
    }

    /// UNION and EXCEPT from left to right; INTERSECT binds closer.
    fn set_operations(&mut self) -> SqlResult<QueryBody> {
        let mut left = self.intersections()?;
        loop {
            let op = match self.eat_one_of(&["UNION", "EXCEPT"]) {
                Some("UNION") if self.eat("ALL") => SetOperator::UnionAll,
                Some("UNION") => SetOperator::Union,
                Some(_) => SetOperator::Except,
                None => return Ok(left),
            };
            let right = self.intersections()?;
            left = QueryBody::SetOperation {
                op,
                left: Box::new(left),
                right: Box::new(right),
            };
        }
    }

    fn intersections(&mut self) -> SqlResult<QueryBody> {
        let mut left = self.query_term()?;
        while self.eat("INTERSECT") {
            let right = self.query_term()?;
            let op = SetOperator::Intersect;
            left = QueryBody::SetOperation {
                op,
                left: Box::new(left),
                right: Box::new(right),
            };
        }
        Ok(left)
    }

    fn query_term(&mut self) -> SqlResult<QueryBody> {
        if self.is_symbol("(") {
            return self.nested(|parser| {
                parser.expect_symbol("(")?;
                let body = parser.set_operations()?;
                parser.expect_symbol(")")?;
                Ok(body)
            });
        }
        if self.is_word("VALUES") {
            return self.values().map(QueryBody::Values);
        }
        self.select().map(|select| QueryBody::Select(Box::new(select)))
    }

    /// `VALUES (…), (…)`
    pub(super) fn values(&mut self) -> SqlResult<Vec<Vec<Expr>>> {
        self.expect("VALUES")?;
        self.comma_list(|parser| parser.parenthesized(Self::value))
    }

    fn select(&mut self) -> SqlResult<Select> {
        self.expect("SELECT")?;
        let distinct = self.eat("DISTINCT");
        if !distinct {
            self.eat("ALL");
        }
        let top = self.top()?;
        let items = self.comma_list(Self::select_item)?;
        let into = if self.eat("INTO") {
            Some(self.object_name()?)
        } else {
            None
        };
        let from = if self.eat("FROM") {
            self.comma_list(Self::table_source)?
        } else {
            Vec::new()
        };
        let filter = self.where_clause()?;
        let group_by = if self.eat_words(&["GROUP", "BY"]) {
            self.group_items()?
        } else {
            Vec::new()
        };
        let having = if self.eat("HAVING") {
            Some(self.condition()?)
        } else {
            None
        };
        Ok(Select {
            distinct,
            top,
            items,
            into,
            from,
            filter,
            group_by,
            having,
        })
    }

    pub(super) fn where_clause(&mut self) -> SqlResult<Option<Expr>> {
        if self.eat("WHERE") {
            if self.are_words(&["CURRENT", "OF"]) {
                return Err(self.unsupported("cursors"));
            }
            self.condition().map(Some)
        } else {
            Ok(None)
        }
    }

    fn group_items(&mut self) -> SqlResult<Vec<Expr>> {
        for unsupported in ["ROLLUP", "CUBE", "GROUPING"] {
            if self.is_word(unsupported) {
                return Err(self.unsupported(&format!("GROUP BY {unsupported}")));
            }
        }
        self.comma_list(Self::value)
    }

    /// `TOP 5`, `TOP (@n) PERCENT WITH TIES`; without parentheses only a constant may stand here.
    pub(super) fn top(&mut self) -> SqlResult<Option<Top>> {
        if !self.eat("TOP") {
            return Ok(None);
        }
        let count = if self.is_symbol("(") {
            self.advance();
            let count = self.value()?;
            self.expect_symbol(")")?;
            count
        } else if let TokenKind::Constant(literal) = self.kind(0) {
            let literal = Expr::Literal(literal.clone());
            self.advance();
            literal
        } else {
            return Err(self.unexpected());
        };
        let percent = self.eat("PERCENT");
        let with_ties = self.eat_words(&["WITH", "TIES"]);
        Ok(Some(Top {
            count,
            percent,
            with_ties,
        }))
    }

    pub(super) fn select_item(&mut self) -> SqlResult<SelectItem> {
        if self.eat_symbol("*") {
            return Ok(SelectItem::Star {
                qualifier: Vec::new(),
            });
        }
        if let Some(qualifier) = self.qualified_star() {
            return Ok(SelectItem::Star { qualifier });
        }
        if let TokenKind::Variable(variable) = self.kind(0).clone()
            && let Some(op) = self.assignment_op(1)
        {
            self.advance();
            self.advance();
            return Ok(SelectItem::Assign {
                variable,
                op,
                value: self.value()?,
            });
        }
        if self.peek_name(0).is_some() && self.symbol_at(1, "=") {
            let alias = Some(self.name()?);
            self.advance();
            return Ok(SelectItem::Expr {
                expr: self.value()?,
                alias,
            });
        }
        let expr = self.value()?;
        let alias = self.output_alias()?;
        Ok(SelectItem::Expr { expr, alias })
    }

    /// After an item of OUTPUT comes `INTO` (reserved), of SELECT INTO the same: only the contextual words matter.
    fn output_alias(&mut self) -> SqlResult<Option<String>> {
        let contextual = ["OFFSET", "OUTPUT"].iter().any(|word| self.is_word(word));
        if contextual { Ok(None) } else { self.alias(true) }
    }

    /// `=` or `+=` and the like at the token `ahead`: the outer `Some` says that it is an assignment.
    pub(super) fn assignment_op(&self, ahead: usize) -> Option<Option<crate::ast::BinaryOp>> {
        if self.symbol_at(ahead, "=") {
            return Some(None);
        }
        let compound = COMPOUND_ASSIGNMENTS
            .iter()
            .find(|(symbol, _)| self.symbol_at(ahead, symbol));
        compound.map(|(_, op)| Some(*op))
    }

    /// `t.*`, `s.t.*`
    fn qualified_star(&mut self) -> Option<Vec<String>> {
        let mut ahead = 0;
        let mut qualifier = Vec::new();
        loop {
            qualifier.push(self.peek_name(ahead)?.to_owned());
            if !self.symbol_at(ahead + 1, ".") {
                return None;
            }
            ahead += 2;
            if self.symbol_at(ahead, "*") {
                (0..=ahead).for_each(|_| self.advance());
                return Some(qualifier);
            }
        }
    }
}
