// SPDX-License-Identifier: BSD-2-Clause
//! `livedump capture`: the dump under its name, and what lies beside it.

use crate::tool::CrashDir;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

/// The line of info.N that begins with `name`.
fn field(info: &str, name: &str) -> String {
    let prefix = format!("  {name}: ");
    let line = info.lines().find_map(|l| l.strip_prefix(&prefix));
    line.unwrap_or_else(|| panic!("no {name} in\n{info}")).to_string()
}

#[test]
fn a_dump_of_256_mb_lies_there_as_savecore_would_have_it() {
    let dir = CrashDir::new();
    for (n, options, suffix, name, tool) in [
        (0, vec![], "", "none", None),
        (1, vec!["-z"], ".gz", "gzip", Some("gzip")),
        (2, vec!["-Z"], ".zst", "zstd", Some("zstd")),
    ] {
        dir.capture("model:256M", &options).expect(0);
        let core = format!("livecore.{n}{suffix}");
        let dump = dir.judge(&core);
        let len = std::fs::metadata(dir.file(&core)).unwrap().len();
        let info = dir.text(&format!("info.{n}"));
        assert!(info.starts_with("Dump header from device: model:256M\n"));
        assert_eq!(field(&info, "Architecture"), "amd64");
        assert_eq!(field(&info, "Architecture Version"), "2");
        assert_eq!(field(&info, "Dump Length"), len.to_string());
        assert_eq!(field(&info, "Blocksize"), "4096");
        assert_eq!(field(&info, "Compression"), name);
        assert_eq!(field(&info, "Hostname"), "model");
        assert_eq!(field(&info, "Magic"), "FreeBSD Kernel Dump");
        assert_eq!(field(&info, "Bounds"), n.to_string());
        assert_eq!(field(&info, "Dump Status"), "good");
        assert_eq!(field(&info, "Panic String"), "");
        assert_eq!(dir.text("bounds").trim(), (n + 1).to_string());
        for file in [core.clone(), format!("info.{n}")] {
            let meta = std::fs::metadata(dir.file(&file)).unwrap();
            assert_eq!(meta.permissions().mode() & 0o7777, 0o600, "{file}");
            assert_eq!(meta.nlink(), 1);
        }
        for (link, target) in [
            ("info.last".to_string(), format!("info.{n}")),
            (format!("livecore.last{suffix}"), core.clone()),
        ] {
            let found = std::fs::read_link(dir.file(&link)).unwrap();
            assert_eq!(found.to_str(), Some(&*target), "{link}");
        }
        let others = dir.names();
        let others = others.iter().filter(|n| n.contains("core.last"));
        assert_eq!(others.count(), 1, "links of older dumps");
        if let Some(tool) = tool {
            unpack(tool, &dir, &core, dump.plain().len());
        }
    }
    assert!(dir.names().iter().all(|n| !n.contains("tmp")));
}

fn unpack(tool: &str, dir: &CrashDir, core: &str, plain: usize) {
    let run = Command::new(tool).arg("-dc").arg(dir.file(core)).output();
    match run {
        Ok(out) => {
            assert!(out.status.success(), "{tool}: {}", out.status);
            assert_eq!(out.stdout.len(), plain);
        }
        Err(e) => livedump_skip::skipped(format_args!("{tool}: {e}")),
    }
}

#[test]
fn savecores_letters_take_the_same_dump() {
    let dir = CrashDir::new();
    let path = dir.path().to_str().unwrap();
    let machine = ["--machine", "model:16M"];
    for letters in [vec!["-L"], vec!["-LvZ"], vec!["-L", "-f", "-m", "2"]] {
        let args = letters.iter().chain(&machine).chain([&path]);
        crate::tool::run(args).expect(0);
    }
    let names = dir.names();
    for name in ["info.0", "livecore.0", "info.1", "livecore.1.zst"] {
        assert!(names.contains(&name.to_string()), "{name} in {names:?}");
    }
    // Two at most: the third has taken the first one's place.
    assert_eq!(field(&dir.text("info.0"), "Bounds"), "0");
    assert_eq!(dir.text("bounds").trim(), "1");
    let last = std::fs::read_link(dir.file("livecore.last")).unwrap();
    assert_eq!(last.to_str(), Some("livecore.0"));
}

#[test]
fn a_dump_that_takes_anothers_number_replaces_all_of_it() {
    let dir = CrashDir::new();
    dir.capture("model:16M", &["-Z", "-m", "1", "--keep-kernel"]).expect(0);
    assert!(dir.file("kernel.0").exists());
    dir.capture("model:16M", &["-m", "1"]).expect(0);
    let names = dir.names();
    assert_eq!(
        names,
        [
            "bounds",
            "info.0",
            "info.last",
            "livecore.0",
            "livecore.last",
            "seal.0",
            "seal.last",
        ]
    );
    dir.judge("livecore.0");
    assert_eq!(field(&dir.text("info.0"), "Compression"), "none");
}

#[test]
fn any_directory_will_do() {
    let dir = CrashDir::new();
    std::fs::create_dir(dir.file("sub")).unwrap();
    for args in [vec!["sub"], vec!["./sub/../sub"], vec![]] {
        let run = Command::new(crate::tool::program())
            .current_dir(dir.path())
            .args(["capture", "--machine", "model:16M"])
            .args(args)
            .output()
            .unwrap();
        crate::tool::Run::from(run).expect(0);
    }
    assert!(dir.file("sub/livecore.1").exists());
    dir.judge("livecore.0");
}

#[test]
fn arm64_and_freebsd_12_come_from_a_recipe() {
    for (text, arch) in [
        ("machine arm64\nsize 32M\nhostname beastie", "aarch64"),
        ("release 12.1-RELEASE\nsize 32M\nhostname beastie", "amd64"),
    ] {
        let dir = CrashDir::new();
        dir.capture(&dir.recipe(text), &["--keep-kernel"]).expect(0);
        let dump = dir.judge("livecore.0");
        let symbols = dir.symbols("kernel.0");
        assert_eq!(dump.read32(symbols.get("hz").unwrap()), Ok(1000));
        assert!(dump.allproc(&symbols).unwrap().len() > 2);
        let info = dir.text("info.0");
        assert_eq!(field(&info, "Architecture"), arch);
        assert_eq!(field(&info, "Hostname"), "beastie");
    }
}

#[test]
fn a_machine_that_changes_all_the_time_is_captured_soundly() {
    let text = "size 32M\nmutate tables 1\nmutate pages 4\nmutate bitset 1";
    for options in [&["--keep-kernel"][..], &["--keep-kernel", "-Z"]] {
        let dir = CrashDir::new();
        dir.capture(&dir.recipe(text), options).expect(0);
        let name = dir.names().into_iter().find(|n| n.starts_with("livecore"));
        let dump = dir.judge(&name.unwrap());
        let symbols = dir.symbols("kernel.0");
        dump.msgbufp(&symbols).unwrap();
        assert!(dump.allproc(&symbols).unwrap().len() > 5);
    }
}

#[test]
fn the_report_is_about_the_dump_that_is_there() {
    let dir = CrashDir::new();
    let run = dir.capture("model:16M", &["-Z", "--json"]).expect(0);
    let json = run.json();
    let dump = dir.judge("livecore.0.zst");
    let len = std::fs::metadata(dir.file("livecore.0.zst")).unwrap().len();
    assert_eq!(json["number"], 0);
    assert_eq!(json["file"], dir.file("livecore.0.zst").to_str().unwrap());
    assert_eq!(json["pages"], dump.pas().len());
    assert_eq!(json["dumplength"], len);
    assert_eq!(json["dumpextent"], dump.plain().len());
    assert_eq!(json["compression"], "zstd");
    assert_eq!(json["verdict"], "sound");
    // Talk goes elsewhere, and not at all when asked so.
    assert!(run.stderr.lines().all(|l| l.starts_with("livedump: ")));
    let quiet = dir.capture("model:16M", &["--quiet"]).expect(0);
    assert!(quiet.stderr.is_empty() && quiet.stdout.is_empty());
}

#[test]
fn where_there_is_no_freebsd_kernel_it_says_what_to_try() {
    if cfg!(target_os = "freebsd") {
        livedump_skip::skipped("this is FreeBSD");
        return;
    }
    let dir = CrashDir::new();
    let run = crate::tool::run(["capture", dir.path().to_str().unwrap()]);
    let run = run.expect(2);
    assert!(run.stderr.contains("--machine model"), "{}", run.stderr);
    assert_eq!(dir.names(), Vec::<String>::new());
}

#[test]
fn what_was_asked_for_besides_is_in_info_and_json() {
    let dir = CrashDir::new();
    let flags = ["-Z", "--quiesce", "--registers", "--stability", "--json"];
    let run = dir.capture("model:16M", &flags).expect(0);
    let json = run.json();
    assert!(json["quiesced_ns"].as_u64().unwrap() > 0);
    assert!(json["registers"].as_u64().unwrap() > 0);
    assert_eq!(json["changed"]["pages"], 0);
    let list = json["changed"]["file"].as_str().unwrap();
    assert!(list.ends_with("/changed.0"), "{list}");
    let info = dir.text("info.0");
    assert!(field(&info, "Quiesced").ends_with(" s"));
    assert!(field(&info, "Registers").ends_with(" threads"));
    assert!(field(&info, "Changed Pages").starts_with("0 of "));
    assert_eq!(field(&info, "Changed List"), "changed.0");
    let core = dir.file("livecore.0.zst");
    let core = core.to_str().unwrap();
    let shown = crate::tool::run(["info", core]).expect(0);
    assert!(shown.text().contains("Changed pages:        0 of "));
    let verdict = crate::tool::run(["verify", core]).expect(0);
    assert!(verdict.text().contains("0 of "), "{}", verdict.text());

    // One that was asked for nothing has none of it.
    let run = dir.capture("model:16M", &["-Z", "--json"]).expect(0);
    let json = run.json();
    for key in ["quiesced_ns", "registers", "changed"] {
        assert!(json[key].is_null(), "{key}");
    }
    assert!(!dir.names().iter().any(|n| n == "changed.1"));
    assert!(!dir.text("info.1").contains("Changed"));
}

#[test]
fn reading_what_changed_says_so() {
    use memdev::addr::Paddr;
    use memdev::changes::{Header, Kind, Record};

    let dir = CrashDir::new();
    dir.capture("model:16M", &[]).expect(0);
    let core = dir.file("livecore.0");
    let dump = dir.judge("livecore.0");
    let pa = dump.pas()[10];
    let kind = Kind::KernelMap;
    let record = Record { start: Paddr(pa), pages: 1, kind };
    let header = Header { records: 1, pages: 99, changed: [0, 1, 0] };
    let list = [&header.encode()[..], &record.encode()].concat();
    std::fs::write(dir.file("changed.0"), list).unwrap();
    let core = core.to_str().unwrap();
    for (pa, message) in [(pa, true), (dump.pas()[12], false)] {
        let at = format!("{pa:#x}");
        let run = crate::tool::run(["read", "--phys", core, &at]).expect(0);
        let warned = run.stderr.contains("changed while the dump was written");
        assert_eq!(warned, message, "{at}");
    }
    std::fs::write(dir.file("changed.0"), "no list").unwrap();
    let run = crate::tool::run(["info", core]).expect(0);
    assert!(
        run.stderr.contains("not a list of changed pages"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_dump_for_a_pipe_is_the_one_that_a_directory_gets() {
    let dir = CrashDir::new();
    std::fs::create_dir(dir.file("tmp")).unwrap();
    let stream = |options: &[&str]| {
        let mut command = Command::new(crate::tool::program());
        command.args(["capture", "--machine", "model:16M"]);
        command.args(options).arg("-").env("TMPDIR", dir.file("tmp"));
        command
    };
    for (options, name) in [
        (&[][..], "livecore.0"),
        (&["-z"], "livecore.1.gz"),
        (&["-Z"], "livecore.2.zst"),
    ] {
        dir.capture("model:16M", options).expect(0);
        let out = stream(options).output().unwrap();
        let run = crate::tool::Run::from(out).expect(0);
        assert!(run.stderr.contains("to standard output"), "{}", run.stderr);
        let (want, got) = (dir.judge(name), {
            std::fs::write(dir.file("piped"), &run.stdout).unwrap();
            dir.judge("piped")
        });
        assert_eq!(got.pages().count(), want.pages().count(), "{name}");
    }
    for options in [&["--json"][..], &["-m", "3"], &["--keep-kernel"]] {
        let out = stream(options).output().unwrap();
        let run = crate::tool::Run::from(out).expect(2);
        assert!(run.stdout.is_empty());
        assert!(run.stderr.contains("cannot be used with -"), "{}", run.stderr);
    }
    // Who does not take the dump does not have it.
    let mut child = stream(&["-q"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let run = crate::tool::Run::from(child.wait_with_output().unwrap());
    let run = run.expect(2);
    assert!(run.stderr.contains("standard output"), "{}", run.stderr);
    let left: Vec<_> = std::fs::read_dir(dir.file("tmp"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_dump_for_a_pipe_needs_no_file() {
    let dir = CrashDir::new();
    for options in [&[][..], &["-Z"], &["--freeze", "--max-pause", "1s"]] {
        let mut command = crate::tool::without_files();
        command.args(["capture", "--machine", "model:16M"]);
        command.args(options).arg("-").env("TMPDIR", dir.file("nowhere"));
        let out = command.output().unwrap();
        let run = crate::tool::Run::from(out).expect(0);
        assert!(run.stderr.contains("not checked"), "{}", run.stderr);
        std::fs::write(dir.file("piped"), &run.stdout).unwrap();
        let _ = dir.judge("piped");
    }
    // Who reads it would be suspended: it is in a file before, and says so.
    let quiesced = |tmp: &str| {
        let mut command = Command::new(crate::tool::program());
        command.args(["capture", "--machine", "model:16M", "--quiesce", "-"]);
        let out = command.env("TMPDIR", dir.file(tmp)).output().unwrap();
        crate::tool::Run::from(out)
    };
    let run = quiesced("nowhere").expect(2);
    assert!(run.stderr.contains("TMPDIR"), "{}", run.stderr);
    std::fs::create_dir(dir.file("tmp")).unwrap();
    let run = quiesced("tmp").expect(0);
    assert!(run.stderr.contains("suspended"), "{}", run.stderr);
    assert!(!run.stderr.contains("not checked"), "{}", run.stderr);
}

#[test]
fn a_signal_ends_a_dump_that_nobody_reads_on() {
    let mut child = Command::new(crate::tool::program())
        .args(["capture", "--machine", "model:64M", "-"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Until the pipe is full.
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none());
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let pipe = child.stdout.take();
    let run = crate::tool::Run::from(child.wait_with_output().unwrap());
    assert!(run.stderr.contains("stopped by SIGTERM"), "{}", run.stderr);
    drop(pipe);
}
