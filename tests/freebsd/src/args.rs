// SPDX-License-Identifier: BSD-2-Clause
//! The command line.

use clap::Parser;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Runs livedump.ko in real FreeBSD kernels under QEMU.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A kernel, or a folder with one. Default: LIVEDUMP_FREEBSD_KERNEL, or
    /// all of ~/.cache/livedump/kernels and kernels-arm64.
    #[arg(long = "kernel")]
    pub(crate) kernels: Vec<PathBuf>,
    /// A livedump.ko built elsewhere for this kernel.
    #[arg(long)]
    pub(crate) module: Option<PathBuf>,
    /// A FreeBSD root directory, for what takes a userland. Default:
    /// LIVEDUMP_FREEBSD_ROOT, or the one of this kernel's name in
    /// ~/.cache/livedump/roots.
    #[arg(long)]
    pub(crate) root: Option<PathBuf>,
    /// What to run: module, dumps, requests, instant, freeze, outside, row,
    /// pause, costs, userland, hangs, deadlocks, limits, writing, streams, nmi,
    /// panic, full; as the last of a boot dead, ddb, halted; direct, which is
    /// another two guests; netdump, which is three; image, of an arm64 kernel,
    /// which is a guest of its own.
    #[arg(
        long,
        default_value = "module,dumps,requests,instant,freeze,outside,row,\
                         userland,hangs,deadlocks,limits,writing,streams,image"
    )]
    pub(crate) cases: String,
    /// Dumps taken under load.
    #[arg(long, default_value_t = 6)]
    pub(crate) load: u32,
    /// Dumps of `instant` with the registers of a thread that spins.
    #[arg(long, default_value_t = 20)]
    pub(crate) registers: u32,
    /// Dumps of one instant under load, of `freeze`, and of each kind of
    /// `pause`.
    #[arg(long, default_value_t = 3)]
    pub(crate) freeze: u32,
    /// Dumps of the machine that runs under the same load, of `freeze`.
    #[arg(long, default_value_t = 1)]
    pub(crate) running: u32,
    /// Freezes in a row, whose dumps are not written.
    #[arg(long, default_value_t = 30)]
    pub(crate) freezes: u32,
    /// Dumps from outside of each kind, of `outside`.
    #[arg(long, default_value_t = 3)]
    pub(crate) outside: u32,
    /// Dumps of each kind of `hangs`, live and of one instant.
    #[arg(long, default_value_t = 1)]
    pub(crate) hangs: u32,
    /// The guest's memory is in a file, which the host can open.
    #[arg(long)]
    pub(crate) memory_file: bool,
    /// QEMU has its vmcoreinfo device.
    #[arg(long)]
    pub(crate) vmcoreinfo: bool,
    /// Dumps the stock facility takes, for comparison.
    #[arg(long, default_value_t = 0)]
    pub(crate) stock: u32,
    /// QEMU's network card, of `netdump`: virtio-net-pci or e1000.
    #[arg(long, default_value = "virtio-net-pci")]
    pub(crate) nic: String,
    /// CPUs of the guest.
    #[arg(long, default_value_t = 2)]
    pub(crate) smp: u32,
    /// Memory of the guest.
    #[arg(long, default_value = "512M")]
    pub(crate) mem: String,
    /// MiB, an even number, above its own addresses at which the kernel is
    /// loaded. Kernels before 13.1 cannot be.
    #[arg(long, default_value_t = 0, value_parser = even)]
    pub(crate) above: u64,
    /// QEMU's -cpu. Default: max,erms=off on amd64, max,pauth-impdef=on on
    /// arm64. max,erms=off,la57=off has four-level page tables.
    #[arg(long)]
    pub(crate) cpu: Option<String>,
    /// Seconds after which a guest is given up.
    #[arg(long, default_value_t = 300)]
    pub(crate) timeout: u64,
    /// Kernels that are run at the same time.
    #[arg(long, default_value = "1")]
    pub(crate) jobs: NonZeroUsize,
    /// Keeps images, console output and dumps here.
    #[arg(long)]
    pub(crate) keep: Option<PathBuf>,
    /// Shows the guest's console.
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

fn even(text: &str) -> std::result::Result<u64, String> {
    match text.parse() {
        Ok(n @ 0..1024) if n % 2 == 0 => Ok(n),
        _ => Err("not an even number below 1024".into()),
    }
}
