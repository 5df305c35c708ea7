// SPDX-License-Identifier: BSD-2-Clause
//! Messages that were sent and are not all acknowledged: when to send one
//! again, and how many may be under way. As TCP does it (RFC 6298, 5681), in
//! small. Knows no socket.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Messages under way at most: netdumpd(8) has the socket buffer that a system
/// gives by default.
const MOST: f64 = 64.0;
const FEWEST: f64 = 4.0;
const FIRST: f64 = 16.0;
/// Later messages that are acknowledged before one counts as lost.
const LATER: u32 = 3;
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);
/// Times a message is sent. In a row that takes 15 s.
pub const TRIES: u32 = 20;

/// A message under way.
#[derive(Debug)]
struct Flight {
    datagram: Vec<u8>,
    sent: Instant,
    tries: u32,
    /// Later ones that were acknowledged since it was sent.
    later: u32,
    acked: bool,
}

/// What has been sent.
#[derive(Debug)]
pub struct Window {
    /// The seqno of the first one.
    first: u32,
    flights: VecDeque<Flight>,
    /// How many there may be.
    size: f64,
    /// Above this it grows slowly.
    threshold: f64,
    /// Round trip, and how much that varies.
    round: Option<(Duration, Duration)>,
    /// When it was made smaller for the last time.
    reduced: Option<Instant>,
    spare: Vec<Vec<u8>>,
}

/// A message was sent often enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAck;

impl Window {
    /// Nothing sent; the next seqno is `first`.
    #[must_use]
    pub fn new(first: u32) -> Self {
        Self {
            first,
            flights: VecDeque::new(),
            size: FIRST,
            threshold: MOST,
            round: None,
            reduced: None,
            spare: Vec::new(),
        }
    }

    /// The seqno of the next message.
    #[must_use]
    pub fn next(&self) -> u32 {
        let count = u32::try_from(self.flights.len()).unwrap_or(u32::MAX);
        self.first.wrapping_add(count)
    }

    /// Whether everything is acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether another one may be sent.
    #[must_use]
    pub fn has_room(&self) -> bool {
        // Acknowledged ones behind one that is not count as well: a server
        // with few bits for acks.
        (self.flights.len() as f64) < self.size.min(MOST).floor()
    }

    /// A buffer for the next datagram.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// The next message is sent now.
    pub fn sent(&mut self, datagram: Vec<u8>, now: Instant) {
        let (tries, later, acked) = (1, 0, false);
        let flight = Flight { datagram, sent: now, tries, later, acked };
        self.flights.push_back(flight);
    }

    /// An ack has come.
    pub fn acknowledged(&mut self, seqno: u32, now: Instant) {
        let at = seqno.wrapping_sub(self.first);
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let Some(flight) = self.flights.get_mut(at).filter(|f| !f.acked) else {
            return;
        };
        flight.acked = true;
        let (tries, sent) = (flight.tries, flight.sent);
        if tries == 1 {
            self.measure(now.saturating_duration_since(sent));
        }
        for earlier in self.flights.iter_mut().take(at) {
            if earlier.sent <= sent {
                earlier.later = earlier.later.saturating_add(1);
            }
        }
        self.size = match self.size < self.threshold {
            true => self.size + 1.0,
            false => self.size + self.size.recip(),
        }
        .min(MOST);
        while self.flights.front().is_some_and(|f| f.acked) {
            let Some(front) = self.flights.pop_front() else { break };
            self.first = self.first.wrapping_add(1);
            self.spare.push(front.datagram);
        }
    }

    fn measure(&mut self, sample: Duration) {
        self.round = Some(match self.round {
            None => (sample, part(sample, 2)),
            Some((round, varies)) => {
                let differs = round.abs_diff(sample);
                let varies = varies.saturating_mul(3).saturating_add(differs);
                let round = round.saturating_mul(7).saturating_add(sample);
                (part(round, 8), part(varies, 4))
            }
        });
    }

    fn wait(&self, tries: u32) -> Duration {
        let first = match self.round {
            None => part(LONGEST, 4),
            Some((round, varies)) => {
                round.saturating_add(varies.saturating_mul(4))
            }
        };
        let times = 1u32.checked_shl(tries.saturating_sub(1).min(10));
        first.max(SHORTEST).saturating_mul(times.unwrap_or(1)).min(LONGEST)
    }

    /// When the next one has to be sent again, if nothing comes.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let open = self.flights.iter().filter(|f| !f.acked);
        open.filter_map(|f| f.sent.checked_add(self.wait(f.tries))).min()
    }

    /// Sends again what counts as lost.
    ///
    /// # Errors
    /// One of them was sent often enough.
    pub fn again(
        &mut self,
        now: Instant,
        send: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, NoAck> {
        let (mut count, mut lost) = (0u64, false);
        let waits: Vec<_> =
            self.flights.iter().map(|f| self.wait(f.tries)).collect();
        for (flight, wait) in self.flights.iter_mut().zip(waits) {
            let late = now.saturating_duration_since(flight.sent) >= wait;
            let passed = flight.later >= LATER;
            if flight.acked || !(late || passed) {
                continue;
            }
            if flight.tries >= TRIES {
                return Err(NoAck);
            }
            send(&flight.datagram);
            flight.sent = now;
            flight.later = 0;
            // What was only overtaken has not been waited for.
            if late || flight.tries == 1 {
                flight.tries = flight.tries.saturating_add(1);
            }
            count = count.saturating_add(1);
            lost = true;
        }
        let round = self.round.map_or(LONGEST, |(round, _)| round);
        let recent = self.reduced.is_some_and(|at| {
            now.saturating_duration_since(at) < round.max(SHORTEST)
        });
        if lost && !recent {
            self.reduced = Some(now);
            self.size = (self.size / 2.0).max(FEWEST);
            self.threshold = self.size;
        }
        Ok(count)
    }
}

fn part(time: Duration, of: u32) -> Duration {
    time.checked_div(of).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn full(window: &mut Window, now: Instant) -> u32 {
        let mut count = 0;
        while window.has_room() {
            let seqno = window.next();
            window.sent(seqno.to_be_bytes().to_vec(), now);
            count += 1;
        }
        count
    }

    fn again(window: &mut Window, now: Instant) -> Vec<u32> {
        let mut seqnos = Vec::new();
        let count = window
            .again(now, &mut |b| {
                seqnos.push(u32::from_be_bytes(b.try_into().unwrap()));
            })
            .unwrap();
        assert_eq!(count, seqnos.len() as u64);
        seqnos
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_and_then_given_up() {
        let start = Instant::now();
        let mut window = Window::new(u32::MAX);
        assert_eq!(full(&mut window, start), 16);
        assert_eq!(window.next(), 15);
        // The first one and those that follow, but for one.
        for n in (0..16).filter(|&n| n != 5) {
            window.acknowledged(u32::MAX.wrapping_add(n), start + MS);
        }
        assert!(!window.is_empty());
        assert_eq!(again(&mut window, start + MS), [4]);
        assert!(again(&mut window, start + MS * 2).is_empty());
        // The seqno is below what is awaited.
        window.acknowledged(3, start + MS * 3);
        let mut now = start + MS;
        let mut sent = 2;
        let end = loop {
            let due = window.due().unwrap();
            assert!(due > now && due <= now + LONGEST);
            now = due;
            match window.again(now, &mut |_| sent += 1) {
                Ok(_) => {}
                Err(e) => break e,
            }
        };
        assert_eq!((end, sent), (NoAck, TRIES));
        assert!(now - start > Duration::from_secs(10));
        window.acknowledged(4, now);
        assert!(window.is_empty());
        assert_eq!(window.next(), 15);
    }

    #[test]
    fn the_window_grows_with_acks_and_shrinks_with_losses() {
        let start = Instant::now();
        let mut window = Window::new(1);
        let mut now = start;
        for _ in 0..10 {
            let first = window.next();
            let sent = full(&mut window, now);
            now += MS;
            for seqno in first..first + sent {
                window.acknowledged(seqno, now);
            }
            assert!(window.is_empty());
        }
        let first = window.next();
        assert_eq!(full(&mut window, now), 64);
        now += SHORTEST;
        assert_eq!(again(&mut window, now).len(), 64);
        for seqno in first..first + 64 {
            window.acknowledged(seqno, now);
        }
        let left = full(&mut window, now);
        assert!((32..40).contains(&left), "{left}");
    }
}
