// SPDX-License-Identifier: BSD-2-Clause
//! The server: one thread takes what comes, for all clients; another one
//! names what is over, since that waits for the disk.
//!
//! A second herald of a client starts a second dump, and the first one goes
//! on: it may be that the machine has started again and panicked again, and
//! then the first one ends by its timeout; or it comes from somebody else,
//! and then nothing comes after it. Dumps of which only the herald has come
//! are few for each address, and the first to be given up when there are too
//! many.

use super::broker::Broker;
use super::cores::Cores;
use super::keep::{End, Ended, Over};
use super::limits::{Limits, Totals};
use super::listener::{Datagram, Listener};
use super::room::Room;
use super::session::{Failure, Session, Taken};
use super::wire::{Kind, Message, encode_ack};
use crate::crashdir::CrashDir;
use crate::report::{human, note};
use crate::signals::{Event, Signals};
use livedump_vmcore::chain;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Datagrams that are taken of one socket before it is another's turn.
pub(super) const TURN: usize = 128;
/// How long nothing may happen before the clocks are looked at.
const TICK: Duration = Duration::from_millis(200);
/// How long the last messages are acknowledged again: kernels send for 12 s.
const LINGER: Duration = Duration::from_secs(15);
/// Dumps at a time.
pub const MAX_DUMPS: usize = 1000;
/// Dumps of one address of which only the herald has come.
const MAX_WAITING: usize = 4;
/// The youngest of those that is given up for another client.
pub(super) const WAITING: Duration = Duration::from_secs(5);
/// Between two notes of the same kind.
const QUIET: Duration = Duration::from_secs(60);

struct Open<'d> {
    session: Session<'d>,
    socket: UdpSocket,
}

/// The server.
pub struct Server<'d> {
    directory: &'d CrashDir,
    listeners: &'d [Listener],
    broker: &'d Broker,
    limits: Limits,
    room: Room<'d>,
    ended: Sender<Over<'d>>,
    open: Vec<Open<'d>>,
    cores: Cores<'d>,
    totals: Totals,
    noted: Option<Instant>,
}

impl<'d> Server<'d> {
    /// One that has not begun; what is over goes to `ended`. `kdumpd` are
    /// listeners for the other protocol.
    #[must_use]
    pub fn new(
        directory: &'d CrashDir,
        listeners: &'d [Listener],
        kdumpd: &'d [Listener],
        broker: &'d Broker,
        limits: Limits,
        max_bytes: Option<u64>,
        ended: Sender<Over<'d>>,
    ) -> Self {
        Self {
            directory,
            listeners,
            broker,
            limits,
            room: Room::new(directory, max_bytes),
            ended,
            open: Vec::new(),
            cores: Cores::new(directory, kdumpd, broker),
            totals: Totals::default(),
            noted: None,
        }
    }

    /// Takes dumps until a signal stops it, or until there were enough. What
    /// has arrived of a dump is kept.
    ///
    /// # Errors
    /// poll(2) fails.
    pub fn run(mut self, signals: &Signals) -> io::Result<Totals> {
        let mut buffer = vec![0; 64 << 10];
        let mut checked = Instant::now();
        self.room.measure(&[]);
        loop {
            for event in signals.events().try_iter() {
                match event {
                    Event::Stop(signal) => {
                        note(format_args!("stopped by {signal}"));
                        return Ok(self.stop());
                    }
                    Event::Info => self.print_status(),
                    Event::Done => {}
                }
            }
            let enough = |count| self.totals.dumps >= count;
            // What was lost of its last acks may be asked for again.
            let over =
                |open: &Open<'_>| open.session.silence(Instant::now()) > LINGER;
            if self.limits.count.is_some_and(enough)
                && self.open.iter().all(over)
                && self.cores.is_idle()
            {
                return Ok(self.stop());
            }
            let [heralds, messages, requests, packets] = self.wait()?;
            for n in heralds {
                self.heralds(n, &mut buffer)?;
            }
            for n in messages {
                self.messages(n, &mut buffer);
            }
            for n in requests {
                let Self { cores, limits, totals, .. } = &mut self;
                cores.requests(n, limits, totals, &mut buffer)?;
            }
            for n in packets {
                let Self { cores, room, totals, .. } = &mut self;
                cores.packets(n, room, totals, &mut buffer);
            }
            self.cores.over(&self.ended, &mut self.totals, &mut self.room);
            if checked.elapsed() >= TICK {
                checked = Instant::now();
                self.tick();
            }
        }
    }

    /// Which listeners, and which clients, have sent something, of either
    /// protocol.
    fn wait(&self) -> io::Result<[Vec<usize>; 4]> {
        let wanted = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let listeners = self.listeners.iter().map(AsFd::as_fd);
        let clients = self.open.iter().map(|open| open.socket.as_fd());
        let (requests, cores) = self.cores.descriptors();
        let counts = [
            self.listeners.len(),
            self.open.len(),
            requests.len(),
            cores.len(),
        ];
        let all = listeners.chain(clients).chain(requests).chain(cores);
        let mut all: Vec<_> = all.map(wanted).collect();
        let time = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
        match poll(&mut all, time) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        let mut ready = all.iter().map(|fd| fd.any().unwrap_or(false));
        Ok(counts.map(|count| {
            let own = ready.by_ref().take(count).enumerate();
            own.filter(|(_, ready)| *ready).map(|(n, _)| n).collect()
        }))
    }

    fn heralds(&mut self, n: usize, buffer: &mut [u8]) -> io::Result<()> {
        let listeners = self.listeners;
        let Some(listener) = listeners.get(n) else { return Ok(()) };
        for _ in 0..TURN {
            match listener.receive(buffer) {
                Ok(Some(datagram)) => self.herald(&datagram),
                Ok(None) => break,
                Err(e) if is_of_client(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn herald(&mut self, datagram: &Datagram<'_>) {
        let Datagram { bytes, peer, local } = *datagram;
        let message = Message::decode(bytes).ok();
        let Some(herald) = message.filter(|m| m.kind == Kind::Herald) else {
            self.totals.ignored = self.totals.ignored.saturating_add(1);
            return;
        };
        if !self.limits.allows(peer) {
            self.totals.refused = self.totals.refused.saturating_add(1);
            return;
        }
        let again = |open: &&Open<'_>| {
            let session = &open.session;
            session.sender.peer == peer && session.is_herald_again(&herald)
        };
        if let Some(open) = self.open.iter().find(again) {
            acknowledge(&open.socket, herald.seqno);
            return;
        }
        if !self.has_place_for(peer) {
            self.complain("too many dumps at a time: a herald was ignored");
            return;
        }
        let socket = match self.broker.connect(local, peer) {
            Ok(socket) => socket,
            Err(e) => {
                let text = format!("answering {peer}: {}", chain(&e));
                return self.complain(&text);
            }
        };
        // No reason to lose a dump.
        let path = herald.path().unwrap_or("");
        let session = Session::new(self.directory, peer, &herald, path);
        acknowledge(&socket, herald.seqno);
        if self.limits.verbose {
            note(format_args!("{peer}: herald"));
        }
        self.open.push(Open { session, socket });
    }

    /// Whether there may be one more; makes place for it if need be.
    fn has_place_for(&mut self, peer: SocketAddr) -> bool {
        let waiting = |open: &&Open<'_>| open.session.is_waiting();
        let of_peer =
            |open: &&Open<'_>| open.session.sender.peer.ip() == peer.ip();
        let own = self.open.iter().filter(waiting).filter(of_peer).count();
        let (crowded, full) =
            (own >= MAX_WAITING, self.open.len() >= MAX_DUMPS);
        if !crowded && !full {
            return true;
        }
        let now = Instant::now();
        let all = self.open.iter().enumerate();
        let candidates = all.filter(|(_, open)| {
            let mine = !crowded || of_peer(open);
            mine && waiting(open) && open.session.silence(now) > WAITING
        });
        let oldest =
            candidates.max_by_key(|(_, open)| open.session.silence(now));
        let Some(oldest) = oldest.map(|(n, _)| n) else { return false };
        self.open.swap_remove(oldest);
        true
    }

    fn messages(&mut self, n: usize, buffer: &mut [u8]) {
        let mut acks = Vec::new();
        for _ in 0..TURN {
            let Some(open) = self.open.get_mut(n) else { return };
            let (len, from) = match open.socket.recv_from(buffer) {
                Ok(got) => got,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // Its port was closed for a moment, say.
                Err(_) => continue,
            };
            let bytes = buffer.get(..len).unwrap_or_default();
            let message = Message::decode(bytes).ok();
            // Before it was connected anybody could send to it.
            let ours = from == open.session.sender.peer;
            let Some(message) = message.filter(|_| ours) else {
                self.totals.ignored = self.totals.ignored.saturating_add(1);
                continue;
            };
            acks.clear();
            let taken =
                open.session.take(&message, self.room.left(), &mut acks);
            for seqno in &acks {
                acknowledge(&open.socket, *seqno);
            }
            match taken {
                Ok(Taken::Kept(new)) if message.kind == Kind::Data => {
                    self.room.take(new);
                }
                Ok(Taken::Kept(_)) => {}
                Ok(Taken::Ignored) => {
                    self.totals.ignored = self.totals.ignored.saturating_add(1);
                }
                Ok(Taken::Finished) => self.end(n, End::Finished),
                Err(why) => return self.fail(n, &why),
            }
        }
    }

    /// Gives up a dump; what there is of it is kept.
    fn fail(&mut self, n: usize, why: &Failure) {
        let text = chain(why);
        self.end(n, End::Failed(text));
        if n < self.open.len() {
            // Its client is not answered any more.
            self.open.swap_remove(n);
        }
    }

    fn end(&mut self, n: usize, end: End) {
        let Some(open) = self.open.get_mut(n) else { return };
        let Some(arriving) = open.session.arriving.take() else { return };
        if arriving.is_empty() {
            return;
        }
        self.totals.dumps = self.totals.dumps.saturating_add(1);
        self.room.ended(arriving.ranges.bytes());
        let sender = open.session.sender.clone();
        // The other thread is there until this end is closed.
        let ended = Ended { sender, arriving, end };
        let _ = self.ended.send(Over::Dump(ended));
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.cores.tick(now, self.limits.timeout, LINGER);
        let mut n = 0usize;
        while let Some(open) = self.open.get(n) {
            let silence = open.session.silence(now);
            if open.session.is_over() {
                if silence > LINGER {
                    self.open.swap_remove(n);
                    continue;
                }
            } else if silence > self.limits.timeout {
                self.end(n, End::Timeout);
                self.open.swap_remove(n);
                continue;
            }
            n = n.saturating_add(1);
        }
        let arriving = self.open.iter().filter_map(|open| {
            open.session.arriving.as_ref().map(|it| it.ranges.bytes())
        });
        let arriving: Vec<_> = arriving.chain(self.cores.bytes()).collect();
        self.room.measure(&arriving);
    }

    fn stop(mut self) -> Totals {
        for n in 0..self.open.len() {
            self.end(n, End::Stopped);
        }
        self.cores.stop();
        self.cores.over(&self.ended, &mut self.totals, &mut self.room);
        self.totals
    }

    fn print_status(&self) {
        let now = Instant::now();
        for open in &self.open {
            let Some(arriving) = &open.session.arriving else { continue };
            note(format_args!(
                "{}: {} in {} s, silent for {} s",
                open.session.sender.peer,
                human(arriving.ranges.bytes()),
                open.session.sender.started.elapsed().as_secs(),
                open.session.silence(now).as_secs()
            ));
        }
        let Totals { dumps, ignored, refused } = self.totals;
        note(format_args!(
            "{dumps} dumps, {ignored} datagrams ignored, {refused} heralds \
             refused, room for {}",
            human(self.room.left())
        ));
    }

    /// Not more often than is read.
    fn complain(&mut self, text: &str) {
        if self.noted.is_none_or(|at| at.elapsed() > QUIET) {
            self.noted = Some(Instant::now());
            note(text);
        }
    }
}

/// A lost ack is asked for again.
fn acknowledge(socket: &UdpSocket, seqno: u32) {
    let _ = socket.send(&encode_ack(seqno));
}

/// Answers of clients that do not listen.
pub(super) fn is_of_client(e: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted,
        NetworkUnreachable,
    };
    matches!(
        e.kind(),
        ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkUnreachable
    )
}
