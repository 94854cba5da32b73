//! `sql_variant` (MS-TDS 2.2.5.5.4): a value that brings its own type.
#![warn(clippy::indexing_slicing)]

use crate::collation::Collation;
use crate::tds::reader::{PacketSource, WireError, WireReader, WireResult};
use crate::tds::type_info::{Layout, WireType, collation_of, decimal_length, token};
use crate::tds::value_decode::{scalar, string};
use crate::tds::value_encode::{
    Mismatch, date_or_time, date_time, decimal, money, small_date_time, swap_guid, utf16_bytes,
};
use crate::types::{Length, SqlType};
use crate::value::Value;

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
        Value::Null | Value::Xml(_) => Err(Mismatch),
    }
}

/// Reads a variant; its value comes back as its base type's.
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
    match wire.layout {
        Layout::ShortLength => string(&wire, rest),
        _ => scalar(wire.ty, rest),
    }
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
            plain(SqlType::Decimal { precision, scale })
        }
        token::VARBINARY | token::BINARY => {
            let len = Length::Chars(properties.u16()?);
            (SqlType::VarBinary { len }, None, Layout::ShortLength)
        }
        token::VARCHAR | token::CHAR | token::NVARCHAR | token::NCHAR => {
            let collation = Some(collation_of(properties.array()?));
            let len = Length::Chars(properties.u16()?);
            let ty = match base {
                token::NVARCHAR | token::NCHAR => SqlType::NVarChar { len },
                _ => SqlType::VarChar { len },
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
