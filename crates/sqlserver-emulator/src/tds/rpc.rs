//! Remote procedure calls (MS-TDS 2.2.6.6): by name or number, several in one message.
#![warn(clippy::indexing_slicing)]

use crate::session::Param;
use crate::tds::reader::{PacketSource, WireError, WireReader, WireResult};
use crate::tds::type_info::WireType;
use crate::tds::value_decode::{Place, decode};
use crate::value::Value;

/// The name length that says a number follows.
const BY_NUMBER: u16 = 0xFFFF;
/// What stands between two calls; 0x80 before TDS 7.2.
const SEPARATORS: [u8; 3] = [0xFF, 0xFE, 0x80];
const BY_REFERENCE: u8 = 0x01;
const DEFAULT_VALUE: u8 = 0x02;
/// SQL Server's limit.
const MOST_PARAMETERS: usize = 2100;

/// One call.
#[derive(Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) procedure: String,
    pub(crate) params: Vec<Param>,
}

/// Reads the next call; nothing at the end of the message.
pub(crate) fn next_call<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<Option<Call>> {
    while reader.peek_u8()?.is_some_and(|byte| SEPARATORS.contains(&byte)) && !starts_by_number(reader)? {
        reader.u8()?;
    }
    if reader.at_end()? {
        return Ok(None);
    }
    let procedure = match reader.u16()? {
        BY_NUMBER => by_number(reader.u16()?)?.to_owned(),
        length => String::from_utf16_lossy(&reader.utf16(usize::from(length))?),
    };
    reader.u16()?;
    let mut params = Vec::new();
    while reader.peek_u8()?.is_some_and(|byte| !SEPARATORS.contains(&byte)) {
        if params.len() == MOST_PARAMETERS {
            return Err(WireError::malformed("more than 2100 parameters"));
        }
        params.push(parameter(reader)?);
    }
    Ok(Some(Call { procedure, params }))
}

fn parameter<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<Param> {
    let name = reader.b_varchar()?;
    let flags = reader.u8()?;
    let wire = WireType::read(reader)?;
    let value = decode(reader, &wire, Place::Parameter)?;
    Ok(Param {
        name,
        ty: wire.ty,
        collation: wire.collation,
        value: if flags & DEFAULT_VALUE == 0 { value } else { Value::Null },
        output: flags & BY_REFERENCE != 0,
    })
}

fn by_number(number: u16) -> WireResult<&'static str> {
    Ok(match number {
        10 => "sp_executesql",
        11 => "sp_prepare",
        12 => "sp_execute",
        13 => "sp_prepexec",
        15 => "sp_unprepare",
        other => {
            return Err(WireError::malformed(format_args!(
                "the emulator has no procedure number {other} (cursors are not supported)"
            )));
        }
    })
}
