//! What a session emits, as tokens: the engine's [`Output`] over the packet buffer.

use std::sync::Arc;

use crate::collation::Collation;
use crate::error::SqlError;
use crate::faults::{CommitFault, Faults};
use crate::outcome::{Command, Done, EnvChange, Flow, Output, ResultColumn, ReturnValue};
use crate::store::{Packed, WholeRow};
use crate::tds::link::Link;
use crate::tds::login::NewTypes;
use crate::tds::packet::MessageWriter;
use crate::tds::token;
use crate::tds::type_info;
use crate::tds::value_encode::{Encoder, Mismatch};
use crate::types::{Length, SqlType};
use crate::value::Value;

/// The first byte of no token: an ordered damage.
const NO_TOKEN: u8 = 0x01;

/// COLMETADATA's column flags.
mod flag {
    pub(super) const NULLABLE: u16 = 0x01;
    pub(super) const UPDATEABLE: u16 = 0x08;
    pub(super) const IDENTITY: u16 = 0x10;
    pub(super) const COMPUTED: u16 = 0x20;
}
/// The user type that marks a rowversion among the binaries.
const USER_TYPE_TIMESTAMP: u32 = 80;
const PARAMETER_IS_OUTPUT: u8 = 1;

/// A DONE that waits for what follows, because only then its MORE bit is known.
struct Pending {
    token: u8,
    status: u16,
    command: Command,
    rows: u64,
}

/// One connection's answers.
pub(crate) struct Response {
    writer: MessageWriter,
    link: Arc<Link>,
    faults: Arc<Faults>,
    server_name: String,
    reads_nbcrow: bool,
    reads: NewTypes,
    database: String,
    encoders: Vec<Encoder>,
    /// How rows begin that are kept as the current result's rows travel; none if there are no such.
    whole: Option<WholeRow>,
    pending: Option<Pending>,
    /// An error was sent since the last DONE.
    failed: bool,
    /// An error was sent that ends the connection.
    fatal: bool,
    fault: Option<CommitFault>,
    /// Rows since the last look at how fast they may go.
    rows: u32,
}

/// Rows between two looks at how fast they may go.
const PACED_ROWS: u32 = 256;

impl Response {
    pub(crate) fn new(
        writer: MessageWriter,
        link: Arc<Link>,
        faults: Arc<Faults>,
        server_name: String,
        database: String,
        reads_nbcrow: bool,
        reads: NewTypes,
    ) -> Self {
        Self {
            writer,
            link,
            faults,
            server_name,
            reads_nbcrow,
            reads,
            database,
            encoders: Vec::new(),
            whole: None,
            pending: None,
            failed: false,
            fatal: false,
            fault: None,
            rows: 0,
        }
    }

    /// Whether the connection ends with what was answered.
    pub(crate) fn is_fatal(&self) -> bool {
        self.fatal
    }

    /// Answers RESETCONNECTION: the session is as after its login, in `database`.
    pub(crate) fn connection_was_reset(&mut self, database: &str) {
        let out = self.tokens();
        token::reset_acknowledged(out);
        if self.database != database {
            let old = std::mem::replace(&mut self.database, database.to_owned());
            token::database(self.writer.payload(), database, &old);
        }
    }

    /// Ends a procedure call: DONEPROC.
    pub(crate) fn procedure_done(&mut self) {
        self.end_statement(token::kind::DONE_PROC, Command::Execute, None, false);
    }

    /// Ends a request that is no batch, such as COMMIT through the transaction manager.
    pub(crate) fn request_done(&mut self, command: Command) {
        self.end_statement(token::kind::DONE, command, None, false);
    }

    /// Ends the response. One that ATTENTION interrupted ends as failed; the acknowledgement is a message of its own.
    pub(crate) fn finish(&mut self) {
        if self.link.is_closed() {
            return;
        }
        if self.pending.is_none() || self.link.is_cancelled() {
            self.failed |= self.link.is_cancelled();
            self.request_done(Command::None);
        }
        self.write_pending(0);
        if self.faults.at_answer(&self.database)
            && let Some(token) = self.writer.payload().first_mut()
        {
            *token = NO_TOKEN;
        }
        // A client that is gone is noticed by the connection's own tasks.
        let _ = self.writer.finish();
    }

    /// Acknowledges ATTENTION.
    pub(crate) fn acknowledge_attention(&mut self) {
        self.link.resume();
        self.failed = false;
        token::done(
            self.writer.payload(),
            token::kind::DONE,
            token::done::ATTENTION,
            0,
            0,
        );
        let _ = self.writer.finish();
    }

    /// Where the next token goes; a waiting DONE is written first, since something follows it.
    fn tokens(&mut self) -> &mut Vec<u8> {
        self.write_pending(token::done::MORE);
        self.writer.payload()
    }

    fn write_pending(&mut self, more: u16) {
        if let Some(done) = self.pending.take() {
            token::done(
                self.writer.payload(),
                done.token,
                done.status | more,
                done.command.code(),
                done.rows,
            );
        }
    }

    fn end_statement(&mut self, kind: u8, command: Command, rows: Option<u64>, error: bool) {
        self.write_pending(token::done::MORE);
        let failed = std::mem::take(&mut self.failed) || error;
        let mut status = 0;
        if failed {
            status |= token::done::ERROR;
        }
        if rows.is_some() {
            status |= token::done::COUNT;
        }
        self.pending = Some(Pending {
            token: kind,
            status,
            command,
            rows: rows.unwrap_or(0),
        });
    }

    fn flow(&self) -> Flow {
        if self.link.is_cancelled() || self.link.is_closed() {
            Flow::Stop
        } else {
            Flow::Continue
        }
    }

    /// Writes ROW from a row as it is kept; false, with a part of it written, if NBCROW would be shorter.
    fn write_stored(
        &mut self,
        row: &Packed,
        columns: &[usize],
        others: &[(usize, Value)],
    ) -> Result<bool, Mismatch> {
        let width = columns.len() + others.len();
        let most_nulls = if self.reads_nbcrow {
            width.div_ceil(8)
        } else {
            width
        };
        if width != self.encoders.len() {
            return Err(Mismatch);
        }
        let out = self.writer.payload();
        out.push(token::kind::ROW);
        if others.is_empty()
            && let Some((nulls, wire)) = self.whole.as_ref().and_then(|whole| row.wire(whole))
        {
            out.extend_from_slice(wire);
            return Ok(nulls <= most_nulls);
        }
        let mut values = row.values();
        let (mut columns, mut others) = (columns.iter(), others.iter().peekable());
        let (mut nulls, mut passed) = (0, 0);
        for (place, encoder) in self.encoders.iter().enumerate() {
            if let Some((_, value)) = others.next_if(|(at, _)| *at == place) {
                encoder.encode(out, value)?;
                nulls += usize::from(value.is_null());
                continue;
            }
            let column = *columns.next().ok_or(Mismatch)?;
            while passed < column {
                values.pass().ok_or(Mismatch)?;
                passed += 1;
            }
            nulls += usize::from(encoder.encode_next(out, &mut values)?);
            passed += 1;
        }
        Ok(nulls <= most_nulls)
    }

    /// Writes a row, or the error that says why it cannot be.
    fn write_or_refuse(&mut self, row: &[Value]) -> Flow {
        let start = self.tokens().len();
        if row.len() != self.encoders.len() || self.write_row(row).is_err() {
            self.writer.payload().truncate(start);
            self.message(&SqlError::unsupported(
                "a result whose values differ from its announced column types",
            ));
            return Flow::Stop;
        }
        self.rows += 1;
        Flow::Continue
    }

    /// Writes ROW, or NBCROW where its bitmap is shorter than the NULLs it saves.
    fn write_row(&mut self, row: &[Value]) -> Result<(), Mismatch> {
        let bitmap = row.len().div_ceil(8);
        let nulls = row.iter().filter(|value| value.is_null()).count();
        let out = self.writer.payload();
        if self.reads_nbcrow && nulls > bitmap {
            out.push(token::kind::NBC_ROW);
            for eight in row.chunks(8) {
                let bits = eight.iter().enumerate();
                out.push(bits.fold(0, |byte, (bit, value)| byte | (u8::from(value.is_null()) << bit)));
            }
            for (encoder, value) in self.encoders.iter().zip(row) {
                if !value.is_null() {
                    encoder.encode(out, value)?;
                }
            }
        } else {
            out.push(token::kind::ROW);
            for (encoder, value) in self.encoders.iter().zip(row) {
                encoder.encode(out, value)?;
            }
        }
        Ok(())
    }
}

fn user_type(ty: SqlType) -> u32 {
    match ty {
        SqlType::RowVersion => USER_TYPE_TIMESTAMP,
        _ => 0,
    }
}

/// Writes the type as the client is told it: `json` and `vector` are text in UTF-8 to those who did not ask for them ("JSON data type",
/// "Vector data type").
fn told(
    out: &mut Vec<u8>,
    ty: SqlType,
    collation: Option<&'static Collation>,
    nullable: bool,
    reads: NewTypes,
) -> (Encoder, type_info::Layout) {
    let vectors = matches!(ty, SqlType::Vector { .. }) && !reads.vector;
    let (ty, collation) = match vectors || ty == SqlType::Json && !reads.json {
        true => (
            SqlType::VarChar { len: Length::Max },
            Collation::find("Latin1_General_100_BIN2_UTF8"),
        ),
        false => (ty, collation),
    };
    let layout = type_info::write(out, ty, collation, nullable);
    let encoder = Encoder::new(ty, collation, layout);
    (if vectors { encoder.of_vectors() } else { encoder }, layout)
}

fn column(out: &mut Vec<u8>, column: &ResultColumn, reads: NewTypes) -> Encoder {
    let mut flags = 0;
    if column.nullable {
        flags |= flag::NULLABLE;
    }
    flags |= match column {
        _ if column.identity => flag::IDENTITY,
        _ if column.ty == SqlType::RowVersion => 0,
        _ if column.read_only => flag::COMPUTED,
        _ => flag::UPDATEABLE,
    };
    out.extend(user_type(column.ty).to_le_bytes());
    out.extend(flags.to_le_bytes());
    let (encoder, layout) = told(out, column.ty, column.collation, column.nullable, reads);
    if layout == type_info::Layout::Long {
        let empty = Default::default();
        let table = column.table.as_ref().unwrap_or(&empty);
        out.push(table.len() as u8);
        for part in table {
            token::us_varchar(out, part);
        }
    }
    token::b_varchar(out, &column.name);
    encoder
}

impl Output for Response {
    fn columns(&mut self, columns: &[ResultColumn]) -> Flow {
        let out = self.tokens();
        out.push(token::kind::COL_METADATA);
        out.extend((columns.len() as u16).to_le_bytes());
        let reads = self.reads;
        self.encoders = columns
            .iter()
            .map(|c| column(self.writer.payload(), c, reads))
            .collect();
        self.whole = WholeRow::of(self.encoders.iter().map(Encoder::form));
        self.flow()
    }

    fn row(&mut self, row: &[Value]) -> Flow {
        if self.flow() == Flow::Stop || self.write_or_refuse(row) == Flow::Stop {
            return Flow::Stop;
        }
        self.hand_over()
    }

    fn stored_row(&mut self, row: &Packed, columns: &[usize], others: &[(usize, Value)]) -> Flow {
        let start = self.tokens().len();
        if self.write_stored(row, columns, others) != Ok(true) {
            self.writer.payload().truncate(start);
            return self.write_or_refuse(&row.merged(columns, others));
        }
        self.rows += 1;
        Flow::Continue
    }

    /// Hands packets over when they are full, no faster than rows may leave.
    fn hand_over(&mut self) -> Flow {
        if self.rows >= PACED_ROWS {
            let pause = self.faults.pause_after(std::mem::take(&mut self.rows));
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
        match self.writer.hand_over() {
            Ok(()) => self.flow(),
            Err(_) => Flow::Stop,
        }
    }

    fn done(&mut self, done: Done) {
        let kind = if done.in_proc {
            token::kind::DONE_IN_PROC
        } else {
            token::kind::DONE
        };
        self.end_statement(kind, done.command, done.rows, done.error);
        let _ = self.writer.hand_over();
    }

    fn message(&mut self, message: &SqlError) {
        if !message.is_info() {
            self.failed = true;
        }
        self.fatal |= message.is_fatal();
        self.write_pending(token::done::MORE);
        token::message(self.writer.payload(), message, &self.server_name);
    }

    fn env(&mut self, change: EnvChange) {
        match change {
            EnvChange::Database { new, old } => {
                token::database(self.tokens(), &new, &old);
                self.database = new;
            }
            EnvChange::BeginTran(descriptor) => {
                token::begin_transaction(self.tokens(), descriptor);
            }
            EnvChange::CommitTran(descriptor) => {
                token::commit_transaction(self.tokens(), descriptor);
                if self.fault.take().is_some() {
                    self.link.hang_up();
                }
            }
            EnvChange::RollbackTran(descriptor) => {
                token::rollback_transaction(self.tokens(), descriptor);
            }
        }
    }

    fn return_value(&mut self, value: ReturnValue) {
        let reads = self.reads;
        let out = self.tokens();
        let start = out.len();
        out.push(token::kind::RETURN_VALUE);
        out.extend(value.ordinal.to_le_bytes());
        token::b_varchar(out, &value.name);
        out.push(PARAMETER_IS_OUTPUT);
        out.extend(user_type(value.ty).to_le_bytes());
        out.extend(flag::NULLABLE.to_le_bytes());
        let (encoder, _) = told(out, value.ty, value.collation, true, reads);
        if encoder.encode(out, &value.value).is_err() {
            out.truncate(start);
            self.message(&SqlError::unsupported(
                "an output parameter whose value differs from its type",
            ));
        }
    }

    fn return_status(&mut self, status: i32) {
        token::return_status(self.tokens(), status);
    }

    fn before_commit(&mut self) -> Flow {
        match self.faults.at_commit(&self.database) {
            None => Flow::Continue,
            Some(CommitFault::Before) => {
                self.link.hang_up();
                Flow::Stop
            }
            Some(CommitFault::During) => {
                self.link.hang_up();
                Flow::Continue
            }
            Some(CommitFault::After) => {
                self.fault = Some(CommitFault::After);
                Flow::Continue
            }
        }
    }
}

#[cfg(test)]
mod tests;
