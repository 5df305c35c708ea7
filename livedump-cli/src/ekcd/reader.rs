// SPDX-License-Identifier: BSD-2-Clause
//! A dump that is encrypted as it is read. Plain text is in this process's
//! memory only, which is overwritten.

use super::Encryptor;
use std::io::{self, BufRead, Read};
use zeroize::Zeroizing;

/// What is encrypted at a time: a multiple of every block.
const PIECE: usize = 1 << 20;

/// Reads as the encrypted dump.
pub struct Encrypting<R> {
    from: R,
    encryptor: Encryptor,
    /// What comes before the dump.
    before: Vec<u8>,
    /// The dump is filled up with zeros to a multiple of this.
    pad: usize,
    buf: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
    ended: bool,
}

impl<R> std::fmt::Debug for Encrypting<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encrypting(..)")
    }
}

impl<R: Read> Encrypting<R> {
    /// Encrypts what is read from `from`.
    #[must_use]
    pub fn new(from: R, encryptor: Encryptor) -> Self {
        Self {
            from,
            encryptor,
            before: Vec::new(),
            pad: 1,
            buf: Zeroizing::new(vec![0; PIECE]),
            start: 0,
            end: 0,
            ended: false,
        }
    }

    /// With something before it, and zeros after it, which are encrypted, up
    /// to a multiple of `pad` bytes; that divides 1 MB.
    #[must_use]
    pub fn framed(self, before: Vec<u8>, pad: usize) -> Self {
        Self { before, pad, ..self }
    }

    /// The next piece.
    fn fill(&mut self) -> io::Result<()> {
        let mut done = 0usize;
        while let Some(room) =
            self.buf.get_mut(done..).filter(|r| !r.is_empty())
        {
            match self.from.read(room) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => done = done.saturating_add(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let end = done
            .checked_next_multiple_of(self.pad)
            .unwrap_or(done)
            .min(self.buf.len());
        if let Some(rest) = self.buf.get_mut(done..end) {
            rest.fill(0);
        }
        let data = self.buf.get_mut(..end).unwrap_or_default();
        self.encryptor.encrypt(data).map_err(|e| {
            io::Error::new(io::ErrorKind::InvalidData, e.to_string())
        })?;
        (self.start, self.end) = (0, end);
        Ok(())
    }
}

impl<R: Read> BufRead for Encrypting<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if !self.before.is_empty() {
            return Ok(&self.before);
        }
        while self.start >= self.end && !self.ended {
            self.fill()?;
        }
        Ok(self.buf.get(self.start..self.end).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        if self.before.is_empty() {
            self.start = self.start.saturating_add(amount).min(self.end);
        } else {
            self.before.drain(..amount.min(self.before.len()));
        }
    }
}

impl<R: Read> Read for Encrypting<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut have = self.fill_buf()?;
        let n = have.read(out)?;
        self.consume(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ekcd::{Cipher, Secret};

    #[test]
    fn it_is_what_encrypting_all_at_once_makes() {
        let secret = Secret(Zeroizing::new([5; 64]));
        let iv = [9; 32];
        let plain: Vec<u8> = (0..3_000_000).map(|n| (n / 7) as u8).collect();
        for (cipher, len, pad) in [
            (Cipher::ChaCha20, 0, 4096),
            (Cipher::ChaCha20, 1, 4096),
            (Cipher::ChaCha20, 1, 1),
            (Cipher::ChaCha20, PIECE, 4096),
            (Cipher::ChaCha20, 2_999_999, 4096),
            (Cipher::Aes256Cbc, 2_998_272, 1),
        ] {
            let mut want = plain[..len].to_vec();
            want.resize(len.next_multiple_of(pad), 0);
            let new = || Encryptor::new(cipher, &secret, &iv);
            new().encrypt(&mut want).unwrap();
            want.splice(0..0, *b"key");
            let it = Encrypting::new(&plain[..len], new());
            let mut got = Vec::new();
            let mut it = it.framed(b"key".to_vec(), pad);
            it.read_to_end(&mut got).unwrap();
            assert!(got == want, "{cipher:?} {len} {pad}");
        }
        let aes = Encryptor::new(Cipher::Aes256Cbc, &secret, &iv);
        let mut got = Vec::new();
        let e = Encrypting::new(&plain[..17], aes).read_to_end(&mut got);
        assert_eq!(e.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
