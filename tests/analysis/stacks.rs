// SPDX-License-Identifier: BSD-2-Clause
//! `bt`: registers from where they are, and calls up to the end.

use super::{Case, TWO};

fn functions(json: &serde_json::Value) -> Vec<String> {
    let frames = json["frames"].as_array().unwrap();
    let name = |f: &serde_json::Value| f["function"].as_str().map(String::from);
    frames.iter().map(|f| name(f).unwrap_or_default()).collect()
}

#[test]
fn a_sleepers_calls_are_those_of_its_last_switch() {
    for (machine, release, types) in [
        ("amd64", "12.1", "none"),
        ("amd64", "15.1", "dwarf"),
        ("arm64", "13.2", "none"),
        ("arm64", "13.2", "ctf"),
        ("arm64", "15.1", "none"),
        ("arm64", "15.1", "dwarf"),
    ] {
        let case = Case::new(&format!(
            "machine {machine}\nrelease {release}-RELEASE\n\
             types {types}\n{TWO}"
        ));
        let bt = case.run("bt", &["--json", "100200"]).expect(0).json();
        assert_eq!(bt["registers"], "pcb", "{machine} {release}");
        let names = functions(&bt);
        let inner = ["sched_switch", "mi_switch", "sleepq_switch"];
        assert_eq!(names[..3], inner, "{machine} {release} {types}");
        assert_eq!(bt["broken"], serde_json::Value::Null);
        let bt = case.run("bt", &["--json", "100670"]).expect(0).json();
        assert_eq!(bt["registers"], "dumppcb");
        assert_eq!(functions(&bt)[0], "dump_savectx");
    }
}

#[test]
fn a_running_thread_has_stale_registers_and_that_is_said() {
    let case = Case::new("size 16M\ncpus 3");
    let bt = case.run("bt", &["100004"]).expect(3);
    assert!(bt.text().contains("was running on CPU 1"), "{}", bt.text());
    // Its CPU was stopped, as a panic does it: the registers are saved.
    let stopped = case.machine.symbol("stopped_cpus").unwrap().0;
    case.poke(stopped, &[2]);
    let bt = case.run("bt", &["--json", "100004"]);
    assert_eq!(bt.json()["registers"], "stoppcbs");
}

#[test]
fn a_stack_that_breaks_off_is_shown_up_to_there() {
    let case = Case::new(TWO);
    let bt = case.run("bt", &["--json", "100200"]).expect(0).json();
    let fp = bt["fp"].as_str().unwrap().trim_start_matches("0x");
    let fp = u64::from_str_radix(fp, 16).unwrap();
    for (next, word) in [
        (fp, "not above it"),
        (fp - 64, "not above it"),
        (fp + 0x10_0000, "not on the stack"),
        (fp + 65, "not on the stack"),
    ] {
        case.poke64(fp, next);
        let bt = case.run("bt", &["--json", "100200"]).expect(3);
        let json = bt.json();
        assert_eq!(functions(&json).len(), 2);
        let broken = json["broken"].as_str().unwrap();
        assert!(broken.contains(word), "{broken}");
    }
}

#[test]
fn no_such_thread_is_an_error() {
    let case = Case::new(TWO);
    let said = case.run("bt", &["4711"]).expect(2).stderr;
    assert!(said.contains("4711"), "{said}");
    let said = case.run("bt", &[&case.path("kernel.0")]).expect(2).stderr;
    assert!(said.contains("name the kernel with -k"), "{said}");
}

#[test]
fn the_stacks_of_a_process_are_those_of_its_threads() {
    let case = Case::new(TWO);
    let text = case.run("bt", &["200"]).expect(0).text().to_string();
    let heads: Vec<_> =
        text.lines().filter(|l| l.starts_with("thread ")).collect();
    assert_eq!(heads.len(), 2, "{text}");
    assert!(heads[0].starts_with("thread 100200 "), "{text}");
    assert!(heads[1].starts_with("thread 100201 "), "{text}");
    let all = case.run("bt", &["200", "--json"]).expect(0).json();
    let one = case.run("bt", &["100200", "--json"]).expect(0).json();
    assert_eq!(all["threads"][0]["frames"], one["frames"]);
    assert_eq!(all["threads"].as_array().unwrap().len(), 2);
    assert_eq!(all["verdict"], "sound");
}

#[test]
fn the_stacks_of_all_threads_are_in_the_order_of_ps() {
    let case = Case::new(TWO);
    let bt = case.run("bt", &["--all", "--json"]);
    let ps = case.run("ps", &["--json"]).json();
    let tid = |t: &serde_json::Value| t["tid"].as_i64().unwrap();
    let processes = ps["processes"].as_array().unwrap();
    let threads = processes.iter().flat_map(|p| p["threads"].as_array());
    let want: Vec<_> = threads.flatten().map(tid).collect();
    let found = bt.json();
    let found = found["threads"].as_array().unwrap();
    assert_eq!(found.iter().map(tid).collect::<Vec<_>>(), want);
    // Not both, and not neither.
    assert!(!case.run("bt", &["-a", "100200"]).expect(2).stderr.is_empty());
    assert!(!case.run("bt", &[]).expect(2).stderr.is_empty());
}
