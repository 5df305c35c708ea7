// SPDX-License-Identifier: BSD-2-Clause
//! Header, sections, bitset, file length, checksums: the shape of the file.

use super::super::image::Checksums;
use super::super::pages::PagesError;
use super::super::source::Check;
use super::super::{Pages, Vmcore};
use super::{BIT_FLIPS, Status, Verification};
use memdev::addr::{PAGE_SIZE, round_page};
use memdev::bitset::words_for;
use memdev::freeze::{FreezeRecord, RecordError};
use memdev::kerneldump::Compression;
use memdev::minidump::HEADER_SIZE;

/// As much more than a dump should have is unpacked to see that it has more.
const EXCESS: u64 = 1 << 20;
/// The largest block that a dump may be filled up to with zeros.
const MAX_PADDING: u64 = 64 << 10;

impl Vmcore {
    /// The unpacked bytes that are there, where all of them were read.
    pub(super) fn verify_structure(
        &self,
        v: &mut Verification,
        threads: usize,
        was_read: bool,
    ) -> Option<u64> {
        self.verify_header(v);
        self.verify_instant(v);
        self.verify_bitset(v);
        let len = self.verify_data(v, threads, was_read);
        self.verify_length(v, len);
        self.verify_trailer(v);
        self.verify_msgbuf(v);
        len
    }

    fn verify_header(&self, v: &mut Verification) {
        let h = self.header();
        let name = h.machine.name();
        let mut page = [0; PAGE_SIZE];
        let got = match self.source().read_at(0, &mut page) {
            Ok(got) => got,
            Err(e) => return v.error("header", &e, e.is_environment()),
        };
        // They are checked by themselves.
        self.without_records(&mut page);
        let rest = page.get(HEADER_SIZE..).unwrap_or_default();
        let text = format!("{name} minidump version {}", h.version);
        if got == PAGE_SIZE && rest.iter().all(|&b| b == 0) {
            v.ok("header", text);
        } else if got == PAGE_SIZE {
            v.warn(
                "header",
                format!("{text}; the rest of its page is not zero"),
            );
        } else {
            v.fail("header", format!("{text}; the file ends in its page"));
        }
    }

    /// The record of the instant, where it has one.
    fn verify_instant(&self, v: &mut Verification) {
        let name = "instant";
        match self.instant() {
            Ok(None) => {}
            Ok(Some(record)) => {
                let set = self.pages().ok().map(Pages::count_set);
                let FreezeRecord { cpus, pages, .. } = *record;
                match set {
                    Some(set) if set != pages => v.fail(
                        name,
                        format!(
                            "of one instant, {pages} pages were copied then, \
                             the bitset has {set}"
                        ),
                    ),
                    _ => v.ok(
                        name,
                        format!(
                            "of one instant: {pages} pages, {cpus} CPUs \
                             stopped"
                        ),
                    ),
                }
            }
            Err(e @ RecordError::Version(_)) => {
                v.undetermined(name, e.to_string());
            }
            Err(e @ RecordError::Checksum) => v.fail(name, e.to_string()),
        }
    }

    fn verify_bitset(&self, v: &mut Verification) {
        let pages = match self.pages() {
            Ok(pages) => pages,
            Err(e) => return v.error("bitset", e, e.is_environment()),
        };
        let (bits, set) = (pages.bits(), pages.count_set());
        let ranges = pages.ranges().len();
        let text = format!(
            "{set} of {bits} pages in {ranges} ranges of memory are dumped"
        );
        if bits > pages.capacity() {
            v.fail(
                "bitset",
                format!(
                    "{text}; the bitmap section has only {} bits",
                    pages.capacity()
                ),
            );
        } else if set == 0 {
            v.fail("bitset", text);
        } else {
            v.ok("bitset", text);
        }
        self.verify_padding(v, pages);
    }

    fn verify_padding(&self, v: &mut Verification, pages: &Pages) {
        let excess = pages.excess_bits();
        if excess > 0 {
            v.warn(
                "padding",
                format!(
                    "{excess} bits are set after the last page: heap \
                     garbage, as stock live dumps have it; they are ignored"
                ),
            );
        } else if self.header().has_dump_avail() {
            v.ok("padding", "no bit is set after the last page");
        }
        let want = round_page(words_for(pages.bits()).saturating_mul(8));
        let found = u64::from(self.header().bitmapsize);
        if let Some(want) = want.filter(|&w| w < found) {
            v.warn(
                "padding",
                format!(
                    "the bitmap section has {found} bytes, {want} are \
                     sufficient"
                ),
            );
        }
    }

    /// Reads all of the file. The length of what it unpacks to, where all of
    /// it does.
    fn verify_data(
        &self,
        v: &mut Verification,
        threads: usize,
        was_read: bool,
    ) -> Option<u64> {
        // Where the bitset cannot be read here, nothing tells how much there
        // should be.
        if self.pages().is_err_and(PagesError::is_environment) {
            v.skip("data: the expected number of pages is not known");
            return None;
        }
        let expected = self.expected_len();
        let want = expected.unwrap_or(self.layout().pages);
        let limit = want.saturating_add(EXCESS);
        let plain = self.compression() == Compression::None;
        let bytes = self.source().known_len();
        let bytes =
            bytes.filter(|_| was_read && plain && self.image().is_none());
        let check = match bytes {
            Some(bytes) => Ok(Check { bytes, ..Check::default() }),
            None => self.source().check(threads, limit),
        };
        let check = match check {
            Ok(check) => check,
            Err(e) => {
                v.error("data", &e, e.is_environment());
                return None;
            }
        };
        let Check { units, checked, bytes, padding, bad, bad_units, .. } =
            check;
        for e in &bad {
            v.error("data", e, e.is_environment());
        }
        let more = bad_units.saturating_sub(bad.len() as u64);
        if let Some(worst) = bad.iter().find(|_| more > 0) {
            let status = match worst.is_environment() {
                true => Status::Undetermined,
                false => Status::Fail,
            };
            v.add("data", status, format!("and {more} more"));
        }
        if bad_units > 0 {
            return plain.then_some(bytes);
        }
        if check.limited && expected.is_none() {
            v.skip("data pages: the expected number is not known");
            return None;
        }
        if check.limited {
            let has = self.source().known_len().unwrap_or(bytes);
            v.fail("data", format!("it unpacks to more than {want} bytes"));
            return Some(has);
        }
        if plain {
            v.ok("data", format!("all {bytes} bytes can be read"));
            v.skip(match self.image().map(|memory| memory.image().claims()) {
                None => format!(
                    "{BIT_FLIPS} in data pages: a plain dump has no checksums"
                ),
                Some(claims) => bit_flips(claims.checksums),
            });
        } else {
            let name = self.compression().name();
            v.ok(
                "data",
                format!(
                    "{units} {name} parts unpack to {bytes} bytes, {checked} \
                     of them with a checksum"
                ),
            );
            if padding > 0 {
                v.ok(
                    "data",
                    format!("{padding} zeros after them fill a block"),
                );
            }
            if checked < units {
                v.skip(format!(
                    "{BIT_FLIPS} in parts that carry no checksum of their own"
                ));
            }
        }
        Some(bytes)
    }

    fn verify_length(&self, v: &mut Verification, len: Option<u64>) {
        let (Some(len), Some(want)) = (len, self.expected_len()) else {
            return;
        };
        let text = format!("{len} bytes, {want} by its header and bitset");
        match len.cmp(&want) {
            std::cmp::Ordering::Equal => v.ok("length", text),
            std::cmp::Ordering::Less => {
                v.fail("length", format!("truncated: {text}"));
            }
            std::cmp::Ordering::Greater if self.is_padding(want, len) => {
                v.ok("length", format!("{text}; zeros fill its last block"));
            }
            std::cmp::Ordering::Greater => {
                v.fail("length", format!("more than the dump: {text}"));
            }
        }
    }

    /// Whether what is between is no more than the rest of a block.
    pub fn is_padding(&self, from: u64, to: u64) -> bool {
        let n = to.saturating_sub(from);
        if n > MAX_PADDING {
            return false;
        }
        let mut rest = vec![1; n as usize];
        let got = self.source().read_at(from, &mut rest);
        got.is_ok_and(|got| got == rest.len() && rest.iter().all(|&b| b == 0))
    }

    fn verify_trailer(&self, v: &mut Verification) {
        let Some(t) = self.trailer() else {
            return v.skip(
                "the kernel dump header: the file has none, as savecore(8) \
                 leaves it",
            );
        };
        let name = "dumpheader";
        let h = match t.decode() {
            Ok(h) => h,
            Err(e) => return v.fail(name, e.to_string()),
        };
        let mut faults = Vec::new();
        if !t.parity_ok() {
            faults.push("parity error".to_string());
        }
        let arch = self.header().machine.arch();
        if h.architecture != arch.as_bytes() {
            let found = String::from_utf8_lossy(h.architecture);
            faults.push(format!(
                "architecture {:?}, the dump is of {arch}",
                found
            ));
        }
        let number = self.header().machine.kerneldump_version();
        if h.architecture_version != number {
            faults.push(format!(
                "architecture version {}, expected {number}",
                h.architecture_version
            ));
        }
        if h.compression != self.compression() {
            faults.push(format!(
                "compression {}, the data are {}",
                h.compression.name(),
                self.compression().name()
            ));
        }
        if let Some(size) = self.expected_len() {
            let plain = h.compression == Compression::None;
            if h.dumpextent != size {
                faults.push(format!(
                    "dumpextent {}, the dump has {size} bytes",
                    h.dumpextent
                ));
            }
            if plain && h.dumplength != size {
                faults.push(format!(
                    "dumplength {}, the dump has {size} bytes",
                    h.dumplength
                ));
            }
        }
        if round_page(h.dumplength) != Some(t.offset) {
            faults.push(format!(
                "it is at {:#x}, its dumplength is {:#x}",
                t.offset, h.dumplength
            ));
        }
        let end = t.offset.saturating_add(t.bytes().len() as u64);
        let after = self.file().len.saturating_sub(end);
        if after > 0 {
            faults.push(format!("{after} bytes are after it"));
        }
        if faults.is_empty() {
            v.ok(name, format!("version {}, parity holds", h.version));
        }
        for fault in faults {
            v.fail(name, fault);
        }
    }

    fn verify_msgbuf(&self, v: &mut Verification) {
        let size = self.header().msgbufsize;
        match self.msgbuf_section() {
            Err(e) => v.error("msgbuf", &e, e.is_environment()),
            Ok(ring) if ring.truncated => v.fail(
                "msgbuf",
                format!("{} of {size} bytes are there", ring.bytes.len()),
            ),
            Ok(ring) => {
                let text = ring.unrolled().len();
                let summary = format!("{text} bytes of text in {size}");
                if text == 0 {
                    v.warn("msgbuf", format!("{summary}: it is empty"));
                } else {
                    v.ok("msgbuf", summary);
                }
            }
        }
    }
}

/// What of an image no checksum covers.
fn bit_flips(checksums: Checksums) -> String {
    let what = match checksums {
        Checksums::None => "the format of this image has no checksums",
        Checksums::Compressed => {
            "headers, indexes, and pages that are not compressed have no \
             checksums"
        }
        Checksums::All => "headers and indexes have no checksums",
    };
    format!("{BIT_FLIPS}: {what}")
}
