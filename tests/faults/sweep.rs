// SPDX-License-Identifier: BSD-2-Clause
//! Every call into the kernel that can fail, failed in turn: the errno comes
//! back, everything taken is given back, and the file is as it was or empty.

use livedump_hosted::fault::Script;
use livedump_hosted::method::Method;
use livedump_hosted::process::Descriptor;
use livedump_kmod::error::Errno;
use livedump_tests::scenario::{Scenario, TINY, TINY_ARM64};
use memdev::freeze::MemMinidumpArg2;
use memdev::ioctl::{
    FLAG_ESTIMATE, FLAG_QUIESCE, FLAG_REGISTERS, FLAG_STABILITY, FLAG_WAIT,
    MemMinidumpArg, NO_FD,
};
use std::os::unix::fs::FileExt;

const BEFORE: &[u8] = b"as it was";

/// A request, whichever argument it has.
type Request<'s> = dyn Fn(&Scenario) -> Result<(), Errno> + 's;

fn request(arg: MemMinidumpArg) -> impl Fn(&Scenario) -> Result<(), Errno> {
    move |s| s.minidump(&arg).map(|_| ())
}

fn request2(arg: MemMinidumpArg2) -> impl Fn(&Scenario) -> Result<(), Errno> {
    move |s| s.minidump2(&arg).map(|_| ())
}

/// Calls of each method in a request that succeeds.
fn calls(s: &Scenario, request: &Request<'_>) -> Vec<(Method, u64)> {
    let count = |m: &Method| s.kernel.faults().calls(*m);
    let before: Vec<u64> = Method::ALL.iter().map(count).collect();
    request(s).unwrap();
    let methods = Method::ALL.iter().zip(before);
    methods
        .map(|(m, before)| (*m, count(m) - before))
        .filter(|(m, n)| *n > 0 && m.errno().is_some())
        .collect()
}

fn sweep(recipe: &str, arg: impl Fn(&Scenario) -> MemMinidumpArg) {
    let s = Scenario::model(recipe);
    let arg = arg(&s);
    sweep_request(&s, &request(arg));
}

fn sweep_request(s: &Scenario, request: &Request<'_>) {
    let faults = s.kernel.faults();
    for (method, last) in calls(s, request) {
        for nth in 1..=last {
            s.file.set_len(0).unwrap();
            s.file.write_all_at(BEFORE, 0).unwrap();
            let errno = method.errno().unwrap();
            faults.install_script(Script::new().fail_call(method, nth, errno));
            let started = faults.calls(Method::LivedumperStart);
            let finished = faults.calls(Method::LivedumperFinish);
            let mut result = request(s);
            let what = || format!("{method} {nth} of {last}: {}", s.steps());
            assert_eq!(faults.failed().len(), 1, "{}", what());
            if (errno, result) == (Errno::ENOMEM, Ok(()))
                && method != Method::WithWorkers
            {
                // With fewer slots, unless they have no memory either.
                s.assert_at_rest();
                livedump_tests::decoder::judge_raw(&s.contents()).unwrap();
                let script = (nth..=2 * last)
                    .fold(Script::new(), |script, n| {
                        script.fail_call(method, n, errno)
                    });
                s.file.set_len(0).unwrap();
                faults.install_script(script);
                result = request(s);
            }
            // Without threads of its own it compresses on the caller's; CPUs
            // that did not stop are asked again.
            let want = match method {
                Method::WithWorkers | Method::Freeze => Ok(()),
                _ => Err(errno),
            };
            assert_eq!(result, want, "{}", what());
            s.assert_at_rest();
            let started = faults.calls(Method::LivedumperStart) - started;
            let finished = faults.calls(Method::LivedumperFinish) - finished;
            let vetoed = u64::from(method == Method::LivedumperStart);
            assert_eq!(finished, started - vetoed, "{}", what());
            let left = s.contents();
            assert!(
                want.is_ok() || left.is_empty() || left == BEFORE,
                "{} bytes left: {}",
                left.len(),
                what()
            );
        }
    }
    faults.stop();
    // Nothing of all this is remembered.
    let arg = MemMinidumpArg { workers: 1, ..s.request(0) };
    s.minidump(&arg).unwrap();
    livedump_tests::decoder::judge_raw(&s.contents()).unwrap();
}

fn dump(s: &Scenario, compression: u8) -> MemMinidumpArg {
    let level = i16::from(compression != 0);
    MemMinidumpArg { workers: 1, level, ..s.request(compression) }
}

#[test]
fn every_failing_call_of_a_plain_dump_leaves_nothing_behind() {
    sweep(TINY, |s| dump(s, 0));
}

#[test]
fn every_failing_call_of_a_plain_arm64_dump_leaves_nothing_behind() {
    sweep(TINY_ARM64, |s| dump(s, 0));
}

/// Everything at once, with a list of changes.
fn instant(s: &Scenario, compression: u8) -> MemMinidumpArg {
    let list = tempfile::tempfile().unwrap();
    let changes_fd = s.process.install(Descriptor::from_file(list).unwrap());
    let flags = FLAG_QUIESCE | FLAG_REGISTERS | FLAG_STABILITY;
    MemMinidumpArg { flags, changes_fd, ..dump(s, compression) }
}

#[test]
fn every_failing_call_of_a_quiesced_dump_resumes_processes() {
    sweep(TINY, |s| instant(s, 0));
}

#[test]
fn every_failing_call_of_a_quiesced_arm64_dump_resumes_processes() {
    sweep(TINY_ARM64, |s| instant(s, 2));
}

#[test]
fn every_failing_call_of_a_gzip_dump_leaves_nothing_behind() {
    sweep(TINY_ARM64, |s| dump(s, 1));
}

#[test]
fn every_failing_call_of_a_zstd_dump_leaves_nothing_behind() {
    sweep(TINY, |s| dump(s, 2));
}

#[test]
fn every_failing_call_of_an_estimate_leaves_nothing_behind() {
    sweep(TINY, |_| MemMinidumpArg {
        flags: FLAG_ESTIMATE | FLAG_WAIT,
        fd: NO_FD,
        ..MemMinidumpArg::new()
    });
}

/// With more CPUs, which of them makes a call is a matter of luck.
const ONE_CPU: &str = "cpus 1";

fn frozen(s: &Scenario, compression: u8) -> MemMinidumpArg2 {
    let MemMinidumpArg2 { arg, freeze } = s.frozen(compression);
    let level = i16::from(compression != 0);
    let arg = MemMinidumpArg { workers: 1, level, ..arg };
    MemMinidumpArg2 { arg, freeze }
}

fn sweep_frozen(recipe: &str, compression: u8) {
    let s = Scenario::model(&format!("{recipe}\n{ONE_CPU}"));
    let arg = frozen(&s, compression);
    sweep_request(&s, &request2(arg));
}

#[test]
fn every_failing_call_of_a_frozen_dump_leaves_nothing_behind() {
    sweep_frozen(TINY, 0);
}

#[test]
fn every_failing_call_of_a_frozen_arm64_dump_leaves_nothing_behind() {
    sweep_frozen(TINY_ARM64, 2);
}

#[test]
fn every_failing_call_of_an_estimate_of_a_freeze_leaves_nothing_behind() {
    let s = Scenario::model(&format!("{TINY}\n{ONE_CPU}"));
    let mut arg = frozen(&s, 0);
    arg.arg.flags |= FLAG_ESTIMATE;
    arg.arg.fd = NO_FD;
    sweep_request(&s, &request2(arg));
}

#[test]
fn memory_that_runs_out_at_any_size_of_a_frozen_dump_is_enomem() {
    let s = Scenario::model(&format!("{TINY}\n{ONE_CPU}"));
    let arg = frozen(&s, 0);
    s.kernel.memory().reset_peak();
    s.minidump2(&arg).unwrap();
    let peak = s.kernel.memory().peak();
    for limit in (0..peak).step_by(peak / 40) {
        s.kernel.memory().set_limit(limit);
        s.file.set_len(0).unwrap();
        let result = s.minidump2(&arg);
        assert_eq!(result, Err(Errno::ENOMEM), "{limit}");
        s.assert_at_rest();
        assert!(s.contents().is_empty(), "{limit}");
    }
    s.kernel.memory().set_limit(peak);
    s.minidump2(&arg).unwrap();
}

#[test]
fn threads_stop_when_one_of_them_fails() {
    let s = Scenario::model("size 16M");
    for compression in [0, 1, 2] {
        let arg = s.request(compression);
        let level = i16::from(compression > 0);
        let arg = MemMinidumpArg { workers: 4, level, ..arg };
        let calls = calls(&s, &request(arg));
        for method in [Method::Compress, Method::VnWrite, Method::ReadPage] {
            let calls = calls.iter().find(|c| c.0 == method).map(|c| c.1);
            let Some(calls) = calls else {
                assert_eq!((method, compression), (Method::Compress, 0));
                continue;
            };
            // A thread compresses its first chunk of zeros, and no other.
            let last = calls - 4 * u64::from(method == Method::Compress);
            for nth in [1, 2, last / 3 + 1, last / 2 + 1, last - 1, last] {
                let script = Script::new().fail_call(method, nth, Errno::EIO);
                s.kernel.faults().install_script(script);
                assert_eq!(s.minidump(&arg), Err(Errno::EIO), "{method}");
                s.assert_at_rest();
                assert_eq!(s.file.metadata().unwrap().len(), 0);
            }
        }
        s.kernel.faults().stop();
    }
}

#[test]
fn memory_that_runs_out_at_any_size_is_enomem() {
    let s = Scenario::model(TINY);
    for compression in 0..=2 {
        let arg = dump(&s, compression);
        s.kernel.memory().reset_peak();
        s.minidump(&arg).unwrap();
        let peak = s.kernel.memory().peak();
        let limits = (0..peak).step_by(peak / 40);
        let results = limits.map(|limit| {
            s.kernel.memory().set_limit(limit);
            let result = s.minidump(&arg).map(|_| ());
            s.assert_at_rest();
            result
        });
        let results: Vec<_> = results.collect();
        // What is compressed can do with fewer slots, down to some size.
        let most = if compression == 0 { 0 } else { results.len() * 2 / 3 };
        let enough = results.iter().filter(|result| result.is_ok()).count();
        assert!(enough <= most && (enough > 0) == (most > 0), "{results:?}");
        let (short, rest) = results.split_at(results.len() - enough);
        assert!(short.iter().all(|result| *result == Err(Errno::ENOMEM)));
        assert!(rest.iter().all(Result::is_ok));
        s.kernel.memory().set_limit(peak);
        s.minidump(&arg).unwrap();
        s.kernel.memory().set_limit(usize::MAX);
    }
}

#[test]
fn memory_does_not_grow_with_the_machine() {
    let peak = |recipe: &str| {
        let s = Scenario::model(recipe);
        let arg = MemMinidumpArg { workers: 2, ..s.request(2) };
        s.minidump(&arg).unwrap();
        s.kernel.memory().peak()
    };
    // A bit a page is all that may be more: 8 KB here.
    let (small, large) = (peak("size 16M"), peak("size 256M"));
    assert!(small < 16 << 20, "{small} bytes");
    assert!(large < small + (256 << 10), "{small} and {large} bytes");
}
