// SPDX-License-Identifier: BSD-2-Clause
//! `livedump convert`: every format from a minidump, and back.

use crate::tool::{CrashDir, run};
use std::ffi::OsString;

fn scene() -> CrashDir {
    let dir = CrashDir::new();
    dir.capture("model:16M", &["-q", "--keep-kernel"]).expect(0);
    dir
}

fn args(dir: &CrashDir, words: &[&str]) -> Vec<OsString> {
    let place = |word: &&str| match word.strip_prefix('@') {
        Some(name) => dir.file(name).into(),
        None => OsString::from(word),
    };
    words.iter().map(place).collect()
}

/// Physical memory at an address.
fn physical(dir: &CrashDir, file: &str, at: &str) -> Vec<u8> {
    let words = ["read", "-k", "@kernel.0", "--phys", "--raw", file, at, "64K"];
    run(args(dir, &words)).expect(0).stdout
}

#[test]
fn what_is_written_is_read_and_has_the_same_memory() {
    let dir = scene();
    for to in ["raw", "lime", "kdump", "elf"] {
        let out = format!("@out.{to}");
        let words = ["convert", "@livecore.0", "--to", to, &out];
        run(args(&dir, &words)).expect(0);
        // The bitset of the model's kernel is there, whatever has it.
        for at in ["0x200000", "0x300000"] {
            let words = physical(&dir, &out, at);
            assert!(words == physical(&dir, "@livecore.0", at), "{to}");
        }
        let words = ["ps", "-t", "-k", "@kernel.0", &out];
        let found = run(args(&dir, &words)).expect(0).stdout;
        let words = ["ps", "-t", "-k", "@kernel.0", "@livecore.0"];
        assert_eq!(found, run(args(&dir, &words)).expect(0).stdout, "{to}");
    }
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(dir.file("out.elf")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let script = dir.text("out.elf.lldb");
    assert!(script.contains("--slide 0"), "{script}");
    let words =
        ["convert", "@livecore.0", "--to", "elf", "--for", "gdb", "@out.gdb"];
    run(args(&dir, &words)).expect(0);
    assert!(dir.text("out.gdb.gdb").contains("set osabi GNU/Linux\n"));
}

#[test]
fn what_is_written_is_sealed_and_verify_uses_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = scene();
    for (to, out, seal) in [
        ("kdump", "out.kdump", "out.kdump.seal"),
        ("elf", "out.elf", "out.elf.seal"),
        ("minidump", "vmcore.7", "seal.7"),
        ("minidump", "mini", "mini.seal"),
    ] {
        let (file, kernel) = (format!("@{out}"), "@kernel.0");
        let words = ["convert", "-k", kernel, "@livecore.0", "--to", to, &file];
        let done = run(args(&dir, &words)).expect(0);
        assert!(!done.stderr.contains("checksums"), "{}", done.stderr);
        let mode = std::fs::metadata(dir.file(seal)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let words = ["verify", "-k", kernel, "--json", &file];
        let verify = || run(args(&dir, &words));
        let found = verify().expect(0).text().to_string();
        assert!(found.contains("checksums match"), "{to}: {found}");
        let good = dir.read(out);
        let mut bad = good.clone();
        let at = bad.len() - 5000;
        bad[at] ^= 4;
        std::fs::write(dir.file(out), &bad).unwrap();
        let found = verify().expect(1).text().to_string();
        assert!(found.contains("checksum mismatch"), "{to}: {found}");
        // Without checksums, those of the older file are removed.
        let words = ["convert", "--no-seal", "-k", kernel, "@livecore.0"];
        let words = [words.as_slice(), &["--to", to, &file]].concat();
        run(args(&dir, &words)).expect(0);
        assert!(!dir.file(seal).exists(), "{to}");
        verify().expect(0);
    }
}

#[test]
fn checksums_replace_nothing_but_checksums() {
    let dir = scene();
    let seal = dir.read("seal.0");
    // That of another dump.
    let words = ["convert", "@livecore.0", "--to", "minidump", "@vmcore.0"];
    let done = run(args(&dir, &words)).expect(2);
    assert!(done.stderr.contains("has the same number"), "{}", done.stderr);
    let words = [words.as_slice(), &["--no-seal"]].concat();
    run(args(&dir, &words)).expect(0);
    assert!(dir.read("seal.0") == seal);
    std::fs::remove_file(dir.file("vmcore.0")).unwrap();
    std::fs::write(dir.file("harbor.seal"), "a picture").unwrap();
    let names = dir.names();
    let words = ["convert", "@livecore.0", "--to", "raw", "@harbor"];
    let done = run(args(&dir, &words)).expect(2);
    assert!(done.stderr.contains("not a file of checksums"), "{}", done.stderr);
    assert_eq!(dir.names(), names);
    let words = [words.as_slice(), &["--no-seal"]].concat();
    run(args(&dir, &words)).expect(0);
    assert_eq!(dir.text("harbor.seal"), "a picture");
    // A dump of a crash directory replaces its own.
    for (from, to) in [("@livecore.0", "@mini"), ("@mini", "@livecore.0")] {
        let words = ["convert", "-k", "@kernel.0", from, "--to", "minidump"];
        let words = [words.as_slice(), &[to]].concat();
        run(args(&dir, &words)).expect(0);
    }
    let found = run(args(&dir, &["verify", "@livecore.0"]));
    assert!(found.text().contains("checksums match"), "{}", found.text());
}

#[test]
fn a_pipe_takes_every_format_and_a_signal_ends_it() {
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};
    let dir = scene();
    for to in ["minidump", "kdump"] {
        let words = ["convert", "@livecore.0", "--to", to, "@out"];
        run(args(&dir, &words)).expect(0);
        let words = ["convert", "@livecore.0", "--to", to, "-"];
        let piped = run(args(&dir, &words)).expect(0).stdout;
        // A kdump through a pipe is flattened.
        assert!(to == "kdump" || piped == dir.read("out"), "{to}");
    }
    let names = dir.names();
    let fifo = dir.file("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for to in ["raw", "elf", "minidump"] {
        let start = |out: &str| {
            let words = ["convert", "@livecore.0", "--to", to, out];
            let mut command = Command::new(crate::tool::program());
            let command = command.args(args(&dir, &words));
            command.stdout(Stdio::piped()).spawn().unwrap()
        };
        // Nobody reads: after some pages it waits for ever.
        let mut child = start("-");
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 1000]).unwrap();
        stop(&mut child);
        drop(out);
        // Not even the other end is open.
        let mut child = start("@fifo");
        std::thread::sleep(std::time::Duration::from_millis(100));
        stop(&mut child);
        // A reader that leaves has not got all of it.
        let mut child = start("-");
        drop(child.stdout.take());
        let status = child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(2), None), "{to}");
    }
    std::fs::remove_file(fifo).unwrap();
    assert_eq!(dir.names(), names);
}

/// Ends a conversion that is blocked.
fn stop(child: &mut std::process::Child) {
    use nix::sys::signal::{Signal, kill};
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    kill(pid, Signal::SIGTERM).unwrap();
    for _ in 0..500 {
        if child.try_wait().unwrap().is_some() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().unwrap();
    panic!("SIGTERM does not end it");
}

#[test]
fn standard_output_has_the_bytes_of_the_file() {
    let dir = scene();
    for to in ["raw", "lime", "elf"] {
        let words = ["convert", "@livecore.0", "--to", to, "@out"];
        run(args(&dir, &words)).expect(0);
        let words = ["convert", "@livecore.0", "--to", to, "-"];
        let piped = run(args(&dir, &words)).expect(0).stdout;
        assert!(piped == dir.read("out"), "{to}");
    }
}

#[test]
fn an_output_is_no_input_and_no_directory_and_is_whole_or_not_there() {
    let dir = scene();
    let names = dir.names();
    let before = [dir.read("livecore.0"), dir.read("kernel.0")];
    for out in ["@livecore.0", "@kernel.0", "@livecore.last"] {
        let words = ["convert", "@livecore.0", "--to", "elf", out];
        let run = run(args(&dir, &words)).expect(2);
        assert!(run.stderr.contains("is an input"), "{}", run.stderr);
    }
    for out in ["@", "@none/file"] {
        let words = ["convert", "@livecore.0", "--to", "raw", out];
        run(args(&dir, &words)).expect(2);
    }
    // Raw memory is known by its kernel only.
    std::fs::write(dir.file("zeros"), vec![0; 16 << 20]).unwrap();
    let words = ["convert", "@zeros", "--to", "lime", "@out"];
    run(args(&dir, &words)).expect(2);
    std::fs::remove_file(dir.file("zeros")).unwrap();
    assert_eq!(dir.names(), names);
    assert!([dir.read("livecore.0"), dir.read("kernel.0")] == before);
}

#[test]
fn pages_that_cannot_be_read_are_counted_and_the_rest_is_written() {
    let dir = scene();
    let dump = dir.read("livecore.0");
    let cut = dump.len() - 10 * 4096 - 100;
    std::fs::write(dir.file("livecore.1"), &dump[..cut]).unwrap();
    std::fs::copy(dir.file("kernel.0"), dir.file("kernel.1")).unwrap();
    for to in ["raw", "lime", "kdump", "elf"] {
        let words = ["convert", "@livecore.1", "--to", to, "@out"];
        let run = run(args(&dir, &words)).expect(1);
        let said = "11 pages could not be read";
        assert!(run.stderr.contains(said), "{to}: {}", run.stderr);
        let want = physical(&dir, "@livecore.0", "0x200000");
        let raw = dir.read("out");
        let found = raw.get(0x20_0000..0x21_0000);
        assert!(to != "raw" || found == Some(&want[..]));
    }
}
