// SPDX-License-Identifier: BSD-2-Clause
//! Answers that rest on pages which changed while the dump was written, and
//! answers that do not.

use super::{Case, TWO};
use livedump_tests::decoder::Dump;
use memdev::addr::Paddr;
use memdev::changes::{Header, Kind, Record};
use serde_json::Value;

impl Case {
    fn pa(&self, va: u64) -> u64 {
        let dump: Dump = self.dir.judge("livecore.0");
        dump.translate(va).unwrap() & !0xfff
    }

    /// Says that this page changed.
    fn changed(&self, pa: u64) {
        let kind = Kind::KernelMap;
        let record = Record { start: Paddr(pa), pages: 1, kind };
        let header = Header { records: 1, pages: 99, changed: [0, 1, 0] };
        let list = [&header.encode()[..], &record.encode()].concat();
        std::fs::write(self.dir.file("changed.0"), list).unwrap();
    }

    /// Whether a command warns, on standard error and for programs.
    #[track_caller]
    fn warns(&self, command: &[&str]) -> bool {
        let status = i32::from(command[0] == "deadlock");
        let rest = [&command[1..], &["--json"]].concat();
        let run = self.run(command[0], &rest).expect(status);
        let message = run.stderr.contains("read changed while the dump was");
        let json = run.json();
        assert!(json["changed"]["checked"].as_u64().unwrap() > 0, "{json}");
        assert_eq!(json["changed"]["pages"], u64::from(message), "{command:?}");
        message
    }
}

fn address(json: &Value, key: &str) -> u64 {
    let text = json[key].as_str().unwrap();
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

#[test]
fn answers_that_rest_on_changed_pages_say_so() {
    let case = Case::new(TWO);
    let all =
        [&["ps"][..], &["bt", "100200"], &["bt", "100201"], &["deadlock"]];
    for command in all {
        let rest = [&command[1..], &["--json"]].concat();
        let json = case.run(command[0], &rest).json();
        assert_eq!(json["changed"], Value::Null, "there is no list");
    }
    let stack = |tid| {
        let bt = case.run("bt", &["--json", tid]).expect(0).json();
        case.pa(address(&bt, "fp"))
    };
    let (one, two) = (stack("100200"), stack("100201"));
    let lock = case.pa(case.lock("alpha"));
    let idle = case.dir.judge("livecore.0");
    let idle = *idle.pas().last().unwrap();
    assert_ne!(one, two);
    for (page, want) in [
        (one, [false, true, false, true]),
        (two, [false, false, true, true]),
        (lock, [true, false, false, true]),
        (idle, [false; 4]),
    ] {
        case.changed(page);
        assert_eq!(all.map(|command| case.warns(command)), want, "{page:#x}");
    }
}

#[test]
fn a_list_that_is_none_is_said_and_passed_over() {
    let case = Case::new(TWO);
    std::fs::write(case.dir.file("changed.0"), "no list").unwrap();
    for (command, status) in [("ps", 0), ("deadlock", 1)] {
        let run = case.run(command, &["--json"]).expect(status);
        assert!(run.stderr.contains("not a list of changed pages"));
        assert_eq!(run.json()["changed"], Value::Null);
    }
}
