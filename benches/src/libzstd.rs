// SPDX-License-Identifier: BSD-2-Clause
//! What the codec alone can do: libzstd on chunks of the image that are in
//! memory already, in one thread or in as many as the others have. Only its
//! calls are counted.

use crate::{Result, size};
use nix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use zstd::bulk::Compressor;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    pub image: PathBuf,
    #[arg(long, value_parser = size::parse, default_value = "1M")]
    pub chunk: u64,
    #[arg(long, allow_negative_numbers = true, default_value_t = 1)]
    pub level: i32,
    /// Give each frame a checksum
    #[arg(long)]
    pub checksum: bool,
    #[arg(
        long,
        value_parser = clap::value_parser!(u32).range(1..),
        default_value_t = 1
    )]
    pub threads: u32,
}

/// What calls took, and what came out.
#[derive(Clone, Copy, Default)]
struct Calls {
    wall: Duration,
    cpu: Duration,
    bytes: u64,
}

impl Calls {
    fn and(self, other: Self) -> Self {
        Self {
            wall: self.wall + other.wall,
            cpu: self.cpu + other.cpu,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// Prints nanoseconds (of all threads, by their number), those on a CPU, and
/// compressed bytes.
pub fn run(args: &Args) -> Result<()> {
    if args.chunk == 0 {
        return Err("a chunk has no bytes".into());
    }
    let file = File::open(&args.image)?;
    let next = AtomicU64::new(0);
    let work = || compress(args, &file, &next).map_err(|e| e.to_string());
    let done: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..args.threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut all = Calls::default();
    for calls in done {
        all = all.and(calls.map_err(|_| "a thread panicked")??);
    }
    let wall = all.wall / args.threads;
    println!("{} {} {}", wall.as_nanos(), all.cpu.as_nanos(), all.bytes);
    Ok(())
}

/// Chunks that no other thread takes, until there are none.
fn compress(args: &Args, file: &File, next: &AtomicU64) -> Result<Calls> {
    let mut codec = Compressor::new(args.level)?;
    codec.include_checksum(args.checksum)?;
    let chunk = usize::try_from(args.chunk)?;
    let end = file.metadata()?.len();
    let mut plain = vec![0; chunk];
    let mut packed = vec![0; zstd::zstd_safe::compress_bound(chunk)];
    let mut calls = Calls::default();
    loop {
        let at = next.fetch_add(args.chunk, Ordering::Relaxed);
        let Some(left) = end.checked_sub(at).filter(|&n| n > 0) else {
            return Ok(calls);
        };
        let len = chunk.min(usize::try_from(left).unwrap_or(chunk));
        let plain = plain.get_mut(..len).unwrap_or_default();
        file.read_exact_at(plain, at)?;
        let (started, used) = (Instant::now(), cpu_time()?);
        let bytes = codec.compress_to_buffer(plain, &mut packed)?;
        calls = calls.and(Calls {
            wall: started.elapsed(),
            cpu: cpu_time()?.saturating_sub(used),
            bytes: bytes as u64,
        });
    }
}

fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
