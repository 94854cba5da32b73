//! LOGIN7 (MS-TDS 2.2.6.4): who connects, to which database, with what abilities.
#![warn(clippy::indexing_slicing)]

use crate::session::LoginInfo;
use crate::tds::reader::{WireError, WireResult, units};

/// The length of the fixed part.
const FIXED: usize = 94;
/// The oldest version that the emulator speaks, TDS 7.3A (SQL Server 2008).
const OLDEST_VERSION: u32 = 0x730A_0003;
/// The first version whose clients read NBCROW tokens, TDS 7.3B.
const FIRST_WITH_NBCROW: u32 = 0x730B_0003;
/// TDS 8.0, whose number lies below its forerunners'.
const STRICT_VERSION: u32 = 0x0800_0000;
const ODBC: u8 = 0x02;
const INTEGRATED_SECURITY: u8 = 0x80;
const HAS_EXTENSION: u8 = 0x10;
const FEATURES_END: u8 = 0xFF;

/// The feature of UTF-8 collations.
pub(crate) const FEATURE_UTF8: u8 = 0x0A;
/// The feature of the type `json`.
const FEATURE_JSON: u8 = 0x0D;
/// The feature of the type `vector`.
const FEATURE_VECTOR: u8 = 0x0E;
/// The features that the emulator has, each in its first version.
const FEATURES: [u8; 3] = [FEATURE_UTF8, FEATURE_JSON, FEATURE_VECTOR];

/// The types that a client reads as themselves because it asked for them. Others get `varchar(max)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NewTypes {
    pub(crate) json: bool,
    pub(crate) vector: bool,
}

/// What a LOGIN7 message says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Login7 {
    /// As the client wrote it; LOGINACK echoes it.
    pub(crate) tds_version: u32,
    pub(crate) packet_size: u32,
    pub(crate) process_id: u32,
    pub(crate) integrated_security: bool,
    pub(crate) odbc: bool,
    pub(crate) host_name: String,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) program_name: String,
    pub(crate) database: String,
    /// The feature extensions asked for.
    pub(crate) features: Vec<u8>,
}

impl Login7 {
    pub(crate) fn parse(body: &[u8]) -> WireResult<Self> {
        if body.len() < FIXED {
            return Err(WireError::malformed("LOGIN7 is shorter than its fixed part"));
        }
        Ok(Self {
            tds_version: u32_at(body, 4)?,
            packet_size: u32_at(body, 8)?,
            process_id: u32_at(body, 16)?,
            integrated_security: u8_at(body, 25)? & INTEGRATED_SECURITY != 0,
            odbc: u8_at(body, 25)? & ODBC != 0,
            host_name: text_at(body, 36)?,
            user: text_at(body, 40)?,
            password: password_at(body, 44)?,
            program_name: text_at(body, 48)?,
            database: text_at(body, 68)?,
            features: features(body)?,
        })
    }

    /// Whether the emulator can speak the client's version.
    pub(crate) fn version_is_supported(&self) -> bool {
        self.speaks(OLDEST_VERSION)
    }

    pub(crate) fn reads_nbcrow(&self) -> bool {
        self.speaks(FIRST_WITH_NBCROW)
    }

    fn speaks(&self, version: u32) -> bool {
        self.tds_version >= version || self.tds_version == STRICT_VERSION
    }

    /// The features to acknowledge.
    pub(crate) fn shared_features(&self) -> Vec<u8> {
        let wanted = |feature: &u8| self.features.contains(feature);
        FEATURES.into_iter().filter(wanted).collect()
    }

    pub(crate) fn new_types(&self) -> NewTypes {
        NewTypes {
            json: self.features.contains(&FEATURE_JSON),
            vector: self.features.contains(&FEATURE_VECTOR),
        }
    }

    pub(crate) fn into_info(self, packet_size: u32) -> LoginInfo {
        LoginInfo {
            user: self.user,
            password: self.password,
            database: (!self.database.is_empty()).then_some(self.database),
            host_name: self.host_name,
            program_name: self.program_name,
            process_id: self.process_id,
            packet_size,
            odbc: self.odbc,
        }
    }
}

fn cut_off() -> WireError {
    WireError::malformed("LOGIN7 points behind its end")
}

fn u8_at(body: &[u8], offset: usize) -> WireResult<u8> {
    body.get(offset).copied().ok_or_else(cut_off)
}

fn u16_at(body: &[u8], offset: usize) -> WireResult<u16> {
    let bytes = body.get(offset..).and_then(|rest| rest.first_chunk());
    bytes.map(|b| u16::from_le_bytes(*b)).ok_or_else(cut_off)
}

fn u32_at(body: &[u8], offset: usize) -> WireResult<u32> {
    let bytes = body.get(offset..).and_then(|rest| rest.first_chunk());
    bytes.map(|b| u32::from_le_bytes(*b)).ok_or_else(cut_off)
}

/// The bytes that an (offset, length in characters) pair at `offset` names.
fn field_at(body: &[u8], offset: usize) -> WireResult<&[u8]> {
    let start = usize::from(u16_at(body, offset)?);
    let length = usize::from(u16_at(body, offset + 2)?) * 2;
    if length == 0 {
        return Ok(&[]);
    }
    body.get(start..start + length).ok_or_else(cut_off)
}

fn text_at(body: &[u8], offset: usize) -> WireResult<String> {
    Ok(String::from_utf16_lossy(&units(field_at(body, offset)?)))
}

/// Passwords have each byte's halves swapped and are masked with 0xA5 (MS-TDS 2.2.6.4).
fn password_at(body: &[u8], offset: usize) -> WireResult<String> {
    let clear: Vec<u8> = field_at(body, offset)?
        .iter()
        .map(|byte| (byte ^ 0xA5).rotate_left(4))
        .collect();
    Ok(String::from_utf16_lossy(&units(&clear)))
}

fn features(body: &[u8]) -> WireResult<Vec<u8>> {
    let mut features = Vec::new();
    if u8_at(body, 27)? & HAS_EXTENSION == 0 {
        return Ok(features);
    }
    let pointer = usize::from(u16_at(body, 56)?);
    let mut at = u32_at(body, pointer)? as usize;
    loop {
        let feature = u8_at(body, at)?;
        if feature == FEATURES_END {
            return Ok(features);
        }
        features.push(feature);
        let length = u32_at(body, at + 1)? as usize;
        at = at.saturating_add(5).saturating_add(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A LOGIN7 with the given user, password and database, and a feature extension.
    fn message(user: &str, password: &str, database: &str, features: &[u8]) -> Vec<u8> {
        let mut body = vec![0; FIXED];
        body[4..8].copy_from_slice(&0x7400_0004u32.to_le_bytes());
        body[8..12].copy_from_slice(&8000u32.to_le_bytes());
        for (offset, text) in [(40, user), (44, password), (68, database)] {
            let start = body.len() as u16;
            body[offset..offset + 2].copy_from_slice(&start.to_le_bytes());
            let count = text.encode_utf16().count() as u16;
            body[offset + 2..offset + 4].copy_from_slice(&count.to_le_bytes());
            let bytes = text.encode_utf16().flat_map(u16::to_le_bytes);
            if offset == 44 {
                body.extend(bytes.map(|byte| byte.rotate_left(4) ^ 0xA5));
            } else {
                body.extend(bytes);
            }
        }
        if !features.is_empty() {
            body[27] = HAS_EXTENSION;
            let pointer = body.len() as u16;
            body[56..58].copy_from_slice(&pointer.to_le_bytes());
            body.extend((u32::from(pointer) + 4).to_le_bytes());
            for feature in features {
                body.extend([*feature, 1, 0, 0, 0, 9]);
            }
            body.push(FEATURES_END);
        }
        body
    }

    #[test]
    fn names_password_and_features_are_read() {
        let login = Login7::parse(&message("sä", "p😀w", "Sales", &[1, FEATURE_UTF8])).unwrap();
        assert_eq!(login.user, "sä");
        assert_eq!(login.password, "p😀w");
        assert_eq!(login.database, "Sales");
        assert_eq!(login.packet_size, 8000);
        assert_eq!(login.features, [1, FEATURE_UTF8]);
        assert!(login.version_is_supported() && login.reads_nbcrow());
        assert_eq!(login.shared_features(), [FEATURE_UTF8]);
    }

    #[test]
    fn every_cut_of_a_message_is_an_error_or_reads_less_but_never_panics() {
        let whole = message("user", "password", "db", &[FEATURE_UTF8]);
        for length in 0..whole.len() {
            assert!(Login7::parse(&whole[..length]).is_err(), "cut at {length}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] = 0xFF;
            let _ = Login7::parse(&damaged);
        }
    }
}
