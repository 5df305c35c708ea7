// SPDX-License-Identifier: BSD-2-Clause
//! What a guest came to: its own words, the dumps it brought out, its pauses.

use crate::args::Args;
use crate::console::Console;
use crate::kernel::Kernel;
use crate::{
    check, costs, debuggers, gone, hangs, instant, outside, panic, pauses, qemu,
};
use std::fmt;
use std::path::Path;

/// How many checks of one kernel.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Done {
    pub(crate) fn fail(&mut self, kernel: &Kernel, what: &str) {
        println!("{}: FAIL {what}", kernel.name);
        self.failed += 1;
    }

    pub(crate) fn skip(&mut self, kernel: &Kernel, what: &str) {
        println!("{}: skipped: {what}", kernel.name);
        self.skipped += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Says what failed, and what else the guest came to.
pub(crate) fn report(
    args: &Args,
    kernel: &Kernel,
    dir: &Path,
    console: &Console,
    done: &mut Done,
) {
    done.passed += u32::try_from(console.passed.len()).unwrap_or(u32::MAX);
    for what in &console.failed {
        done.fail(kernel, what);
    }
    let full = args.cases.contains("full");
    let nmi = args.cases.contains("nmi");
    let panics = full || nmi || args.cases.contains("panic");
    let why = if nmi { panic::NMI } else { panic::WHY };
    let halted = args.cases.contains("halted");
    for what in &console.complaints {
        if !(panics && what.contains(why) || halted && what.contains(gone::WHY))
        {
            done.fail(kernel, &format!("on the console: {what}"));
        }
    }
    if !console.ended && !panics {
        done.fail(kernel, "the guest did not finish");
    }
    if !kernel.has_types {
        let why = "livedump deadlock: no kernel.debug beside it, and no CTF \
                   in it";
        done.skip(kernel, why);
    }
    let mut results = check::Results::default();
    let mut hangs = hangs::Results::default();
    let mut listed = 0;
    for dump in &console.dumps {
        if dump.name == check::LIST {
            let at = (dir.join(qemu::OUTPUT), dir.join(&dump.name));
            if let Err(e) = check::extract(&at.0, dump, &at.1) {
                done.fail(kernel, &format!("{}: {e}", dump.name));
            }
            continue;
        }
        if dump.name.starts_with("changes") {
            match instant::changes(dir, console, dump) {
                Ok(()) => listed += 1,
                Err(e) => done.fail(kernel, &format!("{}: {e}", dump.name)),
            }
            continue;
        }
        if hangs::is_one(&dump.name) {
            hangs.dump(dir, dump);
            continue;
        }
        let found = check::dump(kernel, dir, console, dump);
        results.add(&dump.name, &found);
        if found.is_ours && !found.problems.is_empty() {
            done.fail(
                kernel,
                &format!("{}: {}", dump.name, found.problems.join("; ")),
            );
        } else if found.is_ours {
            done.passed += 1;
        }
    }
    done.passed += listed;
    let mut pauses = Vec::new();
    for (name, served) in &console.served {
        let crash = match served {
            Ok(outside::Served::Dump(crash)) => crash,
            Ok(outside::Served::Done(what)) => {
                println!("{}: {name}: {what}", kernel.name);
                done.passed += 1;
                continue;
            }
            Err(e) => {
                done.fail(kernel, &format!("{name}: {e}"));
                continue;
            }
        };
        if hangs::is_one(name) {
            hangs.outside(name, crash);
            continue;
        }
        let (found, pause) = outside::check(kernel, console, name, crash);
        results.add(name, &found);
        pauses.extend(pause.map(|ns| ns / 1_000_000));
        match found.problems.as_slice() {
            [] => done.passed += 1,
            all => {
                done.fail(kernel, &format!("{name}: {}", all.join("; ")));
            }
        }
    }
    hangs.look(kernel, console);
    for (what, result) in hangs.results() {
        println!("{}: hangs: {what}", kernel.name);
        match result {
            Ok(()) => done.passed += 1,
            Err(e) => done.fail(kernel, &e),
        }
    }
    if !pauses.is_empty() {
        println!("{}: pauses from outside, ms: {pauses:?}", kernel.name);
    }
    let reference = dir.join(check::REFERENCE);
    if kernel.has_types && reference.is_file() {
        match debuggers::check(kernel, &reference, &dir.join("root")) {
            Ok(without) => {
                done.passed += 1;
                for what in without {
                    done.skip(kernel, &format!("debuggers: {what}"));
                }
            }
            Err(e) => {
                done.fail(kernel, &format!("debuggers: {e}"));
            }
        }
    }
    for (name, result) in check::infos(console) {
        match result {
            Ok(()) => done.passed += 1,
            Err(e) => {
                done.fail(kernel, &format!("info.N of {name}: {e}"));
            }
        }
    }
    if panics {
        match panic::dump(kernel, dir, full, console, why) {
            Ok(inside) => {
                let inside = if inside { "in" } else { "not in" };
                println!("{}: panic {inside} livedump.ko", kernel.name);
                done.passed += 1;
            }
            Err(e) => {
                done.fail(kernel, &format!("panic dump: {e}"));
            }
        }
    }
    if results.proves_nothing() {
        done.fail(kernel, "live dumps: no pair is torn");
    }
    for what in pauses::over_budget(console) {
        done.fail(kernel, &what);
    }
    match pauses::clock(console) {
        None => {}
        Some(Ok(line)) => {
            println!("{}: {line}", kernel.name);
            done.passed += 1;
        }
        Some(Err(line)) => {
            done.fail(kernel, &line);
        }
    }
    for line in pauses::lines(console).iter().chain(&costs::lines(console)) {
        println!("{}: {line}", kernel.name);
    }
    for what in &console.skipped {
        done.skip(kernel, what);
    }
    for line in results.lines() {
        println!("{}: {line}", kernel.name);
    }
    for line in &console.times {
        if args.verbose {
            println!("{}: {line}", kernel.name);
        }
    }
}
