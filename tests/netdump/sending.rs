// SPDX-License-Identifier: BSD-2-Clause
//! `livedump send` into both kinds of servers.

use super::arriving::{LOSSES, faults};
use super::line::{Faults, Line};
use super::netdumpd::Netdumpd;
use super::receiver::Receiver;
use super::{EKCD_KEY, FINISHED, KDH, Random, VMCORE, header};
use crate::tool::{CrashDir, Run, run};
use memdev::kerneldump::{Compression, KernelDumpHeader};
use std::net::SocketAddr;
use std::path::Path;

fn send(file: &Path, server: SocketAddr, options: &[&str]) -> Run {
    let (port, host) = (server.port().to_string(), server.ip().to_string());
    let mut args = vec!["send", "--source-port", "0", "--port", &port];
    args.extend(options);
    let host = match options.contains(&"-q") {
        true => format!("{host}/lab/one"),
        false => host,
    };
    args.extend([file.to_str().unwrap(), &host]);
    run(args)
}

#[test]
fn what_is_sent_is_what_arrives_on_a_line_that_loses() {
    let dir = CrashDir::new();
    dir.capture("model:16M", &[]).expect(0);
    let data = dir.read("livecore.0");
    let receiver = Receiver::start(&[]);
    std::thread::scope(|scope| {
        for lost in LOSSES {
            let (dir, server) = (&dir, receiver.address);
            scope.spawn(move || {
                let line = Line::new(server, faults(lost), 5 + lost);
                let file = dir.file("livecore.0");
                let mtu = ["--mtu", "1500", "--json"];
                let sent = send(&file, line.address, &mtu).expect(0).json();
                let again = sent["repeated"].as_u64().unwrap();
                assert_eq!(sent["payload"], 1448);
                assert_eq!(sent["header"], "info");
                if lost > 50 {
                    assert!(again > 0, "{sent}");
                }
            });
        }
    });
    for _ in LOSSES {
        let dump = receiver.next();
        assert_eq!(dump["verdict"], "sound", "{dump}");
        assert!(receiver.read(&dump) == data);
        assert_eq!(dump["hostname"], "model");
        let name = dump["file"].as_str().unwrap();
        assert!(name.contains("/livecore."), "{name}");
    }
    let (status, text, ..) = receiver.stop();
    assert_eq!(status, Some(0), "{text}");
}

#[test]
fn a_compressed_dump_is_what_it_was_and_its_path_is_recorded() {
    let dir = CrashDir::new();
    dir.capture("model:16M", &["-Z"]).expect(0);
    let receiver = Receiver::at("[::1]:0", &["-v"]);
    send(&dir.file("livecore.0.zst"), receiver.address, &[]).expect(0);
    let dump = receiver.next();
    assert_eq!(dump["compression"], "zstd");
    assert_eq!(dump["verdict"], "sound");
    assert!(receiver.read(&dump) == dir.read("livecore.0.zst"));
    assert!(dump["path"].is_null());
    drop(receiver);
    let receiver = Receiver::start(&[]);
    let quiet = send(&dir.file("livecore.0.zst"), receiver.address, &["-q"]);
    assert!(quiet.expect(0).stderr.is_empty());
    assert_eq!(receiver.next()["path"], "lab/one");
}

#[test]
fn netdumpd_has_all_of_it_in_its_order() {
    let dir = CrashDir::new();
    dir.capture("model:16M", &[]).expect(0);
    let server = Netdumpd::start();
    let line = Line::new(server.address, Faults { lost: 100, ..faults(0) }, 3);
    send(&dir.file("livecore.0"), line.address, &[]).expect(0);
    let got = server.got();
    assert!(got.data == dir.read("livecore.0"));
    assert!(got.longest <= 4096);
    assert_eq!(got.order, [VMCORE, KDH, FINISHED]);
    let header = got.header.try_into().unwrap();
    let header = KernelDumpHeader::decode(&header).unwrap();
    assert_eq!(header.dumplength, got.data.len() as u64);
    assert_eq!(header.hostname, b"model");
    assert_eq!((header.version, header.architecture_version), (4, 2));
    assert!(memdev::kerneldump::parity_ok(&{
        let mut bytes = [0; 512];
        header.encode(&mut bytes);
        bytes
    }));
}

#[test]
fn a_dump_as_the_kernel_wrote_it_keeps_its_header() {
    let dir = CrashDir::new();
    dir.capture("model:16M", &[]).expect(0);
    let mut raw = dir.read("livecore.0");
    let length = raw.len() as u64;
    let head = header(length, Compression::None, 0, b"why");
    raw.extend(head);
    let file = dir.file("raw");
    std::fs::write(&file, &raw).unwrap();
    let server = Netdumpd::start();
    let sent = send(&file, server.address, &["--json"]).expect(0).json();
    assert_eq!(sent["header"], "file");
    let got = server.got();
    assert_eq!(got.header, head);
    assert!(got.data == raw[..length as usize]);
}

#[test]
fn an_encrypted_dump_is_sent_with_its_key_before_it() {
    let dir = CrashDir::new();
    let receiver = Receiver::start(&[]);
    let mut random = Random(3);
    let (key, data) = (random.bytes(4096), random.bytes(50_000));
    std::fs::write(dir.file("vmcore_encrypted.3"), &data).unwrap();
    let file = dir.file("vmcore_encrypted.3");
    let refused = send(&file, receiver.address, &[]).expect(2);
    assert!(refused.stderr.contains("no key.N"), "{}", refused.stderr);
    std::fs::write(dir.file("key.3"), &key).unwrap();
    let refused = send(&file, receiver.address, &[]).expect(2);
    assert!(refused.stderr.contains("info.N"), "{}", refused.stderr);
    std::fs::write(
        dir.file("info.3"),
        "Dump header from device: /dev/ada0p3\n  Architecture: amd64\n  \
         Architecture Version: 2\n  Dump Length: 50000\n  Compression: none\n  \
         Hostname: there\n  Panic String: why\n",
    )
    .unwrap();
    let server = Netdumpd::start();
    send(&file, server.address, &[]).expect(0);
    let got = server.got();
    assert_eq!(got.order, [EKCD_KEY, VMCORE, KDH, FINISHED]);
    assert!(got.key == key && got.data == data);
    send(&file, receiver.address, &[]).expect(0);
    let dump = receiver.next();
    assert_eq!(dump["verdict"], "sound", "{dump}");
    assert_eq!(dump["panic"], "why");
    assert!(dump["key"].as_str().unwrap().ends_with("/key.0"));
}

#[test]
fn what_cannot_be_sent_is_two_and_says_why() {
    let dir = CrashDir::new();
    let file = dir.file("text");
    std::fs::write(&file, "no dump").unwrap();
    let receiver = Receiver::start(&[]);
    let e = send(&file, receiver.address, &[]).expect(2);
    assert!(e.stderr.contains("text"), "{}", e.stderr);
    let missing = dir.file("missing");
    let e = send(&missing, receiver.address, &[]).expect(2);
    assert!(e.stderr.contains("missing"), "{}", e.stderr);
    for args in [
        ["send", "text", "/path"],
        ["send", "--port=0", "text"],
        ["send", "--mtu=500", "text"],
    ] {
        run(args).expect(2);
    }
    let e = run(["send", file.to_str().unwrap(), "host.invalid"]).expect(2);
    assert!(e.stderr.contains("looking up host.invalid"), "{}", e.stderr);
    assert!(receiver.is_silent());
}

#[test]
fn a_capture_sends_what_a_file_would_have() {
    let dir = CrashDir::new();
    dir.capture("model:16M", &["-Z"]).expect(0);
    let receiver = Receiver::start(&[]);
    let to = format!("netdump://{}/lab", receiver.address);
    let args = ["capture", "--machine", "model:16M"];
    for (options, codec) in [(vec!["-Z"], "zstd"), (vec![], "none")] {
        let options = options.iter().copied();
        // Another one may send from the port, of another test.
        let sent = (0..60).find_map(|_| {
            let sent =
                run(args.into_iter().chain(options.clone()).chain([&*to]));
            let taken = sent.stderr.contains("sending from port 20024");
            std::thread::sleep(std::time::Duration::from_millis(500));
            (!taken).then_some(sent)
        });
        let sent = sent.unwrap().expect(0);
        assert!(sent.stdout.is_empty());
        assert!(sent.stderr.contains("not checked"), "{}", sent.stderr);
        let dump = receiver.next();
        assert_eq!(dump["verdict"], "sound", "{dump}");
        assert_eq!(
            (&dump["compression"], &dump["path"]),
            (&codec.into(), &"lab".into())
        );
        let file = dump["file"].as_str().unwrap();
        run(["verify", file]).expect(0);
    }
    let refused =
        run(["capture", "-m", "3", "--machine", "model:16M", &to]).expect(2);
    assert!(refused.stderr.contains("netdump"), "{}", refused.stderr);
    run(["capture", "--machine", "model:16M", "netdump:///x"]).expect(2);
}
