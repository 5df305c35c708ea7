// SPDX-License-Identifier: BSD-2-Clause
//! What cannot be told is not told as if it were: torn lists, locks that
//! cannot be read, holders that are not recorded. In text, JSON, graphs and
//! exit status alike.

use super::{Case, TWO};

const CALM: &str = "size 16M\nprocess 843 livedump\n\
    thread 100670 livedump run 0\nprocess 200 ab\nprocess 201 cd\n\
    lock m mtx owner 100200\nlock alpha sx owner 100200\n\
    thread 100200 one sleep select\nthread 100201 two wait alpha\n\
    thread 100202 three wait m\n";

/// That every output says that it cannot be told, for this reason.
#[track_caller]
fn undetermined(case: &Case, why: &str) {
    let json = case.deadlock(3);
    assert_eq!(json["verdict"], "undetermined");
    assert_eq!(json["deadlocked"], serde_json::Value::Null);
    let reasons = json["reasons"].to_string();
    assert!(reasons.contains(why), "{reasons}");
    let text = case.run("deadlock", &[]).expect(3);
    assert!(text.text().contains("verdict: undetermined\n"), "{text:?}");
    for graph in ["--dot", "--svg"] {
        let drawn = case.run("deadlock", &[graph, "-"]).expect(3);
        assert!(drawn.text().contains("verdict: undetermined"), "{drawn:?}");
    }
}

#[test]
fn a_list_of_processes_that_is_torn_is_undetermined() {
    let case = Case::new(CALM);
    assert_eq!(case.deadlock(0)["verdict"], "none");
    let allproc = case.machine.symbol("allproc").unwrap().0;
    let dump = case.dir.judge("livecore.0");
    let first = dump.read64(allproc).unwrap();
    // To nowhere, to its own start, and to its end after the first.
    for (next, why) in [
        (0x0123_4567_89ab_cdef, "cannot be read"),
        (first, "has a cycle"),
        (0, "process 0 is missing"),
    ] {
        case.poke64(first, next);
        undetermined(&case, why);
        let ps = case.run("ps", &["--json"]).expect(3);
        assert!(ps.stderr.contains(why), "{}", ps.stderr);
        assert_eq!(ps.json()["verdict"], "undetermined");
    }
    case.poke64(allproc, 0);
    undetermined(&case, "allproc is empty");
    let ps = case.run("ps", &[]).expect(3).stderr;
    assert!(ps.contains("the kernel is from another build"), "{ps}");
}

/// C: `exit1`: off allproc, with a lock of its own that others want.
#[test]
fn a_thread_of_a_process_that_exits_is_known() {
    let case = Case::new(&format!(
        "{CALM}lock \"process lock\" mtx owner 100300\n\
         thread 100203 parent wait \"process lock\"\n\
         process 300 exits zombie\nthread 100300 exits runq\n"
    ));
    let report = case.deadlock(0);
    assert_eq!(report["verdict"], "none");
    let waits = report["waits"].as_array().unwrap();
    let wait = waits.iter().find(|w| w["tid"] == 100_203).unwrap();
    assert_eq!(wait["holder"]["tid"], 100_300);
    let ps = case.run("ps", &["-t"]).expect(0);
    assert!(ps.text().contains(" 100300 "), "{}", ps.text());
    // Children that lead nowhere say nothing of it.
    let dump = case.dir.judge("livecore.0");
    let exits = dump.read64(case.thread(100_300) + 8).unwrap();
    // p_sibling.le_prev: the p_children of its parent.
    let first = dump.read64(exits + 248).unwrap();
    assert_eq!(dump.read64(first), Ok(exits));
    case.poke64(first, 0x0123_4567_89ab_cdef);
    undetermined(&case, "is not a known thread");
}

#[test]
fn a_thread_of_another_process_ends_what_is_certain() {
    let case = Case::new(CALM);
    // td_proc.
    case.poke64(case.thread(100_201) + 8, case.thread(100_201));
    undetermined(&case, "it belongs to another process");
    case.run("ps", &[]).expect(3);
    case.run("bt", &["100200"]).expect(3);
}

#[test]
fn a_lock_that_cannot_be_read_is_undetermined() {
    let case = Case::new(CALM);
    let td = case.thread(100_202);
    let dump = case.dir.judge("livecore.0");
    // td_blocked: no turnstile is there.
    let blocked = (0..4096).step_by(8).map(|n| td + n).find(|&at| {
        let turnstile = dump.read64(at).unwrap_or(0);
        dump.read64(turnstile.wrapping_add(120)) == Ok(case.lock("m"))
    });
    case.poke64(blocked.unwrap(), 0xffff_f800_0000_1000);
    undetermined(&case, "its turnstile");
}

#[test]
fn a_found_deadlock_stays_one_where_lists_are_torn() {
    let case = Case::new(TWO);
    let allproc = case.machine.symbol("allproc").unwrap().0;
    let dump = case.dir.judge("livecore.0");
    let mut last = dump.read64(allproc).unwrap();
    while dump.read64(last).unwrap() != 0 {
        last = dump.read64(last).unwrap();
    }
    case.poke64(last, 0x0123_4567_89ab_cdef);
    let found = case.deadlock(1);
    assert_eq!(found["verdict"], "deadlock");
    assert_eq!(found["deadlocked"], true);
    assert_ne!(found["reasons"], serde_json::json!([]));
}

#[test]
fn names_stay_in_their_row() {
    let case = Case::new(
        "size 16M\nprocess 843 livedump\nthread 100670 livedump run 0\n\
         process 200 aaaaaaaaaaaaaaaaa\nlock x sx owner 100202\n\
         thread 100201 bbbbbbbbbbbbbbbbb wait x\n\
         thread 100202 two runq\n",
    );
    let mut file = case.dir.read("livecore.0");
    for (from, to) in [
        (b"aaaaaaaaaaaaaaaaa", b"x\n   666      1 x"),
        (b"bbbbbbbbbbbbbbbbb", b"y\t9\x1b[2J\r\n667 z zz"),
    ] {
        let at = file.windows(17).position(|w| w == from);
        let mut at = at.unwrap();
        loop {
            file[at..at + 17].copy_from_slice(to);
            match file.windows(17).position(|w| w == from) {
                Some(next) => at = next,
                None => break,
            }
        }
    }
    std::fs::write(case.dir.file("livecore.0"), file).unwrap();
    for (command, rest) in [
        ("ps", &[][..]),
        ("ps", &["-t"]),
        ("bt", &["100201"]),
        ("deadlock", &[]),
        ("deadlock", &["--dot", "-"]),
        ("deadlock", &["--svg", "-"]),
    ] {
        let run = case.run(command, rest).expect(0);
        let text = run.text();
        let first = |line: &str| {
            line.split_whitespace().next().unwrap_or("").to_string()
        };
        for line in text.lines() {
            assert!(!first(line).starts_with("66"), "{command}: {text}");
        }
        let bad = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(bad), "{command}: {text:?}");
    }
    let ps = case.run("ps", &[]).expect(0);
    assert!(ps.text().contains("x\\x0a   666      1 x\n"), "{}", ps.text());
}
