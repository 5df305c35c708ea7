// SPDX-License-Identifier: BSD-2-Clause
//! A dump that is over gets its verdict and its name in the crash directory.
//! What did not arrive is named in info.N: a hole in the file reads as zeros,
//! which the memory of the machine was not.

use super::facts::Facts;
use super::kdumpd::Core;
use super::received::{MAX_HOLES, Received};
use super::session::{Arriving, Sender};
use crate::crashdir::{self, Companion, CrashDir, Finished, Temp};
use crate::report::escape;
use crate::seal::Seal;
use livedump_vmcore::chain;
use livedump_vmcore::verdict::Verdict;
use memdev::kerneldump::KernelDumpHeader;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a dump ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Its client said so.
    Finished,
    /// Its client was not heard of for too long.
    Timeout,
    /// The server was told to stop.
    Stopped,
    /// It could not go on.
    Failed(String),
}

impl End {
    /// For programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Timeout => "timeout",
            Self::Stopped => "stopped",
            Self::Failed(_) => "failed",
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Finished => None,
            Self::Timeout => Some("the client was not heard of again".into()),
            Self::Stopped => Some("the server was stopped".into()),
            Self::Failed(why) => Some(why.clone()),
        }
    }
}

/// A dump that is over.
#[derive(Debug)]
pub struct Ended<'d> {
    /// Who sent it.
    pub sender: Sender,
    /// What arrived.
    pub arriving: Arriving<'d>,
    /// How it ended.
    pub end: End,
}

/// What is over.
#[derive(Debug)]
pub enum Over<'d> {
    /// A dump of netdump(4).
    Dump(Ended<'d>),
    /// A core of macOS, and how it ended.
    Core(Core<'d>, End),
}

/// How dumps are kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep<'d> {
    /// Where.
    pub directory: &'d CrashDir,
    /// Where numbers start again.
    pub maxdumps: Option<u32>,
    /// Whether to write checksums.
    pub seal: bool,
    /// Set once that takes too long.
    pub stop: &'d AtomicBool,
}

impl Keep<'_> {
    /// Gives a dump its name.
    ///
    /// # Errors
    /// It has none, and is lost.
    pub fn keep_dump(
        &self,
        ended: Ended<'_>,
    ) -> Result<Received, crashdir::Error> {
        let Ended { sender, mut arriving, end } = ended;
        let dump = match arriving.dump.take() {
            Some(dump) => dump,
            None => self.directory.temp()?,
        };
        let facts = Facts::new(&arriving, &end);
        let length = facts.length(&arriving);
        dump.truncate(length)?;
        let verdict = match facts.problems.as_slice() {
            [] => facts.judge(&dump),
            problems => Verdict::Damaged(problems.join("; ")),
        };
        let mut beside = Vec::new();
        let mut companions = Vec::new();
        if !arriving.key.is_empty() {
            let mut key = self.directory.temp()?;
            key.write_all(&arriving.key)?;
            companions.push((Companion::Key, key));
        }
        // Of what is incomplete they would prove nothing.
        if self.seal && facts.problems.is_empty() {
            dump.sync()?;
            match self.checksums(&dump) {
                Ok(temp) => companions.push((Companion::Seal, temp)),
                Err(why) => {
                    beside.push(format!("no checksums written: {why}"));
                }
            }
        }
        let sealed = companions.iter().any(|(c, _)| *c == Companion::Seal);
        let info = |number| {
            let mut text = facts.info(&sender, &arriving, number, &verdict);
            if sealed {
                let _ = writeln!(text, "  Seal: seal.{number}");
            }
            text
        };
        let saved = self.directory.finish(Finished {
            dump,
            stem: facts.stem,
            companions,
            compression: facts.compression,
            sound: verdict.is_sound(),
            maxdumps: self.maxdumps,
            info: &info,
        })?;
        beside.extend(saved.problems.iter().map(|e| chain(e)));
        beside.extend(saved.bounds.iter().map(|e| chain(e)));
        let path = |name: &str| self.directory.path(name).into();
        let beside_it = |c| saved.companion(c).map(path);
        let reason = verdict.reason().map(String::from);
        let header = arriving.header.as_deref();
        let header = header.and_then(|h| KernelDumpHeader::decode(h).ok());
        let field =
            |get: fn(&KernelDumpHeader<'_>) -> String| header.as_ref().map(get);
        Ok(Received {
            number: Some(saved.number),
            file: path(&saved.dump),
            info: saved.info.as_deref().map(path),
            key: beside_it(Companion::Key),
            seal: beside_it(Companion::Seal),
            protocol: "netdump",
            client: sender.peer.to_string(),
            path: (!sender.path.is_empty()).then_some(sender.path),
            end: end.word(),
            complete: facts.problems.is_empty(),
            received: arriving.ranges.bytes(),
            dumplength: facts.dumplength,
            holes: facts.missing.map(|(holes, _)| holes),
            missing: facts.missing.map(|(_, bytes)| bytes),
            ranges: facts.holes(&arriving).take(MAX_HOLES).collect(),
            compression: header.as_ref().map(|h| h.compression.name()),
            encrypted: facts.is_encrypted(),
            architecture: field(|h| clean(h.architecture)),
            hostname: field(|h| clean(h.hostname)),
            version: field(|h| clean(h.versionstring)),
            panic: field(|h| clean(h.panicstring)),
            dumptime: header.as_ref().map(|h| h.dumptime),
            messages: sender.messages,
            repeated: sender.repeated,
            elapsed_ns: u64::try_from(sender.started.elapsed().as_nanos())
                .unwrap_or(u64::MAX),
            verdict,
            problems: reason.iter().cloned().chain(beside).collect(),
            reason,
        })
    }

    /// Gives a core of macOS its name. Where it has holes nothing was sent, and
    /// nothing says how long it should be: it is complete if its client said
    /// so.
    ///
    /// # Errors
    /// It has none, and is lost.
    pub fn keep_core(
        &self,
        core: Core<'_>,
        end: &End,
    ) -> Result<Received, crashdir::Error> {
        let file = match core.file {
            Some(file) => file,
            None => self.directory.temp()?,
        };
        file.sync()?;
        let complete = *end == End::Finished;
        let name = match complete {
            true => file.persist_new(&core.name)?,
            false => file.persist_new(&format!("{}.incomplete", core.name))?,
        };
        self.directory.sync()?;
        let verdict = match end.text() {
            None => Verdict::Sound,
            Some(why) => Verdict::Damaged(format!("incomplete: {why}")),
        };
        let reason = verdict.reason().map(String::from);
        let elapsed = core.started.elapsed().as_nanos();
        Ok(Received {
            number: None,
            file: self.directory.path(&name).into(),
            info: None,
            key: None,
            seal: None,
            protocol: "kdumpd",
            client: core.peer.to_string(),
            path: None,
            end: end.word(),
            complete,
            received: core.ranges.bytes(),
            dumplength: None,
            holes: None,
            missing: None,
            ranges: Vec::new(),
            compression: None,
            encrypted: false,
            architecture: None,
            hostname: None,
            version: None,
            panic: None,
            dumptime: None,
            messages: core.packets.0,
            repeated: core.packets.1,
            elapsed_ns: u64::try_from(elapsed).unwrap_or(u64::MAX),
            verdict,
            problems: reason.iter().cloned().collect(),
            reason,
        })
    }

    /// Gives what is over its name.
    ///
    /// # Errors
    /// It has none, and is lost.
    pub fn keep(&self, over: Over<'_>) -> Result<Received, crashdir::Error> {
        match over {
            Over::Dump(ended) => self.keep_dump(ended),
            Over::Core(core, end) => self.keep_core(core, &end),
        }
    }

    fn checksums(&self, dump: &Temp<'_>) -> Result<Temp<'_>, String> {
        let mut stop = || self.stop.load(Ordering::Relaxed);
        let seal =
            Seal::of(dump.file(), 1, &mut stop).map_err(|e| chain(&e))?;
        let mut temp = self.directory.temp().map_err(|e| chain(&e))?;
        temp.write_all(seal.text().as_bytes()).map_err(|e| chain(&e))?;
        Ok(temp)
    }
}

fn clean(bytes: &[u8]) -> String {
    escape(bytes.trim_ascii_end())
}
