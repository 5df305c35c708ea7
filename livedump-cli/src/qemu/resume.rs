// SPDX-License-Identifier: BSD-2-Clause
//! A process that resumes a guest which was stopped from here, if this process
//! does not: it may be killed. It has the monitor's socket and reads the last
//! of our words: when nobody can write any more and that was "stop", it sends
//! `cont`.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// QEMU closes a socket that nobody has open any more, so it is kept for a
/// while. Where a dump has yet to end `cont` is refused the first time.
const SCRIPT: &str = r#"trap '' HUP INT TERM
last=
while read -r word; do last=$word; done
[ "$last" = stop ] || exit 0
for n in 1 2 3; do
	printf '\n{"execute":"cont"}\n'
	sleep 1
done
"#;

/// What that process is told by.
#[derive(Debug)]
pub(super) struct Resumer {
    words: Mutex<ChildStdin>,
}

impl Resumer {
    /// Starts it.
    pub(super) fn start(socket: &UnixStream) -> io::Result<Self> {
        let socket: OwnedFd = socket.as_fd().try_clone_to_owned()?;
        let child = Command::new("/bin/sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::from(socket))
            .stderr(Stdio::null())
            // A signal of the terminal's is not for it.
            .process_group(0)
            .spawn()?;
        let words = child.stdin.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { words: Mutex::new(words) })
    }

    fn tell(&self, word: &[u8]) -> io::Result<()> {
        let mut words =
            self.words.lock().unwrap_or_else(PoisonError::into_inner);
        words.write_all(word)
    }

    /// The guest is about to be stopped.
    pub(super) fn arm(&self) -> io::Result<()> {
        self.tell(b"stop\n")
    }

    /// It runs.
    pub(super) fn disarm(&self) {
        // If it is not there any more it does not do anything either.
        let _ = self.tell(b"cont\n");
    }
}
