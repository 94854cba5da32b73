//! The statements in a recorded session: its packets (MS-TDS 2.2.3) as they came after the login.

use anyhow::{Context, Result, bail};

const HEADER: usize = 8;
const SQL_BATCH: u8 = 1;
const RPC: u8 = 3;
const END_OF_MESSAGE: u8 = 1;
const BY_NUMBER: u16 = 0xFFFF;
const SP_EXECUTESQL: u16 = 10;
const NVARCHAR: u8 = 0xE7;
/// The declared length of a `nvarchar(max)`, whose value comes in chunks.
const MAX: u16 = 0xFFFF;

/// One packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet<'a> {
    pub(crate) kind: u8,
    pub(crate) status: u8,
    pub(crate) body: &'a [u8],
}

impl Packet<'_> {
    /// Whether a message ends with it.
    pub(crate) fn is_last(&self) -> bool {
        self.status & END_OF_MESSAGE != 0
    }
}

/// The packets of a session, in order. One that was cut off leaves a part at its end, which is left out.
pub(crate) fn packets(mut bytes: &[u8]) -> impl Iterator<Item = Packet<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.get(..HEADER)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let body = bytes.get(HEADER..length)?;
        bytes = &bytes[length..];
        Some(Packet {
            kind: header[0],
            status: header[1],
            body,
        })
    })
}

/// The texts of batches and of `sp_executesql`, in order. Bulk rows and transaction requests have none.
pub(super) fn statements(bytes: &[u8]) -> Result<Vec<String>> {
    let mut statements = Vec::new();
    let mut message = Vec::new();
    for packet in packets(bytes) {
        message.extend_from_slice(packet.body);
        if packet.is_last() {
            statements.extend(statement(packet.kind, &std::mem::take(&mut message))?);
        }
    }
    Ok(statements)
}

/// The text of a request, if it is of a kind that has one.
pub(crate) fn statement(kind: u8, message: &[u8]) -> Result<Option<String>> {
    Ok(match kind {
        SQL_BATCH => Some(text(without_headers(message)?)),
        RPC => Some(call(without_headers(message)?)?),
        _ => None,
    })
}

/// What follows ALL_HEADERS.
fn without_headers(message: &[u8]) -> Result<&[u8]> {
    let length = Bytes(message).u32()? as usize;
    message
        .get(length..)
        .context("a request is shorter than its headers")
}

fn text(utf16: &[u8]) -> String {
    let units: Vec<u16> = utf16
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    String::from_utf16_lossy(&units)
}

/// The statement of a call of `sp_executesql`: its first parameter.
fn call(request: &[u8]) -> Result<String> {
    let mut bytes = Bytes(request);
    match bytes.u16()? {
        BY_NUMBER => {
            let number = bytes.u16()?;
            if number != SP_EXECUTESQL {
                bail!("procedure number {number} is called; only sp_executesql is expected");
            }
        }
        length => {
            let name = text(bytes.take(usize::from(length) * 2)?);
            if name != "sp_executesql" {
                return Ok(format!("EXEC {name}"));
            }
        }
    }
    bytes.u16()?;
    let name = usize::from(bytes.u8()?);
    bytes.take(name * 2 + 1)?;
    let (kind, longest) = (bytes.u8()?, bytes.u16()?);
    if kind != NVARCHAR {
        bail!("a statement of type {kind:#x}; only nvarchar is expected");
    }
    bytes.take(5)?;
    if longest != MAX {
        let length = usize::from(bytes.u16()?);
        return Ok(text(bytes.take(length)?));
    }
    bytes.take(8)?;
    let mut whole = Vec::new();
    loop {
        match bytes.u32()? {
            0 => return Ok(text(&whole)),
            length => whole.extend_from_slice(bytes.take(length as usize)?),
        }
    }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .context("a request ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16> {
        let two = self.take(2)?;
        Ok(u16::from_le_bytes([two[0], two[1]]))
    }

    fn u32(&mut self) -> Result<u32> {
        let (low, high) = (self.u16()?, self.u16()?);
        Ok(u32::from(low) | u32::from(high) << 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, status: u8, body: &[u8]) -> Vec<u8> {
        let [high, low] = ((body.len() + HEADER) as u16).to_be_bytes();
        [&[kind, status, high, low, 0, 0, 0, 0][..], body].concat()
    }

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn batches_in_several_packets_and_calls_are_read() {
        let batch = [&[4, 0, 0, 0][..], &utf16("SELECT 1")].concat();
        let mut call = [
            &[4, 0, 0, 0, 0xFF, 0xFF, 10, 0, 0, 0, 0, 0, NVARCHAR, 0x40, 0x1F][..],
            &[0; 5],
        ]
        .concat();
        call.extend([16, 0]);
        call.extend(utf16("SELECT 2"));
        let session = [
            packet(SQL_BATCH, 0, &batch[..7]),
            packet(SQL_BATCH, 1, &batch[7..]),
            packet(14, 1, &[5, 0]),
            packet(RPC, 1, &call),
        ]
        .concat();
        assert_eq!(statements(&session).unwrap(), ["SELECT 1", "SELECT 2"]);
        assert_eq!(statements(&session[..session.len() - 1]).unwrap(), ["SELECT 1"]);
    }
}
