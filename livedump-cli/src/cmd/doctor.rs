// SPDX-License-Identifier: BSD-2-Clause
//! `livedump doctor`: what this host can do and why not, with the command
//! that would mend it. Asks what a capture would ask, and writes nothing but
//! a temporary file that is gone again.

mod guest;
mod host;
mod key;
mod machine;
mod place;

use crate::cmd::machine_options::MachineOptions;
use crate::cmd::suggested::{self, MACHINES};
use crate::crashdir::CrashDir;
use crate::device::{self, MachineSpec};
use crate::error::Error;
use crate::kernel_files::image_facts;
use crate::outcome::Outcome;
use crate::report::Report;
use crate::sandbox;
use clap::ValueHint;
use livedump_vmcore::path::{FilePath, escape_line};
use machine::Machine;
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Crash directory
    #[arg(
        value_name = "DIRECTORY",
        default_value = ".",
        value_hint = ValueHint::DirPath
    )]
    pub directory: PathBuf,
    /// kernel, model, image:FILE, qemu:SOCKET, ...
    #[arg(
        long,
        value_name = "MACHINE",
        default_value = "kernel",
        hide_possible_values = true,
        value_parser = suggested::values::<MachineSpec>(MACHINES)
    )]
    pub machine: MachineSpec,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub options: MachineOptions,
    /// Kernel of an image or a guest
    #[arg(short, long, value_name = "KERNEL", value_hint = ValueHint::FilePath)]
    pub kernel: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub keys: key::KeyArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// A name that stays.
    pub name: &'static str,
    /// "ok"; "warning" where a capture works nevertheless; "fail".
    pub status: &'static str,
    /// In words.
    pub text: String,
    /// The command that would mend it.
    pub fix: Option<String>,
}

impl Check {
    /// As it should be.
    pub fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, status: "ok", text: text.into(), fix: None }
    }

    /// A capture works nevertheless.
    pub fn warning(name: &'static str, text: impl Into<String>) -> Self {
        Self { status: "warning", ..Self::ok(name, text) }
    }

    /// A capture would fail.
    pub fn fail(name: &'static str, text: impl Into<String>) -> Self {
        Self { status: "fail", ..Self::ok(name, text) }
    }

    /// What to type.
    #[must_use]
    pub fn fix(self, command: impl Into<String>) -> Self {
        Self { fix: Some(command.into()), ..self }
    }
}

/// All of them, for `--json`. The keys are documented in livedump(8).
#[derive(Debug, Serialize)]
struct Diagnosis {
    machine: String,
    directory: FilePath,
    /// Whether a capture would work, as far as can be told without one.
    works: bool,
    checks: Vec<Check>,
}

/// Looks at the host. That a capture would fail is outcome 1.
///
/// # Errors
/// Standard output does not take it.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let it = diagnose(args);
    it.print(args.json)?;
    Ok(if it.works { Outcome::Clean } else { Outcome::Finding })
}

fn diagnose(args: &Args) -> Diagnosis {
    let mut checks = Vec::new();
    let real = args.machine == MachineSpec::Kernel;
    if real {
        checks.extend(host::kernel());
    }
    let mut extent = None;
    let kernel = args.kernel.as_deref();
    let applied = args.options.apply(&args.machine);
    let named = applied.as_ref().unwrap_or(&args.machine).clone();
    let opened = match applied {
        // A guest is not stopped to find out how large a dump would be.
        Ok(MachineSpec::Qemu(socket)) => {
            checks.extend(guest::checks(&socket, kernel));
            None
        }
        Ok(MachineSpec::Libvirt(domain)) => {
            checks.extend(guest::of_libvirt(&domain, kernel));
            None
        }
        Ok(mut machine) => {
            if let MachineSpec::Bhyve { gdb, .. } = &mut machine
                && let Some(address) = gdb.take()
            {
                let text = format!(
                    "{address} is not connected to, which would stop the guest"
                );
                checks.push(Check::ok("stub", text));
            }
            Some(device::open(&machine, kernel, &image_facts, &|| false))
        }
        Err(e) => Some(Err(e)),
    };
    match opened {
        None => {}
        Some(Ok(device)) => {
            let machine = Machine::query(device.as_ref());
            extent = machine.extent();
            checks.extend(machine.checks(real));
        }
        Some(Err(e)) => checks.extend(machine::refused(&e)),
    }
    if real {
        checks.extend(host::host_checks());
    }
    match CrashDir::open(&args.directory) {
        Ok(directory) => {
            checks.extend(place::checks(&directory, extent, &named))
        }
        Err(e) => checks.push(place::missing(&args.directory, &e)),
    }
    checks.extend(key::checks(args));
    checks.push(confinement());
    checks.push(Check::ok(
        "readers",
        "info, verify, dmesg, read, ps, bt, deadlock, list, prune and save work",
    ));
    Diagnosis {
        machine: args.machine.to_string(),
        directory: args.directory.as_path().into(),
        works: checks.iter().all(|check| check.status != "fail"),
        checks,
    }
}

/// A capture works without it.
fn confinement() -> Check {
    let found = sandbox::describe();
    let text = format!("{}: {}", found.mechanism, found.text);
    match found.works {
        true => Check::ok("sandbox", text),
        false => Check::warning("sandbox", text),
    }
}

impl Report for Diagnosis {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for it in &self.checks {
            let text = escape_line(&it.text);
            let status = match it.status {
                "fail" => "FAIL",
                status => status,
            };
            writeln!(out, "{status:<8} {:<11} {text}", it.name)?;
            if let Some(fix) = &it.fix {
                let fix = escape_line(fix);
                writeln!(out, "{:<8} {:<11} try: {fix}", "", "")?;
            }
        }
        let directory = &self.directory;
        let would = if self.works { "would work" } else { "would fail" };
        let machine = match self.machine.as_str() {
            "kernel" => "the kernel",
            machine => machine,
        };
        writeln!(out, "a capture of {machine} into {directory} {would}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doctor(machine: &str, directory: &std::path::Path) -> Diagnosis {
        diagnose(&Args {
            directory: directory.into(),
            machine: machine.parse().unwrap(),
            options: MachineOptions::default(),
            kernel: None,
            keys: key::KeyArgs::default(),
            json: false,
        })
    }

    fn wrong(it: &Diagnosis) -> Vec<&'static str> {
        let wrong = it.checks.iter().filter(|c| c.status == "fail");
        wrong.map(|c| c.name).collect()
    }

    #[test]
    fn a_model_machine_can_be_dumped_anywhere() {
        let tmp = tempfile::tempdir().unwrap();
        let it = doctor("model:16M", tmp.path());
        assert!(it.works, "{it:?}");
        assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_would_make_a_capture_fail_is_wrong_and_has_a_fix() {
        let tmp = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            std::fs::write(tmp.path().join(name), text).unwrap();
        };
        put("minfree", "999999999999\n");
        let it = doctor("model:16M", tmp.path());
        assert_eq!(wrong(&it), ["room"]);
        let room = it.checks.iter().find(|check| check.name == "room");
        let fix = room.unwrap().fix.clone().unwrap();
        assert!(fix.starts_with("df -h /"), "{fix}");
        put("minfree", "2 GB\n");
        assert_eq!(wrong(&doctor("model:16M", tmp.path())), ["room"]);
        put("minfree", "0\n");
        put("bounds", "many\n");
        put("vmcore.4", "");
        let it = doctor("model:16M", tmp.path());
        let fix = it.checks.iter().find(|check| check.name == "bounds");
        let fix = fix.unwrap().fix.clone().unwrap();
        assert!(it.works && fix.starts_with("echo 5 > /"), "{fix}");
        put("bounds", "3\n");
        std::fs::create_dir(tmp.path().join("livecore.3")).unwrap();
        assert_eq!(wrong(&doctor("model:16M", tmp.path())), ["bounds"]);
        let none = tmp.path().join("none");
        let it = doctor("raw:/nonexistent", &none);
        assert_eq!(wrong(&it), ["machine", "directory"]);
        assert!(it.checks[1].fix.as_ref().unwrap().starts_with("mkdir"));
    }

    #[test]
    fn a_kernel_that_is_not_freebsds_cannot_be_dumped() {
        if cfg!(target_os = "freebsd") {
            return;
        }
        let tmp = tempfile::tempdir().unwrap();
        let it = doctor("kernel", tmp.path());
        assert!(!it.works);
        assert_eq!(wrong(&it), ["kernel"]);
    }

    #[test]
    fn the_keys_of_the_json_object_are_these() {
        let tmp = tempfile::tempdir().unwrap();
        let it = serde_json::to_value(doctor("model:16M", tmp.path()));
        let it = it.unwrap();
        let keys = |v: &serde_json::Value| {
            let keys: Vec<_> = v.as_object().unwrap().keys().cloned().collect();
            keys.join(" ")
        };
        assert_eq!(keys(&it), "checks directory machine works");
        assert_eq!(keys(&it["checks"][0]), "fix name status text");
    }
}
