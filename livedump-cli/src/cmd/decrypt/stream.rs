// SPDX-License-Identifier: BSD-2-Clause
//! A dump from a pipe: key block, cipher text, kernel dump header. Nothing is
//! written before its first bytes are those of a dump, and a file gets its
//! name when the header is there and says that nothing is missing.

use super::copy::{Sink, bar, codec_of};
use super::decrypted::Decrypted;
use super::{Args, Failure, output};
use crate::crashdir::judge_core;
use crate::ekcd::{Decryptor, KEY_BLOCK, KeyBlock, PrivateKey};
use crate::error::Error;
use crate::output::Output;
use crate::sandbox::{self, Role};
use crate::signals::Signals;
use livedump_vmcore::verdict::Verdict;
use livedump_vmcore::{Opened, guess_dump};
use memdev::kerneldump::{
    Compression, HEADER_SIZE, KernelDumpHeader, parity_ok,
};
use std::io::{self, Read};
use std::path::Path;
use zeroize::Zeroizing;

/// Data and header are at multiples of this.
const BLOCK: usize = 4096;
/// What is read at a time.
const PIECE: usize = 1 << 20;
/// What is held back until it is known what follows: a block, of which not
/// all may be data, and the header.
const HELD: usize = BLOCK + HEADER_SIZE;
/// What it is called.
const NAME: &str = "standard input";

/// Decrypts standard input.
pub(super) fn decrypt(
    args: &Args,
    private: &PrivateKey,
    signals: &Signals,
) -> Result<Decrypted, Error> {
    let to = args.output.as_deref().unwrap_or(Path::new("-"));
    let output = output(args, to)?;
    let mut input = io::stdin().lock();
    let mut block = vec![0; KEY_BLOCK];
    let got = fill(&mut input, &mut block)?;
    let key = KeyBlock::decode(block.get(..got).unwrap_or_default());
    let key = key.map_err(|source| crate::ekcd::Error::Block {
        path: NAME.into(),
        source,
    })?;
    let secret = private.unwrap(&key, Path::new(NAME))?;
    let decryptor = Decryptor::new(&key, &secret);
    drop(secret);
    let files: Vec<_> = output.descriptors().collect();
    // Where the kernel cannot, `livedump doctor` says so.
    let _ = sandbox::enter(Role::Reader, &files);
    drop(files);
    let mut stream =
        Stream { decryptor, at: 0, before: [0; 16], codec: Compression::None };
    let written = stream.copy(&mut input, &output, args, signals);
    let (length, header) = written?;
    let mut verdict = match header {
        Ok(()) => Verdict::Sound,
        Err(why) => Verdict::Damaged(why),
    };
    let mut format = "dump";
    if let Some(file) = output.file().filter(|_| output.is_regular()) {
        let read = |source| failed(source);
        let file = file.try_clone().map_err(read)?;
        match Opened::new(file, to) {
            Ok(Opened::Minidump(core)) => {
                format = "minidump";
                // Its length was compared with its header.
                verdict = verdict.and(judge_core(&core, Verdict::Sound));
            }
            Ok(Opened::Image(image)) => {
                format = image.image().format().name();
            }
            Err(e) => {
                verdict =
                    verdict.and(Verdict::Damaged(livedump_vmcore::chain(&e)));
            }
        }
    }
    if let (Verdict::Damaged(why), false) = (&verdict, args.force) {
        let (path, why) = (NAME.into(), why.clone());
        return Err(Error::of_command(Failure::Damaged { path, why }));
    }
    let is_stdout = output.is_stdout();
    output.finish()?;
    Ok(Decrypted {
        file: Path::new("-").into(),
        key: Path::new("-").into(),
        encryption: stream.decryptor.cipher().name(),
        output: (!is_stdout).then(|| to.into()),
        dumplength: length,
        compression: stream.codec.name(),
        format,
        reason: verdict.reason().map(String::from),
        verdict,
    })
}

struct Stream {
    decryptor: Decryptor,
    /// Offset in the dump.
    at: u64,
    before: [u8; 16],
    codec: Compression,
}

impl Stream {
    /// Decrypts up to the header; how many bytes, and whether the header says
    /// so, too.
    fn copy(
        &mut self,
        input: &mut impl Read,
        to: &Output,
        args: &Args,
        signals: &Signals,
    ) -> Result<(u64, Result<(), String>), Error> {
        let progress = bar(true, 0);
        let mut sink: Option<Sink<'_>> = None;
        let mut buf = Zeroizing::new(vec![0; PIECE + HELD]);
        let mut held = 0;
        loop {
            if let Some(signal) = signals.stopped() {
                return Err(Error::of_command(Failure::Stopped(signal)));
            }
            let room = buf.get_mut(held..).unwrap_or_default();
            let want = room.len();
            let got = fill(input, room)?;
            let there = held + got;
            let end = got < want;
            // Whole blocks, and what is held back.
            let data = match end {
                false => there - HELD,
                true => there.saturating_sub(HELD) / BLOCK * BLOCK,
            };
            let part = buf.get_mut(..data).unwrap_or_default();
            self.decrypt(part)?;
            if sink.is_none() && !part.is_empty() {
                sink = Some(self.begin(part, to)?);
            }
            if let Some(sink) = &mut sink {
                sink.write(part)?;
            }
            progress.set_position(self.at);
            buf.copy_within(data..there, 0);
            held = there - data;
            if !end {
                continue;
            }
            // The last block, and the header.
            let whole = held == HELD;
            let header = buf.get(BLOCK..HELD).unwrap_or_default().to_vec();
            let (length, problem) = match whole {
                true => self.end_of(&header),
                false => (None, Some("it ends before its header".into())),
            };
            let last = held.min(BLOCK);
            let last = match self.decryptor.cipher().block() {
                0 | 1 => last,
                block => last / block * block,
            };
            let at = self.at;
            let part = buf.get_mut(..last).unwrap_or_default();
            self.decrypt(part)?;
            let keep = length.map_or(part.len() as u64, |n| n - at) as usize;
            let part = part.get(..keep).unwrap_or_default();
            let mut sink = match sink {
                Some(sink) => sink,
                None => self.begin(part, to)?,
            };
            if problem.is_none() || args.force {
                sink.write(part)?;
            }
            sink.finish()?;
            return Ok((at + keep as u64, problem.map_or(Ok(()), Err)));
        }
    }

    fn decrypt(&mut self, part: &mut [u8]) -> Result<(), Error> {
        let before = self.before;
        if let Some(last) = part.last_chunk::<16>() {
            self.before = *last;
        }
        self.decryptor.decrypt(self.at, &before, part).map_err(failed)?;
        self.at += part.len() as u64;
        Ok(())
    }

    /// Once the first bytes are those of a dump.
    fn begin<'a>(
        &mut self,
        part: &[u8],
        to: &'a Output,
    ) -> Result<Sink<'a>, Error> {
        if !guess_dump(part) {
            let path = NAME.into();
            return Err(livedump_vmcore::OpenError::Undecrypted { path }.into());
        }
        self.codec = codec_of(part);
        let sparse = self.codec == Compression::None && to.is_regular();
        Sink::new(to, sparse)
    }

    /// The length in the header, if that and the data agree; `self.at` is
    /// where the last block is.
    fn end_of(&self, header: &[u8]) -> (Option<u64>, Option<String>) {
        let no = |why: String| (None, Some(why));
        let Ok(bytes) = <&[u8; HEADER_SIZE]>::try_from(header) else {
            return no("it ends before its header".into());
        };
        let decoded = KernelDumpHeader::decode(bytes).ok();
        let Some(h) = decoded.filter(|_| parity_ok(bytes)) else {
            return no(
                "truncated: its last 512 bytes are not a kernel dump header"
                    .into(),
            );
        };
        let there = self.at + BLOCK as u64;
        let length = h.dumplength;
        let fits = length.checked_next_multiple_of(BLOCK as u64) == Some(there);
        if h.dumpkeysize as usize != KEY_BLOCK || !fits {
            return no(format!(
                "its header has {length} bytes and a key block of {}, before \
                 it are {there}",
                h.dumpkeysize
            ));
        }
        (Some(length), None)
    }
}

/// Reads until the buffer is full or the input ends.
fn fill(input: &mut impl Read, buf: &mut [u8]) -> Result<usize, Error> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Ok(done)
}

fn failed(source: io::Error) -> Error {
    let path = NAME.into();
    Error::of_command(Failure::Read { path, source })
}
