// SPDX-License-Identifier: BSD-2-Clause
//! What a KDUMP says about the kernel in it. Names in the vmcoreinfo are those
//! that Linux has for the same things.

use livedump_vmcore::Vmcore;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::image::MemoryImage;
use memdev::addr::Vaddr;
use memdev::arch::Machine;
use std::fmt::Write;

/// C: `KERNBASE` + `KERNLOAD` of amd64.
const LOADED: Vaddr = Vaddr(0xffff_ffff_8020_0000);
const KERNLOAD: u64 = 2 << 20;
const TEXT: usize = 256;

/// All of it; empty where it is not known.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The machine.
    pub machine: Option<Machine>,
    /// C: `osrelease`.
    pub release: String,
    /// C: `version`, in one line.
    pub version: String,
    /// Linux' `phys_base`, which is `kernphys` - `KERNLOAD`.
    pub phys_base: Option<u64>,
    /// Lines.
    pub vmcoreinfo: Vec<u8>,
    /// C: `dump_avail[]`.
    pub memory: Vec<(u64, u64)>,
}

impl Facts {
    /// What an image says of itself.
    #[must_use]
    pub fn of_image(image: &dyn MemoryImage) -> Self {
        let claims = image.claims();
        Self {
            machine: claims.machine,
            phys_base: claims.phys_base,
            vmcoreinfo: claims.vmcoreinfo.clone(),
            ..Self::default()
        }
    }

    /// What is known of a dump, with its kernel where that is known.
    #[must_use]
    pub fn of_dump(core: &Vmcore, kernel: Option<&Kernel>) -> Self {
        let mut facts =
            Self { machine: Some(core.header().machine), ..Self::default() };
        if let Ok(pages) = core.pages() {
            facts.memory = pages.ranges().to_vec();
        }
        if let Some(kernel) = kernel {
            facts.read(core, kernel);
        }
        facts
    }

    fn read(&mut self, core: &Vmcore, kernel: &Kernel) {
        let text = |name| text(core, kernel, name).unwrap_or_default();
        self.release = text("osrelease");
        self.version = text("version");
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = writeln!(out, "OSRELEASE={}", self.release);
        let _ = writeln!(out, "PAGESIZE=4096");
        if let Some(id) = kernel.build_id() {
            let id = id.id.iter().map(|byte| format!("{byte:02x}"));
            let _ = writeln!(out, "BUILD-ID={}", id.collect::<String>());
        }
        match core.header().machine {
            Machine::Amd64 => {
                let variable = kernel.find("kernphys");
                let loaded = variable
                    .and_then(|symbol| core.read_u64(symbol.address).ok())
                    .filter(|&at| at != 0)
                    .or_else(|| core.translate(LOADED).ok().map(|pa| pa.0));
                if let Some(at) = loaded {
                    let base = at.saturating_sub(KERNLOAD);
                    self.phys_base = Some(base);
                    // Decimal: makedumpfile's readers take it so.
                    let _ = writeln!(out, "NUMBER(phys_base)={base}");
                    let _ = writeln!(out, "NUMBER(kernphys)={at}");
                }
                if let Some(root) = kernel.find("KPML4phys") {
                    let at = root.address.0;
                    let _ = writeln!(out, "SYMBOL(KPML4phys)={at:x}");
                }
            }
            Machine::Arm64 => {
                let base = core.header().dmapphys;
                let _ = writeln!(out, "NUMBER(PHYS_OFFSET)={base}");
            }
        }
        self.vmcoreinfo = out.into_bytes();
    }
}

/// A string of the kernel's, in one line.
fn text(core: &Vmcore, kernel: &Kernel, name: &str) -> Option<String> {
    let at = kernel.find(name)?.address;
    let mut raw = vec![0; TEXT];
    if let Err(e) = core.read_va(at, &mut raw) {
        raw.truncate(e.done);
    }
    let end = raw.iter().position(|&b| b == 0)?;
    let text = String::from_utf8_lossy(raw.get(..end)?).into_owned();
    let words: Vec<_> = text.split_whitespace().collect();
    Some(words.join(" "))
}
