//! What a manifest says of a data file's columns: sizes, counts and bounds, from the file's own statistics.
//!
//! A bound need not be a value of the column: where Parquet has shortened a long text, its shortened (and, above, incremented) form
//! is one too. A row group with values and without statistics leaves the whole column without bounds.

use std::collections::HashMap;

use iceberg::spec::{DataFileBuilder, Datum, PrimitiveType, Schema};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

use crate::metrics_mode::MetricsMode;

#[derive(Debug, Default)]
pub(crate) struct ColumnMetrics {
    sizes: HashMap<i32, u64>,
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, u64>,
    nans: HashMap<i32, u64>,
    lower: HashMap<i32, Datum>,
    upper: HashMap<i32, Datum>,
}

impl ColumnMetrics {
    /// The metrics of a flat file whose columns have these field ids, in order, as far as they are told; `nans` are those of its rows.
    pub(crate) fn of(
        file: &ParquetMetaData,
        ids: &[i32],
        modes: &[MetricsMode],
        nans: HashMap<i32, u64>,
        schema: &Schema,
    ) -> Self {
        let mut metrics = Self::default();
        for (index, (&id, mode)) in ids
            .iter()
            .zip(modes)
            .enumerate()
            .filter(|(_, (_, mode))| mode.has_counts())
        {
            let chunks: Vec<_> = file
                .row_groups()
                .iter()
                .filter_map(|group| group.columns().get(index))
                .collect();
            let sum = |count: fn(&ColumnChunkMetaData) -> i64| {
                chunks
                    .iter()
                    .map(|chunk| count(chunk).unsigned_abs())
                    .sum::<u64>()
            };
            metrics
                .sizes
                .insert(id, sum(ColumnChunkMetaData::compressed_size));
            metrics.values.insert(id, sum(ColumnChunkMetaData::num_values));
            if let Some(nulls) = chunks.iter().map(|chunk| null_count(chunk)).sum::<Option<u64>>() {
                metrics.nulls.insert(id, nulls);
            }
            let field_type = schema
                .field_by_id(id)
                .and_then(|field| field.field_type.as_primitive_type());
            if let Some((lower, upper)) = field_type.and_then(|field_type| bounds(&chunks, field_type)) {
                metrics.lower.extend(mode.lower(lower).map(|lower| (id, lower)));
                metrics.upper.extend(mode.upper(upper).map(|upper| (id, upper)));
            }
            metrics.nans.extend(nans.get(&id).map(|nans| (id, *nans)));
        }
        metrics
    }

    pub(crate) fn describe(self, file: &mut DataFileBuilder) {
        file.column_sizes(self.sizes)
            .value_counts(self.values)
            .null_value_counts(self.nulls)
            .nan_value_counts(self.nans)
            .lower_bounds(self.lower)
            .upper_bounds(self.upper);
    }
}

fn null_count(chunk: &ColumnChunkMetaData) -> Option<u64> {
    chunk.statistics()?.null_count_opt()
}

fn bounds(chunks: &[&ColumnChunkMetaData], field_type: &PrimitiveType) -> Option<(Datum, Datum)> {
    let mut all: Option<(Datum, Datum)> = None;
    for chunk in chunks {
        if null_count(chunk) == Some(chunk.num_values().unsigned_abs()) {
            continue;
        }
        let statistics = chunk.statistics()?;
        let lower = datum(statistics, statistics.min_bytes_opt()?, field_type)?;
        let upper = datum(statistics, statistics.max_bytes_opt()?, field_type)?;
        all = Some(match all {
            None => (lower, upper),
            Some((least, greatest)) => (
                if lower < least { lower } else { least },
                if upper > greatest { upper } else { greatest },
            ),
        });
    }
    all
}

/// A bound in Iceberg's form. Parquet stores all but decimals the same way.
fn datum(statistics: &Statistics, bytes: &[u8], field_type: &PrimitiveType) -> Option<Datum> {
    let wide: [u8; 16];
    let bytes = match (field_type, statistics) {
        (PrimitiveType::Decimal { .. }, Statistics::Int32(_)) => {
            wide = i128::from(i32::from_le_bytes(bytes.try_into().ok()?)).to_be_bytes();
            &wide
        }
        (PrimitiveType::Decimal { .. }, Statistics::Int64(_)) => {
            wide = i128::from(i64::from_le_bytes(bytes.try_into().ok()?)).to_be_bytes();
            &wide
        }
        _ => bytes,
    };
    Datum::try_from_bytes(bytes, field_type.clone()).ok()
}
