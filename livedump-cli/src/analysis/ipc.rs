// SPDX-License-Identifier: BSD-2-Clause
//! System V IPC, as ipcs(1) shows it: message queues, sets of semaphores,
//! segments of shared memory, and their limits. C: `msqids`, sysv_msg.c;
//! `sema`, sysv_sem.c; `shmsegs`, sysv_shm.c; <sys/ipc.h>.

use super::target::{Target, at, read_error_text};
use super::types::{AnyFields, Field};
use super::unavailable::Unavailable;
use memdev::addr::Vaddr;

/// Elements of a table.
const MAX_ELEMENTS: u64 = 1 << 16;
/// C: `SEM_ALLOC`, <sys/sem.h>.
const SEM_ALLOC: u64 = 0o1000;
/// C: `SHMSEG_ALLOCATED` and `SHMSEG_REMOVED`, <sys/shm.h>.
const SHMSEG_ALLOCATED: u64 = 0x800;
const SHMSEG_REMOVED: u64 = 0x400;
/// What any of them may be: read and written by the user, the group, others.
const MODE: u64 = 0o777;

const LIMITS: [(&str, &[&str]); 3] = [
    ("msginfo", &["msgmax", "msgmni", "msgmnb", "msgtql", "msgssz", "msgseg"]),
    (
        "seminfo",
        &[
            "semmni", "semmns", "semmnu", "semmsl", "semopm", "semume",
            "semusz", "semvmx", "semaem",
        ],
    ),
    ("shminfo", &["shmmax", "shmmin", "shmmni", "shmseg", "shmall"]),
];

/// What all of them have. What could not be read is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipc {
    /// C: `IXSEQ_TO_IPCID`.
    pub id: Option<u64>,
    /// 0 where it has none.
    pub key: Option<i64>,
    /// Its mode, without flags.
    pub mode: Option<u64>,
    /// The owner.
    pub uid: Option<u64>,
    /// Its group.
    pub gid: Option<u64>,
    /// Who made it.
    pub creator: Option<u64>,
}

/// A message queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// What all have.
    pub ipc: Ipc,
    /// Messages.
    pub messages: Option<u64>,
    /// Their bytes.
    pub bytes: Option<u64>,
    /// Bytes there may be.
    pub limit: u64,
    /// The process that sent last, and the one that received last.
    pub last: [Option<u64>; 2],
}

/// A set of semaphores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Semaphores {
    /// What all have.
    pub ipc: Ipc,
    /// How many it has.
    pub count: Option<u64>,
}

/// A segment of shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// What all have.
    pub ipc: Ipc,
    /// Its bytes.
    pub bytes: Option<u64>,
    /// How often it is attached.
    pub attached: Option<u64>,
    /// The process that made it, and the one that used it last.
    pub processes: [Option<u64>; 2],
    /// It is removed when nothing has it attached.
    pub removed: bool,
}

/// All of them; each may be unknown, or not be in the kernel.
#[derive(Debug)]
pub struct Objects {
    /// Message queues.
    pub queues: Result<Vec<Queue>, Unavailable>,
    /// Sets of semaphores.
    pub semaphores: Result<Vec<Semaphores>, Unavailable>,
    /// Segments of shared memory.
    pub segments: Result<Vec<Segment>, Unavailable>,
    /// Limits by their names.
    pub limits: Vec<(&'static str, u64)>,
    /// Why there may be more.
    pub problems: Vec<String>,
}

impl Objects {
    /// Reads the tables.
    #[must_use]
    pub fn new(t: &Target<'_>) -> Self {
        let mut f = t.any_fields();
        let mut problems = Vec::new();
        let queues = queues(t, &mut f, &mut problems);
        let semaphores = semaphores(t, &mut f, &mut problems);
        let segments = segments(t, &mut f, &mut problems);
        let mut limits = Vec::new();
        for (of, names) in LIMITS {
            let Some(info) = t.address(of) else { continue };
            limits.extend(names.iter().filter_map(|name| {
                Some((*name, t.get(info, f.find(of, name)?).ok()?))
            }));
        }
        Self { queues, semaphores, segments, limits, problems }
    }
}

/// A table of `count` elements that a variable points to.
struct Table {
    name: &'static str,
    first: u64,
    count: u64,
    bytes: u64,
}

impl Table {
    /// The elements that `is_used`, with their index.
    fn used(
        &self,
        problems: &mut Vec<String>,
        is_used: impl Fn(Vaddr) -> Result<bool, livedump_vmcore::ReadError>,
    ) -> Vec<(u64, Vaddr)> {
        let mut used = Vec::new();
        if self.first == 0 {
            return used;
        }
        for n in 0..self.count {
            let skip = n.wrapping_mul(self.bytes);
            let at = Vaddr(self.first.wrapping_add(skip));
            match is_used(at) {
                Ok(true) => used.push((n, at)),
                Ok(false) => {}
                Err(e) => {
                    let (name, why) = (self.name, read_error_text(&e));
                    problems.push(format!("{name} from {n} on: {why}"));
                    break;
                }
            }
        }
        used
    }
}

/// C: `struct ipc_perm`, within another.
struct Perm {
    at: Field,
    seq: Field,
    key: Field,
    mode: Field,
    uid: Field,
    gid: Field,
    creator: Field,
}

impl Perm {
    fn new(f: &mut AnyFields<'_>, path: &[(&str, &str)]) -> Self {
        let at = f.need(path);
        let mut of = |name| f.need(&[("ipc_perm", name)]);
        Self {
            at,
            seq: of("seq"),
            key: of("key"),
            mode: of("mode"),
            uid: of("uid"),
            gid: of("gid"),
            creator: of("cuid"),
        }
    }

    fn flags(
        &self,
        t: &Target<'_>,
        of: Vaddr,
    ) -> Result<u64, livedump_vmcore::ReadError> {
        t.get(at(of, self.at), self.mode)
    }

    fn read(&self, t: &Target<'_>, (n, of): (u64, Vaddr)) -> Ipc {
        let get = |field: Field| t.get(at(of, self.at), field).ok();
        let id = |seq: u64| (seq & 0xffff) << 16 | n & 0xffff;
        Ipc {
            id: get(self.seq).map(id),
            key: get(self.key).map(|key| key as i64),
            mode: get(self.mode).map(|mode| mode & MODE),
            uid: get(self.uid),
            gid: get(self.gid),
            creator: get(self.creator),
        }
    }
}

/// A member of what is variable `of`.
fn limit(
    t: &Target<'_>,
    of: &'static str,
    field: Field,
) -> Result<u64, Unavailable> {
    let value = t.get(t.need(of)?, field);
    let value =
        value.map_err(|source| Unavailable::Read { what: of, source })?;
    match value <= MAX_ELEMENTS {
        true => Ok(value),
        false => Err(Unavailable::Value { name: of, value }),
    }
}

fn queues(
    t: &Target<'_>,
    f: &mut AnyFields<'_>,
    problems: &mut Vec<String>,
) -> Result<Vec<Queue>, Unavailable> {
    let name = "msqids";
    let first = t.need_u64(name)?;
    let bytes = f.size("msqid_kernel");
    let perm = Perm::new(f, &[("msqid_kernel", "u"), ("msqid_ds", "msg_perm")]);
    let [messages, used, most, sent, received] =
        ["msg_qnum", "msg_cbytes", "msg_qbytes", "msg_lspid", "msg_lrpid"]
            .map(|name| f.need(&[("msqid_kernel", "u"), ("msqid_ds", name)]));
    let count = f.need(&[("msginfo", "msgmni")]);
    f.check()?;
    let count = limit(t, "msginfo", count)?;
    let table = Table { name, first, count, bytes };
    let all = table.used(problems, |at| Ok(t.get(at, most)? != 0));
    let one = |it: (u64, Vaddr)| {
        let get = |field: Field| t.get(it.1, field).ok();
        Queue {
            ipc: perm.read(t, it),
            messages: get(messages),
            bytes: get(used),
            limit: get(most).unwrap_or(0),
            last: [get(sent), get(received)],
        }
    };
    Ok(all.into_iter().map(one).collect())
}

fn semaphores(
    t: &Target<'_>,
    f: &mut AnyFields<'_>,
    problems: &mut Vec<String>,
) -> Result<Vec<Semaphores>, Unavailable> {
    let name = "sema";
    let first = t.need_u64(name)?;
    let bytes = f.size("semid_kernel");
    let perm = Perm::new(f, &[("semid_kernel", "u"), ("semid_ds", "sem_perm")]);
    let own = f.need(&[("semid_kernel", "u"), ("semid_ds", "sem_nsems")]);
    let count = f.need(&[("seminfo", "semmni")]);
    f.check()?;
    let count = limit(t, "seminfo", count)?;
    let table = Table { name, first, count, bytes };
    let all =
        table.used(problems, |at| Ok(perm.flags(t, at)? & SEM_ALLOC != 0));
    let one = |it: (u64, Vaddr)| Semaphores {
        ipc: perm.read(t, it),
        count: t.get(it.1, own).ok(),
    };
    Ok(all.into_iter().map(one).collect())
}

fn segments(
    t: &Target<'_>,
    f: &mut AnyFields<'_>,
    problems: &mut Vec<String>,
) -> Result<Vec<Segment>, Unavailable> {
    let name = "shmsegs";
    let first = t.need_u64(name)?;
    let bytes = f.size("shmid_kernel");
    let perm = Perm::new(f, &[("shmid_kernel", "u"), ("shmid_ds", "shm_perm")]);
    let [size, attached, made, last] =
        ["shm_segsz", "shm_nattch", "shm_cpid", "shm_lpid"]
            .map(|name| f.need(&[("shmid_kernel", "u"), ("shmid_ds", name)]));
    f.check()?;
    let count = t.need_number("shmalloced", MAX_ELEMENTS)?;
    let table = Table { name, first, count, bytes };
    let all = table
        .used(problems, |at| Ok(perm.flags(t, at)? & SHMSEG_ALLOCATED != 0));
    let one = |it: (u64, Vaddr)| {
        let get = |field: Field| t.get(it.1, field).ok();
        let flags = perm.flags(t, it.1).unwrap_or(0);
        Segment {
            ipc: perm.read(t, it),
            bytes: get(size),
            attached: get(attached),
            processes: [get(made), get(last)],
            removed: flags & SHMSEG_REMOVED != 0,
        }
    };
    Ok(all.into_iter().map(one).collect())
}
