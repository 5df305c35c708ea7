// SPDX-License-Identifier: BSD-2-Clause
//! The headers of a dump.

use crate::crashdir::InfoText;
use crate::report::{
    DumpHeader, Hex, Info, InfoFile, Instant, Memory, Section, escape,
    local_time,
};
use livedump_vmcore::path::escape_path;
use livedump_vmcore::{Trailer, Vmcore};

/// What a dump says about itself, without what lies beside it.
#[must_use]
pub fn info(core: &Vmcore) -> Info {
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

/// What the info.N beside it says.
#[must_use]
pub fn info_file(info: InfoText) -> InfoFile {
    let clean = |text: Option<String>| text.map(|t| escape(t.as_bytes()));
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
        magic: escape(h.magic.text()),
        version: h.version,
        architecture: escape(h.architecture),
        architecture_version: h.architecture_version,
        dumplength: h.dumplength,
        dumpextent: h.dumpextent,
        blocksize: h.blocksize,
        compression: h.compression.name(),
        dumptime: h.dumptime,
        dumptime_text: local_time(h.dumptime),
        hostname: escape(h.hostname),
        version_string: in_one_line(h.versionstring),
        panic_string: in_one_line(h.panicstring),
        parity_ok: t.parity_ok(),
    })
}

/// Text of several lines in one.
fn in_one_line(text: &[u8]) -> String {
    let lines = text.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
    let lines = lines.filter(|line| !line.is_empty()).map(escape);
    lines.collect::<Vec<_>>().join(" ")
}
