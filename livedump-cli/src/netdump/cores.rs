// SPDX-License-Identifier: BSD-2-Clause
//! Clients that send with the protocol of kdumpd(8): the server's part for
//! them. As for the others, each has a socket of its own.

use super::broker::Broker;
use super::kdumpd::{Core, Refusal, Request, Step, refusal};
use super::keep::{End, Over};
use super::limits::{Limits, Totals};
use super::listener::{Datagram, Listener};
use super::room::Room;
use super::server::{TURN, WAITING, is_of_client};
use super::session::Failure;
use crate::crashdir::CrashDir;
use crate::report::note;
use livedump_vmcore::chain;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Cores at a time.
const MOST: usize = 100;

struct Open<'d> {
    core: Core<'d>,
    socket: UdpSocket,
    /// How it ended, until that was said.
    end: Option<End>,
}

/// All of them.
pub(super) struct Cores<'d> {
    directory: &'d CrashDir,
    listeners: &'d [Listener],
    broker: &'d Broker,
    open: Vec<Open<'d>>,
}

impl<'d> Cores<'d> {
    pub(super) fn new(
        directory: &'d CrashDir,
        listeners: &'d [Listener],
        broker: &'d Broker,
    ) -> Self {
        Self { directory, listeners, broker, open: Vec::new() }
    }

    /// What requests come to, and what packets do.
    pub(super) fn descriptors(
        &self,
    ) -> (Vec<BorrowedFd<'_>>, Vec<BorrowedFd<'_>>) {
        let listeners = self.listeners.iter().map(AsFd::as_fd).collect();
        let sockets = self.open.iter().map(|open| open.socket.as_fd());
        (listeners, sockets.collect())
    }

    /// Bytes of those that are not over.
    pub(super) fn bytes(&self) -> impl Iterator<Item = u64> + '_ {
        let open = self.open.iter().filter(|open| !open.core.is_over());
        open.map(|open| open.core.ranges.bytes())
    }

    /// Whether nobody is waited for.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn requests(
        &mut self,
        n: usize,
        limits: &Limits,
        totals: &mut Totals,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let listeners = self.listeners;
        let Some(listener) = listeners.get(n) else { return Ok(()) };
        for _ in 0..TURN {
            match listener.receive(buffer) {
                Ok(Some(datagram)) => self.request(&datagram, limits, totals),
                Ok(None) => break,
                Err(e) if is_of_client(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn request(
        &mut self,
        datagram: &Datagram<'_>,
        limits: &Limits,
        totals: &mut Totals,
    ) {
        let Datagram { bytes, peer, local } = *datagram;
        let Some(request) = Request::decode(bytes) else {
            totals.ignored = totals.ignored.saturating_add(1);
            return;
        };
        if !limits.allows(peer) {
            totals.refused = totals.refused.saturating_add(1);
            return;
        }
        let again = |open: &&Open<'_>| {
            let of_it = request.as_ref().map(|r| open.core.is_request_again(r));
            open.core.peer == peer && of_it.unwrap_or(false)
        };
        if let Some(open) = self.open.iter().find(again) {
            let _ = open.socket.send(&open.core.accepted());
            return;
        }
        let now = Instant::now();
        if self.open.len() >= MOST {
            self.open.retain(|open| {
                !open.core.is_waiting() || open.core.silence(now) < WAITING
            });
        }
        if self.open.len() >= MOST {
            totals.ignored = totals.ignored.saturating_add(1);
            return;
        }
        let socket = match self.broker.connect(local, peer) {
            Ok(socket) => socket,
            Err(e) => {
                return note(format_args!("answering {peer}: {}", chain(&e)));
            }
        };
        let request = request.and_then(|request| {
            match self.directory.has(&request.name) {
                Ok(false) => Ok(request),
                _ => Err(Refusal::Exists),
            }
        });
        match request {
            Ok(request) => {
                if limits.verbose {
                    note(format_args!("{peer}: {}", request.name));
                }
                let core = Core::new(self.directory, peer, request);
                let _ = socket.send(&core.accepted());
                self.open.push(Open { core, socket, end: None });
            }
            Err(why) => {
                let _ = socket.send(&refusal(why));
            }
        }
    }

    pub(super) fn packets(
        &mut self,
        n: usize,
        room: &mut Room<'_>,
        totals: &mut Totals,
        buffer: &mut [u8],
    ) {
        let Some(open) = self.open.get_mut(n) else { return };
        for _ in 0..TURN {
            let (len, from) = match open.socket.recv_from(buffer) {
                Ok(got) => got,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => continue,
            };
            if from != open.core.peer {
                totals.ignored = totals.ignored.saturating_add(1);
                continue;
            }
            let bytes = buffer.get(..len).unwrap_or_default();
            match open.core.take(bytes, room.left()) {
                Ok((step, answer)) => {
                    if let Some(answer) = answer {
                        let _ = open.socket.send(&answer);
                    }
                    match step {
                        Step::Kept(new) => room.take(new),
                        Step::Ignored => {
                            totals.ignored = totals.ignored.saturating_add(1);
                        }
                        Step::Finished => open.over(End::Finished),
                        Step::GaveUp => {
                            let why = "the client has given up".into();
                            open.over(End::Failed(why));
                        }
                    }
                }
                Err(why) => {
                    if matches!(why, Failure::Space) {
                        let _ = open.socket.send(&refusal(Refusal::Space));
                    }
                    open.over(End::Failed(chain(&why)));
                }
            }
        }
    }

    pub(super) fn tick(
        &mut self,
        now: Instant,
        timeout: Duration,
        linger: Duration,
    ) {
        self.open.retain(|open| {
            let over = open.core.is_over() && open.end.is_none();
            !over || open.core.silence(now) <= linger
        });
        for open in &mut self.open {
            if !open.core.is_over() && open.core.silence(now) > timeout {
                open.over(End::Timeout);
            }
        }
    }

    pub(super) fn stop(&mut self) {
        for open in self.open.iter_mut().filter(|it| !it.core.is_over()) {
            open.over(End::Stopped);
        }
    }

    /// Hands on what is over.
    pub(super) fn over(
        &mut self,
        to: &Sender<Over<'d>>,
        totals: &mut Totals,
        room: &mut Room<'_>,
    ) {
        for open in &mut self.open {
            let Some(end) = open.end.take() else { continue };
            if open.core.file.is_none() && end != End::Finished {
                continue;
            }
            totals.dumps = totals.dumps.saturating_add(1);
            room.ended(open.core.ranges.bytes());
            // The other thread is there until this end is closed.
            let _ = to.send(Over::Core(open.core.take_file(), end));
        }
    }
}

impl Open<'_> {
    fn over(&mut self, end: End) {
        if !self.core.is_over() {
            self.core.end();
            self.end = Some(end);
        }
    }
}
