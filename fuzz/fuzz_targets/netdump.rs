// SPDX-License-Identifier: BSD-2-Clause
//! Datagrams of a client, each with its length in two bytes before it: what is
//! acknowledged has arrived, and what is kept is where its offset says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livedump_cli::netdump::burst::{Burst, Place};
use livedump_cli::netdump::kdumpd::Request;
use livedump_cli::netdump::ranges::Ranges;
use livedump_cli::netdump::wire::{EXACT_ACKS, Kind, Message, decode_ack};
use std::collections::BTreeSet;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let mut burst = None;
    let (mut ranges, mut arrived) = (Ranges::default(), BTreeSet::new());
    while let Some((len, more)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes(*len)).min(more.len());
        let (datagram, more) = more.split_at(len);
        rest = more;
        let _ = (decode_ack(datagram), Request::decode(datagram));
        let Ok(message) = Message::decode(datagram) else { continue };
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(again, datagram);
        let _ = message.path();
        if message.kind == Kind::Herald {
            let exact = message.aux2 == EXACT_ACKS;
            burst = Some(Burst::after(message.seqno, exact));
            arrived.clear();
        }
        let Some(burst) = &mut burst else { continue };
        if burst.place(&message) == Place::Foreign {
            continue;
        }
        let mut acks = Vec::new();
        arrived.insert(message.seqno);
        burst.arrived(&message, &mut acks);
        assert!(acks.iter().all(|seqno| arrived.contains(seqno)));
        let (start, len) = (message.offset, message.data.len() as u64);
        let before = ranges.bytes();
        let new = ranges.insert(start, len).expect("few ranges");
        assert!(ranges.contains(start, len));
        assert_eq!(ranges.bytes(), before + new);
        let (_, missing) = ranges.missing(ranges.end());
        assert_eq!(ranges.bytes() + missing, ranges.end());
    }
});
