// SPDX-License-Identifier: BSD-2-Clause
//! A FreeBSD userland for the guest: a root directory that somebody built or
//! unpacked, with the real tool, the running kernel and our script put into a
//! copy of it. It becomes a disk, not a memory disk: that would be in every
//! dump.

use crate::error::{Error, Result, io};
use crate::guest::{ONE, makefs, put, run, top};
use crate::kernel::Kernel;
use memdev::kerneldump::{
    Compression, HEADER_SIZE, KernelDumpHeader, Magic, VERSION,
};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Name of the root disk.
pub(crate) const ROOT: &str = "root-disk.img";

const SCRIPTS: [&str; 10] = [
    "userland.sh",
    "userland-says.sh",
    "userland-dumps.sh",
    "userland-kernels.sh",
    "userland-hosts.sh",
    "userland-confined.sh",
    "userland-keeping.sh",
    "userland-direct.sh",
    "userland-elsewhere.sh",
    "userland-install.sh",
];

/// Says that something it takes cannot be fetched here.
const EX_TEMPFAIL: i32 = 75;

/// A root, and the tool that will be in it.
#[derive(Debug)]
pub(crate) struct Userland {
    from: PathBuf,
    tool: Option<PathBuf>,
    /// What is left out, and why.
    pub(crate) skipped: Vec<String>,
}

/// The root for a kernel, where there is one: what the user names, or what
/// stands in the cache under the kernel's name.
pub(crate) fn find(
    named: Option<&Path>,
    kernel: &Kernel,
) -> Result<Option<Userland>> {
    let from_env = std::env::var_os("LIVEDUMP_FREEBSD_ROOT");
    let cached = std::env::home_dir()
        .map(|home| home.join(".cache/livedump/roots").join(&kernel.name));
    let from = match (named, from_env) {
        (Some(path), _) => path.to_owned(),
        (None, Some(path)) => path.into(),
        (None, None) => match cached.filter(|c| c.join("bin/sh").exists()) {
            Some(path) => path,
            None => return Ok(None),
        },
    };
    if !from.join("bin/sh").exists() {
        return Err(Error::Io {
            doing: "looking for bin/sh of a FreeBSD root in",
            path: from,
            source: std::io::ErrorKind::NotFound.into(),
        });
    }
    let mut skipped = Vec::new();
    let tool = match tool() {
        Ok(tool) => Some(tool),
        Err(Error::Skip(why)) => {
            skipped.push(format!("the tool: {why}"));
            None
        }
        Err(e) => return Err(e),
    };
    Ok(Some(Userland { from, tool, skipped }))
}

/// livedump for FreeBSD.
fn tool() -> Result<PathBuf> {
    let script = ".ci/freebsd-build";
    let _one = ONE.lock();
    let out = Command::new(top().join(script))
        .output()
        .map_err(io("running", script))?;
    let text = String::from_utf8_lossy(&out.stderr);
    match out.status.code() {
        Some(0) => {}
        Some(EX_TEMPFAIL) => {
            let last = text.lines().last().unwrap_or_default();
            return Err(Error::Skip(last.into()));
        }
        _ => {
            return Err(Error::Program {
                program: script.into(),
                output: text.trim().into(),
            });
        }
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| top().join("target"), PathBuf::from);
    Ok(target.join("freebsd/livedump"))
}

/// A dump device with a dump of a panic: what is in it nobody reads.
fn dump_device() -> Vec<u8> {
    let dump: Vec<u8> =
        (0u32..30_720).flat_map(|n| (n * n).to_le_bytes()).collect();
    let header = KernelDumpHeader {
        magic: Magic::Kernel,
        architecture: b"amd64",
        version: VERSION,
        architecture_version: 2,
        dumplength: dump.len() as u64,
        dumptime: 1_700_000_000,
        dumpkeysize: 0,
        blocksize: HEADER_SIZE as u32,
        hostname: b"guest.example.org",
        versionstring: b"FreeBSD 15.1\n",
        panicstring: b"of a test",
        compression: Compression::None,
        dumpextent: dump.len() as u64,
    };
    let mut block = [0; HEADER_SIZE];
    header.encode(&mut block);
    let mut device = vec![0; 1 << 20];
    let end = device.len() - HEADER_SIZE;
    let start = end - header.dumpextent as usize;
    device[end..].copy_from_slice(&block);
    device[start..start + dump.len()].copy_from_slice(&dump);
    device[start - HEADER_SIZE..start].copy_from_slice(&block);
    device
}

/// A key pair of RSA, where this host has openssl(1) to make one.
fn keys(to: &Path) -> Result<()> {
    let openssl = |args: &[&str]| {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(to).args(args);
        openssl
    };
    if openssl(&["version"]).current_dir("/").output().is_err() {
        return Ok(());
    }
    std::fs::create_dir_all(to).map_err(io("making", to))?;
    let private = ["genrsa", "-out", "private.pem", "2048"];
    run("openssl genrsa", &mut openssl(&private))?;
    let public = ["-in", "private.pem", "-pubout", "-out", "public.pem"];
    run("openssl rsa", openssl(&["rsa"]).args(public))
}

/// Makes the disk: the root, the folders of `skeleton`, and `files`.
pub(crate) fn disk(
    userland: &Userland,
    kernel: &Kernel,
    files: &[(&Path, String)],
    skeleton: &Path,
    dir: &Path,
) -> Result<()> {
    let root = dir.join("root-disk");
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(&root).map_err(io("making", &root))?;
    for from in [&userland.from, skeleton] {
        let mut cp = Command::new("cp");
        // Either may be a link; what is in it stays as it is.
        cp.args(["-R", "-P", "-p"]).arg(from.join(".")).arg(&root);
        run("cp", &mut cp)?;
    }
    put(files, &root)?;
    let guest = top().join("tests/freebsd/guest");
    for script in SCRIPTS {
        put(&[(&guest.join(script), script.into())], &root)?;
    }
    // What make install takes, as in a release.
    let release = root.join("livedump");
    std::fs::create_dir_all(&release).map_err(io("making", &release))?;
    let mut cp = Command::new("cp");
    cp.current_dir(top()).args(["-R", "--parents", "dist", "man"]);
    run("cp", cp.arg("kmod/csrc/livedump_ioctl.h").arg(&release))?;
    let image = root.join("panic.img");
    std::fs::write(&image, dump_device()).map_err(io("writing", &image))?;
    keys(&root.join("keys"))?;
    put(&[(&kernel.path, "boot/kernel/kernel".into())], &root)?;
    let debug = kernel.path.with_file_name("kernel.debug");
    if debug.exists() {
        let to = "usr/lib/debug/boot/kernel/kernel.debug";
        put(&[(&debug, to.into())], &root)?;
    }
    if let Some(tool) = &userland.tool {
        put(&[(tool, "usr/sbin/livedump".into())], &root)?;
    }
    makefs(&dir.join(ROOT), &root, &["-b", "64m", "-f", "2000"])?;
    std::fs::remove_dir_all(&root).map_err(io("removing", &root))
}
