// SPDX-License-Identifier: BSD-2-Clause
//! What is written is read by another ELF reader.

use super::super::testing::{bytes, image, written};
use super::*;
use livedump_vmcore::sample::{Sample, VERSIONS, open};
use memdev::addr::Vaddr;
use object::elf::{FileHeader64, PT_LOAD, PT_NOTE};
use object::endian::LittleEndian;
use object::read::elf::{FileHeader, ProgramHeader};

fn threads(debugger: Debugger) -> Threads {
    let list = (0..3).map(|n| notes::Thread {
        tid: 100_000 + n,
        name: b"idle".to_vec(),
        saved: None,
    });
    Threads { debugger, osreldate: 1_501_000, list: list.collect() }
}

#[test]
fn every_kernel_address_has_its_page_and_every_page_is_there_once() {
    for (machine, version) in VERSIONS {
        let sample = Sample::new(machine, version);
        let core = open(&sample.bytes());
        for debugger in [Debugger::Lldb, Debugger::Gdb] {
            let threads = threads(debugger);
            let (file, stream, bad) = written(|sink, job| {
                assert_eq!(
                    write(&core, None, &threads, sink, job)?.text(),
                    None
                );
                Ok(())
            });
            let data = bytes(&file);
            assert!(data == stream && bad == 0);
            let elf = FileHeader64::<LittleEndian>::parse(&*data).unwrap();
            let e = LittleEndian;
            assert_eq!(elf.e_type(e), object::elf::ET_CORE);
            let headers = elf.program_headers(e, &*data).unwrap();
            assert_eq!(headers[0].p_type(e), PT_NOTE);
            let mut notes = headers[0].notes(e, &*data).unwrap().unwrap();
            let mut statuses = 0;
            while let Some(note) = notes.next().unwrap() {
                statuses += usize::from(note.n_type(e) == NT_PRSTATUS);
            }
            assert_eq!(statuses, 3);
            let mut found = 0;
            for h in &headers[1..] {
                assert_eq!(h.p_type(e), PT_LOAD);
                let content = h.data(e, &*data).unwrap();
                assert_eq!(content.len() as u64, h.p_memsz(e));
                for (n, page) in content.chunks(PAGE_SIZE).enumerate() {
                    let va = Vaddr(h.p_vaddr(e) + n as u64 * PAGE);
                    let pa = core.translate(va).unwrap();
                    assert_eq!(pa.0, h.p_paddr(e) + n as u64 * PAGE);
                    assert!(sample.pages[&pa.0] == *page, "{va}");
                    found += 1;
                }
            }
            // All of the direct map, and some by two addresses.
            assert!(found > sample.pages.len());
            let pages = sample.pages.len() as u64 * PAGE;
            assert!((data.len() as u64) < pages + 3 * PAGE);
            // Its physical addresses are read here as well.
            let image = image(&file);
            let contents = super::super::testing::contents(image.as_ref());
            let want = sample.pages.iter().map(|(pa, p)| (*pa, p.to_vec()));
            assert!(contents == want.collect());
        }
    }
}

const NT_PRSTATUS: u32 = 1;

#[test]
fn more_headers_than_fit_are_counted_in_a_section_header() {
    let few = Places::new(0xfffe, 10).unwrap();
    assert_eq!((few.section, few.notes), (None, 64 + 0xfffe * 56));
    let many = Places::new(0x1_2345, 10).unwrap();
    assert_eq!(many.section, Some(64 + 0x1_2345 * 56));
    let mut file = header(Machine::Amd64, Debugger::Lldb, many);
    assert_eq!(file.len(), 64);
    file.resize(many.section.unwrap() as usize, 0);
    file.extend(section(0x1_2345));
    file.resize(many.pages as usize, 0);
    let elf = FileHeader64::<LittleEndian>::parse(&*file).unwrap();
    let headers = elf.program_headers(LittleEndian, &*file).unwrap();
    assert_eq!(headers.len(), 0x1_2345);
    assert!(Places::new(u64::MAX, 1).is_none());
}
