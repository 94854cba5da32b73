//! CREATE DATABASE and ALTER DATABASE.

use super::Parser;
use crate::ast::{AlterDatabase, StatementKind};
use crate::error::{SqlError, SqlResult};
use crate::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn create_database(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        let name = self.name()?;
        let mut collation = None;
        if self.eat("COLLATE") {
            collation = Some(self.word()?);
        }
        self.skip_statement();
        Ok(StatementKind::CreateDatabase { name, collation })
    }

    pub(super) fn alter_database(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        if self.is_word("SCOPED") {
            self.skip_statement();
            return Ok(StatementKind::NoEffect);
        }
        let name = if self.eat("CURRENT") {
            None
        } else {
            Some(self.name()?)
        };
        let action = if self.eat("COLLATE") {
            AlterDatabase::Collate(self.word()?)
        } else if self.eat_words(&["MODIFY", "NAME"]) {
            self.expect_symbol("=")?;
            AlterDatabase::ModifyName(self.name()?)
        } else {
            self.expect("SET")?;
            self.database_settings()?
        };
        Ok(StatementKind::AlterDatabase { name, action })
    }

    fn database_settings(&mut self) -> SqlResult<AlterDatabase> {
        if self.eat("CHANGE_TRACKING") {
            return self.change_tracking();
        }
        let options = self.comma_list(|parser| {
            let name = parser.word()?.to_ascii_uppercase();
            let equals = parser.eat_symbol("=");
            let value = match parser.kind(0) {
                TokenKind::Constant(_) if equals => {
                    let start = parser.start();
                    parser.advance();
                    parser.text_since(start)
                }
                TokenKind::Word(word) if !word.eq_ignore_ascii_case("WITH") => {
                    let standalone = [
                        "MULTI_USER",
                        "SINGLE_USER",
                        "RESTRICTED_USER",
                        "ONLINE",
                        "OFFLINE",
                        "READ_ONLY",
                        "READ_WRITE",
                    ];
                    if standalone.contains(&name.as_str()) {
                        String::new()
                    } else {
                        let value = word.to_ascii_uppercase();
                        parser.advance();
                        value
                    }
                }
                _ => String::new(),
            };
            Ok((name, value))
        })?;
        if self.eat("WITH") {
            // how to end other sessions: `ROLLBACK IMMEDIATE`, `ROLLBACK AFTER 5 SECONDS`, `NO_WAIT`
            if self.eat("ROLLBACK") && self.eat("AFTER") {
                self.integer()?;
                self.eat("SECONDS");
            } else {
                self.advance();
            }
        }
        Ok(AlterDatabase::Set { options })
    }

    /// `= ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)`, `= OFF`, or just `(…)` to change settings.
    fn change_tracking(&mut self) -> SqlResult<AlterDatabase> {
        let mut retention_minutes = None;
        let mut auto_cleanup = None;
        let enable = if self.eat_symbol("=") {
            self.switch()?
        } else {
            true
        };
        if self.is_symbol("(") {
            self.parenthesized(|parser| {
                if parser.eat("AUTO_CLEANUP") {
                    parser.expect_symbol("=")?;
                    auto_cleanup = Some(parser.switch()?);
                    return Ok(());
                }
                parser.expect("CHANGE_RETENTION")?;
                parser.expect_symbol("=")?;
                retention_minutes = Some(parser.retention()?);
                Ok(())
            })?;
        }
        Ok(AlterDatabase::ChangeTracking {
            enable,
            retention_minutes,
            auto_cleanup,
        })
    }

    fn retention(&mut self) -> SqlResult<u32> {
        let line = self.line();
        let count = self.integer()?;
        let unit = match self.eat_one_of(&["DAYS", "HOURS", "MINUTES"]) {
            Some("DAYS") => 1440,
            Some("HOURS") => 60,
            Some(_) => 1,
            None => return Err(self.unexpected()),
        };
        let minutes = u32::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(unit));
        minutes.ok_or_else(|| {
            let message = format!("The value for change retention period parameter '{count}' is invalid.");
            SqlError::new(22_101, 16, 1, message).at_line(line)
        })
    }
}
