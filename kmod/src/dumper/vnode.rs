// SPDX-License-Identifier: BSD-2-Clause
//! The vnode under a dumper. C: `vnode_dump`, `vnode_write_headers`,
//! kern_vnodedumper.c.

use super::Output;
use crate::error::{Errno, Result};
use crate::kpi::{Kpi, Target};
use memdev::addr::{PAGE_SIZE, Page, round_page};
use memdev::kerneldump::{HEADER_SIZE, KernelDumpHeader, Magic, VERSION};

/// One block out. Handlers of livedumper_dump see it first; a signal ends the
/// dump between two.
pub(super) fn dump<K: Kpi>(
    kpi: &K,
    file: &K::File,
    offset: u64,
    block: &[u8],
) -> Result<()> {
    kpi.sig_intr()?;
    kpi.livedumper_dump(Some((block, offset)))?;
    kpi.vn_write(file, offset, block)
}

/// The two sizes that a header tells.
pub(super) struct Sizes {
    pub(super) dumplength: u64,
    pub(super) dumpextent: u64,
}

/// The header at the next page boundary behind the data: 512 bytes, and the
/// end of the file. `scratch` keeps it and its strings off the stack.
pub(super) fn write_header<K: Kpi>(
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
    kpi.vn_write(output.file, at, bytes)
}
