// SPDX-License-Identifier: BSD-2-Clause
//! The command of `--exec`: once for each dump, one after the other, each in a
//! process group of its own.

use crate::report::{complain, note};
use livedump_vmcore::chain;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);
/// How long a command may take once the server has ended.
const GRACE: Duration = Duration::from_secs(5);

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
        match run(command, &env, ending) {
            Ok(status) if status.success() => {}
            Ok(status) => note(format_args!("--exec: {}", words(status))),
            Err(e) => complain(format_args!("--exec: {}", chain(&e))),
        }
    }
}

fn words(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit status {code}"),
        None => format!("signal {}", status.signal().unwrap_or_default()),
    }
}

fn run(
    command: &OsString,
    env: &Env,
    ending: &AtomicBool,
) -> io::Result<ExitStatus> {
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        // Ours is data.
        .stdout(io::stderr())
        .process_group(0)
        .spawn()?;
    let mut ended: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if ending.load(Ordering::SeqCst) {
            let since = *ended.get_or_insert_with(Instant::now);
            match since.elapsed() {
                time if time > GRACE.saturating_mul(2) => {
                    signal(&child, Signal::SIGKILL);
                }
                time if time > GRACE => signal(&child, Signal::SIGTERM),
                _ => {}
            }
        }
        sleep(POLL);
    }
}

fn signal(child: &Child, signal: Signal) {
    if let Ok(group) = i32::try_from(child.id()) {
        // It may be gone already.
        let _ = killpg(Pid::from_raw(group), signal);
    }
}
