// SPDX-License-Identifier: BSD-2-Clause
//! Which messages are acknowledged, and when. Mirrors `debugnet_send`.
//!
//! A kernel sends 64 KB at most in a burst of messages, waits until all of
//! them are acknowledged, and after a second sends those again that are not.
//! It keeps the acks in 64 bits, but makes each bit by shifting a 32-bit 1:
//! on amd64 and arm64 messages k and k + 32 of a burst share one bit. With 46
//! messages, as with an MTU of 1500, a message whose partner was acknowledged
//! is never sent again if it is lost, and the dump has a hole.
//!
//! So neither of two partners is acknowledged before both have arrived. Until
//! the end of a burst is known a message counts as having a partner if it can
//! have one:
//!
//! ```text
//!  the end is     a message shorter than the others, or 64 KB, or what comes
//!                 after is of another kind
//!  otherwise      the kernel sends the first messages again and nothing
//!                 follows: after RELEASE times there is nothing to follow
//! ```
//!
//! The first message of a burst is the one after the last one acknowledged.

use super::wire::{Kind, Message};

/// C: `nd_buf`, MAXDUMPPGS * PAGE_SIZE.
const BURST_BYTES: usize = 64 << 10;
/// Bits of one word of acks in the client.
const WORD: u32 = 32;
/// Messages of this length are never more than [`WORD`] in a burst.
const NEVER_PARTNERS: usize = BURST_BYTES / WORD as usize;
/// C: `DEBUGNET_MAX_IN_FLIGHT`.
const IN_FLIGHT: u32 = 64;
/// How often a message comes again before its partner is taken not to exist.
/// Kernels send 12 times. With 5 % loss a partner that exists is lost as often
/// once in a billion.
const RELEASE: u8 = 6;

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the burst that is sent now, or nobody counts.
    Current,
    /// In an earlier one, all of which has arrived.
    Earlier,
    /// In none that this client can send.
    Foreign,
}

/// The acks of one client.
#[derive(Clone, Debug)]
pub struct Burst {
    /// Each message may be acknowledged at once.
    exact: bool,
    /// The seqno of the first message.
    base: u32,
    kind: Kind,
    /// Bit k for message k.
    arrived: u64,
    acked: u64,
    /// The longest message of data so far: all but the last of a burst.
    longest: usize,
    /// Number and length of the last message that has arrived.
    tail: (u32, usize),
    /// How often a message that is not acknowledged came again.
    repeats: u8,
}

/// The low `n` bits.
fn low(n: u32) -> u64 {
    1u64.checked_shl(n).map_or(u64::MAX, |bit| bit.wrapping_sub(1))
}

impl Burst {
    /// The messages after a herald. `exact`: the client counts acks one by
    /// one.
    #[must_use]
    pub fn after(herald: u32, exact: bool) -> Self {
        Self {
            exact,
            base: herald.wrapping_add(1),
            kind: Kind::Data,
            arrived: 0,
            acked: 0,
            longest: 0,
            tail: (0, 0),
            repeats: 0,
        }
    }

    /// Where a message stands: what is foreign is neither kept nor
    /// acknowledged.
    #[must_use]
    pub fn place(&self, message: &Message<'_>) -> Place {
        let ahead = message.seqno.wrapping_sub(self.base);
        if ahead > u32::MAX / 2 {
            return Place::Earlier;
        }
        let whole = self.arrived == low(ahead);
        let other = message.kind != self.kind && self.arrived != 0;
        match self.exact {
            true => Place::Current,
            false if ahead >= IN_FLIGHT || (other && !whole) => Place::Foreign,
            false => Place::Current,
        }
    }

    /// Takes note of a message that is not foreign and is kept. Adds the
    /// seqnos to acknowledge to `acks`.
    pub fn arrived(&mut self, message: &Message<'_>, acks: &mut Vec<u32>) {
        let seqno = message.seqno;
        let is_data = message.kind == Kind::Data;
        self.exact |= is_data && message.data.len() >= NEVER_PARTNERS;
        if self.exact || self.place(message) == Place::Earlier {
            acks.push(seqno);
            return;
        }
        if message.kind != self.kind {
            self.next(seqno, message.kind);
        }
        let k = seqno.wrapping_sub(self.base);
        let bit = 1u64.checked_shl(k).unwrap_or(0);
        if is_data {
            self.longest = self.longest.max(message.data.len());
        }
        if k >= self.tail.0 {
            self.tail = (k, message.data.len());
        }
        if self.arrived & bit == 0 {
            self.repeats = 0;
        } else if self.acked & bit != 0 {
            acks.push(seqno);
        } else if k == (self.arrived & !self.acked).trailing_zeros() {
            self.repeats = self.repeats.saturating_add(1);
        }
        self.arrived |= bit;
        let end = self.end();
        let ready = self.ready(end) & !self.acked;
        self.acked |= ready;
        let numbers = (0..IN_FLIGHT).filter(|&n| ready & bit_of(n) != 0);
        acks.extend(numbers.map(|n| self.base.wrapping_add(n)));
        if let Some(end) = end.filter(|&end| self.acked == low(end)) {
            self.next(self.base.wrapping_add(end), self.kind);
        }
    }

    fn next(&mut self, base: u32, kind: Kind) {
        (self.base, self.kind) = (base, kind);
        (self.arrived, self.acked, self.tail) = (0, 0, (0, 0));
        self.repeats = 0;
    }

    /// How many messages the burst has, once that is known.
    fn end(&self) -> Option<u32> {
        let (k, len) = self.tail;
        let count = k.saturating_add(1);
        let before = usize::try_from(k).unwrap_or(usize::MAX);
        let bytes = before.saturating_mul(self.longest).saturating_add(len);
        let over = len < self.longest || bytes >= BURST_BYTES;
        let released = self.repeats >= RELEASE && self.arrived == low(count);
        let is_data = self.kind == Kind::Data;
        (is_data && (over || released)).then_some(count)
    }

    /// The messages that may be acknowledged.
    fn ready(&self, end: Option<u32>) -> u64 {
        if self.kind != Kind::Data {
            return self.arrived;
        }
        let most = BURST_BYTES.div_ceil(self.longest.max(1));
        let most = u32::try_from(most).unwrap_or(u32::MAX).min(IN_FLIGHT);
        let partners = end.unwrap_or(most).saturating_sub(WORD);
        let (first, second) = (self.arrived & low(WORD), self.arrived >> WORD);
        let alone = low(WORD) & !low(partners);
        (first & (second | alone)) | (first & second) << WORD
    }
}

fn bit_of(n: u32) -> u64 {
    1u64.checked_shl(n).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTU: usize = 1448;

    fn send(burst: &mut Burst, seqno: u32, len: usize) -> Vec<u32> {
        send_kind(burst, Kind::Data, seqno, len)
    }

    fn send_kind(
        burst: &mut Burst,
        kind: Kind,
        seqno: u32,
        len: usize,
    ) -> Vec<u32> {
        let data = vec![0; len];
        let message = Message { kind, seqno, offset: 0, aux2: 0, data: &data };
        let mut acks = Vec::new();
        if burst.place(&message) != Place::Foreign {
            burst.arrived(&message, &mut acks);
        }
        acks
    }

    fn len(k: u32) -> usize {
        if k == 45 { 376 } else { MTU }
    }

    #[test]
    fn partners_are_acknowledged_together() {
        let mut burst = Burst::after(1, false);
        for k in 0..46u32 {
            let acks = send(&mut burst, 2 + k, len(k));
            match k {
                0..14 => assert!(acks.is_empty(), "{k}: {acks:?}"),
                14..32 => assert_eq!(acks, [2 + k]),
                _ => assert_eq!(acks, [2 + k - 32, 2 + k], "{k}"),
            }
        }
        // All of it has arrived: the next one has begun.
        assert_eq!(burst.base, 48);
        assert_eq!(send(&mut burst, 20, MTU), [20]);
        assert!(send(&mut burst, 48, MTU).is_empty());
        assert_eq!(send(&mut burst, 48 + 31, MTU), [79]);
    }

    #[test]
    fn a_lost_partner_is_waited_for() {
        let mut burst = Burst::after(1, false);
        let mut acks = Vec::new();
        for k in (0..46u32).filter(|k| ![5, 40].contains(k)) {
            acks.extend(send(&mut burst, 2 + k, len(k)));
        }
        for held in [5, 37, 8, 40] {
            assert!(!acks.contains(&(2 + held)), "{held}");
        }
        assert_eq!(acks.len(), 42);
        // The client sends what it has no bit for: 5, 8, 37 and 40.
        assert_eq!(send(&mut burst, 2 + 5, MTU), [7, 39]);
        assert!(send(&mut burst, 2 + 8, MTU).is_empty());
        assert_eq!(send(&mut burst, 2 + 37, MTU), [39]);
        assert_eq!(send(&mut burst, 2 + 40, MTU), [10, 42]);
        assert_eq!(burst.base, 48);
    }

    #[test]
    fn a_short_message_that_comes_first_ends_the_burst() {
        let mut burst = Burst::after(1, false);
        assert!(send(&mut burst, 2 + 45, 376).is_empty());
        // Now it is known to be the last: 14 and more have no partner.
        assert_eq!(send(&mut burst, 2 + 20, MTU), [22]);
        assert_eq!(send(&mut burst, 2 + 13, MTU), [15, 47]);
    }

    #[test]
    fn the_last_burst_of_a_dump_ends_with_what_follows() {
        let mut burst = Burst::after(1, false);
        // A first burst says how long messages are.
        for k in 0..46 {
            send(&mut burst, 2 + k, len(k));
        }
        for k in 0..3 {
            assert!(send(&mut burst, 48 + k, MTU).is_empty());
        }
        for round in 1..=RELEASE {
            for k in 0..3 {
                let acks = send(&mut burst, 48 + k, MTU);
                let released = round == RELEASE && k == 0;
                let want = if released { vec![48, 49, 50] } else { vec![] };
                if round < RELEASE || k == 0 {
                    assert_eq!(acks, want, "{round} {k}");
                }
            }
        }
        let acks = send_kind(&mut burst, Kind::Header, 51, 512);
        assert_eq!(acks, [51]);
        let acks = send_kind(&mut burst, Kind::Finished, 52, 0);
        assert_eq!(acks, [52]);
        assert_eq!(send_kind(&mut burst, Kind::Finished, 52, 0), [52]);
    }

    #[test]
    fn what_the_client_cannot_have_sent_is_foreign() {
        let mut burst = Burst::after(1, false);
        assert!(send(&mut burst, 2 + 64, MTU).is_empty());
        assert_eq!(send(&mut burst, 1, MTU), [1]);
        send(&mut burst, 3, MTU);
        // Before message 2 there is no other kind after 3.
        assert!(send_kind(&mut burst, Kind::Header, 4, 512).is_empty());
    }

    #[test]
    fn a_client_that_counts_has_its_acks_at_once() {
        let mut burst = Burst::after(1, true);
        for k in [0, 45, 3, 1000, 3] {
            assert_eq!(send(&mut burst, 2 + k, MTU), [2 + k]);
        }
        // So has one with long messages: there are few in a burst.
        let mut burst = Burst::after(1, false);
        assert_eq!(send(&mut burst, 2, 8948), [2]);
        assert_eq!(send(&mut burst, 500, 8948), [500]);
    }

    #[test]
    fn seqnos_start_again_at_0() {
        let mut burst = Burst::after(u32::MAX - 20, false);
        let mut acks = Vec::new();
        for k in 0..46u32 {
            let seqno = (u32::MAX - 19).wrapping_add(k);
            acks.extend(send(&mut burst, seqno, len(k)));
        }
        assert_eq!(acks.len(), 46);
        assert_eq!(burst.base, (u32::MAX - 19).wrapping_add(46));
    }
}
