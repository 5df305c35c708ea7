// SPDX-License-Identifier: BSD-2-Clause
//! The messages of netdump(4) on UDP. C: `struct debugnet_msg_hdr` and
//! `struct debugnet_ack`, <net/debugnet.h>.
//!
//! ```text
//!  message  u32 type@0  u32 seqno@4  u64 offset@8  u32 len@16  u32 aux2@20
//!           then len bytes
//!  ack      u32 seqno@0
//! ```
//!
//! All integers are big-endian. Whatever comes from the network is checked
//! here and nowhere else.

/// Bytes before the data of a message.
pub const HEADER_BYTES: usize = 24;
/// Bytes of an ack.
pub const ACK_BYTES: usize = 4;
/// The most data in one message: what fits a datagram. Kernels send what fits
/// the MTU of their interface.
pub const MAX_DATA: usize = 65_507 - HEADER_BYTES;
/// The most data that every server takes. C: `NETDUMP_DATASIZE`.
pub const DATASIZE: usize = 4096;
/// The longest path in a herald with its NUL. C: `MAXPATHLEN`.
pub const MAX_PATH: usize = 1024;
/// Where servers take heralds. C: `NETDUMP_PORT`.
pub const SERVER_PORT: u16 = 20023;
/// Where clients send from and take acks. C: `NETDUMP_ACKPORT`.
pub const CLIENT_PORT: u16 = 20024;
/// In aux2 of a herald: this client counts the acks of each message, see
/// [`burst`](super::burst). Kernels send 0, and netdumpd(8) does not read it.
pub const EXACT_ACKS: u32 = 0x4c44_0001;

/// What a message is. C: `DEBUGNET_*` and `NETDUMP_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// Opens a dump; data is nothing, or a path with its NUL.
    Herald = 1,
    /// The dump is over.
    Finished = 2,
    /// Data of the dump at an offset.
    Data = 3,
    /// The kernel dump header, 512 bytes.
    Header = 4,
    /// The key block of an encrypted dump. C: `NETDUMP_EKCD_KEY`.
    Key = 5,
}

impl Kind {
    fn from_u32(n: u32) -> Option<Self> {
        match n {
            1 => Some(Self::Herald),
            2 => Some(Self::Finished),
            3 => Some(Self::Data),
            4 => Some(Self::Header),
            5 => Some(Self::Key),
            _ => None,
        }
    }
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its number; each message of a dump has the next.
    pub seqno: u32,
    /// Bytes from the start of what it carries a part of.
    pub offset: u64,
    /// 0 from kernels.
    pub aux2: u32,
    /// What it carries.
    pub data: &'a [u8],
}

/// Why a datagram is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Shorter than a header.
    #[error("{0} bytes, a message has at least 24")]
    Short(usize),
    /// A type that has no meaning.
    #[error("unknown type {0} at offset 0")]
    Kind(u32),
    /// Its length is not that of the datagram, or too much.
    #[error("length {len} at offset 16, the datagram has {have} bytes of data")]
    Length {
        /// As the header has it.
        len: u32,
        /// Bytes after the header.
        have: usize,
    },
    /// It ends after the end of all offsets.
    #[error("offset {0:#x} at offset 8 is too large")]
    Offset(u64),
}

impl<'a> Message<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// What is not as <net/debugnet.h> has it.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, WireError> {
        let short = WireError::Short(datagram.len());
        let (head, data) =
            datagram.split_first_chunk::<HEADER_BYTES>().ok_or(short)?;
        let (words, _) = head.as_chunks::<4>();
        let [kind, seqno, high, low, len, aux2] = words else {
            return Err(short);
        };
        let [kind, seqno, high, low, len, aux2] =
            [kind, seqno, high, low, len, aux2].map(|b| u32::from_be_bytes(*b));
        let kind = Kind::from_u32(kind).ok_or(WireError::Kind(kind))?;
        let fits = usize::try_from(len).is_ok_and(|n| n == data.len());
        if !fits || data.len() > MAX_DATA {
            return Err(WireError::Length { len, have: data.len() });
        }
        let offset = u64::from(high) << 32 | u64::from(low);
        match offset.checked_add(u64::from(len)) {
            Some(end) if i64::try_from(end).is_ok() => {}
            _ => return Err(WireError::Offset(offset)),
        }
        Ok(Self { kind, seqno, offset, aux2, data })
    }

    /// Writes a datagram over what `out` holds.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        let len = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&(self.kind as u32).to_be_bytes());
        out.extend_from_slice(&self.seqno.to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&self.aux2.to_be_bytes());
        out.extend_from_slice(self.data);
    }

    /// The path in a herald: empty where it has none.
    ///
    /// # Errors
    /// It is not one line of text that ends in a NUL.
    pub fn path(&self) -> Result<&'a str, BadPath> {
        let Some((nul, path)) = self.data.split_last() else { return Ok("") };
        let text = std::str::from_utf8(path).map_err(|_| BadPath)?;
        let plain = *nul == 0 && self.data.len() <= MAX_PATH;
        match plain && !text.chars().any(char::is_control) {
            true => Ok(text),
            false => Err(BadPath),
        }
    }
}

/// A herald's path is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path in the herald is not text that ends in a NUL")]
pub struct BadPath;

/// The seqno in an ack; `None` where the datagram is none.
#[must_use]
pub fn decode_ack(datagram: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(datagram.try_into().ok()?))
}

/// An ack.
#[must_use]
pub fn encode_ack(seqno: u32) -> [u8; ACK_BYTES] {
    seqno.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram() -> Vec<u8> {
        let mut out = Vec::new();
        let data = b"abc";
        Message {
            kind: Kind::Data,
            seqno: 0x0102_0304,
            offset: 0x1112_1314_1516_1718,
            aux2: 0x2122_2324,
            data,
        }
        .encode(&mut out);
        out
    }

    #[test]
    fn fields_are_where_the_kernel_has_them() {
        let bytes = datagram();
        assert_eq!(bytes[..8], [0, 0, 0, 3, 1, 2, 3, 4]);
        assert_eq!(
            bytes[8..16],
            [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]
        );
        assert_eq!(bytes[16..24], [0, 0, 0, 3, 0x21, 0x22, 0x23, 0x24]);
        assert_eq!(&bytes[24..], b"abc");
        let message = Message::decode(&bytes).unwrap();
        assert_eq!(message.offset, 0x1112_1314_1516_1718);
        assert_eq!(message.data, b"abc");
        assert_eq!(decode_ack(&encode_ack(7)), Some(7));
        assert_eq!(encode_ack(1), [0, 0, 0, 1]);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let good = datagram();
        for len in 0..HEADER_BYTES {
            let e = Message::decode(&good[..len]);
            assert_eq!(e, Err(WireError::Short(len)));
        }
        let changed = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Message::decode(&bytes).err()
        };
        assert_eq!(changed(3, 0), Some(WireError::Kind(0)));
        assert_eq!(changed(3, 6), Some(WireError::Kind(6)));
        let e = Some(WireError::Length { len: 2, have: 3 });
        assert_eq!(changed(19, 2), e);
        let e = Some(WireError::Length { len: 0xff00_0003, have: 3 });
        assert_eq!(changed(16, 0xff), e);
        assert!(matches!(changed(8, 0xff), Some(WireError::Offset(_))));
        let mut long = good.clone();
        long.resize(HEADER_BYTES + MAX_DATA + 1, 0);
        long[16..20].copy_from_slice(&(MAX_DATA as u32 + 1).to_be_bytes());
        assert!(matches!(
            Message::decode(&long),
            Err(WireError::Length { .. })
        ));
        assert_eq!(decode_ack(&[0; 5]), None);
        assert_eq!(decode_ack(&[]), None);
    }

    #[test]
    fn a_path_is_text_with_a_nul() {
        let path = |data: &'static [u8]| {
            let kind = Kind::Herald;
            Message { kind, seqno: 1, offset: 0, aux2: 0, data }.path()
        };
        assert_eq!(path(b""), Ok(""));
        assert_eq!(path(b"\0"), Ok(""));
        assert_eq!(path(b"lab/a\0"), Ok("lab/a"));
        for bad in [b"lab".as_slice(), b"a\0b\0", b"a\n\0", b"\xff\0"] {
            assert_eq!(path(bad), Err(BadPath), "{bad:?}");
        }
    }
}
