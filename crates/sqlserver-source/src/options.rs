//! How a table's rows and changes are read: the configuration section `capture`.

use std::time::Duration;

use cdc::{CutRules, TrackingKind, Zone};
use model::{Error, ErrorKind, OddTime, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlserver_client::TypePolicy;

use crate::polling_query::PollingQuery;

/// How the rows and changes of a table are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureOptions {
    /// What a run reads, and by what changes are told.
    pub mode: Mode,
    /// Of `mode: polling`: one SELECT over whatever tells of changes, which returns the table's key columns and the column that
    /// `tracking` names, of rows that changed from `:last_sync` on and before `:this_sync`.
    pub query: Option<String>,
    /// How changes are told. Left out, it is detected.
    pub tracking: Option<TrackingOptions>,
    /// The columns that tell rows apart, for a table or view without a primary key or a unique index that says so; they must be NOT NULL.
    /// Whether they do is found out by `check` and before the first copy, not at every change: `verify` names rows that they do not tell apart. Chosen before
    /// the first copy.
    pub key: Vec<String>,
    /// Rows of a chunk of the first copy, and of a part of a large increment; from Iceberg at least so many, in whole data files.
    pub batch_size: usize,
    /// How many chunks of the first copy are read at once, as far as `run.memory` has room, each over a connection of its own to the source. A
    /// target table is loaded over one connection.
    pub connections: usize,
    /// Which columns are read.
    pub columns: Columns,
    /// A T-SQL condition that rows must meet, for example `Region = N'EU'`. Modes that name keys (Change Tracking, Change Data Capture, triggers, polling)
    /// delete a row that stops meeting it; modes by a column do not see it go.
    #[serde(rename = "where")]
    pub filter: Option<String>,
    /// What counts as a delete, and which deletes are passed on.
    pub deletes: DeleteOptions,
    /// Of `mode: trigger`.
    pub trigger: TriggerOptions,
    /// Whether what one transaction wrote into several tables arrives as a whole.
    pub transactions: Transactions,
    /// What may be lost in types.
    pub types: TypePolicy,
    /// How carefully increments are read.
    pub window: WindowOptions,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            query: None,
            tracking: None,
            key: Vec::new(),
            batch_size: 100_000,
            connections: 2,
            columns: Columns::default(),
            filter: None,
            deletes: DeleteOptions::default(),
            trigger: TriggerOptions::default(),
            transactions: Transactions::default(),
            types: TypePolicy::default(),
            window: WindowOptions::default(),
        }
    }
}

/// What a run reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The whole table.
    Full,
    /// What changed, by a column of the table if one tells; else the whole table.
    #[default]
    Incremental,
    /// What changed, deletes among it, by Change Tracking, which must be on for the table.
    ChangeTracking,
    /// What changed, deletes among it, by Change Data Capture, which must be on for the table.
    Cdc,
    /// What changed, deletes among it, by a trigger of ours and its change table, see `trigger`.
    Trigger,
    /// What changed, by a query of your own, see `query`.
    Polling,
    /// What changed, by the best way that is open: Change Tracking, else Change Data Capture, else a column of the table; else the
    /// whole table.
    Auto,
}

/// Whether what one transaction wrote into several tables arrives as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transactions {
    /// Each table is brought up to date by itself, so that tables may show a transaction one after the other.
    #[default]
    Apart,
    /// All tables of the sync that say so are brought up to one moment of the source, one after the other, once all have been copied: of a
    /// transaction, all that it wrote into them is there or nothing. Their snapshots of that moment name it in the summary, as `sync.moment`. By Change
    /// Tracking only, in a database that allows SNAPSHOT isolation.
    Whole,
}

/// How changes are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrackingOptions {
    /// The column that every change sets to a later time, that numbers new rows, or that is a `rowversion`.
    pub column: String,
    /// `timestamp`, `id` or `rowversion`; told from the column's type by default.
    #[serde(default)]
    pub kind: Option<KindOption>,
    /// Which clock of the server the column holds; told from its default by default.
    #[serde(default)]
    pub clock: Option<ClockKind>,
    /// The time zone whose local time the column holds, by its IANA or its Windows name: `Europe/Berlin`, `W. Europe Standard Time`. With
    /// `clock: local` it is the server's own; else applications set the column, and `window.lag_seconds` is kept.
    #[serde(default)]
    pub zone: Option<String>,
    /// Further columns of the same type, where not every change sets `column`: a row's time is the latest that it has. Such are
    /// `created_at`, where `column` is NULL until a row is first updated, and columns that other programs set.
    #[serde(default)]
    pub also: Vec<String>,
}

impl TrackingOptions {
    fn validate_zone(&self) -> Result<()> {
        let Some(zone) = &self.zone else { return Ok(()) };
        let refused = |message: String| Err(Error::new(ErrorKind::Config, message));
        if Zone::named(zone).is_none() {
            return refused(format!(
                "`capture.tracking.zone` names no time zone: {zone:?}; use its IANA name, such as `Europe/Berlin`, or its Windows name"
            ));
        }
        if !matches!(self.kind, None | Some(KindOption::Timestamp)) {
            return refused(
                "`capture.tracking.zone` has an effect with `kind: timestamp` only; remove it".to_owned(),
            );
        }
        if self.clock == Some(ClockKind::Utc) {
            return refused(
                "`capture.tracking.zone` is of local time, and `clock: utc` says UTC; remove one of them"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// How a tracking column is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KindOption {
    /// By the time of the last change.
    Timestamp,
    /// By a growing number: new rows only.
    Id,
    /// By a column of type `rowversion`.
    #[serde(rename = "rowversion")]
    RowVersion,
}

impl From<KindOption> for TrackingKind {
    fn from(kind: KindOption) -> Self {
        match kind {
            KindOption::Timestamp => Self::Timestamp,
            KindOption::Id => Self::Id,
            KindOption::RowVersion => Self::RowVersion,
        }
    }
}

/// Which of the server's clocks a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClockKind {
    /// That of the server's time zone: `GETDATE()`, `SYSDATETIME()`.
    Local,
    /// UTC: `GETUTCDATE()`, `SYSUTCDATETIME()`.
    Utc,
}

/// Which columns are read. Names are those of the table, with case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// Only these; all if empty.
    pub include: Vec<String>,
    /// All but these.
    pub exclude: Vec<String>,
}

/// What counts as a delete, and which deletes are passed on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeleteOptions {
    /// A column that marks rows as deleted: a bit or a whole number that is not 0, a date or a time that is not NULL. Rows so marked are
    /// removed from the target, and come back when the mark goes. Left out, they are rows like others.
    pub soft: Option<String>,
    /// Whether rows that are gone from the table are removed from the target.
    pub hard: HardDeletes,
    /// With `hard: ignore`, a T-SQL condition on the key columns: deletes of other rows are applied. All are ignored by default.
    pub ignore_where: Option<String>,
}

/// The trigger that follows a table, and its change table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TriggerOptions {
    /// Whether the first copy creates them. Otherwise nothing is created, and `check` prints the T-SQL.
    pub install: bool,
    /// How long changes are kept after they have been applied: so far back Iceberg may be rolled back, or another sync lag behind.
    pub keep_hours: u16,
}

impl Default for TriggerOptions {
    fn default() -> Self {
        Self {
            install: false,
            keep_hours: 48,
        }
    }
}

/// What happens to rows of the target that are gone from the source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HardDeletes {
    /// They are removed, as far as the mode or `verify --repair` sees that they are gone.
    #[default]
    Apply,
    /// They are kept, so that a job that purges the source does not empty the lake.
    Ignore,
}

/// How carefully increments are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WindowOptions {
    /// How far before the watermark rows are read again. At least the largest step that the server's clock takes back.
    pub tolerance_seconds: u32,
    /// How far the tolerance widens by itself: it becomes twice as long as rows have come late, or as the server's clock has gone back. Left
    /// out, it stays as it is.
    pub tolerance_max_seconds: Option<u32>,
    /// How far increments stay behind the oldest open transaction. At least a second and the column's grain are kept.
    pub margin_seconds: u32,
    /// How far increments stay behind the clock if open transactions cannot be seen for want of a right.
    pub lag_seconds: u32,
    /// How long a run waits for changes that were made just before it.
    pub settle_seconds: u32,
    /// Times that lie this far ahead of the clock are taken for ones that will not come, such as 9999-12-31.
    pub future_after_seconds: u32,
    /// How many ids below the greatest are read again if open transactions cannot be seen.
    pub overlap_ids: u32,
    /// Rows whose time is NULL.
    pub nulls: Undated,
    /// Rows whose time lies ahead by more than `future_after_seconds`.
    pub future: Undated,
    /// Rows that the tolerance finds and that earlier runs did not.
    pub late: Late,
}

impl Default for WindowOptions {
    fn default() -> Self {
        Self {
            tolerance_seconds: 10,
            tolerance_max_seconds: None,
            margin_seconds: 1,
            lag_seconds: 300,
            settle_seconds: 2,
            future_after_seconds: 86_400,
            overlap_ids: 1_000,
            nulls: Undated::Accept,
            future: Undated::Accept,
            late: Late::Accept,
        }
    }
}

/// What happens to rows that no window ever reaches. All three name them in the report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Undated {
    /// They are read on every run and compared, and what differs is applied.
    #[default]
    Accept,
    /// Increments leave them out until they have a time, and so do repairs: to `verify` they are pending.
    Hold,
    /// As `hold`, and they go whole into the Iceberg table `<table>__dead_letters`.
    DeadLetter,
    /// While there is one, the table's increments fail.
    Fail,
}

/// What happens to rows that come late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Late {
    /// They are applied, and named in the report.
    #[default]
    Accept,
    /// They are not applied, and go whole into the Iceberg table `<table>__dead_letters`. `verify --repair` lets them in.
    DeadLetter,
    /// The increment that finds one fails, and nothing of it is applied, until `verify --repair` has let the row in.
    Fail,
}

impl WindowOptions {
    /// What is odd about times whose rows become dead letters.
    pub fn dead_letters(&self) -> Vec<OddTime> {
        let kinds = [
            (self.late == Late::DeadLetter, OddTime::Late),
            (self.nulls == Undated::DeadLetter, OddTime::Missing),
            (self.future == Undated::DeadLetter, OddTime::Ahead),
        ];
        kinds
            .into_iter()
            .filter(|(is, _)| *is)
            .map(|(_, kind)| kind)
            .collect()
    }

    /// The rules for a column of this grain whose rows have come so late, and so much its clock has gone back.
    pub(crate) fn rules(&self, grain: Duration, late: Duration) -> CutRules {
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        CutRules {
            tolerance: cdc::tolerance(
                seconds(self.tolerance_seconds),
                self.tolerance_max_seconds.map(seconds),
                late,
            ),
            margin: seconds(self.margin_seconds),
            lag: seconds(self.lag_seconds),
            future_after: seconds(self.future_after_seconds),
            grain,
        }
    }
}

impl CaptureOptions {
    /// Checks what can be checked without the server.
    ///
    /// # Errors
    ///
    /// `Config`, naming the field and the rule.
    pub fn validate(&self) -> Result<()> {
        let rule = |broken: bool, message: &'static str| {
            if broken {
                Err(Error::new(ErrorKind::Config, message))
            } else {
                Ok(())
            }
        };
        rule(self.batch_size == 0, "`capture.batch_size` must be at least 1")?;
        rule(self.connections == 0, "`capture.connections` must be at least 1")?;
        rule(
            matches!(
                self.mode,
                Mode::Full | Mode::ChangeTracking | Mode::Cdc | Mode::Trigger
            ) && self.tracking.is_some(),
            "`capture.tracking` has an effect with `mode: incremental`, `mode: polling` and `mode: auto` only; remove one of them",
        )?;
        self.validate_polling()?;
        rule(
            matches!(self.mode, Mode::ChangeTracking | Mode::Cdc) && !self.key.is_empty(),
            "`capture.key` has no effect with `mode: change_tracking` and `mode: cdc`, which name changes by keys of the server's; remove one of them",
        )?;
        rule(
            self.filter
                .as_ref()
                .is_some_and(|filter| filter.trim().is_empty()),
            "`capture.where` must not be empty; leave it out",
        )?;
        rule(
            self.trigger != TriggerOptions::default() && self.mode != Mode::Trigger,
            "`capture.trigger` has an effect with `mode: trigger` only; add that, or remove it",
        )?;
        rule(
            self.deletes.ignore_where.is_some() && self.deletes.hard == HardDeletes::Apply,
            "`capture.deletes.ignore_where` has an effect with `hard: ignore` only; add that, or remove it",
        )?;
        rule(
            self.deletes
                .ignore_where
                .as_ref()
                .is_some_and(|condition| condition.trim().is_empty()),
            "`capture.deletes.ignore_where` must not be empty; leave it out to ignore every delete",
        )?;
        rule(
            self.deletes.soft.is_some() && self.deletes.hard == HardDeletes::Ignore,
            "`capture.deletes.soft` removes rows before they are purged, so `hard: ignore` would only keep those that are marked and \
             purged between two runs; remove one of them",
        )?;
        rule(
            self.deletes.hard == HardDeletes::Ignore && self.mode == Mode::Full,
            "`capture.deletes.hard: ignore` cannot keep rows with `mode: full`, which replaces the table",
        )?;
        rule(
            self.tracking
                .as_ref()
                .is_some_and(|t| t.clock.is_some() && !matches!(t.kind, None | Some(KindOption::Timestamp))),
            "`capture.tracking.clock` has an effect with `kind: timestamp` only; remove it",
        )?;
        if let Some(tracking) = &self.tracking {
            tracking.validate_zone()?;
            let mut names: Vec<&String> = std::iter::once(&tracking.column).chain(&tracking.also).collect();
            names.sort();
            names.dedup();
            rule(
                names.len() <= tracking.also.len(),
                "`capture.tracking.also` names a column twice, or that of `capture.tracking.column`",
            )?;
        }
        let both = self
            .columns
            .include
            .iter()
            .any(|name| self.columns.exclude.contains(name));
        rule(both, "`capture.columns` includes and excludes the same column")?;
        rule(
            self.window
                .tolerance_max_seconds
                .is_some_and(|most| most < self.window.tolerance_seconds),
            "`capture.window.tolerance_max_seconds` must not be less than `tolerance_seconds`",
        )?;
        rule(
            self.window.future_after_seconds < 3_600,
            "`capture.window.future_after_seconds` must be at least 3600",
        )
    }

    fn validate_polling(&self) -> Result<()> {
        let rule = |broken: bool, message: &'static str| match broken {
            true => Err(Error::new(ErrorKind::Config, message)),
            false => Ok(()),
        };
        if self.mode != Mode::Polling {
            return rule(
                self.query.is_some(),
                "`capture.query` has an effect with `mode: polling` only; add that, or remove it",
            );
        }
        let Some(query) = &self.query else {
            return rule(true, "`capture.query` is missing, which `mode: polling` needs");
        };
        PollingQuery::parse(query)?;
        rule(
            self.tracking.is_none(),
            "`capture.tracking.column` is missing: with `mode: polling` it names the column that the query compares with `:last_sync`",
        )?;
        rule(
            self.tracking
                .as_ref()
                .is_some_and(|tracking| !matches!(tracking.kind, None | Some(KindOption::Timestamp))),
            "`capture.tracking.kind` must be `timestamp` with `mode: polling`, or be left out",
        )?;
        rule(
            self.tracking
                .as_ref()
                .is_some_and(|tracking| !tracking.also.is_empty()),
            "`capture.tracking.also` has no effect with `mode: polling`; let the query name all columns",
        )?;
        let WindowOptions {
            nulls, future, late, ..
        } = &self.window;
        rule(
            (*nulls, *future, *late) != (Undated::Accept, Undated::Accept, Late::Accept),
            "`capture.window.nulls`, `future` and `late` have no effect with `mode: polling`, whose query decides; remove them",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> CaptureOptions {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn everything_can_be_left_out_and_nothing_else_put_in() {
        let options = read("{}");
        assert_eq!(options, CaptureOptions::default());
        assert_eq!(
            (options.mode, options.window.tolerance_seconds),
            (Mode::Incremental, 10)
        );
        for unknown in [
            r#"{"modes":"full"}"#,
            r#"{"mode":"sometimes"}"#,
            r#"{"tracking":{"column":"c","timezone":"utc"}}"#,
            r#"{"tracking":{}}"#,
            r#"{"window":{"tolerance":1}}"#,
            r#"{"columns":{"only":[]}}"#,
        ] {
            assert!(
                serde_json::from_str::<CaptureOptions>(unknown).is_err(),
                "{unknown}"
            );
        }
    }

    #[test]
    fn each_rule_names_its_field() {
        for (json, field) in [
            (r#"{"batch_size":0}"#, "batch_size"),
            (r#"{"connections":0}"#, "connections"),
            (r#"{"mode":"full","tracking":{"column":"c"}}"#, "tracking"),
            (
                r#"{"mode":"change_tracking","tracking":{"column":"c"}}"#,
                "tracking",
            ),
            (r#"{"tracking":{"column":"c","also":["d","c"]}}"#, "also"),
            (r#"{"mode":"cdc","key":["id"]}"#, "key"),
            (r#"{"mode":"polling"}"#, "query"),
            (
                r#"{"mode":"polling","query":"SELECT id FROM t WHERE c > :last_sync","tracking":{"column":"c","also":["d"]}}"#,
                "also",
            ),
            (r#"{"query":"SELECT id FROM t WHERE c > :last_sync"}"#, "query"),
            (
                r#"{"mode":"polling","query":"DELETE t WHERE c > :last_sync"}"#,
                "query",
            ),
            (
                r#"{"mode":"polling","query":"SELECT id FROM t WHERE c > :last_sync"}"#,
                "tracking",
            ),
            (
                r#"{"mode":"polling","query":"SELECT id FROM t WHERE c > :last_sync","tracking":{"column":"c","kind":"id"}}"#,
                "kind",
            ),
            (
                r#"{"mode":"polling","query":"SELECT id FROM t WHERE c > :last_sync","tracking":{"column":"c"},"window":{"late":"fail"}}"#,
                "late",
            ),
            (r#"{"where":" "}"#, "where"),
            (r#"{"trigger":{"install":true}}"#, "trigger"),
            (r#"{"deletes":{"ignore_where":"id < 5"}}"#, "ignore_where"),
            (
                r#"{"deletes":{"hard":"ignore","ignore_where":" "}}"#,
                "ignore_where",
            ),
            (r#"{"deletes":{"hard":"ignore","soft":"gone"}}"#, "soft"),
            (r#"{"mode":"full","deletes":{"hard":"ignore"}}"#, "hard"),
            (
                r#"{"tracking":{"column":"c","kind":"id","clock":"utc"}}"#,
                "clock",
            ),
            (
                r#"{"tracking":{"column":"c","zone":"Europe/Atlantis"}}"#,
                "Europe/Atlantis",
            ),
            (
                r#"{"tracking":{"column":"c","kind":"id","zone":"Europe/Berlin"}}"#,
                "zone",
            ),
            (
                r#"{"tracking":{"column":"c","clock":"utc","zone":"Europe/Berlin"}}"#,
                "zone",
            ),
            (r#"{"columns":{"include":["a"],"exclude":["a"]}}"#, "columns"),
            (
                r#"{"window":{"tolerance_max_seconds":9}}"#,
                "tolerance_max_seconds",
            ),
            (
                r#"{"window":{"future_after_seconds":60}}"#,
                "future_after_seconds",
            ),
        ] {
            let error = read(json).validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(field), "{error}");
        }
        let good = r#"{"where":"a = 1","tracking":{"column":"c","kind":"timestamp","clock":"local"}}"#;
        assert!(read(good).validate().is_ok());
    }
}
