// SPDX-License-Identifier: BSD-2-Clause
//! A dump as a stream, without what is behind it: padding to the next page,
//! and the kernel dump header, which is kept.

use memdev::addr::PAGE_SIZE;
use memdev::kerneldump::{HEADER_SIZE, KernelDumpHeader};
use std::io::{self, BufRead, Read};

/// What may have to be held back: no more than this is no dump's.
const HELD: usize = PAGE_SIZE + HEADER_SIZE;
/// What is read at a time.
const PIECE: usize = 1 << 20;

/// Reads a dump up to its end, which only the header behind it tells.
pub(super) struct Tail<R> {
    from: R,
    buf: Vec<u8>,
    /// What was read and not taken yet.
    start: usize,
    end: usize,
    /// Bytes taken.
    taken: u64,
    header: Option<[u8; HEADER_SIZE]>,
}

impl<R: Read> Tail<R> {
    pub(super) fn new(from: R) -> Self {
        let buf = vec![0; HELD + PIECE];
        Self { from, buf, start: 0, end: 0, taken: 0, header: None }
    }

    /// Bytes of the dump that were taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Gives up what is read from. The header, if everything before it was
    /// read.
    pub(super) fn close(self) -> Option<[u8; HEADER_SIZE]> {
        self.header
    }

    fn is_ready(&self) -> bool {
        self.header.is_some() || self.end - self.start > HELD
    }

    /// Reads on, until there is more than is held back, or all.
    fn fill(&mut self) -> io::Result<()> {
        while !self.is_ready() {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let room = self.buf.get_mut(self.end..).unwrap_or_default();
            match self.from.read(room) {
                Ok(0) => self.finish()?,
                Ok(n) => self.end += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The end was reached: what is left has the header in it.
    fn finish(&mut self) -> io::Result<()> {
        let left = self.buf.get(self.start..self.end).unwrap_or_default();
        let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (body, header) =
            left.split_last_chunk::<HEADER_SIZE>().ok_or_else(cut)?;
        let decoded = KernelDumpHeader::decode(header).map_err(|_| cut())?;
        let all = self.taken.saturating_add(body.len() as u64);
        let length = decoded.dumplength;
        if length.checked_next_multiple_of(PAGE_SIZE as u64) != Some(all) {
            return Err(cut());
        }
        let rest = length.checked_sub(self.taken).ok_or_else(cut)?;
        let header = *header;
        self.end = self.start + usize::try_from(rest).map_err(|_| cut())?;
        self.header = Some(header);
        Ok(())
    }
}

impl<R: Read> BufRead for Tail<R> {
    /// # Errors
    /// `UnexpectedEof` where no kernel dump header is at the end, or one of
    /// something else.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.fill()?;
        let end = match self.header {
            Some(_) => self.end,
            None => self.end - HELD,
        };
        Ok(self.buf.get(self.start..end).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.start = self.end.min(self.start.saturating_add(amount));
        self.taken = self.taken.saturating_add(amount as u64);
    }
}

impl<R: Read> Read for Tail<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let from = self.fill_buf()?;
        let n = from.len().min(out.len());
        let (Some(from), Some(out)) = (from.get(..n), out.get_mut(..n)) else {
            return Ok(0);
        };
        out.copy_from_slice(from);
        self.consume(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memdev::kerneldump::{Compression, Magic};

    fn dump(length: usize, dumplength: u64) -> Vec<u8> {
        let header = KernelDumpHeader {
            magic: Magic::Kernel,
            architecture: b"amd64",
            version: 4,
            architecture_version: 2,
            dumplength,
            dumptime: 1,
            dumpkeysize: 0,
            blocksize: 4096,
            hostname: b"h",
            versionstring: b"v\n",
            panicstring: b"",
            compression: Compression::Zstd,
            dumpextent: 1 << 30,
        };
        let mut bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
        bytes.resize(length.next_multiple_of(PAGE_SIZE), 0);
        let mut end = [0; HEADER_SIZE];
        header.encode(&mut end);
        bytes.extend_from_slice(&end);
        bytes
    }

    /// Gives no more than so many bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(out.len()).min(self.1);
            self.0.read(&mut out[..n])
        }
    }

    #[test]
    fn the_dump_alone_is_read_whatever_its_length() {
        for length in [0, 1, 511, 4095, 4096, 4097, 9000, 3 << 20] {
            for step in [7, 4096, 1 << 20] {
                let whole = dump(length, length as u64);
                let mut tail = Tail::new(Slow(&whole, step));
                let mut got = Vec::new();
                tail.read_to_end(&mut got).unwrap();
                assert!(got == whole[..length], "{length}, {step} at a time");
                assert_eq!(tail.taken(), length as u64);
                let end = whole.len() - HEADER_SIZE;
                assert_eq!(tail.close().unwrap()[..], whole[end..]);
            }
        }
    }

    #[test]
    fn what_has_no_header_of_its_own_is_no_dump() {
        let whole = dump(9000, 9000);
        let other = dump(9000, 4096);
        let longer = dump(9000, 13000);
        let all =
            [&whole[..0], &whole[..100], &whole[..12288], &other, &longer];
        for bytes in all {
            let mut got = Vec::new();
            let e = Tail::new(bytes).read_to_end(&mut got).unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
