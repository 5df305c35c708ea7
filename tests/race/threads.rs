// SPDX-License-Identifier: BSD-2-Clause
//! Threads of the host's change the machine at any moment, in the middle of
//! a page if need be.

use super::check;
use livedump_tests::decoder::judge_raw;
use livedump_tests::scenario::Scenario;
use memdev::ioctl::MemMinidumpArg;

fn dump_while_it_runs(recipe: &str, times: u32) {
    let s = Scenario::model(recipe);
    let mutators = s.machine.start_mutators(2);
    for n in 0..times {
        let arg = s.request((n % 3) as u8);
        let arg = MemMinidumpArg { workers: n % 4, ..arg };
        let out = s.minidump(&arg).unwrap();
        s.assert_at_rest();
        let raw = judge_raw(&s.contents()).unwrap();
        assert_eq!(out.pages, raw.dump.pas().len() as u64);
        check(&s.machine, &raw).unwrap();
    }
    drop(mutators);
    // And at rest again, the dump is whole.
    let dump = s.dump(0).dump;
    let walked = dump.allproc(&s.symbols()).unwrap();
    let real = s.machine.processes();
    assert_eq!(walked.len(), real.iter().filter(|p| !p.zombie).count());
}

#[test]
fn amd64_under_load_is_dumped_consistently() {
    dump_while_it_runs("size 32M\nkmap 1M 4K\nkmap 4M 2M", 9);
}

#[test]
fn arm64_under_load_is_dumped_consistently() {
    dump_while_it_runs("machine arm64\nsize 32M\nkmap 1M 4K\nkmap 4M 2M", 9);
}

#[test]
fn freebsd_12_under_load_is_dumped_consistently() {
    dump_while_it_runs("size 32M\nrelease 12.1-RELEASE\nkmap 4M 2M", 9);
}
