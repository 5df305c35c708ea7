// SPDX-License-Identifier: BSD-2-Clause
//! What was found on a dump device and what became of it, as one line and as
//! JSON.

use super::Args;
use crate::crashdir::{self, Companion, CrashDir};
use crate::dumpdev::LocatedDump;
use crate::outcome::Outcome;
use crate::report::{Report, escape, human};
use livedump_vmcore::chain;
use livedump_vmcore::path::FilePath;
use livedump_vmcore::verdict::Verdict;
use memdev::kerneldump::KernelDumpHeader;
use serde::Serialize;
use std::io::{self, Write};

/// For `--json`. The keys are documented in livedump(8).
#[derive(Debug, Default, Serialize)]
pub(super) struct Saved {
    device: FilePath,
    /// Whether there is a dump to save.
    found: bool,
    number: Option<u32>,
    file: Option<FilePath>,
    info: Option<FilePath>,
    key: Option<FilePath>,
    seal: Option<FilePath>,
    /// "kernel" or "text".
    kind: Option<&'static str>,
    compression: Option<&'static str>,
    encryption: Option<&'static str>,
    dumplength: Option<u64>,
    dumpextent: Option<u64>,
    architecture: Option<String>,
    hostname: Option<String>,
    version: Option<String>,
    panic: Option<String>,
    dumptime: Option<u64>,
    /// Whether the device has it no longer.
    pub(super) cleared: bool,
    /// On the dump; null where there is none.
    pub(super) verdict: Option<Verdict>,
    /// What is damaged, or why it cannot be told.
    reason: Option<String>,
    /// That, and what went wrong with what lies beside the dump.
    pub(super) problems: Vec<String>,
}

/// The verdict on a dump on a device, by its headers.
pub(super) fn of_headers(found: &LocatedDump) -> Verdict {
    match found.problems() {
        [] => Verdict::Sound,
        problems => Verdict::Damaged(problems.join("; ")),
    }
}

impl Saved {
    /// There was nothing.
    pub(super) fn nothing(args: &Args) -> Self {
        Self { device: args.device.as_path().into(), ..Self::default() }
    }

    /// It is on the device.
    pub(super) fn from_located(args: &Args, found: &LocatedDump) -> Self {
        let header = KernelDumpHeader::decode(found.header()).ok();
        let field =
            |get: fn(&KernelDumpHeader<'_>) -> String| header.as_ref().map(get);
        Self {
            found: true,
            kind: Some(if found.is_text() { "text" } else { "kernel" }),
            compression: Some(found.compression().name()),
            encryption: found.cipher(),
            dumplength: Some(found.dumplength()),
            dumpextent: header.as_ref().map(|h| h.dumpextent),
            architecture: field(|h| clean(h.architecture)),
            hostname: field(|h| clean(h.hostname)),
            version: field(|h| clean(h.versionstring)),
            panic: field(|h| clean(h.panicstring)),
            dumptime: header.as_ref().map(|h| h.dumptime),
            ..Self::nothing(args)
        }
        .judged(of_headers(found))
    }

    /// With this verdict.
    pub(super) fn judged(mut self, verdict: Verdict) -> Self {
        self.reason = verdict.reason().map(String::from);
        self.problems = self.reason.iter().cloned().collect();
        self.verdict = Some(verdict);
        self
    }

    /// How `save` ends: with its verdict; what is missing beside the dump is
    /// a finding, too.
    pub(super) fn outcome(&self) -> Outcome {
        let verdict = self.verdict.as_ref().map(Outcome::from);
        let beside = self.problems.len() > usize::from(self.reason.is_some());
        let beside = if beside { Outcome::Finding } else { Outcome::Clean };
        verdict.unwrap_or(Outcome::Clean).and(beside)
    }

    /// It has its name.
    pub(super) fn named(&mut self, dir: &CrashDir, it: &crashdir::Saved) {
        self.number = Some(it.number);
        self.file = Some(dir.path(&it.dump).into());
        self.info = it.info.as_deref().map(|name| dir.path(name).into());
        self.key =
            it.companion(Companion::Key).map(|name| dir.path(name).into());
        self.seal =
            it.companion(Companion::Seal).map(|name| dir.path(name).into());
        for problem in &it.problems {
            let file = dir.path(&it.dump);
            self.problem(format!(
                "{} was saved, but: {}",
                file.display(),
                chain(problem)
            ));
        }
    }

    pub(super) fn problem(&mut self, text: String) {
        self.problems.push(text);
    }

    pub(super) fn summary(&self) -> String {
        let size = human(self.dumplength.unwrap_or(0));
        let what = match (self.kind, self.encryption, self.compression) {
            (Some("text"), ..) => "a textdump".into(),
            (_, Some(cipher), _) => format!("a dump, {cipher}"),
            (.., Some("none") | None) => "a dump".into(),
            (.., Some(codec)) => format!("a dump, {codec}"),
        };
        let why = match self.panic.as_deref() {
            None | Some("") => String::new(),
            Some(panic) => format!(" of the panic \"{panic}\""),
        };
        let device = &self.device;
        match &self.file {
            None => format!("{device} has {what}, {size}{why}"),
            Some(file) => {
                let left = if self.cleared { "" } else { ", which stays" };
                format!("{}: {size}, {what}{why} on {device}{left}", file)
            }
        }
    }
}

impl Report for Saved {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.summary())
    }
}

fn clean(bytes: &[u8]) -> String {
    escape(bytes.trim_ascii_end())
}
