// SPDX-License-Identifier: BSD-2-Clause
//! Is what the kernel wrote a dump? First its kernel dump header, in
//! savecore(8)'s order of checks; then, cheaply, whether the dump's sections
//! and pages are as many as both headers say.

use livedump_vmcore::chain;
use livedump_vmcore::verdict::Verdict;
use livedump_vmcore::{OpenError, Vmcore};
use memdev::addr::PAGE_SIZE;
use memdev::kerneldump::{
    Compression, HEADER_SIZE, HeaderError, KernelDumpHeader, Magic, VERSION,
    parity_ok,
};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Why what was written is no dump.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be read back.
    #[error("reading the dump back")]
    Read(#[source] io::Error),
    /// Not even a header fits.
    #[error("the file has only {0} bytes")]
    Short(u64),
    /// What is at the end is no header.
    #[error("its last 512 bytes are not a dump header")]
    Header(#[source] HeaderError),
    /// Of something else.
    #[error("the header's magic is {0:?}")]
    Magic(Magic),
    /// Of another release.
    #[error("the header's version is {0}, expected 4")]
    Version(u32),
    /// Not what was asked for.
    #[error("the header has {found}, expected {wanted} (-f keeps it)")]
    Compression {
        /// In the header.
        found: &'static str,
        /// In the request.
        wanted: &'static str,
    },
    /// The header is damaged.
    #[error("the header has a parity error (-f keeps it)")]
    Parity,
    /// A key that nobody asked for.
    #[error("the header has a key of {0} bytes")]
    Key(u32),
    /// The header and the file disagree.
    #[error("the header has {dumplength} bytes, the file {file}")]
    Length {
        /// In the header.
        dumplength: u64,
        /// Of the file, header and all.
        file: u64,
    },
}

/// A header that was found good, or good enough with -f.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) bytes: [u8; HEADER_SIZE],
    pub(super) compression: Compression,
    pub(super) dumplength: u64,
    pub(super) dumpextent: u64,
    /// What `force` let pass.
    pub(super) problems: Vec<String>,
    /// What [`structure`] found, once it was called.
    pub(super) structure: Verdict,
}

/// Checks the header at the end of a file.
pub(super) fn header(
    file: &File,
    wanted: Compression,
    force: bool,
) -> Result<Checked, CheckError> {
    let len = file.metadata().map_err(CheckError::Read)?.len();
    let at =
        len.checked_sub(HEADER_SIZE as u64).ok_or(CheckError::Short(len))?;
    let mut bytes = [0; HEADER_SIZE];
    file.read_exact_at(&mut bytes, at).map_err(CheckError::Read)?;
    decoded(bytes, len, at, wanted, force)
}

/// Checks the header that came behind `length` bytes of a dump and its padding.
pub(super) fn header_of_stream(
    bytes: &[u8; HEADER_SIZE],
    length: u64,
    wanted: Compression,
    force: bool,
) -> Result<Checked, CheckError> {
    let at = length.next_multiple_of(PAGE_SIZE as u64);
    let len = at.saturating_add(HEADER_SIZE as u64);
    decoded(*bytes, len, at, wanted, force)
}

/// A header at `at`, which ends `len` bytes.
fn decoded(
    bytes: [u8; HEADER_SIZE],
    len: u64,
    at: u64,
    wanted: Compression,
    force: bool,
) -> Result<Checked, CheckError> {
    let h = KernelDumpHeader::decode(&bytes).map_err(CheckError::Header)?;
    if h.magic != Magic::Kernel {
        return Err(CheckError::Magic(h.magic));
    }
    if h.version != VERSION {
        return Err(CheckError::Version(h.version));
    }
    let mut problems = Vec::new();
    let mut unless_forced = |bad: bool, e: CheckError| {
        if bad && !force {
            return Err(e);
        }
        if bad {
            problems.push(e.to_string());
        }
        Ok(())
    };
    let (found, asked) = (h.compression.name(), wanted.name());
    unless_forced(
        found != asked,
        CheckError::Compression { found, wanted: asked },
    )?;
    unless_forced(!parity_ok(&bytes), CheckError::Parity)?;
    if h.dumpkeysize != 0 {
        return Err(CheckError::Key(h.dumpkeysize));
    }
    // The header stands at the first block behind the dump.
    if h.dumplength.checked_next_multiple_of(PAGE_SIZE as u64) != Some(at) {
        let dumplength = h.dumplength;
        return Err(CheckError::Length { dumplength, file: len });
    }
    let (compression, dumplength, dumpextent) =
        (h.compression, h.dumplength, h.dumpextent);
    let structure = Verdict::Sound;
    Ok(Checked {
        bytes,
        compression,
        dumplength,
        dumpextent,
        problems,
        structure,
    })
}

/// What checking a fresh dump's sections found.
#[derive(Debug)]
pub(super) struct Structure {
    pub(super) verdict: Verdict,
    /// The dump, for those who go on with it.
    pub(super) core: Option<Vmcore>,
}

/// Checks the sections of a dump whose header has been cut off. Reads the
/// first megabytes, whatever the size of the dump. That it cannot be read is
/// no damage, but no dump that is known to be sound, either.
pub(super) fn structure(
    opened: Result<Vmcore, OpenError>,
    checked: &Checked,
) -> Structure {
    let core = match opened {
        Ok(core) => core,
        Err(e) => return Structure { verdict: e.verdict(), core: None },
    };
    Structure { verdict: of_core(&core, checked), core: Some(core) }
}

fn of_core(core: &Vmcore, checked: &Checked) -> Verdict {
    let mut problems = Vec::new();
    if core.compression() != checked.compression {
        problems.push(format!(
            "the file is {}, its header has {}",
            core.compression().name(),
            checked.compression.name()
        ));
    }
    let mut verdict = Verdict::Sound;
    match core.pages() {
        Err(e) if e.is_environment() => {
            verdict = Verdict::Undetermined(chain(e));
        }
        Err(e) => problems.push(chain(e)),
        Ok(pages) => {
            let size = core.header().dumpsize(pages.count_set());
            if size != Some(checked.dumpextent) {
                problems.push(format!(
                    "its bitset has {} pages, which is not what {} bytes \
                     hold",
                    pages.count_set(),
                    checked.dumpextent
                ));
            }
        }
    }
    let plain = checked.compression == Compression::None;
    if plain && checked.dumplength != checked.dumpextent {
        problems.push(format!(
            "it is not compressed and has {} of {} bytes",
            checked.dumplength, checked.dumpextent
        ));
    }
    match problems.is_empty() {
        true => verdict,
        false => Verdict::Damaged(problems.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn dump(
        len: usize,
        change: impl FnOnce(&mut KernelDumpHeader<'_>),
    ) -> File {
        let mut header = KernelDumpHeader {
            magic: Magic::Kernel,
            architecture: b"amd64",
            version: 4,
            architecture_version: 2,
            dumplength: len as u64,
            dumptime: 1,
            dumpkeysize: 0,
            blocksize: 4096,
            hostname: b"h",
            versionstring: b"v\n",
            panicstring: b"",
            compression: Compression::None,
            dumpextent: len as u64,
        };
        change(&mut header);
        let mut bytes = [0; HEADER_SIZE];
        header.encode(&mut bytes);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; len.next_multiple_of(4096)]).unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    fn open(file: &File) -> Result<Vmcore, OpenError> {
        let file = file.try_clone().unwrap();
        Vmcore::from_file(file, std::path::Path::new("x"))
    }

    fn refusal(file: &File, force: bool) -> String {
        header(file, Compression::None, force).unwrap_err().to_string()
    }

    #[test]
    fn a_good_header_is_found_behind_the_last_block() {
        for len in [1, 4096, 5000] {
            let checked =
                header(&dump(len, |_| {}), Compression::None, false).unwrap();
            assert_eq!(checked.dumplength, len as u64);
            assert!(checked.problems.is_empty());
        }
    }

    #[test]
    fn what_is_no_header_is_refused_even_by_force() {
        let empty = tempfile::tempfile().unwrap();
        assert!(refusal(&empty, true).contains("0 bytes"));
        let mut noise = tempfile::tempfile().unwrap();
        noise.write_all(&[1; 4608]).unwrap();
        assert!(refusal(&noise, true).contains("not a dump header"));
        let text = dump(1, |h| h.magic = Magic::Text);
        assert!(refusal(&text, true).contains("Text"));
        let cleared = dump(1, |h| h.magic = Magic::Cleared);
        assert!(refusal(&cleared, true).contains("Cleared"));
        let keyed = dump(1, |h| h.dumpkeysize = 64);
        assert!(refusal(&keyed, true).contains("64 bytes"));
        for wrong in [0, 4097, u64::MAX] {
            let file = dump(4000, |h| h.dumplength = wrong);
            assert!(refusal(&file, true).contains("4608"), "{wrong}");
        }
    }

    #[test]
    fn an_older_header_is_refused() {
        let file = dump(1, |_| {});
        file.write_all_at(&1u32.to_be_bytes(), 4096 + 32).unwrap();
        assert!(refusal(&file, true).contains("version is 1"));
    }

    #[test]
    fn force_lets_parity_and_another_codec_pass_and_says_so() {
        let damaged = dump(1, |_| {});
        damaged.write_all_at(b"x", 4096 + 100).unwrap();
        assert!(refusal(&damaged, false).contains("parity"));
        let checked = header(&damaged, Compression::None, true).unwrap();
        assert_eq!(checked.problems.len(), 1);

        let zstd = dump(1, |h| h.compression = Compression::Zstd);
        assert!(refusal(&zstd, false).contains("zstd"));
        let checked = header(&zstd, Compression::None, true).unwrap();
        assert_eq!(checked.compression, Compression::Zstd);
        assert_eq!(checked.problems.len(), 1);
    }

    #[test]
    fn a_dump_of_noise_has_no_structure() {
        let file = dump(4096, |_| {});
        let checked = header(&file, Compression::None, false).unwrap();
        file.set_len(checked.dumplength).unwrap();
        let found = structure(open(&file), &checked);
        assert!(found.verdict.is_damaged(), "{found:?}");
        assert!(found.core.is_none());
    }

    #[test]
    fn a_dump_that_cannot_be_read_again_is_not_known_to_be_sound() {
        let checked =
            header(&dump(4096, |_| {}), Compression::None, false).unwrap();
        // Every read of a directory is an error.
        let tmp = tempfile::tempdir().unwrap();
        let unreadable = File::open(tmp.path()).unwrap();
        let found = structure(open(&unreadable), &checked);
        let verdict = found.verdict;
        assert!(matches!(verdict, Verdict::Undetermined(_)), "{verdict:?}");
    }
}
