// SPDX-License-Identifier: BSD-2-Clause
//! `livedump receive`, running.

use crate::tool::{CrashDir, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver as Channel, channel};
use std::thread::spawn;
use std::time::Duration;

/// A dump is over by then.
const LONG: Duration = Duration::from_secs(120);

pub struct Receiver {
    pub dir: CrashDir,
    pub address: SocketAddr,
    child: Child,
    stderr: BufReader<ChildStderr>,
    dumps: Channel<Value>,
}

impl Receiver {
    pub fn start(options: &[&str]) -> Self {
        Self::at("127.0.0.1:0", options)
    }

    pub fn at(bind: &str, options: &[&str]) -> Self {
        let dir = CrashDir::new();
        let mut child = Command::new(program())
            .args(["receive", "--json", "--bind", bind])
            .args(options)
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let address = listening(&mut stderr);
        let (send, dumps) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        spawn(move || {
            for line in stdout.lines() {
                let value = serde_json::from_str(&line.unwrap()).unwrap();
                if send.send(value).is_err() {
                    break;
                }
            }
        });
        Self { dir, address, child, stderr, dumps }
    }

    /// Where it listens as well.
    pub fn second_address(&mut self) -> SocketAddr {
        listening(&mut self.stderr)
    }

    /// What is said of the next dump.
    #[track_caller]
    pub fn next(&self) -> Value {
        self.dumps.recv_timeout(LONG).unwrap()
    }

    /// Its contents.
    pub fn read(&self, dump: &Value) -> Vec<u8> {
        std::fs::read(dump["file"].as_str().unwrap()).unwrap()
    }

    /// That nothing was said of a dump.
    pub fn is_silent(&self) -> bool {
        self.dumps.try_recv().is_err()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Stops it: its exit status, what it has said, and of which dumps.
    pub fn stop(mut self) -> (Option<i32>, String, Vec<Value>, CrashDir) {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> (Option<i32>, String, Vec<Value>, CrashDir) {
        let mut text = String::new();
        self.stderr.read_to_string(&mut text).unwrap();
        let status = self.child.wait().unwrap().code();
        let dumps = self.dumps.iter().collect();
        let dir = std::mem::replace(&mut self.dir, CrashDir::new());
        (status, text, dumps, dir)
    }
}

/// The address in the next line.
fn listening(stderr: &mut impl BufRead) -> SocketAddr {
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    line.strip_prefix("livedump: receiving at ")
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{line}"))
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
