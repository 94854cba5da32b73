//! `sp_describe_first_result_set`: the columns of what a batch returns first, found without its rows, as FMTONLY finds them.

use super::bind_query::result_column;
use super::procedures::{Called, Finished, Given};
use super::run::Run;
use super::statement::wanted;
use crate::error::SqlError;
use crate::outcome::{Command, Done, EnvChange, Flow, Output, ResultColumn, ReturnValue};
use crate::parser::parse_parameters;
use crate::types::{Length, SqlType};
use crate::value::Value;

/// Columns of the description. Of SQL Server's 39 these are what a type declaration needs.
const COLUMNS: [(&str, SqlType); 6] = [
    ("is_hidden", SqlType::Bit),
    ("column_ordinal", SqlType::Int),
    ("name", NAME),
    ("is_nullable", SqlType::Bit),
    (
        "system_type_name",
        SqlType::NVarChar {
            len: Length::Chars(256),
        },
    ),
    ("collation_name", NAME),
];

const NAME: SqlType = SqlType::NVarChar {
    len: Length::Chars(128),
};

/// Keeps the columns of the first result set.
#[derive(Default)]
struct First(Option<Vec<ResultColumn>>);

impl Output for First {
    fn columns(&mut self, columns: &[ResultColumn]) -> Flow {
        self.0.get_or_insert_with(|| columns.to_vec());
        Flow::Continue
    }

    fn row(&mut self, _: &[Value]) -> Flow {
        Flow::Continue
    }

    fn done(&mut self, _: Done) {}

    fn message(&mut self, _: &SqlError) {}

    fn env(&mut self, _: EnvChange) {}

    fn return_value(&mut self, _: ReturnValue) {}

    fn return_status(&mut self, _: i32) {}
}

impl Run<'_> {
    /// `@tsql, @params, @browse_information_mode`.
    pub(super) fn describe_first_result(&mut self, given: &[Given]) -> Called {
        let text = |name: &str, place: usize| {
            let named = given.iter().find(|given| given.name.eq_ignore_ascii_case(name));
            let found = named.or_else(|| given.get(place).filter(|given| given.name.is_empty()));
            found
                .and_then(|given| given.value.as_ref()?.as_text())
                .unwrap_or_default()
        };
        let (sql, declarations) = (text("@tsql", 0), text("@params", 1));
        let declared = parse_parameters(&declarations).map_err(|error| self.fail(error))?;
        let text = [sql, declarations].map(|text| Given {
            value: Some(Value::text(&text)),
            ..Given::null()
        });
        let nulls = declared.iter().map(|_| Given::null());
        let arguments = text.into_iter().chain(nulls).collect();
        let mut first = First::default();
        let format_only = std::mem::replace(&mut self.session.options.fmt_only, true);
        let mut inner = Run::new(self.session, &mut first, true);
        // Its errors are this procedure's.
        inner.tries = 1;
        let described = inner.sp_executesql(arguments);
        self.session.options.fmt_only = format_only;
        described?;
        self.tell(&first.0.unwrap_or_default())
            .map_err(|error| self.fail(error))?;
        Ok(Finished {
            status: 0,
            outputs: Vec::new(),
        })
    }

    fn tell(&mut self, columns: &[ResultColumn]) -> Result<(), SqlError> {
        let shape: Vec<_> = COLUMNS
            .iter()
            .map(|(name, ty)| result_column((*name).to_owned(), self.session.in_database(*ty)))
            .collect();
        self.start_result(&shape);
        for (at, column) in columns.iter().enumerate() {
            let name = match column.name.as_str() {
                "" => Value::Null,
                name => Value::text(name),
            };
            let collation = column
                .collation
                .map_or(Value::Null, |collation| Value::text(collation.name));
            wanted(self.out.row(&[
                Value::Bit(false),
                Value::Int(at as i32 + 1),
                name,
                Value::Bit(column.nullable),
                Value::text(&column.ty.to_string()),
                collation,
            ]))?;
        }
        self.done(Command::Select, Some(columns.len() as u64));
        Ok(())
    }
}
