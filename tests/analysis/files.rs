// SPDX-License-Identifier: BSD-2-Clause
//! Which kernel is the dump's, and which debug file the kernel's: one lookup
//! for all commands, and no file of another build.

use super::{Case, TWO};
use crate::tool::run;
use livedump_tests::elf::sections::{
    Section, build_id, debug_link, with_sections,
};

/// No deadlock, and none in doubt.
const CALM: &str = "size 16M\nprocess 843 livedump\n\
    thread 100670 livedump run 0\nprocess 200 ab\n\
    lock alpha sx owner 100200\nthread 100200 one sleep select\n\
    thread 100201 two wait alpha\n";

impl Case {
    fn kernel(&self) -> Vec<u8> {
        self.dir.read("kernel.0")
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.dir.file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Runs a command without -k.
    fn alone(&self, command: &str, rest: &[&str]) -> crate::tool::Run {
        let file = self.path("livecore.0");
        run([command, &file].iter().chain(rest))
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &b in bytes {
        crc ^= u32::from(b);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[test]
fn a_debug_file_of_another_build_is_left_out_and_the_deadlock_found() {
    let case = Case::new(&format!("{TWO}types ctf\n"));
    let stale = Case::new(&format!("{TWO}types dwarf\noffset td_wchan 1800\n"));
    case.put("kernel.0.debug", &stale.kernel());
    let found = case.alone("deadlock", &[]).expect(1);
    let said = &found.stderr;
    assert!(said.contains("kernel.0.debug is from another kernel"), "{said}");
    assert!(said.contains("td_wchan at 1800"), "{said}");
    // One that was named is an error.
    let debug = case.path("kernel.0.debug");
    case.alone("deadlock", &["--debug", &debug]).expect(2);
}

#[test]
fn that_nothing_was_found_with_an_unproven_debug_file_is_undetermined() {
    let case = Case::new(&format!("{CALM}types none\n"));
    let right = Case::new(&format!("{CALM}types dwarf\n"));
    let debug = right.kernel();
    case.put("kernel.0.debug", &debug);
    let found = case.alone("deadlock", &["--json"]).expect(3).json();
    assert_eq!(found["verdict"], "undetermined");
    let why = found["reasons"][0].as_str().unwrap();
    assert!(why.starts_with("cannot confirm that "), "{why}");
    // Its checksum, or a build-id in both, proves it.
    let kernel = case.kernel();
    let id = |b: u8| Section {
        kind: 7,
        ..Section::new(".note.gnu.build-id", build_id(&[b; 20]))
    };
    let link =
        |crc| Section::new(".gnu_debuglink", debug_link("kernel.0.debug", crc));
    let with = |section| with_sections(&kernel, &[section]);
    case.put("kernel.0", &with(link(crc32(&debug))));
    let found = case.alone("deadlock", &["--json"]).expect(0).json();
    assert_eq!(found["verdict"], "none");
    case.put("kernel.0", &with(id(1)));
    case.put("kernel.0.debug", &with_sections(&debug, &[id(1)]));
    case.alone("deadlock", &[]).expect(0);
    // Another one is left out, and then offsets are missing.
    case.put("kernel.0.debug", &with_sections(&debug, &[id(2)]));
    let said = case.alone("deadlock", &[]).expect(2).stderr;
    assert!(said.contains("its build-id is 0202"), "{said}");
    case.put("kernel.0", &with(link(crc32(&debug) ^ 1)));
    let said = case.alone("deadlock", &[]).expect(2).stderr;
    assert!(said.contains("CRC-32"), "{said}");
}

#[test]
fn the_file_that_the_debuglink_names_is_found() {
    let case = Case::new(&format!("{TWO}types none\n"));
    let right = Case::new(&format!("{TWO}types dwarf\n"));
    let debug = right.kernel();
    let crc = crc32(&debug);
    for (name, place) in [
        ("kernel.debug", "kernel.debug"),
        ("other.debug", "other.debug"),
        ("other.debug", ".debug/other.debug"),
    ] {
        let link = Section::new(".gnu_debuglink", debug_link(name, crc));
        let kernel = with_sections(&case.kernel(), &[link]);
        case.put("kernel.0", &kernel);
        case.alone("deadlock", &[]).expect(2);
        case.put(place, &debug);
        case.alone("deadlock", &[]).expect(1);
        std::fs::remove_file(case.dir.file(place)).unwrap();
    }
}

#[test]
fn a_kernel_of_the_same_version_and_another_build_is_refused() {
    let case = Case::new(CALM);
    // The same version at the same place, other constants.
    let other = Case::new(&format!("{CALM}offset td_tid 1300\n"));
    let kernel = other.path("kernel.0");
    let file = case.path("livecore.0");
    for command in ["ps", "deadlock"] {
        let said = run([command, "-k", &kernel, &file]).expect(2).stderr;
        assert!(said.contains("is not the dump's"), "{said}");
        assert!(said.contains("thread_off_td_tid"), "{said}");
    }
    // The build-id at its place in the dump's memory.
    // The last bytes of a page that are not used.
    let at = (case.machine.symbol("version").unwrap().0 | 0xfff) - 0x80;
    let note = |b: u8| Section {
        kind: 7,
        flags: 2,
        address: at,
        ..Section::new(".note.gnu.build-id", build_id(&[b; 20]))
    };
    case.poke(at, &build_id(&[7; 20]));
    let kernel = case.kernel();
    case.put("kernel.0", &with_sections(&kernel, &[note(7)]));
    case.alone("ps", &[]).expect(0);
    case.put("kernel.0", &with_sections(&kernel, &[note(8)]));
    let said = case.alone("ps", &[]).expect(2).stderr;
    assert!(said.contains("its build-id is 0808"), "{said}");
}

#[test]
fn every_command_finds_the_kernel_beside_the_dump() {
    let case = Case::new(&format!("{CALM}types ctf\n"));
    case.alone("ps", &[]).expect(0);
    case.alone("bt", &["100200"]).expect(0);
    case.alone("deadlock", &[]).expect(0);
    case.alone("read", &["hz"]).expect(0);
    let kernel = case.path("kernel.0");
    let json = case.alone("dmesg", &["--json"]).expect(0).json();
    assert_eq!(json["source"], "msgbufp");
    let json = case.alone("info", &["--json"]).expect(0).json();
    assert_eq!(json["kernel"], kernel.as_str());
    let json = case.alone("verify", &["--json"]).json();
    assert_eq!(json["kernel"], kernel.as_str());
    // As netdumpd(8) names dumps.
    for (dump, kernel) in
        [("vmcore.web.3", "kernel.web.3"), ("vmcore.db.example.4", "kernel.4")]
    {
        let (dump, kernel) = (case.dir.file(dump), case.dir.file(kernel));
        std::fs::copy(case.dir.file("livecore.0"), &dump).unwrap();
        std::fs::copy(case.dir.file("kernel.0"), &kernel).unwrap();
        run(["ps".as_ref(), dump.as_os_str()]).expect(0);
    }
}

#[test]
fn a_capture_that_keeps_its_kernel_checks_the_dump_with_it() {
    let dir = crate::tool::CrashDir::new();
    let machine = dir.recipe("size 16M");
    let taken = dir.capture(&machine, &["-q", "--json", "--keep-kernel"]);
    let json = taken.expect(0).json();
    assert_eq!(json["lists"], true, "{json}");
    assert_eq!(json["unchecked"], serde_json::json!([]));
}

#[test]
fn errors_name_what_to_do() {
    let case = Case::new(CALM);
    let (dump, kernel) = (case.path("livecore.0"), case.path("kernel.0"));
    let said = |args: &[&str]| run(args).expect(2).stderr;
    case.put("text", "just some text\n".as_bytes());
    let text = said(&["ps", &case.path("text")]);
    assert!(text.contains("text is not a dump: "), "{text}");
    let swapped = said(&["ps", "-k", &dump, &kernel]);
    assert!(swapped.contains("a kernel is given with -k"), "{swapped}");
    let twice = said(&["ps", "-k", &dump, &dump]);
    assert!(twice.contains("not a kernel, but a dump"), "{twice}");
    std::fs::rename(&dump, case.dir.file("livecore.0.zst")).unwrap();
    let gone = said(&["ps", &dump]);
    assert!(gone.contains("livecore.0.zst does"), "{gone}");
}
