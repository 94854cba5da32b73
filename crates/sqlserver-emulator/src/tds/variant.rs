//! `sql_variant` (MS-TDS 2.2.5.5.4): a value that brings its own type.
#![warn(clippy::indexing_slicing)]

use crate::collation::Collation;
use crate::tds::reader::{PacketSource, WireError, WireReader, WireResult};
use crate::tds::type_info::{Layout, WireType, collation_of, decimal_length, token};
use crate::tds::value_decode::{scalar, string};
use crate::tds::value_encode::{
    Mismatch, date_or_time, date_time, decimal, money, small_date_time, swap_guid, utf16_bytes,
};
use crate::types::{Length, SqlType, TypeInfo};
use crate::value::{Held, Value};

/// Appends length, base type, properties and the bare value.
pub(crate) fn encode(out: &mut Vec<u8>, value: &Value) -> Result<(), Mismatch> {
    let mut body = Vec::new();
    let (base, properties) = encode_body(&mut body, value)?;
    let length = (2 + properties.len() + body.len()) as u32;
    out.extend(length.to_le_bytes());
    out.extend([base, properties.len() as u8]);
    out.extend(properties);
    out.extend(body);
    Ok(())
}

fn encode_body(body: &mut Vec<u8>, value: &Value) -> Result<(u8, Vec<u8>), Mismatch> {
    let mut plain = |base: u8, bytes: &[u8]| {
        body.extend_from_slice(bytes);
        Ok((base, Vec::new()))
    };
    match value {
        Value::Bit(v) => plain(token::BIT, &[u8::from(*v)]),
        Value::TinyInt(v) => plain(token::INT1, &[*v]),
        Value::SmallInt(v) => plain(token::INT2, &v.to_le_bytes()),
        Value::Int(v) => plain(token::INT4, &v.to_le_bytes()),
        Value::BigInt(v) => plain(token::INT8, &v.to_le_bytes()),
        Value::Real(v) => plain(token::FLOAT4, &v.to_le_bytes()),
        Value::Float(v) => plain(token::FLOAT8, &v.to_le_bytes()),
        Value::Money(v) => plain(token::MONEY, &money(*v)),
        Value::SmallMoney(v) => plain(token::MONEY4, &v.to_le_bytes()),
        Value::DateTime { days, ticks } => plain(token::DATETIME, &date_time(*days, *ticks)),
        Value::SmallDateTime { days, minutes } => plain(token::DATETIME4, &small_date_time(*days, *minutes)),
        Value::Guid(guid) => plain(token::GUID, &swap_guid(*guid)),
        Value::Decimal(v) => {
            decimal(body, v.unscaled, decimal_length(v.precision))?;
            Ok((token::DECIMAL_N, vec![v.precision, v.scale]))
        }
        Value::Date(_) => {
            date_or_time(body, value, 0);
            Ok((token::DATE_N, Vec::new()))
        }
        Value::Time { scale, .. } => {
            date_or_time(body, value, *scale);
            Ok((token::TIME_N, vec![*scale]))
        }
        Value::DateTime2 { scale, .. } => {
            date_or_time(body, value, *scale);
            Ok((token::DATETIME2_N, vec![*scale]))
        }
        Value::DateTimeOffset { scale, .. } => {
            date_or_time(body, value, *scale);
            Ok((token::DATETIMEOFFSET_N, vec![*scale]))
        }
        Value::Str(units) => {
            body.extend(utf16_bytes(units));
            let mut properties = Collation::server_default().wire().to_vec();
            properties.extend(8000u16.to_le_bytes());
            Ok((token::NVARCHAR, properties))
        }
        Value::Bytes(bytes) => {
            body.extend_from_slice(bytes);
            Ok((token::VARBINARY, 8000u16.to_le_bytes().to_vec()))
        }
        Value::RowVersion(v) => {
            body.extend(v.to_be_bytes());
            Ok((token::BINARY, 8u16.to_le_bytes().to_vec()))
        }
        Value::Variant(held) => encode_held(body, held),
        Value::Null | Value::Xml(_) => Err(Mismatch),
    }
}

/// Text, bytes and decimals of a declared type.
fn encode_held(body: &mut Vec<u8>, held: &Held) -> Result<(u8, Vec<u8>), Mismatch> {
    let (base, length) = match held.info.ty {
        SqlType::Numeric { .. } => {
            let (_, properties) = encode_body(body, &held.value)?;
            return Ok((token::NUMERIC_N, properties));
        }
        SqlType::Binary { len } => (token::BINARY, len),
        SqlType::VarBinary {
            len: Length::Chars(len),
        } => (token::VARBINARY, len),
        SqlType::Char { len } => (token::CHAR, len),
        SqlType::VarChar {
            len: Length::Chars(len),
        } => (token::VARCHAR, len),
        SqlType::NChar { len } => (token::NCHAR, len.saturating_mul(2)),
        SqlType::NVarChar {
            len: Length::Chars(len),
        } => (token::NVARCHAR, len.saturating_mul(2)),
        _ => return Err(Mismatch),
    };
    let collation = held.info.collation.unwrap_or_else(Collation::server_default);
    let mut properties = Vec::new();
    match &held.value {
        Value::Bytes(bytes) => body.extend_from_slice(bytes),
        Value::Str(units) => {
            properties.extend(collation.wire());
            if held.info.ty.is_unicode() {
                body.extend(utf16_bytes(units));
            } else {
                body.extend(collation.code_page.encode(units));
            }
        }
        _ => return Err(Mismatch),
    }
    properties.extend(length.to_le_bytes());
    Ok((base, properties))
}

/// Reads a variant from where it is kept.
pub(crate) fn decode_kept(bytes: &[u8]) -> WireResult<Value> {
    decode(&mut WireReader::over(bytes.to_vec()))
}

/// Reads a variant; its value comes back with its base type.
pub(crate) fn decode<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<Value> {
    let total = reader.u32()? as usize;
    if total == 0 {
        return Ok(Value::Null);
    }
    let mut inner = WireReader::over(reader.take(total)?.to_vec());
    let base = inner.u8()?;
    let mut properties = WireReader::over({
        let length = usize::from(inner.u8()?);
        inner.take(length)?.to_vec()
    });
    let wire = base_type(base, &mut properties)?;
    let read = 2 + usize::from(property_length(base));
    let rest = inner.take(total.saturating_sub(read))?;
    let value = match wire.layout {
        Layout::ShortLength => string(&wire, rest)?,
        _ => scalar(wire.ty, rest)?,
    };
    let info = TypeInfo {
        collation: wire.collation,
        ..TypeInfo::new(wire.ty)
    };
    Ok(value.in_variant(info))
}

fn property_length(base: u8) -> u8 {
    match base {
        token::TIME_N | token::DATETIME2_N | token::DATETIMEOFFSET_N => 1,
        token::DECIMAL_N | token::NUMERIC_N | token::VARBINARY | token::BINARY => 2,
        token::VARCHAR | token::CHAR | token::NVARCHAR | token::NCHAR => 7,
        _ => 0,
    }
}

fn base_type<S: PacketSource>(base: u8, properties: &mut WireReader<S>) -> WireResult<WireType> {
    let plain = |ty| (ty, None, Layout::ByteLength);
    let (ty, collation, layout) = match base {
        token::BIT => plain(SqlType::Bit),
        token::INT1 => plain(SqlType::TinyInt),
        token::INT2 => plain(SqlType::SmallInt),
        token::INT4 => plain(SqlType::Int),
        token::INT8 => plain(SqlType::BigInt),
        token::FLOAT4 => plain(SqlType::Real),
        token::FLOAT8 => plain(SqlType::Float),
        token::MONEY => plain(SqlType::Money),
        token::MONEY4 => plain(SqlType::SmallMoney),
        token::DATETIME => plain(SqlType::DateTime),
        token::DATETIME4 => plain(SqlType::SmallDateTime),
        token::GUID => plain(SqlType::UniqueIdentifier),
        token::DATE_N => plain(SqlType::Date),
        token::TIME_N => plain(SqlType::Time {
            scale: properties.u8()?.min(7),
        }),
        token::DATETIME2_N => plain(SqlType::DateTime2 {
            scale: properties.u8()?.min(7),
        }),
        token::DATETIMEOFFSET_N => plain(SqlType::DateTimeOffset {
            scale: properties.u8()?.min(7),
        }),
        token::DECIMAL_N | token::NUMERIC_N => {
            let [precision, scale] = properties.array()?;
            plain(match base {
                token::NUMERIC_N => SqlType::Numeric { precision, scale },
                _ => SqlType::Decimal { precision, scale },
            })
        }
        token::VARBINARY | token::BINARY => {
            let len = properties.u16()?;
            let ty = match base {
                token::BINARY => SqlType::Binary { len },
                _ => SqlType::VarBinary {
                    len: Length::Chars(len),
                },
            };
            (ty, None, Layout::ShortLength)
        }
        token::VARCHAR | token::CHAR | token::NVARCHAR | token::NCHAR => {
            let collation = Some(collation_of(properties.array()?));
            let bytes = properties.u16()?;
            let ty = match base {
                token::NVARCHAR => SqlType::NVarChar {
                    len: Length::Chars(bytes / 2),
                },
                token::NCHAR => SqlType::NChar { len: bytes / 2 },
                token::CHAR => SqlType::Char { len: bytes },
                _ => SqlType::VarChar {
                    len: Length::Chars(bytes),
                },
            };
            (ty, collation, Layout::ShortLength)
        }
        other => {
            return Err(WireError::malformed(format_args!(
                "a sql_variant cannot hold the type 0x{other:02X}"
            )));
        }
    };
    Ok(WireType {
        ty,
        collation,
        layout,
    })
}
