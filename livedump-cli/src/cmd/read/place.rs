// SPDX-License-Identifier: BSD-2-Clause
//! Where to read, and how much: addresses, symbols, expressions and lengths as
//! they are written on a command line.

use super::super::print::{BadExpression, Opened, names, types};
use super::{Args, MAX_JSON};
use crate::analysis::expression::{Evaluator, ExpressionError, parse};
use crate::analysis::types::reader::Resolved;
use crate::error::Error;
use livedump_vmcore::elf::Kernel;
use memdev::addr::Vaddr;

const DEFAULT_LENGTH: u64 = 16;

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A name without a kernel to look it up in.
    #[error(
        "{0:?} is not an address, and no kernel was found to look it up as a \
         symbol: name it with -k, or copy it next to the dump as kernel.N"
    )]
    NoKernel(String),
    /// A name that the kernel does not have.
    #[error("kernel {kernel} has no symbol {name:?}")]
    NoSymbol {
        /// The file.
        kernel: String,
        /// The name.
        name: String,
    },
    /// Something behind a + that is no number.
    #[error("{0:?} is not an offset")]
    Offset(String),
    /// More than fits in memory.
    #[error("--json is limited to {MAX_JSON} bytes: use --raw for more")]
    TooMuch,
}

impl From<PlaceError> for Error {
    fn from(e: PlaceError) -> Self {
        Self::of_command(e)
    }
}

/// Where to read, and how much.
pub(super) struct Place {
    pub(super) symbol: Option<String>,
    pub(super) at: u64,
    pub(super) length: u64,
}

/// Whether a place is a number, so that no kernel is needed to find it.
pub(super) fn is_address(place: &str) -> bool {
    let base = place.split_once('+').map_or(place, |(base, _)| base);
    address(base).is_some()
}

/// Whether a place is an expression that needs types.
pub(super) fn is_expression(place: &str) -> bool {
    place.contains(['*', '&', '(', ')', '[', ']', '.', '-', ' '])
}

/// Finds it by an expression: where the object is that it names, or the
/// address that it comes to.
///
/// # Errors
/// It comes to none; the inner error: because of what the dump has.
pub(super) fn evaluate(
    args: &Args,
    opened: &Opened,
) -> Result<Result<Place, ExpressionError>, Error> {
    let text = &args.place;
    let bad =
        |e: ExpressionError| -> Error { BadExpression::new(text, e).into() };
    let parsed = parse(text).map_err(|e| bad(e.into()))?;
    let target = opened.session.exported_only()?;
    let modules = opened.modules(&target);
    let (kernel, debug) = (target.kernel, target.debug);
    let names = names(kernel, debug, &modules);
    let types = types(&target)?;
    let memory = |at, buf: &mut [u8]| target.core.read_va(Vaddr(at), buf);
    let e = Evaluator::new(&memory, &names, &types);
    let found = || {
        let value = e.eval(&parsed)?;
        let of = match (value.address(), types.resolve(&value.of)?) {
            (None, Resolved::Pointer(to)) => to,
            _ => value.of.clone(),
        };
        let at = match value.address() {
            Some(at) => at,
            None => e.load(&value)?,
        };
        Ok::<_, ExpressionError>((at, types.size(&of)?))
    };
    let (at, size) = match found() {
        Ok(found) => found,
        Err(e) if e.is_of_dump() => return Ok(Err(e)),
        Err(e) => return Err(bad(e)),
    };
    let size = size.filter(|&n| n > 0);
    Ok(Ok(Place {
        symbol: Some(text.clone()),
        at,
        length: args.length.or(size).unwrap_or(DEFAULT_LENGTH),
    }))
}

/// Finds it.
pub(super) fn find(
    args: &Args,
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

/// A length with its unit.
pub(super) fn length(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (text.get(..text.len() - 1), 1 << 10),
        Some(b'M' | b'm') => (text.get(..text.len() - 1), 1 << 20),
        Some(b'G' | b'g') => (text.get(..text.len() - 1), 1 << 30),
        _ => (Some(text), 1u64),
    };
    digits
        .and_then(number)
        .and_then(|n| n.checked_mul(unit))
        .filter(|&n| n > 0)
        .ok_or_else(|| "not a number of bytes from 1".into())
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
    fn lengths_have_units() {
        assert_eq!(length("4"), Ok(4));
        assert_eq!(length("0x10"), Ok(16));
        assert_eq!(length("2K"), Ok(2048));
        assert!(length("K").is_err());
        assert!(length("99999999999G").is_err());
        assert!(length("").is_err());
        assert!(length("0").is_err());
    }
}
