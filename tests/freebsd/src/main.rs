// SPDX-License-Identifier: BSD-2-Clause
//! Boots FreeBSD kernels in QEMU with livedump.ko, runs the guest's cases,
//! and reads the dumps they bring out.
//!
//! The host builds everything the guest runs: the module for that kernel, a
//! test module, a static init. No FreeBSD userland is needed.

mod check;
mod console;
mod deadlocks;
mod debuggers;
mod direct;
mod dump_check;
mod error;
mod gone;
mod guest;
mod image;
mod info;
mod instant;
mod kernel;
mod loader;
mod lockstep;
mod outside;
mod page;
mod panic;
mod pauses;
mod qemu;
mod symbols;
mod userland;

use clap::Parser;
use console::Console;
use error::{Error, Result};
use kernel::Kernel;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs livedump.ko in real FreeBSD kernels under QEMU.
#[derive(Debug, Parser)]
struct Args {
    /// A kernel, or a folder with one. Default: LIVEDUMP_FREEBSD_KERNEL, or
    /// all of ~/.cache/livedump/kernels and kernels-arm64.
    #[arg(long = "kernel")]
    kernels: Vec<PathBuf>,
    /// A livedump.ko built elsewhere for this kernel.
    #[arg(long)]
    module: Option<PathBuf>,
    /// A FreeBSD root directory, for what takes a userland. Default:
    /// LIVEDUMP_FREEBSD_ROOT, or the one of this kernel's name in
    /// ~/.cache/livedump/roots.
    #[arg(long)]
    root: Option<PathBuf>,
    /// What to run: module, dumps, requests, instant, freeze, outside, row,
    /// pause, userland, deadlocks, limits, writing, nmi, panic, full; as the
    /// last of a boot dead, ddb, halted; direct, which is another two guests; of
    /// an arm64 kernel image.
    #[arg(
        long,
        default_value = "module,dumps,requests,instant,freeze,outside,row,\
                         userland,deadlocks,limits,writing,image"
    )]
    cases: String,
    /// Dumps taken under load.
    #[arg(long, default_value_t = 6)]
    load: u32,
    /// Dumps of `instant` with the registers of a thread that spins.
    #[arg(long, default_value_t = 20)]
    registers: u32,
    /// Dumps of one instant under load, of `freeze`, and of each kind of
    /// `pause`.
    #[arg(long, default_value_t = 3)]
    freeze: u32,
    /// Dumps of the machine that runs under the same load, of `freeze`.
    #[arg(long, default_value_t = 1)]
    running: u32,
    /// Freezes in a row, whose dumps are not written.
    #[arg(long, default_value_t = 30)]
    freezes: u32,
    /// Dumps from outside of each kind, of `outside`.
    #[arg(long, default_value_t = 3)]
    outside: u32,
    /// The guest's memory is in a file, which the host can open.
    #[arg(long)]
    memory_file: bool,
    /// QEMU has its vmcoreinfo device.
    #[arg(long)]
    vmcoreinfo: bool,
    /// Dumps the stock facility takes under load, for comparison.
    #[arg(long, default_value_t = 0)]
    stock: u32,
    /// CPUs of the guest.
    #[arg(long, default_value_t = 2)]
    smp: u32,
    /// Memory of the guest.
    #[arg(long, default_value = "512M")]
    mem: String,
    /// MiB, an even number, above its own addresses at which the kernel is
    /// loaded. Kernels before 13.1 cannot be.
    #[arg(long, default_value_t = 0, value_parser = even)]
    above: u64,
    /// QEMU's -cpu; max,erms=off,la57=off for four-level page tables. An
    /// emulator runs ERMS, which kernels copy with, byte by byte.
    #[arg(long, default_value = "max,erms=off")]
    cpu: String,
    /// Seconds after which a guest is given up.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Keeps images, console output and dumps here.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Shows the guest's console.
    #[arg(short, long)]
    verbose: bool,
}

fn even(text: &str) -> std::result::Result<u64, String> {
    match text.parse() {
        Ok(n @ 0..1024) if n % 2 == 0 => Ok(n),
        _ => Err("not an even number below 1024".into()),
    }
}

fn main() -> ExitCode {
    if let Some(code) = deadlocks::run_tool() {
        return code;
    }
    let args = Args::parse();
    let kernels = match kernel::find(&args.kernels) {
        Ok(kernels) if kernels.is_empty() => {
            println!(
                "skipped: no FreeBSD kernel (LIVEDUMP_FREEBSD_KERNEL, or \
                 ~/.cache/livedump/kernels/*/kernel)"
            );
            return ExitCode::SUCCESS;
        }
        Ok(kernels) => kernels,
        Err(e) => return complain(&e),
    };
    let mut passed = 0;
    let mut failed = 0;
    let mut skipped = 0;
    for kernel in &kernels {
        match run(&args, kernel) {
            Ok(done) => {
                passed += done.passed;
                failed += done.failed;
                skipped += done.skipped;
            }
            Err(Error::Skip(why)) => {
                println!("{}: skipped: {why}", kernel.name);
                skipped += 1;
            }
            Err(e) => {
                println!("{}: {}", kernel.name, error::chain(&e));
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn complain(e: &Error) -> ExitCode {
    eprintln!("livedump-freebsd: {}", error::chain(e));
    ExitCode::from(2)
}

/// What one kernel came to.
#[derive(Default)]
struct Done {
    passed: u32,
    failed: u32,
    skipped: u32,
}

fn run(args: &Args, kernel: &Kernel) -> Result<Done> {
    let temporary;
    let dir = match &args.keep {
        Some(keep) => {
            let dir = keep.join(&kernel.name);
            std::fs::create_dir_all(&dir).map_err(error::io("making", &dir))?;
            dir
        }
        None => {
            temporary = tempfile::tempdir()
                .map_err(error::io("making", "a temporary folder"))?;
            temporary.path().to_owned()
        }
    };
    if kernel.is_arm64 {
        return arm64(args, kernel, &dir);
    }
    let files = guest::build(kernel, args.module.as_deref(), &dir)?;
    if args.cases.split(',').any(|case| case == "direct") {
        return direct(args, kernel, &files, &dir);
    }
    let full = args.cases.contains("full");
    let env = [
        ("livedump.cases", args.cases.replace("full", "panic")),
        ("debug.minidump", u8::from(!full).to_string()),
        ("livedump.load", args.load.to_string()),
        ("livedump.registers", args.registers.to_string()),
        ("livedump.freeze", args.freeze.to_string()),
        ("livedump.running", args.running.to_string()),
        ("livedump.freezes", args.freezes.to_string()),
        ("livedump.outside", args.outside.to_string()),
        ("livedump.expect_announced", u8::from(args.vmcoreinfo).to_string()),
        ("livedump.stock", args.stock.to_string()),
        ("kern.panic_reboot_wait_time", "1".into()),
        ("debug.debugger_on_panic", "0".into()),
    ];
    let userland = match args.cases.contains("userland") {
        true => userland::find(args.root.as_deref(), kernel)?,
        false => None,
    };
    if args.above > 0 {
        // C: only kernels that can be elsewhere have it.
        let symbols = symbols::Symbols::read(&kernel.path)?;
        if symbols.get("kernphys").is_none() {
            return Err(Error::Skip("it can only be at 2 MB".into()));
        }
    }
    let image = guest::boot_file(
        kernel,
        &files,
        userland.as_ref(),
        &env,
        args.above << 20,
        &dir,
    )?;
    let machine = qemu::Machine {
        kernel,
        memory_file: args.memory_file,
        more: &[],
        vmcoreinfo: args.vmcoreinfo,
        image: &image,
        dir: &dir,
        root: userland.as_ref().map(|_| userland::ROOT),
        smp: args.smp,
        mem: &args.mem,
        cpu: &args.cpu,
        seconds: args.timeout,
        verbose: args.verbose,
    };
    let mut console = qemu::run(&machine)?;
    if let Some(userland) = userland {
        console.skipped.extend(userland.skipped);
    }
    Ok(report(args, kernel, &dir, &console))
}

/// A kernel for which no module is built: its memory is read from outside.
fn arm64(args: &Args, kernel: &Kernel, dir: &Path) -> Result<Done> {
    if !args.cases.contains("image") {
        let why = "of an arm64 kernel there is the case image";
        return Err(Error::Skip(why.into()));
    }
    let machine = image::Machine {
        dir,
        smp: args.smp,
        mem: &args.mem,
        seconds: args.timeout,
        verbose: args.verbose,
    };
    let (results, skipped) = image::run(&machine, kernel)?;
    let mut done = Done::default();
    for (what, result) in results {
        match result {
            Ok(()) => done.passed += 1,
            Err(e) => {
                println!("{}: FAIL {what}: {e}", kernel.name);
                done.failed += 1;
            }
        }
    }
    for what in skipped {
        println!("{}: skipped: {what}", kernel.name);
        done.skipped += 1;
    }
    println!(
        "{}: {} passed, {} failed, {} skipped",
        kernel.name, done.passed, done.failed, done.skipped
    );
    Ok(done)
}

/// Two guests, one of which has the memory of the other.
fn direct(
    args: &Args,
    kernel: &Kernel,
    files: &guest::Files,
    dir: &Path,
) -> Result<Done> {
    let Some(userland) = userland::find(args.root.as_deref(), kernel)? else {
        return Err(Error::Skip("no FreeBSD root for this kernel".into()));
    };
    if let Some(why) = userland.skipped.first() {
        return Err(Error::Skip(why.clone()));
    }
    let guests = direct::Direct {
        kernel,
        files,
        userland: &userland,
        dir,
        smp: args.smp,
        cpu: &args.cpu,
        seconds: args.timeout,
        verbose: args.verbose,
    };
    let (results, console) = guests.run()?;
    let passed = u32::try_from(console.passed.len()).unwrap_or(u32::MAX);
    let mut done = Done { passed, ..Done::default() };
    let failed = console.failed.iter().map(|what| (what.clone(), None));
    let complaints = console.complaints.iter().map(|it| (it.clone(), None));
    let checks = results.into_iter().map(|(name, result)| {
        (name.to_owned(), Some(result.err().unwrap_or_default()))
    });
    for (what, result) in failed.chain(complaints).chain(checks) {
        match result.as_deref() {
            Some("") => done.passed += 1,
            why => {
                let why = why.map_or(String::new(), |why| format!(": {why}"));
                println!("{}: FAIL {what}{why}", kernel.name);
                done.failed += 1;
            }
        }
    }
    println!("{}: {} passed, {} failed", kernel.name, done.passed, done.failed);
    Ok(done)
}

fn report(args: &Args, kernel: &Kernel, dir: &Path, console: &Console) -> Done {
    let mut done =
        Done { passed: console.passed.len() as u32, ..Done::default() };
    let mut fail = |what: &str| {
        println!("{}: FAIL {what}", kernel.name);
        done.failed += 1;
    };
    for what in &console.failed {
        fail(what);
    }
    let full = args.cases.contains("full");
    let nmi = args.cases.contains("nmi");
    let panics = full || nmi || args.cases.contains("panic");
    let why = if nmi { panic::NMI } else { panic::WHY };
    let halted = args.cases.contains("halted");
    for what in &console.complaints {
        if !(panics && what.contains(why) || halted && what.contains(gone::WHY))
        {
            fail(&format!("on the console: {what}"));
        }
    }
    if !console.ended && !panics {
        fail("the guest did not finish");
    }
    if !kernel.has_types {
        println!(
            "{}: skipped: livedump deadlock: no kernel.debug beside it, and \
             no CTF in it",
            kernel.name
        );
        done.skipped += 1;
    }
    let mut results = check::Results::default();
    let mut listed = 0;
    for dump in &console.dumps {
        if dump.name == check::LIST {
            let at = (dir.join(qemu::OUTPUT), dir.join(&dump.name));
            if let Err(e) = check::extract(&at.0, dump, &at.1) {
                fail(&format!("{}: {e}", dump.name));
            }
            continue;
        }
        if dump.name.starts_with("changes") {
            match instant::changes(dir, console, dump) {
                Ok(()) => listed += 1,
                Err(e) => fail(&format!("{}: {e}", dump.name)),
            }
            continue;
        }
        let found = check::dump(kernel, dir, console, dump);
        results.add(&dump.name, &found);
        if found.is_ours && !found.problems.is_empty() {
            fail(&format!("{}: {}", dump.name, found.problems.join("; ")));
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
                println!("{}: FAIL {name}: {e}", kernel.name);
                done.failed += 1;
                continue;
            }
        };
        let (found, pause) = outside::check(kernel, console, name, crash);
        results.add(name, &found);
        pauses.extend(pause.map(|ns| ns / 1_000_000));
        match found.problems.as_slice() {
            [] => done.passed += 1,
            all => {
                println!("{}: FAIL {name}: {}", kernel.name, all.join("; "));
                done.failed += 1;
            }
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
                    println!("{}: skipped: debuggers: {what}", kernel.name);
                    done.skipped += 1;
                }
            }
            Err(e) => {
                println!("{}: FAIL debuggers: {e}", kernel.name);
                done.failed += 1;
            }
        }
    }
    for (name, result) in check::infos(console) {
        match result {
            Ok(()) => done.passed += 1,
            Err(e) => {
                println!("{}: FAIL info.N of {name}: {e}", kernel.name);
                done.failed += 1;
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
                println!("{}: FAIL panic dump: {e}", kernel.name);
                done.failed += 1;
            }
        }
    }
    if results.proves_nothing() {
        println!("{}: FAIL live dumps: no pair is torn", kernel.name);
        done.failed += 1;
    }
    for what in pauses::over_budget(console) {
        println!("{}: FAIL {what}", kernel.name);
        done.failed += 1;
    }
    match pauses::clock(console) {
        None => {}
        Some(Ok(line)) => {
            println!("{}: {line}", kernel.name);
            done.passed += 1;
        }
        Some(Err(line)) => {
            println!("{}: FAIL {line}", kernel.name);
            done.failed += 1;
        }
    }
    for line in pauses::lines(console) {
        println!("{}: {line}", kernel.name);
    }
    for what in &console.skipped {
        println!("{}: skipped: {what}", kernel.name);
        done.skipped += 1;
    }
    for line in results.lines() {
        println!("{}: {line}", kernel.name);
    }
    for line in &console.times {
        if args.verbose {
            println!("{}: {line}", kernel.name);
        }
    }
    println!(
        "{}: {} passed, {} failed, {} skipped",
        kernel.name, done.passed, done.failed, done.skipped
    );
    done
}
