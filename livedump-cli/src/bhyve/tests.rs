// SPDX-License-Identifier: BSD-2-Clause
//! Against something that answers as bhyve does, or as it should not, and a
//! guest whose memory is a model's.

use super::*;
use livedump_hosted::machine::{Machine, Running};
use livedump_hosted::model::{ModelMachine, Recipe};
use livedump_vmcore::chain;
use memdev::addr::Paddr;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

const SHORT: Duration = Duration::from_millis(400);

/// A stub that answers each thing it hears with what `answer` says; a packet is
/// its text, an interrupt "^C".
struct Server {
    address: String,
    heard: Receiver<String>,
    thread: JoinHandle<()>,
}

impl Server {
    fn start(
        mut answer: impl FnMut(&str) -> Option<&'static [u8]> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, heard) = channel();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while let Some(said) = next(&mut stream) {
                tell.send(said.clone()).unwrap();
                match answer(&said) {
                    Some(bytes) => {
                        let _ = stream.write_all(bytes);
                    }
                    None => return,
                }
            }
        });
        Self { address, heard, thread }
    }

    /// What it heard, when the connection is over.
    fn heard(self) -> Vec<String> {
        self.thread.join().unwrap();
        self.heard.try_iter().collect()
    }
}

/// The next thing that is said, acknowledgements left out.
fn next(stream: &mut TcpStream) -> Option<String> {
    let mut byte = || {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok().map(|()| byte[0])
    };
    loop {
        match byte()? {
            b'+' => {}
            3 => return Some("^C".into()),
            b'$' => {
                let mut text = String::new();
                loop {
                    match byte()? {
                        b'#' => break,
                        b => text.push(char::from(b)),
                    }
                }
                let sum = [byte()?, byte()?];
                let want = text.bytes().fold(0u8, u8::wrapping_add);
                assert_eq!(format!("{want:02x}").as_bytes(), sum);
                return Some(text);
            }
            b => return Some(format!("{b:#x}")),
        }
    }
}

/// As bhyve does, whose first stop is not reported.
fn bhyve(
    stopped: Arc<AtomicBool>,
) -> impl FnMut(&str) -> Option<&'static [u8]> {
    let mut is_first = true;
    move |said| match said {
        "c" => {
            stopped.store(false, Ordering::SeqCst);
            Some(b"+")
        }
        "^C" if std::mem::take(&mut is_first) => Some(b""),
        "^C" => {
            stopped.store(true, Ordering::SeqCst);
            Some(b"$T05thread:1;#d7")
        }
        "D" => Some(b"+$OK#9a"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_guest_is_stopped_and_goes_on() {
    let stopped = Arc::new(AtomicBool::new(true));
    let server = Server::start(bhyve(Arc::clone(&stopped)));
    let patience = Duration::from_secs(10);
    let mut stub = Stub::connect(&server.address, patience).unwrap();
    assert!(!stopped.load(Ordering::SeqCst), "it was let go on at once");
    stub.stop().unwrap();
    assert!(stopped.load(Ordering::SeqCst));
    stub.resume().unwrap();
    drop(stub);
    assert!(!stopped.load(Ordering::SeqCst));
    assert_eq!(server.heard(), ["c", "^C", "c", "^C", "c", "D"]);
}

#[test]
fn a_guest_that_does_not_stop_in_time_goes_on() {
    let server = Server::start(|said| match said {
        "c" => Some(b"+"),
        _ => Some(b""),
    });
    let mut stub = Stub::connect(&server.address, SHORT).unwrap();
    let e = stub.stop().unwrap_err();
    assert!(matches!(e, GdbError::Silent { .. }), "{e}");
    assert!(e.to_string().contains("one debugger at a time"), "{e}");
    drop(stub);
    let heard = server.heard();
    let last = heard.iter().rposition(|said| said == "^C").unwrap();
    assert!(heard[last..].contains(&"c".to_owned()), "{heard:?}");
}

#[test]
fn what_is_no_stub_is_called_that() {
    for (answer, want) in [
        (&b"SSH-2.0-OpenSSH\r\n"[..], "not a debug stub: SSH-2.0"),
        (b"$T05#00", "not a debug stub: $T05#00"),
        (b"$E01#a6", "not a debug stub: E01"),
        (b"+", ""),
    ] {
        let server = Server::start(move |_| Some(answer));
        match Stub::connect(&server.address, SHORT) {
            Ok(_) => assert_eq!(want, ""),
            Err(e) => {
                let e = e.to_string();
                assert!(!want.is_empty() && e.contains(want), "{e}");
            }
        }
    }
    static LONG: [u8; 6000] = [b'$'; 6000];
    let server = Server::start(|_| Some(&LONG));
    assert!(Stub::connect(&server.address, SHORT).is_err());
    // It goes away.
    let server = Server::start(|_| None);
    let e = chain(&Stub::connect(&server.address, SHORT).unwrap_err());
    assert!(e.starts_with("resuming the guest by the debug stub: "), "{e}");
    let e = chain(&Stub::connect("127.0.0.1:1", SHORT).unwrap_err());
    assert!(e.contains("127.0.0.1:1: Connection refused"), "{e}");
}

/// A file as a guest's memory is, and its kernel.
fn model(dir: &Path) -> (PathBuf, Kernel) {
    let machine = ModelMachine::build(&Recipe::with_size(16 << 20).unwrap());
    let machine = machine.unwrap();
    let memory = dir.join("guest");
    let file = File::create(&memory).unwrap();
    for &(start, end) in machine.dump_avail() {
        for pa in (start..end).step_by(PAGE_SIZE) {
            let mut page = [0; PAGE_SIZE];
            machine.read_page(Paddr(pa), &mut page).unwrap();
            file.write_all_at(&page, pa).unwrap();
        }
    }
    let kernel = dir.join("kernel");
    std::fs::write(&kernel, machine.kernel_elf().unwrap()).unwrap();
    (memory, Kernel::open(&kernel).unwrap())
}

#[test]
fn a_guests_memory_is_of_the_moment_it_was_stopped() {
    let tmp = tempfile::tempdir().unwrap();
    let (memory, kernel) = model(tmp.path());
    let at = 15 << 20;
    let file = File::options().write(true).open(&memory).unwrap();
    // It changes while it runs: the byte is 1 when it stands still.
    let stopped = Arc::new(AtomicBool::new(true));
    let mut answer = bhyve(Arc::clone(&stopped));
    let server = Server::start(move |said| {
        let answered = answer(said);
        let now = stopped.load(Ordering::SeqCst);
        file.write_all_at(&[if now { 1 } else { 2 }], at).unwrap();
        answered
    });
    let address = server.address.clone();
    let (guest, core) = Guest::open(&memory, &address, &kernel).unwrap();
    assert_eq!(guest.descriptors().len(), 3);
    for _ in 0..2 {
        let taken = guest.take(&kernel, &|| false).unwrap();
        let mut byte = [0];
        taken.core.read_phys(Paddr(at), &mut byte).unwrap();
        assert_eq!(byte, [1]);
        assert!(taken.paused.is_some_and(|it| it > Duration::ZERO));
        let pages = |core: &Vmcore| core.pages().unwrap().count_set();
        assert_eq!(pages(&taken.core), pages(&core));
        guest.release();
    }
    let e = guest.take(&kernel, &|| true).unwrap_err();
    assert!(matches!(e, BhyveError::Interrupted), "{e}");
    drop(guest);
    let heard = server.heard();
    assert_eq!(heard[heard.len() - 2..], ["c", "D"], "{heard:?}");
}

#[test]
fn a_guest_that_is_none_is_named() {
    for name in ["", ".", "..", "../mem", "a/b", "a\0"] {
        let e = path_of(name).unwrap_err();
        assert!(matches!(e, BhyveError::Name(_)), "{name:?}: {e}");
    }
    if !Path::new(GUESTS).exists() {
        let e = path_of("guest").unwrap_err().to_string();
        assert!(e.contains("/dev/vmm") && e.contains("host"), "{e}");
    }
    let tmp = tempfile::tempdir().unwrap();
    let (memory, kernel) = model(tmp.path());
    let nobody = "127.0.0.1:1";
    let e = Guest::open_within(&memory, nobody, &kernel, SHORT).unwrap_err();
    assert!(chain(&e).contains("127.0.0.1:1"), "{e}");
    let empty = tmp.path().join("empty");
    std::fs::write(&empty, vec![0; 8 << 20]).unwrap();
    let e = Guest::open_within(&empty, nobody, &kernel, SHORT).unwrap_err();
    assert!(chain(&e).contains("is not in this memory"), "{e}");
}
