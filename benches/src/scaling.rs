// SPDX-License-Identifier: BSD-2-Clause
//! How many threads the engine can feed. A codec that takes a time for each
//! chunk and no CPU stands in for more CPUs than there are; what the thread
//! that walks and writes then needs of its CPU is what cannot be done in
//! parallel.

use crate::Result;
use livedump_hosted::process::{Credentials, Descriptor};
use livedump_hosted::raw::RawMachine;
use livedump_hosted::{HostedKernel, SimulatedCodec};
use memdev::ioctl::{MEM_MINIDUMP, MemMinidumpArg};
use memdev::kerneldump::Compression;
use nix::time::{ClockId, clock_gettime};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What level 1 packs in one go.
const CHUNK: usize = 256 << 10;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Milliseconds that each chunk of 256 KB takes
    #[arg(long, value_name = "MS", default_value_t = 20)]
    takes: u64,
    /// Microseconds that the codec itself takes for one, which the share is of
    #[arg(long, value_name = "US", default_value_t = 400)]
    codec: u32,
    /// Bytes that each becomes
    #[arg(long, value_name = "BYTES", default_value_t = 80_000)]
    bytes: usize,
    /// Chunks for each thread
    #[arg(long, value_name = "N", default_value_t = 64)]
    chunks: usize,
}

pub fn run(args: &Args) -> Result<()> {
    println!(
        "| threads | chunks | seconds | of the ideal | walking thread, us of \
         CPU a chunk | share |\n|---:|---:|---:|---:|---:|---:|"
    );
    for threads in [1, 2, 4, 8, 16, 32, 64] {
        let (took, cpu, chunks) = measure(args, threads)?;
        let ideal = Duration::from_millis(args.takes)
            * u32::try_from(chunks.div_ceil(threads as usize))?;
        let each = cpu.as_secs_f64() * 1e6 / chunks as f64;
        println!(
            "| {threads} | {chunks} | {:.3} | {:.2} | {each:.1} | {:.1} % |",
            took.as_secs_f64(),
            ideal.as_secs_f64() / took.as_secs_f64(),
            100.0 * each / (each + f64::from(args.codec)),
        );
    }
    Ok(())
}

/// Seconds, those of the CPU of the thread that asked, and chunks.
fn measure(args: &Args, threads: u32) -> Result<(Duration, Duration, usize)> {
    let chunks = args.chunks * threads as usize;
    let mut memory = tempfile::tempfile()?;
    // No zeros: what all of a chunk is made of is packed once.
    for _ in 0..chunks {
        memory.write_all(&[1; CHUNK])?;
    }
    let kernel = HostedKernel::new(Arc::new(RawMachine::from_file(memory)?));
    kernel.set_simulated_codec(Some(SimulatedCodec {
        takes: Duration::from_millis(args.takes),
        bytes: args.bytes,
    }));
    let process = kernel.process(Credentials::ROOT);
    let fd = process.install(Descriptor::from_file(tempfile::tempfile()?)?);
    let arg = MemMinidumpArg {
        fd,
        compression: Compression::Zstd as u8,
        workers: threads,
        ..MemMinidumpArg::new()
    };
    let mut data = [0; 128];
    arg.encode(&mut data);
    let (start, used) = (Instant::now(), cpu()?);
    process
        .ioctl(MEM_MINIDUMP, &mut data)
        .map_err(|e| format!("{threads} threads: {e}"))?;
    Ok((start.elapsed(), cpu()?.saturating_sub(used), chunks))
}

/// Of this thread.
fn cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
