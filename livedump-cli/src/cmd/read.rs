// SPDX-License-Identifier: BSD-2-Clause
//! `livedump read`: memory of the dumped machine, by address or symbol.
//!
//! ```text
//! $ livedump read -k kernel vmcore hz 4
//! ffffffff81cd4c0c  64 00 00 00                               |d...|
//! ffffffff81cd4c10
//! ```

mod place;

use super::changed_pages::{self, ChangedPages};
use super::dump_file::KeyArgs;
use super::inputs::{Inputs, WhichKernel};
use super::print::Opened;
use super::session::KernelArgs;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::report::{self, Hex, Hexdump, Missing, Report};
use clap::ValueHint;
use livedump_vmcore::chain;
use livedump_vmcore::changes::Changes;
use livedump_vmcore::path::escape_path;
use livedump_vmcore::{ReadError, Vmcore};
use memdev::addr::{Paddr, Vaddr};
pub use place::PlaceError;
use place::{Place, find, length};
use std::io::{self, Write};
use std::path::PathBuf;

/// What is read at a time.
const CHUNK: usize = 256 << 10;
/// A JSON object is built in memory.
const MAX_JSON: u64 = 16 << 20;

/// Arguments of `read`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kernel of the dump [default: kernel.N or /boot]
    #[arg(
        short,
        long,
        value_name = "KERNEL",
        value_hint = ValueHint::FilePath
    )]
    pub kernel: Option<PathBuf>,
    /// Write raw bytes instead of a hex dump
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Treat ADDRESS as physical
    #[arg(long)]
    pub phys: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub keys: KeyArgs,
    /// Dump file: plain, gzip or zstd
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Address (0x..., 16 hex digits or decimal), symbol+OFFSET, or an
    /// expression as for print
    #[arg(value_name = "ADDRESS|SYMBOL", value_hint = ValueHint::Other)]
    pub place: String,
    /// Bytes, with K, M or G [default: the symbol's size, or 16]
    #[arg(
        value_name = "LENGTH",
        value_parser = length,
        value_hint = ValueHint::Other
    )]
    pub length: Option<u64>,
}

/// Shows it.
///
/// # Errors
/// The file is no dump, or the place no place. Memory that is not in the
/// dump ends the output and is [`Outcome::Finding`].
pub fn run(args: &Args) -> Result<Outcome, Error> {
    if place::is_expression(&args.place) && !args.phys {
        let kernel = KernelArgs {
            kernels: args.kernel.iter().cloned().collect(),
            debug: None,
            keys: args.keys.clone(),
        };
        let opened = Opened::open(&args.file, &kernel)?;
        let place = match place::evaluate(args, &opened)? {
            Ok(place) => place,
            Err(e) => {
                report::note(chain(&e));
                return Ok(match e.is_environment() {
                    true => Outcome::Undetermined,
                    false => Outcome::Finding,
                });
            }
        };
        let session = &opened.session;
        let changes = session.changes.as_ref();
        return show(args, &session.core, place, changes);
    }
    // An address needs none.
    let kernel = match (&args.kernel, place::is_address(&args.place)) {
        (None, true) => WhichKernel::Unneeded,
        (named, _) => WhichKernel::Any(named.as_deref()),
    };
    let Inputs { core, kernel, changes, .. } =
        Inputs::open(&args.file, kernel, &args.keys)?;
    let place = find(args, kernel.as_ref())?;
    let changes = changed_pages::read_list(changes);
    show(args, &core, place, changes.as_ref())
}

fn show(
    args: &Args,
    core: &Vmcore,
    place: Place,
    changes: Option<&Changes>,
) -> Result<Outcome, Error> {
    let changed_pages = ChangedPages::of(core, changes);
    if args.json {
        return json(args, core, place, &changed_pages);
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut dump = (!args.raw).then(|| Hexdump::new(place.at));
    let ended = copy(args.phys, core, &place, |data| match &mut dump {
        Some(dump) => dump.push(data, &mut out),
        None => out.write_all(data),
    })?;
    if let Some(dump) = dump {
        dump.finish(&mut out)?;
    }
    out.flush()?;
    changed_pages.warn();
    Ok(match ended {
        Some(e) => {
            report::note(chain(&e));
            outcome(&e)
        }
        None => Outcome::Clean,
    })
}

/// What was not dumped is a finding, what could not be read is not known.
fn outcome(e: &ReadError) -> Outcome {
    match e.is_environment() {
        true => Outcome::Undetermined,
        false => Outcome::Finding,
    }
}

fn json(
    args: &Args,
    core: &Vmcore,
    place: Place,
    changed_pages: &ChangedPages<'_>,
) -> Result<Outcome, Error> {
    if place.length > MAX_JSON {
        return Err(PlaceError::TooMuch.into());
    }
    let mut data = Vec::new();
    let ended = copy(args.phys, core, &place, |part| {
        data.extend_from_slice(part);
        Ok(())
    })?;
    let outcome = ended.as_ref().map_or(Outcome::Clean, outcome);
    let report = report::Read {
        file: escape_path(&args.file),
        symbol: place.symbol,
        space: if args.phys { "physical" } else { "virtual" },
        address: Hex(place.at),
        length: place.length,
        data,
        missing: ended
            .map(|e| Missing { address: Hex(e.at), reason: chain(&e.why) }),
        changed: changed_pages.warn(),
    };
    report.print(true)?;
    Ok(outcome)
}

/// Hands out memory piece by piece; the error that ended it early.
fn copy(
    phys: bool,
    core: &Vmcore,
    place: &Place,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Option<ReadError>> {
    let mut left = place.length;
    let mut at = place.at;
    let mut buf = vec![0; left.min(CHUNK as u64) as usize];
    while left > 0 {
        let n = left.min(buf.len() as u64) as usize;
        let part = buf.get_mut(..n).unwrap_or_default();
        let read = if phys {
            core.read_phys(Paddr(at), part)
        } else {
            core.read_va(Vaddr(at), part)
        };
        if let Err(e) = read {
            take(part.get(..e.done).unwrap_or_default())?;
            return Ok(Some(e));
        }
        take(part)?;
        left = left.saturating_sub(n as u64);
        at = at.wrapping_add(n as u64);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_and_read_up_to_what_is_missing() {
        use livedump_vmcore::elf::Kernel;
        use livedump_vmcore::sample::{Sample, VERSIONS};
        use livedump_vmcore::sample::{file, open};
        let (machine, version) = VERSIONS[2];
        let s = Sample::new(machine, version);
        let core = open(&s.bytes());
        let elf = file(&s.kernel());
        let kernel = Kernel::open(elf.path()).unwrap();
        let mut args = Args {
            kernel: Some(elf.path().to_path_buf()),
            raw: false,
            json: false,
            phys: false,
            keys: KeyArgs::default(),
            file: "dump".into(),
            place: "hz".into(),
            length: None,
        };
        let place = find(&args, Some(&kernel)).unwrap();
        assert_eq!((place.at, place.length), (s.base(), 4));
        args.place = "allproc+4".into();
        let place = find(&args, Some(&kernel)).unwrap();
        assert_eq!((place.at, place.length), (s.base() + 12, 4));
        args.place = "nosuch".into();
        assert!(find(&args, Some(&kernel)).is_err());
        args.place = "hz+x".into();
        assert!(find(&args, Some(&kernel)).is_err());

        let at = s.base() + 0x1000;
        let place = Place { symbol: None, at, length: 1 << 40 };
        let mut got = 0;
        let ended = copy(false, &core, &place, |part| {
            got += part.len();
            Ok(())
        });
        assert_eq!(got, 4096);
        assert_eq!(ended.unwrap().unwrap().at, s.base() + 0x2000);
    }
}
