// SPDX-License-Identifier: BSD-2-Clause
//! What a file is, by its content: names lie, and `livecore.0.gz` may be
//! plain.
//!
//! ```text
//!  the last 512 bytes: kerneldumpheader?  raw, dumplength says where it ends
//!  first bytes: "minidump"                plain
//!               1f 8b                     gzip members
//!               28 b5 2f fd               zstd frames; seek table at the end?
//! ```

use super::opened::{ImageFile, Opened};
use super::pages::Pages;
use super::regular;
use super::source::{
    Codec, Plain, Seekable, Sequential, Source, SourceError, Stored,
};
use super::trailer::Trailer;
use super::{FileFacts, Vmcore};
use crate::image::raw::Raw;
use crate::image::{self, ImageError};
use crate::path::escape_path;
use crate::verdict::Verdict;
use memdev::addr::{PAGE_SIZE, round_page};
use memdev::arch::Machine;
use memdev::kerneldump::{self, Compression, Magic};
use memdev::minidump::{self, MinidumpError, MinidumpHeader};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file without a magic number that is smaller is no machine's memory.
const MIN_RAW: u64 = 1 << 20;
/// What images of memory begin with.
const IMAGES: [&[u8]; 5] =
    [b"\x7fELF", b"KDUMP   ", b"makedumpfile", b"EMiL", b"AVML"];

const TRAILER: u64 = kerneldump::HEADER_SIZE as u64;

/// Why a file cannot be opened as a dump.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system said no.
    #[error("opening {path}")]
    Io {
        /// As it was named.
        path: String,
        /// What it said.
        source: io::Error,
    },
    /// A pipe, a directory, a device: it has no offsets to read at.
    #[error("{path} is not a regular file")]
    NotRegular {
        /// As it was named.
        path: String,
    },
    /// It is there under the name that it has compressed, or unpacked.
    #[error("{path} does not exist, {other} does")]
    OtherName {
        /// As it was named.
        path: String,
        /// What there is.
        other: String,
    },
    /// Something else than a minidump, and what it looks like.
    #[error("{path} is not a dump: {what}")]
    Foreign {
        /// As it was named.
        path: String,
        /// What it looks like.
        what: &'static str,
        /// Whether that is a kind of file that is known, if not read here.
        known: bool,
    },
    /// A textdump(4), which is no minidump.
    #[error("{path} is a textdump(4), not a minidump: {}", match files {
        Ok(n) => format!("{n} files, list them with tar(1)"),
        Err(damage) => format!("damaged: {damage}"),
    })]
    Textdump {
        /// As it was named.
        path: String,
        /// How many files it has, or what is damaged.
        files: Result<u64, String>,
    },
    /// It does not belong to the other parts of a split dump.
    #[error("{path}")]
    Part {
        /// As it was named.
        path: String,
        /// Why not.
        source: crate::image::joined::JoinError,
    },
    /// Encrypted, and no key was given.
    #[error("{path} is encrypted: give --private-key, or decrypt it first")]
    Encrypted {
        /// As it was named.
        path: String,
    },
    /// What its key makes of it is nothing that is known.
    #[error(
        "{path} does not decrypt to a dump: the key file is not its own, or \
         its start is damaged"
    )]
    Undecrypted {
        /// As it was named.
        path: String,
    },
    /// Too short for a header.
    #[error(
        "{path} is not a dump: it has {len} {}, fewer than a minidump header",
        if *len == 1 { "byte" } else { "bytes" }
    )]
    Short {
        /// As it was named.
        path: String,
        /// Unpacked bytes.
        len: u64,
    },
    /// Its minidump header is wrong.
    #[error("reading {path}")]
    Header {
        /// As it was named.
        path: String,
        /// What is wrong with it.
        source: MinidumpError,
    },
    /// A section that no kernel's is as large as.
    #[error(
        "reading {path}: its header has a {section} of {bytes} bytes, \
         expected at most {most}"
    )]
    Size {
        /// As it was named.
        path: String,
        /// Which.
        section: &'static str,
        /// Its bytes.
        bytes: u32,
        /// As many as are allowed.
        most: u32,
    },
    /// A range of a device that cannot be used.
    #[error("{path}")]
    Range {
        /// As it was named.
        path: String,
        /// Which, and why.
        source: Box<crate::image::ranges::RangeError>,
    },
    /// An image of memory that is damaged.
    #[error("reading {path}")]
    Image {
        /// As it was named.
        path: String,
        /// What is wrong with it.
        source: ImageError,
    },
    /// An image of memory, in which nothing is found without its kernel.
    #[error(
        "{path} is {format} of {} with -k{}",
        match system {
            Some(system) => format!(
                "the memory of {system}: it has no FreeBSD kernel, or it has \
                 to be named"
            ),
            None => "a machine's memory: name its kernel".into(),
        },
        match incomplete {
            Some(why) => format!("; {why}"),
            None => String::new(),
        }
    )]
    NeedsKernel {
        /// As it was named.
        path: String,
        /// "ELF core", "LiME".
        format: image::Format,
        /// The system whose memory it is, if that is another.
        system: Option<String>,
        /// That pages of the dump are in other files.
        incomplete: Option<String>,
    },
    /// It cannot be read or unpacked.
    #[error("reading {path}")]
    Source {
        /// As it was named.
        path: String,
        /// Why.
        source: SourceError,
    },
}

impl OpenError {
    /// What it says about a file that should be a dump. What was not read is
    /// undetermined, and so is what is something else that is known.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let why = crate::chain(self);
        match self {
            Self::Textdump { files: Ok(_), .. } => Verdict::Sound,
            Self::Source { source, .. } if source.is_environment() => {
                Verdict::Undetermined(why)
            }
            Self::Image { source, .. } if source.is_environment() => {
                Verdict::Undetermined(why)
            }
            _ if self.is_unread() || self.is_other_kind() => {
                Verdict::Undetermined(why)
            }
            _ => Verdict::Damaged(why),
        }
    }

    /// Whether it is this host that could not read or unpack the file.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        matches!(self, Self::Source { source, .. } if source.is_environment())
    }

    /// Whether it is something else that is known: encrypted, another kind of
    /// dump, or a minidump of a machine or a release that is not read here.
    #[must_use]
    pub fn is_other_kind(&self) -> bool {
        matches!(
            self,
            Self::Textdump { files: Ok(_), .. }
                | Self::Encrypted { .. }
                | Self::Undecrypted { .. }
                | Self::Foreign { known: true, .. }
                | Self::NeedsKernel { .. }
                | Self::Header {
                    source: MinidumpError::Version { .. }
                        | MinidumpError::Machine { .. }
                        | MinidumpError::PageSize(_),
                    ..
                }
        )
    }

    /// Whether the file could not be read at all.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::NotRegular { .. })
    }
}

/// The file alone, not looked into.
pub(super) fn open(path: &Path) -> Result<File, OpenError> {
    let name = escape_path(path);
    let io = |source: io::Error| match other_name(path) {
        Some(other) if source.kind() == io::ErrorKind::NotFound => {
            let (path, other) = (name.clone(), escape_path(&other));
            OpenError::OtherName { path, other }
        }
        _ => OpenError::Io { path: name.clone(), source },
    };
    match regular::open(path).map_err(io)? {
        Some(file) => Ok(file),
        None => Err(OpenError::NotRegular { path: name }),
    }
}

/// The same dump as another codec leaves it.
fn other_name(path: &Path) -> Option<PathBuf> {
    const SUFFIXES: [&str; 3] = ["", ".zst", ".gz"];
    let name = path.file_name()?.to_str()?;
    let suffix = SUFFIXES.iter().filter(|s| !s.is_empty());
    let stem = suffix.clone().find_map(|s| name.strip_suffix(s));
    let stem = stem.unwrap_or(name);
    SUFFIXES
        .iter()
        .map(|suffix| path.with_file_name(format!("{stem}{suffix}")))
        .find(|other| other != path && other.is_file())
}

pub(super) fn open_file(file: File, path: &Path) -> Result<Opened, OpenError> {
    let name = escape_path(path);
    let io = |source| OpenError::Io { path: name.clone(), source };
    let facts = FileFacts::of(&file, path).map_err(io)?;
    let opened = Opening {
        name: name.clone(),
        file: Arc::new(file),
        facts,
        decrypted: false,
        notes: Vec::new(),
    };
    let opened = opened.open();
    // savecore(8) has stripped the header that says so, and two bytes of
    // cipher text may well be those of a gzip member.
    let unknown = match &opened {
        Ok(Opened::Image(image)) => image.is_unknown(),
        Ok(Opened::Minidump(_)) => false,
        Err(e) => !e.is_environment(),
    };
    match unknown && is_named_encrypted(path) {
        true => Err(OpenError::Encrypted { path: name }),
        false => opened,
    }
}

/// What is in an encrypted file.
pub(super) fn open_decrypted(
    bytes: Arc<dyn Stored>,
    facts: FileFacts,
) -> Result<Opened, OpenError> {
    let name = escape_path(&facts.path);
    let (decrypted, notes) = (true, Vec::new());
    Opening { name, file: bytes, facts, decrypted, notes }.open()
}

/// Whether these are the first bytes of a dump, compressed or not, or of an
/// image of memory with a magic number.
#[must_use]
pub fn guess_dump(head: &[u8]) -> bool {
    let gzip = head.starts_with(&[0x1f, 0x8b, 8]);
    let zstd = super::source::is_zstd(head);
    let minidump = head.starts_with(b"minidump");
    let image = IMAGES.iter().any(|magic| head.starts_with(magic));
    minidump || gzip || zstd || image
}

/// Whether it has the name of an encrypted dump.
#[must_use]
pub fn is_named_encrypted(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let stems = ["vmcore_encrypted.", "livecore_encrypted."];
    name.is_some_and(|name| stems.iter().any(|stem| name.starts_with(stem)))
}

struct Opening {
    name: String,
    file: Arc<dyn Stored>,
    facts: FileFacts,
    /// Whether `file` is what was in an encrypted one.
    decrypted: bool,
    notes: Vec<String>,
}

impl Opening {
    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn failed(&self, source: SourceError) -> OpenError {
        OpenError::Source { path: self.name.clone(), source }
    }

    fn foreign(&self, what: &'static str) -> OpenError {
        OpenError::Foreign { path: self.name.clone(), what, known: true }
    }

    /// By its name or its first bytes.
    fn foreign_magic(&self, head: &[u8], source: &dyn Source) -> OpenError {
        let path = self.name.clone();
        if self.decrypted {
            return OpenError::Undecrypted { path };
        }
        match super::textdump::walk(source) {
            Err(source) => return OpenError::Source { path, source },
            Ok(Some(files)) => return OpenError::Textdump { path, files },
            Ok(None) => {}
        }
        let known = guess_format(head);
        let what = known.unwrap_or("it starts with no known magic number");
        let known = known.is_some();
        OpenError::Foreign { path: self.name.clone(), what, known }
    }

    /// An image of memory, if it is one. What begins with no magic number may
    /// be nothing but memory: whether it is, a kernel in it tells.
    fn image(
        &self,
        source: &Arc<dyn Source>,
        head: &[u8],
    ) -> Result<Option<ImageFile>, OpenError> {
        let file = || self.facts.clone();
        let found = image::open(source).map_err(|source| OpenError::Image {
            path: self.name.clone(),
            source,
        })?;
        if let Some(image) = found {
            let (raw, unknown) = (None, None);
            return Ok(Some(ImageFile { file: file(), image, raw, unknown }));
        }
        let len = source.known_len().unwrap_or(0);
        let memory = len >= MIN_RAW
            && len.is_multiple_of(PAGE_SIZE as u64)
            && guess_format(head).is_none();
        if !memory || head.starts_with(b"minidump") {
            return Ok(None);
        }
        match self.foreign_magic(head, source.as_ref()) {
            unknown @ OpenError::Foreign { known: false, .. } => {
                let raw = Arc::new(Raw::new(Arc::clone(source), len));
                let image = Arc::clone(&raw) as _;
                let (raw, unknown) = (Some(raw), Some(unknown));
                Ok(Some(ImageFile { file: file(), image, raw, unknown }))
            }
            e => Err(e),
        }
    }

    fn open(mut self) -> Result<Opened, OpenError> {
        let len = self.facts.len;
        let whole = Plain::new(Arc::clone(&self.file), len);
        let at = len.saturating_sub(TRAILER);
        let mut trailer =
            Trailer::read(&whole, at).map_err(|e| self.failed(e))?;
        let end = match &trailer {
            Some(t) => self.dump_end(t)?,
            None => len,
        };
        let mut head = [0; minidump::HEADER_SIZE];
        let got = whole
            .read_at(0, &mut head)
            .map_err(|e| self.failed(e))?
            .min(usize::try_from(end).unwrap_or(usize::MAX));
        let head = head.get(..got).unwrap_or_default();
        let compression = self.probe(head, &whole)?;
        let mut source = self.source(compression, end)?;
        let mut unpacked = [0; minidump::HEADER_SIZE];
        let got = source.read_at(0, &mut unpacked);
        let got = got.map_err(|e| self.failed(e))?;
        let unpacked = unpacked.get(..got).unwrap_or_default();
        if let Some(image) = self.image(&source, unpacked)? {
            return Ok(Opened::Image(image));
        }
        let header = self.header(source.as_ref())?;
        let records = super::records::records(source.as_ref());
        let (instant, keys) = records.map_err(|e| self.failed(e))?;
        if let Err(e) = &instant {
            self.note(e.to_string());
        }
        let pages = Pages::new(source.as_ref(), &header);
        if let Err(e) = &pages {
            self.note(crate::chain(e));
        }
        let size =
            pages.as_ref().ok().and_then(|p| header.dumpsize(p.count_set()));
        if trailer.is_none() && compression == Compression::None {
            trailer = self.early_trailer(&whole, size)?;
            if let (Some(_), Some(size)) = (&trailer, size) {
                source = Arc::new(Plain::new(Arc::clone(&self.file), size));
            }
        }
        self.compare(source.known_len(), size);
        Ok(Opened::Minidump(Box::new(Vmcore {
            layout: header.layout(),
            lost: super::lost::Lost::default(),
            file: self.facts,
            compression,
            trailer,
            header,
            instant,
            keys,
            source,
            pages,
            notes: self.notes,
            translations: super::Translations::default(),
            reads: super::read_log::ReadLog::default(),
            cache: super::source::Cache::new(super::memory::CACHED_PAGES),
            claims: image::Claims {
                machine: Some(header.machine),
                ..image::Claims::default()
            },
            memory: None,
        })))
    }

    /// Where the data before a trailing header end.
    fn dump_end(&mut self, trailer: &Trailer) -> Result<u64, OpenError> {
        let before = trailer.offset;
        let h = match trailer.decode() {
            Ok(h) => h,
            Err(e) => {
                self.note(format!("the kernel dump header: {e}"));
                return Ok(before);
            }
        };
        if h.magic == Magic::Text {
            return Err(self.foreign("it is a textdump(4)"));
        }
        if h.dumpkeysize != 0 {
            let path = self.name.clone();
            return Err(OpenError::Encrypted { path });
        }
        let length = h.dumplength;
        if !trailer.parity_ok() {
            self.note("the kernel dump header has a parity error");
        }
        if length > before {
            self.note(format!(
                "the kernel dump header has a dumplength of {length}, but \
                 only {before} bytes are before it"
            ));
        }
        Ok(length.min(before))
    }

    /// Plain, gzip or zstd.
    fn probe(
        &self,
        head: &[u8],
        whole: &Plain,
    ) -> Result<Compression, OpenError> {
        if head.starts_with(b"minidump") {
            return Ok(Compression::None);
        }
        if head.starts_with(&[0x1f, 0x8b]) {
            return Ok(Compression::Gzip);
        }
        if super::source::is_zstd(head) {
            return Ok(Compression::Zstd);
        }
        let image = IMAGES.iter().any(|magic| head.starts_with(magic));
        if image || self.facts.len >= MIN_RAW {
            return Ok(Compression::None);
        }
        if head.len() < minidump::HEADER_SIZE {
            let len = head.len() as u64;
            return Err(OpenError::Short { path: self.name.clone(), len });
        }
        Err(self.foreign_magic(head, whole))
    }

    fn source(
        &mut self,
        compression: Compression,
        end: u64,
    ) -> Result<Arc<dyn Source>, OpenError> {
        let file = Arc::clone(&self.file);
        let codec = match compression {
            Compression::None => return Ok(Arc::new(Plain::new(file, end))),
            Compression::Gzip => Codec::Gzip,
            Compression::Zstd => Codec::Zstd,
        };
        let why = if codec == Codec::Zstd {
            let open = Seekable::open(Arc::clone(&file), end);
            match open.map_err(|e| self.failed(e))? {
                Ok(source) => return Ok(Arc::new(source)),
                Err(why) => why,
            }
        } else {
            "gzip has no index"
        };
        self.note(format!("no random access, unpacking from the start: {why}"));
        Ok(Arc::new(Sequential::new(codec, file, end)))
    }

    fn header(&self, from: &dyn Source) -> Result<MinidumpHeader, OpenError> {
        let mut head = [0; minidump::HEADER_SIZE];
        let got = from.read_at(0, &mut head).map_err(|e| self.failed(e))?;
        let path = || self.name.clone();
        let start = head.get(..got).unwrap_or_default();
        if start.starts_with(&[0x1f, 0x8b]) || super::source::is_zstd(start) {
            return Err(self.foreign("it is compressed twice"));
        }
        if got < head.len() {
            let len = got as u64;
            return Err(OpenError::Short { path: path(), len });
        }
        let header = MinidumpHeader::decode(&head);
        let header = header.map_err(|source| match source {
            MinidumpError::Magic => self.foreign_magic(start, from),
            source => OpenError::Header { path: path(), source },
        })?;
        for (section, bytes, most) in section_limits(&header) {
            if bytes > most {
                let path = path();
                return Err(OpenError::Size { path, section, bytes, most });
            }
        }
        Ok(header)
    }

    /// A dump into a longer file leaves that file's tail behind its header
    /// where nobody truncates: stock kernels do not.
    fn early_trailer(
        &mut self,
        whole: &Plain,
        size: Option<u64>,
    ) -> Result<Option<Trailer>, OpenError> {
        let Some(at) = size.and_then(round_page) else { return Ok(None) };
        let found = Trailer::read(whole, at).map_err(|e| self.failed(e))?;
        if found.is_some() {
            let after =
                self.facts.len.saturating_sub(at).saturating_sub(TRAILER);
            self.note(format!(
                "{after} bytes are after the kernel dump header: the rest \
                 of an older, longer file"
            ));
        }
        Ok(found)
    }

    fn compare(&mut self, len: Option<u64>, size: Option<u64>) {
        if let (Some(len), Some(size)) = (len, size) {
            if len < size {
                self.note(format!(
                    "truncated: {len} of {size} bytes are there"
                ));
            } else if len > size {
                let after = len.saturating_sub(size);
                self.note(format!("{after} bytes after the last page"));
            }
        }
    }
}

/// The sections of a dump, their bytes, and what is more than any kernel has:
/// the bits of 16 TiB, the tables of 16 TiB of kernel memory on amd64, an
/// entry for 2 MiB, and of 512 GiB on arm64, an entry for 4 KiB. A file of
/// some KB may claim 4 GiB, which would have to be unpacked.
fn section_limits(h: &MinidumpHeader) -> [(&'static str, u32, u32); 4] {
    let pmap = match h.machine {
        Machine::Amd64 => 64 << 20,
        Machine::Arm64 => 1 << 30,
    };
    [
        ("message buffer", h.msgbufsize, super::msgbuf::MAX_BYTES),
        ("dump_avail", h.dumpavailsize, 1 << 20),
        ("bitmap", h.bitmapsize, 512 << 20),
        ("pmap section", h.pmapsize, pmap),
    ]
}

/// A guess at what else a file may be, for the message.
fn guess_format(head: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 11] = [
        (b"\x7fELF", "it is an ELF file; a kernel is given with -k"),
        (b"FreeBSD Kernel Dump", "it is a bare kernel dump header"),
        (b"FreeBSD Text Dump", "it is a textdump(4)"),
        (b"Cleared Kernel Dump", "it was saved and cleared"),
        (b"BZh", "it is compressed with bzip2"),
        (b"\xfd7zXZ", "it is compressed with xz"),
        (b"\x04\x22\x4d\x18", "it is compressed with lz4"),
        (b"KDUMP   ", "it is a kdump-compressed dump"),
        (b"makedumpfile", "it is a flattened kdump-compressed dump"),
        (b"EMiL", "it is a LiME image"),
        (b"AVML", "it is an AVML image"),
    ];
    known
        .iter()
        .find(|(magic, _)| head.starts_with(magic))
        .map(|(_, what)| *what)
}
