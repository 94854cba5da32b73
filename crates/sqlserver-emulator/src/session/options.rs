//! SET options and how they read back.

use std::time::Duration;

use crate::error::{SqlError, SqlResult};

/// A session's SET options.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) ansi_null_dflt_on: bool,
    pub(crate) ansi_nulls: bool,
    pub(crate) ansi_padding: bool,
    pub(crate) ansi_warnings: bool,
    pub(crate) arithabort: bool,
    pub(crate) concat_null_yields_null: bool,
    pub(crate) quoted_identifier: bool,
    pub(crate) numeric_roundabort: bool,
    pub(crate) nocount: bool,
    pub(crate) xact_abort: bool,
    pub(crate) implicit_transactions: bool,
    pub(crate) cursor_close_on_commit: bool,
    pub(crate) fmt_only: bool,
    pub(crate) text_size: i32,
    /// Milliseconds; −1 waits for ever.
    pub(crate) lock_timeout: i32,
    pub(crate) deadlock_priority: i8,
    pub(crate) row_count: i64,
    pub(crate) date_first: u8,
    pub(crate) date_format: String,
    pub(crate) language: String,
}

impl Default for Options {
    /// What drivers log in with: the ANSI options on.
    fn default() -> Self {
        Self {
            ansi_null_dflt_on: true,
            ansi_nulls: true,
            ansi_padding: true,
            ansi_warnings: true,
            arithabort: false,
            concat_null_yields_null: true,
            quoted_identifier: true,
            numeric_roundabort: false,
            nocount: false,
            xact_abort: false,
            implicit_transactions: false,
            cursor_close_on_commit: false,
            fmt_only: false,
            text_size: 4096,
            lock_timeout: -1,
            deadlock_priority: 0,
            row_count: 0,
            date_first: 7,
            date_format: "mdy".to_owned(),
            language: "us_english".to_owned(),
        }
    }
}

impl Options {
    /// What a session starts with; drivers that say they are ODBC get MAX values whole.
    pub(crate) fn at_login(odbc: bool) -> Self {
        let mut options = Self::default();
        if odbc {
            options.text_size = i32::MAX;
        }
        options
    }

    /// SET ROWCOUNT.
    pub(crate) fn row_count_limit(&self) -> u64 {
        if self.row_count > 0 {
            self.row_count as u64
        } else {
            u64::MAX
        }
    }

    pub(crate) fn lock_wait(&self) -> Option<Duration> {
        u64::try_from(self.lock_timeout).ok().map(Duration::from_millis)
    }

    /// SET name ON | OFF. Error 195 for an unknown name.
    pub(crate) fn switch(&mut self, name: &str, on: bool) -> SqlResult<()> {
        match name {
            "ANSI_NULL_DFLT_ON" => self.ansi_null_dflt_on = on,
            "ANSI_NULL_DFLT_OFF" => self.ansi_null_dflt_on = !on,
            "ANSI_NULLS" => self.ansi_nulls = on,
            "ANSI_PADDING" => self.ansi_padding = on,
            "ANSI_WARNINGS" => self.ansi_warnings = on,
            "ARITHABORT" => self.arithabort = on,
            "CONCAT_NULL_YIELDS_NULL" => self.concat_null_yields_null = on,
            "QUOTED_IDENTIFIER" => self.quoted_identifier = on,
            "NUMERIC_ROUNDABORT" => self.numeric_roundabort = on,
            "NOCOUNT" => self.nocount = on,
            "XACT_ABORT" => self.xact_abort = on,
            "IMPLICIT_TRANSACTIONS" => self.implicit_transactions = on,
            "CURSOR_CLOSE_ON_COMMIT" => self.cursor_close_on_commit = on,
            "FMTONLY" => self.fmt_only = on,
            "ANSI_DEFAULTS" => {
                for name in [
                    "ANSI_NULLS",
                    "ANSI_NULL_DFLT_ON",
                    "ANSI_PADDING",
                    "ANSI_WARNINGS",
                    "QUOTED_IDENTIFIER",
                    "IMPLICIT_TRANSACTIONS",
                    "CURSOR_CLOSE_ON_COMMIT",
                ] {
                    self.switch(name, on)?;
                }
            }
            "NOEXEC" | "PARSEONLY" | "SHOWPLAN_ALL" | "SHOWPLAN_TEXT" | "SHOWPLAN_XML" if on => {
                return Err(SqlError::unsupported(format_args!("SET {name} ON")));
            }
            "ARITHIGNORE"
            | "FORCEPLAN"
            | "NOEXEC"
            | "PARSEONLY"
            | "SHOWPLAN_ALL"
            | "SHOWPLAN_TEXT"
            | "SHOWPLAN_XML"
            | "REMOTE_PROC_TRANSACTIONS"
            | "NO_BROWSETABLE" => {}
            other => {
                return Err(SqlError::new(
                    195,
                    15,
                    5,
                    format!("'{other}' is not a recognized SET option."),
                ));
            }
        }
        Ok(())
    }

    /// `@@OPTIONS`, by the bits of the "user options" configuration page.
    pub(crate) fn bits(&self) -> i32 {
        let bits = [
            (2, self.implicit_transactions),
            (4, self.cursor_close_on_commit),
            (8, self.ansi_warnings),
            (16, self.ansi_padding),
            (32, self.ansi_nulls),
            (64, self.arithabort),
            (256, self.quoted_identifier),
            (512, self.nocount),
            (1024, self.ansi_null_dflt_on),
            (4096, self.concat_null_yields_null),
            (8192, self.numeric_roundabort),
            (16_384, self.xact_abort),
        ];
        bits.iter().filter(|(_, on)| *on).map(|(bit, _)| bit).sum()
    }

    /// `SESSIONPROPERTY('name')`.
    pub(crate) fn property(&self, name: &str) -> Option<bool> {
        match name {
            "ANSI_NULLS" => Some(self.ansi_nulls),
            "ANSI_PADDING" => Some(self.ansi_padding),
            "ANSI_WARNINGS" => Some(self.ansi_warnings),
            "ARITHABORT" => Some(self.arithabort),
            "CONCAT_NULL_YIELDS_NULL" => Some(self.concat_null_yields_null),
            "NUMERIC_ROUNDABORT" => Some(self.numeric_roundabort),
            "QUOTED_IDENTIFIER" => Some(self.quoted_identifier),
            _ => None,
        }
    }

    /// What `DBCC USEROPTIONS` lists, apart from the isolation level.
    pub(crate) fn listed(&self) -> Vec<(&'static str, String)> {
        let mut listed = vec![
            ("textsize", self.text_size.to_string()),
            ("language", self.language.clone()),
            ("dateformat", self.date_format.clone()),
            ("datefirst", self.date_first.to_string()),
            ("lock_timeout", self.lock_timeout.to_string()),
        ];
        let switches = [
            ("quoted_identifier", self.quoted_identifier),
            ("arithabort", self.arithabort),
            ("numeric_roundabort", self.numeric_roundabort),
            ("nocount", self.nocount),
            ("xact_abort", self.xact_abort),
            ("implicit_transactions", self.implicit_transactions),
            ("ansi_null_dflt_on", self.ansi_null_dflt_on),
            ("ansi_warnings", self.ansi_warnings),
            ("ansi_padding", self.ansi_padding),
            ("ansi_nulls", self.ansi_nulls),
            ("concat_null_yields_null", self.concat_null_yields_null),
        ];
        listed.extend(
            switches
                .iter()
                .filter(|(_, on)| *on)
                .map(|(name, _)| (*name, "SET".to_owned())),
        );
        listed
    }
}
