// SPDX-License-Identifier: BSD-2-Clause
//! Boots FreeBSD kernels in QEMU with livedump.ko, runs the guest's cases,
//! and reads the dumps they bring out.
//!
//! The host builds everything the guest runs: the module for that kernel, a
//! test module, a static init. No FreeBSD userland is needed.

mod arch;
mod args;
mod check;
mod console;
mod costs;
mod deadlocks;
mod debuggers;
mod direct;
mod dump_check;
mod error;
mod gone;
mod guest;
mod hangs;
mod image;
mod info;
mod instant;
mod kernel;
mod loader;
mod lockstep;
mod netdump;
mod network;
mod numbers;
mod outside;
mod page;
mod panic;
mod pauses;
mod qemu;
mod report;
mod symbols;
mod userland;

use args::Args;
use clap::Parser;
use error::{Error, Result};
use kernel::Kernel;
use parking_lot::Mutex;
use report::{Done, report};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    let all = run_all(&args, &kernels);
    println!("{all}");
    match all.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// All kernels, some at the same time.
fn run_all(args: &Args, kernels: &[Kernel]) -> Done {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Done::default());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.get().min(kernels.len()) {
            scope.spawn(|| {
                while let Some(kernel) =
                    kernels.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let mut done = Done::default();
                    match run(args, kernel) {
                        Ok(of_kernel) => done.add(&of_kernel),
                        Err(Error::Skip(why)) => done.skip(kernel, &why),
                        Err(e) => done.fail(kernel, &error::chain(&e)),
                    }
                    all.lock().add(&done);
                }
            });
        }
    });
    all.into_inner()
}

fn complain(e: &Error) -> ExitCode {
    eprintln!("livedump-freebsd: {}", error::chain(e));
    ExitCode::from(2)
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
    let mut done = Done::default();
    let mut cases: Vec<&str> = args.cases.split(',').collect();
    for (case, why) in kernel.arch.without {
        if cases.contains(case) {
            done.skip(kernel, &format!("{case}: {why}"));
            cases.retain(|asked| asked != case);
        }
    }
    if cases.contains(&"image") {
        // Of amd64 tests/images/ has it.
        if kernel.arch.is_arm64() {
            image(args, kernel, &dir, &mut done)?;
        }
        cases.retain(|&asked| asked != "image");
    }
    if cases.is_empty() {
        return Ok(done);
    }
    let files = guest::build(kernel, args.module.as_deref(), &dir)?;
    if cases.contains(&"netdump") {
        for (what, result) in netdump::run(args, kernel, &files, &dir)? {
            match result {
                Ok(line) => {
                    println!("{}: {what}: {line}", kernel.name);
                    done.passed += 1;
                }
                Err(e) => done.fail(kernel, &format!("{what}: {e}")),
            }
        }
        cases.retain(|&asked| asked != "netdump");
        if cases.is_empty() {
            println!("{}: {done}", kernel.name);
            return Ok(done);
        }
    }
    match cases.contains(&"direct") {
        true => direct(args, kernel, &files, &dir, &mut done)?,
        false => cases_of(args, kernel, &cases, &files, &dir, &mut done)?,
    }
    println!("{}: {done}", kernel.name);
    Ok(done)
}

/// One boot with all these cases.
fn cases_of(
    args: &Args,
    kernel: &Kernel,
    cases: &[&str],
    files: &guest::Files,
    dir: &Path,
    done: &mut Done,
) -> Result<()> {
    let full = cases.contains(&"full");
    let env = [
        ("livedump.cases", cases.join(",").replace("full", "panic")),
        ("debug.minidump", u8::from(!full).to_string()),
        ("livedump.load", args.load.to_string()),
        ("livedump.registers", args.registers.to_string()),
        ("livedump.freeze", args.freeze.to_string()),
        ("livedump.running", args.running.to_string()),
        ("livedump.freezes", args.freezes.to_string()),
        ("livedump.hangs", args.hangs.to_string()),
        ("livedump.outside", args.outside.to_string()),
        ("livedump.expect_announced", u8::from(args.vmcoreinfo).to_string()),
        ("livedump.stock", args.stock.to_string()),
        ("kern.panic_reboot_wait_time", "1".into()),
        ("debug.debugger_on_panic", "0".into()),
    ];
    let userland = match cases.contains(&"userland") {
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
    let boot = guest::boot(
        kernel,
        files,
        userland.as_ref(),
        &env,
        args.above << 20,
        dir,
    )?;
    let machine = qemu::Machine {
        kernel,
        memory_file: args.memory_file,
        more: &[],
        vmcoreinfo: args.vmcoreinfo,
        boot: &boot,
        dir,
        smp: args.smp,
        mem: &args.mem,
        cpu: args.cpu.as_deref(),
        seconds: args.timeout,
        verbose: args.verbose,
    };
    let mut console = qemu::run(&machine)?;
    if let Some(userland) = userland {
        console.skipped.extend(userland.skipped);
    }
    report(args, kernel, dir, &console, done);
    Ok(())
}

/// A guest whose memory is read from outside.
fn image(
    args: &Args,
    kernel: &Kernel,
    dir: &Path,
    done: &mut Done,
) -> Result<()> {
    let machine = image::Machine {
        dir,
        smp: args.smp,
        mem: &args.mem,
        seconds: args.timeout,
        verbose: args.verbose,
    };
    let (results, skipped) = image::run(&machine, kernel)?;
    for (what, result) in results {
        match result {
            Ok(()) => done.passed += 1,
            Err(e) => done.fail(kernel, &format!("{what}: {e}")),
        }
    }
    for what in skipped {
        done.skip(kernel, &what);
    }
    Ok(())
}

/// Two guests, one of which has the memory of the other.
fn direct(
    args: &Args,
    kernel: &Kernel,
    files: &guest::Files,
    dir: &Path,
    done: &mut Done,
) -> Result<()> {
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
        cpu: args.cpu.as_deref(),
        seconds: args.timeout,
        verbose: args.verbose,
    };
    let (results, console) = guests.run()?;
    done.passed += u32::try_from(console.passed.len()).unwrap_or(u32::MAX);
    for what in console.failed.iter().chain(&console.complaints) {
        done.fail(kernel, what);
    }
    for (name, result) in results {
        match result {
            Ok(()) => done.passed += 1,
            Err(why) => done.fail(kernel, &format!("{name}: {why}")),
        }
    }
    Ok(())
}
