// SPDX-License-Identifier: BSD-2-Clause
//! One multiboot file out of a FreeBSD/amd64 kernel, a root image and kernel
//! environment variables: what loader(8) leaves in memory, so that QEMU's
//! `-kernel` boots it in seconds, without disk, BIOS loader or patched GRUB.
//! Facts: `MODINFO_*`, <sys/linker.h>; <machine/metadata.h>; `btext`,
//! locore.S.
//!
//! ```text
//! 0x100000 tramp.S | PML4 PDP PD (1 GB, four times) | ... kernel at its
//! load address | symbols | root image | metadata (modulep) | environment
//! ```

use object::Endianness;
use object::elf::{FileHeader64, PT_LOAD, SHT_SYMTAB};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use std::path::{Path, PathBuf};

const BASE: u64 = 0x10_0000;
const KERNBASE: u64 = 0xffff_ffff_8000_0000;
const PAGE: u64 = 4096;
const SMAP_ENTRIES: u32 = 32;

// <sys/linker.h>, <machine/metadata.h>
const MODINFO_NAME: u32 = 0x0001;
const MODINFO_TYPE: u32 = 0x0002;
const MODINFO_ADDR: u32 = 0x0003;
const MODINFO_SIZE: u32 = 0x0004;
const MODINFOMD_SSYM: u32 = 0x8003;
const MODINFOMD_ESYM: u32 = 0x8004;
const MODINFOMD_ENVP: u32 = 0x8006;
const MODINFOMD_HOWTO: u32 = 0x8007;
const MODINFOMD_KERNEND: u32 = 0x8008;
const MODINFOMD_SMAP: u32 = 0x9001;
const MODINFOMD_MODULEP: u32 = 0x9006;
/// <sys/reboot.h>
const RB_SERIAL: u32 = 0x1000;

// Offsets of tramp.S's parameters.
const P_MODULEP: usize = 0x24;
const P_KERNEND: usize = 0x28;
const P_PML4: usize = 0x2c;
const P_ENTRY: usize = 0x30;
const P_SMAP: usize = 0x38;
const P_SMAPMAX: usize = 0x3c;

/// Why a kernel cannot be made bootable.
#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    /// A file that cannot be read.
    #[error("reading {path}")]
    Read {
        /// Which.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Not an amd64 kernel.
    #[error("{path} is not a FreeBSD/amd64 kernel")]
    Kernel {
        /// Which.
        path: PathBuf,
        #[source]
        source: object::Error,
    },
    /// It does not fit below 1 GB, or lies over the trampoline.
    #[error(
        "kernel and root image span {start:#x}-{end:#x}, outside what can be loaded"
    )]
    Place {
        /// Lowest address.
        start: u64,
        /// Highest address.
        end: u64,
    },
}

/// What to boot.
#[derive(Debug)]
pub struct Boot<'a> {
    /// An ELF kernel.
    pub kernel: &'a Path,
    /// A file system image that becomes `/`; empty when `env` says what does.
    pub root: &'a [u8],
    /// Kernel environment, kenv(1).
    pub env: &'a [(String, String)],
    /// tramp.S, assembled.
    pub tramp: &'a [u8],
    /// How far above its own addresses it is loaded, a multiple of 2 MB: as
    /// UEFI's loader may from 13.1 on. C: `kernphys` - `KERNLOAD`.
    pub above: u64,
}

/// Memory from [`BASE`] on. What belongs to the kernel is `above` its address.
struct Memory {
    bytes: Vec<u8>,
    above: u64,
}

impl Memory {
    fn put(&mut self, at: u64, data: &[u8]) {
        let at = (at - BASE) as usize;
        if self.bytes.len() < at + data.len() {
            self.bytes.resize(at + data.len(), 0);
        }
        self.bytes[at..at + data.len()].copy_from_slice(data);
    }

    fn put_above(&mut self, at: u64, data: &[u8]) {
        self.put(at + self.above, data);
    }

    fn put_u32(&mut self, at: usize, value: u64) {
        self.put(BASE + at as u64, &(value as u32).to_le_bytes());
    }
}

/// The metadata list that `modulep` points to.
#[derive(Default)]
struct Modinfo {
    bytes: Vec<u8>,
}

impl Modinfo {
    fn item(&mut self, kind: u32, data: &[u8]) -> &mut Self {
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend((data.len() as u32).to_le_bytes());
        self.bytes.extend(data);
        let padded = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(padded, 0);
        self
    }

    fn text(&mut self, kind: u32, text: &str) -> &mut Self {
        self.item(kind, format!("{text}\0").as_bytes())
    }

    fn number(&mut self, kind: u32, n: u64) -> &mut Self {
        self.item(kind, &n.to_le_bytes())
    }
}

/// The kernel's parts, placed.
struct Kernel {
    entry: u64,
    start: u64,
    end: u64,
    symbols: Option<(u64, u64)>,
}

/// Builds the file.
///
/// # Errors
/// What is wrong with the kernel, or that it does not fit.
pub fn multiboot(boot: &Boot<'_>) -> Result<Vec<u8>, LoaderError> {
    let path = boot.kernel;
    let elf = std::fs::read(path)
        .map_err(|source| LoaderError::Read { path: path.into(), source })?;
    let mut memory = Memory { bytes: Vec::new(), above: boot.above };
    memory.put(BASE, boot.tramp);
    let kernel = place_kernel(&elf, &mut memory)
        .map_err(|source| LoaderError::Kernel { path: path.into(), source })?;
    let mut end = kernel.symbols.map_or(kernel.end, |(_, esym)| esym);
    let root_at = end.next_multiple_of(PAGE);
    memory.put_above(root_at, boot.root);
    end = root_at + boot.root.len() as u64;
    let modulep = end.next_multiple_of(PAGE);
    let env = environment(boot.env);
    // The list's length does not depend on the addresses in it.
    let size = metadata(boot, &kernel, root_at, modulep, 0, 0).0.len() as u64;
    let envp = (modulep + size).next_multiple_of(PAGE);
    let kernend = (envp + env.len() as u64).next_multiple_of(PAGE);
    let (list, smap) = metadata(boot, &kernel, root_at, modulep, envp, kernend);
    let tables = BASE + PAGE;
    let (start, end) = (kernel.start + boot.above, kernend + boot.above);
    if kernel.start < tables + 5 * PAGE || end > 1 << 30 {
        return Err(LoaderError::Place { start, end });
    }
    memory.put_above(modulep, &list);
    memory.put_above(envp, &env);
    page_tables(&mut memory, tables);
    memory.put_u32(P_MODULEP, modulep);
    memory.put_u32(P_KERNEND, kernend);
    memory.put_u32(P_PML4, tables);
    memory.put(BASE + P_ENTRY as u64, &kernel.entry.to_le_bytes());
    memory.put_u32(P_SMAP, smap + boot.above);
    memory.put_u32(P_SMAPMAX, u64::from(SMAP_ENTRIES));
    let len = (end - BASE) as usize;
    memory.bytes.resize(len.max(memory.bytes.len()), 0);
    Ok(memory.bytes)
}

fn place_kernel(elf: &[u8], memory: &mut Memory) -> object::Result<Kernel> {
    let header = FileHeader64::<Endianness>::parse(elf)?;
    let endian = header.endian()?;
    let mut kernel = Kernel {
        entry: header.e_entry(endian),
        start: u64::MAX,
        end: 0,
        symbols: None,
    };
    for segment in header.program_headers(endian, elf)? {
        let va = segment.p_vaddr(endian);
        if segment.p_type(endian) != PT_LOAD || va < KERNBASE + BASE {
            continue;
        }
        let pa = va - KERNBASE;
        let data = segment.data(endian, elf).unwrap_or(&[]);
        memory.put_above(pa, data);
        kernel.start = kernel.start.min(pa);
        kernel.end = kernel.end.max(pa + segment.p_memsz(endian));
    }
    let sections = header.sections(endian, elf)?;
    // ddb and the in-kernel linker want symbol and string table, each behind
    // its length.
    if let Some((_, table)) = sections
        .iter()
        .enumerate()
        .find(|(_, s)| s.sh_type(endian) == SHT_SYMTAB)
    {
        let symbols = table.data(endian, elf)?;
        let strings =
            sections.section(table.link(endian))?.data(endian, elf)?;
        let ssym = kernel.end.next_multiple_of(8);
        let mut at = ssym;
        for data in [symbols, strings] {
            memory.put_above(at, &(data.len() as u64).to_le_bytes());
            memory.put_above(at + 8, data);
            at = (at + 8 + data.len() as u64).next_multiple_of(8);
        }
        kernel.symbols = Some((ssym, at));
    }
    Ok(kernel)
}

/// The list, and where its SMAP entries will stand.
fn metadata(
    boot: &Boot<'_>,
    kernel: &Kernel,
    root_at: u64,
    modulep: u64,
    envp: u64,
    kernend: u64,
) -> (Vec<u8>, u64) {
    let mut list = Modinfo::default();
    list.text(MODINFO_NAME, "/boot/kernel/kernel")
        .text(MODINFO_TYPE, "elf kernel")
        .number(MODINFO_ADDR, kernel.start)
        .number(MODINFO_SIZE, kernel.end - kernel.start);
    if let Some((ssym, esym)) = kernel.symbols {
        list.number(MODINFOMD_SSYM, ssym).number(MODINFOMD_ESYM, esym);
    }
    list.item(MODINFOMD_HOWTO, &RB_SERIAL.to_le_bytes())
        .number(MODINFOMD_ENVP, envp)
        .number(MODINFOMD_KERNEND, kernend)
        .number(MODINFOMD_MODULEP, modulep);
    let smap = modulep + list.bytes.len() as u64 + 8;
    list.item(MODINFOMD_SMAP, &vec![0; 20 * SMAP_ENTRIES as usize]);
    if !boot.root.is_empty() {
        list.text(MODINFO_NAME, "/mfsroot")
            .text(MODINFO_TYPE, "mfs_root")
            .number(MODINFO_ADDR, root_at)
            .number(MODINFO_SIZE, boot.root.len() as u64);
    }
    list.bytes.extend([0; 8]);
    (list.bytes, smap)
}

fn environment(extra: &[(String, String)]) -> Vec<u8> {
    const ALWAYS: [(&str, &str); 8] = [
        ("kernelname", "/boot/kernel/kernel"),
        ("console", "comconsole"),
        ("boot_serial", "YES"),
        ("vfs.root.mountfrom", "ufs:/dev/md0"),
        ("hint.uart.0.at", "isa"),
        ("hint.uart.0.port", "0x3F8"),
        ("hint.uart.0.irq", "4"),
        ("hint.uart.0.flags", "0x10"),
    ];
    let mut out = Vec::new();
    let given = |name: &str| extra.iter().any(|(n, _)| n == name);
    for (name, value) in ALWAYS
        .into_iter()
        .filter(|(name, _)| !given(name))
        .chain(extra.iter().map(|(n, v)| (n.as_str(), v.as_str())))
    {
        out.extend(format!("{name}={value}\0").bytes());
    }
    out.push(0);
    out
}

/// The first GB, at 0 and at every other GB, and what is `above` at KERNBASE:
/// enough until the kernel has its own tables.
fn page_tables(memory: &mut Memory, at: u64) {
    const P_RW: u64 = 3;
    const PS: u64 = 0x80;
    let above = memory.above;
    let [low, kernel] =
        [(1, 0), (3, above)].map(|(n, above)| (at + n * PAGE, above));
    for i in 0..512u64 {
        let (pdp, _) = if i < 511 { low } else { kernel };
        memory.put(at + 8 * i, &(pdp | P_RW).to_le_bytes());
        for (pdp, above) in [low, kernel] {
            let pd = (pdp + PAGE) | P_RW;
            memory.put(pdp + 8 * i, &pd.to_le_bytes());
            let entry = ((i << 21) + above) | PS | P_RW;
            memory.put(pdp + PAGE + 8 * i, &entry.to_le_bytes());
        }
    }
}
