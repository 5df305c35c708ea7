// SPDX-License-Identifier: BSD-2-Clause
//! The pieces, one by one: what a walk, an index, a codec and a page of a
//! dump cost. `cargo bench -p livedump-bench`.

#![allow(clippy::unwrap_used)]

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use livedump_cli::args::Cli;
use livedump_vmcore::Vmcore;
use memdev::addr::{Paddr, Vaddr};
use memdev::bitset::{Bitset, Rank, rank_entries, words_for};
use memdev::dump_avail::DumpAvail;
use std::path::PathBuf;
use std::sync::LazyLock;

fn main() {
    divan::main();
}

/// Pages of 64 GB.
const BITS: u64 = 1 << 24;

fn set_of_every_third() -> Bitset<Vec<u64>> {
    let words = vec![0x9249_2492_4924_9249; words_for(BITS) as usize];
    Bitset::new(words, BITS).unwrap()
}

#[divan::bench]
fn bitset_walk_64_gb(bencher: Bencher<'_, '_>) {
    let set = set_of_every_third();
    bencher
        .counter(ItemsCount::new(set.count()))
        .bench_local(|| set.iter().fold(0, |sum, bit| sum ^ bit));
}

#[divan::bench]
fn rank_index_of_64_gb(bencher: Bencher<'_, '_>) {
    let set = set_of_every_third();
    let entries = rank_entries(BITS) as usize;
    bencher.bench_local(|| Rank::build(vec![0; entries], &set).unwrap());
}

#[divan::bench]
fn rank_of_one_page(bencher: Bencher<'_, '_>) {
    let set = set_of_every_third();
    let totals = vec![0; rank_entries(BITS) as usize];
    let rank = Rank::build(totals, &set).unwrap();
    bencher.bench_local(|| rank.rank(&set, black_box(BITS / 3 * 2)));
}

#[divan::bench]
fn bit_of_a_page(bencher: Bencher<'_, '_>) {
    let ranges: Vec<_> =
        (0..30u64).map(|n| (n << 30, (n << 30) + (1 << 29))).collect();
    let avail = DumpAvail::new(&ranges).unwrap();
    bencher.bench_local(|| avail.bit_of(black_box(Paddr(29 << 30))));
}

/// A model machine's dumps, in files.
struct Dumps {
    directory: tempfile::TempDir,
}

/// As all model machines have it.
const KERNBASE: Vaddr = Vaddr(0xffff_ffff_8020_0000);
const SIZE: &str = "model:256M";

static DUMPS: LazyLock<Dumps> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    for format in [None, Some("-z"), Some("-Z")] {
        capture(directory.path().into(), format);
    }
    Dumps { directory }
});

fn capture(into: PathBuf, format: Option<&str>) {
    let words = ["livedump", "capture", "-q", "--machine", SIZE];
    let words = words.into_iter().chain(format).map(Into::into);
    let cli = Cli::parse_from_args(words.chain([into.into()])).unwrap();
    cli.run().unwrap();
}

impl Dumps {
    fn open(&self, name: &str) -> Vmcore {
        Vmcore::open(&self.directory.path().join(name)).unwrap()
    }
}

const NAMES: [&str; 3] = ["livecore.0", "livecore.1.gz", "livecore.2.zst"];

#[divan::bench(args = [NAMES[0], NAMES[2]])]
fn open(bencher: Bencher<'_, '_>, name: &str) {
    LazyLock::force(&DUMPS);
    bencher.bench_local(|| DUMPS.open(name).pages().unwrap().count_set());
}

#[divan::bench(args = [NAMES[0], NAMES[2]])]
fn open_and_read_8_bytes(bencher: Bencher<'_, '_>, name: &str) {
    LazyLock::force(&DUMPS);
    bencher.bench_local(|| DUMPS.open(name).read_u64(KERNBASE).unwrap());
}

#[divan::bench(args = NAMES)]
fn read_8_bytes_again(bencher: Bencher<'_, '_>, name: &str) {
    let core = DUMPS.open(name);
    bencher.bench_local(|| core.read_u64(black_box(KERNBASE)).unwrap());
}

#[divan::bench(sample_count = 10)]
fn capture_to_plain(bencher: Bencher<'_, '_>) {
    capture_with(bencher, None);
}

#[divan::bench(sample_count = 10)]
fn capture_to_gzip(bencher: Bencher<'_, '_>) {
    capture_with(bencher, Some("-z"));
}

#[divan::bench(sample_count = 10)]
fn capture_to_zstd(bencher: Bencher<'_, '_>) {
    capture_with(bencher, Some("-Z"));
}

fn capture_with(bencher: Bencher<'_, '_>, format: Option<&str>) {
    let bytes = DUMPS.open(NAMES[0]).file().len;
    bencher
        .counter(BytesCount::new(bytes))
        .with_inputs(|| tempfile::tempdir().unwrap())
        .bench_local_refs(|tmp| capture(tmp.path().into(), format));
}
