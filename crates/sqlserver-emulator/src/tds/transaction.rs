//! Transaction manager requests (MS-TDS 2.2.6.9).
#![warn(clippy::indexing_slicing)]

use crate::error::SqlError;
use crate::outcome::Output;
use crate::session::{Isolation, Session};
use crate::tds::reader::{PacketSource, WireError, WireReader, WireResult};

const GET_ADDRESS: u16 = 0;
const PROPAGATE: u16 = 1;
const BEGIN: u16 = 5;
const PROMOTE: u16 = 6;
const COMMIT: u16 = 7;
const ROLLBACK: u16 = 8;
const SAVE: u16 = 9;
/// COMMIT's and ROLLBACK's flag: begin another transaction at once.
const BEGIN_AGAIN: u8 = 0x01;

/// One request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TransactionRequest {
    Begin(Begin),
    Commit {
        name: String,
        then: Option<Begin>,
    },
    Rollback {
        name: String,
        then: Option<Begin>,
    },
    Save {
        name: String,
    },
    /// What a distributed transaction would begin with.
    Distributed,
}

/// How a transaction begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    isolation: Option<Isolation>,
    name: String,
}

impl TransactionRequest {
    pub(crate) fn read<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<Self> {
        match reader.u16()? {
            BEGIN => Ok(Self::Begin(begin(reader)?)),
            COMMIT => Ok(Self::Commit {
                name: name(reader)?,
                then: begin_again(reader)?,
            }),
            ROLLBACK => Ok(Self::Rollback {
                name: name(reader)?,
                then: begin_again(reader)?,
            }),
            SAVE => Ok(Self::Save { name: name(reader)? }),
            GET_ADDRESS | PROPAGATE | PROMOTE => Ok(Self::Distributed),
            other => Err(WireError::malformed(format_args!(
                "there is no transaction manager request {other}"
            ))),
        }
    }

    /// Runs the request; the engine emits the transaction's environment changes.
    pub(crate) fn run(&self, session: &mut Session, out: &mut dyn Output) -> Result<(), SqlError> {
        let then = match self {
            Self::Begin(begin) => return begin.run(session, out),
            Self::Save { name } => return session.save(name, out),
            Self::Distributed => return Err(SqlError::unsupported("distributed transactions")),
            Self::Commit { name, then } => {
                session.commit(name, out)?;
                then
            }
            Self::Rollback { name, then } => {
                session.rollback(name, out)?;
                then
            }
        };
        then.as_ref().map_or(Ok(()), |begin| begin.run(session, out))
    }
}

impl Begin {
    fn run(&self, session: &mut Session, out: &mut dyn Output) -> Result<(), SqlError> {
        session.begin(&self.name, self.isolation, out)
    }
}

fn begin<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<Begin> {
    let isolation = match reader.u8()? {
        0 => None,
        1 => Some(Isolation::ReadUncommitted),
        2 => Some(Isolation::ReadCommitted),
        3 => Some(Isolation::RepeatableRead),
        4 => Some(Isolation::Serializable),
        5 => Some(Isolation::Snapshot),
        other => {
            return Err(WireError::malformed(format_args!(
                "there is no isolation level {other}"
            )));
        }
    };
    Ok(Begin {
        isolation,
        name: name(reader)?,
    })
}

/// A transaction's name; its length counts bytes.
fn name<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<String> {
    let bytes = usize::from(reader.u8()?);
    Ok(String::from_utf16_lossy(&reader.utf16(bytes / 2)?))
}

fn begin_again<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<Option<Begin>> {
    if reader.u8()? & BEGIN_AGAIN == 0 {
        return Ok(None);
    }
    begin(reader).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        let begin = |isolation| Begin {
            isolation,
            name: String::new(),
        };
        for (bytes, expect) in [
            (
                &[5, 0, 5, 0][..],
                TransactionRequest::Begin(begin(Some(Isolation::Snapshot))),
            ),
            (&[5, 0, 0, 0], TransactionRequest::Begin(begin(None))),
            (
                &[7, 0, 0, 0],
                TransactionRequest::Commit {
                    name: String::new(),
                    then: None,
                },
            ),
            (
                &[8, 0, 2, b's', 0, 1, 2, 0],
                TransactionRequest::Rollback {
                    name: "s".to_owned(),
                    then: Some(begin(Some(Isolation::ReadCommitted))),
                },
            ),
            (
                &[9, 0, 2, b's', 0],
                TransactionRequest::Save { name: "s".to_owned() },
            ),
            (&[0, 0, 0, 0], TransactionRequest::Distributed),
            (&[6, 0], TransactionRequest::Distributed),
        ] {
            let mut reader = WireReader::over(bytes.to_vec());
            assert_eq!(TransactionRequest::read(&mut reader), Ok(expect), "{bytes:?}");
        }
        for bytes in [&[5, 0, 9, 0][..], &[2, 0], &[7, 0], &[5]] {
            let mut reader = WireReader::over(bytes.to_vec());
            assert!(TransactionRequest::read(&mut reader).is_err(), "{bytes:?}");
        }
    }
}
