// SPDX-License-Identifier: BSD-2-Clause
//! The crash directory: is it there, may we write, what stands in the way,
//! is there room?

use super::Check;
use crate::crashdir::{Basename, CrashDir, Error};
use crate::device::MachineSpec;
use crate::report::human;
use livedump_vmcore::chain;
use livedump_vmcore::verdict::Verdict;
use memdev::kerneldump::Compression;
use std::io;
use std::path::{Path, PathBuf};

/// A directory that cannot be opened.
pub(super) fn missing(path: &Path, e: &Error) -> Check {
    let check = Check::fail("directory", chain(e));
    match e {
        Error::Io { source, .. }
            if source.kind() == io::ErrorKind::NotFound =>
        {
            check.fix(format!("mkdir -m 750 {}", path.display()))
        }
        _ => check,
    }
}

pub(super) fn checks(
    directory: &CrashDir,
    extent: Option<u64>,
    machine: &MachineSpec,
) -> Vec<Check> {
    let mut checks = vec![writable(directory)];
    checks.push(bounds(directory));
    checks.push(room(directory, extent, machine));
    checks.extend(dumps(directory));
    checks
}

/// The directory, as it was named.
fn named(directory: &CrashDir) -> PathBuf {
    directory.path(".").components().collect()
}

fn writable(directory: &CrashDir) -> Check {
    let path = named(directory);
    let path = path.display();
    let file = directory.lock().and_then(|_lock| directory.temp().map(drop));
    match file {
        Ok(()) => Check::ok("directory", format!("{path} is writable")),
        Err(e) => Check::fail("directory", chain(&e))
            .fix(format!("ls -ld {path}; mount; id")),
    }
}

fn bounds(directory: &CrashDir) -> Check {
    let none = Compression::None;
    let next = directory.next_number().and_then(|next| {
        directory
            .check_names(None, Basename::Livecore, none, &[])
            .map(|()| next)
    });
    let next = match next {
        Ok(next) => next,
        Err(e) => return Check::fail("bounds", chain(&e)),
    };
    let (n, path) = (next.number, directory.path("bounds"));
    let Some(problem) = next.problem else {
        return Check::ok("bounds", format!("the next dump is number {n}"));
    };
    let text = match &problem {
        Error::Number { path, text, wanted } => {
            format!("{} holds {text:?}, not {wanted}", path.display())
        }
        e => chain(e),
    };
    let text = format!(
        "{text}: the next dump is number {n}, after the highest that exists"
    );
    let check = Check::warning("bounds", text);
    let path = path.display();
    match problem {
        // To remove it is up to whoever knows what it is.
        Error::InTheWay { .. } => check.fix(format!("ls -l {path}")),
        _ => check.fix(format!("echo {n} > {path}")),
    }
}

fn room(
    directory: &CrashDir,
    extent: Option<u64>,
    machine: &MachineSpec,
) -> Check {
    let name = "room";
    let space = directory
        .free_bytes()
        .and_then(|free| Ok((free, directory.minfree_bytes()?)));
    let (free, minfree) = match space {
        Ok(space) => space,
        Err(Error::Number { path, text, wanted }) => {
            let path = path.display();
            let text = format!("{path} holds {text:?}, not {wanted}");
            return Check::fail(name, text).fix(format!("rm {path}"));
        }
        Err(e) => return Check::fail(name, chain(&e)),
    };
    let text = format!("{} free, minfree: {}", human(free), human(minfree));
    match extent {
        Some(extent) if extent > free.saturating_sub(minfree) => {
            let (size, path) = (human(extent), named(directory));
            let path = path.display();
            let fix = match machine {
                // Compressed or not, there is no room at all.
                _ if free <= minfree => format!("df -h {path}"),
                MachineSpec::Kernel => format!("livedump estimate -Z {path}"),
                machine => {
                    let machine = machine.arguments();
                    format!("livedump estimate -Z {machine} {path}")
                }
            };
            Check::fail(name, format!("{text}: a dump needs up to {size}"))
                .fix(fix)
        }
        _ if minfree == 0 => {
            let text = format!("{text} (no such file)");
            let path = directory.path("minfree");
            Check::warning(name, text)
                .fix(format!("echo 1048576 > {}", path.display()))
        }
        _ => Check::ok(name, text),
    }
}

/// Whether there is something to fall back to.
fn dumps(directory: &CrashDir) -> Option<Check> {
    let dumps = directory.dumps().ok()?;
    let live: Vec<_> = dumps.iter().filter(|dump| dump.live).collect();
    let newest = live.first()?;
    let count = live.len();
    let here = match count {
        1 => "one live dump".into(),
        _ => format!("{count} live dumps"),
    };
    Some(match directory.judge(newest) {
        Verdict::Sound => {
            Check::ok("dumps", format!("{here}, the newest is {}", newest.name))
        }
        verdict => Check::warning(
            "dumps",
            format!("{here}, the newest, {}, is {verdict}", newest.name),
        ),
    })
}
