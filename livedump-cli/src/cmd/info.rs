// SPDX-License-Identifier: BSD-2-Clause
//! `livedump info`: everything a dump says about itself.

use super::dump_file::KeyArgs;
use super::inputs::{Content, Opened};
use super::inputs::{Inputs, WhichKernel};
use crate::crashdir::InfoText;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::report::{
    self, DumpHeader, Hex, ImageInfo, Info, InfoFile, Instant, Memory, Report,
    Section, local_time,
};
use clap::ValueHint;
use livedump_vmcore::chain;
use livedump_vmcore::changes::ChangesFile;
use livedump_vmcore::path::escape_path;
use livedump_vmcore::{ImageFile, Trailer, Vmcore};
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::freeze::RecordError;
use std::path::PathBuf;

/// Ranges of an image that are shown.
const MAX_RANGES: usize = 64;

/// Arguments of `info`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Kernel of the dump [default: kernel.N or /boot]
    #[arg(
        short,
        long,
        value_name = "KERNEL",
        value_hint = ValueHint::FilePath
    )]
    pub kernel: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub keys: KeyArgs,
    /// Dump or memory image: plain, gzip or zstd
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// Shows it.
///
/// # Errors
/// The file is no dump. A truncated one is [`Outcome::Finding`].
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let kernel = WhichKernel::Any(args.kernel.as_deref());
    let opened = Opened::open(&args.file, kernel, None, &args.keys)?;
    let inputs = match opened.read_any(|_| false)? {
        Content::Dump(inputs) => *inputs,
        Content::Image(image, refused) => {
            return image_info(&image, refused, args.json);
        }
    };
    let Inputs { core, kernel, changes, info: file, .. } = inputs;
    let mut info = info(&core);
    info.info = file.map(info_file);
    info.kernel = kernel.map(|kernel| kernel.path().to_string());
    match changes.map(ChangesFile::read).transpose() {
        Ok(list) => info.changed = list.as_ref().map(report::Changed::new),
        Err(e) => info.notes.push(chain(&e)),
    }
    for note in &info.notes {
        report::note(format_args!("{}: {note}", info.file));
    }
    info.print(args.json)?;
    let truncated = match info.truncated {
        Some(true) => Outcome::Finding,
        _ => Outcome::Clean,
    };
    Ok(match core.instant() {
        Ok(_) => truncated,
        Err(RecordError::Checksum) => Outcome::Finding,
        Err(RecordError::Version(_)) => truncated.and(Outcome::Undetermined),
    })
}

/// What an image says about itself.
fn image_info(
    file: &ImageFile,
    refused: Option<String>,
    json: bool,
) -> Result<Outcome, Error> {
    let image = file.image();
    let claims = image.claims();
    let (mut ranges, mut pages, mut at) = (Vec::new(), 0, 0);
    while let Some(run) =
        image.next_run(Paddr(at)).map_err(|source| file.read_error(source))?
    {
        pages += (run.end - run.start) / PAGE_SIZE as u64;
        let more = ranges.len() < MAX_RANGES;
        match ranges.last_mut() {
            Some((_, end)) if *end == Hex(run.start) => *end = Hex(run.end),
            _ if more => ranges.push((Hex(run.start), Hex(run.end))),
            _ => {}
        }
        at = run.end;
    }
    let info = ImageInfo {
        file: escape_path(&file.file().path),
        form: image.format().name(),
        file_length: file.file().len,
        allocated: file.file().allocated,
        machine: claims.machine.map(|machine| machine.name()),
        system: claims.system.clone(),
        phys_base: claims.phys_base.map(Hex),
        cpus: claims.cpus.len(),
        checksums: claims.checksums.name(),
        pages,
        ranges,
        parameter_page: refused,
        notes: claims.notes.clone(),
    };
    for note in &info.notes {
        report::note(format_args!("{}: {note}", info.file));
    }
    info.print(json)?;
    Ok(Outcome::Clean)
}

fn info(core: &Vmcore) -> Info {
    let h = core.header();
    let l = core.layout();
    let file = core.file();
    let pages = core.pages().ok();
    let length = core.source().known_len();
    let expected = core.expected_len();
    let section = |name, offset, size: u64| Section { name, offset, size };
    let mut sections = vec![
        section("header", 0, l.msgbuf),
        section("msgbuf", l.msgbuf, h.msgbufsize.into()),
    ];
    if h.has_dump_avail() {
        let size = h.dumpavailsize.into();
        sections.push(section("dump_avail", l.dump_avail, size));
    }
    sections.push(section("bitmap", l.bitmap, h.bitmapsize.into()));
    sections.push(section("pmap", l.pmap, h.pmapsize.into()));
    if let Some(end) = expected {
        let size = end.saturating_sub(l.pages);
        sections.push(section("pages", l.pages, size));
    }
    let trailer = core.trailer();
    Info {
        file: escape_path(&file.path),
        form: match core.image() {
            Some(memory) => memory.format().name(),
            None if trailer.is_some() => "raw",
            None => "stripped",
        },
        compression: core.compression().name(),
        frames: core.source().parts(),
        file_length: file.len,
        allocated: file.allocated,
        machine: h.machine.name(),
        version: h.version,
        kernbase: Hex(h.kernbase.0),
        dmapbase: Hex(h.dmapbase.0),
        dmapphys: Hex(h.dmapphys),
        dmapend: Hex(h.dmapend.0),
        sections,
        memory: pages.map(|p| Memory {
            ranges: p
                .ranges()
                .iter()
                .map(|&(start, end)| (Hex(start), Hex(end)))
                .collect(),
            pages: p.bits(),
            dumped_pages: p.count_set(),
            excess_bits: p.excess_bits(),
        }),
        length,
        expected_length: expected,
        truncated: match (length, expected) {
            (Some(have), Some(want)) => Some(have < want),
            (Some(have), None) => Some(have < l.pages),
            (None, _) => None,
        },
        dump_header: trailer.and_then(dump_header),
        instant: core.instant().ok().flatten().map(Instant::of_record),
        instant_unknown: core.instant().err().map(|e| e.to_string()),
        keys_overwritten: core.keys_overwritten(),
        info: None,
        kernel: None,
        changed: None,
        notes: core.notes().to_vec(),
    }
}

fn info_file(info: InfoText) -> InfoFile {
    let clean =
        |text: Option<String>| text.map(|t| report::escape(t.as_bytes()));
    InfoFile {
        hostname: clean(info.hostname),
        dumptime: info.dumptime,
        dumptime_text: info.dumptime.map(local_time),
        version: clean(info.version),
        panic: clean(info.panic),
        status: clean(info.status),
        quiesced: clean(info.quiesced),
        registers: clean(info.registers),
    }
}

fn dump_header(t: &Trailer) -> Option<DumpHeader> {
    let h = t.decode().ok()?;
    Some(DumpHeader {
        offset: t.offset,
        magic: report::escape(h.magic.text()),
        version: h.version,
        architecture: report::escape(h.architecture),
        architecture_version: h.architecture_version,
        dumplength: h.dumplength,
        dumpextent: h.dumpextent,
        blocksize: h.blocksize,
        compression: h.compression.name(),
        dumptime: h.dumptime,
        dumptime_text: local_time(h.dumptime),
        hostname: report::escape(h.hostname),
        version_string: in_one_line(h.versionstring),
        panic_string: in_one_line(h.panicstring),
        parity_ok: t.parity_ok(),
    })
}

/// Text of several lines in one.
fn in_one_line(text: &[u8]) -> String {
    let lines = text.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
    let lines = lines.filter(|line| !line.is_empty()).map(report::escape);
    lines.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use livedump_vmcore::sample::{Sample, VERSIONS};
    use livedump_vmcore::sample::{file, open};
    use memdev::kerneldump::Compression;

    fn sample() -> Sample {
        let (machine, version) = VERSIONS[2];
        Sample::new(machine, version)
    }

    #[test]
    fn the_keys_of_the_json_object_are_these() {
        let s = sample();
        let core = open(&s.raw(&s.bytes(), Compression::None));
        let json = serde_json::to_value(info(&core)).unwrap();
        let keys = |v: &serde_json::Value| {
            let keys: Vec<_> = v.as_object().unwrap().keys().cloned().collect();
            keys.join(" ")
        };
        assert_eq!(
            keys(&json),
            "allocated changed compression dmapbase dmapend dmapphys \
             dump_header expected_length file file_length form frames info \
             instant instant_unknown kernbase kernel keys_overwritten length machine memory \
             notes sections truncated version"
        );
        assert_eq!(
            keys(&json["dump_header"]),
            "architecture architecture_version blocksize compression \
             dumpextent dumplength dumptime dumptime_text hostname magic \
             offset panic_string parity_ok version version_string"
        );
        assert_eq!(json["kernbase"], "0xfffffe0000000000");
        assert_eq!(json["memory"]["dumped_pages"], s.count());
        assert_eq!(json["truncated"], false);
        assert_eq!(json["dump_header"]["hostname"], "host.example");
    }

    #[test]
    fn the_text_of_a_dump_cut_in_its_bitset_says_what_is_known() {
        let s = sample();
        let cut = s.header.layout().bitmap as usize + 9;
        let bytes = s.bytes();
        let report = info(&open(&bytes[..cut]));
        let mut text = Vec::new();
        report.text(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("amd64, minidump version 3"), "{text}");
        assert!(text.contains("Truncated:            yes"), "{text}");
        assert!(!text.contains("Pages:"), "{text}");
        assert!(report.notes[0].contains("inside"), "{:?}", report.notes);
    }

    #[test]
    fn a_whole_file_is_outcome_0_and_a_truncated_one_1() {
        let s = sample();
        let f = file(&s.bytes());
        let args = Args {
            kernel: None,
            keys: KeyArgs::default(),
            json: true,
            file: f.path().to_path_buf(),
        };
        assert_eq!(run(&args).unwrap(), Outcome::Clean);
        let whole = s.bytes();
        for cut in [whole.len() - 1, s.header.layout().bitmap as usize + 9] {
            let f = file(&whole[..cut]);
            let args = Args {
                kernel: None,
                keys: KeyArgs::default(),
                json: true,
                file: f.path().to_path_buf(),
            };
            assert_eq!(run(&args).unwrap(), Outcome::Finding, "{cut}");
        }
        let args = Args {
            kernel: None,
            keys: KeyArgs::default(),
            json: true,
            file: "/nonexistent/dump".into(),
        };
        assert!(run(&args).is_err());
    }
}
