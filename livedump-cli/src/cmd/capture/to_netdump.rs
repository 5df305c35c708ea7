// SPDX-License-Identifier: BSD-2-Clause
//! `livedump capture netdump://HOST[:PORT][/PATH]`: a dump for a server of
//! netdump(4), sent while it is taken. No byte of it is in a file here.

use super::encrypted::with_key;
use super::prepare::Prepared;
use super::request::Asking;
use super::streamed;
use super::{Args, Error, confine};
use crate::device;
use crate::ekcd::Encrypting;
use crate::kernel_files::image_facts;
use crate::netdump::client::{Client, Target};
use crate::netdump::place::Place;
use crate::netdump::wire::{CLIENT_PORT, SERVER_PORT};
use crate::outcome::Outcome;
use crate::report::{human, note};
use crate::sandbox::Purpose;
use crate::signals::Signals;
use std::path::Path;
use std::time::Instant;

/// How such a target starts.
const SCHEME: &str = "netdump://";

/// The place that is named, where it is one of these.
pub(super) fn place(target: &Path) -> Option<Result<Place, Error>> {
    let place = target.to_str()?.strip_prefix(SCHEME)?;
    Some(
        place.parse().map_err(|_| {
            Error::Usage("netdump: not netdump://HOST[:PORT][/PATH]")
        }),
    )
}

/// Takes a dump and sends it.
pub(super) fn run(args: &Args, place: &Place) -> Result<Outcome, Error> {
    super::check_usage(args)?;
    let beside = args.keep_kernel || args.stability;
    if beside || args.maxdumps.is_some() || args.json || args.quiesce {
        return Err(Error::Usage(
            "-m, --json, --keep-kernel, --quiesce and --stability cannot be \
             used with netdump: only the dump is sent",
        ));
    }
    let mut signals = Signals::take();
    streamed::prepare();
    let machine = args.options.apply(&args.machine)?;
    let stop = &|| signals.stopped().is_some();
    let device =
        device::open(&machine, args.kernel.as_deref(), &image_facts, stop)?;
    let device = device.as_ref();
    if !device.can_stream() || device.stands_still() {
        return Err(Error::Usage(
            "netdump: this machine is dumped into files only: capture into a \
             directory, and send the file",
        ));
    }
    let prepared = Prepared::gather(args, device)?;
    let encryption = prepared.encryption()?;
    let key = match &encryption {
        Some(encryption) => encryption.key_block()?,
        None => Vec::new(),
    };
    let server = place.resolve(SERVER_PORT).map_err(Error::Lookup)?;
    let target = Target {
        server,
        path: place.path.clone(),
        source_port: CLIENT_PORT,
        mtu: None,
    };
    let started = Instant::now();
    let client = Client::connect(&target, stop)?;
    let to = client.server();
    // Later it may not connect any more.
    let socket = [(client.descriptor(), Purpose::Datagrams)];
    confine(args, device, None, &prepared, &socket);
    prepared.check_named()?;
    let room = |_| Ok(None);
    let asking = Asking { args, device };
    let taken = asking.streamed(&mut signals, room, |mut from, flow| {
        let mut client = client;
        let stop = || flow.go_on().is_err();
        match &encryption {
            None => client.data(&mut from, &mut |_| {}, &stop)?,
            Some(encryption) => {
                client.key(&key, &stop)?;
                let mut from = Encrypting::new(from, encryption.encryptor());
                client.data(&mut from, &mut |_| {}, &stop)?
            }
        };
        Ok(client)
    });
    device.release();
    let streamed = taken?;
    let outcome = streamed.outcome();
    let stop = || signals.stopped().is_some();
    let header = match &encryption {
        Some(_) => with_key(&streamed.checked.bytes),
        None => streamed.checked.bytes,
    };
    let sent = streamed.taken.finish(&header, &stop)?;
    if !args.quiet {
        let seconds = started.elapsed().as_secs_f64();
        let all = sent.messages.saturating_add(sent.again);
        note(format_args!(
            "{} to {to} in {seconds:.2} s, {} of {all} messages sent again, \
             not checked",
            human(streamed.checked.dumplength),
            sent.again
        ));
        if let Some(instant) = streamed.dumped.instant() {
            note(format_args!("paused {}", instant.pause()));
        }
    }
    Ok(outcome)
}
