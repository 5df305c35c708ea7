// SPDX-License-Identifier: BSD-2-Clause
//! The direct dumper: the memory of a guest that was stopped is put into that of
//! a second one, which leaves it alone (hw.physmem), and is dumped there from
//! /dev/mem. The dump has what one from outside has, but for registers, and is
//! to the byte what the image itself gives on the host.

use crate::check::extract;
use crate::console::Console;
use crate::deadlocks::tool;
use crate::dump_check::Answer;
use crate::error::{Error, Result};
use crate::guest::{self, Boot, Files};
use crate::image::{Check, Qmp};
use crate::kernel::Kernel;
use crate::qemu::{self, Lines, Machine, OUTPUT};
use crate::symbols::Symbols;
use crate::userland::Userland;
use livedump_vmcore::Vmcore;
use memdev::addr::{PAGE_SIZE, Paddr, Vaddr};
use serde_json::json;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the second guest has the memory of the first.
const AT: u64 = 512 << 20;
/// Memory of the first one, and of the second, which uses half of that.
const FIRST: u64 = 256 << 20;
const SECOND: &str = "1G";
/// The load runs so long before it is stopped.
const LOAD: Duration = Duration::from_secs(3);
/// What the registers of CPUs are put into, and pages that these may be.
const PLACES: [&str; 4] = ["dumptid", "stopped_cpus", "dumppcb", "stoppcbs"];
const PCB_PAGES: u64 = 4;

/// What both guests have in common.
pub(crate) struct Direct<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) files: &'a Files,
    pub(crate) userland: &'a Userland,
    pub(crate) dir: &'a Path,
    pub(crate) smp: u32,
    pub(crate) cpu: Option<&'a str>,
    pub(crate) seconds: u64,
    pub(crate) verbose: bool,
}

/// What came of the first guest.
struct First {
    /// A dump from outside.
    outside: PathBuf,
    /// Its memory.
    raw: PathBuf,
    /// A dump of that.
    image: PathBuf,
}

impl Direct<'_> {
    /// Runs both guests; each check by its name, and what the second one said.
    pub(crate) fn run(&self) -> Result<(Vec<Check>, Console)> {
        let started = Instant::now();
        let first = self.first()?;
        let taken = started.elapsed();
        let (dump, console) = self.second(&first)?;
        let compared = compare(self.kernel, &first, &dump);
        println!(
            "{}: direct: first guest {} s, second {} s",
            self.kernel.name,
            taken.as_secs(),
            started.elapsed().saturating_sub(taken).as_secs(),
        );
        let all = vec![
            ("direct: the same as of the image", same(&first.image, &dump)),
            ("direct: the same as from outside", compared),
        ];
        Ok((all, console))
    }

    fn directory(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        let _ = std::fs::remove_dir_all(&dir);
        let made = std::fs::create_dir_all(&dir);
        made.map_err(crate::error::io("making", &dir))?;
        Ok(dir)
    }

    fn machine<'m>(
        &'m self,
        dir: &'m Path,
        boot: &'m Boot,
        mem: &'m str,
    ) -> Machine<'m> {
        Machine {
            kernel: self.kernel,
            boot,
            dir,
            smp: self.smp,
            mem,
            memory_file: false,
            vmcoreinfo: false,
            more: &[],
            cpu: self.cpu,
            seconds: self.seconds,
            verbose: self.verbose,
        }
    }

    fn first(&self) -> Result<First> {
        let dir = self.directory("first")?;
        let env = [("livedump.cases", "load".to_owned())];
        let image = guest::boot(self.kernel, self.files, None, &env, 0, &dir)?;
        let mem = format!("{}M", FIRST >> 20);
        let machine = self.machine(&dir, &image, &mem);
        let mut qemu = qemu::start(&machine)?;
        let log = dir.join("console.log");
        let mut lines = Lines::of(&mut qemu, &log, self.verbose)?;
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let mut console = Console::default();
        while console.wants_outside.is_none() {
            if lines.next(end, &mut console)?.is_none() {
                return Err(failed(format!("no load, see {}", log.display())));
            }
        }
        std::thread::sleep(LOAD);
        let socket = qemu::control(&machine);
        Qmp::connect(&socket)?.command("stop", json!({}))?;
        let outside = self.capture(
            &dir.join("outside"),
            &format!("qemu:{}", socket.display()),
        )?;
        let raw = dir.join("raw");
        let arguments = json!({ "val": 0, "size": FIRST, "filename": raw });
        Qmp::connect(&socket)?.command("pmemsave", arguments)?;
        drop(qemu);
        let image = self
            .capture(&dir.join("image"), &format!("image:{}", raw.display()))?;
        Ok(First { outside, raw, image })
    }

    /// A dump by the tool on the host, which has to be sound.
    fn capture(&self, to: &Path, machine: &str) -> Result<PathBuf> {
        let made = std::fs::create_dir(to);
        made.map_err(crate::error::io("making", to))?;
        let words = ["capture", "-q", "--machine", machine, "-k"];
        let all = words.iter().map(OsStr::new);
        let paths = [self.kernel.path.as_os_str(), to.as_os_str()];
        let out = tool(all.chain(paths)).map_err(failed)?;
        match out.status.code() {
            Some(0) => Ok(to.join("livecore.0")),
            code => {
                let text = String::from_utf8_lossy(&out.stderr);
                Err(failed(format!("{machine}: {code:?}: {}", text.trim())))
            }
        }
    }

    fn second(&self, first: &First) -> Result<(PathBuf, Console)> {
        let dir = self.directory("second")?;
        let range = format!("{AT:#x}-{:#x}@0", AT + FIRST);
        let env = [
            ("livedump.cases", "direct".to_owned()),
            ("livedump.range", range),
            ("hw.physmem", format!("{}M", AT >> 20)),
        ];
        let userland = Some(self.userland);
        let (kernel, files) = (self.kernel, self.files);
        let image = guest::boot(kernel, files, userland, &env, 0, &dir)?;
        let (raw, at) = (first.raw.display(), AT);
        let loader = format!("loader,file={raw},addr={at:#x},force-raw=on");
        let more = ["-device".to_owned(), loader];
        let machine =
            Machine { more: &more, ..self.machine(&dir, &image, SECOND) };
        let console = qemu::run(&machine)?;
        let Some(at) = console.dumps.iter().find(|d| d.name == "direct") else {
            let all = console.failed.join("; ");
            return Err(failed(format!("the second guest has no dump: {all}")));
        };
        let dump = dir.join("livecore.0");
        extract(&dir.join(OUTPUT), at, &dump).map_err(failed)?;
        Ok((dump, console))
    }
}

fn failed(output: String) -> Error {
    Error::Program { program: "direct".into(), output }
}

/// To the byte. The header with the time is not in the files.
fn same(image: &Path, dump: &Path) -> Answer<()> {
    let read = |path: &Path| {
        let bytes = std::fs::read(path);
        bytes.map_err(|e| format!("{}: {e}", path.display()))
    };
    let (a, b) = (read(image)?, read(dump)?);
    if a.len() != b.len() {
        return Err(format!("{} and {} bytes", a.len(), b.len()));
    }
    let at = a.iter().zip(&b).position(|(a, b)| a != b);
    at.map_or(Ok(()), |at| Err(format!("they differ at {at:#x}")))
}

/// Page by page: the same but for those into which registers were put.
fn compare(kernel: &Kernel, first: &First, dump: &Path) -> Answer<()> {
    let text = |e: &dyn std::error::Error| crate::error::chain(e);
    let open = |path: &Path| Vmcore::open(path).map_err(|e| text(&e));
    let (a, b) = (open(&first.outside)?, open(dump)?);
    let ranges = |core: &Vmcore| {
        let pages = core.pages().map_err(|e| text(e))?;
        Answer::Ok((pages.ranges().to_vec(), pages.count_set()))
    };
    let (of_a, of_b) = (ranges(&a)?, ranges(&b)?);
    if of_a != of_b {
        return Err(format!("{of_a:x?} and {of_b:x?}"));
    }
    let (mut pages, mut other) = (0u64, BTreeSet::new());
    for &(start, end) in &of_a.0 {
        for pa in (start..end).step_by(PAGE_SIZE) {
            let page = |core: &Vmcore| {
                let mut page = vec![0; PAGE_SIZE];
                core.read_phys(Paddr(pa), &mut page).ok().map(|()| page)
            };
            match (page(&a), page(&b)) {
                (None, None) => {}
                (Some(a), Some(b)) => {
                    pages += 1;
                    if a != b {
                        other.insert(pa);
                    }
                }
                _ => return Err(format!("{pa:#x} is in one of them only")),
            }
        }
    }
    let allowed = places(kernel, &b)?;
    if let Some(pa) = other.iter().find(|pa| !allowed.contains(pa)) {
        let n = other.len();
        return Err(format!("{n} pages differ, {pa:#x} has no registers"));
    }
    if other.is_empty() || pages != of_a.1 {
        let n = other.len();
        return Err(format!("{n} of {pages} pages differ, of {}", of_a.1));
    }
    println!(
        "{}: direct: {pages} pages, {} differ: registers",
        kernel.name,
        other.len()
    );
    Ok(())
}

/// Pages that registers are put into.
fn places(kernel: &Kernel, core: &Vmcore) -> Answer<BTreeSet<u64>> {
    let symbols = Symbols::read(&kernel.path).map_err(|e| e.to_string())?;
    let page = |va: u64| {
        let pa = core.translate(Vaddr(va)).map_err(|e| e.to_string())?;
        Answer::Ok(pa.0 & !(PAGE_SIZE as u64 - 1))
    };
    let mut all = BTreeSet::new();
    for name in PLACES {
        let Some(at) = symbols.get(name) else { continue };
        all.insert(page(at.0)?);
    }
    let Some(stoppcbs) = symbols.get("stoppcbs") else { return Ok(all) };
    // An array, or a pointer to one.
    let pointer = core.read_u64(stoppcbs).map_err(|e| e.to_string())?;
    for start in [stoppcbs.0, pointer] {
        for n in 0..PCB_PAGES {
            if let Ok(pa) = page(start + n * PAGE_SIZE as u64) {
                all.insert(pa);
            }
        }
    }
    Ok(all)
}
