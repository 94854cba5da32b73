//! Requests as the connection hands them to the session's thread, and the headers in front of them.

use crate::tds::packet::{Packet, status};
use crate::tds::reader::{Complete, WireError, WireReader, WireResult};

/// A client's message, or a part of one that is streamed.
#[derive(Debug)]
pub(crate) enum Request {
    /// A whole message.
    Message(Message),
    /// A packet of a bulk load.
    Bulk(Packet),
    /// The client wants the current response to stop.
    Attention,
}

/// A batch, remote procedure call or transaction manager request.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) status: u8,
    pub(crate) body: Vec<u8>,
}

/// What the client asked to be reset before the request runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    No,
    All,
    KeepTransaction,
}

impl Message {
    pub(crate) fn reset(&self) -> Reset {
        if self.status & status::RESET_CONNECTION_SKIP_TRANSACTION != 0 {
            Reset::KeepTransaction
        } else if self.status & status::RESET_CONNECTION != 0 {
            Reset::All
        } else {
            Reset::No
        }
    }

    /// A reader behind ALL_HEADERS (MS-TDS 2.2.5.3), whose contents the emulator does not need.
    pub(crate) fn reader(self) -> WireResult<WireReader<Complete>> {
        let mut reader = WireReader::over(self.body);
        let total = reader.u32()? as usize;
        let rest = total
            .checked_sub(4)
            .ok_or_else(|| WireError::malformed("ALL_HEADERS is shorter than its length"))?;
        reader.skip(rest)?;
        Ok(reader)
    }
}
