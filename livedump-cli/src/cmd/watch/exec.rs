// SPDX-License-Identifier: BSD-2-Clause
//! `--exec`: a command after each dump, ended when we are told to stop.

use crate::cmd::capture::captured::Captured;
use crate::shell;
use crate::signals::{Event, Signals};
use crate::sleep::sleep;
use nix::sys::signal::Signal;
use std::ffi::OsStr;
use std::io;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

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
    let info = dump.info.clone().unwrap_or_default();
    let number = dump.number.to_string();
    let env = [
        ("LIVEDUMP_FILE", dump.file.as_os_str()),
        ("LIVEDUMP_INFO", info.as_os_str()),
        ("LIVEDUMP_NUMBER", OsStr::new(&number)),
        ("LIVEDUMP_VERDICT", OsStr::new(dump.verdict.word())),
    ];
    let mut child = shell::start(command, env)?;
    let mut wait = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(match shell::failure(status) {
                None => CommandStatus::Success,
                Some(how) => CommandStatus::Failure(how),
            });
        }
        match signals.events().recv_timeout(wait) {
            Ok(Event::Stop(signal)) => {
                shell::end(&mut child)?;
                return Ok(CommandStatus::Stopped(signal));
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            // Its end is all there is left to wait for.
            Err(RecvTimeoutError::Disconnected) => sleep(wait),
        }
        wait = (wait * 2).min(shell::POLL_INTERVAL);
    }
}
