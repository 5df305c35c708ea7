// SPDX-License-Identifier: BSD-2-Clause
//! The kernel dump header at the end of a dump. C: `vnode_write_headers`,
//! kern_vnodedumper.c.

use crate::dumper::Output;
use crate::error::{Errno, Result};
use crate::kpi::{Kpi, Target};
use memdev::addr::{PAGE_SIZE, Page, round_page};
use memdev::kerneldump::{HEADER_SIZE, KernelDumpHeader, Magic, VERSION};

/// The two sizes that a header tells.
pub(in crate::dumper) struct Sizes {
    pub(in crate::dumper) dumplength: u64,
    pub(in crate::dumper) dumpextent: u64,
}

/// The header at the next page boundary behind the data: 512 bytes, and the
/// end of the file. `scratch` keeps it and its strings off the stack.
pub(in crate::dumper) fn write_header<K: Kpi>(
    kpi: &K,
    output: &Output<'_, K>,
    target: &Target,
    scratch: &mut [Page],
    sizes: Sizes,
) -> Result<()> {
    let at = round_page(sizes.dumplength).ok_or(Errno::EFBIG)?;
    let [page, strings, ..] = scratch else {
        return Err(Errno::EINTEGRITY);
    };
    let (hostname, version) = strings.split_at_mut(PAGE_SIZE / 2);
    let hostname_len = kpi.hostname(hostname);
    let version_len = kpi.version(version);
    let header = KernelDumpHeader {
        magic: Magic::Kernel,
        architecture: target.machine.arch().as_bytes(),
        version: VERSION,
        architecture_version: target.machine.kerneldump_version(),
        dumplength: sizes.dumplength,
        dumptime: kpi.time_second().cast_unsigned(),
        dumpkeysize: 0,
        blocksize: PAGE_SIZE as u32,
        hostname: hostname.get(..hostname_len).unwrap_or(&[]),
        versionstring: version.get(..version_len).unwrap_or(&[]),
        panicstring: &[],
        compression: output.format,
        dumpextent: sizes.dumpextent,
    };
    let bytes: &mut [u8; HEADER_SIZE] =
        page.first_chunk_mut().ok_or(Errno::EINTEGRITY)?;
    header.encode(bytes);
    output.sink.write(kpi, at, bytes)
}
