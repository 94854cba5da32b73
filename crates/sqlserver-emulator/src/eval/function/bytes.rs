//! DATALENGTH, hashes, random values.

use openssl::hash::{MessageDigest, hash};

use super::Arguments;
use crate::collation::Collation;
use crate::error::{SqlError, SqlResult};
use crate::eval::convert::convert;
use crate::types::{Length, SqlType, TypeInfo};
use crate::value::Value;

/// The value's storage form.
fn stored(value: &Value, info: TypeInfo) -> SqlResult<Vec<u8>> {
    if let Value::Variant(held) = value {
        return stored(&held.value, held.info);
    }
    if let (Value::Str(text), false) = (value, info.ty.is_unicode()) {
        let collation = info.collation.unwrap_or_else(Collation::server_default);
        let unicode = info.ty == SqlType::SqlVariant;
        return Ok(if unicode {
            text.iter().flat_map(|unit| unit.to_le_bytes()).collect()
        } else {
            collation.code_page.encode(text)
        });
    }
    let target = TypeInfo::new(SqlType::VarBinary { len: Length::Max });
    match convert(value.clone(), info.ty, target, 0)? {
        Value::Bytes(bytes) => Ok(bytes.to_vec()),
        _ => Ok(Vec::new()),
    }
}

pub(super) fn data_length(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let info = arguments.info_of(0);
    let length = match arguments.value(0) {
        Value::Str(_) | Value::Bytes(_) | Value::Variant(_) => stored(arguments.value(0), info)?.len() as i64,
        Value::Xml(text) => text.len() as i64 * 2,
        Value::Decimal(d) => i64::from(
            SqlType::Decimal {
                precision: d.precision,
                scale: d.scale,
            }
            .max_length(),
        ),
        value => i64::from(crate::eval::convert::type_of(value).max_length()),
    };
    Ok(if arguments.info.ty == SqlType::BigInt {
        Value::BigInt(length)
    } else {
        Value::Int(length as i32)
    })
}

/// NULL for an algorithm that does not exist.
pub(super) fn hash_bytes(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let digest = match arguments.string(0).to_ascii_uppercase().as_str() {
        "MD5" => MessageDigest::md5(),
        "SHA" | "SHA1" => MessageDigest::sha1(),
        "SHA2_256" => MessageDigest::sha256(),
        "SHA2_512" => MessageDigest::sha512(),
        _ => return Ok(Value::Null),
    };
    let info = arguments.info_of(1);
    if !matches!(arguments.value(1), Value::Str(_) | Value::Bytes(_)) {
        let message = format!(
            "Argument data type {} is invalid for argument 2 of hashbytes function.",
            info.ty.name()
        );
        return Err(SqlError::user(8116, message));
    }
    let bytes = stored(arguments.value(1), info)?;
    let digest =
        hash(digest, &bytes).map_err(|error| SqlError::unsupported(format_args!("this hash ({error})")))?;
    Ok(Value::bytes(&digest))
}

/// Not SQL Server's numbers, but with its property: values that compare as equal have equal checksums.
pub(super) fn checksum(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let mut sum = 0_u32;
    for at in 0..arguments.values.len() {
        let key = match arguments.value(at) {
            Value::Str(text) => arguments
                .info_of(at)
                .collation
                .unwrap_or_else(Collation::server_default)
                .sort_key(text),
            Value::Null => vec![0xFF],
            value => stored(value, arguments.info_of(at))?,
        };
        sum = mix(sum, &key);
    }
    Ok(Value::Int(sum as i32))
}

/// As CHECKSUM, over the storage form.
pub(super) fn binary_checksum(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let mut sum = 0_u32;
    for at in 0..arguments.values.len() {
        let bytes = match arguments.value(at) {
            Value::Null => vec![0xFF],
            value => stored(value, arguments.info_of(at))?,
        };
        sum = mix(sum, &bytes);
    }
    Ok(Value::Int(sum as i32))
}

fn mix(sum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(sum.rotate_left(4), |sum, byte| {
        sum.rotate_left(4) ^ u32::from(*byte)
    })
}

pub(super) fn crypt_gen_random(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let Some(length) = usize::try_from(arguments.integer(0))
        .ok()
        .filter(|length| (1..=8000).contains(length))
    else {
        return Ok(Value::Null);
    };
    let mut bytes = vec![0; length];
    arguments.context.random(&mut bytes);
    Ok(Value::Bytes(bytes.into()))
}

/// A random (version 4) identifier.
pub(super) fn new_id(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let mut bytes = [0; 16];
    arguments.context.random(&mut bytes);
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    Ok(Value::Guid(bytes))
}
