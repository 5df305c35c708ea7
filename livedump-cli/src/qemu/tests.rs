// SPDX-License-Identifier: BSD-2-Clause
//! Against something that answers as QEMU does, or as it should not.

use super::resume::Resumer;
use super::stream::Part;
use super::*;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::thread::JoinHandle;
use std::time::Instant;

const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": []}}"#;
const SHORT: Duration = Duration::from_millis(300);

/// What is sent for a command; `ID` in it is the command's number.
type Answer = Option<String>;

/// A socket at which a function is asked for each command; what it answers is
/// sent as it is, and `None` ends the connection.
struct Monitor {
    _directory: tempfile::TempDir,
    socket: PathBuf,
    thread: JoinHandle<()>,
    asked: Receiver<String>,
}

/// A command: its name, all of it, a descriptor that came with it.
struct Asked<'a> {
    name: &'a str,
    line: &'a str,
    fd: Option<RawFd>,
    stream: &'a mut UnixStream,
}

fn ok() -> Answer {
    Some(r#"{"return": {}, "id": ID}"#.to_owned())
}

fn returns(value: &str) -> Answer {
    Some(format!("{{\"return\": {value}, \"id\": ID}}"))
}

fn event(name: &str, seconds: u64, data: &str) -> String {
    format!(
        "{{\"event\": \"{name}\", \"data\": {data}, \"timestamp\": \
         {{\"seconds\": {seconds}, \"microseconds\": 7}}}}"
    )
}

impl Monitor {
    fn start(
        greeting: &'static str,
        answer: impl FnMut(Asked<'_>) -> Answer + Send + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("qmp");
        let listener = UnixListener::bind(&socket).unwrap();
        let (tell, asked) = channel();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            serve(stream, greeting, answer, &tell);
        });
        Self { _directory: directory, socket, thread, asked }
    }

    fn connect(&self) -> Result<Qmp, QmpError> {
        Qmp::connect(&self.socket, SHORT)
    }

    fn guest(&self) -> Result<Guest, QemuError> {
        Guest::connect_within(&self.socket, SHORT)
    }

    /// The commands, when the connection is over.
    fn asked(self) -> Vec<String> {
        self.thread.join().unwrap();
        self.asked.try_iter().collect()
    }
}

fn serve(
    mut stream: UnixStream,
    greeting: &str,
    mut answer: impl FnMut(Asked<'_>) -> Answer,
    tell: &std::sync::mpsc::Sender<String>,
) {
    writeln!(stream, "{greeting}").unwrap();
    let (mut line, mut fd) = (Vec::new(), None);
    loop {
        let mut byte = [0];
        let mut space = nix::cmsg_space!(RawFd);
        let mut to = [IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::empty();
        let got =
            recvmsg::<()>(stream.as_raw_fd(), &mut to, Some(&mut space), flags);
        let Ok(got) = got else { return };
        for message in got.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(fds) = message {
                fd = fds.first().copied();
            }
        }
        if got.bytes == 0 {
            return;
        }
        if byte != *b"\n" {
            line.extend(byte);
            continue;
        }
        let command: Value = serde_json::from_slice(&line).unwrap();
        let text = command.to_string();
        line.clear();
        let name = command["execute"].as_str().unwrap();
        let _ = tell.send(name.to_owned());
        let (line, fd) = (text.as_str(), fd.take());
        let asked = Asked { name, line, fd, stream: &mut stream };
        match answer(asked) {
            Some(text) => {
                let text = text.replace("ID", &command["id"].to_string());
                if writeln!(stream, "{text}").is_err() {
                    return;
                }
            }
            None => return,
        }
    }
}

#[test]
fn answers_are_told_from_events_which_are_kept() {
    let monitor = Monitor::start(GREETING, |asked| match asked.name {
        "query-status" => {
            let stop = event("STOP", 5, "{}");
            // The answer to something else, which came too late.
            let late = r#"{"return": {"status": "paused"}, "id": 99}"#;
            let answer = returns(r#"{"status": "running"}"#).unwrap();
            Some(format!("{stop}\n{late}\n{answer}"))
        }
        _ => ok(),
    });
    let mut qmp = monitor.connect().unwrap();
    assert_eq!(state(&mut qmp).unwrap(), "running");
    let event = qmp.event("STOP", Duration::ZERO).unwrap().unwrap();
    assert_eq!(event.time_us, 5_000_007);
    assert!(qmp.event("STOP", Duration::ZERO).unwrap().is_none());
    drop(qmp);
    assert_eq!(monitor.asked(), ["qmp_capabilities", "query-status"]);
}

#[test]
fn what_is_no_qmp_or_says_nothing_is_told_apart() {
    for greeting in ["SSH-2.0-OpenSSH", r#"{"hello": 1}"#, "[]", "\u{fffd}"] {
        let monitor = Monitor::start(greeting, |_| ok());
        let e = monitor.connect().unwrap_err();
        assert!(e.to_string().starts_with("not a QMP socket"), "{e}");
    }
    let e = Qmp::connect(Path::new("/nonexistent"), SHORT).unwrap_err();
    assert!(matches!(e, QmpError::Io { .. }), "{e}");
    // Nobody accepts; then nobody can even connect.
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("silent");
    let _listener = UnixListener::bind(&socket).unwrap();
    let mut kept = Vec::new();
    for _ in 0..3 {
        let e = Qmp::connect(&socket, SHORT).unwrap_err();
        assert!(matches!(e, QmpError::Silent { .. }), "{e}");
        assert!(e.to_string().contains("one client at a time"), "{e}");
        while let Ok(stream) = connect_at_once(&socket) {
            kept.push(stream);
        }
    }
}

/// Unless the listener's queue is full.
fn connect_at_once(socket: &Path) -> Result<OwnedFd, Errno> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType};
    let address = nix::sys::socket::UnixAddr::new(socket)?;
    let fd = nix::sys::socket::socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::empty(),
        None,
    )?;
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(true).map_err(|_| Errno::EIO)?;
    nix::sys::socket::connect(stream.as_raw_fd(), &address)?;
    Ok(stream.into())
}

#[test]
fn what_an_earlier_client_had_still_to_get_is_left_out() {
    const LEFT: &str = "{\"event\": \"RESUME\"}\n\
        {\"return\": {\"status\": \"paused\"}, \"id\": 1}\n\
        {\"QMP\": {\"version\": {}, \"capabilities\": []}}";
    let monitor = Monitor::start(LEFT, |asked| match asked.name {
        "query-status" => returns(r#"{"status": "running"}"#),
        _ => ok(),
    });
    let mut qmp = monitor.connect().unwrap();
    let status = qmp.execute("query-status", json!({})).unwrap();
    assert_eq!(status["status"], "running");
    let monitor = Monitor::start("{\"hello\": 1}", |_| None);
    let e = monitor.connect().unwrap_err();
    assert!(matches!(e, QmpError::Foreign(_)), "{e}");
}

#[test]
fn a_refusal_has_qemus_words_and_an_end_is_no_answer() {
    let monitor = Monitor::start(GREETING, |asked| match asked.name {
        "qmp_capabilities" => ok(),
        "getfd" => None,
        "stop" => Some(r#"{"neither": 1, "id": ID}"#.into()),
        "cont" => Some(r#"{"error": {"desc": 5}}"#.into()),
        _ => {
            Some(r#"{"error": {"class": "X", "desc": "no"}, "id": ID}"#.into())
        }
    });
    let mut qmp = monitor.connect().unwrap();
    let e = qmp.execute("query-dump", json!({})).unwrap_err();
    assert_eq!(e.to_string(), "query-dump: no");
    let e = qmp.execute("cont", json!({})).unwrap_err();
    assert_eq!(e.to_string(), "cont: no reason given");
    let e = qmp.execute("stop", json!({})).unwrap_err();
    assert!(matches!(e, QmpError::Foreign(_)), "{e}");
    let file = tempfile::tempfile().unwrap();
    let e = qmp.getfd("x", file.as_fd()).unwrap_err();
    assert!(chain(&e).contains("was closed"), "{}", chain(&e));
}

#[test]
fn an_answer_has_a_deadline_whatever_else_comes() {
    // Events all the time, and a line that goes on for ever.
    for piece in [event("RTC_CHANGE", 1, "{}") + "\n", "x".repeat(65536)] {
        let monitor = Monitor::start(GREETING, move |asked| {
            if asked.name == "qmp_capabilities" {
                return ok();
            }
            while asked.stream.write_all(piece.as_bytes()).is_ok() {
                thread::sleep(Duration::from_millis(2));
            }
            None
        });
        let mut qmp = monitor.connect().unwrap();
        let asked = Instant::now();
        let e = qmp.execute("query-status", json!({})).unwrap_err();
        assert!(asked.elapsed() < Duration::from_secs(20), "{e}");
        let told = matches!(e, QmpError::Silent { .. } | QmpError::Foreign(_));
        assert!(told, "{e}");
        drop(qmp);
        monitor.asked();
    }
}

#[test]
fn a_guest_that_is_being_migrated_has_no_memory() {
    let monitor = Monitor::start(GREETING, |asked| match asked.name {
        "query-status" => returns(r#"{"status": "inmigrate"}"#),
        _ => ok(),
    });
    let e = monitor.guest().unwrap_err();
    assert!(e.to_string().contains("inmigrate"), "{e}");
}

#[test]
fn a_guest_of_another_architecture_is_refused() {
    let monitor = Monitor::start(GREETING, |asked| match asked.name {
        "query-target" => returns(r#"{"arch": "riscv64"}"#),
        "query-status" => returns(r#"{"status": "running"}"#),
        _ => ok(),
    });
    let guest = monitor.guest().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), kernel_bytes()).unwrap();
    let kernel = Kernel::open(file.path()).unwrap();
    let e = guest.live(&kernel).unwrap_err();
    assert!(e.to_string().starts_with("the guest is riscv64"), "{e}");
}

fn kernel_bytes() -> Vec<u8> {
    use livedump_hosted::machine::Running;
    use livedump_hosted::model::{ModelMachine, Recipe};
    let recipe = Recipe::parse("size 16M\n").unwrap();
    ModelMachine::build(&recipe).unwrap().kernel_elf().unwrap()
}

/// A pipe's end by the number that came with a command.
fn received(fd: RawFd) -> File {
    let file = File::options().write(true).open(format!("/proc/self/fd/{fd}"));
    nix::unistd::close(fd).unwrap();
    file.unwrap()
}

/// Something that dumps: `write` has the pipe, and says how that ended.
fn dumping(
    mut write: impl FnMut(File) -> &'static str + Send + 'static,
    after: &'static str,
) -> Monitor {
    let mut pipe = None;
    let mut state = "running";
    Monitor::start(GREETING, move |asked| match asked.name {
        "getfd" => {
            pipe = asked.fd.map(received);
            ok()
        }
        "dump-guest-memory" => {
            let stop = event("STOP", 10, "{}");
            let answer = r#"{"return": {}}"#;
            writeln!(asked.stream, "{stop}\n{answer}").unwrap();
            let end = write(pipe.take().unwrap());
            let end = event("DUMP_COMPLETED", 12, end);
            state = after;
            Some(match after {
                "running" => format!("{end}\n{}", event("RESUME", 13, "{}")),
                _ => end,
            })
        }
        "cont" => {
            state = "running";
            ok()
        }
        "query-status" => returns(&format!("{{\"status\": \"{state}\"}}")),
        _ => ok(),
    })
}

#[test]
fn what_comes_through_the_pipe_is_in_the_file_and_the_pause_is_told() {
    let all: Vec<u8> =
        (0..900_000u32).map(|n| if n % 9000 < 99 { 3 } else { 0 }).collect();
    let sent = all.clone();
    let monitor = dumping(
        move |mut pipe| {
            pipe.write_all(&sent).unwrap();
            "{}"
        },
        "running",
    );
    let mut qmp = monitor.connect().unwrap();
    let spool = tempfile::tempfile().unwrap();
    stream::dump(&mut qmp, &spool, Part::All, &|| false).unwrap();
    let pause = resumed(&mut qmp, true).unwrap();
    assert_eq!(pause.paused, Some(Duration::from_secs(3)));
    assert_eq!(pause.time_ns, 10_000_007_000);
    let mut got = vec![9; all.len()];
    spool.read_exact_at(&mut got, 0).unwrap();
    assert_eq!(spool.metadata().unwrap().len(), all.len() as u64);
    assert!(got == all);
}

#[test]
fn a_dump_that_fails_is_none_and_says_why() {
    let monitor = dumping(|_| r#"{"error": "disk full"}"#, "running");
    let mut qmp = monitor.connect().unwrap();
    let spool = tempfile::tempfile().unwrap();
    let to = (&spool, Path::new("guest"));
    let e = stream::take(&mut qmp, to, true, &|| false).unwrap_err();
    assert_eq!(e.to_string(), "dump-guest-memory failed: disk full");
    // And what is no dump is not taken for one.
    let monitor = dumping(
        |mut pipe| {
            pipe.write_all(b"#!/bin/sh\n").unwrap();
            "{}"
        },
        "running",
    );
    let mut qmp = monitor.connect().unwrap();
    let e = stream::take(&mut qmp, to, true, &|| false).unwrap_err();
    assert!(matches!(e, QemuError::Image(_)), "{e}");
}

/// QEMU's writes fail when it is given up, and that ends its dump.
#[test]
fn a_dump_that_is_not_wanted_any_more_ends_at_once() {
    let monitor = dumping(
        |mut pipe| {
            while pipe.write_all(&[1; 4096]).is_ok() {}
            r#"{"error": "Broken pipe"}"#
        },
        "running",
    );
    let mut qmp = monitor.connect().unwrap();
    let spool = tempfile::tempfile().unwrap();
    let to = (&spool, Path::new("guest"));
    let looks = std::cell::Cell::new(0);
    let stop = || looks.replace(looks.get() + 1) > 3;
    let e = stream::take(&mut qmp, to, true, &stop).unwrap_err();
    assert!(matches!(e, QemuError::Interrupted), "{e}");
    drop(qmp);
    assert!(!monitor.asked().contains(&"cont".to_owned()));
}

#[test]
fn a_guest_that_qemu_leaves_stopped_is_resumed() {
    let monitor = dumping(|_| r#"{"error": "x"}"#, "paused");
    let mut qmp = monitor.connect().unwrap();
    let spool = tempfile::tempfile().unwrap();
    let to = (&spool, Path::new("guest"));
    stream::take(&mut qmp, to, true, &|| false).unwrap_err();
    assert_eq!(state(&mut qmp).unwrap(), "running");
    drop(qmp);
    assert!(monitor.asked().contains(&"cont".to_owned()));
}

#[test]
fn a_guest_that_stands_still_is_told_before_anything_else() {
    let stands = || Err(QemuError::NotResumed("paused".into()));
    let pause = || Ok(Pause { paused: None, time_ns: 0 });
    let failed = || Err(QemuError::Interrupted);
    let told = |e: QemuError| e.to_string();
    for copied in [failed(), Ok(())] {
        let e = told(both(copied, stands()).unwrap_err());
        assert!(e.contains("send cont to its monitor"), "{e}");
    }
    assert_eq!(told(both::<()>(failed(), pause()).unwrap_err()), "interrupted");
    assert!(both(Ok(()), pause()).is_ok());
}

#[test]
fn a_dump_that_is_refused_leaves_no_descriptor_behind() {
    let monitor = Monitor::start(GREETING, |asked| match asked.name {
        "getfd" => {
            drop(received(asked.fd.unwrap()));
            ok()
        }
        "dump-guest-memory" => {
            Some(r#"{"error": {"desc": "dump in progress"}, "id": ID}"#.into())
        }
        "query-status" => returns(r#"{"status": "running"}"#),
        _ => ok(),
    });
    let mut qmp = monitor.connect().unwrap();
    let spool = tempfile::tempfile().unwrap();
    let e = stream::dump(&mut qmp, &spool, Part::All, &|| false).unwrap_err();
    assert_eq!(e.to_string(), "dump-guest-memory: dump in progress");
    drop(qmp);
    let asked = monitor.asked();
    assert_eq!(asked.last().map(String::as_str), Some("closefd"));
}

/// A guest whose memory is in a file is stopped from here.
#[test]
fn a_guest_that_was_stopped_from_here_is_resumed_whatever_fails() {
    let memory = tempfile::NamedTempFile::new().unwrap();
    memory.as_file().set_len(1 << 20).unwrap();
    let path = memory.path().display().to_string();
    let mut running = true;
    let mut pipe = None;
    let monitor = Monitor::start(GREETING, move |asked| match asked.name {
        "query-memory-size-summary" => returns("{\"base-memory\": 1048576}"),
        "query-target" => returns(r#"{"arch": "x86_64"}"#),
        "query-memdev" => {
            returns(r#"[{"id": "ram0", "share": true, "size": 1048576}]"#)
        }
        "qom-get" => returns(&format!("{path:?}")),
        "query-status" => match running {
            true => returns(r#"{"status": "running"}"#),
            false => returns(r#"{"status": "paused"}"#),
        },
        "stop" | "cont" => {
            running = asked.name == "cont";
            let name = if running { "RESUME" } else { "STOP" };
            let answer = ok().unwrap();
            Some(format!("{}\n{answer}", event(name, 20, "{}")))
        }
        "getfd" => {
            pipe = asked.fd.map(received);
            ok()
        }
        "dump-guest-memory" => {
            pipe.take().unwrap().write_all(b"noise").unwrap();
            let end = event("DUMP_COMPLETED", 21, "{}");
            Some(format!("{}\n{end}", ok().unwrap()))
        }
        _ => ok(),
    });
    let mut guest = monitor.guest().unwrap();
    assert_eq!(guest.bytes(), 1 << 20);
    guest.prepare().unwrap();
    assert!(guest.taking.as_ref().unwrap().backing.is_some());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), kernel_bytes()).unwrap();
    let kernel = Kernel::open(file.path()).unwrap();
    let e = guest.take(Wanted::Kernel(&kernel), &|| false).unwrap_err();
    assert!(matches!(e, QemuError::Image(_)), "{e}");
    assert_eq!(guest.state().unwrap(), "running");
    drop(guest);
    let asked = monitor.asked();
    let at = |name| asked.iter().position(|it| it == name).unwrap();
    assert!(at("stop") < at("cont"));
}

/// The other process has the socket and sends `cont` where it was the last to
/// know that the guest is stopped.
#[test]
fn a_guest_is_resumed_when_whoever_stopped_it_is_gone() {
    for (armed, resumed) in [(true, true), (false, false)] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let resumer = Resumer::start(&ours).unwrap();
        resumer.arm().unwrap();
        if !armed {
            resumer.disarm();
        }
        drop((ours, resumer));
        theirs.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut text = String::new();
        theirs.read_to_string(&mut text).unwrap();
        let asked = text.contains(r#"{"execute":"cont"}"#);
        assert_eq!(asked, resumed, "{text}");
    }
}

/// What runs in a guest is told by its page tables: FreeBSD's root leads to
/// itself by one entry.
#[test]
fn another_system_is_told_by_its_page_tables() {
    let process = "CPL=3 II=0\nCR0=80050033 CR2=0 CR3=0000000001234005 CR4=0";
    let kernel = process.replace("CPL=3", "CPL=0");
    let none = "CPL=0 II=0\nCR0=60000010 CR2=0 CR3=0000000000000000 CR4=0";
    let run = "running";
    for (state, registers, entry, want) in [
        (run, kernel.as_str(), 0x123_4063_u64, Seen::FreeBsd),
        (run, process, 0x8000_0000_0123_4063, Seen::FreeBsd),
        (run, &kernel, 0x123_4062, Seen::Other),
        (run, &kernel, 0, Seen::Other),
        // With PTI that is what a process of FreeBSD has, too, and the kernel
        // where it comes from one.
        (run, process, 0, Seen::Unknown),
        ("paused", &kernel, 0, Seen::Unknown),
        ("paused", &kernel, 0x123_4063, Seen::FreeBsd),
        (run, none, 0, Seen::NoPaging),
        (run, "unknown command", 0, Seen::NoPaging),
    ] {
        let state = format!("{{\"status\": \"{state}\"}}");
        let printed = json!(registers).to_string();
        let word = json!(format!("0000000001234800: {entry:#018x}\r\n"));
        let monitor = Monitor::start(GREETING, move |asked| match asked.name {
            "query-status" => returns(&state),
            "query-target" => returns(r#"{"arch": "x86_64"}"#),
            "query-memory-size-summary" => {
                returns("{\"base-memory\": 536870912}")
            }
            "human-monitor-command" => {
                match asked.line.contains("info registers") {
                    true => returns(&printed),
                    false => returns(&word.to_string()),
                }
            }
            _ => ok(),
        });
        let guest = monitor.guest().unwrap();
        assert_eq!(guest.seen().unwrap(), want, "{registers} {entry:#x}");
    }
}
