//! Which columns are compared, what tells rows apart, and where a row's bucket is.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{DECIMAL128_MAX_PRECISION, DataType, FieldRef, Schema};
use model::{Error, Result, RowEncoder, RowHasher, TableSchema, column_like};

use super::buckets::MOST;

/// The columns of the first side, which every other side is projected to.
#[derive(Debug)]
pub(super) struct Layout {
    columns: Vec<String>,
    /// The types that they are compared in.
    types: Vec<DataType>,
    /// The columns that tell rows apart: the key, or all of them where there is none.
    key: Vec<usize>,
    keyless: bool,
    by_range: bool,
    /// The key, if it is one whole number.
    whole_number: Option<FieldRef>,
}

impl Layout {
    pub(super) fn new(schema: &TableSchema) -> Self {
        let fields = schema.arrow().fields();
        let keyless = !schema.has_key();
        let by_range = matches!(schema.key(), [only] if matches!(
            fields[*only].data_type(),
            DataType::Int32 | DataType::Int64 | DataType::Date32
        ));
        let whole_number = match schema.key() {
            [only] => Some(fields[*only].clone()),
            _ => None,
        };
        let whole_number =
            whole_number.filter(|field| matches!(field.data_type(), DataType::Int32 | DataType::Int64));
        Self {
            columns: fields.iter().map(|field| field.name().clone()).collect(),
            types: fields.iter().map(|field| field.data_type().clone()).collect(),
            key: if keyless {
                (0..fields.len()).collect()
            } else {
                schema.key().to_vec()
            },
            keyless,
            by_range,
            whole_number,
        }
    }

    /// How many keys a bucket has that is `shift` bits wide; 0 where buckets are those of hashes.
    pub(super) fn bucket_keys(&self, shift: u32) -> u64 {
        if self.by_range {
            1_u64.checked_shl(shift).unwrap_or(u64::MAX)
        } else {
            0
        }
    }

    /// Every key that some buckets can have, if that is known and they are at most `most`.
    pub(super) fn bucket_rows(
        &self,
        shift: u32,
        buckets: &HashSet<i64>,
        most: u64,
    ) -> Result<Option<RecordBatch>> {
        let Some(field) = &self.whole_number else {
            return Ok(None);
        };
        let keys = (buckets.len() as u64).saturating_mul(self.bucket_keys(shift));
        if keys > most {
            return Ok(None);
        }
        let places = buckets
            .iter()
            .flat_map(|bucket| (0..1_i64 << shift).map(move |place| (bucket << shift) | place));
        let places = Int64Array::from_iter_values(places);
        let failed = |e| Error::internal("the keys of a range cannot be told").caused_by(e);
        let column = cast(&places, field.data_type()).map_err(failed)?;
        let schema = Arc::new(Schema::new(vec![field.clone()]));
        RecordBatch::try_new(schema, vec![column])
            .map(Some)
            .map_err(failed)
    }

    /// Takes in another side. A key is compared as the first side has it.
    pub(super) fn meet(&mut self, other: &TableSchema) {
        for (place, (name, ty)) in self.columns.iter().zip(&mut self.types).enumerate() {
            let is_key = !self.keyless && self.key.contains(&place);
            let there = column_like(other.arrow(), name).filter(|_| !is_key);
            let there = there.map(|there| other.arrow().field(there).data_type());
            if let Some(common) = there.and_then(|there| common_type(ty, there)) {
                *ty = common;
            }
        }
    }

    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(super) fn types(&self) -> &[DataType] {
        &self.types
    }

    pub(super) fn is_keyless(&self) -> bool {
        self.keyless
    }

    /// Hashes whole rows of a projected batch.
    pub(super) fn row_hasher(&self, batch: &RecordBatch) -> Result<RowHasher> {
        Ok(RowHasher::new(RowEncoder::whole(batch)?))
    }

    /// The place of each row of a projected batch: the key itself, or a bucket of its hash.
    pub(super) fn places(&self, batch: &RecordBatch) -> Result<Vec<i64>> {
        if let (true, [only]) = (self.by_range, &self.key[..])
            && let Some(places) = whole_numbers(batch.column(*only))
        {
            return Ok(places);
        }
        let mut hasher = RowHasher::new(RowEncoder::new(batch, self.key.iter().copied())?);
        let buckets = MOST as u128;
        Ok((0..batch.num_rows())
            .map(|row| (hasher.hash(row).0 % buckets) as i64)
            .collect())
    }

    /// The canonical bytes of each row's key, of a projected batch.
    pub(super) fn keys(&self, batch: &RecordBatch) -> Result<Vec<Vec<u8>>> {
        encoded(batch, &self.key)
    }

    /// The canonical bytes of each row's key, of a batch that has at least the key columns, by name.
    pub(super) fn keys_of(&self, rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
        let indexes = self.key.iter().map(|&i| {
            column_like(rows.schema_ref(), &self.columns[i])
                .ok_or_else(|| Error::internal("a key column is missing in the changes"))
        });
        encoded(rows, &indexes.collect::<Result<Vec<_>>>()?)
    }

    /// The key columns of a projected batch, in key order.
    pub(super) fn key_columns(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = batch.project(&self.key);
        columns.map_err(|e| Error::internal("a key column is missing").caused_by(e))
    }
}

/// A type that holds the values of both exactly, where a target may keep those of the one in the other and their canonical encodings
/// differ.
pub(super) fn common_type(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType::{Decimal128, Float32, Float64};
    /// Digits of an integer of 64 bits.
    const INTEGER: i16 = 19;
    let digits = |ty: &DataType| match ty {
        Decimal128(precision, scale) => Some((i16::from(*precision) - i16::from(*scale), *scale)),
        ty if ty.is_integer() => Some((INTEGER, 0)),
        _ => None,
    };
    match (one, other) {
        (Float32, Float64) | (Float64, Float32) => Some(Float64),
        // They are encoded alike.
        (one, other) if one.is_integer() && other.is_integer() => None,
        (Decimal128(_, one), Decimal128(_, other)) if one == other => None,
        (one, other) => {
            let ((one, one_scale), (other, other_scale)) = (digits(one)?, digits(other)?);
            let scale = one_scale.max(other_scale);
            let fits = one.max(other) + i16::from(scale) <= i16::from(DECIMAL128_MAX_PRECISION);
            fits.then_some(Decimal128(DECIMAL128_MAX_PRECISION, scale))
        }
    }
}

fn encoded(batch: &RecordBatch, columns: &[usize]) -> Result<Vec<Vec<u8>>> {
    let encoder = RowEncoder::new(batch, columns.iter().copied())?;
    Ok((0..batch.num_rows())
        .map(|row| {
            let mut bytes = Vec::new();
            encoder.encode(row, &mut bytes);
            bytes
        })
        .collect())
}

fn whole_numbers(column: &ArrayRef) -> Option<Vec<i64>> {
    let wide = |values: &[i32]| values.iter().map(|value| i64::from(*value)).collect();
    match column.data_type() {
        DataType::Int32 => Some(wide(column.as_primitive::<Int32Type>().values())),
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().values().to_vec()),
        DataType::Date32 => Some(wide(column.as_primitive::<Date32Type>().values())),
        _ => None,
    }
}
