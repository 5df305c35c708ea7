// SPDX-License-Identifier: BSD-2-Clause
//! A command that is run after a dump (`--exec`), in a process group of its
//! own, so that what it starts ends with it.

use crate::sleep::sleep;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often it is looked whether a command has ended.
pub const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long a command may take to clear up when it is told to stop.
pub const GRACE: Duration = Duration::from_secs(5);

/// Starts a command with sh(1).
///
/// # Errors
/// Why it cannot be started.
pub fn start<N: AsRef<OsStr>, V: AsRef<OsStr>>(
    command: impl AsRef<OsStr>,
    env: impl IntoIterator<Item = (N, V)>,
) -> io::Result<Child> {
    Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .envs(env)
        .stdin(Stdio::null())
        // Ours is data.
        .stdout(io::stderr())
        .process_group(0)
        .spawn()
}

/// How it failed, if it did.
#[must_use]
pub fn failure(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("exit status {code}")),
        (None, signal) => {
            Some(format!("signal {}", signal.unwrap_or_default()))
        }
    }
}

/// Ends a command and what it has started: asked first, then killed.
///
/// # Errors
/// It cannot be waited for.
pub fn end(child: &mut Child) -> io::Result<()> {
    let Ok(group) = i32::try_from(child.id()).map(Pid::from_raw) else {
        return child.kill();
    };
    let send = |signal| {
        // It may be gone already.
        let _ = killpg(group, signal);
    };
    send(Signal::SIGTERM);
    let signalled = Instant::now();
    // The shell may be gone, and what it started be at work yet.
    while child.try_wait()?.is_none() || is_alive(group) {
        if signalled.elapsed() > GRACE {
            send(Signal::SIGKILL);
            child.wait()?;
            break;
        }
        sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// Whether a process group has processes.
fn is_alive(group: Pid) -> bool {
    killpg(group, None) != Err(Errno::ESRCH)
}
