use super::*;
use crate::tds::packet::Piece;
use crate::types::Length;
use tokio::sync::mpsc;

struct Peer {
    response: Response,
    link: Arc<Link>,
    faults: Arc<Faults>,
    socket: mpsc::Receiver<Piece>,
}

fn peer() -> Peer {
    let (sender, socket) = mpsc::channel(64);
    let link = Arc::new(Link::new(Arc::default()));
    let faults = Arc::new(Faults::default());
    let response = Response::new(
        MessageWriter::new(sender, 4096, 51),
        Arc::clone(&link),
        Arc::clone(&faults),
        "S".to_owned(),
        "db".to_owned(),
        true,
        crate::tds::login::NewTypes {
            json: true,
            vector: true,
        },
    );
    Peer {
        response,
        link,
        faults,
        socket,
    }
}

impl Peer {
    /// What was sent, without packet headers.
    fn sent(&mut self) -> Vec<u8> {
        let mut tokens = Vec::new();
        while let Ok(piece) = self.socket.try_recv() {
            tokens.extend_from_slice(&piece.bytes[8..]);
        }
        tokens
    }

    /// Token and status of each DONE in a response that holds nothing else.
    fn dones(&mut self) -> Vec<(u8, u16)> {
        let sent = self.sent();
        let (tokens, rest) = sent.as_chunks::<13>();
        assert!(rest.is_empty(), "{sent:x?}");
        tokens
            .iter()
            .map(|t| (t[0], u16::from_le_bytes([t[1], t[2]])))
            .collect()
    }
}

fn statement(rows: Option<u64>, in_proc: bool) -> Done {
    Done {
        command: Command::Update,
        rows,
        error: false,
        in_proc,
    }
}

fn column(name: &str, ty: SqlType) -> ResultColumn {
    ResultColumn {
        name: name.to_owned(),
        ty,
        collation: None,
        nullable: true,
        identity: false,
        read_only: false,
        table: None,
    }
}

#[test]
fn only_the_last_done_lacks_the_more_bit() {
    let mut peer = peer();
    peer.response.done(statement(Some(1), false));
    peer.response.done(statement(None, false));
    peer.response.finish();
    assert_eq!(peer.dones(), [(0xFD, 0x11), (0xFD, 0)]);
    peer.response.finish();
    assert_eq!(peer.dones(), [(0xFD, 0)], "an empty batch is answered too");
}

#[test]
fn a_procedure_ends_with_doneproc() {
    let mut peer = peer();
    peer.response.done(statement(Some(1), true));
    peer.response.procedure_done();
    peer.response.procedure_done();
    peer.response.finish();
    assert_eq!(peer.dones(), [(0xFF, 0x11), (0xFE, 1), (0xFE, 0)]);
}

#[test]
fn an_error_marks_the_done_behind_it() {
    let mut peer = peer();
    peer.response.message(&SqlError::user(208, "x"));
    peer.response.request_done(Command::None);
    peer.response.done(statement(None, false));
    peer.response.finish();
    let sent = peer.sent();
    let dones = &sent[sent.len() - 26..];
    assert_eq!([dones[1], dones[14]], [0x03, 0]);
}

/// MS-TDS 2.2.7.6: SQL Server does not set DONE_INXACT.
#[test]
fn dones_inside_a_transaction_are_like_others() {
    let mut peer = peer();
    peer.response.env(EnvChange::BeginTran(1));
    peer.sent();
    peer.response.request_done(Command::BeginTran);
    peer.response.finish();
    let sent = peer.sent();
    assert_eq!(sent[sent.len() - 12], 0);
}

#[test]
fn rows_with_many_nulls_take_the_bitmap_form() {
    let mut peer = peer();
    let columns = [
        column("a", SqlType::Int),
        column("b", SqlType::Int),
        column("c", SqlType::Int),
    ];
    assert_eq!(peer.response.columns(&columns), Flow::Continue);
    let header = peer.response.writer.payload().len();
    peer.response.row(&[Value::Int(1), Value::Null, Value::Int(2)]);
    peer.response.row(&[Value::Null, Value::Int(3), Value::Null]);
    let sent = peer.response.writer.payload()[header..].to_vec();
    assert_eq!(
        sent,
        [0xD1, 4, 1, 0, 0, 0, 0, 4, 2, 0, 0, 0, 0xD2, 0b101, 4, 3, 0, 0, 0]
    );
}

#[test]
fn a_kept_row_with_values_between_leaves_as_its_values_would() {
    let columns = [
        column("a", SqlType::Int),
        column("key", SqlType::BigInt),
        column(
            "t",
            SqlType::NVarChar {
                len: Length::Chars(9),
            },
        ),
        column("there", SqlType::Bit),
    ];
    let key = |value| [(1, value), (3, Value::Bit(true))];
    for (kept, others) in [
        ([Value::Int(7), Value::text("ab")], key(Value::BigInt(5))),
        ([Value::Null, Value::text("")], key(Value::BigInt(5))),
        ([Value::Null, Value::Null], key(Value::Null)),
    ] {
        let (mut whole, mut mixed) = (peer(), peer());
        let [(_, k), (_, there)] = others.clone();
        let [a, t] = kept.clone();
        whole.response.columns(&columns);
        whole.response.row(&[a.clone(), k, t.clone(), there]);
        mixed.response.columns(&columns);
        let row = Packed::of(&[Value::Int(1), a, Value::Date(3), t], &[]);
        mixed.response.stored_row(&row, &[1, 3], &others);
        assert_eq!(
            mixed.response.writer.payload(),
            whole.response.writer.payload(),
            "{kept:?}"
        );
    }
}

#[test]
fn a_value_of_the_wrong_type_becomes_an_error_and_no_half_row() {
    let mut peer = peer();
    peer.response.columns(&[
        column("a", SqlType::Int),
        column("b", SqlType::VarBinary { len: Length::Max }),
    ]);
    let header = peer.response.writer.payload().len();
    let flow = peer.response.row(&[Value::Int(1), Value::Int(2)]);
    assert_eq!(flow, Flow::Stop);
    assert_eq!(peer.response.writer.payload()[header], token::kind::ERROR);
}

#[test]
fn attention_is_acknowledged_in_a_message_after_the_response() {
    let mut peer = peer();
    peer.response.done(statement(Some(1), false));
    peer.link.cancel();
    assert_eq!(peer.response.row(&[]), Flow::Stop);
    peer.response.finish();
    assert_eq!(peer.dones(), [(0xFD, 0x11), (0xFD, 0x02)]);
    peer.response.acknowledge_attention();
    assert_eq!(peer.dones(), [(0xFD, 0x20)]);
    assert!(!peer.link.is_cancelled());
}

#[test]
fn column_flags_tell_what_can_be_written() {
    let base = column("a", SqlType::Int);
    for (column, expect) in [
        (base.clone(), 0x09),
        (
            ResultColumn {
                nullable: false,
                ..base.clone()
            },
            0x08,
        ),
        (
            ResultColumn {
                identity: true,
                read_only: true,
                ..base.clone()
            },
            0x11,
        ),
        (
            ResultColumn {
                read_only: true,
                ..base.clone()
            },
            0x21,
        ),
        (
            ResultColumn {
                ty: SqlType::RowVersion,
                read_only: true,
                nullable: false,
                ..base
            },
            0x00,
        ),
    ] {
        let mut out = Vec::new();
        super::column(&mut out, &column, crate::tds::login::NewTypes::default());
        assert_eq!(out[4], expect, "{column:?}");
    }
}

#[test]
fn an_ordered_fault_hangs_up_around_the_commit() {
    for (fault, flow, early) in [
        (CommitFault::Before, Flow::Stop, true),
        (CommitFault::During, Flow::Continue, true),
        (CommitFault::After, Flow::Continue, false),
    ] {
        let mut peer = peer();
        peer.faults.lose_connection_at_commit(fault, "DB", 0);
        assert_eq!(peer.response.before_commit(), flow, "{fault:?}");
        assert_eq!(peer.link.is_closed(), early, "{fault:?}");
        peer.response.env(EnvChange::CommitTran(1));
        assert!(peer.link.is_closed(), "{fault:?}");
        peer.response.finish();
        assert!(peer.sent().is_empty(), "{fault:?}: the client was answered");
    }
}
