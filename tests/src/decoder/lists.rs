// SPDX-License-Identifier: BSD-2-Clause
//! What makes a dump complete and not just well-formed: the message buffer
//! through `msgbufp`, and the whole of allproc with its threads.

use super::Wrong;
use super::bytes::le32;
use super::sections::Dump;
use crate::elf::Symbols;

/// More processes or threads than this are a list that has no end.
const BOUND: usize = 100_000;

/// One process, as the kernel's own list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proc {
    /// p_pid.
    pub pid: u32,
    /// p_comm.
    pub comm: String,
    /// td_tid of each thread.
    pub tids: Vec<u32>,
}

/// C: `struct msgbuf`, its start.
#[derive(Clone, Copy, Debug)]
pub struct Msgbuf {
    /// msg_ptr.
    pub ptr: u64,
    /// msg_size.
    pub size: u32,
    /// msg_wseq.
    pub wseq: u32,
    /// msg_rseq.
    pub rseq: u32,
}

const MSG_MAGIC: u32 = 0x06_3062;

impl Dump {
    fn offset(&self, symbols: &Symbols, name: &str) -> Result<u64, Wrong> {
        Ok(u64::from(self.read32(symbols.get(name)?)?))
    }

    /// Every process from `allproc`, with its threads.
    ///
    /// # Errors
    /// Where the lists lead out of the dump, or have no end.
    pub fn allproc(&self, symbols: &Symbols) -> Result<Vec<Proc>, Wrong> {
        let off = |name| self.offset(symbols, name);
        let p_list = off("proc_off_p_list")?;
        let p_pid = off("proc_off_p_pid")?;
        let p_comm = off("proc_off_p_comm")?;
        let p_threads = off("proc_off_p_threads")?;
        let td_plist = off("thread_off_td_plist")?;
        let td_tid = off("thread_off_td_tid")?;
        let mut procs = Vec::new();
        let mut p = self.read64(symbols.get("allproc")?)?;
        while p != 0 {
            let mut tids = Vec::new();
            let mut td = self.read64(p + p_threads)?;
            while td != 0 {
                tids.push(self.read32(td + td_tid)?);
                td = self.read64(td + td_plist)?;
                if tids.len() > BOUND {
                    return Err("a thread list without an end".into());
                }
            }
            let comm = self.read(p + p_comm, 20)?;
            let comm = comm.split(|&c| c == 0).next().unwrap_or(&[]);
            procs.push(Proc {
                pid: self.read32(p + p_pid)?,
                comm: String::from_utf8_lossy(comm).into_owned(),
                tids,
            });
            if procs.len() > BOUND {
                return Err("allproc without an end".into());
            }
            p = self.read64(p + p_list)?;
        }
        Ok(procs)
    }

    /// The message buffer where `msgbufp` points.
    ///
    /// # Errors
    /// When it leads to none.
    pub fn msgbufp(&self, symbols: &Symbols) -> Result<Msgbuf, Wrong> {
        let at = self.read64(symbols.get("msgbufp")?)?;
        let raw = self.read(at, 24)?;
        let magic = le32(&raw, 8)?;
        if magic != MSG_MAGIC {
            return Err(format!("msgbufp {at:#x}: magic {magic:#x}"));
        }
        Ok(Msgbuf {
            ptr: super::bytes::le64(&raw, 0)?,
            size: le32(&raw, 12)?,
            wseq: le32(&raw, 16)?,
            rseq: le32(&raw, 20)?,
        })
    }
}
