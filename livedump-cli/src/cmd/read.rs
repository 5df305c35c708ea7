// SPDX-License-Identifier: BSD-2-Clause
//! `livedump read`: memory of the dumped machine, by address or symbol.
//!
//! ```text
//! $ livedump read -k kernel vmcore hz 4
//! ffffffff81cd4c0c  64 00 00 00                               |d...|
//! ffffffff81cd4c10
//! ```

use super::Inputs;
use super::reads::{self, Reads};
use crate::error::{Error, Outcome, chain};
use crate::report::{self, Hex, Hexdump, Missing, Report};
use crate::vmcore::elf::Kernel;
use crate::vmcore::{ReadError, Vmcore};
use memdev::addr::{Paddr, Vaddr};
use std::io::{self, Write};
use std::path::PathBuf;

const DEFAULT_LENGTH: u64 = 16;
/// What is read at a time.
const CHUNK: usize = 256 << 10;
/// A JSON object is built in memory.
const MAX_JSON: u64 = 16 << 20;

/// What `read` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The kernel that was running, for its symbols
    #[arg(short, long, value_name = "KERNEL")]
    pub kernel: Option<PathBuf>,
    /// The bytes themselves
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// The address is a physical one
    #[arg(long)]
    pub phys: bool,
    /// The dump: raw or stripped, plain, gzip or zstd
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Address (0x..., or decimal) or symbol, with +OFFSET if need be
    #[arg(value_name = "ADDRESS|SYMBOL")]
    pub place: String,
    /// Bytes, with K, M or G; the symbol's size, or 16, if not given
    #[arg(value_name = "LENGTH", value_parser = length)]
    pub length: Option<u64>,
}

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A name without a kernel to look it up in.
    #[error("{0:?} is no address; for a symbol give its kernel with -k")]
    NoKernel(String),
    /// A name that the kernel does not have.
    #[error("kernel {kernel} has no symbol {name:?}")]
    NoSymbol {
        /// The file.
        kernel: String,
        /// The name.
        name: String,
    },
    /// A kernel of another machine.
    #[error("kernel {kernel} is of {found}, the dump of {expected}")]
    Machine {
        /// The file.
        kernel: String,
        /// Its machine.
        found: &'static str,
        /// The dump's.
        expected: &'static str,
    },
    /// Something behind a + that is no number.
    #[error("{0:?} is no offset")]
    Offset(String),
    /// More than fits in memory.
    #[error("--json takes {MAX_JSON} bytes at most; use --raw for more")]
    TooMuch,
}

/// Where to read, and how much.
struct Place {
    symbol: Option<String>,
    at: u64,
    length: u64,
}

/// Shows it.
///
/// # Errors
/// The file is no dump, or the place no place. Memory that is not in the
/// dump ends the output and is [`Outcome::Found`].
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let Inputs { core, kernel, changes } =
        Inputs::open(&args.file, args.kernel.as_deref())?;
    let place = find(args, &core, kernel.as_ref())?;
    let changes = reads::list(changes);
    let reads = Reads::of(&core, changes.as_ref());
    if args.json {
        return json(args, &core, place, &reads);
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut dump = (!args.raw).then(|| Hexdump::new(place.at));
    let ended = copy(args.phys, &core, &place, |data| match &mut dump {
        Some(dump) => dump.push(data, &mut out),
        None => out.write_all(data),
    })?;
    if let Some(dump) = dump {
        dump.finish(&mut out)?;
    }
    out.flush()?;
    reads.warn();
    Ok(match ended {
        Some(e) => {
            report::note(chain(&e));
            Outcome::Found
        }
        None => Outcome::Sound,
    })
}

fn json(
    args: &Args,
    core: &Vmcore,
    place: Place,
    reads: &Reads<'_>,
) -> Result<Outcome, Error> {
    if place.length > MAX_JSON {
        return Err(PlaceError::TooMuch.into());
    }
    let mut data = Vec::new();
    let ended = copy(args.phys, core, &place, |part| {
        data.extend_from_slice(part);
        Ok(())
    })?;
    let outcome = match ended {
        Some(_) => Outcome::Found,
        None => Outcome::Sound,
    };
    let report = report::Read {
        file: args.file.display().to_string(),
        symbol: place.symbol,
        space: if args.phys { "physical" } else { "virtual" },
        address: Hex(place.at),
        length: place.length,
        data,
        missing: ended
            .map(|e| Missing { address: Hex(e.at), reason: chain(&e.why) }),
        changed: reads.warn(),
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

fn find(
    args: &Args,
    core: &Vmcore,
    kernel: Option<&Kernel>,
) -> Result<Place, Error> {
    let (base, offset) = match args.place.split_once('+') {
        Some((base, offset)) => match number(offset) {
            Some(n) => (base, n),
            None => return Err(PlaceError::Offset(offset.into()).into()),
        },
        None => (args.place.as_str(), 0),
    };
    if let Some(at) = address(base) {
        return Ok(Place {
            symbol: None,
            at: at.wrapping_add(offset),
            length: args.length.unwrap_or(DEFAULT_LENGTH),
        });
    }
    let Some(kernel) = kernel else {
        return Err(PlaceError::NoKernel(base.into()).into());
    };
    let (found, expected) = (kernel.machine(), core.header().machine);
    if found != expected {
        return Err(PlaceError::Machine {
            kernel: kernel.path().into(),
            found: found.name(),
            expected: expected.name(),
        }
        .into());
    }
    let Some(symbol) = kernel.find(base) else {
        return Err(PlaceError::NoSymbol {
            kernel: kernel.path().into(),
            name: base.into(),
        }
        .into());
    };
    let rest = symbol.size.checked_sub(offset).filter(|&n| n > 0);
    Ok(Place {
        symbol: Some(base.into()),
        at: symbol.address.0.wrapping_add(offset),
        length: args.length.or(rest).unwrap_or(DEFAULT_LENGTH),
    })
}

/// 0x..., sixteen bare digits of a kernel address, or decimal.
fn address(text: &str) -> Option<u64> {
    let bare = text.len() == 16 && text.starts_with(['f', 'F']);
    if bare && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return u64::from_str_radix(text, 16).ok();
    }
    number(text)
}

fn number(text: &str) -> Option<u64> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match hex {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    // from_str_radix would take a sign.
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

fn length(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (text.get(..text.len() - 1), 1 << 10),
        Some(b'M' | b'm') => (text.get(..text.len() - 1), 1 << 20),
        Some(b'G' | b'g') => (text.get(..text.len() - 1), 1 << 30),
        _ => (Some(text), 1u64),
    };
    digits
        .and_then(number)
        .and_then(|n| n.checked_mul(unit))
        .ok_or_else(|| "not a number of bytes".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hexadecimal_or_decimal() {
        assert_eq!(address("0x10"), Some(16));
        assert_eq!(address("10"), Some(10));
        assert_eq!(address("ffffffff81cd4c0c"), Some(0xffff_ffff_81cd_4c0c));
        assert_eq!(address("hz"), None);
        assert_eq!(address("-1"), None);
        assert_eq!(address("+1"), None);
        assert_eq!(address("0x"), None);
        assert_eq!(address(""), None);
    }

    #[test]
    fn places_are_found_and_read_up_to_what_is_missing() {
        use crate::vmcore::tests::sample::{Sample, VERSIONS};
        use crate::vmcore::tests::{file, open};
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
            file: "dump".into(),
            place: "hz".into(),
            length: None,
        };
        let place = find(&args, &core, Some(&kernel)).unwrap();
        assert_eq!((place.at, place.length), (s.base(), 4));
        args.place = "allproc+4".into();
        let place = find(&args, &core, Some(&kernel)).unwrap();
        assert_eq!((place.at, place.length), (s.base() + 12, 4));
        args.place = "nosuch".into();
        assert!(find(&args, &core, Some(&kernel)).is_err());
        args.place = "hz+x".into();
        assert!(find(&args, &core, Some(&kernel)).is_err());

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

    #[test]
    fn lengths_have_units() {
        assert_eq!(length("4"), Ok(4));
        assert_eq!(length("0x10"), Ok(16));
        assert_eq!(length("2K"), Ok(2048));
        assert!(length("K").is_err());
        assert!(length("99999999999G").is_err());
        assert!(length("").is_err());
    }
}
