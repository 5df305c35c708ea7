// SPDX-License-Identifier: BSD-2-Clause
//! Any text as an expression, over any DWARF or CTF and any memory: it has a
//! value or it has none, soon; a list ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livedump_cli::analysis::expression::tree::Builder;
use livedump_cli::analysis::expression::{
    Evaluator, Parsed, Value, list, parse_any, parse_member,
};
use livedump_cli::analysis::names::Names;
use livedump_cli::analysis::types::reader::TypeReader;
use livedump_fuzz::{SYMBOLS, file, kernel, piece};
use livedump_vmcore::elf::Kernel;
use object::elf::SHT_PROGBITS;

const ELEMENTS: usize = 64;
const VALUES: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let Some((choice, mut rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(piece(&mut rest)).into_owned();
    let parsed = parse_any(&text);
    let _ = parse_member(&text);
    let Ok(parsed) = parsed else { return };
    let memory_bytes = piece(&mut rest);
    let [symbols, names] = SYMBOLS;
    let elf = match choice % 2 {
        0 => kernel(&[symbols, names, (".SUNW_ctf", SHT_PROGBITS, rest)]),
        _ => {
            let (abbrev, strings) = (piece(&mut rest), piece(&mut rest));
            kernel(&[
                symbols,
                names,
                (".debug_info", SHT_PROGBITS, rest),
                (".debug_abbrev", SHT_PROGBITS, abbrev),
                (".debug_str", SHT_PROGBITS, strings),
            ])
        }
    };
    let file = file(&elf);
    let kernel = Kernel::open(file.path()).expect("a kernel with symbols");
    let names = Names::new(&kernel, std::iter::empty());
    let types = TypeReader::new(&kernel, None);
    // Every address has some of the bytes.
    let memory = |at: u64, buf: &mut [u8]| {
        let mut at = at as usize;
        for byte in buf {
            at = at.wrapping_add(1);
            let n = memory_bytes.len().max(1);
            *byte = memory_bytes.get(at % n).copied().unwrap_or(0);
        }
        Ok(())
    };
    let e = Evaluator::new(&memory, &names, &types);
    let value = match &parsed {
        Parsed::Expr(x) => e.eval(x).ok(),
        Parsed::Type(of) => {
            let of = e.type_of(of).ok();
            of.map(|of| Value::memory(of, 0xffff_ffff_8020_0000))
        }
    };
    let Some(value) = value else { return };
    let _ = types.text(&value.of);
    let _ = Builder::new(&e, ELEMENTS).at_most(VALUES).tree(&value);
    for field in ["p_list", "link", "td_plist"] {
        if let Ok(found) = list::walk(&e, &value, field, ELEMENTS) {
            assert!(found.elements.len() <= ELEMENTS);
        }
    }
});
