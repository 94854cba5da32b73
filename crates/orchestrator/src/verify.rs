//! Comparing a table on two or three sides, row by row, by canonical hashes.
//!
//! The first pass reads each side once and sums hashes per bucket: ranges of an integer or date key, else buckets of the key's
//! hash. Only buckets whose sums differ are read again to find the keys. The sides are not read at one moment, so each suspicious
//! key is then looked at again by itself; what still differs and has changed upstream since the last applied position is
//! pending. Memory is bounded by the number of buckets and by the rows that a second pass takes at a time.

mod buckets;
mod difference;
mod layout;
mod reader;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use model::{
    ChangeSource, Cut, Error, ErrorKind, Position, Presence, Result, Selection, SourceEvent, TableName,
    Tracking, VerifyColumn, VerifyReport,
};
use tokio_util::sync::CancellationToken;

use buckets::Buckets;
use difference::{Collected, Counts};
use layout::Layout;
use reader::Reader;

/// So many rows of differing buckets are held at once.
const HELD_ROWS: u64 = 500_000;

/// So many suspicious keys are looked at again at once.
const KEYS_AT_ONCE: usize = 500;

/// A comparison of one table.
#[derive(Debug, Clone)]
pub struct Verify {
    /// The table for the report, by its name in the source.
    pub table: String,
    /// What the others are compared with.
    pub first: Side,
    /// What is compared with it.
    pub others: Vec<Side>,
    /// How many keys the report names per side.
    pub keys_named: usize,
}

/// One side of a comparison.
#[derive(Clone)]
pub struct Side {
    /// Its name in the report: `source`, `iceberg` or `target`.
    pub name: String,
    /// What reads it.
    pub source: Arc<dyn ChangeSource>,
    /// The table, by its name there.
    pub table: TableName,
    /// What has been applied to it, from each table before it on the way from the first side.
    pub upstream: Vec<Upstream>,
}

/// A table that changes come from, and up to where they have been applied.
#[derive(Clone)]
pub struct Upstream {
    /// What tells its changes.
    pub source: Arc<dyn ChangeSource>,
    /// The table, by its name there.
    pub table: TableName,
    /// Up to where its changes have been applied.
    pub applied: Position,
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Side")
            .field("name", &self.name)
            .field("table", &self.table)
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("table", &self.table)
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

impl Verify {
    /// Compares. Nothing is changed on any side.
    ///
    /// # Errors
    ///
    /// `SchemaMismatch` if a side lacks a column of the first one; what reading a side fails with; `Cancelled`.
    ///
    /// # Cancel safety
    ///
    /// May be dropped or cancelled at any point.
    pub async fn run(&self, cancel: &CancellationToken) -> Result<VerifyReport> {
        let ended = cancel.run_until_cancelled(self.compare_all()).await;
        ended.unwrap_or_else(|| Err(Error::cancelled()))
    }

    async fn compare_all(&self) -> Result<VerifyReport> {
        let description = self.first.source.describe(&self.first.table).await?;
        let layout = Layout::new(&description.schema);
        let first = Reader::new(&self.first, description.schema, &layout)?;
        let mut readers = Vec::new();
        for side in &self.others {
            let schema = side.source.describe(&side.table).await?.schema;
            readers.push(Reader::new(side, schema, &layout)?);
        }
        let sums = futures::future::try_join(
            summed(&first, &layout),
            futures::future::try_join_all(readers.iter().map(|reader| summed(reader, &layout))),
        );
        let (first_sums, other_sums) = sums.await?;
        let mut columns = Vec::new();
        for (reader, sums) in readers.iter().zip(other_sums) {
            let pair = Pair {
                layout: &layout,
                first: &first,
                other: reader,
                keys_named: self.keys_named,
            };
            columns.push(pair.compare(first_sums.clone(), sums).await?);
        }
        Ok(VerifyReport {
            table: self.table.clone(),
            against: self.first.name.clone(),
            columns,
        })
    }
}

/// The first pass over one side.
async fn summed(reader: &Reader<'_>, layout: &Layout) -> Result<Buckets> {
    let mut buckets = Buckets::default();
    let mut rows = reader.read(Selection::All).await?;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let mut hasher = layout.row_hasher(&batch)?;
        let places = layout.places(&batch)?;
        for (row, place) in places.into_iter().enumerate() {
            buckets.add(place, hasher.hash(row));
        }
    }
    Ok(buckets)
}

/// Two sides that are compared.
struct Pair<'a> {
    layout: &'a Layout,
    first: &'a Reader<'a>,
    other: &'a Reader<'a>,
    keys_named: usize,
}

/// A key whose rows differ, with what is known of it.
struct Suspect {
    counts: Counts,
    text: String,
}

impl Pair<'_> {
    async fn compare(&self, mut first: Buckets, mut other: Buckets) -> Result<VerifyColumn> {
        first.widen_to(other.shift());
        other.widen_to(first.shift());
        let mut column = VerifyColumn {
            side: self.other.side.name.clone(),
            rows: first.rows(),
            rows_here: other.rows(),
            ..VerifyColumn::default()
        };
        let (equal, groups) = first.compare(&other, HELD_ROWS);
        column.matched = equal;
        let mut suspects = BTreeMap::new();
        for group in groups {
            column.matched += self.second_pass(first.shift(), &group, &mut suspects).await?;
        }
        let pending = self.pending(&suspects).await?;
        self.count(&mut column, suspects, &pending);
        Ok(column)
    }

    /// Reads the buckets of one group again and looks at their suspicious keys once more. Returns how many rows match.
    async fn second_pass(
        &self,
        shift: u32,
        group: &HashSet<i64>,
        suspects: &mut BTreeMap<Vec<u8>, Suspect>,
    ) -> Result<u64> {
        let (first, other) = futures::future::try_join(
            self.collect(self.first, Selection::All, |place, _| {
                group.contains(&(place >> shift))
            }),
            self.collect(self.other, Selection::All, |place, _| {
                group.contains(&(place >> shift))
            }),
        )
        .await?;
        let mut matched = 0;
        let mut differing = Vec::new();
        for (key, counts) in first.compare(&other) {
            if counts.all_match() {
                matched += counts.matched;
            } else {
                differing.push((key, counts));
            }
        }
        for part in differing.chunks(KEYS_AT_ONCE) {
            let keys: Vec<&[u8]> = part.iter().map(|(key, _)| key.as_slice()).collect();
            let rows = first.key_rows(&other, &keys)?;
            let again = self.second_look(&keys, &rows).await?;
            for (i, (key, counts)) in part.iter().enumerate() {
                let counts = match &again {
                    Some(again) => again.get(key).copied().unwrap_or_default(),
                    None => *counts,
                };
                if counts.all_match() {
                    matched += counts.matched;
                } else {
                    let text = self.layout.key_text(&rows, i)?;
                    suspects.insert(key.clone(), Suspect { counts, text });
                }
            }
        }
        Ok(matched)
    }

    /// Reads single keys of both sides again. `None` where rows cannot be selected by key.
    async fn second_look(
        &self,
        keys: &[&[u8]],
        rows: &arrow_array::RecordBatch,
    ) -> Result<Option<BTreeMap<Vec<u8>, Counts>>> {
        let (Some(of_first), Some(of_other)) = (self.first.keys(rows)?, self.other.keys(rows)?) else {
            return Ok(None);
        };
        let wanted: HashSet<&[u8]> = keys.iter().copied().collect();
        let (first, other) = futures::future::try_join(
            self.collect(self.first, of_first, |_, key| wanted.contains(key)),
            self.collect(self.other, of_other, |_, key| wanted.contains(key)),
        )
        .await?;
        Ok(Some(first.compare(&other).collect()))
    }

    async fn collect(
        &self,
        reader: &Reader<'_>,
        selection: Selection,
        wanted: impl Fn(i64, &[u8]) -> bool,
    ) -> Result<Collected> {
        let mut collected = Collected::default();
        let mut rows = reader.read(selection).await?;
        while let Some(batch) = rows.next().await {
            collected.push(self.layout, &batch?, &wanted)?;
        }
        Ok(collected)
    }

    /// Which suspicious keys have changed upstream after what was applied.
    async fn pending(&self, suspects: &BTreeMap<Vec<u8>, Suspect>) -> Result<HashSet<Vec<u8>>> {
        let mut pending = HashSet::new();
        if suspects.is_empty() || self.layout.is_keyless() {
            return Ok(pending);
        }
        for upstream in &self.other.side.upstream {
            upstream.changed(self.layout, suspects, &mut pending).await?;
        }
        Ok(pending)
    }

    fn count(
        &self,
        column: &mut VerifyColumn,
        suspects: BTreeMap<Vec<u8>, Suspect>,
        pending: &HashSet<Vec<u8>>,
    ) {
        for (key, Suspect { counts, text }) in suspects {
            column.matched += counts.matched;
            if pending.contains(&key) {
                column.pending += 1;
                continue;
            }
            column.different += counts.different;
            column.missing += counts.missing;
            column.extra += counts.extra;
            for (kind, rows) in [
                ("different", counts.different),
                ("missing", counts.missing),
                ("extra", counts.extra),
            ] {
                if rows > 0 && column.keys.len() < self.keys_named {
                    column.keys.push(format!("{kind} {text}"));
                }
            }
        }
    }
}

impl Upstream {
    /// Adds the keys among `suspects` that changed after what was applied. Rows that a window only reads again do not
    /// count.
    async fn changed(
        &self,
        layout: &Layout,
        suspects: &BTreeMap<Vec<u8>, Suspect>,
        pending: &mut HashSet<Vec<u8>>,
    ) -> Result<()> {
        let description = self.source.describe(&self.table).await?;
        if matches!(description.tracking, Tracking::Full { .. }) {
            return Ok(());
        }
        let cut = self
            .source
            .cut(std::slice::from_ref(&self.table), Some(&self.applied))
            .await?;
        // Without the history nothing can be said to be pending.
        let Cut::Complete { upto, .. } = cut else {
            return Ok(());
        };
        let mut events = self
            .source
            .changes(&self.table, &description.schema, &self.applied, &upto)
            .await?;
        while let Some(event) = events.next().await {
            let SourceEvent::Changes(batch) = event? else {
                continue;
            };
            if batch.presence == Presence::PerhapsIdentical {
                continue;
            }
            let keys = layout.keys_of(&batch.rows)?;
            pending.extend(keys.into_iter().filter(|key| suspects.contains_key(key)));
        }
        Ok(())
    }
}

/// A column that one side lacks.
fn lacks(side: &Side, column: &str) -> Error {
    Error::new(
        ErrorKind::SchemaMismatch,
        format!("cannot compare: the {} side has no column {column:?}", side.name),
    )
    .with("table", &side.table)
}

#[cfg(test)]
mod tests;
