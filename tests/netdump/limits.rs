// SPDX-License-Identifier: BSD-2-Clause
//! Who may send, how much, and how the server ends.

use super::kernel::Kernel;
use super::receiver::Receiver;
use super::{FINISHED, HERALD, KDH, Random, VMCORE, header, message, panicked};
use crate::tool::run;
use memdev::kerneldump::Compression;
use std::net::UdpSocket;
use std::time::Duration;

const WAIT: Duration = Duration::from_millis(300);

/// What the next ack says, if one comes.
fn ack(socket: &UdpSocket) -> Option<u32> {
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let mut buffer = [0; 64];
    let (len, _) = socket.recv_from(&mut buffer).ok()?;
    Some(u32::from_be_bytes(buffer[..len].try_into().unwrap()))
}

#[test]
fn only_those_who_are_allowed_are_answered() {
    let allow = ["--allow", "127.7.0.0/16", "--allow", "::1"];
    let receiver = Receiver::start(&allow);
    let from = |address| UdpSocket::bind((address, 0)).unwrap();
    for (address, answer) in
        [("127.7.3.1", Some(1)), ("127.8.0.1", None), ("127.0.0.1", None)]
    {
        let socket = from(address);
        let herald = message(HERALD, 1, 0, &[]);
        socket.send_to(&herald, receiver.address).unwrap();
        assert_eq!(ack(&socket), answer, "{address}");
    }
}

#[test]
fn more_than_its_budget_is_not_taken() {
    let receiver = Receiver::start(&["--max-bytes", "256k"]);
    let data = Random(5).bytes(1 << 20);
    let wait = Duration::from_millis(20);
    let mut kernel =
        Kernel::connect("127.0.0.1:0", receiver.address, wait).unwrap();
    kernel.dump(&data).unwrap_err();
    let dump = receiver.next();
    assert_eq!(dump["end"], "failed");
    let reason = dump["reason"].as_str().unwrap();
    assert!(reason.ends_with("no space left for it"), "{reason}");
    let got = receiver.read(&dump);
    assert!(got.len() <= 256 << 10 && got.len() > 128 << 10);
    assert!(got == data[..got.len()]);
}

#[test]
fn a_second_herald_takes_nothing_from_the_first_dump() {
    let known = panicked(&[]);
    let receiver = Receiver::start(&[]);
    let mut kernel =
        Kernel::connect("127.0.0.1:0", receiver.address, WAIT).unwrap();
    // Again before anything else has come: from the same port.
    let herald = message(HERALD, 1, 0, &[]);
    let (socket, first) = (&kernel.socket, kernel.server);
    socket.send_to(&herald, receiver.address).unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(socket.recv_from(&mut buffer).unwrap(), (4, first));
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let half = known.data.len() / 2 / (64 << 10) * (64 << 10);
    kernel.dump(&known.data[..half]).unwrap();
    // Now it is another dump.
    for _ in 0..20 {
        kernel.socket.send_to(&herald, receiver.address).unwrap();
    }
    for (n, piece) in known.data[half..].chunks(64 << 10).enumerate() {
        let at = half + (n << 16);
        kernel.send(VMCORE, piece, at as u64).unwrap();
    }
    kernel.finish(&known.header).unwrap();
    let dump = receiver.next();
    assert_eq!(dump["verdict"], "sound", "{dump}");
    assert!(receiver.read(&dump) == known.data);
    // The last ack may have been lost.
    let last = message(FINISHED, kernel.seqno - 1, 0, &[]);
    while ack(&kernel.socket).is_some() {}
    kernel.socket.send_to(&last, kernel.server).unwrap();
    assert_eq!(ack(&kernel.socket), Some(kernel.seqno - 1));
    let (status, text, dumps, _) = receiver.stop();
    assert_eq!((status, dumps.len()), (Some(0), 0), "{text}");
}

#[test]
fn what_has_arrived_when_it_is_stopped_is_kept() {
    let receiver = Receiver::start(&[]);
    let data = Random(6).bytes(128 << 10);
    let mut kernel =
        Kernel::connect("127.0.0.1:0", receiver.address, WAIT).unwrap();
    kernel.dump(&data).unwrap();
    let (status, text, dumps, dir) = receiver.stop();
    assert_eq!(status, Some(1), "{text}");
    let [dump] = dumps.as_slice() else { panic!("{dumps:?}") };
    assert_eq!(dump["end"], "stopped");
    let reason = dump["reason"].as_str().unwrap();
    assert!(reason.contains("the server was stopped"), "{reason}");
    assert!(dir.read("vmcore.0") == data);
    assert!(dir.text("info.0").contains("\n  Dump Status: bad\n"));
}

#[test]
fn a_command_runs_for_each_dump_and_the_server_ends_after_some() {
    let known = panicked(&[]);
    let mut receiver = Receiver::start(&[
        "--count",
        "2",
        "--keep",
        "1",
        "--exec",
        "echo $LIVEDUMP_NUMBER $LIVEDUMP_VERDICT $LIVEDUMP_END \
         ${LIVEDUMP_CLIENT%:*} ${LIVEDUMP_FILE##*/} ${LIVEDUMP_INFO##*/} \
         >>${LIVEDUMP_FILE%/*}/ran",
    ]);
    for from in ["127.0.3.1:0", "127.0.3.2:0"] {
        let mut kernel = Kernel::connect(from, receiver.address, WAIT).unwrap();
        kernel.dump(&known.data).unwrap();
        kernel.finish(&known.header).unwrap();
        assert_eq!(receiver.next()["number"], 0);
    }
    let (status, text, _, dir) = receiver.wait();
    assert_eq!(status, Some(0), "{text}");
    let ran = "0 sound finished 127.0.3.1 vmcore.0 info.0\n\
               0 sound finished 127.0.3.2 vmcore.0 info.0\n";
    assert_eq!(dir.text("ran"), ran);
}

#[test]
fn an_incomplete_dump_does_not_replace_a_sound_one() {
    let known = panicked(&[]);
    let receiver = Receiver::start(&["--keep", "2"]);
    let send = |data: &[u8]| {
        let mut kernel =
            Kernel::connect("127.0.0.1:0", receiver.address, WAIT).unwrap();
        kernel.dump(data).unwrap();
        let length = known.data.len() as u64;
        let header = header(length, Compression::None, 0, b"a test");
        kernel.send(KDH, &header, 0).unwrap();
        kernel.send(FINISHED, &[], 0).unwrap();
        receiver.next()["number"].clone()
    };
    assert_eq!(send(&known.data), 0);
    for _ in 0..3 {
        assert_eq!(send(&known.data[..65536]), 1);
    }
    assert_eq!(send(&known.data), 0);
}

#[test]
fn what_is_no_server_is_two() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    for (args, named) in [
        (["receive", "--bind", &at, dir], at.as_str()),
        (["receive", "--bind", "host", dir], "host"),
        (["receive", "--allow", "127.0.0.1/33", dir], "127.0.0.1/33"),
        (["receive", "--timeout", "5", dir], "unit"),
        (["receive", "-q", "-q", "/nonexistent/dir"], "-q"),
    ] {
        let run = run(args).expect(2);
        assert!(run.stderr.contains(named), "{args:?}: {}", run.stderr);
    }
}
