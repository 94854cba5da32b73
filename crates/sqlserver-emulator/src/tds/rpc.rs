//! Remote procedure calls (MS-TDS 2.2.6.6): by name or number, several in one message.
#![warn(clippy::indexing_slicing)]

use crate::session::Param;
use crate::tds::reader::{PacketSource, WireError, WireReader, WireResult};
use crate::tds::table_value;
use crate::tds::type_info::WireType;
use crate::tds::value_decode::{Place, decode};
use crate::types::SqlType;
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
    if !reader.at_end()? {
        reader.u8()?;
    }
    Ok(Some(Call { procedure, params }))
}

fn parameter<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<Param> {
    let name = reader.b_varchar()?;
    let flags = reader.u8()?;
    if reader.peek_u8()? == Some(table_value::TABLE) {
        let table = table_value::read(reader)?;
        return Ok(Param {
            name,
            ty: SqlType::Null,
            collation: None,
            value: Value::Null,
            output: false,
            table: Some(table),
        });
    }
    let wire = WireType::read(reader)?;
    let value = decode(reader, &wire, Place::Parameter)?;
    Ok(Param {
        name,
        ty: wire.ty,
        collation: wire.collation,
        value: if flags & DEFAULT_VALUE == 0 {
            value
        } else {
            Value::Null
        },
        output: flags & BY_REFERENCE != 0,
        table: None,
    })
}

fn by_number(number: u16) -> WireResult<&'static str> {
    Ok(match number {
        1 => "sp_cursor",
        2 => "sp_cursoropen",
        3 => "sp_cursorprepare",
        4 => "sp_cursorexecute",
        5 => "sp_cursorprepexec",
        6 => "sp_cursorunprepare",
        7 => "sp_cursorfetch",
        8 => "sp_cursoroption",
        9 => "sp_cursorclose",
        10 => "sp_executesql",
        11 => "sp_prepare",
        12 => "sp_execute",
        13 => "sp_prepexec",
        14 => "sp_prepexecrpc",
        15 => "sp_unprepare",
        other => {
            return Err(WireError::malformed(format_args!(
                "there is no procedure number {other}"
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tds::token;
    use crate::tds::type_info::token::{INT_N, NULL};

    fn int(out: &mut Vec<u8>, name: &str, flags: u8, value: i32) {
        token::b_varchar(out, name);
        out.extend([flags, INT_N, 4, 4]);
        out.extend(value.to_le_bytes());
    }

    fn calls(message: Vec<u8>) -> WireResult<Vec<Call>> {
        let mut reader = WireReader::over(message);
        let mut calls = Vec::new();
        while let Some(call) = next_call(&mut reader)? {
            calls.push(call);
        }
        Ok(calls)
    }

    #[test]
    fn several_calls_come_in_one_message() {
        let mut message = vec![0xFF, 0xFF, 12, 0, 0, 0];
        int(&mut message, "", 0, 7);
        int(&mut message, "@out", BY_REFERENCE, 8);
        message.push(0xFF);
        message.extend([0xFF, 0xFF, 15, 0, 0, 0]);
        message.push(0xFF);
        message.extend([2, 0, b'm', 0, b'y', 0, 0, 0, 0, 0, NULL]);
        let calls = calls(message).unwrap();
        let names: Vec<_> = calls.iter().map(|c| c.procedure.as_str()).collect();
        assert_eq!(names, ["sp_execute", "sp_unprepare", "my"]);
        assert_eq!(calls[0].params.len(), 2);
        assert_eq!(calls[0].params[0].value, Value::Int(7));
        assert!(calls[0].params[1].output && calls[0].params[1].name == "@out");
        assert_eq!(calls[2].params[0].ty, SqlType::Null);
    }

    #[test]
    fn unknown_numbers_and_cut_messages_are_errors() {
        assert!(calls(vec![0xFF, 0xFF, 16, 0, 0, 0]).is_err());
        let mut message = vec![0xFF, 0xFF, 10, 0, 0, 0];
        int(&mut message, "@p", 0, 1);
        for length in 1..message.len() {
            let cut = calls(message[..length].to_vec());
            assert!(cut.is_err() || length == 6, "cut at {length}: {cut:?}");
        }
    }
}
