// SPDX-License-Identifier: BSD-2-Clause
//! Waits for what is no lock: structures of 15.1's, made in the stack of a
//! thread that does not need it, and followed.

use super::Case;
use livedump_cli::analysis::Target;
use livedump_cli::analysis::threads::Threads;
use livedump_cli::analysis::types::Types;
use livedump_vmcore::Vmcore;
use livedump_vmcore::elf::Kernel;
use memdev::addr::Vaddr;
use serde_json::{Value, json};
use std::path::Path;

/// Threads that sleep, one that waits for a lock, and one whose stack is room.
const SLEEPERS: &str = "size 16M\nmachine amd64\nrelease 15.1-RELEASE\n\
     types ctf\nprocess 200 a\n\
     lock held lockmgr owner 100201\nlock vnode lockmgr owner 100201\n\
     thread 100200 room sleep x\nthread 100201 holder sleep y\n\
     thread 100202 waiter wait vnode\n\
     process 300 b\nthread 100300 b sleep z\n\
     process 400 c\nthread 100400 c sleep z\n";

/// A dump, and room in it for structures.
struct Made {
    case: Case,
    types: Types,
    at: u64,
    end: u64,
    /// `struct proc *` by pid.
    procs: Vec<(i32, u64)>,
    /// A lockmgr lock, as it is.
    lock: Vec<u8>,
    /// When the waits began.
    since: u64,
}

impl Made {
    fn new() -> Self {
        let options = ["--freeze", "--max-pause", "1s"];
        let case = Case::with(SLEEPERS, &options);
        let kernel = Kernel::open(Path::new(&case.path("kernel.0"))).unwrap();
        let core = Vmcore::open(Path::new(&case.path("livecore.0"))).unwrap();
        let target = Target::new(&core, &kernel, None).unwrap();
        let threads = Threads::walk(&target).unwrap();
        let room = &threads.list[threads.by_tid(100_200).unwrap()];
        let (start, end) = room.kstack.unwrap();
        let mut lock = vec![0; 40];
        core.read_va(Vaddr(case.lock("held")), &mut lock).unwrap();
        let waiter = &threads.list[threads.by_tid(100_202).unwrap()];
        let procs = threads.procs.iter().map(|p| (p.pid, p.address.0));
        Self {
            types: target.types.clone(),
            at: start,
            end,
            procs: procs.collect(),
            lock,
            since: u64::from(waiter.since.unwrap()),
            case,
        }
    }

    fn room(&mut self, bytes: u64) -> u64 {
        let at = self.at;
        self.at += bytes.next_multiple_of(64);
        // Its frames are at the end, and not asked for.
        assert!(self.at < self.end, "no room");
        at
    }

    fn new_struct(&mut self, of: &'static str) -> u64 {
        let bytes = self.types.size(of).unwrap();
        let at = self.room(bytes);
        self.case.poke(at, &vec![0; bytes as usize]);
        at
    }

    fn offset(&self, of: &'static str, name: &'static str) -> u64 {
        self.types.field(of, name).unwrap().offset
    }

    fn set(&self, at: u64, of: &'static str, name: &'static str, value: u64) {
        let field = self.types.field(of, name).unwrap();
        let bytes = value.to_le_bytes();
        let at = at + field.offset;
        self.case.poke(at, &bytes[..field.size.min(8) as usize]);
    }

    fn put(&self, at: u64, of: &'static str, name: &'static str, text: &str) {
        let at = at + self.offset(of, name);
        self.case.poke(at, format!("{text}\0").as_bytes());
    }

    fn text(&mut self, text: &str) -> u64 {
        let at = self.room(text.len() as u64 + 1);
        self.case.poke(at, format!("{text}\0").as_bytes());
        at
    }

    fn sleeps(&mut self, tid: i32, wmesg: &str, wchan: u64) {
        let td = self.case.thread(tid);
        let text = self.text(wmesg);
        self.set(td, "thread", "td_wmesg", text);
        self.set(td, "thread", "td_wchan", wchan);
        self.set(td, "thread", "td_slptick", self.since);
    }

    /// A UFS on da0p2, mounted on /var.
    fn mount(&mut self) -> u64 {
        let mount = self.new_struct("mount");
        let stat = mount + self.offset("mount", "mnt_stat");
        self.put(stat, "statfs", "f_mntonname", "/var");
        self.put(stat, "statfs", "f_mntfromname", "/dev/da0p2");
        self.put(stat, "statfs", "f_fstypename", "ufs");
        mount
    }

    /// A process opens something.
    fn opens(&mut self, pid: i32, kind: u64, data: &[u64]) {
        let fd = self.new_struct("filedesc");
        let entry = self.types.size("filedescent").unwrap();
        let first = self.offset("fdescenttbl", "fdt_ofiles");
        let table = self.room(first + entry * data.len() as u64);
        self.set(table, "fdescenttbl", "fdt_nfiles", data.len() as u64);
        for (n, &data) in (0..).zip(data) {
            let file = self.new_struct("file");
            self.set(file, "file", "f_type", kind);
            self.set(file, "file", "f_data", data);
            let at = table + first + n * entry;
            self.set(at, "filedescent", "fde_file", file);
        }
        self.set(fd, "filedesc", "fd_files", table);
        let proc = self.procs.iter().find(|p| p.0 == pid).unwrap().1;
        self.set(proc, "proc", "p_fd", fd);
    }

    fn explain(&self, status: i32) -> Value {
        self.case.run("explain", &["--json"]).expect(status).json()
    }
}

fn root<'v>(found: &'v Value, kind: &str) -> &'v Value {
    let all = found["roots"].as_array().unwrap();
    let of = all.iter().find(|r| r["kind"] == kind);
    of.unwrap_or_else(|| panic!("no {kind}: {found:#}"))
}

#[test]
fn a_buffer_leads_to_its_device_and_a_lock_of_a_vnode_to_its_path() {
    let mut m = Made::new();
    let mount = m.mount();
    // The lock is within a vnode; its neighbour is not asked for.
    let vnode = m.case.lock("vnode") - m.offset("vnode", "v_lock");
    m.set(vnode, "vnode", "v_type", 1);
    m.set(vnode, "vnode", "v_mount", mount);
    m.set(vnode, "vnode", "v_vnlock", m.case.lock("vnode"));
    m.set(vnode, "vnode", "v_vflag", 0);
    let top = m.new_struct("vnode");
    m.set(top, "vnode", "v_vflag", 1);
    let entry = m.room(128);
    m.set(entry, "namecache", "nc_dvp", top);
    m.set(entry, "namecache", "nc_nlen", 8);
    m.put(entry, "namecache", "nc_name", "messages");
    m.set(vnode, "vnode", "v_cache_dst", entry);
    let buf = m.new_struct("buf");
    let name = m.text("bufwait");
    let lock = m.lock.clone();
    let at = buf + m.offset("buf", "b_lock");
    m.case.poke(at, &lock);
    m.set(at, "lock_object", "lo_name", name);
    m.set(buf, "buf", "b_vp", vnode);
    m.set(buf, "buf", "b_iocmd", 1);
    m.set(buf, "buf", "b_bcount", 16384);
    m.sleeps(100_201, "biord", buf);
    let found = m.explain(1);
    let device = root(&found, "device");
    assert_eq!(device["name"], "da0p2");
    assert_eq!(device["count"], 2);
    assert_eq!(device["stuck"], true);
    let path = device["path"].as_array().unwrap();
    let objects: Vec<_> =
        path.iter().map(|w| w["object"].as_str().unwrap()).collect();
    assert!(objects[0].ends_with(", /var/messages on /var (ufs)"), "{path:?}");
    let read = "a read of 16384 bytes from da0p2, /var/messages on /var (ufs)";
    assert_eq!(objects[1], read);
    assert_eq!(found["missing"], json!([]));
    let summary = found["summary"].as_str().unwrap();
    assert!(summary.contains("2 of ") && summary.contains(read), "{summary}");
    // A name that is not as long as it says, or a loop, is no path.
    m.set(entry, "namecache", "nc_nlen", 7);
    let found = m.explain(1);
    let object = root(&found, "device")["path"][0]["object"].clone();
    assert!(object.as_str().unwrap().ends_with(", a file on /var (ufs)"));
    m.set(entry, "namecache", "nc_nlen", 8);
    m.set(entry, "namecache", "nc_dvp", vnode);
    let found = m.explain(1);
    let object = root(&found, "device")["path"][0]["object"].clone();
    assert!(object.as_str().unwrap().ends_with(", a file on /var (ufs)"));
    // What is no buffer is not one.
    m.set(at, "lock_object", "lo_name", m.at);
    let found = m.explain(1);
    assert_eq!(found["roots"][0]["thread"]["tid"], 100_201);
}

#[test]
fn processes_that_read_each_others_pipes_are_a_cycle() {
    let mut m = Made::new();
    let [a, a_peer, b, b_peer] = [(); 4].map(|()| m.new_struct("pipe"));
    for (one, other) in [(a, a_peer), (b, b_peer)] {
        m.set(one, "pipe", "pipe_peer", other);
        m.set(other, "pipe", "pipe_peer", one);
    }
    // 300 reads a, which 400 writes; 400 reads b, which 300 writes.
    m.opens(300, 3, &[a, b_peer, a_peer]);
    m.opens(400, 3, &[b, a_peer]);
    m.sleeps(100_300, "piperd", a);
    m.sleeps(100_400, "piperd", b);
    let found = m.explain(1);
    let cycle = root(&found, "cycle");
    assert_eq!(cycle["stuck"], true);
    let mut ids = [0, 1].map(|n| cycle["path"][n]["tid"].as_i64().unwrap());
    ids.sort_unstable();
    assert_eq!(ids, [100_300, 100_400]);
    assert_eq!(cycle["path"][0]["object"], "data from a pipe");
    // One of them sleeps for something else: it may have nothing to write.
    m.sleeps(100_400, "select", a + 8);
    let found = m.explain(1);
    let end = found["roots"].as_array().unwrap().iter();
    let end = end.filter(|r| r["thread"]["tid"] == 100_400);
    let end: Vec<_> = end.collect();
    assert_eq!((end.len(), &end[0]["stuck"]), (1, &json!(false)));
    // More than one may write.
    m.opens(200, 3, &[a_peer]);
    let found = m.explain(1);
    let peer = root(&found, "peer");
    let name = "one of c (pid 400), a (pid 200)";
    assert_eq!((&peer["name"], &peer["stuck"]), (&json!(name), &json!(false)));
}

#[test]
fn local_sockets_lead_to_their_peers() {
    let mut m = Made::new();
    let [a, b] = [(); 2].map(|()| m.new_struct("socket"));
    let [ap, bp] = [(); 2].map(|()| m.new_struct("unpcb"));
    for (so, pcb, other) in [(a, ap, bp), (b, bp, ap)] {
        m.set(so, "socket", "so_pcb", pcb);
        m.set(pcb, "unpcb", "unp_socket", so);
        m.set(pcb, "unpcb", "unp_conn", other);
    }
    m.opens(300, 2, &[a]);
    m.opens(400, 2, &[b]);
    let rcv = m.offset("socket", "so_rcv") + m.offset("sockbuf", "sb_acc");
    m.sleeps(100_300, "sbwait", a + rcv);
    let found = m.explain(1);
    let ends = found["roots"].as_array().unwrap();
    let end = ends.iter().find(|r| r["thread"]["tid"] == 100_400).unwrap();
    assert_eq!(end["path"][0]["object"], "data from a local socket");
    // A writer waits on the receive buffer of its peer.
    m.sleeps(100_300, "sbwait", b + rcv);
    let found = m.explain(1);
    let ends = found["roots"].as_array().unwrap();
    let end = ends.iter().find(|r| r["thread"]["tid"] == 100_400).unwrap();
    assert_eq!(end["path"][0]["object"], "room in a local socket");
}

#[test]
fn memory_zones_servers_and_suspended_file_systems_are_roots() {
    let mut m = Made::new();
    m.sleeps(100_300, "vmwait", 0xffff_ffff_8100_0000);
    let zone = m.new_struct("uma_zone");
    let name = m.text("mbuf_cluster");
    m.set(zone, "uma_zone", "uz_name", name);
    m.set(zone, "uma_zone", "uz_max_items", 7);
    let limit = zone + m.offset("uma_zone", "uz_max_items");
    m.sleeps(100_400, "zonelimit", limit);
    let found = m.explain(1);
    assert_eq!(root(&found, "memory")["name"], "free pages");
    let zone = root(&found, "zone");
    assert_eq!(zone["name"], "mbuf_cluster");
    assert_eq!(zone["details"], json!(["limit: 7 items"]));
    let mount = m.mount();
    let owner = m.case.thread(100_400);
    m.set(mount, "mount", "mnt_susp_owner", owner);
    m.sleeps(100_300, "suspfs", mount + m.offset("mount", "mnt_flag"));
    m.sleeps(100_400, "nfsreq", mount);
    let found = m.explain(1);
    let server = root(&found, "server");
    assert_eq!(
        (&server["name"], &server["count"]),
        (&json!("unknown"), &json!(2))
    );
    let object = &server["path"][0]["object"];
    let suspended = "/var, which is suspended";
    assert!(
        [object, &server["path"][1]["object"]].contains(&&json!(suspended))
    );
}

#[test]
fn nothing_that_a_wait_leads_to_can_end_the_reader() {
    let mut m = Made::new();
    let sleeps = [
        "biord",
        "physrd",
        "bo_wwait",
        "swread",
        "piperd",
        "pipewr",
        "sbwait",
        "zonelimit",
        "vmwait",
        "suspfs",
        "nfsreq",
        "tq_drain",
        "codrain",
    ];
    let itself = m.at + 1024;
    for wchan in [1, 8, u64::MAX, 1 << 47, 0xffff_f800_0000_0000, itself] {
        for wmesg in sleeps {
            m.at = m.at.min(itself - 512);
            let room = m.at;
            m.sleeps(100_300, wmesg, wchan);
            m.at = room;
            let run = m.case.run("explain", &[]);
            assert!([Some(0), Some(1), Some(3)].contains(&run.status));
        }
    }
}
