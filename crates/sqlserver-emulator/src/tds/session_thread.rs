//! A session's thread: takes requests from the connection, drives the engine, answers.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::outcome::{Command, Output};
use crate::session::Session;
use crate::tds::bulk::BulkRows;
use crate::tds::link::Link;
use crate::tds::packet::{Packet, kind, status};
use crate::tds::reader::{PacketSource, WireError, WireReader, WireResult};
use crate::tds::request::{Message, Request, Reset};
use crate::tds::response::Response;
use crate::tds::rpc;
use crate::tds::transaction::TransactionRequest;

/// One session and its connection's two ends.
pub(crate) struct SessionThread {
    session: Session,
    requests: mpsc::Receiver<Request>,
    response: Response,
    link: Arc<Link>,
}

impl SessionThread {
    pub(crate) fn new(
        session: Session,
        requests: mpsc::Receiver<Request>,
        response: Response,
        link: Arc<Link>,
    ) -> Self {
        Self {
            session,
            requests,
            response,
            link,
        }
    }

    /// Serves requests until the connection is gone, or an answer ends it.
    pub(crate) fn run(mut self) {
        while !self.response.is_fatal()
            && let Some(request) = self.requests.blocking_recv()
        {
            if self.link.is_closed() {
                break;
            }
            match request {
                Request::Attention => self.response.acknowledge_attention(),
                // ATTENTION overtook the request: it must not start. Its acknowledgement comes next.
                Request::Message(_) if self.link.is_cancelled() => self.response.finish(),
                Request::Message(message) => self.serve(message),
                Request::Bulk(packet) => self.bulk_load(packet),
            }
        }
    }

    fn serve(&mut self, message: Message) {
        self.reset(message.reset());
        let outcome = match message.kind {
            kind::SQL_BATCH => self.batch(message),
            kind::RPC => self.calls(message),
            kind::TRANSACTION_MANAGER => self.transaction(message),
            other => Err(WireError::malformed(format_args!(
                "there is no request of type {other}"
            ))),
        };
        if let Err(error) = outcome {
            self.report(&error);
            self.response.request_done(Command::None);
        }
        self.response.finish();
    }

    fn reset(&mut self, reset: Reset) {
        if reset == Reset::No {
            return;
        }
        self.session.reset(reset == Reset::KeepTransaction);
        self.response.connection_was_reset(self.session.database());
    }

    fn batch(&mut self, message: Message) -> WireResult<()> {
        let text = message.reader()?.rest_as_text();
        self.session.batch(&text, &mut self.response);
        Ok(())
    }

    fn calls(&mut self, message: Message) -> WireResult<()> {
        let mut reader = message.reader()?;
        while let Some(call) = rpc::next_call(&mut reader)? {
            self.session
                .call(&call.procedure, call.params, &mut self.response);
            self.response.procedure_done();
            if self.link.is_cancelled() {
                break;
            }
        }
        Ok(())
    }

    fn transaction(&mut self, message: Message) -> WireResult<()> {
        let request = TransactionRequest::read(&mut message.reader()?)?;
        if let Err(error) = request.run(&mut self.session, &mut self.response) {
            self.response.message(&error);
        }
        self.response.request_done(Command::None);
        Ok(())
    }

    /// Takes the rows that follow an INSERT BULK, from its first packet on.
    fn bulk_load(&mut self, first: Packet) {
        let source = BulkPackets::new(&mut self.requests, first);
        let (outcome, mut source) = match BulkRows::start(WireReader::new(Vec::new(), source)) {
            Ok(mut rows) => (load(&mut self.session, &mut rows), rows.into_source()),
            Err((error, source)) => (Err(error), source),
        };
        let outcome = outcome.and(source.drain());
        let attention = source.attention;
        match outcome {
            Ok(()) => self.session.bulk_end(&mut self.response),
            Err(error) => {
                self.session.bulk_cancel();
                if error == WireError::Ended {
                    if attention {
                        self.response.acknowledge_attention();
                    }
                    return;
                }
                self.report(&error);
                self.response.request_done(Command::BulkInsert);
            }
        }
        self.response.finish();
    }

    fn report(&mut self, error: &WireError) {
        if let Some(error) = error.to_sql() {
            self.response.message(&error);
        }
    }
}

/// Gives each row to the engine. After the engine refuses one the rest is only read; `bulk_end` tells the client why.
fn load<S: PacketSource>(session: &mut Session, rows: &mut BulkRows<S>) -> WireResult<()> {
    let expected = session.bulk_target().map(|target| target.columns.len());
    if expected != Some(rows.column_count()) {
        return Err(WireError::malformed(format_args!(
            "a bulk load of {} columns came where {} were announced by INSERT BULK",
            rows.column_count(),
            expected.unwrap_or(0)
        )));
    }
    let mut refused = false;
    while rows.next_row(&mut |value| session.bulk_value(value))? {
        refused = refused || session.bulk_row_end().is_err();
    }
    Ok(())
}

/// The packets of one bulk load, as they arrive.
struct BulkPackets<'a> {
    requests: &'a mut mpsc::Receiver<Request>,
    waiting: Option<Packet>,
    finished: bool,
    /// ATTENTION came instead of a packet.
    attention: bool,
}

impl<'a> BulkPackets<'a> {
    fn new(requests: &'a mut mpsc::Receiver<Request>, first: Packet) -> Self {
        Self {
            requests,
            waiting: Some(first),
            finished: false,
            attention: false,
        }
    }

    /// Reads the message to its end.
    fn drain(&mut self) -> WireResult<()> {
        while self.next_body()?.is_some() {}
        Ok(())
    }

    fn next_packet(&mut self) -> WireResult<Packet> {
        if let Some(packet) = self.waiting.take() {
            return Ok(packet);
        }
        match self.requests.blocking_recv() {
            Some(Request::Bulk(packet)) => Ok(packet),
            Some(Request::Attention) => {
                self.attention = true;
                Err(WireError::Ended)
            }
            Some(Request::Message(_)) | None => Err(WireError::Ended),
        }
    }
}

impl PacketSource for BulkPackets<'_> {
    fn next_body(&mut self) -> WireResult<Option<Vec<u8>>> {
        if self.finished {
            return Ok(None);
        }
        self.finished = true;
        let packet = self.next_packet()?;
        self.finished = packet.is_last();
        if packet.status & status::IGNORE != 0 {
            return Err(WireError::Ended);
        }
        Ok(Some(packet.body))
    }
}
