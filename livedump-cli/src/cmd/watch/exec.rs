// SPDX-License-Identifier: BSD-2-Clause
//! `--exec`: a command after each dump, in a process group of its own, so
//! that what it starts ends with it when we are told to stop.

use crate::cmd::capture::captured::Captured;
use crate::signals::{Event, Signals};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long it may take to clear up when it is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// How it ended.
#[derive(Debug)]
pub(super) enum CommandStatus {
    /// Well.
    Success,
    /// Otherwise, and how.
    Failure(String),
    /// We were told to stop, and so was it.
    Stopped(Signal),
}

pub(super) fn run(
    command: &str,
    dump: &Captured,
    signals: &Signals,
) -> io::Result<CommandStatus> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .env("LIVEDUMP_FILE", dump.file.as_os_str())
        .env("LIVEDUMP_INFO", dump.info.clone().unwrap_or_default().as_os_str())
        .env("LIVEDUMP_NUMBER", dump.number.to_string())
        .env("LIVEDUMP_VERDICT", dump.verdict.word())
        .stdin(Stdio::null())
        // Ours is data.
        .stdout(io::stderr())
        .process_group(0)
        .spawn()?;
    let mut wait = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status_of(status));
        }
        match signals.events().recv_timeout(wait) {
            Ok(Event::Stop(signal)) => {
                end(&mut child)?;
                return Ok(CommandStatus::Stopped(signal));
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            // Its end is all there is left to wait for.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(wait),
        }
        wait = (wait * 2).min(POLL_INTERVAL);
    }
}

fn status_of(status: ExitStatus) -> CommandStatus {
    match (status.code(), status.signal()) {
        (Some(0), _) => CommandStatus::Success,
        (Some(code), _) => {
            CommandStatus::Failure(format!("exit status {code}"))
        }
        (None, signal) => CommandStatus::Failure(format!(
            "signal {}",
            signal.unwrap_or_default()
        )),
    }
}

/// Whether a process group has processes.
fn is_alive(group: Pid) -> bool {
    killpg(group, None) != Err(Errno::ESRCH)
}

fn end(child: &mut Child) -> io::Result<()> {
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
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}
