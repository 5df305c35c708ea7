// SPDX-License-Identifier: BSD-2-Clause
//! With the dump's kernel: is it the right one, does msgbufp lead to the
//! message buffer, does allproc walk to its end?

use super::super::elf::Kernel;
use super::super::procs::{Problem, Proc, Procs, ProcsError};
use super::super::{ReadError, Vmcore};
use super::tables::too_many;
use super::{Status, Verification};
use crate::chain;
use memdev::addr::Vaddr;

/// As long as `version` ever is; the dump header has room for 191.
const VERSION_BYTES: usize = 256;
/// Symbols whose pages are looked for.
const SAMPLE: usize = 4096;
/// Bytes of `version` that may differ in a damaged dump.
const FLIPPED_BYTES: usize = 8;
const MAX_HZ: u32 = 1_000_000;

impl Vmcore {
    pub(super) fn verify_lists(&self, kernel: &Kernel, v: &mut Verification) {
        if !self.verify_kernel(kernel, v) {
            return v.skip("its lists: the kernel is not the dump's");
        }
        self.verify_symbols(kernel, v);
        self.verify_hz(kernel, v);
        let msgbuf = self.verify_msgbufp(kernel, v);
        let procs = self.verify_allproc(kernel, v);
        v.walked = msgbuf && procs;
    }

    /// False where the kernel is certainly not the dump's.
    fn verify_kernel(&self, kernel: &Kernel, v: &mut Verification) -> bool {
        let name = "kernel";
        let (dump_machine, kernel_machine) =
            (self.header().machine, kernel.machine());
        if dump_machine != kernel_machine {
            v.undetermined(
                name,
                format!(
                    "the dump is of {}, the kernel of {}",
                    dump_machine.name(),
                    kernel_machine.name()
                ),
            );
            return false;
        }
        let Some(symbol) = kernel.find("version") else {
            if kernel.find("allproc").is_none() {
                let text = "it has no symbol version: not a FreeBSD kernel";
                v.undetermined(name, text);
                return false;
            }
            v.skip("whether the kernel is the dump's: it has no `version`");
            return true;
        };
        let dump = match self.version_at(symbol.address) {
            Ok(text) => text,
            Err(e) => {
                v.error(name, &e, e.is_environment());
                return true;
            }
        };
        let header = self.trailer().and_then(|t| t.decode().ok());
        let header = header.map_or(&b""[..], |h| h.versionstring);
        // Cut off at 190 bytes and ended with a newline there.
        let cut = header.strip_suffix(b"\n").unwrap_or(header);
        let mut raw = [0; VERSION_BYTES];
        let in_file = kernel.read(symbol.address, &mut raw);
        let file = cstr(&raw);
        let shown = first_line(&dump);
        if in_file && !file.is_empty() && file != dump {
            let text = format!(
                "it is {:?}, the dump has {shown:?} there",
                first_line(file)
            );
            // The header tells which of them is not as it was.
            let header_has = !cut.is_empty() && file.starts_with(cut);
            if header_has || is_flipped(file, &dump) {
                v.fail(name, text);
                return true;
            }
            v.undetermined(name, format!("not the dump's kernel: {text}"));
            return false;
        }
        if !dump.starts_with(b"FreeBSD ") {
            v.fail(name, format!("the dump has {shown:?} as its `version`"));
            return true;
        }
        if dump.starts_with(cut) {
            v.ok(name, shown);
        } else {
            v.fail(
                name,
                format!(
                    "the dump header has {:?}, the memory {shown:?}",
                    first_line(header)
                ),
            );
        }
        true
    }

    fn version_at(&self, at: Vaddr) -> Result<Vec<u8>, ReadError> {
        let mut raw = [0; VERSION_BYTES];
        match self.read_va(at, &mut raw) {
            Err(e) if e.done == 0 => Err(e),
            _ => Ok(cstr(&raw).to_vec()),
        }
    }

    fn verify_symbols(&self, kernel: &Kernel, v: &mut Verification) {
        let step = kernel.symbol_count().div_ceil(SAMPLE).max(1);
        let (mut looked, mut missing, mut first) = (0u64, 0u64, None);
        for (name, symbol) in kernel.symbols().step_by(step) {
            if !kernel.is_loaded(symbol.address) {
                continue;
            }
            looked = looked.saturating_add(1);
            let mut byte = [0];
            if let Err(e) = self.read_va(symbol.address, &mut byte) {
                if e.is_environment() {
                    return v.error("symbols", &e, true);
                }
                missing = missing.saturating_add(1);
                let name = String::from_utf8_lossy(name).into_owned();
                first.get_or_insert((name, chain(&e)));
            }
        }
        let name = "symbols";
        let text = format!("{looked} checked, {missing} not in the dump");
        match first {
            _ if looked == 0 => v.skip("symbols: the kernel has none"),
            None => v.ok(name, text),
            Some((symbol, why)) => {
                let text = format!("{text}, the first is {symbol}: {why}");
                if too_many(missing, looked) {
                    v.fail(name, text);
                } else {
                    v.warn(name, text);
                }
            }
        }
    }

    fn verify_hz(&self, kernel: &Kernel, v: &mut Verification) {
        let Some(symbol) = kernel.find("hz") else {
            return v.skip("hz: the kernel has no such symbol");
        };
        match self.read_u32(symbol.address) {
            Err(e) => v.error("hz", &e, e.is_environment()),
            Ok(n @ 1..=MAX_HZ) => v.ok("hz", format!("{n}")),
            Ok(n) => v.fail("hz", format!("{n} is not plausible")),
        }
    }

    fn verify_msgbufp(&self, kernel: &Kernel, v: &mut Verification) -> bool {
        let name = "msgbufp";
        if kernel.find("msgbufp").is_none() {
            v.skip("msgbufp: the kernel has no such symbol");
            return false;
        }
        let found = self
            .msgbuf_header(kernel)
            .and_then(|h| Ok((h, self.msgbuf_ring(&h)?)));
        let (header, ring) = match found {
            Ok(found) => found,
            Err(e) => {
                v.error(name, &e, e.is_environment());
                return true;
            }
        };
        let size = self.header().msgbufsize;
        if header.size != size {
            v.fail(
                name,
                format!(
                    "it points to {} bytes at {}, the msgbuf section has \
                     {size}",
                    header.size, header.ptr
                ),
            );
            return true;
        }
        if ring.truncated {
            v.fail(
                name,
                format!("not all of the text at {} is dumped", header.ptr),
            );
            return true;
        }
        let since = self
            .msgbuf_section()
            .ok()
            .and_then(|section| ring.written_since(&section));
        let at = header.address;
        match since {
            None => v.warn(
                name,
                format!("the message buffer is at {at}, nothing to compare"),
            ),
            Some(n) if n > 0 && self.is_frozen() => v.fail(
                name,
                format!(
                    "the message buffer at {at} and the msgbuf section differ \
                     in {n} bytes, and are of one instant"
                ),
            ),
            Some(n) if n.saturating_mul(2) > size as usize => v.warn(
                name,
                format!(
                    "the message buffer at {at} does not match the msgbuf \
                     section: much was logged later, or it is not a message \
                     buffer"
                ),
            ),
            Some(n) => v.ok(
                name,
                format!(
                    "the message buffer at {at} matches the msgbuf section; \
                     {n} bytes were logged later"
                ),
            ),
        }
        true
    }

    fn verify_allproc(&self, kernel: &Kernel, v: &mut Verification) -> bool {
        let name = "allproc";
        if kernel.find(name).is_none() {
            v.skip("allproc: the kernel has no such symbol");
            return false;
        }
        let found = match self.procs(kernel) {
            Ok(found) => found,
            Err(e) => {
                let environment = matches!(
                    &e, ProcsError::Read { source, .. }
                        if source.is_environment()
                );
                v.error(name, &e, environment);
                return true;
            }
        };
        let Procs { procs, problems } = &found;
        let n = procs.len();
        let threads = found.thread_count();
        let summary = format!("{n} processes with {threads} threads");
        let (torn, bad): (Vec<_>, Vec<_>) =
            problems.iter().partition(|p| p.is_tear());
        if n == 0 && bad.is_empty() {
            v.fail(name, "no process is on the list");
        } else if bad.is_empty() && !procs.iter().any(is_proc0) {
            // The first that ever was, and so the last of the list.
            v.fail(name, format!("{summary}, and process 0 is missing"));
        } else if bad.is_empty() && torn.is_empty() {
            v.ok(name, format!("{summary}, all back links match"));
        } else if bad.is_empty() {
            v.ok(name, summary.clone());
        }
        for p in &bad {
            let status = match p {
                Problem::Unreadable { source, .. }
                    if source.is_environment() =>
                {
                    Status::Undetermined
                }
                _ => Status::Fail,
            };
            v.add(name, status, format!("after {summary}: {}", chain(*p)));
        }
        self.verify_links(kernel, &torn, v);
        self.verify_dumptid(kernel, &found, v);
        true
    }

    /// A list changes while a machine runs. When it is stopped that is a list
    /// whose lock is held, or damage.
    fn verify_links(
        &self,
        kernel: &Kernel,
        torn: &[&Problem],
        v: &mut Verification,
    ) {
        let Some(first) = torn.first() else { return };
        let name = "links";
        let more = torn.len();
        let text =
            format!("{more} back links do not match, the first: {first}");
        if !self.is_frozen() {
            return v.warn(name, text);
        }
        let changing: Vec<_> =
            torn.iter().map(|p| self.is_being_changed(kernel, p)).collect();
        let instant = "the dump is of one instant";
        if changing.contains(&Some(false)) {
            let why = "the lock of the list is free";
            v.fail(name, format!("{text}; {instant}, and {why}"));
        } else if changing.contains(&None) {
            let why = "whether the lock of the list is held cannot be read";
            v.undetermined(name, format!("{text}; {instant}, and {why}"));
        } else {
            let why = "the list was being changed: its lock is held";
            v.ok(name, format!("{text}; {why}"));
        }
    }

    fn verify_dumptid(&self, kernel: &Kernel, p: &Procs, v: &mut Verification) {
        let Ok(tid) = self.kernel_int(kernel, "dumptid") else { return };
        let tid = tid.cast_signed();
        if tid == 0 {
            // The stock facility does not set it, and images have no such
            // thread.
            return v.ok("dumptid", "the thread that took it is not recorded");
        }
        let mut threads = p.procs.iter().flat_map(|p| &p.threads);
        if threads.any(|t| t.tid == tid) {
            v.ok("dumptid", format!("thread {tid} took the dump"));
        } else {
            let text = format!("thread {tid} took the dump and is on no list");
            // It was there when it stopped the others.
            let status = match self.is_frozen() {
                true => Status::Fail,
                false => Status::Warning,
            };
            v.add("dumptid", status, text);
        }
    }
}

/// Whether it is pid 0, which has threads for as long as the kernel runs.
fn is_proc0(p: &Proc) -> bool {
    p.pid == 0 && !p.threads.is_empty()
}

/// Whether a version is the other one, damaged: that of another kernel is one,
/// or differs in most.
fn is_flipped(file: &[u8], dump: &[u8]) -> bool {
    let differ = file.iter().zip(dump).filter(|(a, b)| a != b).count();
    let length = file.len().abs_diff(dump.len());
    !dump.starts_with(b"FreeBSD ")
        && differ.saturating_add(length) <= FLIPPED_BYTES
}

fn cstr(b: &[u8]) -> &[u8] {
    b.split(|&b| b == 0).next().unwrap_or_default()
}

fn first_line(b: &[u8]) -> String {
    let line = b.split(|&b| b == b'\n').next().unwrap_or_default();
    let text = String::from_utf8_lossy(line);
    text.chars().filter(|c| !c.is_control()).collect()
}
