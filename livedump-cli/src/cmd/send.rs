// SPDX-License-Identifier: BSD-2-Clause
//! `livedump send`: a dump in a file, to a server of netdump(4).

use crate::error::Error;
use crate::netdump::client::{Client, LEAST_MTU, SendError, Stop, Target};
use crate::netdump::outgoing::{Files, Outgoing, OutgoingError};
use crate::netdump::place::Place;
use crate::netdump::wire::{CLIENT_PORT, SERVER_PORT};
use crate::outcome::Outcome;
use crate::quantity;
use crate::report::{Report, human, note};
use crate::sandbox::{self, Purpose, Role};
use crate::signals::Signals;
use clap::ValueHint;
use indicatif::{ProgressBar, ProgressStyle};
use livedump_vmcore::path::FilePath;
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `send`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Port of the server for heralds
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = SERVER_PORT,
        value_parser = quantity::number::<u16>(1..=u16::MAX)
    )]
    pub port: u16,
    /// Port to send from; netdumpd(8) answers to no other
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = CLIENT_PORT,
        value_parser = quantity::number::<u16>(0..=u16::MAX)
    )]
    pub source_port: u16,
    /// Bytes of a packet at most [default: those of the path, or 1500]
    #[arg(
        long,
        value_name = "BYTES",
        value_parser = quantity::number::<u16>(LEAST_MTU..=u16::MAX)
    )]
    pub mtu: Option<u16>,
    /// Print errors only
    #[arg(short, long)]
    pub quiet: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Dump file
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Server, and the path below which it is asked to keep the dump
    #[arg(value_name = "HOST[/PATH]", value_hint = ValueHint::Hostname)]
    pub place: Place,
}

/// Why it is not there.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    /// The file.
    #[error(transparent)]
    File(#[from] OutgoingError),
    /// The way.
    #[error(transparent)]
    Send(#[from] SendError),
    /// A name that nobody knows.
    #[error("looking up {0}")]
    Lookup(Place, #[source] io::Error),
}

/// What was sent, for `--json`. The keys are documented in livedump(8).
#[derive(Debug, Serialize)]
struct Sent {
    file: FilePath,
    /// Address and port that took it.
    server: String,
    path: Option<String>,
    /// Where its header is from: "file", "info" or "dump".
    header: &'static str,
    encrypted: bool,
    dumplength: u64,
    /// Bytes of data in a message.
    payload: usize,
    /// Each counted once.
    messages: u64,
    /// Sent more than once.
    repeated: u64,
    elapsed_ns: u64,
}

impl Sent {
    fn summary(&self) -> String {
        let seconds = self.elapsed_ns as f64 / 1e9;
        let rate = (self.dumplength as f64 / seconds.max(1e-9)) as u64;
        let all = self.messages.saturating_add(self.repeated);
        let lost = self.repeated as f64 * 100.0 / all.max(1) as f64;
        format!(
            "{}: {} to {} in {seconds:.2} s, {}/s, {} of {all} messages sent \
             again ({lost:.2} %)",
            self.file,
            human(self.dumplength),
            self.server,
            human(rate),
            self.repeated,
        )
    }
}

impl Report for Sent {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.summary())
    }
}

/// Sends a dump.
///
/// # Errors
/// The server does not have all of it.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let sent = send(args).map_err(Error::of_command)?;
    if args.json {
        sent.print(true)?;
    }
    if !args.quiet {
        note(sent.summary());
    }
    Ok(Outcome::Clean)
}

fn send(args: &Args) -> Result<Sent, Unsent> {
    // Before any thread is started, so that all have them blocked.
    let signals = Signals::take();
    let files = Files::open(&args.file)?;
    let server = args.place.resolve(args.port);
    let server = server.map_err(|e| Unsent::Lookup(args.place.clone(), e))?;
    let target = Target {
        server,
        path: args.place.path.clone(),
        source_port: args.source_port,
        mtu: args.mtu,
    };
    let started = Instant::now();
    let stop = || signals.stopped().is_some();
    // Later it may not connect any more.
    let mut client = Client::connect(&target, &stop)?;
    let read = files.descriptors().map(|fd| (fd, Purpose::Read));
    let socket = (client.descriptor(), Purpose::Datagrams);
    let all: Vec<_> = read.chain([socket]).collect();
    // Where the kernel cannot, `livedump doctor` says so.
    let _ = sandbox::enter(Role::Reader, &all);
    drop(all);
    let mut it = files.outgoing()?;
    let bar = bar(args, &it);
    let (to, payload) = (client.server(), client.payload());
    let done = transfer(&mut client, &mut it, &bar, &stop);
    bar.finish_and_clear();
    done?;
    let sent = client.finish(&it.header, &stop)?;
    Ok(Sent {
        file: args.file.as_path().into(),
        server: to.to_string(),
        path: (!target.path.is_empty()).then_some(target.path),
        header: it.origin.word(),
        encrypted: !it.key.is_empty(),
        dumplength: sent.bytes,
        payload,
        messages: sent.messages,
        repeated: sent.again,
        elapsed_ns: u64::try_from(started.elapsed().as_nanos())
            .unwrap_or(u64::MAX),
    })
}

fn transfer(
    client: &mut Client,
    it: &mut Outgoing,
    bar: &ProgressBar,
    stop: Stop<'_>,
) -> Result<(), SendError> {
    client.key(&it.key, stop)?;
    let bytes = client.data(&mut it.data, &mut |bytes| bar.inc(bytes), stop)?;
    match bytes == it.length {
        true => Ok(()),
        // It was cut meanwhile.
        false => Err(SendError::Read(io::ErrorKind::UnexpectedEof.into())),
    }
}

fn bar(args: &Args, it: &Outgoing) -> ProgressBar {
    if args.quiet {
        return ProgressBar::hidden();
    }
    // Draws nothing where standard error is no terminal.
    let bar = ProgressBar::new(it.length);
    if let Ok(style) = ProgressStyle::with_template(
        "[{bar:30}] {percent}% {msg}, {binary_bytes_per_sec}, eta {eta}",
    ) {
        bar.set_style(style);
    }
    bar.set_message(format!("of {}", human(it.length)));
    bar
}
