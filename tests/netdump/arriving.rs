// SPDX-License-Identifier: BSD-2-Clause
//! What kernels send arrives whole, or it is said what is missing.

use super::kernel::Kernel;
use super::line::{Faults, Line};
use super::netdumpd::Netdumpd;
use super::receiver::Receiver;
use super::{
    EKCD_KEY, FINISHED, KDH, Known, Random, VMCORE, header, message, panicked,
};
use crate::tool::{CrashDir, run};
use memdev::kerneldump::Compression;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// How long a client waits for acks; 1 s in the kernel.
const WAIT: Duration = Duration::from_millis(40);

/// 0, 0.1, 1 and 5 %.
pub const LOSSES: [u64; 4] = [0, 10, 100, 500];

pub fn faults(lost: u64) -> Faults {
    Faults { lost, doubled: 100, delayed: 200 }
}

#[test]
fn kernels_lose_nothing_on_a_line_that_does() {
    let known = panicked(&[]);
    let receiver = Receiver::start(&[]);
    let sent = std::thread::scope(|scope| {
        let runs = LOSSES.map(|lost| {
            let (known, server) = (&known, receiver.address);
            scope.spawn(move || {
                let line = Line::new(server, faults(lost), 31 + lost);
                let from = format!("127.0.1.{}:0", lost % 200 + 1);
                let mut kernel =
                    Kernel::connect(&from, line.address, WAIT).unwrap();
                kernel.dump(&known.data).unwrap();
                kernel.finish(&known.header).unwrap();
                kernel.again
            })
        });
        runs.map(|run| run.join().unwrap())
    });
    assert!(sent[0] <= sent[3], "{sent:?}");
    for _ in LOSSES {
        let dump = receiver.next();
        assert_eq!(dump["verdict"], "sound", "{dump}");
        assert_eq!(dump["end"], "finished");
        assert_eq!(dump["missing"], 0);
        assert!(receiver.read(&dump) == known.data, "{dump}");
        let name = dump["file"].as_str().unwrap();
        assert!(name.contains("/vmcore."), "{name}");
    }
    let (status, ..) = receiver.stop();
    assert_eq!(status, Some(0));
}

/// What the defect does with a server that acknowledges at once: without
/// that the test above would show nothing.
#[test]
fn the_modelled_kernel_loses_data_to_a_server_that_does_not_know_it() {
    let known = panicked(&[]);
    let server = Netdumpd::start();
    let line = Line::new(server.address, Faults { lost: 500, ..faults(0) }, 7);
    let mut kernel =
        Kernel::connect("127.0.0.1:0", line.address, WAIT).unwrap();
    kernel.dump(&known.data).unwrap();
    kernel.finish(&known.header).unwrap();
    let got = server.got();
    assert_eq!(got.header, known.header);
    assert!(got.data != known.data);
}

/// A client without the kernel's care: the acks do not matter.
fn raw(receiver: &Receiver, messages: &[(u32, u64, &[u8])]) {
    let kernel =
        Kernel::connect("127.0.0.1:0", receiver.address, WAIT * 10).unwrap();
    for (n, (kind, offset, data)) in messages.iter().enumerate() {
        let bytes = message(*kind, 2 + n as u32, *offset, data);
        kernel.socket.send_to(&bytes, kernel.server).unwrap();
    }
}

#[test]
fn holes_are_named_and_are_not_zeros() {
    let Known { data, header } = panicked(&[]);
    let receiver = Receiver::start(&[]);
    let kernel =
        Kernel::connect("127.0.0.1:0", receiver.address, WAIT).unwrap();
    // As a client that does not know that it has lost something.
    let mut seqno = 1;
    let mut send = |kind, offset: usize, bytes: &[u8]| {
        seqno += 1;
        let bytes = message(kind, seqno, offset as u64, bytes);
        kernel.socket.send_to(&bytes, kernel.server).unwrap();
    };
    for (n, piece) in data.chunks(4096).enumerate() {
        if ![3, 4, 700].contains(&n) {
            send(VMCORE, n * 4096, piece);
            // What has no place in a queue would be one more hole.
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    send(KDH, 0, &header);
    send(FINISHED, 0, &[]);
    let dump = receiver.next();
    assert_eq!(dump["complete"], false);
    assert_eq!(dump["holes"], 2);
    assert_eq!(dump["missing"], 3 * 4096);
    let ranges = serde_json::json!([
        { "offset": 3 * 4096, "length": 2 * 4096 },
        { "offset": 700 * 4096, "length": 4096 },
    ]);
    assert_eq!(dump["ranges"], ranges);
    assert_eq!(dump["verdict"], "damaged");
    let reason = "incomplete: 2 holes, 12288 bytes are missing";
    assert_eq!(dump["reason"], reason);
    assert!(dump["seal"].is_null());
    let file = dump["file"].as_str().unwrap().to_string();
    let (status, text, _, dir) = receiver.stop();
    assert_eq!(status, Some(1), "{text}");
    let info = dir.text("info.0");
    for line in [
        "  Dump Status: bad",
        "  Problem: incomplete: 2 holes, 12288 bytes are missing",
        "  Missing: 8192 bytes at 12288",
        "  Missing: 4096 bytes at 2867200",
    ] {
        assert!(info.lines().any(|l| l == line), "{line}: {info}");
    }
    let verified = run(["verify", &file]).expect(1);
    let text = verified.text();
    assert!(text.contains("Dump Status: bad: incomplete: 2 holes"), "{text}");
}

/// What did not arrive reads as zeros: nothing is claimed then.
#[test]
fn readers_of_a_dump_with_holes_are_sure_of_nothing() {
    let dir = CrashDir::new();
    dir.capture("model:16M", &["--keep-kernel"]).expect(0);
    let dump = dir.file("livecore.0");
    let dump = dump.to_str().unwrap();
    let ask = |status: i32| {
        for args in [&["deadlock", dump][..], &["ps", dump]] {
            let run = run(args).expect(status);
            let said = run.stderr.contains("2 holes");
            assert_eq!(said, status == 3, "{args:?}: {}", run.stderr);
        }
        let run = run(["bt", dump, "999999"]).expect(2);
        let doubted = run.stderr.contains("could not be read to the end");
        assert_eq!(doubted, status == 3, "{}", run.stderr);
    };
    ask(0);
    let problem = "  Problem: incomplete: 2 holes, 12288 bytes are missing\n";
    let info = dir.text("info.0") + problem;
    std::fs::write(dir.file("info.0"), info).unwrap();
    ask(3);
}

/// Memory that is missing is not zeros, whoever reads it.
#[test]
fn memory_that_did_not_arrive_is_not_in_the_dump() {
    let dir = CrashDir::new();
    dir.capture("model:16M", &["--keep-kernel"]).expect(0);
    let dump = dir.file("livecore.0");
    let dump = dump.to_str().unwrap();
    run(["read", dump, "hz", "4"]).expect(0);
    let json = run(["info", "--json", dump]).expect(0).json();
    let sections = json["sections"].as_array().unwrap();
    let start = |name: &str| {
        let section = sections.iter().find(|s| s["name"] == name);
        section.unwrap()["offset"].as_u64().unwrap()
    };
    let info = dir.text("info.0");
    let lose = |at: u64, length: u64| {
        let problem = format!(
            "  Problem: incomplete: 1 hole, {length} bytes are missing\n  \
             Missing: {length} bytes at {at}\n"
        );
        std::fs::write(dir.file("info.0"), info.clone() + &problem).unwrap();
    };
    let length = std::fs::metadata(dump).unwrap().len();
    for (at, length, why) in [
        // All data pages, all page tables, the bitset.
        (start("pages"), length - start("pages"), "did not arrive"),
        (start("pmap"), start("pages") - start("pmap"), "did not arrive"),
        (start("bitmap"), 1, "its bitmap at"),
    ] {
        lose(at, length);
        let run = run(["read", dump, "hz", "4"]).expect(1);
        assert!(run.stderr.contains(why), "{}", run.stderr);
    }
    // What is elsewhere is there.
    lose(start("msgbuf"), 1);
    run(["read", dump, "hz", "4"]).expect(0);
    // Nor is it in what is made of it.
    lose(start("pages"), length - start("pages"));
    let elf = dir.file("core");
    let elf = elf.to_str().unwrap();
    let made = run(["convert", dump, "--to", "elf", elf]).expect(1);
    let said = "pages could not be read and are not in the output";
    assert!(made.stderr.contains(said), "{}", made.stderr);
    // Without its kernel the text comes from the section.
    std::fs::remove_file(dir.file("kernel.0")).unwrap();
    std::fs::write(dir.file("info.0"), &info).unwrap();
    run(["dmesg", dump]).expect(0);
    lose(start("msgbuf"), 1);
    let run = run(["dmesg", dump]).expect(1);
    let part = "a part of the message buffer is not in the dump";
    assert!(run.stderr.contains(part), "{}", run.stderr);
}

#[test]
fn what_lacks_its_header_or_its_end_is_kept_as_incomplete() {
    let receiver = Receiver::start(&["--timeout", "1s"]);
    let pages = Random(9).bytes(8192);
    // No header.
    raw(&receiver, &[(VMCORE, 0, &pages[..4096]), (FINISHED, 0, &[])]);
    let dump = receiver.next();
    assert_eq!(dump["end"], "finished");
    assert_eq!(dump["reason"], "incomplete: no kernel dump header arrived");
    assert!(dump["dumplength"].is_null());
    assert!(receiver.read(&dump) == pages[..4096]);
    // No end, and not all of the data.
    let head = header(8192, Compression::None, 0, b"a test");
    raw(&receiver, &[(VMCORE, 4096, &pages[4096..]), (KDH, 0, &head)]);
    let dump = receiver.next();
    assert_eq!(dump["end"], "timeout");
    assert_eq!(dump["holes"], 1);
    assert_eq!(dump["panic"], "a test");
    assert_eq!(receiver.read(&dump)[4096..], pages[4096..]);
    // All of it but the end.
    let zstd = panicked(&["-Z"]);
    let mut all: Vec<(u32, u64, &[u8])> = Vec::new();
    for (n, piece) in zstd.data.chunks(4096).enumerate() {
        all.push((VMCORE, n as u64 * 4096, piece));
    }
    all.push((KDH, 0, &zstd.header));
    raw(&receiver, &all);
    let dump = receiver.next();
    assert_eq!(
        (&dump["end"], &dump["verdict"]),
        (&"timeout".into(), &"sound".into())
    );
    assert!(dump["file"].as_str().unwrap().ends_with("/vmcore.2.zst"));
    assert!(receiver.read(&dump) == zstd.data);
    // Nothing but a herald leaves nothing.
    raw(&receiver, &[]);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(receiver.is_silent());
    let (status, text, _, dir) = receiver.stop();
    assert_eq!(status, Some(1), "{text}");
    let names = dir.names();
    assert!(!names.iter().any(|n| n.contains("tmp")), "{names:?}");
}

#[test]
fn an_encrypted_dump_has_its_key_next_to_it() {
    let receiver = Receiver::start(&["--keep", "7"]);
    let mut random = Random(77);
    let (key, data) = (random.bytes(4096), random.bytes(200_000));
    let head = header(199_000, Compression::Zstd, 4096, b"a test");
    let mut kernel =
        Kernel::connect("127.0.0.1:0", receiver.address, WAIT).unwrap();
    kernel.key(&key).unwrap();
    kernel.dump(&data).unwrap();
    kernel.finish(&head).unwrap();
    let dump = receiver.next();
    assert_eq!(dump["verdict"], "sound", "{dump}");
    assert_eq!(dump["encrypted"], true);
    // Without the last block's padding.
    assert!(receiver.read(&dump) == data[..199_000]);
    // Without its key it is worth nothing.
    raw(
        &receiver,
        &[
            (EKCD_KEY, 0, &key[..1448]),
            (VMCORE, 0, &data[..1448]),
            (KDH, 0, &header(1448, Compression::None, 4096, b"a test")),
            (FINISHED, 0, &[]),
        ],
    );
    let dump = receiver.next();
    let why = "1448 bytes of the key block arrived, it has 4096";
    assert_eq!(dump["reason"], why);
    let (_, _, _, dir) = receiver.stop();
    assert!(dir.read("key.0") == key);
    for name in ["vmcore_encrypted.0", "key.0", "info.0", "seal.0"] {
        let mode = dir.file(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
}
