// SPDX-License-Identifier: BSD-2-Clause
//! What dump it is, as `livedump info` says it.

use crate::summary::{Absent, Body, Cell, Content, Fact, Sources};
use livedump_vmcore::chain;

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let info = &s.info;
    let header = info.dump_header.as_ref();
    let beside = info.info.as_ref();
    let of_header = |get: fn(&crate::report::DumpHeader) -> &String| {
        header.map(get).filter(|text| !text.is_empty()).cloned()
    };
    // A header that has none says that there is none.
    let text = |text: Option<String>| match (text, header) {
        (Some(text), _) => Cell::Text(text),
        (None, Some(_)) => Cell::None,
        (None, None) => Cell::Unknown,
    };
    let hostname = of_header(|h| &h.hostname)
        .or_else(|| beside.and_then(|info| info.hostname.clone()));
    let version = of_header(|h| &h.version_string)
        .or_else(|| beside.and_then(|info| info.version.clone()));
    let panic = of_header(|h| &h.panic_string)
        .or_else(|| beside.and_then(|info| info.panic.clone()));
    let time = of_header(|h| &h.dumptime_text)
        .or_else(|| beside.and_then(|info| info.dumptime_text.clone()));
    let seconds = header
        .map(|h| h.dumptime)
        .or_else(|| beside.and_then(|info| info.dumptime));
    let known = s.known.as_ref().ok();
    let panicked = panic.is_some()
        || known.is_some_and(|known| known.target.has_panicked());
    let kind = match (panicked, info.form) {
        (true, _) => "panic",
        (false, "raw" | "stripped") => "live dump",
        (false, _) => "memory image",
    };
    let instant = match (&info.instant, &info.instant_unknown, panicked) {
        (Some(instant), ..) => Cell::Text(instant.moment()),
        (None, Some(why), _) => Cell::Text(format!("unknown: {why}")),
        (None, None, true) => Cell::Text("yes: nothing ran".into()),
        (None, None, false) if kind == "live dump" => {
            Cell::Text("no: the machine ran while it was dumped".into())
        }
        (None, None, false) => Cell::Unknown,
    };
    let mut facts = vec![
        Fact::new("file", "File", Cell::Text(info.file.clone())),
        Fact::new("kind", "Kind", Cell::Text(kind.into())),
        Fact::new("hostname", "Hostname", text(hostname)),
        Fact::new("version", "Version", text(version)),
        Fact::new("architecture", "Architecture", {
            Cell::Text(info.machine.into())
        }),
        Fact::new("dumptime_text", "Dump time", text(time)),
        Fact::hidden("dumptime", Cell::number(seconds)),
        Fact::new("panic", "Panic string", Cell::text(panic.as_deref())),
        Fact::new("instant", "Of one instant", instant),
        Fact::new("form", "Form", Cell::Text(info.form.into())),
        Fact::new(
            "compression",
            "Compression",
            Cell::Text(info.compression.into()),
        ),
        Fact::new("file_length", "File length", Cell::Bytes(info.file_length)),
        Fact::new("length", "Dump length", Cell::bytes(info.length)),
    ];
    if let Some(instant) = &info.instant {
        let pause = Cell::Text(instant.pause());
        facts.push(Fact::new("pause", "Paused", pause));
    }
    if let Some(memory) = &info.memory {
        let pages = Cell::Number(memory.dumped_pages);
        facts.push(Fact::new("pages", "Pages dumped", pages));
        let all = Cell::Number(memory.pages);
        facts.push(Fact::new("all_pages", "Pages of memory", all));
    }
    for (key, label, value) in [
        ("status", "Dump status", beside.and_then(|i| i.status.as_ref())),
        ("quiesced", "Quiesced", beside.and_then(|i| i.quiesced.as_ref())),
        ("registers", "Registers", beside.and_then(|i| i.registers.as_ref())),
    ] {
        if let Some(value) = value {
            facts.push(Fact::new(key, label, Cell::Text(value.clone())));
        }
    }
    let kernel = known.map(|known| known.target.kernel.path().to_string());
    let debug = known.and_then(|known| known.target.debug);
    let debug = debug.map(|debug| debug.path().to_string());
    facts.push(Fact::new("kernel", "Kernel", Cell::text(kernel.as_deref())));
    facts.push(Fact::new("debug", "Debug file", Cell::text(debug.as_deref())));
    if let Some(known) = known {
        let sources = known.target.types.sources().to_vec();
        facts.push(Fact::new("types", "Types from", Cell::Words(sources)));
    }
    let truncated = info.truncated == Some(true);
    let damaged = match s.core.instant() {
        Err(e @ memdev::freeze::RecordError::Checksum) => Some(chain(&e)),
        _ => truncated.then(|| "the dump is truncated".into()),
    };
    Ok(Body::of("facts", Content::Facts(facts)).finding(damaged))
}
