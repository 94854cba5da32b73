//! How one table's changes are told: the tracking column with what its use needs to know of it.

use cdc::{ColumnFacts, ColumnKind, TrackingChoice, TrackingKind, Zone, choose_tracking, detect_tracking};
use model::{Error, ErrorKind, Finding, Result, Severity, TableSchema, Tracking};
use sqlserver_client::{
    CaptureInstance, ChangeTrackingInfo, ColumnInfo, ColumnType, DatabaseInfo, SqlType, TableInfo, quote,
};

use crate::clock::ColumnClock;
use crate::column_time::grain;
use crate::options::{CaptureOptions, Mode, TrackingOptions};
use crate::polling_query::PollingQuery;
use crate::{change_data_capture, change_tracking};

/// How changes are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tracker {
    /// They are not.
    Full,
    /// By a column of times.
    Timestamp {
        column: TrackingColumn,
        clock: ColumnClock,
    },
    /// By a column of growing numbers.
    Id(TrackingColumn),
    /// By a column of type `rowversion`.
    RowVersion(TrackingColumn),
    /// By Change Tracking.
    ChangeTracking,
    /// By Change Data Capture.
    Cdc,
    /// By a trigger of ours.
    Trigger,
    /// By a query of the operator's own, between values of a column that it returns; the column's name is that of the query as well.
    Polling {
        query: PollingQuery,
        column: TrackingColumn,
        clock: ColumnClock,
    },
}

impl Tracker {
    /// Whether the server names every key that changed, deleted ones too.
    pub(crate) fn names_keys(&self) -> bool {
        matches!(self, Self::ChangeTracking | Self::Cdc | Self::Trigger)
    }
}

/// The tracking column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrackingColumn {
    pub(crate) name: String,
    pub(crate) ty: SqlType,
    /// Whether an index begins with it, and one with each further column, so that the server finds rows by them, and can deliver them in
    /// the order of a single one without sorting.
    pub(crate) leads_index: bool,
    /// Further columns of the same type: a row's time is the latest that it has.
    pub(crate) also: Vec<String>,
}

impl TrackingColumn {
    /// Its name, quoted.
    pub(crate) fn quoted(&self) -> String {
        quote::identifier(&self.name)
    }

    /// Its name and those of further columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.also).map(String::as_str)
    }

    /// The same for people, and for positions.
    pub(crate) fn label(&self) -> String {
        self.names().collect::<Vec<_>>().join(", ")
    }

    /// That any of a row's times meets a condition, which `on` writes for a column; in a form that indexes of all columns serve.
    pub(crate) fn any_time(&self, on: impl Fn(&str) -> String) -> String {
        self.joined(" OR ", on)
    }

    /// That a row has no time.
    pub(crate) fn no_time(&self) -> String {
        self.joined(" AND ", |column| format!("{column} IS NULL"))
    }

    /// That none of a row's times is beyond `@future`.
    pub(crate) fn none_ahead(&self) -> String {
        self.joined(" AND ", |column| {
            format!("({column} IS NULL OR {column} <= @future)")
        })
    }

    fn joined(&self, word: &str, on: impl Fn(&str) -> String) -> String {
        let columns: Vec<_> = self.names().map(|name| on(&quote::identifier(name))).collect();
        match &columns[..] {
            [only] => only.clone(),
            several => format!("({})", several.join(word)),
        }
    }
}

/// A tracker with the reason for it.
#[derive(Debug, Clone)]
pub(crate) struct Tracked {
    pub(crate) tracker: Tracker,
    pub(crate) reason: String,
    pub(crate) findings: Vec<Finding>,
}

impl Tracked {
    /// As the rest of the engine sees it.
    pub(crate) fn tracking(&self) -> Tracking {
        let how = match &self.tracker {
            Tracker::Full => {
                return Tracking::Full {
                    reason: self.reason.clone(),
                };
            }
            Tracker::Timestamp { column, .. } => format!("timestamp({})", column.label()),
            Tracker::Id(column) => format!("id({})", column.name),
            Tracker::RowVersion(column) => format!("rowversion({})", column.name),
            Tracker::ChangeTracking => "change_tracking".to_owned(),
            Tracker::Cdc => "cdc".to_owned(),
            Tracker::Trigger => "trigger".to_owned(),
            Tracker::Polling { .. } => "polling".to_owned(),
        };
        Tracking::Incremental {
            how,
            reason: self.reason.clone(),
            sees_deletes: self.tracker.names_keys(),
        }
    }
}

/// What was seen of a table when its tracker is chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) table: &'a TableInfo,
    pub(crate) database: &'a DatabaseInfo,
    pub(crate) schema: &'a TableSchema,
    pub(crate) change_tracking: Option<&'a ChangeTrackingInfo>,
    pub(crate) instances: &'a [CaptureInstance],
    /// How a query of the operator's tells of changes, if there is one.
    pub(crate) polled: Option<&'a Tracked>,
}

/// Finds out how the changes of `table` are told.
///
/// # Errors
///
/// `Config` if the configured column does not exist or cannot be used.
pub(crate) fn track(seen: &Seen<'_>, options: &CaptureOptions) -> Result<Tracked> {
    let by = |tracker: Tracker, reason: &str, findings: Vec<Finding>| Tracked {
        tracker,
        reason: reason.to_owned(),
        findings,
    };
    match options.mode {
        Mode::Full => Ok(full("the configuration says `mode: full`", Vec::new())),
        Mode::ChangeTracking => Ok(by(
            Tracker::ChangeTracking,
            "the configuration says `mode: change_tracking`",
            change_tracking::missing(seen).into_iter().collect(),
        )),
        Mode::Auto if change_tracking::missing(seen).is_none() => Ok(by(
            Tracker::ChangeTracking,
            "Change Tracking is on for the table: it tells of deletes and changed keys as well",
            Vec::new(),
        )),
        Mode::Cdc => Ok(by(
            Tracker::Cdc,
            "the configuration says `mode: cdc`",
            change_data_capture::missing(seen).into_iter().collect(),
        )),
        Mode::Trigger => Ok(by(
            Tracker::Trigger,
            "the configuration says `mode: trigger`",
            Vec::new(),
        )),
        Mode::Auto if seen.table.declared_key.is_none() && change_data_capture::missing(seen).is_none() => {
            Ok(by(
                Tracker::Cdc,
                "Change Data Capture is on for the table: it tells of deletes and changed keys as well",
                Vec::new(),
            ))
        }
        Mode::Auto => {
            let mut tracked = by_column(seen, options)?;
            tracked.findings.push(Finding {
                severity: Severity::Note,
                message: "Change Tracking would tell of deletes and changed keys as well".into(),
                remedy: change_tracking::missing(seen).and_then(|finding| finding.remedy),
            });
            Ok(tracked)
        }
        Mode::Polling => seen
            .polled
            .cloned()
            .ok_or_else(|| Error::internal("the query of `mode: polling` has not been looked at")),
        Mode::Incremental => by_column(seen, options),
    }
}

fn full(reason: &str, findings: Vec<Finding>) -> Tracked {
    Tracked {
        tracker: Tracker::Full,
        reason: reason.to_owned(),
        findings,
    }
}

fn by_column(seen: &Seen<'_>, options: &CaptureOptions) -> Result<Tracked> {
    if !seen.schema.has_key() {
        return Ok(full(
            "the table has no key by which a changed row could be found again",
            Vec::new(),
        ));
    }
    let table = seen.table;
    let mut facts = facts(table);
    if let Some(TrackingOptions { column, also, .. }) = &options.tracking {
        // A row has a time if one of the columns has.
        let may_be_null = |name: &String| table.column(name).is_none_or(|info| info.nullable);
        for fact in facts.iter_mut().filter(|fact| fact.name == *column) {
            fact.nullable &= also.iter().all(may_be_null);
        }
    }
    if options.tracking.is_none() && !seen.database.writable {
        facts.retain(|column| column.kind != ColumnKind::RowVersion);
    }
    let choice = match &options.tracking {
        Some(tracking) => Some(
            choose_tracking(&facts, &tracking.column, tracking.kind.map(TrackingKind::from))
                .map_err(|error| error.with("table", &table.name))?,
        ),
        None => detect_tracking(&facts),
    };
    match choice {
        Some(choice) => tracked(table, options, choice),
        None => Ok(full(
            "no column tells of changes",
            vec![Finding {
                severity: Severity::Note,
                message: "the table has no rowversion, no date-time column is named like an update, and the key is no identity"
                    .into(),
                remedy: Some("name the column: capture: { tracking: { column: … } }".into()),
            }],
        )),
    }
}

fn tracked(table: &TableInfo, options: &CaptureOptions, choice: TrackingChoice) -> Result<Tracked> {
    let info = table
        .column(&choice.column)
        .ok_or_else(|| Error::internal(format!("the tracking column {:?} is gone", choice.column)))?;
    let also = options.tracking.as_ref().map(|tracking| tracking.also.clone());
    let also = also.unwrap_or_default();
    let column = TrackingColumn {
        name: choice.column.clone(),
        ty: info.ty.mapped(&choice.column)?,
        leads_index: leads_index(table, &choice.column) && also.iter().all(|name| leads_index(table, name)),
        also,
    };
    check_also(table, &column, choice.kind)?;
    let mut findings = choice.findings;
    let tracker = match choice.kind {
        TrackingKind::Id => Tracker::Id(column),
        TrackingKind::RowVersion => Tracker::RowVersion(column),
        TrackingKind::Timestamp => {
            let tracking = options.tracking.as_ref();
            let configured = tracking.and_then(|tracking| tracking.clock);
            let zone = tracking.and_then(|tracking| tracking.zone.as_deref());
            let zone = zone.and_then(Zone::named);
            let mut clocks = Vec::new();
            for info in column.names().filter_map(|name| table.column(name)) {
                let default = info.default.as_deref();
                let clock = ColumnClock::of(column.ty, configured, zone, default);
                if !matches!(column.ty, SqlType::DateTimeOffset { .. }) {
                    findings.extend(clock.contradicted_by(&info.name, default));
                }
                clocks.push(clock);
            }
            let clock = ColumnClock::shared(&clocks).ok_or_else(|| different_clocks(table, &column))?;
            findings.extend(clock.finding(&column.label()));
            Tracker::Timestamp { column, clock }
        }
    };
    Ok(Tracked {
        tracker,
        reason: choice.reason,
        findings,
    })
}

fn check_also(table: &TableInfo, column: &TrackingColumn, kind: TrackingKind) -> Result<()> {
    let fits = |name: &&String| {
        let info = table
            .column(name)
            .filter(|info| self::kind(info) != ColumnKind::Other);
        let ty = info.and_then(|info| info.ty.mapped(name).ok());
        kind == TrackingKind::Timestamp && ty == Some(column.ty)
    };
    match column.also.iter().find(|name| !fits(name)) {
        None => Ok(()),
        Some(name) => Err(Error::new(
            ErrorKind::Config,
            format!(
                "`capture.tracking.also` names {name:?}, which is no column of times of the same type as {} ({}) whose values can be \
                 read as they are",
                column.name, column.ty
            ),
        )
        .with("table", &table.name)),
    }
}

fn different_clocks(table: &TableInfo, column: &TrackingColumn) -> Error {
    Error::new(
        ErrorKind::Config,
        format!(
            "by their defaults, the tracking columns {} hold different clocks: some local time, some UTC, and they can be told by one only",
            column.label()
        ),
    )
    .with("table", &table.name)
    .hint("set `capture.tracking.clock`, or `zone`, if all of them hold the same in truth; else leave out the one that differs")
}

fn facts(table: &TableInfo) -> Vec<ColumnFacts> {
    let key = table.key().map_or(&[][..], |key| &key.columns);
    let sole_key = |name: &str| matches!(key, [(only, _)] if only == name);
    let fact = |column: &ColumnInfo| ColumnFacts {
        name: column.name.clone(),
        kind: kind(column),
        nullable: column.nullable,
        identity: column.identity,
        sole_key: sole_key(&column.name),
        leads_index: leads_index(table, &column.name),
    };
    table.columns.iter().map(fact).collect()
}

fn kind(column: &ColumnInfo) -> ColumnKind {
    match column.ty {
        _ if column.encrypted || column.masked => ColumnKind::Other,
        ColumnType::Mapped(SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt) => {
            ColumnKind::Integer
        }
        ColumnType::Mapped(SqlType::RowVersion) => ColumnKind::RowVersion,
        ColumnType::Mapped(ty) => grain(ty).map_or(ColumnKind::Other, |grain| ColumnKind::DateTime { grain }),
        ColumnType::Unmapped(_) => ColumnKind::Other,
    }
}

fn leads_index(table: &TableInfo, column: &str) -> bool {
    let usable = table
        .indexes
        .iter()
        .filter(|index| !index.disabled && !index.filtered);
    usable
        .filter_map(|index| index.columns.first())
        .any(|(first, _)| first == column)
}

#[cfg(test)]
mod tests {
    use model::TableName;

    use super::*;

    fn column(name: &str, change: impl Fn(&mut ColumnInfo)) -> ColumnInfo {
        let time = ColumnType::Mapped(SqlType::DateTime2 { scale: 3 });
        let mut column = ColumnInfo {
            nullable: true,
            ..ColumnInfo::new(name, time)
        };
        change(&mut column);
        column
    }

    #[test]
    fn further_columns_can_be_read_as_they_are() {
        let columns = vec![
            column("updated_at", |_| ()),
            column("created_at", |_| ()),
            column("masked", |column| column.masked = true),
            column("encrypted", |column| column.encrypted = true),
            column("rounded", |column| {
                column.ty = ColumnType::Mapped(SqlType::DateTime)
            }),
        ];
        let table = TableInfo::new(TableName::new("dbo", "T"), columns);
        for (name, fits) in [
            ("created_at", true),
            ("masked", false),
            ("encrypted", false),
            ("rounded", false),
            ("none", false),
        ] {
            let tracking = TrackingColumn {
                name: "updated_at".into(),
                ty: SqlType::DateTime2 { scale: 3 },
                leads_index: false,
                also: vec![name.into()],
            };
            let checked = check_also(&table, &tracking, TrackingKind::Timestamp);
            assert_eq!(checked.is_ok(), fits, "{name}");
        }
    }
}
