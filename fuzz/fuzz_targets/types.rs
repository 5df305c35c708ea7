// SPDX-License-Identifier: BSD-2-Clause
//! A kernel file with any CTF, DWARF or symbols: fields are found or they are
//! not, soon and in little memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livedump_cli::analysis::symbols::Symbols;
use livedump_cli::analysis::types::{Types, structs};
use livedump_fuzz::{SYMBOLS, file, kernel, piece};
use livedump_vmcore::elf::Kernel;
use memdev::addr::Vaddr;
use object::elf::{SHT_PROGBITS, SHT_STRTAB, SHT_SYMTAB};

fuzz_target!(|data: &[u8]| {
    let Some((choice, mut rest)) = data.split_first() else { return };
    let [symbols, names] = SYMBOLS;
    let elf = match choice % 4 {
        0 => kernel(&[symbols, names, (".SUNW_ctf", SHT_PROGBITS, rest)]),
        1 => {
            let (abbrev, strings) = (piece(&mut rest), piece(&mut rest));
            kernel(&[
                symbols,
                names,
                (".debug_info", SHT_PROGBITS, rest),
                (".debug_abbrev", SHT_PROGBITS, abbrev),
                (".debug_str", SHT_PROGBITS, strings),
            ])
        }
        2 => {
            let strings = piece(&mut rest);
            kernel(&[
                (".symtab", SHT_SYMTAB, rest),
                (".strtab", SHT_STRTAB, strings),
            ])
        }
        _ => rest.to_vec(),
    };
    let file = file(&elf);
    let Ok(kernel) = Kernel::open(file.path()) else { return };
    let _ = kernel.find("hz");
    let symbols = Symbols::new(&kernel);
    let _ = symbols.find(Vaddr(0xffff_ffff_8020_0000));
    if let Ok(types) = Types::load(&kernel, Some(&kernel), &[]) {
        for of in structs() {
            let _ = types.size(of.name);
        }
    }
});
