//! Two sides: from differing buckets to the keys that differ.

use std::collections::{BTreeMap, HashSet};

use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;
use futures::{StreamExt, TryStreamExt};
use model::{
    Cut, Description, Error, ErrorKind, Position, Presence, Result, Selection, SourceEvent, Tracking,
    VerifyColumn,
};

use super::buckets::Buckets;
use super::difference::{Collected, Counts};
use super::layout::Layout;
use super::reader::Reader;
use super::{DifferingKeys, Upstream};
use crate::key_text::key_text;

/// So many rows of differing buckets are held at once.
const HELD_ROWS: u64 = 500_000;

/// So many suspicious keys are looked at again at once.
const KEYS_AT_ONCE: usize = 500;

/// Two sides that are compared.
pub(super) struct Pair<'a> {
    pub(super) layout: &'a Layout,
    pub(super) first: &'a Reader<'a>,
    pub(super) other: &'a Reader<'a>,
    pub(super) keys_named: usize,
}

/// A key whose rows differ, with what is known of it.
struct Suspect {
    counts: Counts,
    text: String,
    /// Its row among [`Suspects::rows`].
    place: (usize, usize),
}

/// Keys whose rows differ.
#[derive(Default)]
struct Suspects {
    by_key: BTreeMap<Vec<u8>, Suspect>,
    /// Their key columns, in batches.
    rows: Vec<RecordBatch>,
}

impl Pair<'_> {
    pub(super) async fn compare(
        &self,
        mut first: Buckets,
        mut other: Buckets,
    ) -> Result<(VerifyColumn, Vec<DifferingKeys>)> {
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
        let mut suspects = Suspects::default();
        for group in groups {
            column.matched += self.second_pass(first.shift(), &group, &mut suspects).await?;
        }
        let pending = self.pending(&suspects.by_key).await?;
        let differing = suspects.differing(&pending)?;
        self.count(&mut column, suspects.by_key, &pending);
        Ok((column, differing))
    }

    /// Reads the buckets of one group again and looks at their suspicious keys once more. Returns how many rows match.
    async fn second_pass(&self, shift: u32, group: &HashSet<i64>, suspects: &mut Suspects) -> Result<u64> {
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
                    let text = key_text(&rows, i)?;
                    let place = (suspects.rows.len(), i);
                    suspects
                        .by_key
                        .insert(key.clone(), Suspect { counts, text, place });
                }
            }
            suspects.rows.push(rows);
        }
        Ok(matched)
    }

    /// Reads single keys of both sides again. `None` where rows cannot be selected by key.
    async fn second_look(
        &self,
        keys: &[&[u8]],
        rows: &RecordBatch,
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
        for (key, Suspect { counts, text, .. }) in suspects {
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

impl Suspects {
    /// The keys that are not pending.
    fn differing(&self, pending: &HashSet<Vec<u8>>) -> Result<Vec<DifferingKeys>> {
        let mut wanted: Vec<Vec<(u32, bool)>> = vec![Vec::new(); self.rows.len()];
        for (key, suspect) in &self.by_key {
            let (batch, row) = suspect.place;
            if !pending.contains(key) {
                let row = u32::try_from(row).map_err(|_| Error::internal("too many keys in a batch"))?;
                wanted[batch].push((row, suspect.counts.extra > 0));
            }
        }
        let mut differing = Vec::new();
        for (rows, wanted) in self
            .rows
            .iter()
            .zip(wanted)
            .filter(|(_, wanted)| !wanted.is_empty())
        {
            let places: UInt32Array = wanted.iter().map(|(row, _)| *row).collect();
            let keys = take_record_batch(rows, &places)
                .map_err(|e| Error::internal("differing keys cannot be taken").caused_by(e))?;
            let extra = wanted.iter().map(|(_, extra)| Some(*extra)).collect();
            differing.push(DifferingKeys { keys, extra });
        }
        Ok(differing)
    }
}

impl Upstream {
    /// Where increments could go on from, if what was applied is followed by a gap.
    pub(super) async fn restart(&self) -> Result<Option<Position>> {
        let tables = std::slice::from_ref(&self.table);
        match self.source.cut(tables, Some(&self.applied)).await? {
            Cut::Complete { .. } => Ok(None),
            Cut::Gap { .. } => match self.source.cut(tables, None).await? {
                Cut::Complete { upto, .. } => Ok(Some(upto)),
                Cut::Gap { .. } => Ok(None),
            },
        }
    }

    /// Adds the keys among `suspects` that changed after what was applied: up to a cut, deletes included, and what the cut
    /// leaves for later. Rows that a window only reads again do not count.
    async fn changed(
        &self,
        layout: &Layout,
        suspects: &BTreeMap<Vec<u8>, Suspect>,
        pending: &mut HashSet<Vec<u8>>,
    ) -> Result<()> {
        let Description { schema, tracking, .. } = self.source.describe(&self.table).await?;
        if matches!(tracking, Tracking::Full { .. }) {
            return Ok(());
        }
        let tables = std::slice::from_ref(&self.table);
        // Without the history nothing can be said to be pending.
        let Cut::Complete { upto, .. } = self.source.cut(tables, Some(&self.applied)).await? else {
            return Ok(());
        };
        let events = self
            .source
            .changes(&self.table, &schema, &self.applied, &upto)
            .await?;
        let told = events.try_filter_map(|event| async move {
            Ok(match event {
                SourceEvent::Changes(batch) if batch.presence != Presence::PerhapsIdentical => Some(batch),
                _ => None,
            })
        });
        let later = Selection::ChangedAfter(upto);
        let left = match self.source.read(&self.table, &schema, later, None).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => futures::stream::empty().boxed(),
            read => read?,
        };
        let mut changed = std::pin::pin!(told.chain(left));
        while let Some(batch) = changed.try_next().await? {
            let keys = layout.keys_of(&batch.rows)?;
            pending.extend(keys.into_iter().filter(|key| suspects.contains_key(key)));
        }
        Ok(())
    }
}
