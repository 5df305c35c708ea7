// SPDX-License-Identifier: BSD-2-Clause
//! `livedump info`: everything a dump says about itself.

use super::dump_file::KeyArgs;
use super::inputs::{Content, Opened};
use super::inputs::{Inputs, WhichKernel};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::report::build::{info, info_file};
use crate::report::{self, Hex, ImageInfo, Report};
use clap::ValueHint;
use livedump_vmcore::ImageFile;
use livedump_vmcore::chain;
use livedump_vmcore::changes::ChangesFile;
use livedump_vmcore::path::escape_path;
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
