//! Function calls: ordinary ones, those with a grammar of their own, aggregates and windows.

use super::Parser;
use crate::ast::{Expr, Frame, FrameBound, FunctionCall, Literal, OrderItem, Window};
use crate::error::SqlResult;
use crate::types::SqlType;

impl FunctionCall {
    /// A call without DISTINCT, OVER and the like.
    pub(crate) fn plain(name: &str, arguments: Vec<Expr>) -> Self {
        Self {
            name: name.to_owned(),
            arguments,
            star: false,
            distinct: false,
            within_group: Vec::new(),
            over: None,
        }
    }
}

impl Parser<'_> {
    /// What follows a function's name.
    pub(super) fn call(&mut self, name: String) -> SqlResult<Expr> {
        self.expect_symbol("(")?;
        let mut call = FunctionCall::plain(&name, Vec::new());
        match name.as_str() {
            "IIF" => return self.iif(),
            "TRIM" => call.arguments = self.trim_arguments()?,
            "DATEADD" | "DATEDIFF" | "DATEDIFF_BIG" | "DATENAME" | "DATEPART" | "DATETRUNC" => {
                call.arguments.push(self.date_part()?);
                while self.eat_symbol(",") {
                    call.arguments.push(self.value()?);
                }
            }
            _ => self.plain_arguments(&mut call)?,
        }
        self.expect_symbol(")")?;
        if self.eat_words(&["WITHIN", "GROUP"]) {
            self.expect_symbol("(")?;
            self.expect_words(&["ORDER", "BY"])?;
            call.within_group = self.order_items()?;
            self.expect_symbol(")")?;
        }
        if self.eat("OVER") {
            call.over = Some(self.window()?);
        }
        Ok(Expr::Function(Box::new(call)))
    }

    fn plain_arguments(&mut self, call: &mut FunctionCall) -> SqlResult<()> {
        if self.eat_symbol("*") {
            call.star = true;
            return Ok(());
        }
        if self.is_symbol(")") {
            return Ok(());
        }
        call.distinct = self.eat("DISTINCT");
        if !call.distinct {
            self.eat("ALL");
        }
        call.arguments = self.comma_list(Self::value)?;
        Ok(())
    }

    /// `IIF(a, b, c)` is `CASE WHEN a THEN b ELSE c END`, by its documentation.
    fn iif(&mut self) -> SqlResult<Expr> {
        let condition = self.condition()?;
        self.expect_symbol(",")?;
        let then = self.value()?;
        self.expect_symbol(",")?;
        let otherwise = Some(Box::new(self.value()?));
        self.expect_symbol(")")?;
        Ok(Expr::Case {
            operand: None,
            branches: vec![(condition, then)],
            otherwise,
        })
    }

    /// `TRIM(x)` or `TRIM(characters FROM x)`; the text comes first in the tree.
    fn trim_arguments(&mut self) -> SqlResult<Vec<Expr>> {
        let first = self.value()?;
        if self.eat("FROM") {
            Ok(vec![self.value()?, first])
        } else {
            Ok(vec![first])
        }
    }

    /// The part's name, as a string constant.
    fn date_part(&mut self) -> SqlResult<Expr> {
        let name = self.word()?.to_ascii_lowercase();
        let text = name.encode_utf16().collect();
        Ok(Expr::Literal(Literal::Str {
            text,
            national: false,
        }))
    }

    /// ODBC's `{ts '…'}`, `{d '…'}`, `{t '…'}`, `{guid '…'}` and `{fn f(…)}`, which the server understands itself.
    pub(super) fn odbc_escape(&mut self) -> SqlResult<Expr> {
        self.expect_symbol("{")?;
        let expr = if self.eat("FN") {
            self.value()?
        } else {
            let ty = match self.eat_one_of(&["TS", "D", "T", "GUID"]) {
                Some("GUID") => SqlType::UniqueIdentifier,
                Some(_) => SqlType::DateTime,
                None => return Err(self.unexpected()),
            };
            Expr::Cast {
                operand: Box::new(self.value()?),
                ty,
                attempt: false,
            }
        };
        self.expect_symbol("}")?;
        Ok(expr)
    }

    fn window(&mut self) -> SqlResult<Window> {
        self.expect_symbol("(")?;
        let mut window = Window {
            partition_by: Vec::new(),
            order_by: Vec::new(),
            frame: None,
        };
        if self.eat_words(&["PARTITION", "BY"]) {
            window.partition_by = self.comma_list(Self::value)?;
        }
        if self.eat_words(&["ORDER", "BY"]) {
            window.order_by = self.order_items()?;
        }
        if let Some(unit) = self.eat_one_of(&["ROWS", "RANGE"]) {
            window.frame = Some(self.frame(unit == "ROWS")?);
        }
        self.expect_symbol(")")?;
        Ok(window)
    }

    fn frame(&mut self, rows: bool) -> SqlResult<Frame> {
        if !self.eat("BETWEEN") {
            return Ok(Frame {
                rows,
                start: self.frame_bound()?,
                end: FrameBound::CurrentRow,
            });
        }
        let start = self.frame_bound()?;
        self.expect("AND")?;
        Ok(Frame {
            rows,
            start,
            end: self.frame_bound()?,
        })
    }

    fn frame_bound(&mut self) -> SqlResult<FrameBound> {
        if self.eat_words(&["CURRENT", "ROW"]) {
            return Ok(FrameBound::CurrentRow);
        }
        if self.eat("UNBOUNDED") {
            return match self.eat_one_of(&["PRECEDING", "FOLLOWING"]) {
                Some("PRECEDING") => Ok(FrameBound::UnboundedPreceding),
                Some(_) => Ok(FrameBound::UnboundedFollowing),
                None => Err(self.unexpected()),
            };
        }
        let count = self.value()?;
        match self.eat_one_of(&["PRECEDING", "FOLLOWING"]) {
            Some("PRECEDING") => Ok(FrameBound::Preceding(count)),
            Some(_) => Ok(FrameBound::Following(count)),
            None => Err(self.unexpected()),
        }
    }

    /// `a, b DESC`
    pub(super) fn order_items(&mut self) -> SqlResult<Vec<OrderItem>> {
        self.comma_list(|parser| {
            let expr = parser.value()?;
            let descending = parser.eat("DESC");
            if !descending {
                parser.eat("ASC");
            }
            Ok(OrderItem { expr, descending })
        })
    }
}
