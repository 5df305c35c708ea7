// SPDX-License-Identifier: BSD-2-Clause
//! The kernels that can be booted: what the user points at, or what stands
//! in the cache.
//!
//! A folder has `kernel`, and, so that modules can be built for exactly this
//! one, `include/` (opt_global.h and what else its build generated) and
//! `sysdir`, a file that says where its sys/ is.

use crate::arch::Arch;
use crate::error::{Error, Result, io};
use object::Object;
use std::path::{Path, PathBuf};

/// One kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// The folder, where it has what building modules takes.
    pub(crate) build: Option<PathBuf>,
    /// It tells where fields stand, or its debug file beside it does.
    pub(crate) has_types: bool,
    pub(crate) arch: &'static Arch,
}

impl Kernel {
    fn at(path: &Path) -> Option<Self> {
        let (dir, kernel) = match path.is_dir() {
            true => (path.to_owned(), path.join("kernel")),
            false => (path.parent()?.to_owned(), path.to_owned()),
        };
        let builds =
            dir.join("sysdir").is_file() && dir.join("include").is_dir();
        kernel.is_file().then(|| Self {
            name: dir.file_name().map_or_else(
                || "kernel".into(),
                |n| n.to_string_lossy().into_owned(),
            ),
            has_types: has_types(&kernel),
            arch: Arch::of(&kernel),
            path: kernel,
            build: builds.then_some(dir),
        })
    }

    /// The file that QEMU boots of an arm64 kernel.
    pub(crate) fn bin(&self) -> Result<PathBuf> {
        let bin = self.path.with_extension("bin");
        match bin.is_file() {
            true => Ok(bin),
            false => Err(Error::Skip(
                "no kernel.bin beside it, with the header of Linux' images"
                    .into(),
            )),
        }
    }

    /// Where the kernel's source is, for building the test modules.
    pub(crate) fn sysdir(&self) -> Result<Option<PathBuf>> {
        let Some(dir) = &self.build else { return Ok(None) };
        let file = dir.join("sysdir");
        let text =
            std::fs::read_to_string(&file).map_err(io("reading", &file))?;
        Ok(Some(text.trim().into()))
    }
}

fn has_types(kernel: &Path) -> bool {
    let tells = |path: &Path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        object::File::parse(&*bytes).is_ok_and(|elf| {
            [".debug_info", ".SUNW_ctf"]
                .iter()
                .any(|name| elf.section_by_name(name).is_some())
        })
    };
    kernel.with_extension("debug").is_file() || tells(kernel)
}

/// All kernels to run, by name.
pub(crate) fn find(named: &[PathBuf]) -> Result<Vec<Kernel>> {
    let from_env = std::env::var_os("LIVEDUMP_FREEBSD_KERNEL");
    let asked: Vec<PathBuf> = match (named, from_env) {
        ([], Some(path)) => vec![path.into()],
        ([], None) => return cached(),
        (paths, _) => paths.to_vec(),
    };
    asked
        .iter()
        .map(|path| {
            Kernel::at(path).ok_or_else(|| Error::Io {
                doing: "looking for a kernel at",
                path: path.clone(),
                source: std::io::ErrorKind::NotFound.into(),
            })
        })
        .collect()
}

fn cached() -> Result<Vec<Kernel>> {
    let Some(home) = std::env::home_dir() else { return Ok(Vec::new()) };
    let mut kernels = Vec::new();
    for folder in ["kernels", "kernels-arm64"] {
        let dir = home.join(".cache/livedump").join(folder);
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        kernels.extend(entries.filter_map(|e| Kernel::at(&e.ok()?.path())));
    }
    kernels.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(kernels)
}
