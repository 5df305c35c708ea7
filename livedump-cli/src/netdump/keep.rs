// SPDX-License-Identifier: BSD-2-Clause
//! A dump that is over gets its verdict and its name in the crash directory.
//! What did not arrive is named in info.N: a hole in the file reads as zeros,
//! which the memory of the machine was not.

use super::kdumpd::Core;
use super::received::{Hole, MAX_HOLES, Received};
use super::session::{Arriving, Sender};
use crate::crashdir::{
    self, Basename, Companion, CrashDir, Finished, Temp, info_text, judge_core,
};
use crate::report::escape;
use crate::seal::Seal;
use livedump_vmcore::verdict::Verdict;
use livedump_vmcore::{Opened, chain};
use memdev::kerneldump::{Compression, KernelDumpHeader, Magic, parity_ok};
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of padding that a dump may have after its length: its last block.
const MAX_PADDING: u64 = 64 << 10;
/// Holes that info.N lists.
const INFO_HOLES: usize = 500;

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

    fn text(&self) -> Option<String> {
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
            encrypted: facts.stem == Basename::VmcoreEncrypted,
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

/// What the header says, and what is wrong.
struct Facts {
    stem: Basename,
    compression: Compression,
    is_text: bool,
    dumplength: Option<u64>,
    /// Holes, and bytes in them.
    missing: Option<(u64, u64)>,
    problems: Vec<String>,
}

impl Facts {
    fn new(arriving: &Arriving<'_>, end: &End) -> Self {
        let mut problems: Vec<String> = Vec::new();
        let mut facts = Self {
            stem: Basename::Vmcore,
            compression: Compression::None,
            is_text: false,
            dumplength: None,
            missing: None,
            problems: Vec::new(),
        };
        let has_key = !arriving.key.is_empty();
        let bytes = arriving.header.as_deref();
        let header = bytes.and_then(|h| KernelDumpHeader::decode(h).ok());
        if let (Some(bytes), Some(header)) = (bytes, header) {
            facts.compression = header.compression;
            facts.is_text = header.magic == Magic::Text;
            facts.dumplength = Some(header.dumplength);
            let (holes, missing) = arriving.ranges.missing(header.dumplength);
            facts.missing = Some((holes, missing));
            if missing > 0 {
                let plural = if holes == 1 { "hole" } else { "holes" };
                problems.push(format!(
                    "incomplete: {holes} {plural}, {missing} bytes are missing"
                ));
            }
            let end = header.dumplength.saturating_add(MAX_PADDING);
            if arriving.ranges.end() > end {
                problems.push(format!(
                    "data up to {}, {} by the header",
                    arriving.ranges.end(),
                    header.dumplength
                ));
            }
            if !parity_ok(bytes) {
                problems.push("the parity of the header is wrong".into());
            }
            // C: dump_init_header. A panic has a reason.
            let is_live =
                header.panicstring.is_empty() && header.magic == Magic::Kernel;
            let keysize = u64::from(header.dumpkeysize);
            facts.stem = match (has_key || keysize > 0, is_live) {
                (true, _) => Basename::VmcoreEncrypted,
                (false, true) => Basename::Livecore,
                (false, false) if facts.is_text => Basename::Textdump,
                (false, false) => Basename::Vmcore,
            };
            if keysize != arriving.key.len() as u64 || !arriving.key_is_whole()
            {
                problems.push(format!(
                    "{} bytes of the key block arrived, it has {keysize}",
                    arriving.key_ranges.bytes()
                ));
            }
        } else {
            if has_key {
                facts.stem = Basename::VmcoreEncrypted;
            }
            problems.push("incomplete: no kernel dump header arrived".into());
        }
        // All of it may be here, and only the end have been lost.
        if !problems.is_empty() {
            problems.extend(end.text());
        }
        facts.problems = problems;
        facts
    }

    /// How long the file is: never longer than what arrived.
    fn length(&self, arriving: &Arriving<'_>) -> u64 {
        let end = arriving.ranges.end();
        self.dumplength.map_or(end, |length| length.min(end))
    }

    fn holes<'a>(
        &self,
        arriving: &'a Arriving<'_>,
    ) -> impl Iterator<Item = Hole> + use<'a> {
        // Without a header nobody knows where it ends.
        let end = self.dumplength.unwrap_or_else(|| arriving.ranges.end());
        let holes = arriving.ranges.holes(end);
        holes.map(|(offset, length)| Hole { offset, length })
    }

    /// Its structure, where there is one to be seen.
    fn judge(&self, dump: &Temp<'_>) -> Verdict {
        if self.is_text || self.stem == Basename::VmcoreEncrypted {
            return Verdict::Sound;
        }
        let file = match dump.file().try_clone() {
            Ok(file) => file,
            Err(e) => return Verdict::Undetermined(chain(&e)),
        };
        match Opened::new(file, &dump.path()) {
            Ok(Opened::Minidump(core)) => judge_core(&core, Verdict::Sound),
            // A full dump: nothing is known without its kernel.
            Ok(Opened::Image(_)) => Verdict::Sound,
            Err(e) => e.verdict(),
        }
    }

    fn info(
        &self,
        sender: &Sender,
        arriving: &Arriving<'_>,
        number: u32,
        verdict: &Verdict,
    ) -> String {
        let device = format!("netdump:{}", sender.peer.ip());
        let of_header = arriving
            .header
            .as_deref()
            .and_then(|h| info_text(h, &device, number, verdict).ok());
        let mut text = of_header.unwrap_or_else(|| {
            format!(
                "Dump header from device: {device}\n  Bounds: {number}\n  \
                 Dump Status: bad\n"
            )
        });
        let mut line = |label: &str, value: String| {
            // Writing to a String does not fail.
            let _ = writeln!(text, "  {label}: {value}");
        };
        line("Received", format!("{} bytes", arriving.ranges.bytes()));
        if !sender.path.is_empty() {
            line("Path", sender.path.clone());
        }
        for problem in &self.problems {
            line("Problem", problem.clone());
        }
        for hole in self.holes(arriving).take(INFO_HOLES) {
            let Hole { offset, length } = hole;
            line("Missing", format!("{length} bytes at {offset}"));
        }
        text
    }
}
