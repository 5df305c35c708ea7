// SPDX-License-Identifier: BSD-2-Clause
//! Interrupts since boot, as vmstat -i shows them. C: `intrcnt`, `intrnames`:
//! counts, and names of one length each, padded with blanks. Both are pointers
//! to what was allocated, or arrays, by the size of their symbols; `sintrcnt`
//! and `sintrnames` have their bytes.

use super::target::Target;
use super::unavailable::Unavailable;
use memdev::addr::Vaddr;

const MAX_INTERRUPTS: u64 = 1 << 17;
/// C: `INTRNAME_LEN` is 2 * MAXCOMLEN.
const MAX_NAME: u64 = 128;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// Its name, with the device's.
    pub name: Vec<u8>,
    /// How many there were.
    pub count: u64,
}

/// Those that have happened.
///
/// # Errors
/// It is not told where they are.
pub fn interrupts(t: &Target<'_>) -> Result<Vec<Interrupt>, Unavailable> {
    let (counts, names) = (table(t, "intrcnt")?, table(t, "intrnames")?);
    let limit = MAX_INTERRUPTS.saturating_mul(MAX_NAME);
    let bytes = t.need_number("sintrcnt", MAX_INTERRUPTS.saturating_mul(8))?;
    let names_bytes = t.need_number("sintrnames", limit)?;
    let count = bytes.checked_div(8).unwrap_or(0);
    let length = names_bytes.checked_div(count).unwrap_or(0);
    if !(1..=MAX_NAME).contains(&length) {
        let (name, value) = ("sintrnames", names_bytes);
        return Err(Unavailable::Value { name, value });
    }
    let read = |what, at: Vaddr, bytes: u64| {
        let mut raw = vec![0; usize::try_from(bytes).unwrap_or(0)];
        match t.core.read_va(at, &mut raw) {
            Ok(()) => Ok(raw),
            Err(source) => Err(Unavailable::Read { what, source }),
        }
    };
    let counts = read("intrcnt", counts, bytes)?;
    let names = read("intrnames", names, names_bytes)?;
    let (counts, _) = counts.as_chunks::<8>();
    let names = names.chunks_exact(usize::try_from(length).unwrap_or(1));
    let mut found = Vec::new();
    for (count, name) in counts.iter().zip(names) {
        let count = u64::from_le_bytes(*count);
        let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        let name = name.get(..end).unwrap_or_default().trim_ascii_end();
        if count > 0 && !name.is_empty() {
            found.push(Interrupt { name: name.to_vec(), count });
        }
    }
    Ok(found)
}

/// Where a table is.
fn table(t: &Target<'_>, name: &'static str) -> Result<Vaddr, Unavailable> {
    let symbol = t.kernel.find(name).ok_or(Unavailable::Symbol(name))?;
    match symbol.size {
        8 => t.need_u64(name).map(Vaddr),
        _ => Ok(symbol.address),
    }
}
