//! SET options, SET IDENTITY_INSERT, WAITFOR.

use std::time::{Duration, Instant as Deadline};

use super::run::Run;
use crate::ast::{SetOption, WaitKind};
use crate::error::{SqlError, SqlResult};
use crate::outcome::Command;
use crate::value::Value;

impl Run<'_> {
    pub(super) fn set_option(&mut self, option: &SetOption) -> SqlResult<()> {
        match option {
            SetOption::Switch { names, on } => {
                for name in names {
                    self.session.options.switch(name, *on)?;
                }
            }
            SetOption::Value { name, value } => self.set_value(name, value)?,
            SetOption::Isolation(isolation) => self.session.isolation = *isolation,
            SetOption::IdentityInsert { table, on } => self.identity_insert(table, *on)?,
            SetOption::Statistics { .. } => {}
        }
        self.session.publish();
        self.session.row_count = 0;
        self.done(Command::Set, None);
        Ok(())
    }

    fn set_value(&mut self, name: &str, value: &crate::ast::Expr) -> SqlResult<()> {
        let value = match value {
            // A bare word: SET DATEFORMAT mdy, SET DEADLOCK_PRIORITY LOW.
            crate::ast::Expr::Column(word) => Value::text(&word.name),
            value => self.scalar(value, None)?,
        };
        let number = || match &value {
            Value::Decimal(d) => i64::try_from(d.unscaled).ok(),
            other => other.as_integer(),
        };
        let text = value.as_text().unwrap_or_default().to_lowercase();
        let refuse = |what: &str| Err(SqlError::unsupported(format_args!("SET {what}")));
        let options = &mut self.session.options;
        match (name, number()) {
            ("TEXTSIZE", Some(size)) => {
                options.text_size = match size {
                    0 => 4096,
                    -1 => i32::MAX,
                    size => i32::try_from(size).unwrap_or(i32::MAX),
                }
            }
            ("LOCK_TIMEOUT", Some(timeout)) => options.lock_timeout = timeout as i32,
            ("ROWCOUNT", Some(count)) => options.row_count = count,
            ("DATEFIRST", Some(first @ 1..=6)) => return refuse(&format!("DATEFIRST {first}")),
            ("DATEFIRST", Some(7)) => {}
            ("DEADLOCK_PRIORITY", Some(priority @ -10..=10)) => options.deadlock_priority = priority as i8,
            ("DEADLOCK_PRIORITY", None) => {
                options.deadlock_priority = match text.as_str() {
                    "low" => -5,
                    "high" => 5,
                    _ => 0,
                }
            }
            ("DATEFORMAT", _) if text == "mdy" => {}
            ("LANGUAGE", _) if ["us_english", "english"].contains(&text.as_str()) => {}
            ("DATEFORMAT" | "LANGUAGE", _) => return refuse(&format!("{name} {text}")),
            ("CONTEXT_INFO", _) => {
                self.session.context_info = match value {
                    Value::Bytes(bytes) => bytes.to_vec(),
                    _ => Vec::new(),
                }
            }
            ("QUERY_GOVERNOR_COST_LIMIT" | "FIPS_FLAGGER", _) => {}
            (other, _) => {
                return Err(SqlError::new(
                    195,
                    15,
                    5,
                    format!("'{other}' is not a recognized SET option."),
                ));
            }
        }
        let (tx, priority) = (self.session.transaction, self.session.options.deadlock_priority);
        if let Some(tx) = tx
            && let Some(transaction) = self.session.engine.store().lock().transaction(tx)
        {
            transaction.deadlock_priority = priority;
        }
        Ok(())
    }

    /// Errors: 8107 for a second table, 8106 without identity column.
    fn identity_insert(&mut self, table: &crate::ast::ObjectName, on: bool) -> SqlResult<()> {
        let id = self.session.find_table(table)?.ok_or_else(|| {
            SqlError::user(
                1088,
                format!(
                    "Cannot find the object \"{}\" because it does not exist or you do not have permissions.",
                    super::output::spelled(table)
                ),
            )
        })?;
        let definition = self.session.table_definition(id)?;
        if definition.identity().is_none() {
            return Err(SqlError::user(
                8106,
                format!(
                    "Table '{}' does not have the identity property. Cannot perform SET operation.",
                    super::output::spelled(table)
                ),
            ));
        }
        match (on, self.session.identity_insert) {
            (true, Some(other)) if other != id => {
                let other = self.session.table_definition(other)?;
                let database = self.session.database_name(other.database);
                return Err(SqlError::user(
                    8107,
                    format!(
                        "IDENTITY_INSERT is already ON for table '{database}.{}'. Cannot perform SET operation for table '{}'.",
                        other.qualified(),
                        super::output::spelled(table)
                    ),
                ));
            }
            (true, _) => self.session.identity_insert = Some(id),
            (false, Some(current)) if current == id => self.session.identity_insert = None,
            (false, _) => {}
        }
        Ok(())
    }

    pub(super) fn wait_for(&mut self, kind: WaitKind, value: &crate::ast::Expr) -> SqlResult<()> {
        if kind == WaitKind::Time {
            return Err(SqlError::unsupported("WAITFOR TIME"));
        }
        let text = self.scalar(value, None)?.as_text().unwrap_or_default();
        let delay = parse_delay(&text).ok_or_else(|| {
            SqlError::new(
                148,
                15,
                1,
                format!("Incorrect time syntax in time string '{text}' used with WAITFOR."),
            )
        })?;
        self.session.engine.change_session(self.session.id, |facts| {
            if let Some((_, command)) = &mut facts.request {
                "WAITFOR".clone_into(command);
            }
        });
        let end = Deadline::now() + delay;
        while Deadline::now() < end {
            self.check_cancelled()?;
            std::thread::sleep((end - Deadline::now().min(end)).min(Duration::from_millis(10)));
        }
        self.done(Command::Other, None);
        Ok(())
    }
}

/// `hh:mm[:ss[.fff]]`.
fn parse_delay(text: &str) -> Option<Duration> {
    let mut parts = text.trim().split(':');
    let hours: f64 = parts.next()?.parse().ok()?;
    let minutes: f64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next().map_or(Some(0.0), |seconds| seconds.parse().ok())?;
    let total = hours * 3600.0 + minutes * 60.0 + seconds;
    (parts.next().is_none() && (0.0..86_400.0).contains(&total)).then(|| Duration::from_secs_f64(total))
}
