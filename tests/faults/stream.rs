// SPDX-License-Identifier: BSD-2-Clause
//! Dumps into pipes and sockets: the same bytes as in a file, readers that
//! stop, are slow or go away, and what is refused.

use livedump_cli::device::Pipe;
use livedump_hosted::fault::Script;
use livedump_hosted::method::Method;
use livedump_hosted::process::Descriptor;
use livedump_hosted::vnode::FileKind;
use livedump_kmod::error::Errno;
use livedump_tests::scenario::{Scenario, TINY};
use memdev::ioctl::{
    FLAG_QUIESCE, FLAG_STABILITY, FLAG_STREAM, MemMinidumpArg, NO_FD,
};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn request(fd: i32, compression: u8) -> MemMinidumpArg {
    let flags = FLAG_STREAM;
    MemMinidumpArg { fd, flags, compression, ..MemMinidumpArg::new() }
}

fn pipe() -> (File, File) {
    let (reader, writer) = std::io::pipe().unwrap();
    let file = |fd: OwnedFd| File::from(fd);
    (file(reader.into()), file(writer.into()))
}

fn descriptor(writer: File) -> Descriptor {
    let pipe = Box::new(Pipe::new(writer).unwrap());
    Descriptor::of_stream(FileKind::Pipe, pipe)
}

fn install(s: &Scenario, writer: File) -> i32 {
    s.process.install(descriptor(writer))
}

/// Takes a dump into `writer` while `read` has the other end.
fn streamed<R: Send>(
    s: &Scenario,
    writer: File,
    compression: u8,
    read: impl FnOnce() -> R + Send,
) -> (Result<MemMinidumpArg, Errno>, R) {
    std::thread::scope(|scope| {
        let reader = scope.spawn(read);
        let fd = install(s, writer);
        let answer = s.minidump(&request(fd, compression));
        s.process.close(fd).unwrap();
        (answer, reader.join().unwrap())
    })
}

fn all(mut from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

/// One clock for two dumps.
fn scenario() -> Scenario {
    let s = Scenario::model(TINY);
    s.kernel.set_time_second(1_700_000_000);
    s
}

#[test]
fn a_pipe_and_a_socket_get_what_a_file_gets() {
    let s = scenario();
    for compression in 0..=2 {
        s.minidump(&s.request(compression)).unwrap();
        let file = s.contents();
        let (reader, writer) = pipe();
        let (answer, bytes) =
            streamed(&s, writer, compression, move || all(reader));
        let answer = answer.unwrap();
        // In a file these are holes.
        assert!(answer.zero_pages > 0);
        assert!(bytes == file, "{compression}: not the same bytes");
        let end = answer.dumplength.next_multiple_of(4096) + 512;
        assert_eq!(bytes.len() as u64, end);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let writer = File::from(OwnedFd::from(ours));
        let (answer, bytes) =
            streamed(&s, writer, compression, move || all(theirs));
        answer.unwrap();
        assert!(bytes == file, "{compression}: not the same bytes");
        s.assert_at_rest();
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_dump() {
    let s = scenario();
    for bytes in [0, 1, 4096, 100_000] {
        let (mut reader, writer) = pipe();
        let (answer, ()) = streamed(&s, writer, 0, move || {
            reader.read_exact(&mut vec![0; bytes]).unwrap();
        });
        assert_eq!(answer, Err(Errno::EPIPE), "after {bytes}");
        s.assert_at_rest();
        assert_eq!(s.status().last_error, Errno::EPIPE.0);
    }
}

#[test]
fn a_signal_ends_a_dump_whose_reader_has_stopped() {
    let s = scenario();
    let (reader, writer) = pipe();
    let (answer, ()) = streamed(&s, writer, 0, || {
        // Until the pipe is full.
        while s.status().bytes_out == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(200));
        s.process.signal();
    });
    assert_eq!(answer, Err(Errno::EINTR));
    s.assert_at_rest();
    // What it got has no header at its end.
    let bytes = all(reader);
    assert!(!bytes.is_empty() && bytes.len() < 1 << 20);
}

#[test]
fn a_slow_reader_gets_it_all() {
    let s = scenario();
    s.minidump(&s.request(2)).unwrap();
    let file = s.contents();
    let (mut reader, writer) = pipe();
    let (answer, bytes) = streamed(&s, writer, 2, move || {
        let mut bytes = Vec::new();
        let mut piece = vec![0; 64 << 10];
        loop {
            std::thread::sleep(Duration::from_millis(3));
            match reader.read(&mut piece).unwrap() {
                0 => return bytes,
                n => bytes.extend_from_slice(&piece[..n]),
            }
        }
    });
    answer.unwrap();
    assert!(bytes == file);
}

#[test]
fn what_is_no_stream_is_refused() {
    let s = scenario();
    let refused = |descriptor: Descriptor| {
        let fd = s.process.install(descriptor);
        let answer = s.minidump(&request(fd, 0)).unwrap_err();
        s.process.close(fd).unwrap();
        s.assert_at_rest();
        answer
    };
    assert_eq!(s.minidump(&request(99, 0)), Err(Errno::EBADF));
    assert_eq!(s.minidump(&request(s.fd, 0)), Err(Errno::EINVAL));
    for kind in [FileKind::Regular, FileKind::Directory, FileKind::Device] {
        assert_eq!(refused(Descriptor::of_kind(kind)), Errno::EINVAL);
    }
    let pipe = || descriptor(pipe().1);
    assert_eq!(refused(pipe().without_cap_write()), Errno::ENOTCAPABLE);
    assert_eq!(refused(pipe().read_only()), Errno::EBADF);
    // The last look would come after the header.
    let flags = FLAG_STREAM | FLAG_STABILITY;
    let arg = MemMinidumpArg { flags, changes_fd: NO_FD, ..request(s.fd, 0) };
    assert_eq!(s.minidump(&arg), Err(Errno::EINVAL));
    // Without the flag a FIFO is what it always was.
    let fd = s.process.install(pipe());
    let arg = MemMinidumpArg { fd, ..MemMinidumpArg::new() };
    assert_eq!(s.minidump(&arg), Err(Errno::EINVAL));
    s.assert_at_rest();
}

#[test]
fn suspended_processes_read_nothing() {
    let s = scenario();
    let ask = |descriptor: Descriptor| {
        let fd = s.process.install(descriptor);
        let flags = FLAG_STREAM | FLAG_QUIESCE;
        let answer = s.minidump(&MemMinidumpArg { flags, ..request(fd, 0) });
        s.process.close(fd).unwrap();
        s.assert_at_rest();
        answer
    };
    let (_reader, writer) = pipe();
    let theirs = descriptor(writer);
    assert_eq!(ask(theirs), Err(Errno::EOPNOTSUPP));
    let (reader, writer) = pipe();
    let ours = descriptor(writer).read_by_caller();
    let (answer, bytes) = std::thread::scope(|scope| {
        let read = scope.spawn(|| all(reader));
        (ask(ours), read.join().unwrap())
    });
    assert!(answer.unwrap().quiesced_ns > 0);
    assert!(bytes.starts_with(b"minidump FreeBSD"));
}

/// Processes were resumed while pages were copied: no header says that this is
/// the dump that was asked for.
#[test]
fn a_dump_that_is_not_what_was_asked_for_has_no_header() {
    let s = scenario();
    let faults = s.kernel.faults();
    let take = || {
        let (reader, writer) = pipe();
        let ours = descriptor(writer).read_by_caller();
        std::thread::scope(|scope| {
            let read = scope.spawn(|| all(reader));
            let fd = s.process.install(ours);
            let flags = FLAG_STREAM | FLAG_QUIESCE;
            let arg = MemMinidumpArg { flags, ..request(fd, 0) };
            let answer = s.minidump(&arg);
            s.process.close(fd).unwrap();
            s.assert_at_rest();
            (answer, read.join().unwrap())
        })
    };
    let before = faults.calls(Method::Quiesced);
    let (answer, whole) = take();
    answer.unwrap();
    let header = &whole[whole.len() - 512..];
    assert!(header.starts_with(b"FreeBSD Kernel Dump\0"));
    for nth in 1..=faults.calls(Method::Quiesced) - before {
        let method = Method::Quiesced;
        let script = Script::new().fail_call(method, nth, Errno::EAGAIN);
        faults.install_script(script);
        let (answer, bytes) = take();
        assert_eq!(answer, Err(Errno::EAGAIN), "look {nth}");
        assert!(bytes.len() <= whole.len() - 512, "look {nth}: a header");
    }
    faults.stop();
}

#[test]
fn every_failing_call_of_a_streamed_dump_leaves_nothing_behind() {
    let s = scenario();
    let faults = s.kernel.faults();
    let methods = [Method::Getstream, Method::FoWrite, Method::SigIntr];
    let (reader, writer) = pipe();
    let before: Vec<_> = methods.iter().map(|m| faults.calls(*m)).collect();
    streamed(&s, writer, 2, move || all(reader)).0.unwrap();
    let calls = methods.iter().zip(before).map(|(m, n)| faults.calls(*m) - n);
    let calls: Vec<_> = calls.collect();
    for (method, calls) in methods.into_iter().zip(calls) {
        assert!(calls > 0, "{method}");
        let errno = method.errno().unwrap();
        for nth in 1..=calls {
            let script = Script::new().fail_call(method, nth, errno);
            faults.install_script(script);
            let (reader, writer) = pipe();
            let (answer, _) = streamed(&s, writer, 2, move || all(reader));
            assert_eq!(answer, Err(errno), "{method} {nth} of {calls}");
            s.assert_at_rest();
        }
    }
    faults.stop();
    // No lock of a file is ever taken.
    assert_eq!(faults.calls(Method::RangelockWlock), 0);
}
