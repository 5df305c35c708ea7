// SPDX-License-Identifier: BSD-2-Clause
//! What was found on a dump device and what became of it, as one line and as
//! JSON.

use super::Args;
use crate::crashdir::{self, Companion, CrashDir};
use crate::dumpdev::LocatedDump;
use crate::error::chain;
use crate::path::FilePath;
use crate::report::{Report, escape, human};
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
    pub(super) complete: bool,
    pub(super) problems: Vec<String>,
}

impl Saved {
    /// There was nothing.
    pub(super) fn nothing(args: &Args) -> Self {
        Self { device: args.device.as_path().into(), ..Self::default() }
    }

    /// It is on the device.
    pub(super) fn seen(args: &Args, found: &LocatedDump) -> Self {
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
            complete: found.problems().is_empty(),
            problems: found.problems().to_vec(),
            ..Self::nothing(args)
        }
    }

    /// It has its name.
    pub(super) fn named(&mut self, dir: &CrashDir, it: &crashdir::Saved) {
        self.number = Some(it.number);
        self.file = Some(dir.path(&it.dump).into());
        self.info = it.info.as_deref().map(|name| dir.path(name).into());
        self.key = it.side(Companion::Key).map(|name| dir.path(name).into());
        self.seal = it.side(Companion::Seal).map(|name| dir.path(name).into());
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
        self.complete = false;
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
