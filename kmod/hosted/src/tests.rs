// SPDX-License-Identifier: BSD-2-Clause
//! The engine over this kernel: what a request takes it gives back, on every
//! path; and the kernel's own side of each errno.

use super::fault::Script;
use super::process::Descriptor;
use super::raw::RawMachine;
use super::vnode::{Disk, FileFaults, FileKind, Vnode, scratch_file};
use super::*;
use livedump_kmod::error::Errno;
use memdev::ioctl::{
    FLAG_ESTIMATE, FLAG_WAIT, MEM_KERNELDUMP, MEM_MINIDUMP,
    MEM_MINIDUMP_STATUS, MemLivedumpArg, MemMinidumpArg, MemMinidumpStatus,
};
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::{format, vec};

const RAM: u64 = 300 * 1024;
const OLD: &[u8] = b"an older dump";

/// Memory that is no hole and does not compress.
fn kernel() -> Arc<HostedKernel> {
    let mut x = 1u32;
    let noise: Vec<u8> = (0..RAM)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .collect();
    let file = scratch_file("ram");
    file.write_all_at(&noise, 0).unwrap();
    HostedKernel::new(Arc::new(RawMachine::from_file(file).unwrap()))
}

/// Puts something into the file that a dump replaces.
fn age(vnode: &Vnode) {
    vnode.truncate().unwrap();
    vnode.pwrite(0, OLD).unwrap();
}

/// A failed dump leaves nothing, or what was there.
#[track_caller]
fn assert_no_dump(vnode: &Vnode) {
    let size = vnode.size().unwrap();
    assert!(size == 0 || size == OLD.len() as u64, "{size} bytes left");
}

fn root(kernel: &Arc<HostedKernel>) -> Process {
    kernel.process(Credentials::ROOT)
}

fn file(p: &Process, name: &str) -> (i32, Arc<Vnode>) {
    let d = Descriptor::from_file(scratch_file(name)).unwrap();
    let vnode = Arc::clone(d.vnode());
    (p.install(d), vnode)
}

fn arg(fd: i32, compression: u8, flags: u32) -> MemMinidumpArg {
    MemMinidumpArg { fd, compression, flags, ..MemMinidumpArg::new() }
}

fn minidump(p: &Process, arg: MemMinidumpArg) -> Result<MemMinidumpArg> {
    let mut data = [0; 128];
    arg.encode(&mut data);
    p.ioctl(MEM_MINIDUMP, &mut data)?;
    Ok(MemMinidumpArg::decode(&data))
}

fn kerneldump(p: &Process, fd: i32, flags: i32, compression: u8) -> Result<()> {
    let arg = MemLivedumpArg { fd, flags, compression, ..Default::default() };
    p.ioctl(MEM_KERNELDUMP, &mut arg.encode())
}

fn status(p: &Process) -> MemMinidumpStatus {
    let mut data = [0; 128];
    p.ioctl(MEM_MINIDUMP_STATUS, &mut data).unwrap();
    MemMinidumpStatus::decode(&data)
}

/// Nothing is out when no request runs.
#[track_caller]
fn assert_quiet(kernel: &HostedKernel) {
    let steps = kernel.faults().recent();
    assert_eq!(kernel.locks_held(), 0, "locks; last steps {steps:?}");
    assert_eq!(kernel.files_held(), 0, "references; last steps {steps:?}");
    assert_eq!(kernel.memory().current(), 0, "memory; last steps {steps:?}");
    assert_eq!(kernel.misuses(), 0, "misuses; last steps {steps:?}");
}

#[test]
fn a_dump_takes_locks_and_memory_and_gives_all_of_it_back() {
    for compression in 0..=2 {
        let kernel = kernel();
        let p = root(&kernel);
        let (fd, vnode) = file(&p, "whole");
        let out = minidump(&p, arg(fd, compression, 0)).unwrap();
        assert_eq!((out.pages, out.zero_pages), (75, 0));
        let padded = out.dumplength.next_multiple_of(4096);
        assert_eq!(vnode.size(), Ok(padded + 512));
        assert!(kernel.memory().peak() > 0);
        assert!(kernel.request_steps() > 75);
        assert_eq!(kernel.faults().calls(Method::ReadPage), 75);
        assert_quiet(&kernel);
        assert_eq!(status(&p).completed, 1);
    }
}

#[test]
fn a_failure_of_any_call_is_clean() {
    for compression in 0..=2 {
        let kernel = kernel();
        kernel.set_ncpus(2);
        let p = root(&kernel);
        let (fd, vnode) = file(&p, "sweep");
        // One that was asked for: of others there is a lower one.
        let level = i16::from(compression != 0);
        let request =
            MemMinidumpArg { level, ..arg(fd, compression, FLAG_WAIT) };
        let dump = || minidump(&p, request);
        dump().unwrap();
        let calls = |m: &Method| (*m, kernel.faults().calls(*m));
        let once: Vec<_> = Method::ALL.iter().map(calls).collect();
        for (method, calls) in once {
            let Some(errno) = method.errno() else { continue };
            for nth in 1..=calls {
                age(&vnode);
                let script = Script::new().fail_call(method, nth, errno);
                kernel.faults().install_script(script);
                let mut result = dump();
                assert_quiet(&kernel);
                assert!(!vnode.is_range_locked());
                assert!(!kernel.livedump_lock.is_locked());
                if method == Method::WithWorkers {
                    assert!(result.is_ok(), "threads are a luxury");
                    continue;
                }
                if errno == Errno::ENOMEM && compression != 0 && result.is_ok()
                {
                    // With fewer slots, unless they have no memory either.
                    let from = (nth..=2 * calls).fold(Script::new(), |s, n| {
                        s.fail_call(method, n, errno)
                    });
                    age(&vnode);
                    kernel.faults().install_script(from);
                    result = dump();
                    assert_quiet(&kernel);
                }
                assert_eq!(result, Err(errno), "{method} {nth}");
                assert_no_dump(&vnode);
            }
        }
        kernel.faults().stop();
        dump().unwrap();
    }
}

#[test]
fn where_memory_is_short_only_a_level_that_was_asked_for_fails() {
    let kernel = kernel();
    kernel.set_ncpus(2);
    let p = root(&kernel);
    let (fd, vnode) = file(&p, "short");
    let take = |level| {
        age(&vnode);
        let result = minidump(&p, MemMinidumpArg { level, ..arg(fd, 2, 0) });
        assert_quiet(&kernel);
        result.map(|out| out.level)
    };
    assert_eq!(take(1), Ok(1));
    let usual = kernel.memory().peak();
    assert_eq!(take(0), Ok(1));
    kernel.set_zstd_level(3);
    assert_eq!(take(0), Ok(3));
    let more = kernel.memory().peak();
    assert!(more > usual, "{more} {usual}");
    // Whatever it is that the higher level has no room for; with smaller chunks
    // it may have.
    let limits = (usual..more).step_by((more - usual) / 50);
    let levels = limits.map(|limit| {
        kernel.memory().set_limit(limit);
        take(0).unwrap()
    });
    let levels: Vec<_> = levels.collect();
    assert!(levels.is_sorted() && levels.contains(&3), "{levels:?}");
    kernel.memory().set_limit(usual);
    assert_eq!(take(0), Ok(1));
    assert_eq!(kernel.memory().waited(), 0, "a level that is not needed");
    assert_eq!(take(3), Err(Errno::ENOMEM));
    assert_no_dump(&vnode);
    assert!(kernel.memory().waited() > 0);
    kernel.memory().set_limit(more);
    assert_eq!(take(0), Ok(3));
}

#[test]
fn a_signal_at_any_step_ends_the_dump_or_comes_too_late() {
    let kernel = kernel();
    let p = Arc::new(root(&kernel));
    let (fd, vnode) = file(&p, "signals");
    minidump(&p, arg(fd, 0, 0)).unwrap();
    for n in 1..=kernel.request_steps() {
        age(&vnode);
        let victim = Arc::clone(&p);
        let script = Script::new().at_step(n, move || victim.signal());
        kernel.faults().install_script(script);
        match minidump(&p, arg(fd, 0, 0)) {
            Ok(_) => assert!(p.take_signal(), "it is still waiting"),
            Err(e) => {
                assert_eq!(e, Errno::EINTR);
                assert_no_dump(&vnode);
                assert!(!p.take_signal(), "it has been taken");
            }
        }
        assert_quiet(&kernel);
    }
}

#[test]
fn a_killed_process_is_out_soon_and_its_files_are_closed() {
    let kernel = kernel();
    let p = Arc::new(root(&kernel));
    let (fd, vnode) = file(&p, "killed");
    let victim = Arc::clone(&p);
    kernel.faults().install_script(Script::new().at_call(
        Method::VnWrite,
        1,
        move || victim.exit(),
    ));
    assert_eq!(minidump(&p, arg(fd, 0, 0)), Err(Errno::EINTR));
    assert_eq!(vnode.size(), Ok(0));
    assert_quiet(&kernel);
    assert!(p.signal_pending() && p.close(fd).is_err());
    assert_eq!(Arc::strong_count(&vnode), 1);
}

#[test]
fn each_descriptor_has_the_errno_freebsd_gives_it() {
    let kernel = kernel();
    let p = root(&kernel);
    let regular = || Descriptor::from_file(scratch_file("rights")).unwrap();
    for (what, descriptor, errno) in [
        ("no right", regular().without_cap_write(), Errno::ENOTCAPABLE),
        ("O_PATH", regular().path_only(), Errno::EBADF),
        ("read-only", regular().read_only(), Errno::EBADF),
        ("pipe", Descriptor::of_kind(FileKind::Pipe), Errno::EINVAL),
        ("socket", Descriptor::of_kind(FileKind::Socket), Errno::EINVAL),
        ("fifo", Descriptor::of_kind(FileKind::Fifo), Errno::EINVAL),
        ("device", Descriptor::of_kind(FileKind::Device), Errno::EINVAL),
        ("directory", Descriptor::of_kind(FileKind::Directory), Errno::EINVAL),
    ] {
        let fd = p.install(descriptor);
        assert_eq!(kerneldump(&p, fd, 0, 0), Err(errno), "{what}");
        // The descriptor comes before the compressor.
        assert_eq!(kerneldump(&p, fd, 0, 9), Err(errno), "{what}");
        assert_eq!(kerneldump(&p, fd, 1, 0), Err(Errno::EINVAL), "{what}");
        p.close(fd).unwrap();
        assert_quiet(&kernel);
    }
    for fd in [-1, 0, 3, i32::MAX] {
        assert_eq!(kerneldump(&p, fd, 0, 0), Err(Errno::EBADF));
    }
    let fd = p.install(regular());
    assert_eq!(kerneldump(&p, fd, 0, 3), Err(Errno::EINVAL));
    kernel.set_compressors(true, false);
    assert_eq!(kerneldump(&p, fd, 0, 2), Err(Errno::EINVAL));
    assert_eq!(kerneldump(&p, fd, 0, 1), Ok(()));
    assert_quiet(&kernel);
}

#[test]
fn who_may_dump_depends_on_the_request() {
    let kernel = kernel();
    for (who, stock, ours) in [
        (Credentials::ROOT, Ok(()), Ok(())),
        (Credentials::JAILED_ROOT, Ok(()), Err(Errno::EPERM)),
        (Credentials::NOBODY, Ok(()), Err(Errno::EPERM)),
    ] {
        let p = kernel.process(who);
        let (fd, _) = file(&p, "who");
        assert_eq!(kerneldump(&p, fd, 0, 0), stock, "{who:?}");
        assert_eq!(minidump(&p, arg(fd, 0, 0)).map(drop), ours, "{who:?}");
    }
    kernel.grant_kmem_read(false);
    let p = kernel.process(Credentials::NOBODY);
    // Privilege comes first: the flags and the descriptor are wrong, too.
    assert_eq!(kerneldump(&p, -1, 1, 9), Err(Errno::EPERM));
    let p = root(&kernel);
    assert_eq!(kerneldump(&p, -1, 0, 0), Err(Errno::EBADF));
    assert_quiet(&kernel);
}

/// Runs `during` while a dump of `p`'s is between two of its writes.
fn during_a_dump(p: &Process, fd: i32, during: impl FnOnce()) -> Result<()> {
    let kernel = p.kernel();
    let (inside, entered) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let script = Script::new().at_call(Method::VnWrite, 2, move || {
        inside.send(()).unwrap();
        let _ = wait.recv();
    });
    kernel.faults().install_script(script);
    std::thread::scope(|s| {
        let dump = s.spawn(|| minidump(p, arg(fd, 0, 0)).map(drop));
        entered.recv().unwrap();
        during();
        drop(go_on);
        dump.join().unwrap()
    })
}

#[test]
fn a_second_dump_is_busy_or_waits_or_is_interrupted() {
    let kernel = kernel();
    let (first, second) = (root(&kernel), root(&kernel));
    let (fd, _) = file(&first, "first");
    let (other, vnode) = file(&second, "second");
    let done = during_a_dump(&first, fd, || {
        assert_eq!(kerneldump(&second, other, 0, 0), Err(Errno::EBUSY));
        // Busy comes after the compressor.
        assert_eq!(kerneldump(&second, other, 0, 7), Err(Errno::EINVAL));
        let s = status(&second);
        assert_eq!((s.pid, s.started), (first.pid(), 1));
        assert_eq!(kernel.locks_held(), 2);
        std::thread::scope(|t| {
            let waiter =
                t.spawn(|| minidump(&second, arg(other, 0, FLAG_WAIT)));
            while kernel.faults().calls(Method::LivedumpXlockSig) == 0 {
                std::thread::yield_now();
            }
            second.signal();
            assert_eq!(waiter.join().unwrap(), Err(Errno::EINTR));
        });
        assert!(!second.signal_pending());
    });
    assert_eq!(done, Ok(()));
    assert_quiet(&kernel);
    std::thread::scope(|t| {
        let mut waiter = None;
        let done = during_a_dump(&first, fd, || {
            waiter =
                Some(t.spawn(|| minidump(&second, arg(other, 0, FLAG_WAIT))));
        });
        assert_eq!(done, Ok(()));
        waiter.unwrap().join().unwrap().unwrap();
    });
    assert!(vnode.size().unwrap() > RAM);
    assert_quiet(&kernel);
}

#[test]
fn another_writer_waits_for_the_dump_and_stat_does_not() {
    let kernel = kernel();
    let p = root(&kernel);
    let (fd, vnode) = file(&p, "writer");
    std::thread::scope(|s| {
        let mut writer = None;
        let done = during_a_dump(&p, fd, || {
            writer = Some(s.spawn(|| vnode.pwrite(0, &[7; 16])));
            assert!(vnode.size().unwrap() < RAM);
            assert!(vnode.is_range_locked());
            assert!(!writer.as_ref().unwrap().is_finished());
        });
        assert_eq!(done, Ok(()));
        writer.unwrap().join().unwrap().unwrap();
    });
}

#[test]
fn files_that_fail_give_their_own_errno_once() {
    let kernel = kernel();
    let p = root(&kernel);
    let none = FileFaults::default;
    let disk = Disk::new(20_000);
    for (faults, errno) in [
        (FileFaults { disk: Some(Arc::clone(&disk)), ..none() }, Errno::ENOSPC),
        (FileFaults { max_size: Some(100_000), ..none() }, Errno::EFBIG),
        (
            FileFaults { fail_write: Some((3, Errno::EDQUOT)), ..none() },
            Errno::EDQUOT,
        ),
        (FileFaults { short_write: Some(2), ..none() }, Errno::EIO),
        (
            FileFaults { fail_truncate: Some(Errno::EROFS), ..none() },
            Errno::EROFS,
        ),
    ] {
        let (fd, vnode) = file(&p, "fails");
        vnode.set_faults(faults.clone());
        assert_eq!(minidump(&p, arg(fd, 0, 0)), Err(errno), "{faults:?}");
        assert_eq!(vnode.size(), Ok(0), "{faults:?}");
        assert_eq!(status(&p).last_error, errno.0);
        assert_quiet(&kernel);
    }
    assert_eq!(disk.free(), 20_000);
}

#[test]
fn handlers_see_every_block_and_may_refuse() {
    let kernel = kernel();
    let p = root(&kernel);
    let (fd, vnode) = file(&p, "events");
    let log = Arc::new(parking_lot::Mutex::new(vec![]));
    let (a, b, c) = (log.clone(), log.clone(), log.clone());
    kernel.set_events(Events {
        start: Some(Arc::new(move || {
            a.lock().push("start".into());
            Ok(())
        })),
        dump: Some(Arc::new(move |block| {
            b.lock().push(match block {
                Some((data, at)) => format!("{} at {at}", data.len()),
                None => "end".into(),
            });
            Ok(())
        })),
        finish: Some(Arc::new(move || c.lock().push("finish".into()))),
    });
    minidump(&p, arg(fd, 0, 0)).unwrap();
    let seen = core::mem::take(&mut *log.lock());
    assert_eq!(seen.first().unwrap(), "start");
    assert!(seen[1].ends_with(" at 0"), "{seen:?}");
    assert_eq!(seen[seen.len() - 2..], ["end", "finish"]);

    kernel.set_events(Events {
        start: Some(Arc::new(|| Err(Errno::EPERM))),
        finish: Some(Arc::new(|| panic!("nothing was started"))),
        ..Events::default()
    });
    let writes = vnode.writes();
    assert_eq!(minidump(&p, arg(fd, 0, 0)), Err(Errno::EPERM));
    assert_eq!(vnode.writes(), writes);
    kernel.set_events(Events {
        dump: Some(Arc::new(|_| Err(Errno::ENXIO))),
        ..Events::default()
    });
    assert_eq!(minidump(&p, arg(fd, 0, 0)), Err(Errno::ENXIO));
    assert_quiet(&kernel);
}

#[test]
fn ioctl_copies_in_and_out_what_its_number_says() {
    let kernel = kernel();
    let p = root(&kernel);
    let (fd, _) = file(&p, "copies");
    // Longer than the request is fine, shorter is no memory.
    let mut data = [0xaa; 130];
    let inside: &mut [u8; 128] = data.first_chunk_mut().unwrap();
    arg(fd, 0, 0).encode(inside);
    p.ioctl(MEM_MINIDUMP, &mut data).unwrap();
    assert_eq!(data[128..], [0xaa; 2]);
    assert_eq!(p.ioctl(MEM_MINIDUMP, &mut data[..127]), Err(Errno::EFAULT));
    // A failed request copies nothing out, the stock one never does.
    let before = data;
    data[0] = 9;
    assert_eq!(p.ioctl(MEM_MINIDUMP, &mut data), Err(Errno::EINVAL));
    assert_eq!(data[1..], before[1..]);
    let stock = MemLivedumpArg { fd, ..Default::default() }.encode();
    let mut data = stock;
    p.ioctl(MEM_KERNELDUMP, &mut data).unwrap();
    assert_eq!(data, stock);
    assert_eq!(p.ioctl(0xc040_6d34, &mut [0; 64]), Err(Errno::ENOTTY));
}

#[test]
fn too_little_memory_is_enomem_before_the_file_is_touched() {
    let kernel = kernel();
    let p = root(&kernel);
    let (fd, vnode) = file(&p, "memory");
    age(&vnode);
    minidump(&p, arg(-1, 2, FLAG_ESTIMATE)).unwrap();
    let need = kernel.memory().peak();
    for limit in [0, 1000, need / 2, need] {
        kernel.memory().set_limit(limit);
        assert_eq!(minidump(&p, arg(fd, 2, 0)), Err(Errno::ENOMEM));
        assert_eq!(vnode.size(), Ok(OLD.len() as u64));
        assert_quiet(&kernel);
    }
}
