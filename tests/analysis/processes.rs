// SPDX-License-Identifier: BSD-2-Clause
//! `ps`: parents, users, waits, and what is left of them in a damaged dump.

use super::Case;
use serde_json::{Value, json};

/// Of struct proc and struct thread, in 15.1.
const P_UCRED: u64 = 64;
const P_PPTR: u64 = 232;
const TD_PROC: u64 = 8;
const TD_SLPTICK: u64 = 408;
const TICKS: u32 = 0x4000;

const SOME: &str = "size 16M\nprocess 843 livedump\n\
    thread 100670 livedump run 0\nprocess 200 zsh uid 1001\n\
    lock proctree sx owner 100300\nthread 100200 zsh sleep ttyin\n\
    process 300 a_process_of_19_by uid 65534\n\
    thread 100300 a_thread_of_19_byte runq\n\
    thread 100301 a_thread_of_19_byt2 wait proctree\n\
    thread 100302 short sleep select\n";

impl Case {
    fn ps(&self, args: &[&str]) -> Value {
        self.run("ps", &[args, &["--json"]].concat()).expect(0).json()
    }

    /// Where the process of a thread is.
    fn process(&self, tid: i32) -> u64 {
        let dump = self.dir.judge("livecore.0");
        dump.read64(self.thread(tid) + TD_PROC).unwrap()
    }
}

fn of(json: &Value, pid: i64) -> &Value {
    let all = json["processes"].as_array().unwrap();
    all.iter().find(|p| p["pid"] == pid).unwrap()
}

fn pids(json: &Value) -> Vec<i64> {
    let all = json["processes"].as_array().unwrap();
    all.iter().map(|p| p["pid"].as_i64().unwrap()).collect()
}

#[test]
fn parents_users_and_waits_are_shown_in_every_release() {
    for machine in ["amd64", "arm64"] {
        for release in ["12.1", "13.2", "14.2", "15.1"] {
            let case = Case::new(&format!(
                "machine {machine}\nrelease {release}-RELEASE\n{SOME}"
            ));
            let json = case.ps(&[]);
            let zsh = of(&json, 200);
            assert_eq!(zsh["ppid"], 1, "{machine} {release}");
            assert_eq!(zsh["uid"], 1001, "{machine} {release}");
            assert_eq!(of(&json, 300)["uid"], 65534);
            assert_eq!(of(&json, 0)["ppid"], 0);
            assert_eq!(of(&json, 1)["ppid"], 0);
            let waiting = &of(&json, 300)["threads"][1];
            assert_eq!(waiting["seconds"], 15.0, "{machine} {release}");
            assert_eq!(json["missing"], json!([]));
        }
    }
}

#[test]
fn what_is_not_known_is_null_and_a_dash() {
    let case = Case::new(&format!("{SOME}types none\n"));
    let run = case.run("ps", &["--json"]).expect(0);
    let json = run.json();
    let zsh = of(&json, 200);
    assert_eq!((&zsh["ppid"], &zsh["uid"]), (&Value::Null, &Value::Null));
    assert_eq!(zsh["threads"][0]["seconds"], Value::Null);
    let missing = json["missing"].to_string();
    for name in ["proc.p_pptr", "proc.p_ucred", "ucred.cr_uid"] {
        assert!(missing.contains(name), "{missing}");
    }
    let text = case.run("ps", &[]).expect(0);
    let line = "   200      -     -    1   - unknown   -                 - zsh";
    assert!(text.text().contains(line), "{}", text.text());
    case.run("ps", &["-s", "sleep"]).expect(2);
}

#[test]
fn pointers_that_lead_nowhere_are_not_followed() {
    let case = Case::new(SOME);
    let zsh = case.process(100_200);
    let long = case.process(100_300);
    for wrong in [1, 0xdead_0000, zsh + 8, u64::MAX, 0xffff_f800_ffff_f000] {
        case.poke64(zsh + P_PPTR, wrong);
        case.poke64(zsh + P_UCRED, wrong);
        let json = case.ps(&[]);
        assert_eq!(of(&json, 200)["ppid"], Value::Null, "{wrong:#x}");
        if wrong != zsh + 8 {
            assert_eq!(of(&json, 200)["uid"], Value::Null, "{wrong:#x}");
        }
    }
    // Each the other's parent, and no credential.
    case.poke64(zsh + P_PPTR, long);
    case.poke64(long + P_PPTR, zsh);
    case.poke64(long + P_UCRED, 0);
    let json = case.ps(&[]);
    assert_eq!(of(&json, 200)["ppid"], 300);
    assert_eq!(of(&json, 300)["ppid"], 200);
    assert_eq!(of(&json, 300)["uid"], Value::Null);
}

#[test]
fn a_wait_of_more_than_25_days_is_one() {
    let case = Case::new(SOME);
    let ticks = case.machine.symbol("ticks").unwrap().0;
    // 30 days with a hz of 1000: less than 0 as an int.
    case.poke(ticks, &(2_592_000_000u32).to_le_bytes());
    let slptick = case.thread(100_200) + TD_SLPTICK;
    case.poke(slptick, &1000u32.to_le_bytes());
    let json = case.ps(&[]);
    assert_eq!(of(&json, 200)["threads"][0]["seconds"], 2_591_999.0);
    let text = case.run("ps", &[]).expect(0);
    assert!(text.text().contains("ttyin           29d zsh"), "{}", text.text());
}

#[test]
fn lines_fit_a_terminal() {
    let case = Case::new(SOME);
    for args in [&[][..], &["-t"]] {
        let run = case.run("ps", args).expect(0);
        for line in run.text().lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
    let text = case.run("ps", &["-t"]).expect(0);
    let holder = "       held by thread 100300 \"a_thread_of_19_byte\" of";
    assert!(text.text().contains(holder), "{}", text.text());
}

#[test]
fn processes_are_sorted_and_selected() {
    let case = Case::new(SOME);
    let slptick = case.thread(100_200) + TD_SLPTICK;
    case.poke(slptick, &(TICKS - 16_000).to_le_bytes());
    assert_eq!(pids(&case.ps(&["--sort", "pid"])), [0, 1, 200, 300, 843]);
    assert_eq!(pids(&case.ps(&["--sort", "name"])), [300, 1, 0, 843, 200]);
    let by_time = case.ps(&["--sort", "time"]);
    assert_eq!(pids(&by_time)[0], 200);
    // Of one process, too.
    assert_eq!(of(&by_time, 300)["threads"][0]["tid"], 100_301);
    let text = case.run("ps", &["-t", "--sort", "time"]).expect(0);
    let tids: Vec<_> = text
        .text()
        .lines()
        .filter(|line| !line.starts_with("       "))
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(tids[..3], ["TID", "100200", "100301"]);

    assert_eq!(pids(&case.ps(&["-c", "zsh"])), [200]);
    let sleeping = case.ps(&["-s", "sleep", "-c", "a_process_of_19_by"]);
    let threads = sleeping["processes"][0]["threads"].as_array().unwrap();
    assert_eq!(threads.len(), 2);
    for args in [["-c", "zs"], ["-s", "iwait"]] {
        let run = case.run("ps", &args).expect(1);
        assert!(run.stderr.contains("no process matches"), "{}", run.stderr);
    }
    assert_eq!(case.run("ps", &["--sort", "size"]).status, Some(2));
    assert_eq!(case.run("ps", &["-s", "asleep"]).status, Some(2));
}
