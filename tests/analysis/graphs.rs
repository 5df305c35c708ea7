// SPDX-License-Identifier: BSD-2-Clause
//! Graphs that are known: what is found in them is what is there.

use super::{Case, TWO, tids};

#[test]
fn two_threads_with_two_sx_locks_are_a_deadlock() {
    for (machine, release) in [
        ("amd64", "12.1"),
        ("amd64", "13.2"),
        ("arm64", "14.0"),
        ("amd64", "15.1"),
    ] {
        let case = Case::new(&format!(
            "machine {machine}\nrelease {release}-RELEASE\n{TWO}"
        ));
        let found = case.deadlock(1);
        assert_eq!(found["deadlocked"], true);
        assert_eq!(found["cycles"].as_array().unwrap().len(), 1);
        let cycle = &found["cycles"][0];
        assert_eq!(cycle["certain"], true, "{release}: {cycle}");
        assert_eq!(tids(cycle), [100_200, 100_201]);
        let wait = &cycle["waits"][0];
        assert_eq!(wait["lock"]["class"], "sx");
        assert_eq!(wait["lock"]["name"], "beta");
        assert_eq!(wait["holder"]["tid"], 100_201);
        assert_eq!(wait["seconds"], 15.0);
        assert_eq!(wait["stack"][4]["function"], "_sx_xlock_hard");
        assert_eq!(found["chains"].as_array().unwrap().len(), 0);
    }
}

#[test]
fn three_classes_in_one_cycle_are_a_deadlock() {
    let case = Case::new(
        "size 16M\nprocess 200 abc\n\
         lock m mtx owner 100201\nlock x sx owner 100202\n\
         lock k lockmgr owner 100200\n\
         thread 100200 one wait m\nthread 100201 two wait x\n\
         thread 100202 three wait k\nthread 100203 four wait m\n",
    );
    let found = case.deadlock(1);
    let cycle = &found["cycles"][0];
    assert_eq!(tids(cycle), [100_200, 100_201, 100_202]);
    assert_eq!(cycle["certain"], true, "{cycle}");
    assert_eq!(cycle["waiters"], 1);
    let classes: Vec<_> = (0..3)
        .map(|i| cycle["waits"][i]["lock"]["class"].as_str().unwrap())
        .collect();
    assert_eq!(classes, ["mutex", "sx", "lockmgr"]);
    let text = case.run("deadlock", &[]).expect(1);
    let text = text.text();
    assert!(text.starts_with("deadlock: 3 threads in a cycle\n"), "{text}");
    assert!(text.contains("1 other thread waits for one of these"), "{text}");
    assert!(text.contains("turnstile_wait+0x"), "{text}");
    assert!(text.ends_with("verdict: deadlock: 1 cycle\n"), "{text}");
}

#[test]
fn a_thread_that_waits_for_itself_is_a_deadlock() {
    let case = Case::new(
        "size 16M\nprocess 200 a\nlock x sx owner 100200\n\
         thread 100200 one wait x\n",
    );
    assert_eq!(tids(&case.deadlock(1)["cycles"][0]), [100_200]);
    let text = case.run("deadlock", &[]).expect(1);
    assert!(text.text().contains("held by itself"), "{}", text.text());
}

#[test]
fn a_long_chain_is_none() {
    let mut recipe = String::from("size 16M\nprocess 200 a\n");
    for i in 0..20 {
        let tid = 100_200 + i;
        recipe.push_str(&format!("lock l{i} rw owner {}\n", tid + 1));
        recipe.push_str(&format!("thread {tid} t{i} wait l{i}\n"));
    }
    recipe.push_str("thread 100220 last run 1\n");
    recipe.push_str("thread 100300 side wait l19\n");
    let case = Case::new(&recipe);
    let found = case.deadlock(0);
    assert_eq!(found["cycles"].as_array().unwrap().len(), 0);
    let chain = &found["chains"][0];
    let all: Vec<i64> = (100_200..100_220).collect();
    assert_eq!(tids(chain), all);
    assert_eq!(chain["last"]["tid"], 100_220);
    assert_eq!(chain["last"]["state"], "runs on CPU 1");
    assert_eq!(chain["waiters"], 21);
    assert_eq!(found["waiting"], 21);
    let text = case.run("deadlock", &[]).expect(0);
    let text = text.text();
    assert!(text.starts_with("chain: 21 threads, no cycle\n"), "{text}");
    assert!(text.ends_with("verdict: none\n"), "{text}");
}

#[test]
fn readers_are_not_recorded_and_that_is_undetermined() {
    let case = Case::new(
        "size 16M\nprocess 200 a\nlock r rw shared 3 100201\n\
         lock x sx shared 2\nlock k lockmgr kernel\n\
         lock w rw owner 100203\n\
         thread 100200 one wait r\nthread 100201 two wait x\n\
         thread 100202 three wait k\nthread 100203 four wait r shared\n\
         thread 100204 five wait w shared\n",
    );
    let found = case.deadlock(3);
    let waits = found["waits"].as_array().unwrap();
    let of = |tid: i64| waits.iter().find(|w| w["tid"] == tid).unwrap();
    let holder = &of(100_200)["holder"];
    assert_eq!(holder["kind"], "shared");
    assert_eq!(holder["count"], 3);
    assert_eq!(holder["candidates"], serde_json::json!([100_201]));
    assert_eq!(of(100_201)["holder"]["count"], 2);
    assert_eq!(of(100_202)["holder"]["kind"], "kernel");
    assert_eq!(of(100_203)["shared"], true);
    for w in waits {
        assert_eq!(w["inconsistencies"], serde_json::json!([]), "{w}");
    }
    let text = case.run("deadlock", &[]).expect(3);
    assert!(text.text().contains("3 readers, which are not recorded; perhaps"));
}

#[test]
fn a_machine_at_rest_has_no_deadlock() {
    let case = Case::new("size 16M");
    let found = case.deadlock(0);
    assert_eq!(found["waiting"], 0);
    let text = case.run("deadlock", &[]).expect(0);
    assert!(text.text().ends_with("0 waiting for a lock\nverdict: none\n"));
    assert_eq!(found["verdict"], "none");
    assert_eq!(found["deadlocked"], false);
    assert_eq!(found["reasons"], serde_json::json!([]));
}

#[test]
fn pictures_have_every_thread_and_lock() {
    let case = Case::new(TWO);
    let dot = case.run("deadlock", &["--dot", "-"]).expect(1);
    let text = dot.text();
    assert!(text.starts_with("digraph waits {\n"), "{text}");
    for word in ["t100200", "t100201", "alpha", "beta", "color=red"] {
        assert!(text.contains(word), "{text}");
    }
    let picture = case.path("picture.svg");
    case.run("deadlock", &["--svg", &picture]).expect(1);
    let svg = std::fs::read_to_string(picture).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    assert!(svg.contains("waits 15.0 s for sx \"alpha\""), "{svg}");
    assert!(svg.contains("verdict: deadlock"), "{svg}");
}

#[test]
fn ps_shows_what_threads_wait_for() {
    let case = Case::new(&format!(
        "{TWO}lock m mtx owner 100200\nthread 100202 three wait m\n\
         process 300 c\nthread 100300 c sleep nanslp\n"
    ));
    let ps = case.run("ps", &["-t"]).expect(0);
    let text = ps.text();
    let line = |tid: &str| {
        let mut lines = text.lines();
        let line = lines.find(|l| l.split_whitespace().nth(1) == Some(tid));
        line.unwrap_or_else(|| panic!("{tid}: {text}")).to_string()
    };
    assert!(line("100200").contains("sleep     beta"), "{text}");
    assert!(line("100200").contains("15.0s ab/one"), "{text}");
    let lock = text.lines().skip_while(|l| !l.contains("ab/one")).nth(1);
    let waits = "       waits for sx \"beta\" at 0x";
    assert!(lock.is_some_and(|l| l.starts_with(waits)), "{text}");
    assert!(text.contains("       held by thread 100201 \"two\""), "{text}");
    assert!(line("100202").contains("lock      *m"), "{text}");
    assert!(line("100300").contains("sleep     nanslp"), "{text}");
    assert!(line("100670").contains("  0 run "), "{text}");
    let json = case.run("ps", &["--json"]).expect(0).json();
    let all = json["processes"].as_array().unwrap();
    let p = all.iter().find(|p| p["pid"] == 200).unwrap();
    assert_eq!(p["threads"].as_array().unwrap().len(), 3);
    assert_eq!(p["threads"][0]["lock"]["name"], "beta");
    let ps = case.run("ps", &[]).expect(0);
    let one = ps.text().lines().find(|l| l.contains(" ab")).unwrap();
    assert_eq!(one.split_whitespace().nth(3), Some("3"), "{one}");
}
