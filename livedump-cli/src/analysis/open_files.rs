// SPDX-License-Identifier: BSD-2-Clause
//! The open files of each process, as fstat(1) shows them. C: <sys/file.h>,
//! <sys/filedesc.h>, <sys/vnode.h>; the number of an inode is its file
//! system's: <ufs/ufs/inode.h>, <fs/tmpfs/tmpfs.h>, <fs/devfs/devfs.h>.

use super::descriptors::Descriptors;
use super::explain::fields::Fields;
use super::explain::vnodes;
use super::target::{Target, at};
use super::threads::Threads;
use super::types::{AnyFields, Field};
use super::unavailable::Unavailable;
use memdev::addr::Vaddr;
use std::collections::HashMap;
use std::rc::Rc;

/// C: `DTYPE_*`, <sys/file.h>, the same from 12 to 15.
const KINDS: [&str; 17] = [
    "none", "vnode", "socket", "pipe", "fifo", "kqueue", "crypto", "mqueue",
    "shm", "sem", "pts", "dev", "procdesc", "eventfd", "timerfd", "inotify",
    "jaildesc",
];
/// C: `enum vtype`, <sys/vnode.h>.
const VNODES: [&str; 9] = [
    "none",
    "regular",
    "directory",
    "block",
    "character",
    "link",
    "socket",
    "fifo",
    "dead",
];
/// C: FREAD and FWRITE, <sys/fcntl.h>.
const READ: u64 = 1;
const WRITE: u64 = 2;
/// C: SPECNAMELEN is 255.
const MAX_NAME: usize = 256;
/// Files that are described, and vnodes of them.
const MAX_FILES: usize = 1 << 16;
const MAX_VNODES: usize = 1 << 15;

/// What a file is open as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// A descriptor.
    Number(u64),
    /// The program that runs.
    Text,
    /// The current directory.
    Directory,
    /// The root directory.
    Root,
    /// The root directory of the jail.
    Jail,
}

/// A file with a vnode. What could not be read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// `regular`, `directory`
    pub kind: Option<&'static str>,
    /// Where its file system is mounted.
    pub mount: Option<String>,
    /// The type of that.
    pub fstype: Option<String>,
    /// The number of its inode, of file systems that are known here.
    pub inode: Option<u64>,
    /// Its path, where the name cache or a device has it.
    pub path: Option<String>,
}

/// One that is open. What could not be read is `None`.
#[derive(Clone, Debug)]
pub struct OpenFile {
    /// The process, by its number in the list.
    pub proc: usize,
    /// What it is open as.
    pub open_as: As,
    /// C: `f_type`, in words; a number that is none of them is `None`.
    pub kind: Option<&'static str>,
    /// Open for reading, and for writing.
    pub mode: Option<(bool, bool)>,
    /// C: `f_data`: a socket, a pipe.
    pub data: Option<Vaddr>,
    /// The file, of what has a vnode.
    pub file: Option<Rc<File>>,
}

/// All of them.
#[derive(Debug)]
pub struct OpenFiles {
    /// Process by process.
    pub list: Vec<OpenFile>,
    /// Why there may be more.
    pub problems: Vec<String>,
}

/// C: `struct file`.
#[derive(Clone)]
struct Described {
    kind: Option<&'static str>,
    mode: Option<(bool, bool)>,
    data: Option<Vaddr>,
    file: Option<Rc<File>>,
}

struct Walk<'t, 'a> {
    t: &'t Target<'a>,
    fields: Fields<'t, 'a>,
    kind: Option<Field>,
    data: Option<Field>,
    flags: Option<Field>,
    vnode: Option<Field>,
    v_data: Option<Field>,
    si_name: Option<Field>,
    /// Types of file systems, and where their nodes have the inode's number.
    inodes: [(&'static str, Option<Field>); 3],
    vnodes: HashMap<u64, Rc<File>>,
    files: HashMap<u64, Described>,
    /// There are too many vnodes.
    cut: bool,
}

impl OpenFiles {
    /// Goes through all processes.
    ///
    /// # Errors
    /// It is not told where they are.
    pub fn new(t: &Target<'_>, threads: &Threads) -> Result<Self, Unavailable> {
        let found = Descriptors::new(t, threads)?;
        let any = t.any_fields();
        let file = |name| any.find("file", name);
        let mut walk = Walk {
            t,
            fields: Fields::new(t),
            kind: t.types.field("file", "f_type"),
            data: t.types.field("file", "f_data"),
            flags: file("f_flag"),
            vnode: file("f_vnode"),
            v_data: any.find("vnode", "v_data"),
            si_name: t.types.field("cdev", "si_name"),
            inodes: [
                ("ufs", any.find("inode", "i_number")),
                ("tmpfs", any.find("tmpfs_node", "tn_id")),
                ("devfs", any.find("devfs_dirent", "de_inode")),
            ],
            vnodes: HashMap::new(),
            files: HashMap::new(),
            cut: false,
        };
        let directories = Directories::new(t, &any);
        let mut list = Vec::new();
        let mut descriptors = found.list.into_iter().peekable();
        let mut cut = false;
        for (proc, p) in threads.procs.iter().enumerate() {
            if list.len() >= MAX_FILES {
                cut = true;
                break;
            }
            for (open_as, vnode) in directories.of(t, p.address) {
                list.push(OpenFile {
                    proc,
                    open_as,
                    kind: KINDS.get(1).copied(),
                    mode: None,
                    data: None,
                    file: Some(walk.vnode(vnode)),
                });
            }
            while let Some(it) = descriptors.next_if(|it| it.proc == proc) {
                if list.len() >= MAX_FILES {
                    cut = true;
                    continue;
                }
                let Described { kind, mode, data, file } = walk.file(it.file);
                let open_as = As::Number(it.number);
                list.push(OpenFile { proc, open_as, kind, mode, data, file });
            }
        }
        let mut problems = found.problems;
        if cut {
            problems.push(format!("more than {MAX_FILES} files"));
        }
        if walk.cut {
            problems.push(format!("more than {MAX_VNODES} vnodes"));
        }
        let missing = walk.fields.missing();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            problems.push(format!("type information is missing: {missing}"));
        }
        Ok(Self { list, problems })
    }
}

impl Walk<'_, '_> {
    fn file(&mut self, file: Vaddr) -> Described {
        if let Some(known) = self.files.get(&file.0) {
            return known.clone();
        }
        let get = |field: Option<Field>| self.t.get(file, field?).ok();
        let kind = get(self.kind).map(|n| n & 0xffff);
        let mode = get(self.flags).map(|n| (n & READ != 0, n & WRITE != 0));
        let data = get(self.data).filter(|&n| n != 0).map(Vaddr);
        let vnode = get(self.vnode).filter(|&n| n != 0);
        let described = Described {
            kind: kind.and_then(|n| word(&KINDS, n)),
            mode,
            data,
            file: vnode.map(|vnode| self.vnode(vnode)),
        };
        self.files.insert(file.0, described.clone());
        described
    }

    fn vnode(&mut self, vnode: u64) -> Rc<File> {
        if let Some(known) = self.vnodes.get(&vnode) {
            return Rc::clone(known);
        }
        if self.vnodes.len() >= MAX_VNODES {
            self.cut = true;
            return Rc::default();
        }
        let f = &self.fields;
        let kind = f.get(vnode, "vnode", "v_type");
        let kind = kind.and_then(|n| word(&VNODES, n & 0xff));
        let place = vnodes::place(f, vnode);
        let (mount, path) = match place {
            Some((mount, path)) => (Some(mount), path),
            None => (None, None),
        };
        let fstype = mount.as_ref().map(|mount| mount.fstype.clone());
        // devfs(5) has no entries in the name cache.
        let device = || {
            let cdev = f.pointer(vnode, "vnode", "v_rdev")?;
            let name = at(Vaddr(cdev), self.si_name?);
            let name = self.t.text(name, MAX_NAME)?;
            let on = mount.as_ref()?.on.trim_end_matches('/');
            Some(format!("{on}/{name}"))
        };
        let path = match kind {
            Some("character") => path.or_else(device),
            _ => path,
        };
        let inode = || {
            let fstype = fstype.as_deref()?;
            let known = self.inodes.iter().find(|(name, _)| *name == fstype);
            let node = self.t.get(Vaddr(vnode), self.v_data?).ok()?;
            let node = Some(node).filter(|&node| node != 0)?;
            self.t.get(Vaddr(node), known?.1?).ok()
        };
        let inode = inode();
        let mount = mount.map(|mount| mount.on);
        let file = Rc::new(File { kind, mount, fstype, inode, path });
        self.vnodes.insert(vnode, Rc::clone(&file));
        file
    }
}

fn word(words: &[&'static str], n: u64) -> Option<&'static str> {
    words.get(usize::try_from(n).ok()?).copied()
}

/// Where a process has its program and its directories: since 13 in `struct
/// pwd`, before that in `struct filedesc`.
struct Directories {
    text: Option<Field>,
    /// From the process to what has the next fields.
    path: Vec<Field>,
    vnodes: Vec<(As, Field)>,
}

impl Directories {
    fn new(t: &Target<'_>, any: &AnyFields<'_>) -> Self {
        let text = any.find("proc", "p_textvp");
        let since_13 =
            any.find("proc", "p_pd").zip(any.find("pwddesc", "pd_pwd"));
        let (path, of, names) = match since_13 {
            Some((pd, pwd)) => {
                let names = ["pwd_cdir", "pwd_rdir", "pwd_jdir"];
                (vec![pd, pwd], "pwd", names)
            }
            None => {
                let path = t.types.field("proc", "p_fd");
                let names = ["fd_cdir", "fd_rdir", "fd_jdir"];
                (path.into_iter().collect(), "filedesc", names)
            }
        };
        let words = [As::Directory, As::Root, As::Jail];
        let found = words.into_iter().zip(names);
        let found = found.filter_map(|(word, name)| {
            Some((word, any.find(of, name).filter(|_| !path.is_empty())?))
        });
        let vnodes = found.collect();
        Self { text, path, vnodes }
    }

    /// Those of a process. Kernel processes have no program.
    fn of(&self, t: &Target<'_>, proc: Vaddr) -> Vec<(As, u64)> {
        let pointer = |at: Vaddr, field: Field| {
            let field = Field { size: 8, ..field };
            t.get(at, field).ok().filter(|&n| n != 0)
        };
        let mut all = Vec::new();
        let text = self.text.and_then(|text| pointer(proc, text));
        let Some(text) = text else { return all };
        all.push((As::Text, text));
        let mut from = proc;
        for &field in &self.path {
            match pointer(from, field) {
                Some(next) => from = Vaddr(next),
                None => return all,
            }
        }
        for &(word, field) in &self.vnodes {
            all.extend(pointer(from, field).map(|vnode| (word, vnode)));
        }
        all
    }
}
