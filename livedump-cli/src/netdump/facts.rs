// SPDX-License-Identifier: BSD-2-Clause
//! What a dump that is over says about itself, and what is wrong with it.

use super::keep::End;
use super::received::Hole;
use super::session::{Arriving, Sender};
use crate::crashdir::{Basename, Temp, info_text, judge_core};
use livedump_vmcore::verdict::Verdict;
use livedump_vmcore::{Opened, chain};
use memdev::kerneldump::{Compression, KernelDumpHeader, Magic, parity_ok};
use std::fmt::Write;

/// Bytes of padding that a dump may have after its length: its last block.
const MAX_PADDING: u64 = 64 << 10;
/// Holes that info.N lists.
const INFO_HOLES: usize = 500;

/// What the header says, and what is wrong.
pub(super) struct Facts {
    pub(super) stem: Basename,
    pub(super) compression: Compression,
    pub(super) is_text: bool,
    pub(super) dumplength: Option<u64>,
    /// Holes, and bytes in them.
    pub(super) missing: Option<(u64, u64)>,
    pub(super) problems: Vec<String>,
}

impl Facts {
    pub(super) fn new(arriving: &Arriving<'_>, end: &End) -> Self {
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
                (true, true) => Basename::LivecoreEncrypted,
                (true, false) => Basename::VmcoreEncrypted,
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

    pub(super) fn is_encrypted(&self) -> bool {
        let stems = [Basename::LivecoreEncrypted, Basename::VmcoreEncrypted];
        stems.contains(&self.stem)
    }

    /// How long the file is: never longer than what arrived.
    pub(super) fn length(&self, arriving: &Arriving<'_>) -> u64 {
        let end = arriving.ranges.end();
        self.dumplength.map_or(end, |length| length.min(end))
    }

    pub(super) fn holes<'a>(
        &self,
        arriving: &'a Arriving<'_>,
    ) -> impl Iterator<Item = Hole> + use<'a> {
        // Without a header nobody knows where it ends.
        let end = self.dumplength.unwrap_or_else(|| arriving.ranges.end());
        let holes = arriving.ranges.holes(end);
        holes.map(|(offset, length)| Hole { offset, length })
    }

    /// Its structure, where there is one to be seen.
    pub(super) fn judge(&self, dump: &Temp<'_>) -> Verdict {
        if self.is_text || self.is_encrypted() {
            return Verdict::Sound;
        }
        let file = match dump.file().try_clone() {
            Ok(file) => file,
            Err(e) => return Verdict::Undetermined(chain(&e)),
        };
        match Opened::new(file, &dump.path()) {
            Ok(Opened::Minidump(core)) => judge_core(&core, Verdict::Sound),
            Ok(Opened::Image(image)) if image.is_unknown() => {
                Verdict::Undetermined(
                    "all of it arrived, and it is no dump that is known here"
                        .into(),
                )
            }
            // A full dump: nothing is known without its kernel.
            Ok(Opened::Image(_)) => Verdict::Sound,
            Err(e) => e.verdict(),
        }
    }

    pub(super) fn info(
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
        let mut holes = self.holes(arriving);
        for hole in holes.by_ref().take(INFO_HOLES) {
            let Hole { offset, length } = hole;
            line("Missing", format!("{length} bytes at {offset}"));
        }
        // Readers believe nothing from the first of these on.
        let (mut more, mut rest) = (0u64, None);
        for Hole { offset, length } in holes {
            let start = rest.map_or(offset, |(start, _)| start);
            rest = Some((start, offset.saturating_add(length)));
            more = more.saturating_add(1);
        }
        if let Some((start, end)) = rest {
            let bytes = end.saturating_sub(start);
            let text = format!("{bytes} bytes at {start}, with {more} holes");
            line("Missing", text);
        }
        text
    }
}
