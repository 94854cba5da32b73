//! A row as it is kept: a form for each value, then the values one after the other. A value that fits its column is kept as it travels
//! to a client who selects the column, so that a whole row goes to the client by being copied. Values become [`Value`]s when an
//! expression looks at them.
#![warn(clippy::indexing_slicing)]

mod form;

use std::sync::Arc;

pub(crate) use form::Form;
use form::{SHORT_NULL, kind};

use super::table::Row;
use crate::tds::{Encoder, Layout, decode_variant, encode_variant, scalar};
use crate::types::SqlType;
use crate::value::Value;

/// How many of the values are NULL, and how many there are, in two bytes each.
type Header = [[u8; 2]; 2];

/// A row in few bytes, shared by everyone who reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed(Arc<[u8]>);

/// A value where it lies: texts and bytes stay in place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stored<'a> {
    /// A `Str` of ASCII characters, a byte each.
    Ascii(&'a [u8]),
    /// A `Str` in UTF-16LE.
    Wide(&'a [u8]),
    Bytes(&'a [u8]),
    /// Any other, which owns no memory, but for XML.
    Other(Value),
}

/// How a row begins in which each value fits its column: with their number and their forms.
#[derive(Clone, Debug, Default)]
pub(crate) struct WholeRow(Vec<u8>);

impl WholeRow {
    /// None if values of one of the columns are not kept as they travel.
    pub(crate) fn of(forms: impl IntoIterator<Item = Option<Form>>) -> Option<Self> {
        let forms: Option<Vec<[u8; 2]>> = forms.into_iter().map(|form| form.map(|form| form.0)).collect();
        let mut forms = forms?;
        forms.insert(0, (forms.len() as u16).to_le_bytes());
        Some(Self(forms.into_flattened()))
    }
}

/// A row that is put together, value by value.
#[derive(Debug, Default)]
pub(crate) struct RowBuilder {
    nulls: u16,
    forms: Vec<[u8; 2]>,
    values: Vec<u8>,
    /// The whole of the last row.
    row: Vec<u8>,
}

impl RowBuilder {
    /// Appends a value in its column's form if it fits that, else in one of its own.
    pub(crate) fn push(&mut self, value: &Value, column: Option<Form>) {
        self.nulls += u16::from(value.is_null());
        self.forms.push(pack(value, column, &mut self.values).0);
    }

    /// Appends a value from where it lies; text in UTF-16 into a national column, for example, is copied.
    pub(crate) fn push_stored(&mut self, value: Stored<'_>, column: Option<Form>) {
        let kind = column.map_or(kind::NULL, Form::kind);
        let (bytes, form) = match (&value, column) {
            (Stored::Ascii(text), Some(form)) if kind == kind::NARROW && fits(text.len()) => (*text, form),
            (Stored::Wide(units), Some(form)) if kind == kind::NATIONAL && fits(units.len()) => {
                (*units, form)
            }
            (Stored::Bytes(bytes), Some(form)) if kind == kind::BINARY && fits(bytes.len()) => (*bytes, form),
            _ => return self.push(&value.into_value(), column),
        };
        self.values.extend((bytes.len() as u16).to_le_bytes());
        self.values.extend_from_slice(bytes);
        self.forms.push(form.0);
    }

    /// Appends the next of some values in the form that it has.
    fn copy(&mut self, values: &mut Values<'_>) {
        if let Some((form, bytes)) = values.raw() {
            let is_counted = !form.is_scalar() && !form.has_short_length();
            let is_null = if is_counted {
                form.kind() == kind::NULL
            } else {
                form.is_null(bytes)
            };
            self.nulls += u16::from(is_null);
            self.forms.push(form.0);
            self.values.extend_from_slice(bytes);
        }
    }

    /// The row; the next one begins.
    pub(crate) fn finish(&mut self) -> Packed {
        self.row.clear();
        self.row.extend(self.nulls.to_le_bytes());
        self.row.extend((self.forms.len() as u16).to_le_bytes());
        self.row.extend_from_slice(self.forms.as_flattened());
        self.row.extend_from_slice(&self.values);
        self.nulls = 0;
        self.forms.clear();
        self.values.clear();
        Packed(self.row.as_slice().into())
    }
}

thread_local! {
    static BUILDER: std::cell::RefCell<RowBuilder> = std::cell::RefCell::default();
}

impl Packed {
    /// `forms` are those of the table's columns.
    pub(crate) fn of(row: &[Value], forms: &[Option<Form>]) -> Self {
        BUILDER.with_borrow_mut(|builder| {
            for (at, value) in row.iter().enumerate() {
                builder.push(value, forms.get(at).copied().flatten());
            }
            builder.finish()
        })
    }

    /// The row with other values in some of its columns. `forms` are those of the table's columns.
    pub(crate) fn with(&self, others: &[(usize, Value)], forms: &[Option<Form>]) -> Self {
        BUILDER.with_borrow_mut(|builder| {
            let mut values = self.values();
            for at in 0..values.forms.len() {
                match others.iter().find(|(column, _)| *column == at) {
                    Some((_, value)) => {
                        values.pass();
                        builder.push(value, forms.get(at).copied().flatten());
                    }
                    None => builder.copy(&mut values),
                }
            }
            builder.finish()
        })
    }

    /// The values.
    pub(crate) fn row(&self) -> Row {
        let mut values = self.values();
        let places = 0..values.forms.len();
        places.map(|_| values.next_value()).collect()
    }

    /// The values of these columns, up to the last of them, and NULL for those between: what nobody looks at costs nothing.
    pub(crate) fn columns(&self, columns: &[usize]) -> Row {
        let mut values = self.values();
        let width = columns.iter().max().map_or(0, |last| last + 1);
        let pick = |at: usize| {
            if columns.contains(&at) {
                return values.next_value();
            }
            values.pass();
            Value::Null
        };
        (0..width).map(pick).collect()
    }

    /// The values of these columns, which ascend, side by side; NULL for none.
    pub(crate) fn picked(&self, columns: &[Option<usize>]) -> Row {
        let (mut values, mut passed) = (self.values(), 0);
        let mut pick = |column: usize| {
            while passed < column {
                values.pass();
                passed += 1;
            }
            passed += 1;
            values.next_value()
        };
        columns
            .iter()
            .map(|column| column.map_or(Value::Null, &mut pick))
            .collect()
    }

    /// The values of these columns, which ascend, and between them others, each at its place in what is given.
    pub(crate) fn merged(&self, columns: &[usize], others: &[(usize, Value)]) -> Vec<Value> {
        let columns: Vec<_> = columns.iter().copied().map(Some).collect();
        let mut merged = self.picked(&columns).to_vec();
        for (place, value) in others {
            merged.insert(*place, value.clone());
        }
        merged
    }

    /// The value of a column.
    pub(crate) fn value(&self, column: usize) -> Value {
        self.stored(column).into_value()
    }

    /// The value of a column where it lies; NULL behind the last.
    pub(crate) fn stored(&self, column: usize) -> Stored<'_> {
        let mut values = self.values();
        (0..column).for_each(|_| {
            values.pass();
        });
        values.next().unwrap_or(Stored::NULL)
    }

    /// The values where they lie.
    pub(crate) fn values(&self) -> Values<'_> {
        let ([_, count], rest) = self.header();
        let (forms, values) = rest
            .split_at_checked(usize::from(u16::from_le_bytes(count)) * 2)
            .unwrap_or_default();
        let (forms, _) = forms.as_chunks();
        Values { forms, values }
    }

    /// All values as they travel, and how many of them are NULL, if the row begins as `whole` does.
    pub(crate) fn wire(&self, whole: &WholeRow) -> Option<(usize, &[u8])> {
        let (nulls, rest) = self.0.split_first_chunk()?;
        let values = rest.strip_prefix(whole.0.as_slice())?;
        Some((usize::from(u16::from_le_bytes(*nulls)), values))
    }

    fn header(&self) -> (Header, &[u8]) {
        let (pairs, _) = self.0.as_chunks();
        match pairs {
            [nulls, count, ..] => ([*nulls, *count], self.0.get(4..).unwrap_or_default()),
            _ => (Header::default(), &[]),
        }
    }

    /// The bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        self.0.len()
    }
}

impl Stored<'_> {
    pub(crate) const NULL: Self = Self::Other(Value::Null);

    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Ascii(bytes) => Value::Str(bytes.iter().map(|byte| u16::from(*byte)).collect()),
            Self::Wide(bytes) => Value::Str(units(bytes)),
            Self::Bytes(bytes) => Value::Bytes(bytes.into()),
            Self::Other(value) => value,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Other(Value::Null))
    }
}

fn units(bytes: &[u8]) -> Arc<[u16]> {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
}

/// Appends a value in its column's form if it fits that, else in one of its own; tells which.
fn pack(value: &Value, column: Option<Form>, out: &mut Vec<u8>) -> Form {
    if let Some(column) = column
        && pack_as(column, value, out)
    {
        return column;
    }
    match value {
        Value::Null => Form::own(kind::NULL),
        Value::RowVersion(n) => {
            out.extend(n.to_le_bytes());
            Form::own(kind::ROW_VERSION)
        }
        Value::Str(units) if is_ascii(units) => {
            length(units.len(), out);
            out.extend(units.iter().map(|unit| *unit as u8));
            Form::own(kind::ASCII)
        }
        Value::Str(units) => {
            length(units.len() * 2, out);
            wide(units, out);
            Form::own(kind::WIDE)
        }
        Value::Xml(units) => {
            length(units.len() * 2, out);
            wide(units, out);
            Form::own(kind::XML)
        }
        Value::Variant(_) => {
            let mut variant = Vec::new();
            let written = encode_variant(&mut variant, value);
            debug_assert_eq!(written, Ok(()), "every variant has a form");
            length(variant.len(), out);
            out.extend(variant);
            Form::own(kind::VARIANT)
        }
        Value::Bytes(bytes) => {
            length(bytes.len(), out);
            out.extend_from_slice(bytes);
            Form::own(kind::BYTES)
        }
        scalar => {
            let own = own_type(scalar).and_then(|ty| Form::of(ty, Layout::ByteLength));
            let packed = own.filter(|own| pack_as(*own, scalar, out));
            debug_assert!(packed.is_some(), "every value has a form in its own type");
            packed.unwrap_or(Form::own(kind::NULL))
        }
    }
}

/// Appends a value in a form; false, with nothing appended, if it does not fit.
fn pack_as(form: Form, value: &Value, out: &mut Vec<u8>) -> bool {
    match value {
        Value::Null if form.has_short_length() => out.extend(SHORT_NULL.to_le_bytes()),
        Value::Null if form.fixed_length().is_none() => out.push(0),
        Value::Str(units) if form.kind() == kind::NATIONAL && fits(units.len() * 2) => {
            out.extend((units.len() as u16 * 2).to_le_bytes());
            wide(units, out);
        }
        Value::Str(units) if form.kind() == kind::NARROW && fits(units.len()) && is_ascii(units) => {
            out.extend((units.len() as u16).to_le_bytes());
            out.extend(units.iter().map(|unit| *unit as u8));
        }
        Value::Bytes(bytes) if form.kind() == kind::BINARY && fits(bytes.len()) => {
            out.extend((bytes.len() as u16).to_le_bytes());
            out.extend_from_slice(bytes);
        }
        Value::Null | Value::Str(_) | Value::Bytes(_) => return false,
        scalar => {
            let layout = form.scalar_layout();
            let Some(ty) = own_type(scalar).filter(|ty| Form::of(*ty, layout) == Some(form)) else {
                return false;
            };
            let start = out.len();
            if Encoder::new(ty, None, layout).encode(out, scalar).is_err() {
                out.truncate(start);
                return false;
            }
        }
    }
    true
}

/// The type of a value by itself. A decimal may have more digits than it declares.
fn own_type(value: &Value) -> Option<SqlType> {
    match value {
        Value::Decimal(decimal) => {
            let digits = decimal.unscaled.unsigned_abs().checked_ilog10().unwrap_or(0) as u8 + 1;
            let (precision, scale) = (decimal.precision.max(digits), decimal.scale);
            Some(SqlType::Decimal { precision, scale })
        }
        other => other.own_type(),
    }
}

/// Whether two bytes hold the length and do not say NULL.
fn fits(length: usize) -> bool {
    length < usize::from(SHORT_NULL)
}

fn is_ascii(units: &[u16]) -> bool {
    units.iter().fold(0, |all, unit| all | unit) < 0x80
}

fn wide(units: &[u16], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + units.len() * 2, 0);
    let (pairs, _) = out.get_mut(start..).unwrap_or_default().as_chunks_mut();
    for (pair, unit) in pairs.iter_mut().zip(units) {
        *pair = unit.to_le_bytes();
    }
}

/// Seven bits a byte, the lowest first.
fn length(mut length: usize, out: &mut Vec<u8>) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// The values of a row, in order.
pub(crate) struct Values<'a> {
    forms: &'a [[u8; 2]],
    values: &'a [u8],
}

impl<'a> Values<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.values.split_at_checked(length)?;
        self.values = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.values.split_first_chunk()?;
        self.values = rest;
        Some(*array)
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let (mut length, mut shift) = (0_usize, 0_u32);
        loop {
            let [byte] = self.array()?;
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte < 0x80 {
                return self.take(length);
            }
        }
    }

    /// The next value; NULL behind the last.
    fn next_value(&mut self) -> Value {
        self.next().map_or(Value::Null, Stored::into_value)
    }

    /// Leaves the next value out; none behind the last.
    pub(crate) fn pass(&mut self) -> Option<()> {
        let (first, rest) = self.forms.split_first()?;
        self.forms = rest;
        let form = Form(*first);
        match form.kind() {
            kind::NULL => {}
            kind::ASCII | kind::WIDE | kind::BYTES | kind::XML | kind::VARIANT => {
                self.counted()?;
            }
            kind::ROW_VERSION => {
                self.take(size_of::<u64>())?;
            }
            _ => {
                self.take(form.wire_length(self.values)?)?;
            }
        }
        Some(())
    }

    /// The next value's form, and its bytes with their length.
    fn raw(&mut self) -> Option<(Form, &'a [u8])> {
        let (form, before) = (Form(*self.forms.first()?), self.values);
        self.pass()?;
        let bytes = before.get(..before.len() - self.values.len())?;
        Some((form, bytes))
    }

    /// The next value as it travels, if it has this form.
    pub(crate) fn wire(&mut self, form: Form) -> Option<&'a [u8]> {
        let (first, rest) = self.forms.split_first()?;
        if *first != form.0 {
            return None;
        }
        let wire = self.take(form.wire_length(self.values)?)?;
        self.forms = rest;
        Some(wire)
    }

    /// A text or bytes; none if NULL.
    fn short(&mut self) -> Option<Option<&'a [u8]>> {
        match u16::from_le_bytes(self.array()?) {
            SHORT_NULL => Some(None),
            length => self.take(length.into()).map(Some),
        }
    }

    fn scalar(&mut self, form: Form) -> Option<Value> {
        let length = match form.fixed_length() {
            Some(length) => length,
            None => self.array().map(|[length]: [u8; 1]| length)?,
        };
        if length == 0 {
            return Some(Value::Null);
        }
        scalar(form.scalar_type()?, self.take(length.into())?).ok()
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Stored<'a>;

    fn next(&mut self) -> Option<Stored<'a>> {
        let (first, rest) = self.forms.split_first()?;
        self.forms = rest;
        let form = Form(*first);
        let text = match form.kind() {
            kind::ASCII => return Some(Stored::Ascii(self.counted()?)),
            kind::WIDE => return Some(Stored::Wide(self.counted()?)),
            kind::BYTES => return Some(Stored::Bytes(self.counted()?)),
            kind::NARROW => self.short()?.map(Stored::Ascii),
            kind::NATIONAL => self.short()?.map(Stored::Wide),
            kind::BINARY => self.short()?.map(Stored::Bytes),
            kind::NULL => None,
            kind::ROW_VERSION => Some(Stored::Other(Value::RowVersion(u64::from_le_bytes(
                self.array()?,
            )))),
            kind::XML => Some(Stored::Other(Value::Xml(units(self.counted()?)))),
            kind::VARIANT => Some(Stored::Other(decode_variant(self.counted()?).ok()?)),
            _ => Some(Stored::Other(self.scalar(form)?)),
        };
        Some(text.unwrap_or(Stored::NULL))
    }
}

#[cfg(test)]
mod tests;
