// SPDX-License-Identifier: BSD-2-Clause
//! A dump that is encrypted on its way: what reaches a file, or leaves on
//! standard output, is cipher text.

use super::check::{self, CheckError, Checked};
use super::dump::Capture;
use super::dumped::Dumped;
use super::lists::{KernelFile, Lists};
use super::streamed::Flow;
use super::{Args, Error};
use crate::crashdir::{self, Temp};
use crate::ekcd::{
    self, Cipher, Decryptor, Encrypting, Encryption, Plaintext, Recipient,
};
use crate::seal::Begun;
use crate::signals::Signals;
use clap::ValueHint;
use livedump_vmcore::{OpenError, Opened, Vmcore};
use memdev::kerneldump::{HEADER_SIZE, KernelDumpHeader};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Arguments about encryption.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct EncryptArgs {
    /// Encrypt the dump for this public key (PEM)
    #[arg(long, value_name = "PEM", value_hint = ValueHint::FilePath)]
    pub encrypt: Option<PathBuf>,
    /// chacha20 (default) or aes256-cbc
    #[arg(
        long,
        value_name = "CIPHER",
        requires = "encrypt",
        hide_possible_values = true
    )]
    pub cipher: Option<Cipher>,
}

impl EncryptArgs {
    /// Reads the public key.
    pub(super) fn recipient(&self) -> Result<Option<Recipient>, Error> {
        let Some(path) = &self.encrypt else { return Ok(None) };
        let key = ekcd::PublicKey::read(path)?;
        let cipher = self.cipher.unwrap_or_default();
        Ok(Some(Recipient { key, cipher }))
    }

    pub(super) fn check_usage(&self, args: &Args) -> Result<(), Error> {
        if self.encrypt.is_none() {
            return Ok(());
        }
        let compressed = args.gzip || args.zstd;
        if compressed && self.cipher == Some(Cipher::Aes256Cbc) {
            return Err(Error::Usage(
                "--cipher aes256-cbc cannot be used with -z or -Z: it takes \
                 whole blocks only; chacha20 can",
            ));
        }
        if args.stability {
            return Err(Error::Usage(
                "--encrypt cannot be used with --stability: the dump goes \
                 through a pipe",
            ));
        }
        Ok(())
    }
}

/// A dump that was just written, and how to read it back.
pub(super) struct Fresh<'a> {
    pub(super) dump: &'a Temp<'a>,
    pub(super) encryption: Option<&'a Encryption>,
}

impl Fresh<'_> {
    /// Opens it, without its header.
    pub(super) fn open(&self) -> Result<Vmcore, OpenError> {
        let path = self.dump.path();
        let io = |source| OpenError::Io {
            path: livedump_vmcore::path::escape_path(&path),
            source,
        };
        let file = self.dump.file().try_clone().map_err(io)?;
        let Some(encryption) = self.encryption else {
            return Vmcore::from_file(file, &path);
        };
        let len = file.metadata().map_err(io)?.len();
        let file = Arc::new(file);
        let decryptor = Decryptor::new(encryption.block(), encryption.secret());
        let bytes = Plaintext::new(Arc::clone(&file), 0, len, decryptor);
        Opened::decrypted(Arc::new(bytes), len, &file, &path)?.minidump()
    }
}

impl Capture<'_> {
    /// Dumps into a file through a pipe and a cipher, and looks whether it is a
    /// dump, by decrypting it.
    pub(super) fn checked_encrypted(
        &self,
        dump: &Temp<'_>,
        encryption: &Encryption,
        kernel: Option<&KernelFile>,
        signals: &mut Signals,
    ) -> Result<(Dumped, Checked, Lists), Error> {
        let asking = self.asking();
        let mut minfree = 0;
        let room = |dumpextent| {
            let budget = self.room(dumpextent)?;
            minfree = budget.map_or(0, |budget| budget.minfree);
            Ok(budget)
        };
        let encryptor = encryption.encryptor();
        let busy = self.busy();
        let growing = self.growing(dump);
        let streamed = asking.streamed(signals, room, |from, flow| {
            let from = Encrypting::new(from, encryptor);
            let done = AtomicU64::new(0);
            let written = || done.load(Ordering::Acquire);
            let work = || write(from, dump, flow, &done);
            let size = self.expected(flow.dumpextent);
            let (length, begun) =
                Begun::during(growing, size, busy, &written, work);
            Ok((length?, begun))
        });
        self.device.release();
        let streamed = match streamed {
            Err(Error::Stream(source)) => {
                let full = source.raw_os_error() == Some(nix::libc::ENOSPC);
                let (doing, path) = ("writing", dump.path());
                let written = dump.allocated()?;
                return Err(match full && minfree > 0 {
                    true => asking.ran_out(written),
                    false => crashdir::Error::Io { doing, path, source }.into(),
                });
            }
            streamed => streamed?,
        };
        let (length, begun) = streamed.taken;
        let dumped = Dumped { begun, ..streamed.dumped };
        let mut checked = streamed.checked;
        if length != checked.dumplength {
            let (dumplength, file) = (checked.dumplength, length);
            return Err(CheckError::Length { dumplength, file }.into());
        }
        checked.bytes = with_key(&checked.bytes);
        let fresh = Fresh { dump, encryption: Some(encryption) };
        let found = check::structure(fresh.open(), &checked);
        checked.structure = found.verdict;
        let lists = self.lists(found.core.as_ref(), kernel, dumped.ours);
        Ok((dumped, checked, lists))
    }
}

/// Writes a dump as it comes; `done` is how much of it is written.
fn write(
    mut from: impl BufRead,
    dump: &Temp<'_>,
    flow: Flow<'_>,
    done: &AtomicU64,
) -> Result<u64, Error> {
    let mut file = dump.file();
    let mut written = 0u64;
    loop {
        let piece = from.fill_buf().map_err(Error::Taking)?;
        if piece.is_empty() {
            return Ok(written);
        }
        let n = piece.len();
        file.write_all(piece).map_err(Error::Stream)?;
        from.consume(n);
        written = written.saturating_add(n as u64);
        done.store(written, Ordering::Release);
        flow.go_on().map_err(Error::Taking)?;
    }
}

/// A kernel dump header that has a key block.
pub(super) fn with_key(bytes: &[u8; HEADER_SIZE]) -> [u8; HEADER_SIZE] {
    let mut out = *bytes;
    // It was decoded before, to be checked.
    if let Ok(header) = KernelDumpHeader::decode(bytes) {
        let dumpkeysize = ekcd::KEY_BLOCK as u32;
        KernelDumpHeader { dumpkeysize, ..header }.encode(&mut out);
    }
    out
}
