//! TYPE_INFO (MS-TDS 2.2.5.4): how a column's or parameter's type is described, both ways.
#![warn(clippy::indexing_slicing)]

use crate::collation::{CodePage, Collation};
use crate::tds::reader::{PacketSource, WireError, WireReader, WireResult};
use crate::types::{ClrType, Length, SqlType, VECTOR_HEADER};

/// Type bytes.
pub(crate) mod token {
    pub(crate) const NULL: u8 = 0x1F;
    pub(crate) const IMAGE: u8 = 0x22;
    pub(crate) const TEXT: u8 = 0x23;
    pub(crate) const GUID: u8 = 0x24;
    pub(crate) const INT_N: u8 = 0x26;
    pub(crate) const DATE_N: u8 = 0x28;
    pub(crate) const TIME_N: u8 = 0x29;
    pub(crate) const DATETIME2_N: u8 = 0x2A;
    pub(crate) const DATETIMEOFFSET_N: u8 = 0x2B;
    pub(crate) const INT1: u8 = 0x30;
    pub(crate) const BIT: u8 = 0x32;
    pub(crate) const INT2: u8 = 0x34;
    pub(crate) const INT4: u8 = 0x38;
    pub(crate) const DATETIME4: u8 = 0x3A;
    pub(crate) const FLOAT4: u8 = 0x3B;
    pub(crate) const MONEY: u8 = 0x3C;
    pub(crate) const DATETIME: u8 = 0x3D;
    pub(crate) const FLOAT8: u8 = 0x3E;
    pub(crate) const VARIANT: u8 = 0x62;
    pub(crate) const NTEXT: u8 = 0x63;
    pub(crate) const BIT_N: u8 = 0x68;
    pub(crate) const DECIMAL_N: u8 = 0x6A;
    pub(crate) const NUMERIC_N: u8 = 0x6C;
    pub(crate) const FLOAT_N: u8 = 0x6D;
    pub(crate) const MONEY_N: u8 = 0x6E;
    pub(crate) const DATETIME_N: u8 = 0x6F;
    pub(crate) const MONEY4: u8 = 0x7A;
    pub(crate) const INT8: u8 = 0x7F;
    pub(crate) const VARBINARY: u8 = 0xA5;
    pub(crate) const VARCHAR: u8 = 0xA7;
    pub(crate) const BINARY: u8 = 0xAD;
    pub(crate) const CHAR: u8 = 0xAF;
    pub(crate) const NVARCHAR: u8 = 0xE7;
    pub(crate) const NCHAR: u8 = 0xEF;
    pub(crate) const UDT: u8 = 0xF0;
    pub(crate) const XML: u8 = 0xF1;
    pub(crate) const JSON: u8 = 0xF4;
    pub(crate) const VECTOR: u8 = 0xF5;
}

/// The length that marks a `(max)` type.
const MAX: u16 = 0xFFFF;
/// The longest value of `text` and `image`.
const LONG_MAX: u32 = 0x7FFF_FFFF;
const VARIANT_MAX: u32 = 8009;

/// How a value's length travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Always so many bytes, never NULL.
    Fixed(u8),
    /// One byte of length; 0 is NULL.
    ByteLength,
    /// Two bytes of length; 0xFFFF is NULL.
    ShortLength,
    /// In chunks (PLP).
    Chunked,
    /// Four bytes of length, in rows behind a text pointer.
    Long,
    /// Four bytes of length, then a base type of its own.
    Variant,
}

/// A type as a client described it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WireType {
    pub(crate) ty: SqlType,
    pub(crate) collation: Option<&'static Collation>,
    pub(crate) layout: Layout,
}

impl WireType {
    /// Reads TYPE_INFO. Behind `text`, `ntext` and `image` a bulk load also names the table; see `bulk`.
    pub(crate) fn read<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<Self> {
        let token = reader.u8()?;
        let (ty, layout) = match token {
            token::NULL => (SqlType::Null, Layout::Fixed(0)),
            token::INT1 => (SqlType::TinyInt, Layout::Fixed(1)),
            token::BIT => (SqlType::Bit, Layout::Fixed(1)),
            token::INT2 => (SqlType::SmallInt, Layout::Fixed(2)),
            token::INT4 => (SqlType::Int, Layout::Fixed(4)),
            token::INT8 => (SqlType::BigInt, Layout::Fixed(8)),
            token::DATETIME4 => (SqlType::SmallDateTime, Layout::Fixed(4)),
            token::DATETIME => (SqlType::DateTime, Layout::Fixed(8)),
            token::FLOAT4 => (SqlType::Real, Layout::Fixed(4)),
            token::FLOAT8 => (SqlType::Float, Layout::Fixed(8)),
            token::MONEY => (SqlType::Money, Layout::Fixed(8)),
            token::MONEY4 => (SqlType::SmallMoney, Layout::Fixed(4)),
            token::DATE_N => (SqlType::Date, Layout::ByteLength),
            token::TIME_N | token::DATETIME2_N | token::DATETIMEOFFSET_N => {
                return Self::read_scaled(token, reader);
            }
            token::DECIMAL_N | token::NUMERIC_N => return Self::read_decimal(token, reader),
            token::INT_N
            | token::BIT_N
            | token::FLOAT_N
            | token::MONEY_N
            | token::DATETIME_N
            | token::GUID => return Self::read_sized(token, reader),
            token::VARBINARY | token::BINARY => return Self::read_binary(token, reader),
            token::VARCHAR | token::CHAR | token::NVARCHAR | token::NCHAR => {
                return Self::read_text(token, reader);
            }
            token::TEXT | token::NTEXT | token::IMAGE => return Self::read_long(token, reader),
            token::XML => {
                skip_xml_schema(reader)?;
                (SqlType::Xml, Layout::Chunked)
            }
            token::JSON => (SqlType::Json, Layout::Chunked),
            token::VECTOR => return Self::read_vector(reader),
            token::UDT => return Self::read_clr(reader),
            token::VARIANT => {
                reader.u32()?;
                (SqlType::SqlVariant, Layout::Variant)
            }
            other => {
                return Err(WireError::malformed(format_args!(
                    "the emulator does not read the type 0x{other:02X}"
                )));
            }
        };
        Ok(Self::new(ty, layout))
    }

    /// The longest value, and the type of its floats.
    fn read_vector<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<Self> {
        let floats = reader.u16()?.saturating_sub(VECTOR_HEADER);
        if reader.u8()? != 0 || !floats.is_multiple_of(4) {
            return Err(WireError::malformed(
                "the emulator has vectors of single precision only",
            ));
        }
        let dimensions = floats / 4;
        Ok(Self::new(SqlType::Vector { dimensions }, Layout::ShortLength))
    }

    /// UDT_INFO of a parameter: the names of database, schema and type.
    fn read_clr<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<Self> {
        reader.b_varchar()?;
        reader.b_varchar()?;
        let name = reader.b_varchar()?;
        let known = ClrType::ALL
            .into_iter()
            .find(|ty| ty.name().eq_ignore_ascii_case(&name));
        let ty = known
            .ok_or_else(|| WireError::malformed(format_args!("the emulator has no CLR type {name:?}")))?;
        Ok(Self::new(SqlType::Clr(ty), Layout::Chunked))
    }

    fn new(ty: SqlType, layout: Layout) -> Self {
        Self {
            ty,
            collation: None,
            layout,
        }
    }

    fn read_scaled<S: PacketSource>(token: u8, reader: &mut WireReader<S>) -> WireResult<Self> {
        let scale = reader.u8()?;
        if scale > 7 {
            return Err(WireError::malformed("a time's scale is above 7"));
        }
        let ty = match token {
            token::TIME_N => SqlType::Time { scale },
            token::DATETIME2_N => SqlType::DateTime2 { scale },
            _ => SqlType::DateTimeOffset { scale },
        };
        Ok(Self::new(ty, Layout::ByteLength))
    }

    fn read_decimal<S: PacketSource>(token: u8, reader: &mut WireReader<S>) -> WireResult<Self> {
        let [_, precision, scale] = reader.array()?;
        if !(1..=38).contains(&precision) || scale > precision {
            return Err(WireError::malformed(format_args!(
                "decimal({precision},{scale}) does not exist"
            )));
        }
        let ty = match token {
            token::DECIMAL_N => SqlType::Decimal { precision, scale },
            _ => SqlType::Numeric { precision, scale },
        };
        Ok(Self::new(ty, Layout::ByteLength))
    }

    fn read_sized<S: PacketSource>(token: u8, reader: &mut WireReader<S>) -> WireResult<Self> {
        let ty = match (token, reader.u8()?) {
            (token::INT_N, 1) => SqlType::TinyInt,
            (token::INT_N, 2) => SqlType::SmallInt,
            (token::INT_N, 4) => SqlType::Int,
            (token::INT_N, 8) => SqlType::BigInt,
            (token::BIT_N, 1) => SqlType::Bit,
            (token::FLOAT_N, 4) => SqlType::Real,
            (token::FLOAT_N, 8) => SqlType::Float,
            (token::MONEY_N, 4) => SqlType::SmallMoney,
            (token::MONEY_N, 8) => SqlType::Money,
            (token::DATETIME_N, 4) => SqlType::SmallDateTime,
            (token::DATETIME_N, 8) => SqlType::DateTime,
            (token::GUID, 16 | 0) => SqlType::UniqueIdentifier,
            (token, length) => {
                return Err(WireError::malformed(format_args!(
                    "the type 0x{token:02X} has no form of {length} bytes"
                )));
            }
        };
        Ok(Self::new(ty, Layout::ByteLength))
    }

    fn read_binary<S: PacketSource>(token: u8, reader: &mut WireReader<S>) -> WireResult<Self> {
        let length = reader.u16()?;
        Ok(match (token, length) {
            (token::VARBINARY, MAX) => Self::new(SqlType::VarBinary { len: Length::Max }, Layout::Chunked),
            (token::VARBINARY, len) => Self::new(
                SqlType::VarBinary {
                    len: Length::Chars(len.max(1)),
                },
                Layout::ShortLength,
            ),
            (_, len) => Self::new(SqlType::Binary { len: len.max(1) }, Layout::ShortLength),
        })
    }

    fn read_text<S: PacketSource>(token: u8, reader: &mut WireReader<S>) -> WireResult<Self> {
        let length = reader.u16()?;
        let collation = Some(read_collation(reader)?);
        let len = match length {
            MAX => Length::Max,
            bytes if token == token::NVARCHAR => Length::Chars((bytes / 2).max(1)),
            bytes => Length::Chars(bytes.max(1)),
        };
        let layout = match len {
            Length::Max => Layout::Chunked,
            Length::Chars(_) => Layout::ShortLength,
        };
        let ty = match token {
            token::NVARCHAR => SqlType::NVarChar { len },
            token::VARCHAR => SqlType::VarChar { len },
            token::NCHAR => SqlType::NChar {
                len: (length / 2).max(1),
            },
            _ => SqlType::Char { len: length.max(1) },
        };
        Ok(Self {
            ty,
            collation,
            layout,
        })
    }

    fn read_long<S: PacketSource>(token: u8, reader: &mut WireReader<S>) -> WireResult<Self> {
        reader.u32()?;
        let (ty, collation) = match token {
            token::TEXT => (SqlType::Text, Some(read_collation(reader)?)),
            token::NTEXT => (SqlType::NText, Some(read_collation(reader)?)),
            _ => (SqlType::Image, None),
        };
        Ok(Self {
            ty,
            collation,
            layout: Layout::Long,
        })
    }
}

fn skip_xml_schema<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<()> {
    if reader.u8()? != 0 {
        reader.b_varchar()?;
        reader.b_varchar()?;
        reader.us_varchar()?;
    }
    Ok(())
}

fn read_collation<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<&'static Collation> {
    Ok(collation_of(reader.array()?))
}

/// The collation of the given wire form; one of the same code page if that very one is unknown.
pub(crate) fn collation_of(wire: [u8; 5]) -> &'static Collation {
    const UTF8: u32 = 1 << 26;
    let default = Collation::server_default();
    let [a, b, c, d, sort_id] = wire;
    if wire == [0; 5] {
        return default;
    }
    let info = u32::from_le_bytes([a, b, c, d]);
    let known = Collation::all();
    let same = known.iter().find(|collation| collation.wire() == wire);
    let alike = || {
        known.iter().find(|collation| {
            if info & UTF8 != 0 {
                collation.code_page == CodePage::Utf8
            } else if sort_id != 0 {
                collation.sort_id == sort_id
            } else {
                collation.lcid == info & 0xF_FFFF && collation.code_page != CodePage::Utf8
            }
        })
    };
    same.or_else(alike).unwrap_or(default)
}

/// Bytes that a decimal of `precision` takes, its sign included.
pub(crate) fn decimal_length(precision: u8) -> u8 {
    match precision {
        0..=9 => 5,
        10..=19 => 9,
        20..=28 => 13,
        _ => 17,
    }
}

/// Bytes that the time of day takes at `scale`.
pub(crate) fn time_length(scale: u8) -> u8 {
    match scale {
        0..=2 => 3,
        3..=4 => 4,
        _ => 5,
    }
}

/// Writes TYPE_INFO and tells how values of it travel. Columns that are not nullable use the fixed forms, as SQL Server does.
pub(crate) fn write(
    out: &mut Vec<u8>,
    ty: SqlType,
    collation: Option<&'static Collation>,
    nullable: bool,
) -> Layout {
    if !nullable && let Some((token, length)) = fixed_form(ty) {
        out.push(token);
        return Layout::Fixed(length);
    }
    if let Some(bytes) = byte_length_form(ty) {
        out.extend(bytes);
        return Layout::ByteLength;
    }
    match ty {
        SqlType::Decimal { precision, scale } => {
            out.extend([token::DECIMAL_N, decimal_length(precision), precision, scale]);
            Layout::ByteLength
        }
        SqlType::Numeric { precision, scale } => {
            out.extend([token::NUMERIC_N, decimal_length(precision), precision, scale]);
            Layout::ByteLength
        }
        SqlType::Text => write_long(out, token::TEXT, collation),
        SqlType::NText => write_long(out, token::NTEXT, collation),
        SqlType::Image => {
            out.push(token::IMAGE);
            out.extend(LONG_MAX.to_le_bytes());
            Layout::Long
        }
        SqlType::Xml => {
            out.extend([token::XML, 0]);
            Layout::Chunked
        }
        SqlType::Vector { dimensions } => {
            out.push(token::VECTOR);
            out.extend((VECTOR_HEADER + 4 * dimensions).to_le_bytes());
            // Single precision.
            out.push(0);
            Layout::ShortLength
        }
        SqlType::Json => {
            out.push(token::JSON);
            Layout::Chunked
        }
        SqlType::Clr(clr) => {
            write_clr(out, clr);
            Layout::Chunked
        }
        SqlType::SqlVariant => {
            out.push(token::VARIANT);
            out.extend(VARIANT_MAX.to_le_bytes());
            Layout::Variant
        }
        _ => write_short(out, ty, collation),
    }
}

/// UDT_INFO of a column: the longest value, the names of database, schema and type, and the class.
fn write_clr(out: &mut Vec<u8>, clr: ClrType) {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let length = u16::try_from(SqlType::Clr(clr).max_length()).unwrap_or(MAX);
    out.push(token::UDT);
    out.extend(length.to_le_bytes());
    for name in ["", "sys", clr.name()] {
        out.push(name.len() as u8);
        out.extend(utf16(name));
    }
    let class = format!(
        "Microsoft.SqlServer.Types.{}, Microsoft.SqlServer.Types, Version=16.0.0.0, Culture=neutral, \
         PublicKeyToken=89845dcd8080cc91",
        clr.class()
    );
    out.extend((class.len() as u16).to_le_bytes());
    out.extend(utf16(&class));
}

/// How values of a column travel.
pub(crate) fn layout(ty: SqlType, nullable: bool) -> Layout {
    write(&mut Vec::new(), ty, None, nullable)
}

fn fixed_form(ty: SqlType) -> Option<(u8, u8)> {
    Some(match ty {
        SqlType::Bit => (token::BIT, 1),
        SqlType::TinyInt => (token::INT1, 1),
        SqlType::SmallInt => (token::INT2, 2),
        SqlType::Int => (token::INT4, 4),
        SqlType::BigInt => (token::INT8, 8),
        SqlType::Real => (token::FLOAT4, 4),
        SqlType::Float => (token::FLOAT8, 8),
        SqlType::Money => (token::MONEY, 8),
        SqlType::SmallMoney => (token::MONEY4, 4),
        SqlType::DateTime => (token::DATETIME, 8),
        SqlType::SmallDateTime => (token::DATETIME4, 4),
        _ => return None,
    })
}

fn byte_length_form(ty: SqlType) -> Option<Vec<u8>> {
    Some(match ty {
        SqlType::Bit => vec![token::BIT_N, 1],
        SqlType::TinyInt => vec![token::INT_N, 1],
        SqlType::SmallInt => vec![token::INT_N, 2],
        SqlType::Int | SqlType::Null => vec![token::INT_N, 4],
        SqlType::BigInt => vec![token::INT_N, 8],
        SqlType::Real => vec![token::FLOAT_N, 4],
        SqlType::Float => vec![token::FLOAT_N, 8],
        SqlType::Money => vec![token::MONEY_N, 8],
        SqlType::SmallMoney => vec![token::MONEY_N, 4],
        SqlType::DateTime => vec![token::DATETIME_N, 8],
        SqlType::SmallDateTime => vec![token::DATETIME_N, 4],
        SqlType::Date => vec![token::DATE_N],
        SqlType::Time { scale } => vec![token::TIME_N, scale],
        SqlType::DateTime2 { scale } => vec![token::DATETIME2_N, scale],
        SqlType::DateTimeOffset { scale } => vec![token::DATETIMEOFFSET_N, scale],
        SqlType::UniqueIdentifier => vec![token::GUID, 16],
        _ => return None,
    })
}

fn write_long(out: &mut Vec<u8>, token: u8, collation: Option<&'static Collation>) -> Layout {
    out.push(token);
    out.extend(LONG_MAX.to_le_bytes());
    write_collation(out, collation);
    Layout::Long
}

/// The types with a two-byte length, and their `(max)` forms.
fn write_short(out: &mut Vec<u8>, ty: SqlType, collation: Option<&'static Collation>) -> Layout {
    let bytes_of = |len: Length, width: u16| match len {
        Length::Chars(count) => count.saturating_mul(width),
        Length::Max => MAX,
    };
    let (token, length) = match ty {
        SqlType::Char { len } => (token::CHAR, len),
        SqlType::VarChar { len } => (token::VARCHAR, bytes_of(len, 1)),
        SqlType::NChar { len } => (token::NCHAR, len.saturating_mul(2)),
        SqlType::NVarChar { len } => (token::NVARCHAR, bytes_of(len, 2)),
        SqlType::Binary { len } => (token::BINARY, len),
        SqlType::VarBinary { len } => (token::VARBINARY, bytes_of(len, 1)),
        // Only rowversion is left: eight bytes on the wire.
        _ => (token::BINARY, 8),
    };
    out.push(token);
    out.extend(length.to_le_bytes());
    if ty.is_character() {
        write_collation(out, collation);
    }
    if ty.is_max() {
        Layout::Chunked
    } else {
        Layout::ShortLength
    }
}

fn write_collation(out: &mut Vec<u8>, collation: Option<&'static Collation>) {
    out.extend(collation.unwrap_or_else(Collation::server_default).wire());
}

#[cfg(test)]
mod tests;
