// SPDX-License-Identifier: BSD-2-Clause
//! `stacks`: threads with equal stacks are one group, others are not, and what
//! cannot be read is said.

use super::Case;
use serde_json::Value;
use std::collections::BTreeSet;

/// Of struct thread, in 15.1.
const TD_SLPTICK: u64 = 408;
const TICKS: u32 = 0x4000;

/// Three threads sleep alike, two are blocked, and two processes' threads
/// wait for the same in another way.
const MIXED: &str = "size 16M\nprocess 843 livedump\n\
    thread 100670 livedump run 0\nprocess 200 nginx\nlock m mtx owner 100203\n\
    thread 100200 nginx sleep kqread\nthread 100201 worker sleep kqread\n\
    thread 100202 worker sleep select\nthread 100203 owner runq\n\
    process 300 php\nthread 100300 php wait m\nthread 100301 pool wait m\n";

/// A case in which 100202 has slept for 16 seconds, and 100200 for 1.
fn case() -> Case {
    let case = Case::new(MIXED);
    for (tid, ticks) in [(100_200, 1000), (100_202, 16_000)] {
        let at = case.thread(tid) + TD_SLPTICK;
        case.poke(at, &(TICKS - ticks).to_le_bytes());
    }
    case
}

fn groups(json: &Value) -> Vec<(String, Vec<i64>)> {
    let all = json["groups"].as_array().unwrap();
    let of = |g: &Value| {
        let threads = g["threads"].as_array().unwrap();
        let tids = threads.iter().map(|t| t["tid"].as_i64().unwrap());
        assert_eq!(g["count"], threads.len());
        (g["state"].as_str().unwrap().to_string(), tids.collect())
    };
    all.iter().map(of).collect()
}

fn functions(group: &Value) -> Vec<&str> {
    let all = group["stack"].as_array().unwrap();
    all.iter().map(|f| f["function"].as_str().unwrap()).collect()
}

#[test]
fn threads_with_equal_stacks_are_one_group_the_longest_wait_first() {
    let json = case().run("stacks", &["--json"]).expect(0).json();
    let sleep = |tids: &[i64]| ("sleep".to_string(), tids.to_vec());
    let all = groups(&json);
    // Init sleeps in the same functions.
    assert_eq!(all[0], sleep(&[100_202, 100_200, 100_201, 100_002]));
    assert_eq!(all[1], ("lock".to_string(), vec![100_300, 100_301]));
    assert_eq!(json["groups"][0]["seconds"], 16.0);
    assert_eq!(json["groups"][1]["seconds"], 15.0);
    let messages = &json["groups"][0]["wait_messages"];
    assert_eq!(*messages, serde_json::json!(["kqread", "select", "wait"]));
    let threads = &json["groups"][0]["threads"];
    assert_eq!(threads[1]["wait_message"], "kqread");
    assert_eq!(threads[1]["seconds"], 1.0);
    assert_eq!(threads[2]["seconds"], Value::Null);
    assert_eq!(
        functions(&json["groups"][1])[2..4],
        ["turnstile_wait", "__mtx_lock_sleep"]
    );
    let count: usize = all.iter().map(|g| g.1.len()).sum();
    assert_eq!(json["threads"], count);
    assert_eq!(json["matched"], count);
    assert_eq!(json["verdict"], "sound");
    // No stack twice.
    let all = json["groups"].as_array().unwrap();
    let keys: BTreeSet<_> =
        all.iter().map(|g| (g["state"].to_string(), functions(g))).collect();
    assert_eq!(keys.len(), all.len());
}

#[test]
fn the_stack_is_that_of_bt() {
    let case = case();
    let json = case.run("stacks", &["--json"]).expect(0).json();
    for group in json["groups"].as_array().unwrap() {
        let tid = group["threads"][0]["tid"].to_string();
        let bt = case.run("bt", &["--json", &tid]).expect(0).json();
        let frames = bt["frames"].as_array().unwrap();
        let name = |f: &Value| f["function"].as_str().unwrap().to_string();
        let names: Vec<_> = frames.iter().map(name).collect();
        assert_eq!(functions(group), names);
        assert_eq!(group["state"], bt["state"]);
    }
}

#[test]
fn the_keys_of_the_json_are_those_of_the_manual() {
    let keys = |v: &Value| -> Vec<String> {
        v.as_object().unwrap().keys().cloned().collect()
    };
    let json = case().run("stacks", &["--json"]).expect(0).json();
    let sorted = |text: &str| {
        let mut all: Vec<_> = text.split(' ').map(String::from).collect();
        all.sort();
        all
    };
    let mut found = keys(&json);
    found.sort();
    assert_eq!(
        found,
        sorted(
            "file kernel verdict reason threads matched groups missing \
             problems changed"
        )
    );
    let group = &json["groups"][0];
    for (value, names) in [
        (group, "count state wait_messages seconds stack broken threads"),
        (&group["stack"][0], "function module offset pc"),
        (&group["threads"][0], "tid name pid command wait_message seconds"),
    ] {
        let mut found = keys(value);
        found.sort();
        assert_eq!(found, sorted(names));
    }
}

#[test]
fn filters_leave_what_is_asked_for() {
    let case = case();
    let tids = |args: &[&str]| {
        let run = case.run("stacks", &[args, &["--json"]].concat()).expect(0);
        let all = groups(&run.json()).into_iter().flat_map(|g| g.1);
        all.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(tids(&["-s", "lock"]), [100_300, 100_301]);
    assert_eq!(tids(&["-w", "kqread"]), [100_200, 100_201]);
    // The name of a lock.
    assert_eq!(tids(&["-w", "m"]), [100_300, 100_301]);
    assert_eq!(tids(&["-c", "turnstile_wait"]), [100_300, 100_301]);
    assert_eq!(tids(&["-c", "_sleep", "-w", "select"]), [100_202]);
    assert_eq!(tids(&["--state", "runq"]), [100_203]);
    let text = case.run("stacks", &["-s", "lock"]).expect(0);
    let end = "2 of 9 threads, 1 group\n";
    assert!(text.text().ends_with(end), "{}", text.text());
    let first = "2 threads, state lock, longest wait 15.0 s on lock \"m\"\n";
    assert!(text.text().starts_with(first), "{}", text.text());
}

#[test]
fn modules_are_looked_for_by_their_name() {
    let case = case();
    // The kernel linker's only file.
    let dump = case.dir.judge("livecore.0");
    let file = case.machine.symbol("linker_kernel_file").unwrap().0;
    let file = dump.read64(file).unwrap();
    let name = dump.read64(file + 40).unwrap();
    case.poke(name, b"zfs.ko");
    for module in ["zfs", "zfs.ko"] {
        let run = case.run("stacks", &["-m", module, "--json"]).expect(0);
        assert_eq!(run.json()["matched"], 9);
        let frame = &run.json()["groups"][0]["stack"][0];
        assert_eq!(frame["module"], "zfs.ko");
    }
    case.run("stacks", &["-m", "zf"]).expect(1);
}

#[test]
fn that_nothing_matches_is_said_and_is_one() {
    let case = case();
    for args in [
        ["-c", "no_such_function"],
        ["-m", "zfs"],
        ["-w", "x"],
        ["-s", "iwait"],
    ] {
        let run = case.run("stacks", &args).expect(1);
        assert!(run.stderr.contains("no thread matches"), "{}", run.stderr);
        let json = case.run("stacks", &[&args[..], &["--json"]].concat());
        assert_eq!(json.expect(1).json()["groups"], serde_json::json!([]));
    }
    let run = case.run("stacks", &["-s", "asleep"]).expect(2);
    assert!(run.stderr.contains("asleep"), "{}", run.stderr);
}

#[test]
fn stacks_that_break_off_are_a_group_for_their_reason() {
    let case = case();
    for (n, tid) in [100_200, 100_201].into_iter().enumerate() {
        let bt = case.run("bt", &["--json", &tid.to_string()]).json();
        let fp = bt["fp"].as_str().unwrap().trim_start_matches("0x");
        let fp = u64::from_str_radix(fp, 16).unwrap();
        case.poke64(fp, fp + 0x10_0000 + n as u64 * 0x1000);
    }
    let run = case.run("stacks", &["--json"]).expect(3);
    assert!(run.stderr.contains("2 stacks are incomplete: "), "{}", run.stderr);
    let json = run.json();
    assert_eq!(json["verdict"], "undetermined");
    let all = json["groups"].as_array().unwrap();
    let broken: Vec<_> =
        all.iter().filter(|g| !g["broken"].is_null()).collect();
    assert_eq!(broken.len(), 1, "{json}");
    assert_eq!(broken[0]["count"], 2);
    assert_eq!(broken[0]["stack"], serde_json::json!([]));
    let why = broken[0]["broken"].as_str().unwrap();
    assert_eq!(why, "the frame at 0x... is not on the stack");
    let text = case.run("stacks", &[]).expect(3);
    assert!(text.text().contains("  incomplete: the frame"), "{}", text.text());
    // What is known of them is found, and the others may be anywhere.
    let run = case.run("stacks", &["-c", "sched_switch", "--json"]).expect(3);
    let found = run.json().to_string();
    assert!(found.contains("100200"), "{found}");
    case.run("stacks", &["-c", "no_such_function"]).expect(3);
    // Where they are not meant, all is known.
    case.run("stacks", &["-s", "lock"]).expect(0);
    case.run("stacks", &["-s", "iwait"]).expect(1);
}

#[test]
fn threads_that_were_running_are_a_group_of_their_own() {
    let case = Case::new("size 16M\ncpus 3");
    let json = case.run("stacks", &["--json"]).expect(3).json();
    let why = "its registers at the time of the dump are not recorded";
    let all = json["groups"].as_array().unwrap();
    let stale: Vec<_> = all.iter().filter(|g| g["broken"] == why).collect();
    assert_eq!(stale.len(), 1, "{json}");
    assert_eq!(stale[0]["state"], "run");
    assert_eq!(stale[0]["count"], 2);
    // Their frames are of another moment.
    let run = case.run("stacks", &["-c", "cpu_idle", "--json"]).expect(3);
    assert_eq!(run.json()["matched"], 0);
}

#[test]
fn without_types_there_are_stacks_but_no_states() {
    let case = Case::new(&format!("{MIXED}types none\n"));
    let run = case.run("stacks", &["--json"]).expect(0);
    assert!(run.stderr.contains("thread.td_state"), "{}", run.stderr);
    let json = run.json();
    assert!(json["missing"].to_string().contains("td_wmesg"), "{json}");
    assert_eq!(json["groups"][0]["state"], "unknown");
    case.run("stacks", &["-c", "turnstile_wait"]).expect(0);
    let run = case.run("stacks", &["-s", "sleep"]).expect(2);
    assert!(run.stderr.contains("--debug"), "{}", run.stderr);
}
