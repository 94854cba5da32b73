//! PRELOGIN (MS-TDS 2.2.6.5): versions are exchanged and encryption is agreed upon.
#![warn(clippy::indexing_slicing)]

use crate::emulator::Encryption;
use crate::tds::reader::{WireError, WireResult};

/// The version that the server claims, SQL Server 2022 (16.0.1000): major, minor, build.
pub(crate) const SERVER_VERSION: [u8; 4] = [16, 0, 0x03, 0xE8];

const OPTION_VERSION: u8 = 0;
const OPTION_ENCRYPTION: u8 = 1;
const OPTION_INSTANCE: u8 = 2;
const OPTION_THREAD: u8 = 3;
const OPTION_MARS: u8 = 4;
const TERMINATOR: u8 = 0xFF;

const ENCRYPT_OFF: u8 = 0;
const ENCRYPT_ON: u8 = 1;
const ENCRYPT_NOT_SUPPORTED: u8 = 2;
const ENCRYPT_REQUIRED: u8 = 3;

/// How far TLS reaches on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsScope {
    /// Nothing is encrypted.
    None,
    /// The LOGIN7 message only.
    Login,
    /// Everything after PRELOGIN.
    Full,
}

/// The encryption byte of a client's PRELOGIN; a client that sends none wants none.
pub(crate) fn parse(body: &[u8]) -> WireResult<u8> {
    let mut at = 0;
    loop {
        let Some(&option) = body.get(at) else {
            return Err(WireError::malformed("PRELOGIN has no terminator"));
        };
        if option == TERMINATOR {
            return Ok(ENCRYPT_NOT_SUPPORTED);
        }
        let Some(&[offset_high, offset_low, _, length]) =
            body.get(at + 1..).and_then(|rest| rest.first_chunk::<4>())
        else {
            return Err(WireError::malformed("a PRELOGIN option is cut off"));
        };
        if option == OPTION_ENCRYPTION && length > 0 {
            let offset = usize::from(u16::from_be_bytes([offset_high, offset_low]));
            let byte = body.get(offset).copied();
            return byte.ok_or_else(|| WireError::malformed("PRELOGIN's encryption byte is missing"));
        }
        at += 5;
    }
}

/// The answer to a client's encryption byte, and what it means for the connection.
pub(crate) fn negotiate(client: u8, server: Encryption) -> (u8, TlsScope) {
    match (server, client & 0x0F) {
        (Encryption::NotSupported, _) => (ENCRYPT_NOT_SUPPORTED, TlsScope::None),
        (Encryption::Optional, ENCRYPT_OFF) => (ENCRYPT_OFF, TlsScope::Login),
        (Encryption::Optional, ENCRYPT_NOT_SUPPORTED) => (ENCRYPT_NOT_SUPPORTED, TlsScope::None),
        (Encryption::Required, ENCRYPT_OFF | ENCRYPT_NOT_SUPPORTED) => (ENCRYPT_REQUIRED, TlsScope::Full),
        _ => (ENCRYPT_ON, TlsScope::Full),
    }
}

/// The server's PRELOGIN.
pub(crate) fn response(encryption: u8) -> Vec<u8> {
    let [major, minor, build_high, build_low] = SERVER_VERSION;
    let options: [(u8, &[u8]); 5] = [
        (OPTION_VERSION, &[major, minor, build_high, build_low, 0, 0]),
        (OPTION_ENCRYPTION, &[encryption]),
        (OPTION_INSTANCE, &[0]),
        (OPTION_THREAD, &[]),
        (OPTION_MARS, &[0]),
    ];
    let mut offset = options.len() * 5 + 1;
    let mut head = Vec::new();
    let mut data = Vec::new();
    for (option, value) in options {
        head.push(option);
        head.extend((offset as u16).to_be_bytes());
        head.extend((value.len() as u16).to_be_bytes());
        data.extend_from_slice(value);
        offset += value.len();
    }
    head.push(TERMINATOR);
    head.extend(data);
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encryption_byte_is_agreed_as_the_specification_says() {
        use Encryption::{NotSupported, Optional, Required};
        for (server, client, answer, scope) in [
            (NotSupported, 0, 2, TlsScope::None),
            (NotSupported, 1, 2, TlsScope::None),
            (NotSupported, 2, 2, TlsScope::None),
            (Optional, 0, 0, TlsScope::Login),
            (Optional, 1, 1, TlsScope::Full),
            (Optional, 2, 2, TlsScope::None),
            (Optional, 3, 1, TlsScope::Full),
            (Required, 0, 3, TlsScope::Full),
            (Required, 1, 1, TlsScope::Full),
            (Required, 2, 3, TlsScope::Full),
            (Required, 3, 1, TlsScope::Full),
        ] {
            assert_eq!(negotiate(client, server), (answer, scope), "{client} {server:?}");
        }
    }

    #[test]
    fn a_response_is_read_back() {
        for byte in 0..4 {
            assert_eq!(parse(&response(byte)), Ok(byte));
        }
    }

    #[test]
    fn damaged_options_are_errors() {
        for body in [&[][..], &[1], &[1, 0, 6, 0, 1], &[1, 0, 200, 0, 1, 0xFF]] {
            assert!(parse(body).is_err(), "{body:?}");
        }
        assert_eq!(parse(&[0xFF]), Ok(ENCRYPT_NOT_SUPPORTED));
    }
}
