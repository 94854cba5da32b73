//! What a session says: as SQL, and as the model understands it.

use super::history::{Change, Op, Rows, TABLES};
use super::random::Random;

const KEYS: usize = 8;

/// One statement.
#[derive(Clone, Debug)]
pub(crate) enum Statement {
    Begin {
        snapshot: bool,
        /// What its changes are told with.
        context: Option<i64>,
    },
    /// The whole of a table.
    Read(usize),
    /// Change Tracking within a snapshot: the version, and the net changes of a table after one.
    Changes(usize, i64),
    Insert {
        table: usize,
        key: i64,
        values: [i64; 2],
    },
    Delete {
        table: usize,
        key: i64,
    },
    /// New values (none: left alone), for a range of keys.
    Set {
        table: usize,
        keys: (i64, i64),
        to: [Option<i64>; 2],
    },
    /// Adds to the keys of a range.
    Shift {
        table: usize,
        keys: (i64, i64),
        by: i64,
    },
    Save,
    RollbackToSave,
    Commit,
    Rollback,
}

impl Statement {
    /// Any, for a session within a transaction.
    pub(crate) fn any(random: &mut Random, snapshot: bool, saved: bool) -> Self {
        let table = random.below(2);
        let key = 1 + random.below(KEYS) as i64;
        let values = [random.below(5) as i64, random.below(5) as i64];
        let keys = (key, key + random.below(3) as i64);
        match random.below(20) {
            0..=3 => Self::Insert { table, key, values },
            4..=5 => Self::Delete { table, key },
            6..=9 => Self::Set {
                table,
                keys,
                to: [
                    (values[0] > 1).then_some(values[0]),
                    (values[0] <= 1 || values[1] > 2).then_some(values[1]),
                ],
            },
            10 => Self::Shift {
                table,
                keys,
                by: 1 + random.below(2) as i64,
            },
            11..=12 => Self::Read(table),
            13 if snapshot => Self::Changes(table, random.below(6) as i64),
            13 | 14 if saved => Self::RollbackToSave,
            13 | 14 => Self::Save,
            15 => Self::Rollback,
            _ => Self::Commit,
        }
    }

    pub(crate) fn reads_or_writes(&self) -> bool {
        matches!(self, Self::Read(_) | Self::Changes(..)) || self.writes()
    }

    fn writes(&self) -> bool {
        matches!(
            self,
            Self::Insert { .. } | Self::Delete { .. } | Self::Set { .. } | Self::Shift { .. }
        )
    }

    /// The statement in a transaction whose changes have `context`.
    pub(crate) fn sql(&self, context: Option<i64>) -> String {
        match context.filter(|_| self.writes()) {
            Some(context) => format!(
                "WITH CHANGE_TRACKING_CONTEXT (0x{context:02X}) {}",
                self.plain_sql()
            ),
            None => self.plain_sql(),
        }
    }

    /// One that changes rows gives, for each, its old and its new key and its new rowversion.
    fn plain_sql(&self) -> String {
        let output = "OUTPUT deleted.k, inserted.k, inserted.rv";
        match self {
            Self::Begin { snapshot, .. } => {
                let level = if *snapshot { "SNAPSHOT" } else { "READ COMMITTED" };
                format!("SET TRANSACTION ISOLATION LEVEL {level}; BEGIN TRAN")
            }
            Self::Read(table) => format!("SELECT k, v, w FROM {}", TABLES[*table]),
            Self::Changes(table, after) => changes(TABLES[*table], *after),
            Self::Insert {
                table,
                key,
                values: [v, w],
            } => format!(
                "INSERT {} (k, v, w) OUTPUT CAST(NULL AS int), inserted.k, inserted.rv VALUES ({key}, {v}, {w})",
                TABLES[*table]
            ),
            Self::Delete { table, key } => format!(
                "DELETE {} OUTPUT deleted.k, CAST(NULL AS int), CAST(NULL AS int) WHERE k = {key}",
                TABLES[*table]
            ),
            Self::Set {
                table,
                keys: (low, high),
                to,
            } => {
                let set = |(name, to): (&str, &Option<i64>)| Some(format!("{name} = {}", (*to)?));
                let parts: Vec<String> = ["v", "w"].into_iter().zip(to).filter_map(set).collect();
                let (table, parts) = (TABLES[*table], parts.join(", "));
                format!("UPDATE {table} SET {parts} {output} WHERE k BETWEEN {low} AND {high}")
            }
            Self::Shift {
                table,
                keys: (low, high),
                by,
            } => format!(
                "UPDATE {} SET k = k + {by} {output} WHERE k BETWEEN {low} AND {high}",
                TABLES[*table]
            ),
            Self::Save => "SAVE TRAN s".to_owned(),
            Self::RollbackToSave => "ROLLBACK TRAN s".to_owned(),
            Self::Commit => "COMMIT".to_owned(),
            Self::Rollback => "ROLLBACK".to_owned(),
        }
    }

    /// The table and the keys of the rows that it changes where a reader sees `seen`.
    pub(crate) fn changed(&self, seen: &[Rows; 2]) -> (usize, Vec<i64>) {
        let within = |table: usize, (low, high): (i64, i64)| {
            let keys = seen[table].range(low..=high).map(|(key, _)| *key);
            (table, keys.collect())
        };
        match self {
            Self::Delete { table, key } => within(*table, (*key, *key)),
            Self::Set { table, keys, .. } | Self::Shift { table, keys, .. } => within(*table, *keys),
            Self::Insert { table, .. } => (*table, Vec::new()),
            other => panic!("{other:?} changes nothing"),
        }
    }

    /// The keys that it gives to rows, where it changes those with the keys `changed`.
    pub(crate) fn given(&self, changed: &[i64]) -> Vec<i64> {
        match self {
            Self::Insert { key, .. } => vec![*key],
            Self::Shift { by, .. } => changed.iter().map(|key| key + by).collect(),
            _ => Vec::new(),
        }
    }

    /// What it does to the rows of its table with the keys `changed`.
    pub(crate) fn ops(&self, rows: &Rows, changed: &[i64]) -> Vec<Op> {
        match self {
            Self::Insert { table, key, values } => vec![Op::new(*table, *key, Change::Insert(*values))],
            Self::Delete { table, .. } => {
                let delete = |key: &i64| Op::new(*table, *key, Change::Delete(rows[key]));
                changed.iter().map(delete).collect()
            }
            Self::Set { table, to, .. } => {
                let update = |key: &i64| {
                    let old = rows[key];
                    let new = [to[0].unwrap_or(old[0]), to[1].unwrap_or(old[1])];
                    let set = to.map(|to| to.is_some());
                    Op::new(*table, *key, Change::Update(old, new, set))
                };
                changed.iter().map(update).collect()
            }
            Self::Shift { table, by, .. } => {
                let gone = |key: &i64| Op::new(*table, *key, Change::Delete(rows[key]));
                let come = |key: &i64| Op::new(*table, key + by, Change::Insert(rows[key]));
                changed.iter().map(gone).chain(changed.iter().map(come)).collect()
            }
            other => panic!("{other:?} changes nothing"),
        }
    }
}

/// The current version, and the net changes of a table after one.
pub(crate) fn changes(table: &str, after: i64) -> String {
    format!(
        "SELECT CHANGE_TRACKING_CURRENT_VERSION();
         SELECT k, SYS_CHANGE_OPERATION, SYS_CHANGE_VERSION, SYS_CHANGE_CREATION_VERSION,
                CASE WHEN SYS_CHANGE_COLUMNS IS NULL THEN 0 ELSE 1 END,
                CASE WHEN SYS_CHANGE_COLUMNS IS NOT NULL AND CHANGE_TRACKING_IS_COLUMN_IN_MASK(2, SYS_CHANGE_COLUMNS) = 1 THEN 1 ELSE 0 END,
                CASE WHEN SYS_CHANGE_COLUMNS IS NOT NULL AND CHANGE_TRACKING_IS_COLUMN_IN_MASK(3, SYS_CHANGE_COLUMNS) = 1 THEN 1 ELSE 0 END,
                SYS_CHANGE_CONTEXT
         FROM CHANGETABLE(CHANGES {table}, {after}) AS ct ORDER BY k"
    )
}

/// The last change of each row that is asked for, by a snapshot: the rows are looked for, which waits for writers under locks.
pub(crate) fn last_changes(table: &str, keys: &[i64]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| format!("({key})")).collect();
    format!(
        "SET TRANSACTION ISOLATION LEVEL SNAPSHOT;
         SELECT asked.k, ct.SYS_CHANGE_VERSION, ct.SYS_CHANGE_CONTEXT FROM (VALUES {}) AS asked (k)
         CROSS APPLY CHANGETABLE(VERSION {table}, (k), (asked.k)) AS ct ORDER BY asked.k;
         SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        keys.join(", ")
    )
}
