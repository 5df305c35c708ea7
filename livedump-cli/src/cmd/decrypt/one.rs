// SPDX-License-Identifier: BSD-2-Clause
//! One encrypted file: what it is, then the copy, then its name.

use super::copy::{Copy, codec_of};
use super::decrypted::Decrypted;
use super::{Args, Failure, output, unless_forced};
use crate::cmd::dump_file::dumplength;
use crate::crashdir::judge_core;
use crate::ekcd::{EncryptedFile, Place, Plaintext, PrivateKey};
use crate::error::Error;
use crate::output::Output;
use crate::signals::Signals;
use livedump_vmcore::path::escape_path;
use livedump_vmcore::source::Stored;
use livedump_vmcore::verdict::Verdict;
use livedump_vmcore::{OpenError, Opened, Vmcore};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One that is open.
pub(super) struct One {
    path: PathBuf,
    pub(super) file: Arc<File>,
    found: EncryptedFile,
    bytes: Arc<Plaintext>,
    pub(super) output: Output,
    /// Its name.
    to: PathBuf,
    /// Whether its info.N has its length, or it has its header.
    has_length: bool,
    /// What -f let pass.
    damage: Option<String>,
}

impl One {
    pub(super) fn open(
        args: &Args,
        path: &Path,
        private: &PrivateKey,
    ) -> Result<Self, Error> {
        let file = Arc::new(Vmcore::open_file(path)?);
        let found = EncryptedFile::find(&file, path, args.key_file.as_deref())?;
        let length = dumplength(path);
        let damage = unless_forced(args, found.check_length(length))?;
        let found = match length {
            Some(length) => found.without_padding(length),
            None => found,
        };
        let bytes = Arc::new(found.open(Arc::clone(&file), private)?);
        let mut head = [0; 4];
        let read = bytes.read_at(&mut head, 0);
        let read = read.map_err(|source| OpenError::Io {
            path: escape_path(path),
            source,
        })?;
        let head = head.get(..read).unwrap_or_default();
        let to = match &args.output {
            Some(to) => to.clone(),
            None => name_of(path, codec_of(head).suffix()),
        };
        let output = output(args, &to)?;
        use std::os::fd::AsFd;
        output.check_no_input(&[file.as_fd()])?;
        let within = matches!(found.place(), Place::Within { .. });
        let has_length = within || length.is_some();
        let path = path.into();
        Ok(Self { path, file, found, bytes, output, to, has_length, damage })
    }

    /// Checks what comes out, writes it and gives it its name.
    pub(super) fn decrypt(
        self,
        args: &Args,
        signals: &Signals,
    ) -> Result<Decrypted, Error> {
        let (mut verdict, format) = self.check()?;
        if let Some(why) = &self.damage {
            verdict = verdict.and(Verdict::Damaged(why.clone()));
        }
        if let (Verdict::Damaged(why), false) = (&verdict, args.force) {
            let (path, why) = (escape_path(&self.path), why.clone());
            return Err(Error::of_command(Failure::Damaged { path, why }));
        }
        let mut head = [0; 4];
        let _ = self.bytes.read_at(&mut head, 0);
        let codec = codec_of(&head);
        let copy = Copy { bytes: &self.bytes, path: &self.path, codec };
        copy.run(&self.output, args.quiet, signals)?;
        let is_stdout = self.output.is_stdout();
        self.output.finish()?;
        let key = match self.found.place() {
            Place::Beside(key) => key.as_path(),
            Place::Within { .. } => &self.path,
        };
        Ok(Decrypted {
            file: self.path.as_path().into(),
            key: key.into(),
            encryption: self.found.cipher().name(),
            output: (!is_stdout).then(|| self.to.as_path().into()),
            dumplength: self.bytes.len(),
            compression: codec.name(),
            format,
            reason: verdict.reason().map(String::from),
            verdict,
        })
    }

    /// What comes out, before any of it is written.
    fn check(&self) -> Result<(Verdict, &'static str), Error> {
        let (bytes, len) = (Arc::clone(&self.bytes), self.bytes.len());
        let opened = Opened::decrypted(bytes, len, &self.file, &self.path);
        match opened {
            Ok(Opened::Minidump(core)) => {
                let length = match self.has_length {
                    true => Verdict::Sound,
                    false => Verdict::Undetermined(
                        "no info.N, and its length is known only after \
                         unpacking"
                            .into(),
                    ),
                };
                Ok((judge_core(&core, length), "minidump"))
            }
            Ok(Opened::Image(image)) => {
                Ok((Verdict::Sound, image.image().format().name()))
            }
            Err(OpenError::Textdump { files: Ok(_), .. }) => {
                Ok((Verdict::Sound, "textdump"))
            }
            Err(e) => Err(e.into()),
        }
    }
}

/// `vmcore.N.zst` of `vmcore_encrypted.N`, and `FILE.decrypted` of another
/// name.
fn name_of(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".zst").or(name.strip_suffix(".gz"));
    let stem = stem.unwrap_or(&name);
    let plain = match stem.split_once("_encrypted.") {
        Some((kind @ ("vmcore" | "livecore"), rest)) => {
            format!("{kind}.{rest}{suffix}")
        }
        _ => {
            let mut name = path.as_os_str().to_os_string();
            name.push(".decrypted");
            name.push(suffix);
            return name.into();
        }
    };
    path.with_file_name(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_has_the_suffix_of_what_comes_out() {
        for (from, suffix, to) in [
            ("d/vmcore_encrypted.0", "", "d/vmcore.0"),
            ("d/vmcore_encrypted.0", ".zst", "d/vmcore.0.zst"),
            ("livecore_encrypted.7.zst", ".zst", "livecore.7.zst"),
            ("vmcore_encrypted.web.3.zst", "", "vmcore.web.3"),
            ("vmcore_encrypted.last", ".gz", "vmcore.last.gz"),
            ("d/dump", "", "d/dump.decrypted"),
            ("d/dump.zst", ".zst", "d/dump.zst.decrypted.zst"),
        ] {
            assert_eq!(name_of(Path::new(from), suffix), Path::new(to));
        }
    }
}
