// SPDX-License-Identifier: BSD-2-Clause
//! The command of `--exec`: once for each dump, one after the other.

use crate::report::{complain, note};
use crate::shell;
use crate::sleep::sleep;
use livedump_vmcore::chain;
use nix::sys::signal::SigSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, spawn};
use std::time::Instant;

type Env = Vec<(String, String)>;

/// Commands that run or wait for their turn.
#[derive(Debug)]
pub(super) struct Commands {
    queue: Sender<Env>,
    ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Commands {
    /// `blocked` are signals that a command is to have again.
    pub(super) fn start(command: &OsStr, blocked: &SigSet) -> Self {
        let (queue, waiting) = channel();
        let ending = Arc::new(AtomicBool::new(false));
        let (over, command) = (Arc::clone(&ending), command.to_os_string());
        let blocked = *blocked;
        let thread = spawn(move || {
            // A child has the mask of the thread that starts it.
            let _ = blocked.thread_unblock();
            each(&command, &waiting, &over);
        });
        Self { queue, ending, thread }
    }

    pub(super) fn run(&self, env: Env) {
        // Its thread ends after this end of the queue.
        let _ = self.queue.send(env);
    }

    /// Waits for those that are left.
    pub(super) fn end(self) {
        let Self { queue, ending, thread } = self;
        ending.store(true, Ordering::SeqCst);
        drop(queue);
        let _ = thread.join();
    }
}

fn each(command: &OsString, queue: &Receiver<Env>, ending: &AtomicBool) {
    for env in queue {
        match run(command, env, ending) {
            Ok(None) => {}
            Ok(Some(how)) => note(format_args!("--exec: {how}")),
            Err(e) => complain(format_args!("--exec: {}", chain(&e))),
        }
    }
}

/// How it failed, if it did. When the server has ended it may go on for a
/// while.
fn run(
    command: &OsString,
    env: Env,
    ending: &AtomicBool,
) -> io::Result<Option<String>> {
    let mut child = shell::start(command, env)?;
    let mut ended: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(shell::failure(status));
        }
        if ending.load(Ordering::SeqCst) {
            let since = *ended.get_or_insert_with(Instant::now);
            if since.elapsed() > shell::GRACE {
                shell::end(&mut child)?;
                return Ok(Some("ended with the server".into()));
            }
        }
        sleep(shell::POLL_INTERVAL);
    }
}
