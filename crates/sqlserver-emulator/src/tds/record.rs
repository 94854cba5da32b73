//! What clients send after their login, kept in files: for a list of a program's statements, and as a corpus for fuzzing.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::tds::packet::{HEADER, Packet};

/// Where sessions are recorded.
#[derive(Debug)]
pub(crate) struct Recorder {
    directory: PathBuf,
    port: u16,
}

/// One session's record.
#[derive(Debug)]
pub(crate) struct Record(File);

impl Recorder {
    pub(crate) fn new(directory: PathBuf, port: u16) -> Self {
        Self { directory, port }
    }

    /// Begins the record of a session of this program.
    pub(crate) fn session(&self, program: &str, id: u16) -> io::Result<Record> {
        let program = program.replace(|letter: char| !letter.is_alphanumeric(), "-");
        let name = format!("{program}.{}-{id}.tds", self.port);
        // Session ids are used again: a later session's packets follow.
        let file = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join(name))?;
        Ok(Record(file))
    }
}

impl Record {
    /// Adds a packet.
    pub(crate) fn packet(&mut self, packet: &Packet) -> io::Result<()> {
        let length = u16::try_from(HEADER + packet.body.len()).unwrap_or(u16::MAX);
        let [high, low] = length.to_be_bytes();
        self.0
            .write_all(&[packet.kind, packet.status, high, low, 0, 0, 0, 0])?;
        self.0.write_all(&packet.body)
    }
}
