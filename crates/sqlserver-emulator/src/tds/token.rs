//! The tokens of a response that carry no rows (MS-TDS 2.2.7).

use crate::collation::Collation;
use crate::error::SqlError;
use crate::tds::prelogin::SERVER_VERSION;

/// Token types.
pub(crate) mod kind {
    pub(crate) const RETURN_STATUS: u8 = 0x79;
    pub(crate) const COL_METADATA: u8 = 0x81;
    pub(crate) const ERROR: u8 = 0xAA;
    pub(crate) const INFO: u8 = 0xAB;
    pub(crate) const RETURN_VALUE: u8 = 0xAC;
    pub(crate) const LOGIN_ACK: u8 = 0xAD;
    pub(crate) const FEATURE_EXT_ACK: u8 = 0xAE;
    pub(crate) const ROW: u8 = 0xD1;
    pub(crate) const NBC_ROW: u8 = 0xD2;
    pub(crate) const ENV_CHANGE: u8 = 0xE3;
    pub(crate) const DONE: u8 = 0xFD;
    pub(crate) const DONE_PROC: u8 = 0xFE;
    pub(crate) const DONE_IN_PROC: u8 = 0xFF;
}

/// DONE's status bits.
pub(crate) mod done {
    pub(crate) const MORE: u16 = 0x01;
    pub(crate) const ERROR: u16 = 0x02;
    pub(crate) const COUNT: u16 = 0x10;
    pub(crate) const ATTENTION: u16 = 0x20;
}

/// ENVCHANGE's types.
mod env {
    pub(super) const DATABASE: u8 = 1;
    pub(super) const LANGUAGE: u8 = 2;
    pub(super) const PACKET_SIZE: u8 = 4;
    pub(super) const COLLATION: u8 = 7;
    pub(super) const BEGIN_TRANSACTION: u8 = 8;
    pub(super) const COMMIT_TRANSACTION: u8 = 9;
    pub(super) const ROLLBACK_TRANSACTION: u8 = 10;
    pub(super) const RESET_ACKNOWLEDGED: u8 = 18;
}

/// A name of at most 255 UTF-16 units behind a one-byte length.
pub(crate) fn b_varchar(out: &mut Vec<u8>, text: &str) {
    let units: Vec<u16> = text.encode_utf16().take(255).collect();
    out.push(units.len() as u8);
    out.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
}

/// A text of at most 65,535 UTF-16 units behind a two-byte length.
pub(crate) fn us_varchar(out: &mut Vec<u8>, text: &str) {
    let units: Vec<u16> = text.encode_utf16().take(0x7000).collect();
    out.extend((units.len() as u16).to_le_bytes());
    out.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
}

/// A token whose body has a two-byte length in front.
fn sized(out: &mut Vec<u8>, token: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(token);
    let at = out.len();
    out.extend([0, 0]);
    body(out);
    let length = (out.len() - at - 2) as u16;
    if let Some(bytes) = out.get_mut(at..at + 2) {
        bytes.copy_from_slice(&length.to_le_bytes());
    }
}

pub(crate) fn login_ack(out: &mut Vec<u8>, tds_version: u32) {
    sized(out, kind::LOGIN_ACK, |out| {
        out.push(1);
        out.extend(tds_version.to_be_bytes());
        b_varchar(out, "Microsoft SQL Server");
        out.extend(SERVER_VERSION);
    });
}

/// Acknowledges features, each with one byte: that it is supported, or its version.
pub(crate) fn feature_ext_ack(out: &mut Vec<u8>, features: &[u8]) {
    out.push(kind::FEATURE_EXT_ACK);
    for feature in features {
        out.extend([*feature, 1, 0, 0, 0, 1]);
    }
    out.push(0xFF);
}

/// An ERROR token, or INFO for class 10 and below.
pub(crate) fn message(out: &mut Vec<u8>, message: &SqlError, server_name: &str) {
    let token = if message.is_info() {
        kind::INFO
    } else {
        kind::ERROR
    };
    sized(out, token, |out| {
        out.extend(message.number.to_le_bytes());
        // SQL Server tells severity 10 as 0, "for compatibility reasons".
        let class = if message.class == 10 { 0 } else { message.class };
        out.extend([message.state, class]);
        us_varchar(out, &message.message);
        b_varchar(out, server_name);
        b_varchar(out, &message.procedure);
        out.extend(message.line.to_le_bytes());
    });
}

pub(crate) fn database(out: &mut Vec<u8>, new: &str, old: &str) {
    env_text(out, env::DATABASE, new, old);
}

pub(crate) fn language(out: &mut Vec<u8>, new: &str) {
    env_text(out, env::LANGUAGE, new, "");
}

pub(crate) fn packet_size(out: &mut Vec<u8>, new: u32, old: u32) {
    env_text(out, env::PACKET_SIZE, &new.to_string(), &old.to_string());
}

pub(crate) fn collation(out: &mut Vec<u8>, collation: &Collation) {
    env_bytes(out, env::COLLATION, &collation.wire(), &[]);
}

pub(crate) fn begin_transaction(out: &mut Vec<u8>, descriptor: u64) {
    env_bytes(out, env::BEGIN_TRANSACTION, &descriptor.to_le_bytes(), &[]);
}

pub(crate) fn commit_transaction(out: &mut Vec<u8>, descriptor: u64) {
    env_bytes(out, env::COMMIT_TRANSACTION, &[], &descriptor.to_le_bytes());
}

pub(crate) fn rollback_transaction(out: &mut Vec<u8>, descriptor: u64) {
    env_bytes(out, env::ROLLBACK_TRANSACTION, &[], &descriptor.to_le_bytes());
}

pub(crate) fn reset_acknowledged(out: &mut Vec<u8>) {
    env_bytes(out, env::RESET_ACKNOWLEDGED, &[], &[]);
}

fn env_text(out: &mut Vec<u8>, change: u8, new: &str, old: &str) {
    sized(out, kind::ENV_CHANGE, |out| {
        out.push(change);
        b_varchar(out, new);
        b_varchar(out, old);
    });
}

fn env_bytes(out: &mut Vec<u8>, change: u8, new: &[u8], old: &[u8]) {
    sized(out, kind::ENV_CHANGE, |out| {
        out.push(change);
        for bytes in [new, old] {
            out.push(bytes.len() as u8);
            out.extend_from_slice(bytes);
        }
    });
}

pub(crate) fn return_status(out: &mut Vec<u8>, status: i32) {
    out.push(kind::RETURN_STATUS);
    out.extend(status.to_le_bytes());
}

/// A DONE, DONEPROC or DONEINPROC token.
pub(crate) fn done(out: &mut Vec<u8>, token: u8, status: u16, command: u16, rows: u64) {
    out.push(token);
    out.extend(status.to_le_bytes());
    out.extend(command.to_le_bytes());
    out.extend(rows.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_specified_bytes() {
        let mut out = Vec::new();
        begin_transaction(&mut out, 0x0102_0304_0506_0708);
        assert_eq!(out, [0xE3, 11, 0, 8, 8, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
        out.clear();
        commit_transaction(&mut out, 1);
        assert_eq!(out, [0xE3, 11, 0, 9, 0, 8, 1, 0, 0, 0, 0, 0, 0, 0]);
        out.clear();
        done(&mut out, kind::DONE, done::COUNT, 0xC1, 5);
        assert_eq!(out, [0xFD, 0x10, 0, 0xC1, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        out.clear();
        database(&mut out, "ab", "c");
        assert_eq!(out, [0xE3, 9, 0, 1, 2, b'a', 0, b'b', 0, 1, b'c', 0]);
        out.clear();
        message(&mut out, &SqlError::new(208, 16, 3, "x").at_line(7), "S");
        assert_eq!(
            out,
            [
                0xAA, 18, 0, 208, 0, 0, 0, 3, 16, 1, 0, b'x', 0, 1, b'S', 0, 0, 7, 0, 0, 0
            ]
        );
    }
}
