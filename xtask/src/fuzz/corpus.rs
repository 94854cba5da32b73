//! What fuzzing begins with: recorded sessions in pieces, as packets and as batches, the statements of the conformance list, and a
//! dictionary of their words.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;

use anyhow::Result;

use crate::cargo::root;
use crate::conformance::cases;
use crate::surface::packets::{Packet, packets, statement};

/// As `fuzz/targets/packets.rs` has it.
const MARK: [u8; 4] = [0xFE, 0xED, 0xFA, 0xCE];
/// As `fuzz/targets/sql.rs` has it.
const GO: &str = "\nGO\n";
/// A session is cut into pieces of about this many bytes: libFuzzer learns more from short inputs.
const PIECE: usize = 4096;

/// Writes `packets`, `sql` and `words` into the directory, beside what earlier runs found.
pub(super) fn write(recorded: &Path, directory: &Path) -> Result<()> {
    let mut sessions = BTreeSet::new();
    let mut batches = BTreeSet::new();
    for file in std::fs::read_dir(recorded)? {
        let session = std::fs::read(file?.path())?;
        for piece in pieces(&session) {
            batches.insert(texts(&piece).join(GO).into_bytes());
            sessions.insert(marked(&piece));
        }
    }
    let mut words = BTreeSet::new();
    for case in cases::load(&root().join("tests/conformance"))? {
        let sql: Vec<String> = case.steps.into_iter().filter_map(|step| step.sql).collect();
        let text = sql.join(GO);
        let other = |c: char| !c.is_alphanumeric() && !"_@#".contains(c);
        words.extend(
            text.split(other)
                .filter(|word| word.len() > 1 && word.is_ascii())
                .map(str::to_owned),
        );
        batches.insert(text.into_bytes());
    }
    save(&directory.join("packets"), &sessions)?;
    save(&directory.join("sql"), &batches)?;
    let lines: Vec<String> = words.iter().map(|word| format!("\"{word}\"\n")).collect();
    Ok(std::fs::write(directory.join("words"), lines.concat())?)
}

/// A session's packets, cut where a message ends.
fn pieces(session: &[u8]) -> Vec<Vec<Packet<'_>>> {
    let mut pieces = vec![Vec::new()];
    let mut length = 0;
    for packet in packets(session) {
        length += packet.body.len();
        let full = packet.is_last() && length >= PIECE;
        if let Some(piece) = pieces.last_mut() {
            piece.push(packet);
        }
        if full {
            pieces.push(Vec::new());
            length = 0;
        }
    }
    pieces
}

fn marked(piece: &[Packet<'_>]) -> Vec<u8> {
    let packets: Vec<Vec<u8>> = piece
        .iter()
        .map(|packet| [&[packet.kind, packet.status][..], packet.body].concat())
        .collect();
    packets.join(&MARK[..])
}

/// The statements of a piece; clients send some requests that have none.
fn texts(piece: &[Packet<'_>]) -> Vec<String> {
    let mut texts = Vec::new();
    let mut message = Vec::new();
    for packet in piece {
        message.extend_from_slice(packet.body);
        if packet.is_last() {
            texts.extend(
                statement(packet.kind, &std::mem::take(&mut message))
                    .ok()
                    .flatten(),
            );
        }
    }
    texts
}

/// Each input in a file named by its hash, so that the next time it is the same file.
fn save(directory: &Path, inputs: &BTreeSet<Vec<u8>>) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    for input in inputs {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        std::fs::write(directory.join(format!("{:016x}", hasher.finish())), input)?;
    }
    Ok(())
}
