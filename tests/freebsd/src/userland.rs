// SPDX-License-Identifier: BSD-2-Clause
//! A FreeBSD userland for the guest: a root directory that somebody built or
//! unpacked, with the real tool, the running kernel and our script put into a
//! copy of it. It becomes a disk, not a memory disk: that would be in every
//! dump.

use crate::error::{Error, Result, io};
use crate::guest::{makefs, put, run, top};
use crate::kernel::Kernel;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Name of the root disk.
pub(crate) const ROOT: &str = "root-disk.img";
/// What the guest knows it by.
pub(crate) const DEVICE: &str = "ufs:/dev/vtbd3";

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
    let tool = tool().map_err(|why| match why {
        Error::Skip(why) => skipped.push(format!("the tool: {why}")),
        e => skipped.push(format!("the tool: {}", crate::error::chain(&e))),
    });
    Ok(Some(Userland { from, tool: tool.ok(), skipped }))
}

/// livedump for FreeBSD.
fn tool() -> Result<PathBuf> {
    let script = ".ci/freebsd-build";
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
    let script = top().join("tests/freebsd/guest/userland.sh");
    put(&[(&script, "userland.sh".into())], &root)?;
    put(&[(&kernel.path, "boot/kernel/kernel".into())], &root)?;
    if let Some(tool) = &userland.tool {
        put(&[(tool, "usr/sbin/livedump".into())], &root)?;
    }
    makefs(&dir.join(ROOT), &root, &["-b", "64m", "-f", "2000"])?;
    std::fs::remove_dir_all(&root).map_err(io("removing", &root))
}
