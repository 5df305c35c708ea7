// SPDX-License-Identifier: BSD-2-Clause
//! Files of kernel modules, and where the kernel linker put their sections:
//! those of a relocatable file one after the other, each aligned as it asks.
//! C: `link_elf_load_file`, sys/kern/link_elf_obj.c.

use crate::analysis::modules::Module;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use object::elf::{
    ET_REL, FileHeader64, SHF_ALLOC, SHT_FINI_ARRAY, SHT_INIT_ARRAY,
    SHT_NOBITS, SHT_PROGBITS,
};
use object::endian::LittleEndian;
use object::read::elf::{FileHeader, SectionHeader};
use object::{ReadCache, ReadRef};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// C: `SHT_X86_64_UNWIND`.
const SHT_X86_64_UNWIND: u32 = 0x7000_0001;
const MAX_SECTIONS: usize = 1024;

/// Directories that have modules. They are opened before a dump is read; a
/// file in them when it is known which.
#[derive(Debug, Default)]
pub struct ModuleFiles(Vec<(PathBuf, OwnedFd)>);

/// Where a module's file is, and where its sections are in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The file.
    pub path: PathBuf,
    /// Names and addresses; empty where all of the file is moved as one.
    pub sections: Vec<(String, u64)>,
    /// Whether the kernel has as many bytes as the file asks for; `None`
    /// where it does not tell how many.
    pub same_size: Option<bool>,
}

impl ModuleFiles {
    /// Opens those that are there.
    #[must_use]
    pub fn open<'p>(paths: impl Iterator<Item = &'p Path>) -> Self {
        let mut all: Vec<(PathBuf, OwnedFd)> = Vec::new();
        for path in paths {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let path = match path == Path::new("") {
                true => Path::new("."),
                false => path,
            };
            let Ok(path) = path.canonicalize() else { continue };
            if all.iter().all(|(other, _)| *other != path)
                && let Ok(fd) = nix::fcntl::open(&path, flags, Mode::empty())
            {
                all.push((path, fd));
            }
        }
        Self(all)
    }

    /// What has to stay open.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|(_, fd)| fd.as_fd())
    }

    /// The file of a module, that with debug information first.
    #[must_use]
    pub fn find(&self, module: &Module) -> Option<Placed> {
        let name = &module.name;
        // It is the dump's.
        if name.contains('/') || !name.ends_with(".ko") {
            return None;
        }
        let names = [format!("{name}.debug"), name.clone()];
        names.iter().find_map(|name| {
            self.0.iter().find_map(|(directory, fd)| {
                let file = regular(fd.as_fd(), name)?;
                placed(&file, directory.join(name), module)
            })
        })
    }
}

fn regular(directory: BorrowedFd<'_>, name: &str) -> Option<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let fd = openat(directory, name, flags, Mode::empty()).ok()?;
    let file = File::from(fd);
    file.metadata().ok()?.is_file().then_some(file)
}

fn placed(file: &File, path: PathBuf, module: &Module) -> Option<Placed> {
    let cache = ReadCache::new(file);
    let (sections, size) = sections(&cache, module.start)?;
    let same_size = module.size.filter(|_| !sections.is_empty());
    let same_size = same_size.map(|bytes| {
        bytes.checked_next_multiple_of(4096)
            == size.checked_next_multiple_of(4096)
    });
    Some(Placed { path, sections, same_size })
}

/// The sections of a relocatable file, and the bytes of all of them.
fn sections<'d>(
    data: impl ReadRef<'d>,
    start: u64,
) -> Option<(Vec<(String, u64)>, u64)> {
    let e = LittleEndian;
    let elf = FileHeader64::<LittleEndian>::parse(data).ok()?;
    if elf.e_type(e) != ET_REL {
        return Some((Vec::new(), 0));
    }
    let table = elf.sections(e, data).ok()?;
    let mut all = Vec::new();
    let mut at = start;
    for section in table.iter().take(MAX_SECTIONS) {
        let kind = section.sh_type(e);
        let kept = matches!(
            kind,
            SHT_PROGBITS
                | SHT_NOBITS
                | SHT_X86_64_UNWIND
                | SHT_INIT_ARRAY
                | SHT_FINI_ARRAY
        );
        let loaded = section.sh_flags(e) & u64::from(SHF_ALLOC) != 0;
        if !kept || !loaded || section.sh_size(e) == 0 {
            continue;
        }
        let align = section.sh_addralign(e).max(1);
        at = at.checked_next_multiple_of(align)?;
        let name = table.section_name(e, section).ok()?;
        all.push((String::from_utf8(name.to_vec()).ok()?, at));
        at = at.checked_add(section.sh_size(e))?;
    }
    Some((all, at.saturating_sub(start)))
}
