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
use super::{Differing, DifferingKeys, Side, Upstream};
use crate::key_text::key_text;
use crate::table_sync::refuse_deletes;

/// So many rows of differing buckets are held at once.
const HELD_ROWS: u64 = 500_000;

/// Rows are looked for by key if there are at least so many others for each, and all their keys can be held at once.
const KEYS_ARE_FEW: u64 = 10;

/// So many suspicious keys are looked at again at once.
const KEYS_AT_ONCE: usize = 500;

/// Two sides that are compared.
pub(super) struct Pair<'a> {
    pub(super) layout: &'a Layout,
    pub(super) first: &'a Reader<'a>,
    pub(super) other: &'a Reader<'a>,
    pub(super) keys_named: usize,
    /// Whether only keys that the first side does not have are told; others are counted.
    pub(super) only_extra: bool,
    /// How many percent of the other side's rows may be extra.
    pub(super) most_deletes_percent: Option<u64>,
    /// Whether rows stay by policy that are gone from the first side.
    pub(super) keeps_deleted: bool,
}

/// A key whose rows differ, with what is known of it.
struct Suspect {
    counts: Counts,
    /// Its row among [`Suspects::rows`].
    place: (usize, usize),
}

/// The key columns of some suspicious keys, and the keys.
type Part<'a> = (RecordBatch, Vec<(&'a [u8], &'a Suspect)>);

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
    ) -> Result<(VerifyColumn, Differing)> {
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
        column.range_keys = self.layout.bucket_keys(first.shift());
        if !self.keeps_deleted {
            self.refuse_deletes(&column, column.rows_here.saturating_sub(column.rows))?;
        }
        let mut differing = Differing::default();
        for group in groups {
            let suspects = self.second_pass(first.shift(), &group, &mut column).await?;
            let pending = self.pending(&suspects).await?;
            let kept = self.kept(&suspects, &pending).await?;
            let told = suspects.differing(|key, suspect| {
                let differs = !pending.contains(key) && !kept.contains(key);
                differs && (!self.only_extra || suspect.counts.is_extra())
            });
            differing.keys.extend(told?);
            differing.doubled += self.count(&mut column, &suspects, &pending, &kept)?;
            self.refuse_deletes(&column, differing.extra())?;
        }
        Ok((column, differing))
    }

    fn refuse_deletes(&self, column: &VerifyColumn, deletes: u64) -> Result<()> {
        match self.most_deletes_percent {
            Some(percent) => refuse_deletes(&self.first.side.table, deletes, column.rows_here, percent),
            None => Ok(()),
        }
    }

    /// Reads the buckets of one group again and looks at their suspicious keys once more. Counts the rows that match.
    async fn second_pass(
        &self,
        shift: u32,
        group: &HashSet<i64>,
        column: &mut VerifyColumn,
    ) -> Result<Suspects> {
        let few = (column.rows / KEYS_ARE_FEW).min(HELD_ROWS);
        let (of_first, of_other) = match self.layout.bucket_rows(shift, group, few)? {
            Some(keys) => (self.first.keys(&keys)?, self.other.keys(&keys)?),
            None => (None, None),
        };
        let wanted = |place: i64, _: &[u8]| group.contains(&(place >> shift));
        let (first, other) = futures::future::try_join(
            self.collect(self.first, of_first.unwrap_or(Selection::All), wanted),
            self.collect(self.other, of_other.unwrap_or(Selection::All), wanted),
        )
        .await?;
        column.read_again += first.read;
        let mut differing = Vec::new();
        for (key, counts) in first.compare(&other) {
            if counts.all_match() {
                column.matched += counts.matched;
            } else {
                differing.push((key, counts));
            }
        }
        let mut suspects = Suspects::default();
        for part in differing.chunks(KEYS_AT_ONCE) {
            let keys: Vec<&[u8]> = part.iter().map(|(key, _)| key.as_slice()).collect();
            let rows = first.key_rows(&other, &keys)?;
            let again = self.look(self.first, &keys, &rows).await?;
            column.read_again += keys.len() as u64;
            for (i, (key, counts)) in part.iter().enumerate() {
                let counts = match &again {
                    Some(again) => again.get(key).copied().unwrap_or_default(),
                    None => *counts,
                };
                if counts.all_match() {
                    column.matched += counts.matched;
                } else {
                    let place = (suspects.rows.len(), i);
                    suspects.by_key.insert(key.clone(), Suspect { counts, place });
                }
            }
            suspects.rows.push(rows);
        }
        Ok(suspects)
    }

    /// Compares single keys with what `upstream` has now. `None` where rows cannot be selected by key.
    async fn look(
        &self,
        upstream: &Reader<'_>,
        keys: &[&[u8]],
        rows: &RecordBatch,
    ) -> Result<Option<BTreeMap<Vec<u8>, Counts>>> {
        let (Some(of_upstream), Some(of_other)) = (upstream.keys(rows)?, self.other.keys(rows)?) else {
            return Ok(None);
        };
        let wanted: HashSet<&[u8]> = keys.iter().copied().collect();
        let (upstream, other) = futures::future::try_join(
            self.collect(upstream, of_upstream, |_, key| wanted.contains(key)),
            self.collect(self.other, of_other, |_, key| wanted.contains(key)),
        )
        .await?;
        Ok(Some(upstream.compare(&other).collect()))
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

    /// Which suspicious keys have changed upstream after what was applied, and will therefore be delivered.
    async fn pending(&self, suspects: &Suspects) -> Result<HashSet<Vec<u8>>> {
        let mut pending = HashSet::new();
        let Some((nearest, farther)) = self.other.side.upstream.split_last() else {
            return Ok(pending);
        };
        if suspects.by_key.is_empty() || self.layout.is_keyless() {
            return Ok(pending);
        }
        for upstream in farther {
            upstream.changed(self.layout, suspects, &mut pending).await?;
        }
        if !pending.is_empty() {
            self.keep_alike(nearest, suspects, &mut pending).await?;
        }
        nearest.changed(self.layout, suspects, &mut pending).await?;
        Ok(pending)
    }

    /// Which suspicious keys are gone from the first side, and stay by policy.
    async fn kept(&self, suspects: &Suspects, pending: &HashSet<Vec<u8>>) -> Result<HashSet<Vec<u8>>> {
        let mut kept = HashSet::new();
        if self.layout.is_keyless() {
            return Ok(kept);
        }
        let extra = |key: &[u8], suspect: &Suspect| !pending.contains(key) && suspect.counts.is_extra();
        for (rows, _) in suspects.parts(extra)? {
            let Some(mut told) = self.first.kept(&rows).await? else {
                break;
            };
            while let Some(batch) = told.try_next().await? {
                kept.extend(self.layout.keys_of(&batch.rows)?);
            }
        }
        // What the target keeps is what Iceberg keeps.
        if let Some((nearest, [_, ..])) = self.other.side.upstream.split_last()
            && !kept.is_empty()
        {
            self.keep_alike(nearest, suspects, &mut kept).await?;
        }
        Ok(kept)
    }

    /// Keeps those keys whose rows are as in the nearest table. What comes from farther away changes nothing there if it is equal, so
    /// only such rows are sure to receive it.
    async fn keep_alike(
        &self,
        nearest: &Upstream,
        suspects: &Suspects,
        pending: &mut HashSet<Vec<u8>>,
    ) -> Result<()> {
        let schema = nearest.source.describe(&nearest.table).await?.schema;
        let side = Side {
            name: "upstream".into(),
            source: nearest.source.clone(),
            table: nearest.table.clone(),
            upstream: Vec::new(),
        };
        let nearest = Reader::new(&side, schema, self.layout, None)?;
        for (rows, of) in suspects.parts(|key, _| pending.contains(key))? {
            let keys: Vec<&[u8]> = of.iter().map(|(key, _)| *key).collect();
            let Some(now) = self.look(&nearest, &keys, &rows).await? else {
                continue;
            };
            for (key, _) in now.iter().filter(|(_, counts)| !counts.all_match()) {
                pending.remove(key);
            }
        }
        Ok(())
    }

    /// Returns how many rows are here besides others of a key that the first side has.
    fn count(
        &self,
        column: &mut VerifyColumn,
        suspects: &Suspects,
        pending: &HashSet<Vec<u8>>,
        kept: &HashSet<Vec<u8>>,
    ) -> Result<u64> {
        let mut doubled = 0;
        for (key, Suspect { counts, place }) in &suspects.by_key {
            column.matched += counts.matched;
            if pending.contains(key) {
                column.pending += 1;
                continue;
            }
            if kept.contains(key) {
                column.kept += counts.extra;
                continue;
            }
            column.different += counts.different;
            column.missing += counts.missing;
            column.extra += counts.extra;
            if !counts.is_extra() {
                doubled += counts.extra;
            }
            for (kind, rows) in [
                ("different", counts.different),
                ("missing", counts.missing),
                ("extra", counts.extra),
            ] {
                if rows > 0 && column.keys.len() < self.keys_named {
                    let (batch, row) = *place;
                    let text = key_text(&suspects.rows[batch], row)?;
                    column.keys.push(format!("{kind} {text}"));
                }
            }
        }
        Ok(doubled)
    }
}

impl Suspects {
    /// The keys that really differ.
    fn differing(&self, really: impl Fn(&[u8], &Suspect) -> bool) -> Result<Vec<DifferingKeys>> {
        let parts = self.parts(really)?.into_iter();
        Ok(parts
            .map(|(keys, of)| DifferingKeys {
                keys,
                extra: of
                    .iter()
                    .map(|(_, suspect)| Some(suspect.counts.is_extra()))
                    .collect(),
            })
            .collect())
    }

    /// The key columns of the wanted keys, in batches, and the keys that they are of.
    fn parts(&self, wanted: impl Fn(&[u8], &Suspect) -> bool) -> Result<Vec<Part<'_>>> {
        let mut parts = vec![(Vec::new(), Vec::new()); self.rows.len()];
        for (key, suspect) in self.by_key.iter().filter(|(key, suspect)| wanted(key, suspect)) {
            let (batch, row) = suspect.place;
            let row = u32::try_from(row).map_err(|_| Error::internal("too many keys in a batch"))?;
            let (places, of) = &mut parts[batch];
            places.push(row);
            of.push((key.as_slice(), suspect));
        }
        let parts = self.rows.iter().zip(parts);
        parts
            .filter(|(_, (places, _))| !places.is_empty())
            .map(|(rows, (places, of))| {
                let keys = take_record_batch(rows, &UInt32Array::from(places))
                    .map_err(|e| Error::internal("differing keys cannot be taken").caused_by(e))?;
                Ok((keys, of))
            })
            .collect()
    }
}

impl Upstream {
    /// Where increments could go on from, if what was applied is followed by a gap.
    pub(super) async fn restart(&self) -> Result<Option<Position>> {
        match self.source.cut(&self.table, Some(&self.applied)).await? {
            Cut::Complete { .. } => Ok(None),
            Cut::Gap { .. } => match self.source.cut(&self.table, None).await? {
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
        suspects: &Suspects,
        pending: &mut HashSet<Vec<u8>>,
    ) -> Result<()> {
        let Description { schema, tracking, .. } = self.source.describe(&self.table).await?;
        if matches!(tracking, Tracking::Full { .. }) {
            return Ok(());
        }
        // Without the history nothing can be said to be pending.
        let Cut::Complete { upto, .. } = self.source.cut(&self.table, Some(&self.applied)).await? else {
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
            pending.extend(keys.into_iter().filter(|key| suspects.by_key.contains_key(key)));
        }
        Ok(())
    }
}
