// SPDX-License-Identifier: BSD-2-Clause
//! The lines that a recipe can have, one function each. A new kind of line is
//! a row of [`DIRECTIVES`] and its function.

use super::offsets;
use super::recipe::{
    Holder, Lock, LockKind, MAX_CPUS, MAX_LINES, MAX_PADDR, MAX_PROCESSES,
    MAX_RAM, MAX_RANGES, MAX_THREADS, MAXCOMLEN, MIN_RAM, Mutate, Process,
    Recipe, Region, Thread, ThreadState, TypeInfo,
};
use super::release::Release;
use super::words::{RecipeError, Words, amount};
use memdev::addr::PAGE_SIZE;
use memdev::arch::{Machine, span};

const PAGE: u64 = PAGE_SIZE as u64;
type Done = Result<(), RecipeError>;

/// What is read, and what only the end of the text decides.
pub(super) struct Draft {
    pub(super) recipe: Recipe,
    pub(super) size: Option<u64>,
    pub(super) osreldate: Option<u32>,
}

/// A kind of line.
pub(super) struct Directive {
    pub(super) name: &'static str,
    /// May stand in more than one line.
    pub(super) repeats: bool,
    pub(super) read: fn(&mut Draft, &mut Words) -> Done,
}

const fn once(
    name: &'static str,
    read: fn(&mut Draft, &mut Words) -> Done,
) -> Directive {
    Directive { name, repeats: false, read }
}

const fn many(
    name: &'static str,
    read: fn(&mut Draft, &mut Words) -> Done,
) -> Directive {
    Directive { name, repeats: true, read }
}

/// All of them.
pub(super) const DIRECTIVES: &[Directive] = &[
    once("machine", machine),
    once("release", release),
    once("osreldate", osreldate),
    once("minidump", minidump),
    once("hostname", hostname),
    once("cpus", cpus),
    once("la57", la57),
    once("seed", seed),
    once("size", size),
    many("ram", ram),
    once("kernphys", kernphys),
    once("text", text),
    once("data", data),
    many("kmap", kmap),
    many("device", device),
    once("uma", uma),
    once("nodump", nodump),
    once("params", params),
    once("system", system),
    once("vmpage", vmpage),
    once("msgbuf", msgbuf),
    many("message", message),
    many("process", process),
    many("thread", thread),
    once("dumper", dumper),
    many("offset", offset),
    many("lock", lock),
    once("types", types),
    many("mutate", mutate),
];

fn machine(d: &mut Draft, w: &mut Words) -> Done {
    let name = w.word("amd64 or arm64")?;
    d.recipe.machine = [Machine::Amd64, Machine::Arm64]
        .into_iter()
        .find(|m| m.name() == name)
        .ok_or_else(|| w.wrong("unknown machine, expected amd64 or arm64"))?;
    Ok(())
}

fn release(d: &mut Draft, w: &mut Words) -> Done {
    let name = w.word("a release")?;
    d.recipe.release = Release::parse(&name).ok_or_else(|| {
        w.wrong("not a release of 12 or later, such as 15.1-RELEASE")
    })?;
    Ok(())
}

fn osreldate(d: &mut Draft, w: &mut Words) -> Done {
    let n = w.number("osreldate", 1_200_000..=1_999_999)?;
    d.osreldate = Some(n as u32);
    Ok(())
}

fn minidump(d: &mut Draft, w: &mut Words) -> Done {
    d.recipe.minidump = w.number("the minidump version", 1..=3)? as u32;
    Ok(())
}

fn name(
    w: &mut Words,
    what: &str,
    longest: usize,
) -> Result<String, RecipeError> {
    let word = w.word(what)?;
    if word.is_empty() || word.len() > longest || word.contains('\0') {
        return Err(w.wrong(format!("{what} has 1 to {longest} bytes")));
    }
    Ok(word)
}

fn hostname(d: &mut Draft, w: &mut Words) -> Done {
    d.recipe.hostname = name(w, "a host name", 63)?;
    Ok(())
}

fn cpus(d: &mut Draft, w: &mut Words) -> Done {
    d.recipe.cpus = w.number("the number of CPUs", 1..=MAX_CPUS)? as u32;
    Ok(())
}

fn la57(d: &mut Draft, _: &mut Words) -> Done {
    d.recipe.la57 = true;
    Ok(())
}

fn seed(d: &mut Draft, w: &mut Words) -> Done {
    d.recipe.seed = w.number("the seed", 0..=u64::MAX)?;
    Ok(())
}

fn size(d: &mut Draft, w: &mut Words) -> Done {
    d.size = Some(w.number("the size of memory", MIN_RAM..=MAX_RAM)?);
    Ok(())
}

fn ram(d: &mut Draft, w: &mut Words) -> Done {
    let start = w.number("the start of a range", 0..=MAX_PADDR)?;
    let end = w.number("the end of a range", 0..=MAX_PADDR)?;
    if end <= start {
        return Err(w.wrong("the range ends before it starts"));
    }
    let below = d.recipe.ram.last().map_or(0, |r| r.1);
    if start < below {
        return Err(w.wrong("ranges must ascend and not overlap"));
    }
    if d.recipe.ram.len() == MAX_RANGES {
        return Err(w.wrong(format!("more than {MAX_RANGES} ranges")));
    }
    d.recipe.ram.push((start, end));
    if d.recipe.ram_bytes() > MAX_RAM {
        return Err(w.wrong(format!("more than {} of memory", amount(MAX_RAM))));
    }
    Ok(())
}

fn kernphys(d: &mut Draft, w: &mut Words) -> Done {
    d.recipe.kernphys = w.number("the kernel's address", 0..=MAX_PADDR)?;
    if !d.recipe.kernphys.is_multiple_of(span(1)) {
        return Err(w.wrong("the kernel starts at a multiple of 2M"));
    }
    Ok(())
}

/// SIZE [4K|2M|1G]: whole pages of that size.
fn region(w: &mut Words, largest: u32) -> Result<Region, RecipeError> {
    let bytes = w.number("the size", PAGE..=MAX_RAM)?;
    let page = w.number_or(PAGE, "the page size", PAGE..=span(largest))?;
    let level =
        (0..=largest).find(|&level| span(level) == page).ok_or_else(|| {
            w.wrong("not a page size, expected 4K, 2M or (kmap) 1G")
        })?;
    if !bytes.is_multiple_of(page) {
        return Err(w.wrong("the size is not a multiple of it"));
    }
    Ok(Region { bytes, level })
}

fn kernel_part(w: &mut Words) -> Result<Region, RecipeError> {
    let part = region(w, 1)?;
    if part.bytes > 256 << 20 {
        return Err(w.wrong("no part of a kernel is larger than 256M"));
    }
    Ok(part)
}

fn text(d: &mut Draft, w: &mut Words) -> Done {
    d.recipe.text = kernel_part(w)?;
    if d.recipe.text.bytes < 64 << 10 {
        return Err(w.wrong("text has at least 64K"));
    }
    Ok(())
}

fn data(d: &mut Draft, w: &mut Words) -> Done {
    d.recipe.data = kernel_part(w)?;
    Ok(())
}

fn room<T>(list: &[T], most: usize, w: &Words) -> Done {
    if list.len() < most {
        return Ok(());
    }
    Err(w.wrong(format!("more than {most} lines of this kind")))
}

fn kmap(d: &mut Draft, w: &mut Words) -> Done {
    room(&d.recipe.kmap, MAX_LINES, w)?;
    d.recipe.kmap.push(region(w, 2)?);
    Ok(())
}

fn device(d: &mut Draft, w: &mut Words) -> Done {
    room(&d.recipe.devices, MAX_LINES, w)?;
    let pa = w.number("an address", 0..=MAX_PADDR)?;
    let bytes = w.number_or(PAGE, "the size", PAGE..=64 << 20)?;
    if !pa.is_multiple_of(PAGE) || !bytes.is_multiple_of(PAGE) {
        return Err(w.wrong("a device has whole pages"));
    }
    d.recipe.devices.push((pa, bytes));
    Ok(())
}

fn pages(w: &mut Words) -> Result<u64, RecipeError> {
    w.number("the number of pages", 0..=MAX_RAM / PAGE)
}

fn uma(d: &mut Draft, w: &mut Words) -> Done {
    d.recipe.uma_pages = pages(w)?;
    Ok(())
}

fn nodump(d: &mut Draft, w: &mut Words) -> Done {
    d.recipe.nodump_pages = pages(w)?;
    Ok(())
}

fn system(d: &mut Draft, _: &mut Words) -> Done {
    d.recipe.system = true;
    Ok(())
}

fn params(d: &mut Draft, _: &mut Words) -> Done {
    d.recipe.params = true;
    Ok(())
}

fn vmpage(d: &mut Draft, w: &mut Words) -> Done {
    d.recipe.vm_page_pages = pages(w)?;
    Ok(())
}

fn msgbuf(d: &mut Draft, w: &mut Words) -> Done {
    let bytes = w.number("the message buffer's size", PAGE..=16 << 20)?;
    if !bytes.is_multiple_of(8) {
        return Err(w.wrong("the message buffer's size is a multiple of 8"));
    }
    d.recipe.msgbuf_bytes = bytes;
    Ok(())
}

fn message(d: &mut Draft, w: &mut Words) -> Done {
    room(&d.recipe.messages, MAX_LINES, w)?;
    let mut text = w.word("a text")?;
    if text.contains('\0') {
        return Err(w.wrong("a message has no NUL"));
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    d.recipe.messages.push(text);
    Ok(())
}

fn process(d: &mut Draft, w: &mut Words) -> Done {
    room(&d.recipe.processes, MAX_PROCESSES, w)?;
    let pid = w.number("a pid", 0..=99_999)? as i32;
    if d.recipe.processes.iter().any(|p| p.pid == pid) {
        return Err(w.wrong("a pid is given twice"));
    }
    let comm = name(w, "a process's name", MAXCOMLEN)?;
    let (mut uid, mut zombie) = (0, false);
    while let Some(word) = w.next() {
        match word.as_str() {
            "uid" => uid = w.number("a uid", 0..=u32::MAX.into())? as u32,
            "zombie" if pid > 1 => zombie = true,
            _ => return Err(w.wrong("expected uid or zombie")),
        }
    }
    let threads = Vec::new();
    d.recipe.processes.push(Process { pid, comm, uid, zombie, threads });
    Ok(())
}

fn thread(d: &mut Draft, w: &mut Words) -> Done {
    let threads = d.recipe.processes.iter().flat_map(|p| &p.threads);
    if threads.clone().count() == MAX_THREADS {
        return Err(w.wrong(format!("more than {MAX_THREADS} threads")));
    }
    let tid = w.number("a tid", 1..=i32::MAX as u64)? as i32;
    if threads.clone().any(|t| t.tid == tid) {
        return Err(w.wrong("a tid is given twice"));
    }
    let name = name(w, "a thread's name", MAXCOMLEN)?;
    let state = state(w)?;
    let Some(process) = d.recipe.processes.last_mut() else {
        return Err(w.wrong("a thread must follow its process"));
    };
    if process.zombie && !process.threads.is_empty() {
        return Err(w.wrong("a zombie has one thread at most"));
    }
    process.threads.push(Thread { tid, name, state });
    Ok(())
}

/// [sleep WMESG | run CPU | runq | wait LOCK [shared]]; sleep "-" where nothing is said.
fn state(w: &mut Words) -> Result<ThreadState, RecipeError> {
    match w.next().as_deref() {
        None => Ok(ThreadState::Sleep("-".into())),
        Some("sleep") => Ok(ThreadState::Sleep(name(w, "a wmesg", 63)?)),
        Some("run") => {
            let cpu = w.number("a CPU", 0..=MAX_CPUS - 1)?;
            Ok(ThreadState::Running(cpu as u32))
        }
        Some("runq") => Ok(ThreadState::RunQueue),
        Some("wait") => {
            let lock = name(w, "a lock", 63)?;
            let shared = match w.next().as_deref() {
                None => false,
                Some("shared") => true,
                Some(_) => return Err(w.wrong("expected shared or nothing")),
            };
            Ok(ThreadState::Wait { lock, shared })
        }
        Some(_) => {
            Err(w.wrong("unknown state, expected sleep, run, runq or wait"))
        }
    }
}

fn dumper(d: &mut Draft, w: &mut Words) -> Done {
    d.recipe.dumper = Some(w.number("a tid", 1..=i32::MAX as u64)? as i32);
    Ok(())
}

fn offset(d: &mut Draft, w: &mut Words) -> Done {
    room(&d.recipe.offsets, MAX_LINES, w)?;
    let field = w.word("a field")?;
    let (most, align) =
        offsets::limits(&field).ok_or_else(|| w.wrong("unknown field"))?;
    let at = w.number("the offset", 0..=u64::from(most))? as u32;
    if !at.is_multiple_of(align) {
        return Err(w.wrong(format!("{field} is aligned to {align}")));
    }
    d.recipe.offsets.push((field, at));
    Ok(())
}

/// NAME KIND [owner TID | shared N [TID...] | kernel].
fn lock(d: &mut Draft, w: &mut Words) -> Done {
    room(&d.recipe.locks, MAX_LINES, w)?;
    let name = name(w, "a lock", 63)?;
    if d.recipe.locks.iter().any(|l| l.name == name) {
        return Err(w.wrong("a lock is given twice"));
    }
    let kind = match w.word("a kind of lock")?.as_str() {
        "spin" => LockKind::Spin,
        "mtx" => LockKind::Mutex,
        "sx" => LockKind::Sx,
        "rw" => LockKind::Rw,
        "lockmgr" => LockKind::Lockmgr,
        _ => {
            return Err(
                w.wrong("unknown kind, expected mtx, spin, sx, rw or lockmgr")
            );
        }
    };
    let mutex = matches!(kind, LockKind::Spin | LockKind::Mutex);
    let tid = 1..=i32::MAX as u64;
    let held = match w.next().as_deref() {
        None => Holder::Nobody,
        Some("owner") => Holder::By(w.number("a tid", tid)? as i32),
        Some("shared") if !mutex => {
            let n = w.number("how many share it", 1..=1000)?;
            let mut by = Vec::new();
            while let Some(t) = w.optional("a tid", tid.clone())? {
                by.push(t as i32);
            }
            Holder::Shared(n, by)
        }
        Some("kernel") if kind == LockKind::Lockmgr => Holder::Kernel,
        Some(_) => {
            return Err(
                w.wrong("unknown holder, expected owner, shared or kernel")
            );
        }
    };
    d.recipe.locks.push(Lock { name, kind, held });
    Ok(())
}

fn types(d: &mut Draft, w: &mut Words) -> Done {
    d.recipe.types = match w.word("none, ctf or dwarf")?.as_str() {
        "none" => TypeInfo::None,
        "ctf" => TypeInfo::Ctf,
        "dwarf" => TypeInfo::Dwarf,
        _ => return Err(w.wrong("unknown types, expected none, ctf or dwarf")),
    };
    Ok(())
}

/// KIND [TIMES], KIND being one of what changes, or all.
fn mutate(d: &mut Draft, w: &mut Words) -> Done {
    let kind = w.word("what changes")?;
    let m = &mut d.recipe.mutate;
    let fields: &mut [&mut u32] = match kind.as_str() {
        "pages" => &mut [&mut m.pages],
        "tables" => &mut [&mut m.tables],
        "bitset" => &mut [&mut m.bitset],
        "msgbuf" => &mut [&mut m.msgbuf],
        "procs" => &mut [&mut m.procs],
        "all" => {
            let Mutate { pages, tables, bitset, msgbuf, procs } = m;
            &mut [pages, tables, bitset, msgbuf, procs]
        }
        _ => {
            return Err(w.wrong(
                "expected pages, tables, bitset, msgbuf, procs or all",
            ));
        }
    };
    let times = w.number_or(1, "how often", 0..=1024)? as u32;
    for field in fields {
        **field = times;
    }
    Ok(())
}
