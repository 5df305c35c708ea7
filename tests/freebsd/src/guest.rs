// SPDX-License-Identifier: BSD-2-Clause
//! What the guest runs, built here: modules, init, root image.

use crate::arch::Arch;
use crate::error::{Error, Result, io};
use crate::kernel::Kernel;
use crate::loader;
use crate::userland::{self, Userland};
use parking_lot::Mutex;
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
}

/// What QEMU boots.
#[derive(Debug)]
pub(crate) struct Boot {
    /// Of `-kernel`.
    pub(crate) kernel: PathBuf,
    /// Of `-append`.
    pub(crate) append: Option<String>,
    /// The name of a fourth disk, which is the root.
    pub(crate) root: Option<&'static str>,
    /// The name of a disk that may stop.
    pub(crate) slow: Option<&'static str>,
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
        (None, Some(build)) => livedump(kernel, build, dir)?,
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
        init: init(kernel.arch, dir)?,
    })
}

/// Of the scripts that build for guests one runs at a time.
pub(crate) static ONE: Mutex<()> = Mutex::new(());

fn livedump(kernel: &Kernel, build: &Path, dir: &Path) -> Result<PathBuf> {
    let script = top().join(".ci/kmod");
    let mut command = Command::new(&script);
    command.env("KERNEL_DIR", build).env("OUT", dir.join("kmod"));
    command.env("ARCH", kernel.arch.machine.name());
    // It makes in the cache what is missing there.
    let _one = ONE.lock();
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
    for (name, at) in kernel.arch.headers {
        let link = links.join(name);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(sys.join(at), &link)
            .map_err(io("linking", &link))?;
    }
    let include = build.join("include");
    ["ldtest", "ldnop", "ldhang", "ldlock", "ldstep", "ldstuck"]
        .into_iter()
        .map(|name| {
            let object = dir.join(format!("{name}.o"));
            let source = top()
                .join("tests/freebsd/guest/kmod")
                .join(format!("{name}.c"));
            let mut clang = Command::new(format!("{LLVM}/clang"));
            clang
                .args([kernel.arch.target, "-c"])
                .args(["-std=gnu17", "-O2", "-D_KERNEL", "-DKLD_MODULE"])
                .args(["-nostdinc", "-ffreestanding", "-fwrapv"])
                .args(["-fno-common", "-fno-strict-aliasing"])
                .args(["-fno-omit-frame-pointer"])
                .args(["-mno-omit-leaf-frame-pointer"])
                .args(["-fno-asynchronous-unwind-tables"])
                .args(kernel.arch.module)
                .args(["-DHAVE_KERNEL_OPTION_HEADERS", "-include"])
                .arg(include.join("opt_global.h"))
                .arg("-I")
                .arg(machine(kernel.arch))
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
                    .args(kernel.arch.link(&object, &module)),
            )?;
            Ok(module)
        })
        .collect()
}

/// What the guest has for one machine.
fn machine(arch: &Arch) -> PathBuf {
    top().join("tests/freebsd/guest").join(arch.machine.name())
}

fn init(arch: &Arch, dir: &Path) -> Result<PathBuf> {
    let guest = top().join("tests/freebsd/guest");
    let mut sources: Vec<PathBuf> = std::fs::read_dir(&guest)
        .map_err(io("reading", &guest))?
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension() == Some(OsStr::new("c")))
        .collect();
    sources.sort();
    sources.push(machine(arch).join("start.S"));
    let init = dir.join("init");
    run(
        "clang",
        Command::new(format!("{LLVM}/clang"))
            .args([arch.target, "-O2", "-Wall"])
            .args(["-Wextra", "-Werror", "-ffreestanding", "-fno-builtin"])
            .args(["-nostdlib", "-static", "-fno-pie", "-fuse-ld=lld"])
            .arg("-I")
            .arg(guest.join("include"))
            .arg("-I")
            .arg(machine(arch))
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

/// What QEMU boots, and the disks beside it.
pub(crate) fn boot(
    kernel: &Kernel,
    files: &Files,
    userland: Option<&Userland>,
    env: &[(&str, String)],
    above: u64,
    dir: &Path,
) -> Result<Boot> {
    let root = dir.join("root");
    let _ = std::fs::remove_dir_all(&root);
    for sub in ["dev", "tmp", "scratch", "ro", "gone", "null", "slow"] {
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
    let root_disk = match userland {
        Some(userland) => {
            userland::disk(userland, kernel, &wanted, &root, dir)?;
            userland::ROOT
        }
        None => {
            put(&wanted, &root)?;
            makefs(&dir.join(ROOT), &root, &["-s", "8m"])?;
            ROOT
        }
    };
    let empty = dir.join("empty");
    std::fs::create_dir_all(&empty).map_err(io("making", &empty))?;
    makefs(&dir.join("scratch.img"), &empty, &["-s", "2g"])?;
    let on_disk = userland.is_some() || kernel.arch.is_arm64();
    if on_disk {
        env.push(("vfs.root.mountfrom".into(), DEVICE.into()));
    }
    let root = on_disk.then_some(root_disk);
    let slow = slow_disk(&mut env, root.is_some(), dir)?;
    if kernel.arch.is_arm64() {
        return Ok(Boot {
            kernel: kernel.bin()?,
            append: Some(append(&env)?),
            root,
            slow,
        });
    }
    let read = |path: &Path| std::fs::read(path).map_err(io("reading", path));
    let bytes = loader::multiboot(&loader::Boot {
        kernel: &kernel.path,
        root: &match on_disk {
            true => Vec::new(),
            false => read(&dir.join(ROOT))?,
        },
        env: &env,
        tramp: &read(&trampoline(dir)?)?,
        above,
    })?;
    let out = dir.join("boot.bin");
    std::fs::write(&out, bytes).map_err(io("writing", &out))?;
    Ok(Boot { kernel: out, append: None, root, slow })
}

/// The last disk, of `hangs`: two files in a directory. The guest is told its
/// name.
fn slow_disk(
    env: &mut Vec<(String, String)>,
    is_fifth: bool,
    dir: &Path,
) -> Result<Option<&'static str>> {
    let is_cases = |name: &str| name == "livedump.cases";
    let cases = env.iter().find(|(name, _)| is_cases(name));
    if !cases.is_some_and(|(_, all)| all.split(',').any(|c| c == "hangs")) {
        return Ok(None);
    }
    let files = dir.join("slow");
    let sub = files.join("dir");
    std::fs::create_dir_all(&sub).map_err(io("making", &sub))?;
    for name in ["read", "written"] {
        let path = sub.join(name);
        std::fs::write(&path, vec![b'x'; 512 << 10])
            .map_err(io("writing", &path))?;
    }
    makefs(&dir.join(SLOW), &files, &["-s", "16m"])?;
    let name = if is_fifth { "vtbd4" } else { "vtbd3" };
    env.push(("livedump.slow".into(), name.into()));
    Ok(Some(SLOW))
}

/// The disk that may stop.
const SLOW: &str = "slow.img";
/// The root of a guest without a userland.
const ROOT: &str = "root.img";
/// The fourth disk.
const DEVICE: &str = "ufs:/dev/vtbd3";
/// Of them an arm64 kernel takes so many bytes. C: `LBABI_MAX_COMMAND_LINE`,
/// machdep_boot.c.
const COMMAND_LINE: usize = 512;

/// The environment as an arm64 kernel takes it from Linux' boot protocol.
fn append(env: &[(String, String)]) -> Result<String> {
    let words = env.iter().map(|(name, value)| format!("{name}={value}"));
    let text = format!("FreeBSD:{}", words.collect::<Vec<_>>().join(" "));
    match text.len() < COMMAND_LINE {
        true => Ok(text),
        false => Err(Error::Skip(format!(
            "its environment has {} bytes, of {COMMAND_LINE}",
            text.len()
        ))),
    }
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
