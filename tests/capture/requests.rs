// SPDX-License-Identifier: BSD-2-Clause
//! The requests: what comes back, what others see meanwhile.

use livedump_hosted::process::{Credentials, Descriptor};
use livedump_hosted::{Block, Caller, Events};
use livedump_kmod::error::Errno;
use livedump_kmod::kpi::DumpLock;
use livedump_tests::decoder::judge_raw;
use livedump_tests::scenario::{Scenario, minidump};
use memdev::ioctl::{
    FLAG_ESTIMATE, FLAG_WAIT, MEM_KERNELDUMP, MemMinidumpArg, NO_FD,
};
use memdev::stage::Stage;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

const SMALL: &str = "size 16M";

#[test]
fn the_answer_tells_what_is_in_the_file() {
    for compression in 0..=2 {
        let s = Scenario::model(SMALL);
        let out = s.minidump(&s.request(compression)).unwrap();
        let raw = judge_raw(&s.contents()).unwrap();
        assert_eq!(out.stage(), Some(Stage::Done));
        assert_eq!(out.minidump_version, raw.dump.version);
        assert_eq!(out.pages, raw.dump.pas().len() as u64);
        let is_zero = |page: &[u8]| page.iter().all(|&b| b == 0);
        let zeros = raw.dump.pages().filter(|p| is_zero(p.1)).count();
        assert_eq!(out.zero_pages, zeros as u64);
        assert_eq!(out.dumplength, raw.trailer.dumplength);
        assert_eq!(out.dumpextent, raw.trailer.dumpextent);
        assert_eq!((out.changed_pages, out.quiesced_ns), (0, 0));
        assert!(out.elapsed_ns > 0);
    }
}

#[test]
fn an_estimate_is_what_the_dump_then_takes() {
    let s = Scenario::model(SMALL);
    let mut arg = MemMinidumpArg::new();
    arg.flags = FLAG_ESTIMATE;
    let estimate = s.minidump(&arg).unwrap();
    assert_eq!(s.file.metadata().unwrap().len(), 0);
    s.assert_at_rest();
    let dump = s.minidump(&s.request(0)).unwrap();
    assert_eq!(estimate.dumpextent, dump.dumplength);
    assert_eq!(estimate.pages, dump.pages);
    assert_eq!(estimate.dumplength, 0);
}

#[test]
fn an_estimate_takes_no_descriptor() {
    let s = Scenario::model(SMALL);
    let mut arg = s.request(0);
    arg.flags = FLAG_ESTIMATE;
    assert_eq!(s.minidump(&arg), Err(Errno::EINVAL));
    arg.flags = 0;
    arg.fd = NO_FD;
    assert_eq!(s.minidump(&arg), Err(Errno::EBADF));
}

#[test]
fn the_stock_argument_is_thirty_two_bytes_of_which_nine_count() {
    let s = Scenario::model(SMALL);
    // As C has it: int fd, int flags, u8 compression, then what nobody reads.
    let mut arg = [0xee_u8; 32];
    arg[0..4].copy_from_slice(&s.fd.to_ne_bytes());
    arg[4..8].fill(0);
    arg[8] = 2;
    assert_eq!(MEM_KERNELDUMP, 0x8020_6d35);
    s.process.ioctl(MEM_KERNELDUMP, &mut arg).unwrap();
    assert_eq!(judge_raw(&s.contents()).unwrap().trailer.compression, 2);
}

type Outcome = Result<MemMinidumpArg, Errno>;
type Ask = Arc<dyn Fn(u32) -> Outcome + Send + Sync>;

/// A second process with a file of its own; it asks with these flags.
fn second(s: &Scenario) -> (File, Ask) {
    let process = s.kernel.process(Credentials::ROOT);
    let file = tempfile::tempfile().unwrap();
    let d = Descriptor::from_file(file.try_clone().unwrap()).unwrap();
    let fd = process.install(d);
    let ask = move |flags| {
        let arg = MemMinidumpArg { fd, flags, ..MemMinidumpArg::new() };
        minidump(&process, &arg)
    };
    (file, Arc::new(ask))
}

#[test]
fn a_second_dump_is_refused_and_the_first_one_whole() {
    let s = Scenario::model(SMALL);
    let (_, ask) = second(&s);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let dump = move |_: Block<'_>| {
        record.lock().unwrap().push(ask(0).map(|_| ()));
        Ok(())
    };
    let events = Events { dump: Some(Arc::new(dump)), ..Events::default() };
    s.kernel.set_events(events);
    let _ = s.dump(0);
    s.kernel.set_events(Events::default());
    let seen = seen.lock().unwrap();
    assert!(seen.len() > 3);
    assert!(seen.iter().all(|r| *r == Err(Errno::EBUSY)));
}

#[test]
fn a_request_that_waits_gets_its_turn() {
    let s = Scenario::model(SMALL);
    let (file, ask) = second(&s);
    let holder = Caller::new(&s.process);
    assert!(holder.livedump_try_xlock());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| ask(FLAG_WAIT));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiter.is_finished());
        assert_eq!(file.metadata().unwrap().len(), 0);
        holder.livedump_xunlock();
        waiter.join().unwrap().unwrap();
    });
    assert!(file.metadata().unwrap().len() > 0);
    s.assert_at_rest();
}

#[test]
fn a_signal_ends_the_wait_and_leaves_the_lock_alone() {
    let s = Scenario::model(SMALL);
    let other = s.kernel.process(Credentials::ROOT);
    let d = Descriptor::from_file(s.file.try_clone().unwrap()).unwrap();
    let fd = other.install(d);
    let arg = MemMinidumpArg { fd, flags: FLAG_WAIT, ..MemMinidumpArg::new() };
    let holder = Caller::new(&s.process);
    assert!(holder.livedump_try_xlock());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| minidump(&other, &arg));
        std::thread::sleep(Duration::from_millis(50));
        other.signal();
        assert_eq!(waiter.join().unwrap(), Err(Errno::EINTR));
    });
    // Still held, by whom it was held before.
    assert_eq!(s.minidump(&s.request(0)), Err(Errno::EBUSY));
    holder.livedump_xunlock();
    let _ = s.dump(0);
}

#[test]
fn a_signal_ends_a_dump_between_two_blocks() {
    for compression in 0..=2 {
        let s = Scenario::model("size 32M");
        let process = Arc::new(s.kernel.process(Credentials::ROOT));
        let d = Descriptor::from_file(s.file.try_clone().unwrap()).unwrap();
        let fd = process.install(d);
        let blocks = Arc::new(AtomicU64::new(0));
        let (sender, counter) = (Arc::clone(&process), Arc::clone(&blocks));
        let dump = move |_: Block<'_>| {
            if counter.fetch_add(1, Ordering::Relaxed) == 5 {
                sender.signal();
            }
            Ok(())
        };
        let dump = Some(Arc::new(dump) as Arc<_>);
        s.kernel.set_events(Events { dump, ..Events::default() });
        let mut arg = s.request(compression);
        arg.fd = fd;
        let result = minidump(&process, &arg);
        s.kernel.set_events(Events::default());
        assert_eq!(result, Err(Errno::EINTR));
        assert!(blocks.load(Ordering::Relaxed) <= 7);
        assert_eq!(s.file.metadata().unwrap().len(), 0);
        s.assert_at_rest();
        let status = s.status();
        assert_eq!(status.last_error, Errno::EINTR.0);
        assert_eq!(status.last_pid, process.pid());
        assert!(status.last_stage >= Stage::Header as u32);
    }
}

#[test]
fn others_can_look_at_the_file_while_it_is_written() {
    let s = Scenario::model(SMALL);
    let (asked, answered) = (Arc::new(Barrier::new(2)), Barrier::new(2));
    let answered = Arc::new(answered);
    let (a, b) = (Arc::clone(&asked), Arc::clone(&answered));
    let first = AtomicU64::new(0);
    let dump = move |_: Block<'_>| {
        if first.fetch_add(1, Ordering::Relaxed) == 2 {
            a.wait();
            b.wait();
        }
        Ok(())
    };
    let dump = Some(Arc::new(dump) as Arc<_>);
    s.kernel.set_events(Events { dump, ..Events::default() });
    let d = Descriptor::from_file(s.file.try_clone().unwrap()).unwrap();
    let vnode = Arc::clone(d.vnode());
    let fd = s.process.install(d);
    let mut arg = s.request(0);
    arg.fd = fd;
    std::thread::scope(|scope| {
        let dumper = scope.spawn(|| s.minidump(&arg));
        asked.wait();
        // stat(2) does not wait for the dump, a writer does.
        assert!(vnode.size().unwrap() > 0);
        assert!(vnode.is_range_locked());
        let started = Instant::now();
        let writer = scope.spawn(|| vnode.pwrite(0, &[0xff; 4096]));
        while started.elapsed() < Duration::from_millis(50) {
            assert!(!writer.is_finished());
        }
        answered.wait();
        dumper.join().unwrap().unwrap();
        writer.join().unwrap().unwrap();
    });
    let mut contents = s.contents();
    contents[..4096].copy_from_slice(&dump_header(&s));
    judge_raw(&contents).unwrap();
}

/// The header page of a dump of `s`.
fn dump_header(s: &Scenario) -> Vec<u8> {
    s.kernel.set_events(Events::default());
    let mut arg = s.request(0);
    let process = s.kernel.process(Credentials::ROOT);
    let file = tempfile::tempfile().unwrap();
    let d = Descriptor::from_file(file.try_clone().unwrap()).unwrap();
    arg.fd = process.install(d);
    minidump(&process, &arg).unwrap();
    let mut page = vec![0; 4096];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut page, 0).unwrap();
    page
}

#[test]
fn the_status_only_grows_while_a_dump_runs() {
    let s = Arc::new(Scenario::model(SMALL));
    let idle = s.status();
    assert_eq!((idle.stage(), idle.pid), (Some(Stage::Idle), 0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (watched, record) = (Arc::clone(&s), Arc::clone(&seen));
    let dump = move |_: Block<'_>| {
        record.lock().unwrap().push(watched.status());
        Ok(())
    };
    let dump = Some(Arc::new(dump) as Arc<_>);
    s.kernel.set_events(Events { dump, ..Events::default() });
    let out = s.minidump(&s.request(1)).unwrap();
    s.kernel.set_events(Events::default());
    let seen = seen.lock().unwrap();
    assert!(seen.len() > 3);
    for pair in seen.windows(2) {
        assert!(pair[0].stage <= pair[1].stage);
        assert!(pair[0].pages_done <= pair[1].pages_done);
        assert!(pair[0].bytes_out <= pair[1].bytes_out);
        assert!(pair[0].elapsed_ns <= pair[1].elapsed_ns);
    }
    assert!(seen.iter().all(|m| m.pid == s.process.pid()));
    assert!(seen.iter().all(|m| m.pages_total == out.pages));
    let last = s.status();
    assert_eq!(last.pages_done, out.pages);
    assert_eq!(last.bytes_out, out.dumplength);
    assert_eq!((last.started, last.completed), (1, 1));
    assert_eq!((last.last_error, last.last_pid), (0, s.process.pid()));
    assert_eq!(last.last_stage(), Some(Stage::Done));
}
