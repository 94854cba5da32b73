//! When two keys are the same: as the source says, not by their bytes.
//!
//! SQL Server compares character keys by collation and ignores trailing blanks, so a row that was read as `abc` may come
//! back as `ABC `. Keys with such columns are compared by a folded form: trailing blanks trimmed, and whatever the flags
//! in the collation's name ignore (case without `_CS`, accents with `_AI`, width without `_WS`, kana without
//! `_KS`) folded. A column without a collation (every foreign table) is compared by its bytes, and a binary collation folds
//! blanks only.
//!
//! Binary keys are compared without their trailing zeros: `0x01` and `0x0100` are one key to SQL Server.
//!
//! Accents are folded over Latin letters and in `Latin1_General` collations alone: to most other languages a letter with a mark may be
//! a letter of its own that even `_AI` tells apart, as Spanish does `ñ` and `n`.
//!
//! Nor does the fold know expansions (`ß` = `ss`, `æ` = `ae`), letters with a stroke (`ø`, `ł`), or characters without a weight in
//! old collations: folding them for a collation that tells them apart would delete another row, while missing them leaves a
//! second row that `verify` finds.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, LargeBinaryArray, LargeStringArray, RecordBatch, StringArray, cast::AsArray,
};
use arrow_schema::DataType;
use model::{DeclaredType, Error, Result, RowEncoder, RowHash, RowHasher, TableSchema};
use unicode_normalization::UnicodeNormalization;

/// A key by what the source compares and by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash {
    /// Equal for keys that the source takes for the same.
    pub folded: RowHash,
    /// Equal for keys that are the same byte for byte.
    pub exact: RowHash,
}

/// How the key columns of one table are compared.
#[derive(Debug, Clone)]
pub struct KeyFold {
    columns: Vec<Option<ColumnFold>>,
}

impl KeyFold {
    /// The folds of the key columns of `schema`, in key order.
    pub fn of(schema: &TableSchema) -> Self {
        let columns = schema.key().iter().map(|&index| {
            let declared = schema.declared().get(index)?.as_ref()?;
            ColumnFold::of(schema.arrow().field(index).data_type(), declared)
        });
        Self {
            columns: columns.collect(),
        }
    }

    /// The hashes of each key. `keys` holds the key columns in key order.
    ///
    /// # Errors
    ///
    /// `Internal` if the columns are not those of the key.
    pub fn hashes(&self, keys: &RecordBatch) -> Result<Vec<KeyHash>> {
        if keys.num_columns() != self.columns.len() {
            return Err(Error::internal("a batch of keys does not have the key's columns"));
        }
        let exact = hashes(keys)?;
        let folded = if self.columns.iter().all(Option::is_none) {
            exact.clone()
        } else {
            hashes(&self.fold(keys)?)?
        };
        Ok(folded
            .into_iter()
            .zip(exact)
            .map(|(folded, exact)| KeyHash { folded, exact })
            .collect())
    }

    /// How the column with this index in the key is folded; `None` if it is compared by its bytes.
    pub(crate) fn column(&self, index: usize) -> Option<ColumnFold> {
        self.columns.get(index).copied().flatten()
    }

    fn fold(&self, keys: &RecordBatch) -> Result<RecordBatch> {
        let columns = keys.columns().iter().zip(&self.columns);
        let columns: Vec<ArrayRef> = columns
            .map(|(column, fold)| fold.map_or_else(|| column.clone(), |fold| fold.fold(column)))
            .collect();
        RecordBatch::try_new(keys.schema(), columns)
            .map_err(|error| Error::internal("folded keys do not fit their schema").caused_by(error))
    }
}

fn hashes(keys: &RecordBatch) -> Result<Vec<RowHash>> {
    let mut hasher = RowHasher::new(RowEncoder::whole(keys)?);
    Ok((0..keys.num_rows()).map(|row| hasher.hash(row)).collect())
}

/// What is ignored of a key column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnFold {
    Text(TextFold),
    /// Trailing zeros.
    Binary,
}

impl ColumnFold {
    fn of(data_type: &DataType, declared: &DeclaredType) -> Option<Self> {
        match data_type {
            DataType::Utf8 | DataType::LargeUtf8 => {
                let collation = declared.collation.as_deref()?;
                Some(Self::Text(TextFold::of_collation(collation)))
            }
            DataType::Binary | DataType::LargeBinary => {
                let name = declared.declared.split('(').next()?.trim();
                let is_padded = ["binary", "varbinary"]
                    .iter()
                    .any(|t| name.eq_ignore_ascii_case(t));
                is_padded.then_some(Self::Binary)
            }
            _ => None,
        }
    }

    /// The byte that is ignored at the end of a value, if nothing else is, so that the order of bytes says something.
    pub(crate) fn padding(self) -> Option<u8> {
        match self {
            Self::Text(text) => text.binary.then_some(b' '),
            Self::Binary => Some(0),
        }
    }

    fn fold(self, column: &ArrayRef) -> ArrayRef {
        let without_zeros = |value| without_padding(value, 0);
        match (self, column.data_type()) {
            (Self::Text(text), DataType::Utf8) => {
                let values = column.as_string::<i32>().iter();
                Arc::new(StringArray::from_iter(
                    values.map(|value| Some(text.fold(value?))),
                ))
            }
            (Self::Text(text), DataType::LargeUtf8) => {
                let values = column.as_string::<i64>().iter();
                Arc::new(LargeStringArray::from_iter(
                    values.map(|value| Some(text.fold(value?))),
                ))
            }
            (Self::Binary, DataType::Binary) => {
                let values = column.as_binary::<i32>().iter();
                Arc::new(BinaryArray::from_iter(
                    values.map(|value| value.map(without_zeros)),
                ))
            }
            (Self::Binary, DataType::LargeBinary) => {
                let values = column.as_binary::<i64>().iter();
                Arc::new(LargeBinaryArray::from_iter(
                    values.map(|value| value.map(without_zeros)),
                ))
            }
            _ => column.clone(),
        }
    }
}

/// A value without the padding at its end.
pub(crate) fn without_padding(value: &[u8], padding: u8) -> &[u8] {
    let last = value.iter().rposition(|byte| *byte != padding);
    &value[..last.map_or(0, |last| last + 1)]
}

/// What a collation ignores, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TextFold {
    binary: bool,
    case: bool,
    accent: bool,
    width: bool,
    kana: bool,
    dotless_i: bool,
}

impl TextFold {
    fn of_collation(name: &str) -> Self {
        let name = name.to_ascii_uppercase();
        let has = |flag: &str| name.split('_').any(|part| part == flag);
        Self {
            binary: has("BIN") || has("BIN2"),
            case: !has("CS"),
            accent: has("AI") && has_no_marked_letters(&name),
            width: !has("WS"),
            kana: !has("KS"),
            dotless_i: name.starts_with("TURKISH") || name.starts_with("AZERI"),
        }
    }

    fn fold(self, text: &str) -> String {
        let text = text.trim_end_matches(' ');
        if self.binary {
            return text.to_owned();
        }
        if text.is_ascii() && !self.dotless_i {
            return if self.case {
                text.to_ascii_lowercase()
            } else {
                text.to_owned()
            };
        }
        let narrow = text
            .chars()
            .flat_map(|c| self.fold_width(c))
            .map(|c| self.fold_turkish(c));
        let mut after_latin = false;
        let folded = narrow
            .nfd()
            .filter(|c| {
                let is_accent = matches!(c, '\u{300}'..='\u{36F}');
                after_latin = c.is_ascii_alphabetic() || (after_latin && is_accent);
                !(self.accent && is_accent && after_latin)
            })
            .map(|c| self.fold_kana(c))
            .map(|c| self.fold_case(c));
        // Width may have made a blank of an ideographic one.
        let folded: String = folded.collect();
        folded.trim_end_matches(' ').to_owned()
    }

    /// Full-width Latin and half-width kana get their usual forms.
    fn fold_width(self, c: char) -> impl Iterator<Item = char> + use<> {
        let is_variant = matches!(c, '\u{3000}' | '\u{FF01}'..='\u{FFEE}');
        let folds = self.width && is_variant;
        let compatible = folds.then(|| std::iter::once(c).nfkd()).into_iter().flatten();
        compatible.chain((!folds).then_some(c))
    }

    fn fold_kana(self, c: char) -> char {
        match c {
            '\u{3041}'..='\u{3096}' if self.kana => char::from_u32(c as u32 + 0x60).unwrap_or(c),
            _ => c,
        }
    }

    /// Simple case folding: one character for one.
    fn fold_case(self, c: char) -> char {
        if !self.case {
            return c;
        }
        let mut lower = c.to_lowercase();
        match (lower.next(), lower.next()) {
            (Some(one), None) => one,
            _ => c,
        }
    }

    /// Turkish pairs `I` with `ı` and `İ` with `i`; taken apart, `İ` would be an `I`.
    fn fold_turkish(self, c: char) -> char {
        match c {
            'I' if self.dotless_i && self.case => 'ı',
            'İ' if self.dotless_i && self.case => 'i',
            _ => c,
        }
    }
}

/// Whether the language of a collation surely has no letters that are another letter with a mark.
fn has_no_marked_letters(collation: &str) -> bool {
    let name = collation.strip_prefix("SQL_").unwrap_or(collation);
    name.starts_with("LATIN1_GENERAL_")
}

#[cfg(test)]
mod tests {
    use arrow_array::Int32Array;
    use arrow_schema::{Field, Schema};
    use model::DeclaredType;

    use super::*;

    #[test]
    fn a_fold_ignores_what_the_collation_ignores() {
        for (collation, a, b, same) in [
            ("SQL_Latin1_General_CP1_CI_AS", "abc", "ABC  ", true),
            ("SQL_Latin1_General_CP1_CI_AS", "cafe", "café", false),
            ("SQL_Latin1_General_CP1_CI_AS", "É", "e\u{301}", true),
            ("Latin1_General_CS_AS", "abc", "ABC", false),
            ("Latin1_General_CS_AS", "abc", "abc ", true),
            ("Latin1_General_CI_AI", "CAFE", "café", true),
            ("Latin1_General_100_CI_AI_SC_UTF8", "ệ", "E", true),
            ("SQL_Latin1_General_CP1_CI_AI", "peña", "PENA", true),
            ("Modern_Spanish_CI_AI", "peña", "pena", false),
            ("Modern_Spanish_CI_AI", "PEÑA", "pen\u{303}a", true),
            ("Finnish_Swedish_CI_AI", "tal", "tål", false),
            ("Cyrillic_General_CI_AI", "май", "маи", false),
            ("Latin1_General_CI_AI", "май", "маи", false),
            ("Latin1_General_CI_AI", "が", "か", false),
            ("Latin1_General_CI_AI", "कि", "क", false),
            ("Latin1_General_100_BIN2", "a", "a ", true),
            ("Latin1_General_100_BIN2", "a", "A", false),
            ("Latin1_General_CI_AS", "straße", "strasse", false),
            ("Latin1_General_CI_AS", "STRAẞE", "straße", true),
            ("Japanese_CI_AS", "カ", "か", true),
            ("Japanese_CI_AS_KS", "カ", "か", false),
            ("Japanese_CI_AS", "ｶﾞ", "ガ", true),
            ("Japanese_CI_AS_KS_WS", "Ａ", "A", false),
            ("Japanese_CI_AS", "Ａ", "a", true),
            ("Japanese_CI_AS", "a\u{3000}", "a", true),
            ("Turkish_CI_AS", "I", "i", false),
            ("Turkish_CI_AS", "I", "ı", true),
            ("Turkish_CI_AS", "İ", "i", true),
            ("Latin1_General_CI_AS", " a", "a", false),
        ] {
            let fold = TextFold::of_collation(collation);
            assert_eq!(fold.fold(a) == fold.fold(b), same, "{collation}: {a:?} {b:?}");
        }
    }

    #[test]
    fn only_columns_with_a_collation_fold() {
        let text = |name| Field::new(name, DataType::Utf8, false);
        let fields = vec![text("a"), text("b"), Field::new("c", DataType::Int32, false)];
        let collated = Some(DeclaredType {
            declared: "nvarchar(10)".into(),
            collation: Some("Latin1_General_CI_AS".into()),
        });
        let schema = Arc::new(Schema::new(fields));
        let table = TableSchema::new(schema.clone(), vec![0, 1, 2], vec![collated, None, None]).unwrap();
        let keys = RecordBatch::try_new(
            schema,
            vec![
                Arc::new(StringArray::from(vec!["x", "X", "x"])),
                Arc::new(StringArray::from(vec!["y", "y", "Y"])),
                Arc::new(Int32Array::from(vec![1, 1, 1])),
            ],
        );
        let hashes = KeyFold::of(&table).hashes(&keys.unwrap()).unwrap();
        assert_eq!(hashes[0].folded, hashes[1].folded);
        assert_ne!(hashes[0].exact, hashes[1].exact);
        assert_ne!(hashes[0].folded, hashes[2].folded);
    }

    #[test]
    fn binary_keys_of_the_source_are_compared_without_trailing_zeros() {
        for (declared, a, b, same) in [
            (Some("varbinary(4)"), &[1][..], &[1, 0, 0][..], true),
            (Some("binary(2)"), &[], &[0, 0], true),
            (Some("varbinary(4)"), &[1], &[0, 1], false),
            (Some("varbinary(4)"), &[1, 0, 2], &[1, 2], false),
            (None, &[1], &[1, 0], false),
        ] {
            let fields = vec![Field::new("key", DataType::Binary, false)];
            let declared = declared.map(|declared| DeclaredType {
                declared: declared.into(),
                collation: None,
            });
            let schema = Arc::new(Schema::new(fields));
            let table = TableSchema::new(schema.clone(), vec![0], vec![declared.clone()]).unwrap();
            let keys = Arc::new(BinaryArray::from_vec(vec![a, b]));
            let keys = RecordBatch::try_new(schema, vec![keys]).unwrap();
            let hashes = KeyFold::of(&table).hashes(&keys).unwrap();
            let is_same = hashes[0].folded == hashes[1].folded;
            assert_eq!(is_same, same, "{declared:?}: {a:?} {b:?}");
        }
    }
}
