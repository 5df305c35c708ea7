// SPDX-License-Identifier: BSD-2-Clause
//! Every layout a kernel has written.

use super::{Bench, noise};
use livedump_tests::dumpdisk::{Disk, Version, extract, key};
use std::io::Write;

fn gzip(data: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let mut out = flate2::write::GzEncoder::new(Vec::new(), level);
    out.write_all(data).unwrap();
    out.finish().unwrap()
}

/// Saves it, and holds what came off against what is on it.
#[track_caller]
fn saved(disk: &Disk, name: &str) -> Bench {
    let image = disk.image();
    let bench = Bench::new(&image);
    let (data, key) = extract(&image, disk.block);
    assert!(data == disk.data, "the image is not what it should be");
    let run = bench.save(&["--json"]).expect(0);
    let json = run.json();
    let file = bench.dir.file(name);
    assert_eq!(json["file"], file.to_str().unwrap(), "{}", run.stderr);
    assert_eq!(json["dumplength"], data.len());
    assert_eq!(json["verdict"], "sound");
    assert!(bench.dir.read(name) == data, "{name}");
    match disk.key.is_empty() {
        true => assert_eq!(json["key"], serde_json::Value::Null),
        false => assert!(bench.dir.read("key.0") == key),
    }
    let info = bench.dir.text("info.0");
    for line in [
        &format!("Dump header from device: {}\n", bench.device().display()),
        &format!("  Dump Length: {}\n", data.len()),
        &format!("  Blocksize: {}\n", disk.block),
        &format!("  Panic String: {}\n", disk.panic),
        "  Hostname: beastie.example.org\n",
        "  Dump Status: good\n",
    ] {
        assert!(info.contains(line), "{line}{info}");
    }
    let (stem, rest) = name.split_once(".0").unwrap();
    let link = bench.dir.file(&format!("{stem}.last{rest}"));
    assert_eq!(std::fs::read_link(link).unwrap().to_str(), Some(name));
    assert_eq!(bench.dir.text("bounds"), "1\n");
    let seal = bench.dir.text("seal.0");
    assert!(seal.contains(&format!("size {}\n", data.len())), "{seal}");
    assert!(info.ends_with("  Seal: seal.0\n"), "{info}");

    // Only the last header has changed, and it says so.
    let after = bench.image();
    let last = image.len() - disk.block;
    assert!(after[..last] == image[..last] && after.len() == image.len());
    let header = &after[last..];
    assert!(header.starts_with(b"Cleared Kernel Dump\0"));
    assert_eq!(header[20..508], image[last + 20..last + 508]);
    let parity = |h: &[u8]| {
        h[..512].chunks(4).fold(0u32, |x, word| {
            x ^ u32::from_be_bytes(word.try_into().unwrap())
        })
    };
    assert_eq!(parity(header), 0);
    assert!(header[512..] == image[last + 512..]);
    bench
}

#[test]
fn plain_dumps_of_every_version_and_block_size() {
    for version in [Version::V1, Version::V2, Version::V4] {
        for block in [512, 4096] {
            let data = noise(3 * 4096 * 7);
            let disk = Disk { version, block, ..Disk::new(data) };
            saved(&disk, "vmcore.0");
        }
    }
}

#[test]
fn a_dump_of_more_than_one_piece_that_ends_in_zeros() {
    let mut data = noise((5 << 20) + 4096);
    let len = data.len();
    data[1 << 20..3 << 20].fill(0);
    data[len - 10_000..].fill(0);
    let bench = saved(&Disk::new(data), "vmcore.0");
    let meta = bench.dir.file("vmcore.0").metadata().unwrap();
    let blocks = std::os::unix::fs::MetadataExt::blocks(&meta);
    assert!(blocks * 512 <= (3 << 20) + 65536, "{blocks} blocks");
}

#[test]
fn compressed_dumps_are_as_long_as_they_say_and_not_as_is_reserved() {
    let plain = noise(100_000);
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    for (compression, data, name) in
        [(1, gzip(&plain), "vmcore.0.gz"), (2, zstd, "vmcore.0.zst")]
    {
        for block in [512, 4096] {
            let extent = 200_000;
            let data = data.clone();
            let disk = Disk { compression, block, extent, ..Disk::new(data) };
            saved(&disk, name);
        }
    }
}

#[test]
fn a_textdump_is_turned_round() {
    let member = |name: &str, text: &[u8]| {
        let mut header = vec![0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let size = format!("{:011o}", text.len());
        header[124..135].copy_from_slice(size.as_bytes());
        header[257..262].copy_from_slice(b"ustar");
        let mut text = text.to_vec();
        text.resize(text.len().next_multiple_of(512), 0);
        [header, text].concat()
    };
    for long in [1, 3000, (2 << 20) + 5] {
        let data = [
            member("ddb.txt", &noise(long)),
            member("panic.txt", b"page fault"),
        ]
        .concat();
        let disk = Disk { text: true, ..Disk::new(data) };
        let bench = saved(&disk, "textdump.tar.0");
        assert!(bench.dir.read("textdump.tar.0").starts_with(b"ddb.txt\0"));
    }
}

#[test]
fn an_encrypted_dump_has_its_key_beside_it() {
    for (version, cipher, compression, block) in [
        (Version::V2, 1, 0, 512),
        (Version::V4, 1, 0, 4096),
        (Version::V4, 2, 2, 512),
    ] {
        let disk = Disk {
            version,
            compression,
            block,
            key: key(cipher, 512),
            ..Disk::new(noise(20 * 4096))
        };
        let bench = saved(&disk, "vmcore_encrypted.0");
        let last = std::fs::read_link(bench.dir.file("key.last")).unwrap();
        assert_eq!(last.to_str(), Some("key.0"));
    }
}

#[test]
fn the_smallest_device_that_holds_a_dump() {
    saved(&Disk { before: 0, ..Disk::new(noise(512)) }, "vmcore.0");
}

#[test]
fn a_models_dump_saved_from_a_device_is_the_dump() {
    use crate::tool::{CrashDir, run};
    let dir = CrashDir::new();
    dir.capture("model:16M", &["-Z", "--keep-kernel"]).expect(0);
    let disk = Disk {
        compression: 2,
        extent: 16 << 20,
        ..Disk::new(dir.read("livecore.0.zst"))
    };
    let bench = saved(&disk, "vmcore.0.zst");
    let (kernel, file) = (dir.file("kernel.0"), bench.dir.file("vmcore.0.zst"));
    let args = ["verify", "-k", kernel.to_str().unwrap()];
    run(args.into_iter().chain(file.to_str())).expect(0);
}
