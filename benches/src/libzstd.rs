// SPDX-License-Identifier: BSD-2-Clause
//! What the codec alone can do: libzstd in one thread, on chunks of the
//! image that are in memory already. Only its calls are counted.

use crate::{Result, size};
use nix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use zstd::bulk::Compressor;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    pub image: PathBuf,
    #[arg(long, value_parser = size::parse, default_value = "1M")]
    pub chunk: u64,
    #[arg(long, default_value_t = 1)]
    pub level: i32,
    /// Give each frame a checksum
    #[arg(long)]
    pub checksum: bool,
}

/// Prints nanoseconds, those of them on a CPU, and compressed bytes.
pub fn run(args: &Args) -> Result<()> {
    let mut codec = Compressor::new(args.level)?;
    codec.include_checksum(args.checksum)?;
    let chunk = usize::try_from(args.chunk)?;
    let mut file = File::open(&args.image)?;
    let mut plain = Vec::with_capacity(chunk);
    let mut packed = vec![0; zstd::zstd_safe::compress_bound(chunk)];
    let (mut took, mut cpu, mut bytes) = (Duration::ZERO, Duration::ZERO, 0);
    loop {
        plain.clear();
        file.by_ref().take(args.chunk).read_to_end(&mut plain)?;
        if plain.is_empty() {
            break;
        }
        let (started, used) = (Instant::now(), cpu_time()?);
        bytes += codec.compress_to_buffer(&plain, &mut packed)?;
        took += started.elapsed();
        cpu += cpu_time()?.saturating_sub(used);
    }
    println!("{} {} {bytes}", took.as_nanos(), cpu.as_nanos());
    Ok(())
}

fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}
