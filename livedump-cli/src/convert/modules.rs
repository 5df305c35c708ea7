// SPDX-License-Identifier: BSD-2-Clause
//! Files of kernel modules, and where the kernel linker put their sections:
//! those of a relocatable file one after the other, each aligned as it asks.
//! C: `link_elf_load_file`, sys/kern/link_elf_obj.c.

use crate::analysis::identity::{Identity, debug_identity};
use crate::analysis::modules::{MAX_MODULE, Module};
use crate::analysis::stack::ModuleFile;
use crate::report::{escape, note};
use crate::sandbox::Purpose;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::path::escape_path;
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
/// That are named.
const MAX_FILES: usize = 256;

/// Modules, and directories that have some. They are opened before a dump is
/// read; a file in a directory when it is known which.
#[derive(Debug, Default)]
pub struct ModuleFiles {
    directories: Vec<(PathBuf, OwnedFd)>,
    files: Vec<(PathBuf, File)>,
}

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
    pub fn open<'p>(
        directories: impl Iterator<Item = &'p Path>,
        files: impl Iterator<Item = &'p Path>,
    ) -> Self {
        let opened = files.filter_map(|path| {
            Some((path.to_path_buf(), Kernel::open_file(path).ok()?))
        });
        let files = opened.take(MAX_FILES).collect();
        let mut all: Vec<(PathBuf, OwnedFd)> = Vec::new();
        for path in directories {
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
        Self { directories: all, files }
    }

    /// What has to stay open.
    pub fn descriptors(
        &self,
    ) -> impl Iterator<Item = (BorrowedFd<'_>, Purpose)> {
        let listed = self.directories.iter().map(|(_, fd)| fd.as_fd());
        let listed = listed.map(|fd| (fd, Purpose::Listing));
        let read = self.files.iter().map(|(_, fd)| fd.as_fd());
        listed.chain(read.map(|fd| (fd, Purpose::Read)))
    }

    /// Those of the modules whose files are found, with their symbols. A file
    /// that is not the module's is left out.
    #[must_use]
    pub fn load(&self, modules: &[Module]) -> Vec<ModuleFile> {
        modules.iter().filter_map(|m| self.load_one(m)).collect()
    }

    fn load_one(&self, module: &Module) -> Option<ModuleFile> {
        let name = &module.name;
        let one = |name: &str| {
            let (path, file) = self.named(name)?;
            let mut elf = Kernel::from_file(file, &path).ok()?;
            let bytes = elf.place(module.start);
            let pages = |n: u64| n.checked_next_multiple_of(4096);
            if let (Some(bytes), Some(size)) = (bytes, module.size)
                && pages(bytes) != pages(size)
            {
                note(format_args!(
                    "{} has another size than module {}; continuing without \
                     it",
                    escape_path(&path),
                    escape(module.name.as_bytes())
                ));
                return None;
            }
            Some((elf, bytes))
        };
        if name.contains('/') || !name.ends_with(".ko") {
            return None;
        }
        let file = one(name);
        let debug = one(&format!("{name}.debug"));
        let (file, debug) = match (file, debug) {
            (Some(file), Some((debug, _))) => {
                let same = debug_identity(&file.0, &debug);
                let other = matches!(same, Identity::Other(_));
                (file, (!other).then_some(debug))
            }
            (Some(file), None) => (file, None),
            (None, Some(debug)) => (debug, None),
            (None, None) => return None,
        };
        let (file, bytes) = file;
        let size = module.size.or(bytes).unwrap_or(MAX_MODULE);
        let end = module.start.saturating_add(size);
        Some(ModuleFile { start: module.start, end, file, debug })
    }

    /// A file by its name: one that was named, or that of a directory.
    fn named(&self, name: &str) -> Option<(PathBuf, File)> {
        let is = |path: &Path| path.file_name().is_some_and(|f| f == name);
        let named = self.files.iter().find(|(path, _)| is(path));
        if let Some((path, file)) = named {
            return Some((path.clone(), file.try_clone().ok()?));
        }
        self.directories.iter().find_map(|(directory, fd)| {
            let file = regular(fd.as_fd(), name)?;
            Some((directory.join(name), file))
        })
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
            let (path, file) = self.named(name)?;
            placed(&file, path, module)
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
