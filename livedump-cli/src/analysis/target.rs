// SPDX-License-Identifier: BSD-2-Clause
//! A dump together with its kernel: variables by name, structures by field.

use super::exported::EXPORTED;
use super::identity::{Identity, debug_identity, kernel_identity};
use super::symbols::Symbols;
use super::types::reader::TypeReader;
use super::types::{AnyFields, Field, FieldId, Missing, Types, TypesError};
use livedump_vmcore::chain;
use livedump_vmcore::elf::{Kernel, Symbol};
use livedump_vmcore::procs::ProcsError;
use livedump_vmcore::{ReadError, Vmcore};
use memdev::addr::Vaddr;

const MAX_OFFSET: u64 = 64 << 10;
/// As long as `version` ever is.
const VERSION_BYTES: u64 = 256;
/// What it starts with.
const VERSION: &str = "FreeBSD ";
/// Bytes of it that may differ in a damaged dump.
const FLIPPED_BYTES: usize = 8;

/// Why a dump cannot be analysed with a kernel.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// A file that is no kernel of FreeBSD.
    #[error("kernel {kernel} is not a FreeBSD kernel: {why}")]
    NotKernel {
        /// The file.
        kernel: String,
        /// What it lacks.
        why: String,
    },
    /// This host could not read the dump.
    #[error("comparing kernel {kernel} with the dump")]
    Unread {
        /// The file.
        kernel: String,
        /// Why not.
        source: ReadError,
    },
    /// Kernels of two machines.
    #[error(
        "kernel {kernel} is not the dump's: it is of {found}, the dump of \
         {expected}"
    )]
    Machine {
        /// The file.
        kernel: String,
        /// Its machine.
        found: &'static str,
        /// The dump's.
        expected: &'static str,
    },
    /// Another version of the same machine's.
    #[error(
        "kernel {kernel} is not the dump's: its version is {found:?}, the \
         dump's {dump:?}"
    )]
    Version {
        /// The file.
        kernel: String,
        /// Its `version`.
        found: String,
        /// The dump's.
        dump: String,
    },
    /// Another build of the same version.
    #[error("kernel {kernel} is not the dump's: {differs}")]
    Build {
        /// The file.
        kernel: String,
        /// What differs.
        differs: String,
    },
    /// The debug file is not the kernel's.
    #[error("{debug} is not the debug file of kernel {kernel}: {differs}")]
    Debug {
        /// The debug file.
        debug: String,
        /// The kernel.
        kernel: String,
        /// What differs.
        differs: String,
    },
    /// The debug file that was named has no types.
    #[error(
        "debug file {debug} has no type information: neither DWARF nor CTF"
    )]
    NoTypes {
        /// The debug file.
        debug: String,
    },
    /// What debug files tell cannot be used.
    #[error(transparent)]
    Types(#[from] TypesError),
    /// What they do not tell is needed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The process list cannot be walked.
    #[error(transparent)]
    Procs(#[from] ProcsError),
    /// A variable that is needed.
    #[error("kernel {kernel} has no symbol {name}")]
    NoSymbol {
        /// The file.
        kernel: String,
        /// The symbol.
        name: &'static str,
    },
}

impl TargetError {
    /// Whether it is this host that could not read the dump.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        match self {
            Self::Unread { source, .. }
            | Self::Procs(ProcsError::Read { source, .. }) => {
                source.is_environment()
            }
            _ => false,
        }
    }

    /// Whether it is the debug file that does not belong to the others.
    #[must_use]
    pub fn is_of_debug(&self) -> bool {
        matches!(self, Self::Debug { .. } | Self::Types(_))
    }
}

/// A dump and its kernel.
#[derive(Debug)]
pub struct Target<'a> {
    /// The dump.
    pub core: &'a Vmcore,
    /// Its kernel.
    pub kernel: &'a Kernel,
    /// Its debug file.
    pub debug: Option<&'a Kernel>,
    /// Where fields stand.
    pub types: Types,
    /// Names for addresses.
    pub symbols: Symbols,
    /// What is not known about files belonging together, so that nothing that
    /// rests on it is certain.
    pub unproven: Vec<String>,
}

impl<'a> Target<'a> {
    /// Brings them together.
    ///
    /// # Errors
    /// They do not belong together, or the debug file cannot be read.
    pub fn new(
        core: &'a Vmcore,
        kernel: &'a Kernel,
        debug: Option<&'a Kernel>,
    ) -> Result<Self, TargetError> {
        Self::with(core, kernel, debug, false, |exported| {
            Types::load(kernel, debug, exported)
        })
    }

    /// The same, with the offsets of fields that the kernel exports and no
    /// others: for what reads types itself.
    ///
    /// # Errors
    /// They do not belong together.
    pub fn exported_only(
        core: &'a Vmcore,
        kernel: &'a Kernel,
        debug: Option<&'a Kernel>,
    ) -> Result<Self, TargetError> {
        Self::with(core, kernel, debug, true, |exported| {
            Ok(Types::exported_only(exported))
        })
    }

    /// `any`: any type may be the debug file's, so that it has to be proved.
    fn with(
        core: &'a Vmcore,
        kernel: &'a Kernel,
        debug: Option<&'a Kernel>,
        any: bool,
        types: impl FnOnce(&[(FieldId, u64)]) -> Result<Types, TypesError>,
    ) -> Result<Self, TargetError> {
        let mut unproven = Vec::new();
        if let Err(e) = core.instant() {
            unproven.push(format!("what the dump is of is not known: {e}"));
        }
        if let Some(why) = check_match(core, kernel)? {
            let kernel = kernel.path();
            let text = "is the dump's kernel";
            unproven
                .push(format!("cannot confirm that {kernel} {text}: {why}"));
        }
        let debug_proved = match debug {
            Some(debug) => check_debug(kernel, debug)?,
            None => Ok(()),
        };
        let mut exported = Vec::new();
        for &(name, id) in EXPORTED {
            if let Ok(n) = core.kernel_int(kernel, name)
                && u64::from(n) <= MAX_OFFSET
            {
                exported.push((id, u64::from(n)));
            }
        }
        let types = types(&exported)?;
        if let (Some(debug), Err(why)) = (debug, debug_proved)
            && (any || types.are_unproven())
        {
            unproven.push(debug_unproven(kernel, debug, &why));
        }
        // A stripped kernel's debug file has more names.
        let symbols = Symbols::new(debug.unwrap_or(kernel));
        Ok(Self { core, kernel, debug, types, symbols, unproven })
    }

    /// Any type of the kernel's. A debug file that nothing confirms is not
    /// asked, unless that is reported already.
    pub(super) fn type_reader(&self) -> TypeReader<'a> {
        let proved = |debug: &&Kernel| {
            self.types.are_unproven()
                || matches!(check_debug(self.kernel, debug), Ok(Ok(())))
        };
        TypeReader::new(self.kernel, self.debug.filter(proved))
    }

    /// Fields of any structure of the kernel's.
    pub(super) fn any_fields(&self) -> AnyFields<'a> {
        AnyFields::new(self.type_reader())
    }

    /// The address of a variable.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<Vaddr> {
        self.kernel.find(name).map(|s| s.address)
    }

    /// A variable of eight bytes; 0 counts as none.
    #[must_use]
    pub fn pointer(&self, name: &str) -> Option<Vaddr> {
        let value = self.core.read_u64(self.address(name)?).ok()?;
        (value != 0).then_some(Vaddr(value))
    }

    /// An `int`, by its name.
    #[must_use]
    pub fn int(&self, name: &'static str) -> Option<u32> {
        self.core.kernel_int(self.kernel, name).ok()
    }

    /// An integer of one, four or eight bytes, as large as its symbol is.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        let symbol = self.kernel.find(name)?;
        let size = symbol.size;
        matches!(size, 1 | 4 | 8).then_some(())?;
        self.get(symbol.address, Field { offset: 0, size }).ok()
    }

    /// `__FreeBSD_version`; 0 where it is not to be had.
    #[must_use]
    pub fn osreldate(&self) -> u32 {
        self.int("osreldate").unwrap_or(0)
    }

    /// Whether the kernel was dumping because it panicked: nothing moved.
    #[must_use]
    pub fn has_panicked(&self) -> bool {
        let trailer = self.core.trailer().and_then(|t| t.decode().ok());
        self.pointer("panicstr").is_some()
            || trailer.is_some_and(|h| !h.panicstring.is_empty())
    }

    /// A field, as a number. One whose size nobody tells is taken for eight
    /// bytes.
    ///
    /// # Errors
    /// It is not in the dump.
    pub fn get(&self, of: Vaddr, field: Field) -> Result<u64, ReadError> {
        let mut raw = [0; 8];
        let n = match field.size {
            n @ 1..=8 => n as usize,
            _ => 8,
        };
        let buf = raw.get_mut(..n).unwrap_or_default();
        self.core.read_va(at(of, field), buf)?;
        Ok(u64::from_le_bytes(raw))
    }

    /// The bytes of a C string of less than `limit`, whatever they are; `None`
    /// where it is not in the dump, or does not end.
    #[must_use]
    pub fn c_string(&self, va: Vaddr, limit: usize) -> Option<Vec<u8>> {
        let mut raw = vec![0; limit];
        let got = match self.core.read_va(va, &mut raw) {
            Ok(()) => limit,
            Err(e) => e.done,
        };
        raw.truncate(got);
        let end = raw.iter().position(|&b| b == 0)?;
        raw.truncate(end);
        Some(raw)
    }

    /// A C string of at most `limit` bytes; `None` where there is none, or
    /// something that is no text.
    #[must_use]
    pub fn text(&self, va: Vaddr, limit: usize) -> Option<String> {
        let text = self.c_string(va, limit)?;
        let printable = text.iter().all(|b| (0x20..0x7f).contains(b));
        (printable && !text.is_empty())
            .then(|| String::from_utf8_lossy(&text).into_owned())
    }
}

fn debug_unproven(kernel: &Kernel, debug: &Kernel, why: &str) -> String {
    let (debug, kernel) = (debug.path(), kernel.path());
    format!("cannot confirm that {debug} is the debug file of {kernel}: {why}")
}

/// The address of a field.
#[must_use]
pub fn at(of: Vaddr, field: Field) -> Vaddr {
    Vaddr(of.0.wrapping_add(field.offset))
}

/// Whether a kernel is the dump's. `Some` where nothing says that it is not,
/// and nothing proves that it is: why.
///
/// # Errors
/// It is not.
pub fn check_match(
    core: &Vmcore,
    kernel: &Kernel,
) -> Result<Option<String>, TargetError> {
    check_freebsd(kernel)?;
    check_machine(core, kernel)?;
    check_version(core, kernel)?;
    match kernel_identity(core, kernel) {
        Identity::Same(_) => Ok(None),
        Identity::Unknown(why) => Ok(Some(why)),
        Identity::Other(differs) => {
            let kernel = kernel.path().into();
            Err(TargetError::Build { kernel, differs })
        }
    }
}

/// Whether a file is a kernel of FreeBSD at all, whatever dump it is used
/// for: it has `version` or at least `allproc`, in the kernel's half of the
/// addresses.
///
/// # Errors
/// It is not.
pub fn check_freebsd(kernel: &Kernel) -> Result<(), TargetError> {
    let refuse = |why: String| {
        let kernel = kernel.path().into();
        Err(TargetError::NotKernel { kernel, why })
    };
    let version = kernel.find("version");
    let Some(symbol) = version.or_else(|| kernel.find("allproc")) else {
        return refuse("it has no symbol version".into());
    };
    let at = symbol.address;
    if at.0 >> 63 == 0 {
        return refuse(format!("its symbols are in user memory, at {at}"));
    }
    // A debug file has no data.
    let mut start = [0; VERSION.len()];
    if version.is_none() || !kernel.read(at, &mut start) {
        return Ok(());
    }
    if start != *VERSION.as_bytes() && start != [0; VERSION.len()] {
        let text = line(&start);
        return refuse(format!("its version starts with {text:?}"));
    }
    Ok(())
}

fn check_machine(core: &Vmcore, file: &Kernel) -> Result<(), TargetError> {
    let (found, expected) = (file.machine(), core.header().machine);
    if found == expected {
        return Ok(());
    }
    Err(TargetError::Machine {
        kernel: file.path().into(),
        found: found.name(),
        expected: expected.name(),
    })
}

fn check_version(core: &Vmcore, kernel: &Kernel) -> Result<(), TargetError> {
    let Some(symbol) = kernel.find("version") else { return Ok(()) };
    let bytes = match symbol.size {
        n @ 1..=VERSION_BYTES => n as usize,
        _ => VERSION_BYTES as usize,
    };
    let (mut ours, mut theirs) = (vec![0; bytes], vec![0; bytes]);
    if !kernel.read(symbol.address, &mut ours) {
        return Ok(());
    }
    if let Err(e) = core.read_va(symbol.address, &mut theirs) {
        if e.is_environment() {
            let kernel = kernel.path().into();
            return Err(TargetError::Unread { kernel, source: e });
        }
        ours.truncate(e.done);
        theirs.truncate(e.done);
    }
    // What is not there cannot contradict.
    if ours == theirs || theirs.iter().all(|&b| b == 0) {
        return Ok(());
    }
    let found = line(&ours);
    let dump = match line(&theirs) {
        // The middle of it, where the other kernel has its start.
        text if !text.starts_with(VERSION) => version_around(core, symbol),
        text => text,
    };
    let kernel = kernel.path().into();
    if found.is_empty() || found == dump {
        return Ok(());
    }
    if is_nearly(&ours, &theirs) || header_has(core, &ours) {
        return Ok(());
    }
    if !dump.starts_with(VERSION) {
        let at = symbol.address;
        let differs = format!("the dump has no version at {at}");
        return Err(TargetError::Build { kernel, differs });
    }
    Err(TargetError::Version { kernel, found, dump })
}

/// Whether two texts that should be the same differ as a damaged dump's does.
/// That of another build differs in its number, its date or its path.
fn is_nearly(ours: &[u8], theirs: &[u8]) -> bool {
    let differs = |(a, b): &(&u8, &u8)| a != b;
    let differ = ours.iter().zip(theirs).filter(differs).count();
    let no_version = !theirs.starts_with(VERSION.as_bytes());
    no_version && differ <= FLIPPED_BYTES
}

/// Whether the kernel dump header has this version, so that it is the memory
/// that is damaged. The header has the first 190 bytes.
fn header_has(core: &Vmcore, ours: &[u8]) -> bool {
    let header = core.trailer().and_then(|t| t.decode().ok());
    let header = header.map_or(&b""[..], |h| h.versionstring);
    let header = header.trim_ascii_end();
    !header.is_empty() && ours.starts_with(header)
}

/// The text that an address is within, if that is a version.
fn version_around(core: &Vmcore, symbol: Symbol) -> String {
    let at = symbol.address.0;
    let start = at.saturating_sub(VERSION_BYTES);
    const BOTH: usize = VERSION_BYTES as usize * 2;
    let mut raw = vec![0; BOTH];
    if let Err(e) = core.read_va(Vaddr(start), &mut raw) {
        raw.truncate(e.done);
    }
    let before = raw.get(..VERSION_BYTES as usize).unwrap_or_default();
    let after_nul = before.iter().rposition(|&b| b == 0);
    let text = after_nul.and_then(|n| raw.get(n.saturating_add(1)..));
    line(text.unwrap_or_default())
}

/// Whether a debug file is the kernel's. The inner error: nothing says that it
/// is not, and nothing proves that it is.
///
/// # Errors
/// It is not.
pub fn check_debug(
    kernel: &Kernel,
    debug: &Kernel,
) -> Result<Result<(), String>, TargetError> {
    match debug_identity(kernel, debug) {
        Identity::Same(_) => Ok(Ok(())),
        Identity::Unknown(why) => Ok(Err(why)),
        Identity::Other(differs) => Err(TargetError::Debug {
            debug: debug.path().into(),
            kernel: kernel.path().into(),
            differs,
        }),
    }
}

/// The whole text, its lines in one.
fn line(raw: &[u8]) -> String {
    let end = raw.iter().position(|&b| b == 0);
    let raw = raw.get(..end.unwrap_or(raw.len())).unwrap_or_default();
    let text = String::from_utf8_lossy(raw);
    let words = text.split(|c: char| c.is_control() || c.is_whitespace());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// An error in one line, for what is reported and gone on from.
#[must_use]
pub fn read_error_text(e: &ReadError) -> String {
    chain(e)
}
