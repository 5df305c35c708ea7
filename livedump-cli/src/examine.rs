// SPDX-License-Identifier: BSD-2-Clause
//! Everything that can be checked of one dump, for all commands that give a
//! verdict on one: so that no two of them disagree.

use crate::crashdir::{InfoText, Stored};
use crate::outcome::Outcome;
use crate::report::Instant;
use crate::seal::Comparison;
use livedump_vmcore::chain;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::verdict::Verdict;
use livedump_vmcore::{INSTANT, OpenError, Status, Verification, Vmcore};
use memdev::kerneldump::Compression;

/// What lies beside a dump and says something about it.
#[derive(Debug, Default)]
pub struct RelatedFiles {
    /// How it compares with its seal.
    pub seal: Option<Comparison>,
    /// Its info.N.
    pub info: Option<InfoText>,
    /// Why its info.N, which exists, cannot be read.
    pub info_error: Option<String>,
    /// Why the kernel that should be its own is not used.
    pub misfit: Option<String>,
    /// The length of the dump's file, which that is compared with.
    pub length: Option<u64>,
    /// How a file that does not open is compressed, by its name.
    pub compression: Option<Compression>,
}

/// Checks a dump that was opened, or was not; with its kernel and with what
/// lies beside it, where there is any, and with up to `threads` threads.
#[must_use]
pub fn examine(
    dump: Result<&Vmcore, &OpenError>,
    kernel: Option<&Kernel>,
    related: &RelatedFiles,
    threads: usize,
) -> Verification {
    let (mut verification, layout) = match dump {
        Ok(core) => {
            let plain = core.compression() == Compression::None;
            let layout = plain.then(|| core.layout());
            let sealed = related.seal.as_ref();
            let was_read = sealed.is_some_and(Comparison::is_match);
            let mut found = core.verify_file(kernel, threads, was_read);
            name_instant(&mut found, core);
            if related.info.as_ref().is_some_and(InfoText::is_of_no_kernel) {
                no_page_tables(&mut found);
            }
            (found, layout)
        }
        Err(e) => (unopened(e), None),
    };
    if let Some(sealed) = &related.seal {
        let findings = sealed.findings(layout);
        verification.add_seal(findings, sealed.compared);
    }
    // The kernel may be the wrong one, or the dump.
    if let Some(why) = &related.misfit {
        verification.add("kernel", Status::Undetermined, why.clone());
    }
    if let Some(why) = &related.info_error {
        verification.add("info", Status::Undetermined, why.clone());
    }
    if let Some(info) = &related.info {
        instant(&mut verification, info);
    }
    // What it does not say is no check.
    if let (Some(info), Some(length)) = (&related.info, related.length) {
        // The view of an image is not what the file has.
        let core = dump.ok().filter(|core| core.image().is_none());
        let stored = Stored {
            length,
            compression: core
                .map(Vmcore::compression)
                .or(related.compression)
                .unwrap_or(Compression::None),
            unpacked: core.and_then(Vmcore::expected_len),
        };
        match info.verdict(stored) {
            Verdict::Sound => verification.add(
                "info",
                Status::Ok,
                "info.N has the length of the dump and the status good",
            ),
            Verdict::Damaged(why) => {
                verification.add("info", Status::Fail, why)
            }
            Verdict::Undetermined(_) => {}
        }
    }
    verification
}

/// The instant in the words of all commands.
fn name_instant(verification: &mut Verification, core: &Vmcore) {
    let Ok(Some(record)) = core.instant() else { return };
    let it = Instant::of_record(record);
    let mut findings = verification.findings.iter_mut();
    let found =
        findings.find(|f| f.check == "instant" && f.status == Status::Ok);
    if let Some(finding) = found {
        let (moment, pause) = (it.moment(), it.pause());
        finding.text = format!("of one instant: {moment}; paused {pause}");
    }
}

/// Raw memory has none, and a dump of it is not damaged for that.
fn no_page_tables(verification: &mut Verification) {
    let count = verification.findings.len();
    verification.findings.retain(|f| f.check != "pagetables");
    if verification.findings.len() < count {
        let text = "page tables and lists: it is a dump of raw memory, \
                    without a kernel";
        verification.unchecked.push(text.into());
    }
}

/// Of a panic nothing ran on while it was dumped; of a quiesced dump less.
fn instant(verification: &mut Verification, info: &InfoText) {
    let unchecked = &mut verification.unchecked;
    let about = |text: &&mut String| text.starts_with(INSTANT);
    if info.panic.is_some() {
        unchecked.retain(|text| !text.starts_with(INSTANT));
    } else if info.is_of_image() {
        if let Some(text) = unchecked.iter_mut().find(about) {
            *text = format!(
                "{INSTANT}: the dump was made of an image, and whether the \
                 machine was stopped for that is not recorded"
            );
        }
    } else if let Some(time) = &info.quiesced
        && let Some(text) = unchecked.iter_mut().find(about)
    {
        *text = format!(
            "{INSTANT}: user processes were suspended ({time}), the kernel was \
             running"
        );
    }
}

/// What there is to say about a file that does not open as a dump.
fn unopened(e: &OpenError) -> Verification {
    let mut verification = Verification::default();
    let status = match e.verdict() {
        Verdict::Sound => Status::Ok,
        Verdict::Undetermined(_) => Status::Undetermined,
        Verdict::Damaged(_) => Status::Fail,
    };
    if status == Status::Ok {
        verification.add("textdump", status, chain(e));
        verification.unchecked.push("the contents of its files".into());
    } else {
        verification.add("header", status, chain(e));
        verification.unchecked.push("everything after the header".into());
    }
    verification
}

/// How a command ends that gives verdicts on several dumps.
#[must_use]
pub fn outcome<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Outcome {
    verdicts.map(Outcome::from).fold(Outcome::Clean, Outcome::and)
}
