// SPDX-License-Identifier: BSD-2-Clause
//! What the guest runs, built here: modules, init, root image.

use crate::error::{Error, Result, io};
use crate::kernel::Kernel;
use crate::loader::{self, Boot};
use crate::userland::{self, Userland};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

const LLVM: &str = "/usr/lib/llvm-14/bin";

/// The pieces.
#[derive(Debug)]
pub(crate) struct Files {
    livedump: PathBuf,
    tests: Vec<PathBuf>,
    init: PathBuf,
    tramp: PathBuf,
}

pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn run(program: &str, command: &mut Command) -> Result<()> {
    let out = command.output().map_err(io("running", program))?;
    if out.status.success() {
        return Ok(());
    }
    let output = [out.stdout, out.stderr].concat();
    Err(Error::Program {
        program: program.into(),
        output: String::from_utf8_lossy(&output).trim().into(),
    })
}

/// Builds everything for one kernel.
pub(crate) fn build(
    kernel: &Kernel,
    module: Option<&Path>,
    dir: &Path,
) -> Result<Files> {
    let livedump = match (module, &kernel.build) {
        (Some(module), _) => module.to_owned(),
        (None, Some(build)) => livedump(build, dir)?,
        (None, None) => {
            return Err(Error::Skip(
                "no livedump.ko for this kernel (--module), and no sysdir \
                 and include/ beside it to build one"
                    .into(),
            ));
        }
    };
    Ok(Files {
        livedump,
        tests: test_modules(kernel, dir)?,
        init: init(dir)?,
        tramp: trampoline(dir)?,
    })
}

fn livedump(build: &Path, dir: &Path) -> Result<PathBuf> {
    let script = top().join(".ci/kmod");
    let mut command = Command::new(&script);
    command.env("KERNEL_DIR", build).env("OUT", dir.join("kmod"));
    run(".ci/kmod", &mut command)?;
    let name = build.file_name().unwrap_or(OsStr::new("kernel"));
    Ok(dir.join("kmod").join(name).join("livedump.ko"))
}

/// ldtest.ko and its kin, with the kernel's own headers.
fn test_modules(kernel: &Kernel, dir: &Path) -> Result<Vec<PathBuf>> {
    let (Some(build), Some(sys)) = (&kernel.build, kernel.sysdir()?) else {
        return Ok(Vec::new());
    };
    let links = dir.join("links");
    std::fs::create_dir_all(&links).map_err(io("making", &links))?;
    for (name, at) in [
        ("machine", "amd64/include"),
        ("x86", "x86/include"),
        ("i386", "i386/include"),
    ] {
        let link = links.join(name);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(sys.join(at), &link)
            .map_err(io("linking", &link))?;
    }
    let include = build.join("include");
    ["ldtest", "ldnop", "ldhang", "ldlock", "ldstep"]
        .into_iter()
        .map(|name| {
            let object = dir.join(format!("{name}.o"));
            let source = top()
                .join("tests/freebsd/guest/kmod")
                .join(format!("{name}.c"));
            let mut clang = Command::new(format!("{LLVM}/clang"));
            clang
                .args(["--target=x86_64-unknown-freebsd14.0", "-c"])
                .args(["-std=gnu17", "-O2", "-D_KERNEL", "-DKLD_MODULE"])
                .args(["-nostdinc", "-ffreestanding", "-fwrapv"])
                .args(["-fno-common", "-fno-strict-aliasing"])
                .args(["-fno-omit-frame-pointer", "-mcmodel=kernel"])
                .args(["-mno-omit-leaf-frame-pointer", "-mno-red-zone"])
                .args(["-mno-mmx", "-mno-sse", "-msoft-float"])
                .args(["-fno-asynchronous-unwind-tables"])
                .args(["-DHAVE_KERNEL_OPTION_HEADERS", "-include"])
                .arg(include.join("opt_global.h"))
                .arg("-I")
                .arg(&links)
                .arg("-I")
                .arg(&include)
                .arg("-I")
                .arg(&sys)
                .arg("-I")
                .arg(sys.join("contrib/ck/include"))
                .arg(source)
                .arg("-o")
                .arg(&object);
            run("clang", &mut clang)?;
            let module = dir.join(format!("{name}.ko"));
            run(
                "ld.lld",
                Command::new(format!("{LLVM}/ld.lld"))
                    .args(["-m", "elf_x86_64_fbsd", "-r"])
                    .arg("--build-id=sha1")
                    .arg("-o")
                    .arg(&module)
                    .arg(&object),
            )?;
            Ok(module)
        })
        .collect()
}

fn init(dir: &Path) -> Result<PathBuf> {
    let guest = top().join("tests/freebsd/guest");
    let mut sources: Vec<PathBuf> = std::fs::read_dir(&guest)
        .map_err(io("reading", &guest))?
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension() == Some(OsStr::new("c")))
        .collect();
    sources.sort();
    let init = dir.join("init");
    run(
        "clang",
        Command::new(format!("{LLVM}/clang"))
            .args(["--target=x86_64-unknown-freebsd14.0", "-O2", "-Wall"])
            .args(["-Wextra", "-Werror", "-ffreestanding", "-fno-builtin"])
            .args(["-nostdlib", "-static", "-fno-pie", "-fuse-ld=lld"])
            .arg("-I")
            .arg(guest.join("include"))
            .arg("-I")
            .arg(top().join("kmod/csrc"))
            .arg("-o")
            .arg(&init)
            .args(sources),
    )?;
    Ok(init)
}

fn trampoline(dir: &Path) -> Result<PathBuf> {
    let object = dir.join("tramp.o");
    let tramp = dir.join("tramp.bin");
    run(
        "cc",
        Command::new("cc")
            .arg("-c")
            .arg(top().join("tests/freebsd/boot/tramp.S"))
            .arg("-o")
            .arg(&object),
    )?;
    run(
        "objcopy",
        Command::new("objcopy")
            .args(["-O", "binary", "-j", ".text"])
            .arg(&object)
            .arg(&tramp),
    )?;
    Ok(tramp)
}

/// A file system image of `dir`: UFS1, which every release mounts.
pub(crate) fn makefs(image: &Path, dir: &Path, size: &[&str]) -> Result<()> {
    run(
        "makefs",
        Command::new("makefs")
            .args(["-t", "ffs", "-o", "version=1,optimization=space"])
            .args(size)
            .arg(image)
            .arg(dir),
    )
}

/// The module as it would be if it had been built for a kernel of another
/// version, and for one with other options: what says so in it is changed.
fn for_other_kernels(
    module: &Path,
    dir: &Path,
) -> Result<Vec<(PathBuf, String)>> {
    const MAGIC: &[u8; 8] = b"LDBUILT\0";
    let bytes = std::fs::read(module).map_err(io("reading", module))?;
    let Some(at) = bytes.windows(8).position(|w| w == MAGIC) else {
        return Ok(Vec::new());
    };
    let mut out = Vec::new();
    for (name, offset) in [("version", 8), ("options", 12)] {
        let name = format!("livedump-{name}.ko");
        let mut changed = bytes.clone();
        if let Some(byte) = changed.get_mut(at + offset) {
            *byte ^= 8;
        }
        let path = dir.join(&name);
        std::fs::write(&path, changed).map_err(io("writing", &path))?;
        out.push((path, name));
    }
    Ok(out)
}

/// The file that QEMU boots, and the disks beside it.
pub(crate) fn boot_file(
    kernel: &Kernel,
    files: &Files,
    userland: Option<&Userland>,
    env: &[(&str, String)],
    above: u64,
    dir: &Path,
) -> Result<PathBuf> {
    let root = dir.join("root");
    let _ = std::fs::remove_dir_all(&root);
    for sub in ["dev", "tmp", "scratch", "ro", "gone", "null"] {
        let path = root.join(sub);
        std::fs::create_dir_all(&path).map_err(io("making", &path))?;
    }
    let mut wanted = vec![
        (files.livedump.as_path(), "livedump.ko".into()),
        (files.init.as_path(), "sbin/init".to_owned()),
    ];
    let others = for_other_kernels(&files.livedump, dir)?;
    for (path, name) in &others {
        wanted.push((path, name.clone()));
    }
    for module in &files.tests {
        let name = module.file_name().unwrap_or_default();
        wanted.push((module, name.to_string_lossy().into_owned()));
    }
    let mut env: Vec<(String, String)> =
        env.iter().map(|(n, v)| ((*n).into(), v.clone())).collect();
    let read = |path: &Path| std::fs::read(path).map_err(io("reading", path));
    let memory_disk = match userland {
        Some(userland) => {
            userland::disk(userland, kernel, &wanted, &root, dir)?;
            env.push(("vfs.root.mountfrom".into(), userland::DEVICE.into()));
            Vec::new()
        }
        None => {
            put(&wanted, &root)?;
            let image = dir.join("root.img");
            makefs(&image, &root, &["-s", "8m"])?;
            read(&image)?
        }
    };
    let empty = dir.join("empty");
    std::fs::create_dir_all(&empty).map_err(io("making", &empty))?;
    makefs(&dir.join("scratch.img"), &empty, &["-s", "2g"])?;
    let bytes = loader::multiboot(&Boot {
        kernel: &kernel.path,
        root: &memory_disk,
        env: &env,
        tramp: &read(&files.tramp)?,
        above,
    })?;
    let out = dir.join("boot.bin");
    std::fs::write(&out, bytes).map_err(io("writing", &out))?;
    Ok(out)
}

/// Copies files into a root, under these names.
pub(crate) fn put(files: &[(&Path, String)], root: &Path) -> Result<()> {
    for (from, to) in files {
        let to = root.join(to);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(io("making", parent))?;
        }
        // One of several names of a file, or a link, is not written through.
        let _ = std::fs::remove_file(&to);
        std::fs::copy(from, &to).map_err(io("copying to", &to))?;
    }
    Ok(())
}
