// SPDX-License-Identifier: BSD-2-Clause
//! What a report of the whole system reads: CPUs, memory, allocators, mounts,
//! interfaces, interrupts, the kernel environment, swap. As little of each as
//! shows whether a reader finds it; offsets are the model's own, since readers
//! take them from the types that go with them.
//!
//! Memory of each CPU is as the kernel has it: on amd64 since 13 a pointer is
//! less by the address of CPU 0's pcpu, and `pc_zpcpu_offset` makes up for it.

use super::objects::offset;
use super::procs::Procs;
use super::recipe::Recipe;
use super::release::Release;
use super::symbols::{Image, Section};
use super::types::{Kind, Kind::*, Member, Struct};
use super::variables::Variables;
use super::words::RecipeError;
use memdev::arch::Machine;

type Done<T> = Result<T, RecipeError>;

const PCPU: u64 = 128;
/// From one CPU's memory to the next one's.
const STEP: u64 = 512;
/// One more for each counter.
const COUNTER: u64 = 8;
/// Bytes of an interrupt's name, with its end.
const NAME: usize = 40;
const ZONE: u64 = 128;
const CACHE: u64 = 64;
/// Bytes of a vnet's variables, and of what is between their symbols.
const VNET: u64 = 8192;

/// Their types.
pub(super) fn structs(release: &Release) -> Vec<Struct> {
    let mut all = super::programs::structs(release);
    all.extend([
        new(
            "pcpu",
            PCPU as u32,
            &[
                ("pc_curthread", 0, Pointer),
                ("pc_idlethread", 8, Pointer),
                ("pc_cpuid", 16, Int(4)),
                ("pc_zpcpu_offset", 24, Int(8)),
                ("pc_cp_time", 64, Bytes(40)),
            ],
        ),
        new(
            "vmmeter",
            32,
            &[
                ("v_swtch", 0, Pointer),
                ("v_forks", 8, Pointer),
                ("v_wire_count", 16, Pointer),
                ("v_page_size", 24, Int(4)),
                ("v_page_count", 28, Int(4)),
            ],
        ),
        new(
            "vm_domain",
            256,
            &[
                ("vmd_pagequeues", 0, Bytes(128)),
                ("vmd_page_count", 128, Int(4)),
                ("vmd_free_count", 132, Int(4)),
                ("vmd_free_min", 136, Int(4)),
                ("vmd_free_target", 140, Int(4)),
            ],
        ),
        new("vm_pagequeue", 32, &[("pq_cnt", 16, Int(4))]),
        new(
            "malloc_type",
            112,
            &[
                ("ks_next", 0, Pointer),
                ("ks_shortdesc", 16, Pointer),
                ("ks_mti", 24, Bytes(88)),
            ],
        ),
        new("malloc_type_internal", 88, &[("mti_stats", 16, Pointer)]),
        new(
            "malloc_type_stats",
            64,
            &[
                ("mts_memalloced", 0, Int(8)),
                ("mts_memfreed", 8, Int(8)),
                ("mts_numallocs", 16, Int(8)),
                ("mts_numfrees", 24, Int(8)),
            ],
        ),
        new(
            "uma_keg",
            128,
            &[
                ("uk_zones", 0, Bytes(8)),
                ("uk_link", 16, Bytes(16)),
                ("uk_flags", 32, Int(4)),
                ("uk_size", 36, Int(4)),
                ("uk_domain", 64, Bytes(64)),
            ],
        ),
        new("uma_domain", 64, &[("ud_free_items", 8, Int(4))]),
        new(
            "uma_zone",
            (ZONE + CACHE) as u32,
            &[
                ("uz_name", 0, Pointer),
                ("uz_link", 8, Bytes(16)),
                ("uz_size", 24, Int(4)),
                ("uz_flags", 28, Int(4)),
                ("uz_max_items", 32, Int(8)),
                ("uz_allocs", 40, Pointer),
                ("uz_frees", 48, Pointer),
                ("uz_fails", 56, Pointer),
                ("uz_sleeps", 64, Int(8)),
                ("uz_cpu", ZONE as u32, Bytes(CACHE as u32)),
            ],
        ),
        new(
            "uma_cache",
            CACHE as u32,
            &[
                ("uc_freebucket", 0, Bytes(16)),
                ("uc_allocbucket", 16, Bytes(16)),
                ("uc_crossbucket", 32, Bytes(16)),
                ("uc_allocs", 48, Int(8)),
                ("uc_frees", 56, Int(8)),
            ],
        ),
        new("uma_cache_bucket", 16, &[("ucb_cnt", 8, Int(2))]),
        new("uma_zone_domain", 64, &[("uzd_nitems", 16, Int(8))]),
        new(
            "statfs",
            216,
            &[
                ("f_bsize", 0, Int(8)),
                ("f_blocks", 8, Int(8)),
                ("f_bfree", 16, Int(8)),
                ("f_fstypename", 24, Bytes(16)),
                ("f_mntfromname", 40, Bytes(88)),
                ("f_mntonname", 128, Bytes(88)),
            ],
        ),
        new(
            "mount",
            512,
            &[
                ("mnt_flag", 8, Int(8)),
                ("mnt_list", 16, Bytes(16)),
                ("mnt_ref", 40, Int(4)),
                ("mnt_stat", 64, Bytes(216)),
            ],
        ),
        new(
            "vnet",
            64,
            &[("vnet_le", 0, Bytes(16)), ("vnet_data_base", 32, Int(8))],
        ),
        new(
            "ifnet",
            256,
            &[
                ("if_link", 0, Bytes(8)),
                ("if_xname", 16, Bytes(16)),
                ("if_flags", 32, Int(4)),
                ("if_drv_flags", 36, Int(4)),
                ("if_link_state", 40, Int(1)),
                ("if_mtu", 44, Int(4)),
                ("if_index", 48, Int(2)),
                ("if_counters", 64, Bytes(96)),
            ],
        ),
        new(
            "swdevt",
            64,
            &[
                ("sw_nblks", 4, Int(4)),
                ("sw_used", 8, Int(4)),
                ("sw_vp", 16, Pointer),
                ("sw_list", 24, Bytes(16)),
            ],
        ),
    ]);
    all
}

pub(super) fn new(
    name: &'static str,
    size: u32,
    members: &[(&'static str, u32, Kind)],
) -> Struct {
    let members = members.iter();
    let members = members.map(|&(name, at, kind)| Member(name, at, kind));
    Struct { name, size, members: members.collect() }
}

/// A structure's bytes.
pub(super) struct Object(pub(super) Vec<u8>);

impl Object {
    pub(super) fn new(size: u64) -> Self {
        Self(vec![0; size as usize])
    }

    pub(super) fn bytes(mut self, at: u64, bytes: &[u8]) -> Self {
        let to = self.0.iter_mut().skip(at as usize);
        to.zip(bytes).for_each(|(to, from)| *to = *from);
        self
    }

    pub(super) fn int(self, at: u64, n: u32) -> Self {
        self.bytes(at, &n.to_le_bytes())
    }

    pub(super) fn long(self, at: u64, n: u64) -> Self {
        self.bytes(at, &n.to_le_bytes())
    }
}

/// What is being built.
pub(super) struct System<'s> {
    pub(super) vars: &'s mut Variables,
    pub(super) image: &'s mut Image,
    cpus: u64,
    /// CPU 0's memory, and how much of it is taken.
    zpcpu: u64,
    taken: u64,
    /// What pointers to it are less by.
    less: u64,
    /// The vnet's copies of variables, and C: `vnet_data_base`.
    copies: u64,
    vnet: u64,
    /// The mount of a UFS.
    pub(super) ufs: u64,
    /// Where a process has its `p_fd`.
    pub(super) fd: u64,
}

impl Variables {
    /// Defines all of it.
    pub(super) fn system(
        &mut self,
        image: &mut Image,
        recipe: &Recipe,
        procs: &Procs,
        fd: u64,
    ) -> Done<()> {
        let cpus = u64::from(recipe.cpus);
        let pcpus = image.room(Section::Data, cpus * PCPU, 64)?;
        let zpcpu = image.room(Section::Data, cpus * STEP, 64)?;
        let copies = image.room(Section::Data, VNET, 64)?;
        let relative = recipe.machine == Machine::Amd64
            && recipe.release.osreldate >= 1_300_000;
        let less = if relative { pcpus } else { 0 };
        let mut table = Vec::new();
        for n in 0..cpus {
            let pcpu = pcpus + n * PCPU;
            let mut running = procs.running();
            let cpu = running.find(|td| u64::from(td.cpu) == n);
            let thread = cpu.and_then(|td| procs.thread_address(td.tid));
            let object = Object::new(PCPU)
                .long(0, thread.unwrap_or(0))
                .int(16, n as u32)
                .long(24, less + n * STEP)
                .long(64, 10)
                .long(64 + 32, 30);
            self.set(pcpu, object.0);
            table.extend(pcpu.to_le_bytes());
        }
        self.variable(image, "cpuid_to_pcpu", &table)?;
        let vars = self;
        let mut s = System {
            vars,
            image,
            cpus,
            zpcpu,
            taken: 0,
            less,
            copies,
            vnet: 0,
            ufs: 0,
            fd,
        };
        s.memory()?;
        s.malloc()?;
        s.zones()?;
        s.mounts()?;
        s.interfaces()?;
        s.protocols()?;
        s.programs(recipe, procs)?;
        s.devices()?;
        s.ipc()?;
        s.interrupts()?;
        s.environment()?;
        s.swap()?;
        let config = b"ident\tGENERIC\noptions\tINCLUDE_CONFIG_FILE\n\0";
        s.variable("kernconfstring", config)?;
        let text = b"db> show <all>\n";
        let buffer = s.bytes(text)?;
        s.variable("db_capture_bufoff", &(text.len() as u32).to_le_bytes())?;
        s.variable("db_capture_buf", &buffer.to_le_bytes())
    }
}

impl System<'_> {
    pub(super) fn variable(
        &mut self,
        name: &'static str,
        value: &[u8],
    ) -> Done<()> {
        self.vars.variable(self.image, name, value).map(drop)
    }

    pub(super) fn long(&mut self, name: &'static str, value: u64) -> Done<()> {
        self.variable(name, &value.to_le_bytes())
    }

    fn room(&mut self, bytes: u64) -> Done<u64> {
        self.image.room(Section::Data, bytes, 64)
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Done<u64> {
        let at = self.room(bytes.len() as u64)?;
        self.vars.set(at, bytes.to_vec());
        Ok(at)
    }

    fn text(&mut self, text: &str) -> Done<u64> {
        self.bytes(&[text.as_bytes(), &[0]].concat())
    }

    /// Memory of each CPU, of the first with `of(n)` in it; the pointer to it.
    fn per_cpu(&mut self, size: u64, of: impl Fn(u64) -> Object) -> u64 {
        let at = self.zpcpu + self.taken;
        self.taken += size;
        for n in 0..self.cpus {
            self.vars.set(at + n * STEP, of(n).0);
        }
        at.wrapping_sub(self.less)
    }

    /// A counter(9) of a sum, unevenly distributed.
    pub(super) fn counter(&mut self, sum: u64) -> u64 {
        let cpus = self.cpus;
        self.per_cpu(COUNTER, |n| {
            let share = sum / (cpus * 2);
            let all_but_first = share * (cpus - 1);
            let n = if n == 0 { sum - all_but_first } else { share };
            Object::new(COUNTER).long(0, n)
        })
    }

    fn memory(&mut self) -> Done<()> {
        let [swtch, forks, wired] = [1001, 17, 700].map(|n| self.counter(n));
        let vm_cnt = Object::new(32)
            .long(0, swtch)
            .long(8, forks)
            .long(16, wired)
            .int(24, 4096)
            .int(28, 4000);
        self.variable("vm_cnt", &vm_cnt.0)?;
        let mut domain = Object::new(256);
        for (queue, n) in (0..4).zip([200u32, 300, 40, 2]) {
            domain = domain.int(queue * 32 + 16, n);
        }
        for (field, n) in (0..4).zip([4000, 2500, 50, 100]) {
            domain = domain.int(128 + field * 4, n);
        }
        self.variable("vm_dom", &domain.0)?;
        self.variable("vm_ndomains", &1u32.to_le_bytes())?;
        self.long("vm_user_wire_count", 3)
    }

    fn malloc(&mut self) -> Done<()> {
        let (mut next, last) = (0, self.cpus - 1);
        for (name, bytes, allocs) in
            [("devbuf", 65536, 20), ("never used", 0, 0), ("temp", 512, 7)]
        {
            let name = self.text(name)?;
            let stats = self.per_cpu(64, |n| match n {
                0 => Object::new(64)
                    .long(0, bytes + 100)
                    .long(16, allocs + allocs / 2),
                // Freed by another CPU than had allocated it.
                _ if n == last && allocs > 0 => {
                    Object::new(64).long(8, 100).long(24, allocs / 2)
                }
                _ => Object::new(64),
            });
            let object = Object::new(112)
                .long(0, next)
                .long(16, name)
                .long(24 + 16, stats);
            next = self.bytes(&object.0)?;
        }
        self.long("kmemstatistics", next)
    }

    fn zones(&mut self) -> Done<()> {
        let name = self.text("VNODE")?;
        let [allocs, frees, fails] = [50, 10, 3].map(|n| self.counter(n));
        let caches = ZONE;
        let behind = caches + self.cpus * CACHE;
        let mut zone = Object::new(behind + 64)
            .long(0, name)
            .int(24, 448)
            .long(40, allocs)
            .long(48, frees)
            .long(56, fails);
        for n in 0..self.cpus {
            let cache = caches + n * CACHE;
            zone = zone.bytes(cache + 8, &2u16.to_le_bytes());
            zone = zone.long(cache + 48, 5).long(cache + 56, 1);
        }
        let zone = self.bytes(&zone.long(behind + 16, 6).0)?;
        let keg = Object::new(128).long(0, zone).int(36, 448).int(64 + 8, 4);
        let keg = self.bytes(&keg.0)?;
        self.long("uma_kegs", keg)?;
        self.long("uma_cachezones", 0)
    }

    fn mounts(&mut self) -> Done<()> {
        let mut next = 0;
        for (from, on, kind, flags) in [
            ("/dev/ada0p2", "/var", "ufs", 0x1000),
            ("/dev/<b>&\"'\u{1b}[2J", "/mnt", "ufs", 0x1001u64),
            ("zroot/ROOT/default", "/", "zfs", 0x1000_1000),
        ] {
            let mount = Object::new(512)
                .long(8, flags)
                .long(16, next)
                .long(64, 4096)
                .long(72, 1000)
                .long(80, 250)
                .bytes(64 + 24, kind.as_bytes())
                .bytes(64 + 40, from.as_bytes())
                .bytes(64 + 128, on.as_bytes());
            next = self.bytes(&mount.0)?;
            if on == "/var" {
                self.ufs = next;
            }
        }
        let head = [next.to_le_bytes(), [0; 8]].concat();
        self.variable("mountlist", &head)
    }

    fn interfaces(&mut self) -> Done<()> {
        let counters = [10u64, 1, 20, 2, 0, 1500, 3000, 0, 0, 4, 5, 0];
        let counters = counters.map(|n| self.counter(n));
        let mut ifp = Object::new(256)
            .bytes(16, b"em0")
            .int(32, 0x8843)
            .int(36, 0x40)
            .bytes(40, &[2])
            .int(44, 1500);
        for (n, counter) in (0..).zip(counters) {
            ifp = ifp.long(64 + n * 8, counter);
        }
        let ifp = self.bytes(&ifp.0)?;
        self.vnet_variable("vnet_entry_ifnet", &ifp.to_le_bytes())?;
        let vnet = Object::new(64).long(32, self.vnet);
        let vnet = self.bytes(&vnet.0)?;
        self.long("vnet_head", vnet)?;
        self.long("vnet0", vnet)
    }

    /// A variable of which the vnet has its own copy, somewhere else.
    pub(super) fn vnet_variable(
        &mut self,
        name: &'static str,
        value: &[u8],
    ) -> Done<()> {
        self.variable(name, &vec![0; value.len()])?;
        let entry = self.image.symbol(name).map_or(0, |at| at.0);
        if self.vnet == 0 {
            self.vnet = self.copies.wrapping_sub(entry);
        }
        debug_assert!(entry - self.copies.wrapping_sub(self.vnet) < VNET);
        self.vars.set(entry.wrapping_add(self.vnet), value.to_vec());
        Ok(())
    }

    fn interrupts(&mut self) -> Done<()> {
        let all = [("???", 0u64), ("irq1: atkbd0", 12), ("cpu0:timer", 4000)];
        let (mut counts, mut names) = (Vec::new(), Vec::new());
        for (name, count) in all {
            counts.extend(count.to_le_bytes());
            let mut padded = [b' '; NAME];
            padded.iter_mut().zip(name.bytes()).for_each(|(to, b)| *to = b);
            names.extend(padded.iter().take(NAME - 1));
            names.push(0);
        }
        let (counts, names) = (self.bytes(&counts)?, self.bytes(&names)?);
        self.long("intrcnt", counts)?;
        self.long("intrnames", names)?;
        let n = all.len() as u64;
        self.long("sintrcnt", n * 8)?;
        self.long("sintrnames", n * NAME as u64)
    }

    fn environment(&mut self) -> Done<()> {
        let mut table = Vec::new();
        for text in [
            "kernelname=/boot/kernel/kernel",
            "kern.geom.eli.passphrase=hunter2",
            "smbios.system.product=<img src=x>",
        ] {
            table.extend(self.text(text)?.to_le_bytes());
        }
        table.extend([0; 8]);
        let table = self.bytes(&table)?;
        self.long("kenvp", table)
    }

    fn swap(&mut self) -> Done<()> {
        let name = offset("cdev", "si_name");
        let cdev = self.bytes(&Object::new(480).bytes(name, b"ada0p3").0)?;
        let device = offset("vnode", "v_rdev");
        let vnode = self.bytes(&Object::new(440).long(device, cdev).0)?;
        let swap = Object::new(64).int(4, 1024).int(8, 16).long(16, vnode);
        let swap = self.bytes(&swap.0)?;
        let head = [swap.to_le_bytes(), [0; 8]].concat();
        self.variable("swtailq", &head)
    }
}
