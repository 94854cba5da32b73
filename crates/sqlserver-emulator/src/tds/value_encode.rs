//! A value as a row carries it, written straight into the packet buffer.

use crate::collation::{CodePage, Collation};
use crate::eval::vector_text;
use crate::store::{Form, Stored, Values};
use crate::tds::type_info::{Layout, decimal_length, time_length};
use crate::tds::variant;
use crate::types::SqlType;
use crate::value::{Decimal, Value};

/// The length that says NULL in a two-byte length.
const SHORT_NULL: u16 = 0xFFFF;
/// The length that says NULL in a chunked value.
const CHUNKED_NULL: u64 = u64::MAX;
/// The text pointer and timestamp in front of a `text`, `ntext` or `image` value.
const TEXT_POINTER: [u8; 25] = [
    16, 0x64, 0x75, 0x6D, 0x6D, 0x79, 0x20, 0x74, 0x65, 0x78, 0x74, 0x70, 0x74, 0x72, 0, 0, 0, 0x64, 0x75,
    0x6D, 0x6D, 0x79, 0x54, 0x53, 0,
];
/// 100 ns in the last digit of each scale.
const TICKS_PER_UNIT: [u64; 8] = [10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

/// Why a value could not be written: the engine gave one of another type than it announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mismatch;

/// How one column's values are written, decided once per result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoder {
    ty: SqlType,
    layout: Layout,
    code_page: CodePage,
    /// The values are vectors, which are told as text.
    vectors: bool,
    /// The form of values that are kept as they travel.
    form: Option<Form>,
}

impl Encoder {
    pub(crate) fn new(ty: SqlType, collation: Option<&'static Collation>, layout: Layout) -> Self {
        let collation = collation.unwrap_or_else(Collation::server_default);
        Self {
            ty,
            layout,
            code_page: collation.code_page,
            vectors: false,
            form: Form::of(ty, layout),
        }
    }

    /// For vectors that are told as text.
    pub(crate) fn of_vectors(self) -> Self {
        Self {
            vectors: true,
            ..self
        }
    }

    /// Appends `value` to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, value: &Value) -> Result<(), Mismatch> {
        if value.is_null() {
            return self.null(out);
        }
        if self.ty == SqlType::SqlVariant {
            return variant::encode(out, value);
        }
        match value {
            Value::Bit(v) => self.fixed(out, &[u8::from(*v)], SqlType::Bit),
            Value::TinyInt(v) => self.fixed(out, &[*v], SqlType::TinyInt),
            Value::SmallInt(v) => self.fixed(out, &v.to_le_bytes(), SqlType::SmallInt),
            Value::Int(v) => self.fixed(out, &v.to_le_bytes(), SqlType::Int),
            Value::BigInt(v) => self.fixed(out, &v.to_le_bytes(), SqlType::BigInt),
            Value::Real(v) => self.fixed(out, &v.to_le_bytes(), SqlType::Real),
            Value::Float(v) => self.fixed(out, &v.to_le_bytes(), SqlType::Float),
            Value::Money(v) => self.fixed(out, &money(*v), SqlType::Money),
            Value::SmallMoney(v) => self.fixed(out, &v.to_le_bytes(), SqlType::SmallMoney),
            Value::DateTime { days, ticks } => self.fixed(out, &date_time(*days, *ticks), SqlType::DateTime),
            Value::SmallDateTime { days, minutes } => {
                self.fixed(out, &small_date_time(*days, *minutes), SqlType::SmallDateTime)
            }
            Value::Decimal(v) => self.decimal(out, v),
            Value::Date(_) | Value::Time { .. } | Value::DateTime2 { .. } | Value::DateTimeOffset { .. } => {
                self.date_or_time(out, value)
            }
            Value::Str(units) => self.text(out, units),
            Value::Xml(units) if self.ty == SqlType::Xml => self.bytes(out, &utf16_bytes(units)),
            Value::Bytes(bytes) if self.vectors => self.bytes(out, vector_text(bytes).as_bytes()),
            Value::Bytes(bytes) if is_binary(self.ty) => self.bytes(out, bytes),
            Value::RowVersion(v) if is_binary(self.ty) => self.bytes(out, &v.to_be_bytes()),
            Value::Guid(guid) if self.ty == SqlType::UniqueIdentifier => {
                out.push(16);
                out.extend(swap_guid(*guid));
                Ok(())
            }
            _ => Err(Mismatch),
        }
    }

    /// The form of values that are kept as they travel.
    pub(crate) fn form(&self) -> Option<Form> {
        self.form
    }

    /// Appends the next value of a row from where it is kept, and says whether it is NULL.
    pub(crate) fn encode_next(&self, out: &mut Vec<u8>, values: &mut Values<'_>) -> Result<bool, Mismatch> {
        if let Some(form) = self.form
            && let Some(wire) = values.wire(form)
        {
            out.extend_from_slice(wire);
            return Ok(form.is_null(wire));
        }
        let value = values.next().ok_or(Mismatch)?;
        let null = value.is_null();
        self.encode_stored(out, value)?;
        Ok(null)
    }

    fn encode_stored(&self, out: &mut Vec<u8>, value: Stored<'_>) -> Result<(), Mismatch> {
        let wide = self.is_wide();
        match value {
            Stored::Other(value) => self.encode(out, &value),
            // ASCII is the same in every code page.
            Stored::Ascii(text) if self.ty.is_character() && !wide => self.bytes(out, text),
            Stored::Ascii(text) if wide => self.bytes(out, &widened(text)),
            Stored::Wide(units) if wide => self.bytes(out, units),
            Stored::Bytes(bytes) if is_binary(self.ty) => self.bytes(out, bytes),
            other => self.encode(out, &other.into_value()),
        }
    }

    fn is_wide(&self) -> bool {
        self.ty.is_unicode() && self.ty.is_character()
    }

    fn null(&self, out: &mut Vec<u8>) -> Result<(), Mismatch> {
        match self.layout {
            Layout::Fixed(_) => return Err(Mismatch),
            Layout::ByteLength | Layout::Long => out.push(0),
            Layout::ShortLength => out.extend(SHORT_NULL.to_le_bytes()),
            Layout::Chunked => out.extend(CHUNKED_NULL.to_le_bytes()),
            Layout::Variant => out.extend([0; 4]),
        }
        Ok(())
    }

    fn fixed(&self, out: &mut Vec<u8>, bytes: &[u8], ty: SqlType) -> Result<(), Mismatch> {
        if self.ty != ty {
            return Err(Mismatch);
        }
        if self.layout == Layout::ByteLength {
            out.push(bytes.len() as u8);
        }
        out.extend_from_slice(bytes);
        Ok(())
    }

    fn decimal(&self, out: &mut Vec<u8>, value: &Decimal) -> Result<(), Mismatch> {
        let (SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale }) = self.ty else {
            return Err(Mismatch);
        };
        if value.scale != scale {
            return Err(Mismatch);
        }
        let length = decimal_length(precision);
        out.push(length);
        decimal(out, value.unscaled, length)
    }

    fn date_or_time(&self, out: &mut Vec<u8>, value: &Value) -> Result<(), Mismatch> {
        let fits = match (value, self.ty) {
            (Value::Date(_), SqlType::Date) => true,
            (Value::Time { .. }, SqlType::Time { scale })
            | (Value::DateTime2 { .. }, SqlType::DateTime2 { scale })
            | (Value::DateTimeOffset { .. }, SqlType::DateTimeOffset { scale }) => scale <= 7,
            _ => false,
        };
        if !fits {
            return Err(Mismatch);
        }
        let at = out.len();
        out.push(0);
        date_or_time(out, value, self.ty.scale());
        let length = (out.len() - at - 1) as u8;
        if let Some(byte) = out.get_mut(at) {
            *byte = length;
        }
        Ok(())
    }

    fn text(&self, out: &mut Vec<u8>, units: &[u16]) -> Result<(), Mismatch> {
        if self.ty == SqlType::Json {
            return self.bytes(out, String::from_utf16_lossy(units).as_bytes());
        }
        if !self.ty.is_character() && self.ty != SqlType::Xml {
            return Err(Mismatch);
        }
        if !self.ty.is_unicode() {
            return self.bytes(out, &self.code_page.encode(units));
        }
        if self.layout != Layout::ShortLength {
            return self.bytes(out, &utf16_bytes(units));
        }
        // The commonest case takes no detour: units go straight into the packet.
        let length = u16::try_from(units.len() * 2).map_err(|_| Mismatch)?;
        out.extend(length.to_le_bytes());
        out.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        Ok(())
    }

    fn bytes(&self, out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Mismatch> {
        match self.layout {
            Layout::ShortLength => {
                let length = u16::try_from(bytes.len()).map_err(|_| Mismatch)?;
                if length == SHORT_NULL {
                    return Err(Mismatch);
                }
                out.extend(length.to_le_bytes());
                out.extend_from_slice(bytes);
            }
            Layout::Chunked => chunked(out, bytes),
            Layout::Long => {
                out.extend(TEXT_POINTER);
                out.extend((bytes.len() as u32).to_le_bytes());
                out.extend_from_slice(bytes);
            }
            Layout::Fixed(_) | Layout::ByteLength | Layout::Variant => return Err(Mismatch),
        }
        Ok(())
    }
}

/// ASCII as UTF-16.
fn widened(text: &[u8]) -> Vec<u8> {
    let mut wide = vec![0; text.len() * 2];
    let (pairs, _) = wide.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(text) {
        *pair = [*byte, 0];
    }
    wide
}

fn is_binary(ty: SqlType) -> bool {
    matches!(
        ty,
        SqlType::Binary { .. }
            | SqlType::VarBinary { .. }
            | SqlType::Image
            | SqlType::RowVersion
            | SqlType::Clr(_)
            | SqlType::Vector { .. }
    )
}

/// The total length, one chunk, the terminator.
fn chunked(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    if !bytes.is_empty() {
        out.extend((bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    }
    out.extend([0; 4]);
}

pub(crate) fn utf16_bytes(units: &[u16]) -> Vec<u8> {
    units.iter().flat_map(|unit| unit.to_le_bytes()).collect()
}

/// `money` travels as its high half, then its low half.
pub(crate) fn money(value: i64) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [e, f, g, h, a, b, c, d]
}

pub(crate) fn date_time(days: i32, ticks: u32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (days.to_le_bytes(), ticks.to_le_bytes());
    [a, b, c, d, e, f, g, h]
}

pub(crate) fn small_date_time(days: u16, minutes: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (days.to_le_bytes(), minutes.to_le_bytes());
    [a, b, c, d]
}

/// Sign and magnitude in `length` bytes.
pub(crate) fn decimal(out: &mut Vec<u8>, unscaled: i128, length: u8) -> Result<(), Mismatch> {
    let magnitude = unscaled.unsigned_abs().to_le_bytes();
    let digits = usize::from(length) - 1;
    let (kept, cut) = magnitude.split_at_checked(digits).ok_or(Mismatch)?;
    if cut.iter().any(|byte| *byte != 0) {
        return Err(Mismatch);
    }
    out.push(u8::from(unscaled >= 0));
    out.extend_from_slice(kept);
    Ok(())
}

/// The first three fields of a GUID are little-endian on the wire.
pub(crate) fn swap_guid(guid: [u8; 16]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = guid;
    let mut wire = [0; 16];
    let (head, tail) = wire.split_at_mut(8);
    head.copy_from_slice(&[d, c, b, a, f, e, h, g]);
    tail.copy_from_slice(&rest);
    wire
}

/// The body of `date`, `time`, `datetime2` and `datetimeoffset`.
pub(crate) fn date_or_time(out: &mut Vec<u8>, value: &Value, scale: u8) {
    match *value {
        Value::Date(days) => date(out, days),
        Value::Time { ticks, .. } => time(out, ticks, scale),
        Value::DateTime2 { days, ticks, .. } => {
            time(out, ticks, scale);
            date(out, days);
        }
        Value::DateTimeOffset {
            days, ticks, offset, ..
        } => {
            time(out, ticks, scale);
            date(out, days);
            out.extend(offset.to_le_bytes());
        }
        _ => {}
    }
}

fn date(out: &mut Vec<u8>, days: i32) {
    let [a, b, c, _] = days.to_le_bytes();
    out.extend([a, b, c]);
}

fn time(out: &mut Vec<u8>, ticks: u64, scale: u8) {
    let unit = TICKS_PER_UNIT.get(usize::from(scale)).copied().unwrap_or(1);
    let bytes = (ticks / unit).to_le_bytes();
    out.extend(bytes.iter().take(usize::from(time_length(scale))));
}
