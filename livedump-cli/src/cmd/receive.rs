// SPDX-License-Identifier: BSD-2-Clause
//! `livedump receive`: the server of netdump(4). Takes the dumps of kernels
//! that panic, and what `livedump send` sends, into a crash directory.

use crate::crashdir::{self, CrashDir};
use crate::error::Error;
use crate::netdump::allow::Cidr;
use crate::netdump::broker::Broker;
use crate::netdump::kdumpd::KDUMPD_PORT;
use crate::netdump::keep::{Keep, Over};
use crate::netdump::limits::Limits;
use crate::netdump::listener::{Bind, Listener};
use crate::netdump::received::Received;
use crate::netdump::server::{MAX_DUMPS, Server};
use crate::netdump::wire::SERVER_PORT;
use crate::outcome::Outcome;
use crate::quantity;
use crate::report::{Report, complain, inform, note};
use crate::sandbox::{self, Purpose, Role};
use crate::signals::Signals;
use crate::sleep::sleep;
use clap::ValueHint;
use livedump_vmcore::chain;
use livedump_vmcore::path::escape_path;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Descriptors of a dump: its socket, its file and the lock of that, the same
/// of its key.
const DESCRIPTORS: usize = 5;
/// Signals are looked for as often while dumps are named.
const POLL: Duration = Duration::from_millis(100);

/// Arguments of `receive`.
#[derive(Clone, Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)]
pub struct Args {
    /// Address to listen at [default: all, port 20023]; may be repeated
    #[arg(long, value_name = "ADDRESS[:PORT]", value_hint = ValueHint::Other)]
    pub bind: Vec<Bind>,
    /// Take dumps of these addresses only; may be repeated
    #[arg(long, value_name = "ADDRESS[/BITS]", value_hint = ValueHint::Other)]
    pub allow: Vec<Cidr>,
    /// Refuse data when all dumps take SIZE on disk, such as 20G
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = quantity::size,
        value_hint = ValueHint::Other
    )]
    pub max_bytes: Option<u64>,
    /// Number dumps from 0 to N-1, then start again at 0
    #[arg(
        long,
        value_name = "N",
        value_parser = quantity::number::<u32>(1..=100_000)
    )]
    pub keep: Option<u32>,
    /// End a dump when nothing has come for TIME
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10m",
        value_parser = quantity::age,
        value_hint = ValueHint::Other
    )]
    pub timeout: Duration,
    /// Take cores of macOS as well, at port 1069, as kdumpd(8) does
    #[arg(long)]
    pub kdumpd: bool,
    /// Run COMMAND with sh(1) after each dump
    #[arg(
        long,
        value_name = "COMMAND",
        value_hint = ValueHint::CommandString
    )]
    pub exec: Option<String>,
    /// Exit after N dumps
    #[arg(
        long,
        value_name = "N",
        value_parser = quantity::number::<u64>(1..=u64::MAX)
    )]
    pub count: Option<u64>,
    /// Do not write checksums to seal.N
    #[arg(long)]
    pub no_seal: bool,
    /// Report heralds
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Print errors only
    #[arg(short, long)]
    pub quiet: bool,
    /// Print one JSON object per dump
    #[arg(long)]
    pub json: bool,
    /// Crash directory
    #[arg(value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}

/// Why nothing is received.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// An address that cannot be listened at.
    #[error("listening at {0}")]
    Bind(SocketAddr, #[source] io::Error),
    /// The process beside it.
    #[error("starting the process for sockets")]
    Broker(#[source] io::Error),
    /// poll(2), say.
    #[error("receiving")]
    Receive(#[source] io::Error),
}

/// Receives dumps until a signal stops it.
///
/// # Errors
/// It could not begin, or receive any more. What is wrong with a dump is
/// reported with it.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    // Before any thread is started, so that all have them blocked.
    let signals = Signals::take();
    let directory = CrashDir::open(&args.directory)?;
    {
        let _lock = directory.lock()?;
        directory.remove_stale()?;
    }
    raise_descriptors();
    let listeners = listen(args, SERVER_PORT)?;
    let kdumpd = match args.kdumpd {
        true => listen(args, KDUMPD_PORT)?,
        false => Vec::new(),
    };
    let broker = Broker::start(args.exec.as_deref())
        .map_err(|e| Error::of_command(Refused::Broker(e)))?;
    let mut files = vec![
        (directory.descriptor(), Purpose::Directory),
        (broker.descriptor(), Purpose::Datagrams),
    ];
    let all = || listeners.iter().chain(&kdumpd);
    let sockets = all().map(|it| (it.as_fd(), Purpose::Datagrams));
    files.extend(sockets);
    // Where the kernel cannot, `livedump doctor` says so.
    let _ = sandbox::enter(Role::Writer, &files);
    if !args.quiet {
        for listener in all() {
            inform(format_args!(
                "receiving at {} into {}",
                listener.address(),
                escape_path(&args.directory)
            ));
        }
    }
    let stop = AtomicBool::new(false);
    let (ended, waiting) = channel();
    let limits = Limits {
        allow: args.allow.clone(),
        timeout: args.timeout,
        count: args.count,
        verbose: args.verbose,
    };
    let keep = Keep {
        directory: &directory,
        maxdumps: args.keep,
        seal: !args.no_seal,
        stop: &stop,
    };
    let (done, outcome) = thread::scope(|scope| {
        let (keep, broker) = (&keep, &broker);
        let named = scope.spawn(move || name_all(args, keep, waiting, broker));
        let max_bytes = args.max_bytes;
        let server = Server::new(
            &directory, &listeners, &kdumpd, broker, limits, max_bytes, ended,
        );
        let done = server.run(&signals);
        while !named.is_finished() {
            if signals.stopped().is_some() {
                stop.store(true, Ordering::Relaxed);
            }
            sleep(POLL);
        }
        // It does not panic; if it did, that would be said already.
        (done, named.join().unwrap_or(Ok(Outcome::Undetermined)))
    });
    broker.end();
    let totals = done.map_err(|e| Error::of_command(Refused::Receive(e)))?;
    if !args.quiet && totals.ignored > 0 {
        note(format_args!("{} datagrams ignored", totals.ignored));
    }
    Ok(outcome?)
}

/// Names dumps until the server ends.
fn name_all(
    args: &Args,
    keep: &Keep<'_>,
    waiting: Receiver<Over<'_>>,
    broker: &Broker,
) -> io::Result<Outcome> {
    let mut outcome = Outcome::Clean;
    let mut printed = Ok(());
    for ended in waiting {
        let received = match keep.keep(ended) {
            Ok(received) => received,
            Err(e) => {
                lost(&e);
                outcome = Outcome::Finding;
                continue;
            }
        };
        outcome = outcome.and(received.outcome());
        if args.json {
            // Dumps matter more than who reads of them.
            printed = printed.and(received.print(true));
        }
        if !args.quiet || received.outcome() != Outcome::Clean {
            note(received.summary());
        }
        if args.exec.is_some()
            && let Err(e) = broker.run(environment(&received))
        {
            complain(format_args!("--exec: {}", chain(&e)));
            outcome = Outcome::Finding;
        }
    }
    printed.map(|()| outcome)
}

fn lost(e: &crashdir::Error) {
    complain(format_args!("a dump was lost: {}", chain(e)));
}

/// The same names as those of `watch`.
fn environment(it: &Received) -> Vec<(String, String)> {
    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let info = it.info.as_ref().map(|info| path(info)).unwrap_or_default();
    let number = it.number.map(|number| number.to_string());
    let number = number.unwrap_or_default();
    [
        ("LIVEDUMP_FILE", path(&it.file)),
        ("LIVEDUMP_INFO", info),
        ("LIVEDUMP_NUMBER", number),
        ("LIVEDUMP_VERDICT", it.verdict.word().into()),
        ("LIVEDUMP_CLIENT", it.client.clone()),
        ("LIVEDUMP_END", it.end.into()),
    ]
    .map(|(name, value)| (name.into(), value))
    .into()
}

fn listen(args: &Args, port: u16) -> Result<Vec<Listener>, Error> {
    let failed = |at, e| Error::of_command(Refused::Bind(at, e));
    let open = |bind: &Bind| {
        let at = match port {
            KDUMPD_PORT => bind.with_port(port),
            _ => bind.or_port(port),
        };
        Listener::bind(at).map_err(|e| (at, e))
    };
    if !args.bind.is_empty() {
        let all = args.bind.iter().map(open);
        let all: Result<_, _> = all.collect();
        return all.map_err(|(at, e)| failed(at, e));
    }
    let v4 = open(&Bind::any(false)).map_err(|(at, e)| failed(at, e))?;
    // A host without it has IPv4.
    let v6 = open(&Bind::any(true)).ok();
    Ok([v4].into_iter().chain(v6).collect())
}

/// As many as there may be.
fn raise_descriptors() {
    let want = MAX_DUMPS.saturating_mul(DESCRIPTORS);
    let Ok(want) = nix::libc::rlim_t::try_from(want) else { return };
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < want
    {
        // With fewer there are fewer clients at a time.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, want.min(hard), hard);
    }
}
