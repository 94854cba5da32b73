//! The canonical encoding of a row and its hash.
//!
//! Two rows are the same if and only if their encodings are equal byte for byte. The encoding depends on a value's
//! logical type alone: `Utf8` and `LargeUtf8` encode alike, and so do the binary types. It never passes through a
//! collation, so case, accents, trailing blanks and trailing NUL bytes count.
//!
//! A value is a tag and its bytes, all integers big-endian: `0` NULL; `1` boolean; `2` integer as `i64`; `3`/`4` float bits
//! (one NaN; −0 differs from +0); `5` decimal: scale and unscaled `i128`; `6` date in days; `7` time in µs; `8`/`9` timestamp in µs
//! without and with zone; `10` text and `11` bytes, each a `u64` length and the bytes. The hash of a row is the XXH3-128 of its
//! encoding; it finds differences that happen, not ones that somebody constructs.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use twox_hash::XxHash3_128;

use crate::{Error, ErrorKind, Result};

/// The hash of a row's canonical encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowHash(pub u128);

/// A map by hashes of rows, which are taken for what they are and not hashed again.
pub type RowHashMap<V> = HashMap<RowHash, V, BuildHasherDefault<AlreadyHashed>>;

/// The hasher of a [`RowHashMap`].
#[derive(Debug, Default)]
pub struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        // Files of changes are divided by the other half.
        self.0 = (hash >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Encode = fn(&dyn Array, usize, &mut Vec<u8>);

/// Encodes rows of one batch; the type of each column is looked at once.
pub struct RowEncoder {
    columns: Vec<(ArrayRef, Encode)>,
}

impl std::fmt::Debug for RowEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowEncoder")
            .field("columns", &self.columns.len())
            .finish()
    }
}

impl RowEncoder {
    /// Encodes the columns of `batch` with these indexes, in this order.
    ///
    /// # Errors
    ///
    /// `Internal` if a column does not exist or has a type that is not in use, see [`TableSchema`](crate::TableSchema).
    pub fn new(batch: &RecordBatch, columns: impl IntoIterator<Item = usize>) -> Result<Self> {
        let columns = columns.into_iter().map(|i| {
            let column = batch
                .columns()
                .get(i)
                .ok_or_else(|| Error::internal(format!("there is no column {i} to encode")))?;
            Ok((column.clone(), encoder(column.data_type())?))
        });
        Ok(Self {
            columns: columns.collect::<Result<_>>()?,
        })
    }

    /// Encodes whole rows.
    ///
    /// # Errors
    ///
    /// As [`RowEncoder::new`].
    pub fn whole(batch: &RecordBatch) -> Result<Self> {
        Self::new(batch, 0..batch.num_columns())
    }

    /// Appends the encoding of one row. `row` must be below the batch's number of rows.
    pub fn encode(&self, row: usize, into: &mut Vec<u8>) {
        for (column, encode) in &self.columns {
            if column.is_null(row) {
                into.push(0);
            } else {
                encode(column.as_ref(), row, into);
            }
        }
    }
}

/// Hashes rows of one batch.
#[derive(Debug)]
pub struct RowHasher {
    encoder: RowEncoder,
    buffer: Vec<u8>,
}

impl RowHasher {
    /// Hashes what `encoder` encodes.
    pub fn new(encoder: RowEncoder) -> Self {
        Self {
            encoder,
            buffer: Vec::new(),
        }
    }

    /// The hash of one row. `row` must be below the batch's number of rows.
    pub fn hash(&mut self, row: usize) -> RowHash {
        self.buffer.clear();
        self.encoder.encode(row, &mut self.buffer);
        RowHash(XxHash3_128::oneshot(&self.buffer))
    }
}

fn encoder(data_type: &DataType) -> Result<Encode> {
    let encode: Encode = match data_type {
        DataType::Boolean => |a, i, out| out.extend([1, u8::from(a.as_boolean().value(i))]),
        DataType::Int32 => |a, i, out| {
            tagged(
                2,
                i64::from(a.as_primitive::<Int32Type>().value(i)).to_be_bytes(),
                out,
            )
        },
        DataType::Int64 => |a, i, out| tagged(2, a.as_primitive::<Int64Type>().value(i).to_be_bytes(), out),
        DataType::Float32 => |a, i, out| {
            let value = a.as_primitive::<Float32Type>().value(i);
            tagged(
                3,
                (if value.is_nan() { f32::NAN } else { value })
                    .to_bits()
                    .to_be_bytes(),
                out,
            );
        },
        DataType::Float64 => |a, i, out| {
            let value = a.as_primitive::<Float64Type>().value(i);
            tagged(
                4,
                (if value.is_nan() { f64::NAN } else { value })
                    .to_bits()
                    .to_be_bytes(),
                out,
            );
        },
        DataType::Decimal128(..) => |a, i, out| {
            let decimals = a.as_primitive::<Decimal128Type>();
            out.extend([5, decimals.scale().to_be_bytes()[0]]);
            out.extend(decimals.value(i).to_be_bytes());
        },
        DataType::Date32 => |a, i, out| tagged(6, a.as_primitive::<Date32Type>().value(i).to_be_bytes(), out),
        DataType::Time64(TimeUnit::Microsecond) => |a, i, out| {
            tagged(
                7,
                a.as_primitive::<Time64MicrosecondType>().value(i).to_be_bytes(),
                out,
            )
        },
        DataType::Timestamp(TimeUnit::Microsecond, None) => |a, i, out| {
            tagged(
                8,
                a.as_primitive::<TimestampMicrosecondType>()
                    .value(i)
                    .to_be_bytes(),
                out,
            )
        },
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => |a, i, out| {
            tagged(
                9,
                a.as_primitive::<TimestampMicrosecondType>()
                    .value(i)
                    .to_be_bytes(),
                out,
            )
        },
        DataType::Utf8 => |a, i, out| bytes(10, a.as_string::<i32>().value(i).as_bytes(), out),
        DataType::LargeUtf8 => |a, i, out| bytes(10, a.as_string::<i64>().value(i).as_bytes(), out),
        DataType::Binary => |a, i, out| bytes(11, a.as_binary::<i32>().value(i), out),
        DataType::LargeBinary => |a, i, out| bytes(11, a.as_binary::<i64>().value(i), out),
        DataType::FixedSizeBinary(_) => |a, i, out| bytes(11, a.as_fixed_size_binary().value(i), out),
        other => {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("the type {other} has no canonical encoding"),
            ));
        }
    };
    Ok(encode)
}

fn tagged<const N: usize>(tag: u8, value: [u8; N], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend(value);
}

fn bytes(tag: u8, value: &[u8], out: &mut Vec<u8>) {
    tagged(tag, (value.len() as u64).to_be_bytes(), out);
    out.extend(value);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        BinaryArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array,
        LargeBinaryArray, LargeStringArray, StringArray,
    };

    use super::*;

    fn hash(columns: Vec<ArrayRef>, row: usize) -> RowHash {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .enumerate()
                .map(|(i, c)| (i.to_string(), c, true)),
        );
        RowHasher::new(RowEncoder::whole(&batch.unwrap()).unwrap()).hash(row)
    }

    #[test]
    fn equal_values_of_different_physical_types_hash_alike() {
        let same: [(ArrayRef, ArrayRef); 4] = [
            (
                Arc::new(StringArray::from(vec!["ä"])),
                Arc::new(LargeStringArray::from(vec!["ä"])),
            ),
            (
                Arc::new(BinaryArray::from(vec![&b"x"[..]])),
                Arc::new(LargeBinaryArray::from(vec![&b"x"[..]])),
            ),
            (
                Arc::new(BinaryArray::from(vec![&[7; 16][..]])),
                Arc::new(FixedSizeBinaryArray::try_from_iter([[7; 16]].into_iter()).unwrap()),
            ),
            (
                Arc::new(Int32Array::from(vec![-5])),
                Arc::new(Int64Array::from(vec![-5])),
            ),
        ];
        for (a, b) in same {
            assert_eq!(hash(vec![a.clone()], 0), hash(vec![b], 0), "{}", a.data_type());
        }
    }

    #[test]
    fn what_a_collation_would_ignore_counts() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![
            Some("abc"),
            Some("ABC"),
            Some("abc "),
            Some("abc\0"),
            Some(""),
            None,
            Some("äbc"),
        ]));
        let hashes: std::collections::HashSet<_> = (0..7).map(|row| hash(vec![texts.clone()], row)).collect();
        assert_eq!(hashes.len(), 7);
        let empty: ArrayRef = Arc::new(BinaryArray::from(vec![&b""[..], &b"\0"[..]]));
        assert_ne!(hash(vec![empty.clone()], 0), hash(vec![empty], 1));
    }

    #[test]
    fn values_do_not_run_into_each_other() {
        let row = |a: &str, b: &str| {
            hash(
                vec![
                    Arc::new(StringArray::from(vec![a])),
                    Arc::new(StringArray::from(vec![b])),
                ],
                0,
            )
        };
        assert_ne!(row("ab", "c"), row("a", "bc"));
        let decimal = |scale| -> ArrayRef {
            Arc::new(
                Decimal128Array::from(vec![100])
                    .with_precision_and_scale(10, scale)
                    .unwrap(),
            )
        };
        assert_ne!(hash(vec![decimal(1)], 0), hash(vec![decimal(2)], 0));
    }

    #[test]
    fn floats_count_by_their_bits_with_one_nan() {
        let quiet = f64::from_bits(0x7ff8_0000_0000_0001);
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, quiet]));
        assert_ne!(hash(vec![floats.clone()], 0), hash(vec![floats.clone()], 1));
        assert_eq!(hash(vec![floats.clone()], 2), hash(vec![floats], 3));
    }

    /// A change of the encoding would make every stored hash void: this vector pins it.
    #[test]
    fn the_encoding_is_pinned() {
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("a", Arc::new(Int32Array::from(vec![1])) as ArrayRef, true),
            (
                "b",
                Arc::new(StringArray::from(vec![None::<&str>])) as ArrayRef,
                true,
            ),
            ("c", Arc::new(StringArray::from(vec!["hi"])) as ArrayRef, true),
        ]);
        let mut out = Vec::new();
        RowEncoder::whole(&batch.unwrap()).unwrap().encode(0, &mut out);
        assert_eq!(
            out,
            [
                2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 10, 0, 0, 0, 0, 0, 0, 0, 2, b'h', b'i'
            ]
        );
    }
}
