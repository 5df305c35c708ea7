// SPDX-License-Identifier: BSD-2-Clause
//! A dump in a file, as it is sent: its data, its kernel dump header and its
//! key block.
//!
//! ```text
//!  the header is    at the end of a dump as the kernel wrote it;
//!                   else made of info.N;
//!                   else made of the dump: no host name, and for the time
//!                   that of the file
//! ```
//!
//! What is made has the length of the file, and 4096 for the block size.

use crate::crashdir::InfoText;
use livedump_vmcore::companion::{companion, companion_any};
use livedump_vmcore::{OpenError, Opened, Vmcore, regular};
use memdev::kerneldump::{
    Compression, HEADER_SIZE, KernelDumpHeader, Magic, VERSION,
};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// C: netdump_client.c.
const BLOCKSIZE: u32 = 4096;
/// A key has 2 KB at most, and a block 64 KB.
const MAX_KEY: u64 = 128 << 10;

/// Why a file cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// It is no dump.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its header is not known.
    #[error(
        "{} has no kernel dump header, and no info.N next to it that one could \
         be made of",
        .0.display()
    )]
    NoHeader(PathBuf),
    /// It is encrypted, and its key is not here.
    #[error("{} is encrypted, and there is no key.N next to it", .0.display())]
    NoKey(PathBuf),
}

/// Where its header is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file.
    File,
    /// info.N.
    Info,
    /// The dump itself.
    Dump,
}

impl Origin {
    /// For programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Info => "info",
            Self::Dump => "dump",
        }
    }
}

/// The files, open and not yet read.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    dump: File,
    info: Option<File>,
    key: Option<File>,
    encrypted: bool,
}

/// What is sent.
#[derive(Debug)]
pub struct Outgoing {
    /// The data, from its start.
    pub data: io::Take<File>,
    /// Its length.
    pub length: u64,
    /// The header.
    pub header: Box<[u8; HEADER_SIZE]>,
    /// Where that is from.
    pub origin: Origin,
    /// The key block; empty if it is not encrypted.
    pub key: Vec<u8>,
}

impl Files {
    /// Opens a dump and what is next to it.
    ///
    /// # Errors
    /// It is no file that can be read, or its key is not there.
    pub fn open(path: &Path) -> Result<Self, OutgoingError> {
        let dump = Vmcore::open_file(path)?;
        let beside = |name: Option<PathBuf>| {
            // What is not there, or is no file, is not used.
            name.and_then(|name| regular::open(&name).ok().flatten())
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let encrypted = name.contains("_encrypted.");
        let key = match encrypted {
            true => beside(companion_any(path, "key")),
            false => None,
        };
        if encrypted && key.is_none() {
            return Err(OutgoingError::NoKey(path.into()));
        }
        let info = match encrypted {
            true => beside(companion_any(path, "info")),
            false => beside(companion(path, "info")),
        };
        Ok(Self { path: path.into(), dump, info, key, encrypted })
    }

    /// Their descriptors.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let beside = self.info.iter().chain(&self.key);
        [&self.dump].into_iter().chain(beside).map(AsFd::as_fd)
    }

    /// Reads what the header is made of.
    ///
    /// # Errors
    /// It is no dump, or its header is not known.
    pub fn outgoing(self) -> Result<Outgoing, OutgoingError> {
        let failed = |source| {
            let path = self.path.clone();
            OutgoingError::Read { path, source }
        };
        let mut key = Vec::new();
        if let Some(file) = &self.key {
            file.take(MAX_KEY).read_to_end(&mut key).map_err(failed)?;
        }
        let info = self.info.as_ref().map(InfoText::read);
        let info = info.transpose().map_err(failed)?;
        let meta = self.dump.metadata().map_err(failed)?;
        let opened = match self.encrypted {
            // Nothing is to be seen in it.
            true => None,
            false => {
                let file = self.dump.try_clone().map_err(failed)?;
                Some(Opened::new(file, &self.path))
            }
        };
        let core = match opened {
            Some(Ok(Opened::Minidump(core))) => Some(core),
            // A full dump, or a textdump.
            Some(Ok(Opened::Image(_)) | Err(_)) if info.is_some() => None,
            Some(Err(e)) => return Err(e.into()),
            Some(Ok(Opened::Image(_))) | None => None,
        };
        let keysize = u32::try_from(key.len()).unwrap_or(0);
        let trailer = core.as_ref().and_then(|core| core.trailer());
        let whole = trailer.and_then(|it| Some((it, it.decode().ok()?)));
        let (header, length, origin) = if let Some((it, fields)) = whole {
            let length = fields.dumplength.min(it.offset);
            (Box::new(*it.bytes()), length, Origin::File)
        } else {
            let length = meta.len();
            let header = made(core.as_deref(), info.as_ref(), length, keysize);
            let modified = meta.modified().ok();
            let seconds = modified.and_then(|time| {
                Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
            });
            let header = header
                .and_then(|header| header.encoded(seconds))
                .ok_or_else(|| OutgoingError::NoHeader(self.path.clone()))?;
            let origin = match info.is_some() {
                true => Origin::Info,
                false => Origin::Dump,
            };
            (header, length, origin)
        };
        drop(core);
        let mut file = self.dump;
        file.rewind().map_err(|source| {
            let path = self.path.clone();
            OutgoingError::Read { path, source }
        })?;
        Ok(Outgoing { data: file.take(length), length, header, origin, key })
    }
}

/// A header in the making.
struct Made {
    architecture: String,
    architecture_version: u32,
    length: u64,
    extent: u64,
    time: Option<u64>,
    keysize: u32,
    hostname: String,
    version: String,
    panic: String,
    compression: Compression,
}

fn made(
    core: Option<&Vmcore>,
    info: Option<&InfoText>,
    length: u64,
    keysize: u32,
) -> Option<Made> {
    let said = info.and_then(|info| info.compression.as_deref());
    let said = [Compression::None, Compression::Gzip, Compression::Zstd]
        .into_iter()
        .find(|codec| said == Some(codec.name()));
    // What the file is counts, and not what it was.
    let compression = core.map(Vmcore::compression).or(said)?;
    let architecture =
        core.map(|core| core.header().machine.arch().to_string());
    let text = |get: fn(&InfoText) -> &Option<String>| {
        info.and_then(|info| get(info).clone())
    };
    let mut version = text(|info| &info.version).unwrap_or_default();
    if !version.is_empty() {
        version.push('\n');
    }
    Some(Made {
        architecture: architecture.or(text(|info| &info.architecture))?,
        architecture_version: match core {
            Some(core) => core.header().machine.kerneldump_version(),
            None => info.and_then(|info| info.architecture_version)?,
        },
        length,
        extent: core.and_then(Vmcore::expected_len).unwrap_or(length),
        time: info.and_then(|info| info.dumptime),
        keysize,
        hostname: text(|info| &info.hostname).unwrap_or_default(),
        version,
        panic: text(|info| &info.panic).unwrap_or_default(),
        compression,
    })
}

impl Made {
    fn encoded(&self, modified: Option<u64>) -> Option<Box<[u8; HEADER_SIZE]>> {
        let mut bytes = Box::new([0; HEADER_SIZE]);
        KernelDumpHeader {
            magic: Magic::Kernel,
            architecture: self.architecture.as_bytes(),
            version: VERSION,
            architecture_version: self.architecture_version,
            dumplength: self.length,
            dumptime: self.time.or(modified)?,
            dumpkeysize: self.keysize,
            blocksize: BLOCKSIZE,
            hostname: self.hostname.as_bytes(),
            versionstring: self.version.as_bytes(),
            panicstring: self.panic.as_bytes(),
            compression: self.compression,
            dumpextent: self.extent,
        }
        .encode(&mut bytes);
        Some(bytes)
    }
}
