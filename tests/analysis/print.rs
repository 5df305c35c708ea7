// SPDX-License-Identifier: BSD-2-Clause
//! `print`, `symbols`, and expressions of `read`, on machines whose structures
//! are known, and on lists that mean harm.

use super::{Case, TWO};
use crate::tool::Run;
use serde_json::Value;

fn case(types: &str) -> Case {
    Case::new(&format!("{TWO}{MORE}types {types}\n"))
}

const MORE: &str = "process 300 c\nthread 100300 c sleep select\n\
    process 301 d\nthread 100301 d sleep select\n";

/// The list of processes, wherever its type is from.
const ALLPROC: &str = "*(struct proclist *)&allproc";

impl Case {
    fn print(&self, rest: &[&str]) -> Run {
        self.run("print", rest)
    }

    /// The only value of an expression.
    #[track_caller]
    fn value(&self, expression: &str) -> Value {
        let json = self.print(&["--json", expression]).expect(0).json();
        json["values"][0]["value"].clone()
    }

    /// Addresses of a list's elements.
    fn addresses(&self, head: &str, field: &str) -> Vec<u64> {
        let args = ["--json", "--list", field, "--member", FIRST, head];
        let json = self.print(&args).expect(0).json();
        let all = json["values"][0]["elements"].as_array().unwrap();
        all.iter().map(|e| number(&e["address"])).collect()
    }
}

const FIRST: &str = "p_pid";

fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap().trim_start_matches("0x");
    u64::from_str_radix(text, 16).unwrap()
}

#[test]
fn a_list_is_a_table_of_members_with_either_kind_of_types() {
    for types in ["dwarf", "ctf"] {
        let case = case(types);
        let args = ["--list", "p_list", "--member", "p_pid,p_comm", ALLPROC];
        let run = case.print(&args).expect(0);
        assert!(run.stderr.is_empty(), "{}", run.stderr);
        let mut lines = run.text().lines();
        let head: Vec<_> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(head, ["ADDRESS", "p_pid", "p_comm"]);
        let rows: Vec<Vec<_>> =
            lines.map(|l| l.split_whitespace().collect()).collect();
        for (pid, comm) in [("843", "\"livedump\""), ("200", "\"ab\"")] {
            assert!(rows.iter().any(|r| r[1..] == [pid, comm]), "{rows:?}");
        }
        let pids: Vec<_> =
            case.run("ps", &["--json"]).expect(0).json()["processes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| p["pid"].to_string())
                .collect();
        let mut found: Vec<_> = rows.iter().map(|r| r[1].to_string()).collect();
        let mut wanted: Vec<String> = pids;
        wanted.sort();
        found.sort();
        assert_eq!(wanted, found);
    }
}

#[test]
fn a_structure_is_printed_with_its_members() {
    let case = case("dwarf");
    let proc = case.addresses("allproc", "p_list")[0];
    let at = format!("{proc:#x}");
    let text = case.print(&["struct proc", &at]).expect(0);
    let text = text.text();
    assert!(text.starts_with(&format!("struct proc {at} = {{\n")), "{text}");
    assert!(text.contains("\n    p_list = {\n        le_next = 0x"), "{text}");
    assert!(text.contains(" <allproc>\n"), "{text}");
    assert!(text.contains("\n    p_comm = \""), "{text}");
    assert!(text.ends_with("}\n"), "{text}");
    // The same by other ways.
    let whole = case.value(&format!("*(struct proc *){at}"));
    assert_eq!(whole, case.value("*allproc.lh_first"));
    assert_eq!(whole["p_comm"], case.value("allproc.lh_first->p_comm"));
    assert_eq!(
        whole["p_comm"],
        case.value(&format!("((struct proc *){at})[0].p_comm"))
    );
    let pid = case.print(&["-x", "allproc.lh_first->p_pid"]).expect(0);
    let want = whole["p_pid"].as_u64().unwrap();
    let want = format!("allproc.lh_first->p_pid = {want:#x}\n");
    assert_eq!(pid.text(), want);
    assert_eq!(case.value("hz"), 1000);
    assert_eq!(case.value("hz - 2 * 250"), 500);
    assert_eq!(case.value("sizeof(struct proc)"), 2048);
    assert_eq!(case.value("offsetof(struct proc, p_comm)"), 984);
    assert_eq!(case.value("sizeof(allproc.lh_first->p_comm)"), 20);
    assert_eq!(case.value("(struct proc *)0 + 2"), "0x1000");
    assert_eq!(
        case.value("&allproc.lh_first->p_pid - &allproc.lh_first->p_pid"),
        0
    );
    let json = case.print(&["--json", "&hz"]).expect(0).json();
    assert_eq!(json["values"][0]["symbol"], "hz");
    assert_eq!(json["values"][0]["type"], "u_int *");
    assert_eq!(json["verdict"], "sound");
}

#[test]
fn mistakes_are_named_and_nothing_is_printed() {
    let case = case("dwarf");
    let expressions: &[(&[&str], &str)] = &[
        (&["alproc"], "no symbol or variable \"alproc\"; similar: allproc"),
        (&["allproc.lh_frist"], "no member \"lh_frist\"; similar: lh_first"),
        (&["allproc.lh_first->p_conm"], "similar: p_comm"),
        (&["struct prok", "1"], "no type \"struct prok\""),
        (&["(proc *)1"], "no type \"proc\"; there is struct proc"),
        (&["allproc.lh_first->p_comm[20]"], "index 20 is outside char [20]"),
        (&["allproc.lh_first->p_comm[-1]"], "index -1 is outside"),
        (&["allproc->lh_first"], "-> of struct proclist"),
        (&["allproc.lh_first.p_pid"], "use ->"),
        (&["*hz"], "* of u_int"),
        (&["hz = 1"], "assignment at offset 3 is not supported"),
        (&["panic(1)"], "calling a function at offset 5 is not supported"),
        (&["osreldate.x"], "the type of osreldate is not known"),
        (&["struct proc"], "a type needs an address"),
        (&["--list", "p_pid", "allproc"], "not a link of queue(3)"),
        (&["--list", "p_list", "hz"], "neither the head of a list"),
        (&["--list", "p_lits", "allproc"], "similar: p_list"),
    ];
    for (args, said) in expressions {
        let run = case.print(args).expect(2);
        assert!(run.stderr.contains(said), "{args:?}: {}", run.stderr);
        assert!(run.stdout.is_empty(), "{args:?}");
    }
    let bare = Case::new(&format!("{TWO}types none\n"));
    let run = bare.print(&["struct proc", "1"]).expect(2);
    assert!(run.stderr.contains("has type information"), "{}", run.stderr);
    assert_eq!(bare.value("&hz + 4"), {
        let at = bare.machine.symbol("hz").unwrap().0;
        format!("{:#x}", at + 4)
    });
}

#[test]
fn what_is_not_in_the_dump_is_said_in_its_place_and_is_one() {
    let case = case("dwarf");
    let run = case.print(&["((struct proc *)0)->p_pid"]).expect(1);
    assert!(run.stderr.contains("is NULL"), "{}", run.stderr);
    let run = case.print(&["*(struct proc *)0"]).expect(1);
    assert!(run.stderr.contains("is NULL"), "{}", run.stderr);
    let at = "0xffffffff00000000";
    // What can be printed is.
    let run = case.print(&["hz", "struct proclist", at]).expect(1);
    assert!(run.text().starts_with("hz = 1000\n"), "{}", run.text());
    assert!(run.text().contains("lh_first = <missing: "), "{}", run.text());
    assert!(run.stderr.contains("is not in the dump"), "{}", run.stderr);
    let args = ["--json", "struct proclist", at];
    let json = case.print(&args).expect(1).json();
    let value = &json["values"][0];
    assert_eq!(value["value"]["lh_first"], Value::Null);
    assert_eq!(value["problems"].as_array().unwrap().len(), 1);
}

#[test]
fn lists_that_are_torn_or_mean_harm_end_and_are_undetermined() {
    let list = |case: &Case, head: &str, field: &str, said: &str| {
        let args = ["--json", "--list", field, "--member", "p_pid", head];
        let args = match field {
            "td_plist" => [args[0], args[1], field, args[3], "td_tid", head],
            _ => args,
        };
        let run = case.print(&args).expect(3);
        assert!(run.stderr.contains(said), "{}", run.stderr);
        let json = run.json();
        assert_eq!(json["verdict"], "undetermined");
        let problems = &json["values"][0]["problems"];
        assert!(problems[0].as_str().unwrap().contains(said), "{problems}");
        json["values"][0]["elements"].as_array().unwrap().len()
    };
    let case = case("dwarf");
    let all = case.addresses("allproc", "p_list");
    let whole = all.len();
    assert!(whole > 4);
    // The back link of the third.
    let prev = all[2] + 8;
    case.poke64(prev, all[0]);
    let n = list(&case, "allproc", "p_list", "the back link of");
    assert_eq!(n, whole);
    case.poke64(prev, all[1]);
    assert_eq!(case.addresses("allproc", "p_list"), all);
    // A cycle, and a list that leads out of memory.
    let next = all[3];
    case.poke64(next, all[1]);
    assert_eq!(list(&case, "allproc", "p_list", "a cycle: "), 4);
    case.poke64(next, 0xffff_ffff_0000_0000);
    let n = list(&case, "allproc", "p_list", "is not in the dump");
    assert_eq!(n, 4);
    case.poke64(next, 0x1234);
    list(&case, "allproc", "p_list", "is not in the dump");
    // A TAILQ that ends too early does not end where its head says.
    let first = case.thread(100_200);
    let head = format!("((struct thread *){first:#x})->td_proc->p_threads");
    let args = ["--list", "td_plist", "--member", "td_tid,td_name", &head];
    let run = case.print(&args).expect(0);
    assert!(run.text().contains("100201  \"two\"\n"), "{}", run.text());
    case.poke64(first + 16, 0);
    let n = list(&case, &head, "td_plist", "the list ends at");
    assert_eq!(n, 1);
}

#[test]
fn a_list_is_cut_at_its_limit_and_that_is_said() {
    let case = case("dwarf");
    let args = ["--limit", "2", "--list", "p_list", "--json", "allproc"];
    let run = case.print(&args).expect(0);
    assert!(run.stderr.contains("stopped after 2 elements"), "{}", run.stderr);
    let json = run.json();
    assert_eq!(json["values"][0]["more"], true);
    let elements = json["values"][0]["elements"].as_array().unwrap();
    assert_eq!(elements.len(), 2);
    assert!(elements[0]["value"]["p_comm"].is_string());
}

#[test]
fn types_of_another_build_are_refused_and_unproven_ones_said() {
    let bare = Case::new(&format!("{TWO}types none\n"));
    let put = |other: &Case| {
        let debug = bare.dir.file("kernel.0.debug");
        std::fs::write(debug, other.dir.read("kernel.0")).unwrap();
    };
    put(&Case::new(&format!("{TWO}types dwarf\n")));
    let run = bare.print(&["hz"]).expect(3);
    assert!(run.stderr.contains("cannot confirm that "), "{}", run.stderr);
    assert_eq!(run.text(), "hz = 1000\n");
    put(&Case::new(&format!("{TWO}types dwarf\noffset td_tid 1300\n")));
    let run = bare.print(&["hz"]).expect(2);
    assert!(run.stderr.contains("is from another kernel"), "{}", run.stderr);
    assert!(run.stderr.contains("thread.td_tid at 1300"), "{}", run.stderr);
}

#[test]
fn read_takes_expressions() {
    let case = case("dwarf");
    let comm = case.value("allproc.lh_first->p_comm");
    let comm = comm.as_str().unwrap();
    for place in [
        "allproc.lh_first->p_comm",
        "&allproc.lh_first->p_comm",
        "&(*allproc.lh_first).p_comm",
    ] {
        let run = case.run("read", &["--raw", place]).expect(0);
        assert_eq!(run.stdout.len(), 20, "{place}");
        assert!(run.stdout.starts_with(comm.as_bytes()), "{place}");
    }
    let json = case.run("read", &["--json", "*allproc.lh_first"]).expect(0);
    assert_eq!(json.json()["length"], 2048);
    let run = case.run("read", &["allproc.nosuch"]).expect(2);
    assert!(run.stderr.contains("no member \"nosuch\""), "{}", run.stderr);
    let run = case.run("read", &["((struct proc *)0)->p_pid"]).expect(1);
    assert!(run.stderr.contains("is NULL"), "{}", run.stderr);
}

#[test]
fn symbols_are_found_by_part_pattern_and_address() {
    let case = case("ctf");
    let hz = case.machine.symbol("hz").unwrap().0;
    let names = |pattern: &str| -> Vec<String> {
        let json = case.run("symbols", &["--json", pattern]).expect(0).json();
        let all = json["symbols"].as_array().unwrap();
        all.iter().map(|s| s["name"].as_str().unwrap().into()).collect()
    };
    assert_eq!(names("allpro?"), ["allproc"]);
    assert!(names("proc_off_").len() > 3);
    assert!(names("*_off_p_*").contains(&"proc_off_p_comm".into()));
    assert_eq!(names(&format!("{hz:#x}")), ["hz"]);
    let text = case.run("symbols", &[&format!("{:x}", hz + 2)]).expect(0);
    assert!(text.text().contains("hz+0x2"), "{}", text.text());
    case.run("symbols", &["nosuchsymbol"]).expect(1);
    case.run("symbols", &["0xffffffff00000000"]).expect(1);
    let kernel = case.path("kernel.0");
    let alone = crate::tool::run(["symbols", "-k", &kernel, "hz"]).expect(0);
    let words: Vec<_> = alone.text().split_whitespace().collect();
    let at = format!("{hz:#x}");
    assert!(
        words.windows(4).any(|w| w[0] == at && w[1] == "4" && w[3] == "hz")
    );
    crate::tool::run(["symbols", "hz"]).expect(2);
}

#[test]
fn letters_are_those_of_nm() {
    let case = case("ctf");
    let kernel = case.path("kernel.0");
    let Ok(nm) = std::process::Command::new("nm").arg(&kernel).output() else {
        livedump_skip::skipped("no nm(1)");
        return;
    };
    let nm = String::from_utf8(nm.stdout).unwrap();
    let mut want: Vec<_> = nm
        .lines()
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let at = u64::from_str_radix(words[0], 16).unwrap();
            (format!("{at:#x}"), words[1].to_string(), words[2].to_string())
        })
        .collect();
    let json = crate::tool::run(["symbols", "-k", &kernel, "--json", "*"]);
    let json = json.expect(0).json();
    let word = |s: &Value, key: &str| s[key].as_str().unwrap().to_string();
    let mut found: Vec<_> = json["symbols"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (word(s, "address"), word(s, "type"), word(s, "name")))
        .collect();
    want.sort();
    found.sort();
    assert!(want.len() > 50);
    assert_eq!(found, want);
}
