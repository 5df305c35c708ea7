// SPDX-License-Identifier: BSD-2-Clause
//! What the tool reads, by the kernel's count of it.

use crate::tool::program;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::path::Path;
use std::process::{Command, Stdio};

/// Bytes that a command reads of all files, those of the system included;
/// `None` where that is not counted.
pub fn read_by(path: &Path, command: &str, status: i32) -> Option<u64> {
    let mut child = Command::new(program())
        .arg(command)
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    let ended = waitid(Id::Pid(Pid::from_raw(pid)), flags).unwrap();
    let io = std::fs::read_to_string(format!("/proc/{pid}/io"));
    child.wait().unwrap();
    let WaitStatus::Exited(_, code) = ended else { panic!("{ended:?}") };
    assert_eq!(code, status, "{command}");
    let io = io.ok()?;
    let count = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    Some(count.unwrap().parse().unwrap())
}
