//! Packets (MS-TDS 2.2.3): the eight-byte header, reading one, and cutting a response into many.
#![warn(clippy::indexing_slicing)]

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

/// The header's length.
pub(crate) const HEADER: usize = 8;
/// The largest packet that a client may ask for.
pub(crate) const MAX_PACKET_SIZE: u32 = 32_767;
/// The packet size before and without negotiation.
pub(crate) const DEFAULT_PACKET_SIZE: u32 = 4096;
/// A response is handed to the socket in pieces of about this many bytes.
const HANDOVER: usize = 64 * 1024;

/// The message types that a server meets.
pub(crate) mod kind {
    pub(crate) const SQL_BATCH: u8 = 1;
    pub(crate) const RPC: u8 = 3;
    pub(crate) const TABULAR_RESULT: u8 = 4;
    pub(crate) const ATTENTION: u8 = 6;
    pub(crate) const BULK_LOAD: u8 = 7;
    pub(crate) const TRANSACTION_MANAGER: u8 = 14;
    pub(crate) const LOGIN7: u8 = 16;
    pub(crate) const PRELOGIN: u8 = 18;
}

/// The header's status bits.
pub(crate) mod status {
    pub(crate) const END_OF_MESSAGE: u8 = 0x01;
    pub(crate) const IGNORE: u8 = 0x02;
    pub(crate) const RESET_CONNECTION: u8 = 0x08;
    pub(crate) const RESET_CONNECTION_SKIP_TRANSACTION: u8 = 0x10;
}

/// One packet as it came.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) kind: u8,
    pub(crate) status: u8,
    pub(crate) body: Vec<u8>,
}

impl Packet {
    pub(crate) fn is_last(&self) -> bool {
        self.status & status::END_OF_MESSAGE != 0
    }
}

/// Reads one packet; nothing when the peer closed the connection between two.
///
/// # Cancel safety
/// Not cancel safe: a part of a packet may be lost.
pub(crate) async fn read_packet<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<Option<Packet>> {
    let mut header = [0; HEADER];
    if reader.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut header[1..]).await?;
    let [kind, status, high, low, ..] = header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let Some(body_length) = length.checked_sub(HEADER) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a packet of {length} bytes is shorter than its header"),
        ));
    };
    let mut body = vec![0; body_length];
    reader.read_exact(&mut body).await?;
    Ok(Some(Packet { kind, status, body }))
}

/// The header of a packet with `body` bytes behind it.
pub(crate) fn header(kind: u8, last: bool, body: usize, spid: u16, id: u8) -> [u8; HEADER] {
    let status = if last { status::END_OF_MESSAGE } else { 0 };
    let [high, low] = u16::try_from(body + HEADER).unwrap_or(u16::MAX).to_be_bytes();
    let [spid_high, spid_low] = spid.to_be_bytes();
    [kind, status, high, low, spid_high, spid_low, id, 0]
}

/// The peer no longer takes packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// A part of a response, cut into packets.
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    /// The response ends with it.
    pub(crate) last: bool,
}

/// Builds a response: tokens are appended to `payload`, full packets go to the socket's task, which pushes back when the
/// client reads slowly.
pub(crate) struct MessageWriter {
    payload: Vec<u8>,
    body_size: usize,
    spid: u16,
    packet_id: u8,
    socket: mpsc::Sender<Piece>,
}

impl MessageWriter {
    pub(crate) fn new(socket: mpsc::Sender<Piece>, packet_size: u32, spid: u16) -> Self {
        let packet_size = packet_size.clamp(512, MAX_PACKET_SIZE) as usize;
        Self {
            payload: Vec::with_capacity(HANDOVER + packet_size),
            body_size: packet_size - HEADER,
            spid,
            packet_id: 0,
            socket,
        }
    }

    /// Where tokens are appended.
    pub(crate) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.payload
    }

    /// Hands full packets over once enough of them have gathered. Blocks while the client reads slowly.
    pub(crate) fn hand_over(&mut self) -> Result<(), Gone> {
        if self.payload.len() < HANDOVER.max(self.body_size + 1) {
            return Ok(());
        }
        // The last packet of a message must not be empty, so one byte at least stays behind.
        let full = (self.payload.len() - 1) / self.body_size * self.body_size;
        let mut payload = std::mem::take(&mut self.payload);
        let sent = self.send(payload.get(..full).unwrap_or_default(), false);
        payload.drain(..full);
        self.payload = payload;
        sent
    }

    /// Ends the message.
    pub(crate) fn finish(&mut self) -> Result<(), Gone> {
        let payload = std::mem::take(&mut self.payload);
        let sent = self.send(&payload, true);
        self.packet_id = 0;
        self.payload = payload;
        self.payload.clear();
        sent
    }

    fn send(&mut self, payload: &[u8], end: bool) -> Result<(), Gone> {
        let count = payload.len().div_ceil(self.body_size);
        let mut wire = Vec::with_capacity(payload.len() + count * HEADER);
        for (index, body) in payload.chunks(self.body_size).enumerate() {
            self.packet_id = self.packet_id.wrapping_add(1);
            let last = end && index + 1 == count;
            wire.extend(header(
                kind::TABULAR_RESULT,
                last,
                body.len(),
                self.spid,
                self.packet_id,
            ));
            wire.extend_from_slice(body);
        }
        let piece = Piece {
            bytes: wire,
            last: end,
        };
        self.socket.blocking_send(piece).map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(mut wire: &[u8]) -> Vec<(u8, usize)> {
        let mut packets = Vec::new();
        while !wire.is_empty() {
            let length = usize::from(u16::from_be_bytes([wire[2], wire[3]]));
            packets.push((wire[1], length));
            wire = &wire[length..];
        }
        packets
    }

    #[test]
    fn a_message_is_cut_at_the_packet_size_and_only_its_last_packet_ends_it() {
        for (bytes, expect) in [
            (1, vec![(1, 9)]),
            (504, vec![(1, 512)]),
            (505, vec![(0, 512), (1, 9)]),
            (1008, vec![(0, 512), (1, 512)]),
        ] {
            let (sender, mut receiver) = mpsc::channel(8);
            let mut writer = MessageWriter::new(sender, 512, 51);
            writer.payload().resize(bytes, 7);
            writer.hand_over().unwrap();
            writer.finish().unwrap();
            let mut wire = Vec::new();
            while let Ok(piece) = receiver.try_recv() {
                wire.extend(piece.bytes);
            }
            assert_eq!(split(&wire), expect, "{bytes} bytes");
        }
    }

    #[test]
    fn a_long_result_is_handed_over_before_its_end() {
        let (sender, mut receiver) = mpsc::channel(8);
        let mut writer = MessageWriter::new(sender, 4096, 51);
        writer.payload().resize(HANDOVER, 7);
        writer.hand_over().unwrap();
        let early = split(&receiver.try_recv().unwrap().bytes);
        assert!(early.iter().all(|(status, _)| *status == 0), "{early:?}");
        writer.finish().unwrap();
        assert_eq!(split(&receiver.try_recv().unwrap().bytes).last().unwrap().0, 1);
    }

    #[test]
    fn a_client_that_went_away_is_noticed() {
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        let mut writer = MessageWriter::new(sender, 4096, 51);
        writer.payload().push(1);
        assert_eq!(writer.finish(), Err(Gone));
    }

    #[tokio::test]
    async fn a_packet_shorter_than_its_header_is_refused() {
        let mut bytes = &[1u8, 1, 0, 7, 0, 0, 0, 0][..];
        assert!(read_packet(&mut bytes).await.is_err());
        let mut bytes = &[1u8, 1, 0, 9, 0, 0, 0, 0][..];
        assert!(read_packet(&mut bytes).await.is_err());
        let mut nothing = &[][..];
        assert!(read_packet(&mut nothing).await.unwrap().is_none());
    }
}
