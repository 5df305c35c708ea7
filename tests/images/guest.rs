// SPDX-License-Identifier: BSD-2-Clause
//! A guest of QEMU with the memory of a model machine, dumped from outside. Its
//! CPUs do not run: the firmware would write into that memory.

use super::model::{Case, TWO};
use crate::tool::{Run, run};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Guest {
    case: Case,
    child: Child,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Guest {
    /// With its memory in a file that can be opened, or not. Says why it is
    /// skipped where there is no QEMU.
    fn start(by_file: bool) -> Option<Self> {
        let case = Case::new(TWO);
        let (raw, socket) = (case.text("raw"), case.text("qmp"));
        let size = std::fs::metadata(&raw).unwrap().len();
        let memory = match by_file {
            true => {
                let backend = format!(
                    "memory-backend-file,id=ram0,size={size},mem-path={raw},\
                     share=on"
                );
                ["-object".to_owned(), backend, "-machine".to_owned()]
                    .into_iter()
                    .chain(["q35,accel=tcg,memory-backend=ram0".to_owned()])
                    .collect()
            }
            false => vec![
                "-device".to_owned(),
                format!("loader,file={raw},addr=0,force-raw=on"),
                "-machine".to_owned(),
                "q35,accel=tcg".to_owned(),
            ],
        };
        let program = "qemu-system-x86_64";
        let child = Command::new(program)
            .args(["-S", "-display", "none", "-nodefaults", "-smp", "2"])
            .args(["-m", &format!("{}k", size >> 10), "-qmp"])
            .arg(format!("unix:{socket},server=on,wait=off"))
            .args(memory)
            .stdin(Stdio::null())
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(e) => {
                livedump_skip::skipped(format_args!("{program}: {e}"));
                return None;
            }
        };
        let mut guest = Self { case, child };
        let end = Instant::now() + Duration::from_secs(60);
        while !guest.case.path("qmp").exists() {
            assert!(guest.child.try_wait().unwrap().is_none());
            assert!(Instant::now() < end, "no socket");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::fs::create_dir(guest.case.path("crash")).unwrap();
        Some(guest)
    }

    fn crash(&self, name: &str) -> PathBuf {
        self.case.path("crash").join(name)
    }

    /// The tool, with this machine and its kernel.
    fn tool(&self, args: &[&str]) -> Run {
        let machine = format!("qemu:{}", self.case.text("qmp"));
        let kernel = self.case.text("kernel");
        let (command, rest) = args.split_first().unwrap();
        let given = [command, "--machine", &machine, "-k", &kernel];
        run(given.iter().chain(rest).map(|arg| (*arg).to_owned()))
    }

    fn says(&self, command: &str, file: &str, exit: i32) -> String {
        let kernel = self.case.text("kernel");
        let text =
            run([command, "-k", &kernel, file]).expect(exit).text().to_owned();
        text.replace(file, "FILE")
    }
}

#[test]
fn a_guest_is_dumped_from_outside() {
    for by_file in [false, true] {
        let Some(guest) = Guest::start(by_file) else { return };
        let crash = guest.case.text("crash");
        let doctor =
            guest.tool(&["doctor", &crash]).expect(0).text().to_owned();
        for told in ["QEMU answers", "FreeBSD 15.1", "of memory"] {
            assert!(doctor.contains(told), "{doctor}");
        }
        assert_eq!(doctor.contains("is copied"), by_file, "{doctor}");
        let estimate = guest.tool(&["estimate", "--json", &crash]).expect(0);
        let it = guest.tool(&["capture", "--json", &crash]).expect(0);
        let stderr = it.stderr.clone();
        assert!(stderr.contains("taken from outside"), "{stderr}");
        let json = it.json();
        let (pages, instant) = (&json["pages"], &json["instant"]);
        assert_eq!(estimate.json()["pages"], *pages);
        assert_eq!(instant["pages"], *pages);
        assert_eq!(instant["outside"], true);
        assert_eq!(
            (&json["verdict"], &json["lists"]),
            (&"sound".into(), &true.into())
        );
        let info = std::fs::read_to_string(guest.crash("info.0")).unwrap();
        assert!(info.contains("(taken from outside"), "{info}");
        let file = guest.crash("livecore.0");
        let file = file.to_str().unwrap();
        let info = run(["info", file]).expect(0).text().to_owned();
        assert!(info.contains("taken from outside"), "{info}");
        // What the model's own dump says.
        let model = guest.case.text("dumps/livecore.0");
        for (command, exit) in [("ps", 0), ("deadlock", 1), ("dmesg", 0)] {
            assert_eq!(
                guest.says(command, file, exit),
                guest.says(command, &model, exit),
                "{command}"
            );
        }
        let verify = guest.says("verify", file, 0);
        assert!(verify.contains("FILE: sound"), "{verify}");
        let live =
            guest.tool(&["deadlock", "--live"]).expect(1).text().to_owned();
        assert!(live.contains("2 threads in a cycle"), "{live}");
        let every = "watch --every 1s --keep 5 --count 2 -Z";
        let every: Vec<_> = every.split(" ").chain([crash.as_str()]).collect();
        guest.tool(&every).expect(0);
        assert!(guest.crash("livecore.2.zst").exists());
    }
}

#[test]
fn another_kernel_than_the_guests_is_refused() {
    let Some(guest) = Guest::start(false) else { return };
    let other = Case::new(&format!("{TWO}release 15.0-RELEASE\n"));
    let machine = format!("qemu:{}", guest.case.text("qmp"));
    let crash = guest.case.text("crash");
    let kernel = other.text("kernel");
    let named = ["-k", &kernel, &crash];
    for (args, told) in [
        (&named[..], "is not in its memory"),
        (&[&crash], "name its kernel with -k"),
    ] {
        let command = ["capture", "--machine", &machine];
        let all = command.into_iter().chain(args.iter().copied());
        let it = run(all).expect(2);
        assert!(it.stderr.contains(told), "{}", it.stderr);
        let doctor = ["doctor", "--machine", &machine];
        let all = doctor.into_iter().chain(args.iter().copied());
        let text = run(all).expect(1).text().to_owned();
        assert!(text.contains("FAIL     kernel"), "{text}");
    }
    let none = std::fs::read_dir(&crash).unwrap();
    assert!(none.into_iter().all(|file| {
        !file.unwrap().file_name().to_string_lossy().starts_with("livecore")
    }));
}
