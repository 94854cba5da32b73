//! CREATE, ALTER, BACKUP and RESTORE DATABASE.

use super::Parser;
use crate::ast::{AlterDatabase, StatementKind, TrackingSetting};
use crate::error::{SqlError, SqlResult};
use crate::lexer::TokenKind;

/// What `ALTER DATABASE … SET` takes besides CHANGE_TRACKING; the second half has no effect on any result.
const DATABASE_OPTIONS: [&str; 15] = [
    "ALLOW_SNAPSHOT_ISOLATION",
    "READ_COMMITTED_SNAPSHOT",
    "RECOVERY",
    "READ_ONLY",
    "READ_WRITE",
    "COMPATIBILITY_LEVEL",
    "MULTI_USER",
    "ONLINE",
    "AUTO_CLOSE",
    "AUTO_SHRINK",
    "AUTO_CREATE_STATISTICS",
    "AUTO_UPDATE_STATISTICS",
    "AUTO_UPDATE_STATISTICS_ASYNC",
    "PAGE_VERIFY",
    "DELAYED_DURABILITY",
];

impl Parser<'_> {
    pub(super) fn create_database(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        let name = self.name()?;
        let mut collation = None;
        if self.eat("COLLATE") {
            collation = Some(self.word()?);
        }
        // `AS COPY OF`, `AS SNAPSHOT OF`, `FOR ATTACH`: the database would hold something
        let files = self.at;
        self.skip_statement();
        let of_another = |at: &usize| {
            let word = self.tokens.get(*at).map(|token| &token.kind);
            matches!(word, Some(TokenKind::Word(word)) if ["AS", "FOR"].iter().any(|of| word.eq_ignore_ascii_case(of)))
        };
        if (files..self.at).any(|at| of_another(&at)) {
            return Err(self.unsupported("a database made of another one"));
        }
        Ok(StatementKind::CreateDatabase { name, collation })
    }

    pub(super) fn alter_database(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        if self.is_word("SCOPED") {
            return Err(self.unsupported("ALTER DATABASE SCOPED"));
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
        } else if self.eat("SET") {
            self.database_settings()?
        } else {
            let what = self.word()?.to_ascii_uppercase();
            return Err(self.unsupported(&format!("ALTER DATABASE … {what}")));
        };
        Ok(StatementKind::AlterDatabase { name, action })
    }

    /// `BACKUP DATABASE name TO DISK = 'file' WITH INIT, …`: the options that change nothing here are accepted.
    pub(super) fn backup(&mut self) -> SqlResult<StatementKind> {
        let (database, path) = self.database_and_file("TO")?;
        let accepted = [
            "INIT",
            "FORMAT",
            "COPY_ONLY",
            "COMPRESSION",
            "CHECKSUM",
            "STATS",
            "NAME",
        ];
        let options = self.file_options(&accepted)?;
        let overwrite = ["INIT", "FORMAT"]
            .iter()
            .any(|option| options.iter().any(|given| given == option));
        Ok(StatementKind::Backup {
            database,
            path,
            overwrite,
        })
    }

    /// `RESTORE DATABASE name FROM DISK = 'file' WITH REPLACE, …`.
    pub(super) fn restore(&mut self) -> SqlResult<StatementKind> {
        let (database, path) = self.database_and_file("FROM")?;
        let options = self.file_options(&["REPLACE", "RECOVERY", "CHECKSUM", "STATS"])?;
        let replace = options.iter().any(|given| given == "REPLACE");
        Ok(StatementKind::Restore {
            database,
            path,
            replace,
        })
    }

    fn database_and_file(&mut self, preposition: &str) -> SqlResult<(String, String)> {
        self.advance();
        self.expect("DATABASE")?;
        let database = self.name()?;
        self.expect_words(&[preposition, "DISK"])?;
        self.expect_symbol("=")?;
        Ok((database, self.string()?))
    }

    /// `WITH a, b = 1, c = 'text'`: the options' names.
    fn file_options(&mut self, accepted: &[&str]) -> SqlResult<Vec<String>> {
        if !self.eat("WITH") {
            return Ok(Vec::new());
        }
        self.comma_list(|parser| {
            let line = parser.line();
            let option = parser.word()?.to_ascii_uppercase();
            if !accepted.contains(&option.as_str()) {
                return Err(SqlError::unsupported(format_args!("WITH {option} here")).at_line(line));
            }
            if parser.eat_symbol("=") {
                parser.advance();
            }
            Ok(option)
        })
    }

    fn database_settings(&mut self) -> SqlResult<AlterDatabase> {
        if self.eat("CHANGE_TRACKING") {
            return self.change_tracking();
        }
        let options = self.comma_list(|parser| {
            let line = parser.line();
            let name = parser.word()?.to_ascii_uppercase();
            if !DATABASE_OPTIONS.contains(&name.as_str()) {
                let what = format_args!("ALTER DATABASE … SET {name}");
                return Err(SqlError::unsupported(what).at_line(line));
            }
            let equals = parser.eat_symbol("=");
            let value = match parser.kind(0) {
                TokenKind::Constant(_) if equals => {
                    let start = parser.start();
                    parser.advance();
                    parser.text_since(start)
                }
                TokenKind::Word(word) if !word.eq_ignore_ascii_case("WITH") => {
                    let standalone = ["MULTI_USER", "ONLINE", "READ_ONLY", "READ_WRITE"];
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
        let switch = if self.eat_symbol("=") {
            Some(self.switch()?)
        } else {
            None
        };
        let mut settings = Vec::new();
        if switch.is_none() || self.is_symbol("(") {
            self.parenthesized(|parser| {
                let line = parser.line();
                let setting = parser.tracking_setting()?;
                let same = |known: &TrackingSetting| {
                    std::mem::discriminant(known) == std::mem::discriminant(&setting)
                };
                if settings.iter().any(same) {
                    let name = match setting {
                        TrackingSetting::AutoCleanup(_) => "AUTO_CLEANUP",
                        TrackingSetting::Retention { .. } => "CHANGE_RETENTION",
                    };
                    let message = format!(
                        "ALTER DATABASE change tracking option '{name}' was specified more than once. Each option can be specified only once."
                    );
                    return Err(SqlError::new(5091, 15, 1, message).at_line(line));
                }
                settings.push(setting);
                Ok(())
            })?;
        }
        if self.is_symbol(",") {
            let message = "Change tracking options for ALTER DATABASE cannot be combined with other ALTER DATABASE options.";
            return Err(SqlError::user(22_114, message).at_line(self.line()));
        }
        Ok(AlterDatabase::ChangeTracking { switch, settings })
    }

    fn tracking_setting(&mut self) -> SqlResult<TrackingSetting> {
        if self.eat("AUTO_CLEANUP") {
            self.expect_symbol("=")?;
            return Ok(TrackingSetting::AutoCleanup(self.switch()?));
        }
        self.expect("CHANGE_RETENTION")?;
        self.expect_symbol("=")?;
        let count = self.integer()?;
        let line = self.line();
        let unit = self.word()?.to_ascii_uppercase();
        if !["DAYS", "HOURS", "MINUTES"].contains(&unit.as_str()) {
            let message = format!("'{unit}' is not a recognized CHANGE RETENTION UNIT option.");
            return Err(SqlError::new(155, 15, 2, message).at_line(line));
        }
        Ok(TrackingSetting::Retention { count, unit })
    }
}
