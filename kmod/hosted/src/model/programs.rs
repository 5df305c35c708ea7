// SPDX-License-Identifier: BSD-2-Clause
//! What programs use: sockets, open files, System V IPC, devices, and the
//! counters of protocols. As little of each as shows whether a reader finds it.
//!
//! Up to 13 the list of an `inpcbinfo` is behind a pointer, and so is the
//! `tcpcb` of an inpcb; since 14 one is in the other.

use super::objects::offset;
use super::procs::Procs;
use super::recipe::Recipe;
use super::release::Release;
use super::system::{Object, System, new};
use super::types::{Kind::*, Struct};
use super::words::RecipeError;

type Done<T> = Result<T, RecipeError>;

const INPCB: u64 = 128;
const TCPCB: u64 = 192;
const SOCKET: u64 = 1024;
/// Of `msqid_kernel`, `semid_kernel` and `shmid_kernel`.
const IPC: u64 = 128;
/// The table that has the second element in use has so many.
const IPCS: u32 = 3;

fn is_embedded(release: &Release) -> bool {
    release.osreldate >= 1_400_000
}

/// Their types.
pub(super) fn structs(release: &Release) -> Vec<Struct> {
    let mut all = vec![
        new(
            "tcpstat",
            24,
            &[
                ("tcps_connattempt", 0, Int(8)),
                ("tcps_accepts", 8, Int(8)),
                ("tcps_connects", 16, Int(8)),
            ],
        ),
        new("udpstat", 8, &[("udps_ipackets", 0, Int(8))]),
        new(
            "devstat",
            256,
            &[
                ("sequence0", 0, Int(4)),
                ("start_count", 8, Int(4)),
                ("end_count", 12, Int(4)),
                ("dev_links", 16, Bytes(8)),
                ("device_name", 24, Bytes(16)),
                ("unit_number", 40, Int(4)),
                ("bytes", 48, Bytes(32)),
                ("operations", 80, Bytes(32)),
                ("duration", 112, Bytes(64)),
                ("busy_time", 176, Bytes(16)),
                ("sequence1", 192, Int(4)),
            ],
        ),
        new(
            "ipc_perm",
            32,
            &[
                ("cuid", 0, Int(4)),
                ("uid", 8, Int(4)),
                ("gid", 12, Int(4)),
                ("mode", 16, Int(2)),
                ("seq", 18, Int(2)),
                ("key", 24, Int(8)),
            ],
        ),
        new("msqid_kernel", IPC as u32, &[("u", 8, Bytes(120))]),
        new(
            "msqid_ds",
            120,
            &[
                ("msg_perm", 0, Bytes(32)),
                ("msg_cbytes", 32, Int(8)),
                ("msg_qnum", 40, Int(8)),
                ("msg_qbytes", 48, Int(8)),
                ("msg_lspid", 56, Int(4)),
                ("msg_lrpid", 60, Int(4)),
            ],
        ),
        new("msginfo", 8, &[("msgmax", 0, Int(4)), ("msgmni", 4, Int(4))]),
        new("semid_kernel", IPC as u32, &[("u", 8, Bytes(120))]),
        new(
            "semid_ds",
            120,
            &[("sem_perm", 0, Bytes(32)), ("sem_nsems", 40, Int(2))],
        ),
        new("seminfo", 4, &[("semmni", 0, Int(4))]),
        new("shmid_kernel", IPC as u32, &[("u", 8, Bytes(120))]),
        new(
            "shmid_ds",
            120,
            &[
                ("shm_perm", 0, Bytes(32)),
                ("shm_segsz", 32, Int(8)),
                ("shm_lpid", 40, Int(4)),
                ("shm_cpid", 44, Int(4)),
                ("shm_nattch", 48, Int(4)),
            ],
        ),
        new("shminfo", 8, &[("shmmax", 0, Int(8))]),
    ];
    let mut inpcb = vec![
        ("inp_list", 0, Bytes(16)),
        ("inp_socket", 16, Pointer),
        ("inp_flags", 24, Int(4)),
        ("inp_vflag", 28, Int(1)),
        ("inp_inc", 32, Bytes(44)),
    ];
    let (list, tcpcb) = match is_embedded(release) {
        true => (
            &[("ipi_listhead", 8, Bytes(8)), ("ipi_smr", 16, Pointer)][..],
            Bytes(INPCB as u32),
        ),
        false => {
            inpcb.push(("inp_ppcb", 80, Pointer));
            (&[("ipi_listhead", 8, Pointer)][..], Pointer)
        }
    };
    all.extend([
        new("inpcb", INPCB as u32, &inpcb),
        new("inpcbinfo", 24, list),
        new(
            "tcpcb",
            TCPCB as u32,
            &[("t_inpcb", 8, tcpcb), ("t_state", 160, Int(4))],
        ),
    ]);
    all
}

/// A socket of the Internet.
struct Inet {
    /// C: `INP_IPV4`, `INP_IPV6`.
    version: u8,
    flags: u32,
    socket: u64,
    /// Foreign, local.
    ports: [u16; 2],
    addresses: [[u8; 16]; 2],
    state: u32,
}

fn v4(address: [u8; 4]) -> [u8; 16] {
    let mut all = [0; 16];
    all.iter_mut().skip(12).zip(address).for_each(|(to, b)| *to = b);
    all
}

impl System<'_> {
    /// Of two protocols. One has counted nothing.
    pub(super) fn protocols(&mut self) -> Done<()> {
        let counters = [3u64, 0, 1001].map(|n| self.counter(n));
        let bytes = counters.map(u64::to_le_bytes).concat();
        self.vnet_variable("vnet_entry_tcpstat", &bytes)?;
        let none = self.counter(0);
        self.vnet_variable("vnet_entry_udpstat", &none.to_le_bytes())
    }

    /// Sockets, and the files of the first process.
    pub(super) fn programs(
        &mut self,
        recipe: &Recipe,
        procs: &Procs,
    ) -> Done<()> {
        let listens = self.socket(
            Object::new(SOCKET)
                .int(offset("socket", "so_options"), 2)
                .int(offset("socket", "sol_qlen"), 1)
                .int(offset("socket", "sol_incqlen"), 2)
                .int(offset("socket", "sol_qlimit"), 128),
        )?;
        let buffers = |receive, send| {
            let of =
                |buffer| offset("socket", buffer) + offset("sockbuf", "sb_ccc");
            Object::new(SOCKET)
                .bytes(offset("socket", "so_state"), &[2])
                .int(of("so_rcv"), receive)
                .int(of("so_snd"), send)
        };
        let connected = self.socket(buffers(17, 4))?;
        let unbound = self.socket(Object::new(SOCKET))?;
        let none = [0; 16];
        let mut linked = none;
        for (to, b) in linked.iter_mut().zip([0xfe, 0x80, 0, 2]) {
            *to = b;
        }
        if let Some(last) = linked.last_mut() {
            *last = 1;
        }
        let new = |socket, version, addresses, ports, state| Inet {
            version,
            flags: 0,
            socket,
            ports,
            addresses,
            state,
        };
        let ends = [v4([192, 0, 2, 7]), v4([127, 0, 0, 1])];
        let mut tcp = vec![
            new(listens, 3, [none; 2], [0, 22], 1),
            new(connected, 1, ends, [49152, 22], 4),
        ];
        // In TIME_WAIT without a socket: up to 13 a flag says so.
        let mut closed = new(0, 1, ends, [49153, 22], 10);
        if !is_embedded(&recipe.release) {
            (closed.state, closed.flags) = (0, 0x0100_0000);
        }
        tcp.push(closed);
        self.inpcbs(recipe, "vnet_entry_tcbinfo", &tcp)?;
        let udp = [new(unbound, 2, [none, linked], [0, 546], 0)];
        self.inpcbs(recipe, "vnet_entry_udbinfo", &udp)?;
        let [here, there] = [buffers(5, 0), buffers(0, 0)];
        let [here, there] = [self.socket(here)?, self.socket(there)?];
        self.local(here, there)?;
        // The first that the recipe names.
        let mut own = procs.list().into_iter().map(|p| p.pid);
        let first = own.find(|pid| *pid > 1);
        let first = first.and_then(|pid| procs.address(pid));
        let Some(proc) = first else { return Ok(()) };
        let file = self.named_file()?;
        self.files(proc, &[(1, file), (2, connected), (2, here)])
    }

    fn socket(&mut self, socket: Object) -> Done<u64> {
        self.object(socket)
    }

    fn object(&mut self, object: Object) -> Done<u64> {
        self.bytes(&object.0)
    }

    fn inpcbs(
        &mut self,
        recipe: &Recipe,
        name: &'static str,
        all: &[Inet],
    ) -> Done<()> {
        let embedded = is_embedded(&recipe.release);
        let mut next = 0;
        for it in all.iter().rev() {
            let ends = 32 + offset("in_conninfo", "inc_ie");
            let at = |name| ends + offset("in_endpoints", name);
            let [foreign, local] = it.ports.map(u16::to_be_bytes);
            let [foreign_address, local_address] = it.addresses;
            let mut inpcb = Object::new(INPCB)
                .long(0, next)
                .long(16, it.socket)
                .int(24, it.flags)
                .bytes(28, &[it.version])
                .bytes(at("ie_fport"), &foreign)
                .bytes(at("ie_lport"), &local)
                .bytes(at("ie_dependfaddr"), &foreign_address)
                .bytes(at("ie_dependladdr"), &local_address);
            let tcpcb = Object::new(TCPCB).int(160, it.state);
            next = if embedded {
                self.object(tcpcb.bytes(8, &inpcb.0))? + 8
            } else {
                let tcpcb = self.object(tcpcb)?;
                inpcb = inpcb.long(80, tcpcb);
                self.object(inpcb)?
            };
        }
        let head = match embedded {
            true => next,
            false => self.bytes(&next.to_le_bytes())?,
        };
        self.vnet_variable(name, &Object::new(24).long(8, head).0)
    }

    /// Two that are connected, of which one has a path.
    fn local(&mut self, here: u64, there: u64) -> Done<()> {
        let path = b"/var/run/log\0";
        let address = [&[path.len() as u8 + 2, 1][..], path].concat();
        let address = self.bytes(&address)?;
        let at = |name| offset("unpcb", name);
        let other = self.object(
            Object::new(320)
                .long(at("unp_socket"), there)
                .long(at("unp_addr"), address),
        )?;
        let unpcb = Object::new(320)
            .long(at("unp_link"), other)
            .long(at("unp_socket"), here)
            .long(at("unp_conn"), other);
        let unpcb = self.object(unpcb)?;
        self.vars.set(other + at("unp_conn"), unpcb.to_le_bytes().to_vec());
        self.long("unp_shead", unpcb)?;
        self.long("unp_dhead", 0)?;
        self.long("unp_sphead", 0)
    }

    /// `/var/notes`, inode 42.
    fn named_file(&mut self) -> Done<u64> {
        let mount = self.ufs;
        let at = |name| offset("vnode", name);
        let root = Object::new(440)
            .bytes(0, &[2])
            .long(at("v_mount"), mount)
            .bytes(at("v_vflag"), &[1]);
        let root = self.object(root)?;
        let entry = Object::new(96)
            .long(offset("namecache", "nc_dvp"), root)
            .bytes(offset("namecache", "nc_nlen"), &[5])
            .bytes(offset("namecache", "nc_name"), b"notes");
        let entry = self.object(entry)?;
        let inode = Object::new(192).long(offset("inode", "i_number"), 42);
        let inode = self.object(inode)?;
        let vnode = Object::new(440)
            .bytes(0, &[1])
            .long(at("v_data"), inode)
            .long(at("v_mount"), mount)
            .long(at("v_cache_dst"), entry);
        self.object(vnode)
    }

    /// Opens vnodes and sockets, after a descriptor that is free.
    fn files(&mut self, proc: u64, files: &[(u8, u64)]) -> Done<()> {
        let entry = 48;
        let first = offset("fdescenttbl", "fdt_ofiles");
        let count = files.len() as u64 + 1;
        let mut table = Object::new(first + entry * count).int(0, count as u32);
        for (n, &(kind, what)) in (1..).zip(files) {
            let at = |name| offset("file", name);
            let to = at(if kind == 1 { "f_vnode" } else { "f_data" });
            let file = Object::new(80)
                .int(at("f_flag"), 3)
                .long(to, what)
                .bytes(at("f_type"), &[kind]);
            let file = self.object(file)?;
            table = table.long(first + n * entry, file);
        }
        let table = self.object(table)?;
        let fd = Object::new(88).long(offset("filedesc", "fd_files"), table);
        let fd = self.object(fd)?;
        self.vars.set(proc + self.fd, fd.to_le_bytes().to_vec());
        Ok(())
    }

    /// Of the second device one transaction has not ended.
    pub(super) fn devices(&mut self) -> Done<()> {
        let mut next = 0;
        for (unit, pending) in [(1, 1), (0, 0)] {
            let device = Object::new(256)
                .int(0, 7)
                .int(8, 12 + pending)
                .int(12, 12)
                .long(16, next)
                .bytes(24, b"ada")
                .int(40, unit)
                .long(56, 8192)
                .long(64, 512)
                .long(88, 10)
                .long(96, 2)
                .long(112 + 16, 3)
                .long(112 + 24, 1 << 63)
                .long(176, 4)
                .int(192, 7);
            next = self.object(device)?;
        }
        let head = [next.to_le_bytes(), [0; 8]].concat();
        self.variable("device_statq", &head)
    }

    /// One of each, the second of its table.
    pub(super) fn ipc(&mut self) -> Done<()> {
        let perm = |flags: u16| {
            let mode = (flags | 0o640).to_le_bytes();
            Object::new(IPC)
                .int(8, 1001)
                .int(16, 1002)
                .int(20, 20)
                .bytes(24, &mode)
                .bytes(26, &5u16.to_le_bytes())
                .long(32, 5432)
        };
        let queue = perm(0)
            .long(40, 300)
            .long(48, 4)
            .long(56, 2048)
            .int(64, 200)
            .int(68, 300);
        let semaphores = perm(0o1000).bytes(48, &[17]);
        let segment = perm(0x800 | 0x400)
            .long(40, 65536)
            .int(48, 300)
            .int(52, 200)
            .int(56, 2);
        for (name, object) in
            [("msqids", queue), ("sema", semaphores), ("shmsegs", segment)]
        {
            let table = Object::new(IPC * u64::from(IPCS));
            let table = self.object(table.bytes(IPC, &object.0))?;
            self.long(name, table)?;
        }
        let count = IPCS.to_le_bytes();
        self.variable("msginfo", &[[0, 64, 0, 0], count].concat())?;
        self.variable("seminfo", &count)?;
        self.long("shminfo", 1 << 29)?;
        self.variable("shmalloced", &count)
    }
}
