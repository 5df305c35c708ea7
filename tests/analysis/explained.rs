// SPDX-License-Identifier: BSD-2-Clause
//! What threads wait for in the end, on machines where that is known.

use super::{Case, TWO};
use serde_json::{Value, json};

fn explain(case: &Case, status: i32) -> Value {
    case.run("explain", &["--json"]).expect(status).json()
}

fn ids(path: &Value) -> Vec<i64> {
    let all = path.as_array().unwrap().iter();
    all.map(|w| w["tid"].as_i64().unwrap()).collect()
}

const BEHIND: &str = "size 16M\nprocess 200 a\n\
     lock one sx owner 100200\nlock two lockmgr owner 100201\n\
     thread 100200 holder sleep biord\n\
     thread 100201 second wait one\nthread 100202 third wait two\n\
     thread 100203 fourth wait one\n";

#[test]
fn all_threads_are_behind_the_one_at_the_end() {
    let case = Case::new(BEHIND);
    // What it sleeps on is no buffer.
    let found = explain(&case, 1);
    assert_eq!(found["verdict"], "stuck");
    assert_eq!(found["stuck"], true);
    assert_eq!(found["waiting"], 3);
    let roots = found["roots"].as_array().unwrap();
    assert_eq!(roots.len(), 1);
    let root = &roots[0];
    assert_eq!(root["kind"], "thread");
    assert_eq!(root["thread"]["tid"], 100_200);
    assert_eq!(root["state"], "sleeps on \"biord\"");
    assert_eq!(root["count"], 3);
    assert_eq!(root["stuck"], true);
    assert_eq!(root["seconds"], 15.0);
    assert!(!root["stack"].as_array().unwrap().is_empty());
    let mut waiters: Vec<i64> =
        serde_json::from_value(root["waiters"].clone()).unwrap();
    waiters.sort_unstable();
    assert_eq!(waiters, [100_201, 100_202, 100_203]);
    assert_eq!(ids(&root["path"]), [100_202, 100_201]);
    assert_eq!(found["missing"], json!([]));
    // It sleeps for a transfer, and which one is not known.
    let reason = found["reasons"][0].as_str().unwrap();
    assert!(
        reason.starts_with("thread 100200 sleeps on \"biord\""),
        "{reason}"
    );
    let text = case.run("explain", &[]).expect(1);
    let text = text.text();
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("3 of "), "{first}");
    assert!(first.contains("threads wait behind thread 100200"), "{first}");
    assert!(text.contains("verdict: stuck: 1 cause\n"), "{text}");
}

#[test]
fn a_cycle_has_those_behind_it() {
    let case = Case::new(&format!("{TWO}thread 100202 c wait beta\n"));
    let found = explain(&case, 1);
    let root = &found["roots"][0];
    assert_eq!(root["kind"], "cycle");
    assert_eq!(root["count"], 3);
    assert_eq!(ids(&root["path"]), [100_200, 100_201]);
    assert_eq!(root["waiters"], json!([100_202]));
    assert_eq!(root["path"][0]["lock"]["name"], "beta");
    let text = case.run("explain", &[]).expect(1);
    let text = text.text();
    assert!(text.contains("wait in or behind a cycle of 2 threads"), "{text}");
}

#[test]
fn the_same_hang_has_the_same_signature_elsewhere() {
    let signature = |recipe: &str| {
        let found = explain(&Case::new(recipe), 1);
        let signature = found["signature"].as_str().unwrap().to_string();
        assert_eq!(signature.len(), 16);
        assert_eq!(signature, found["roots"][0]["signature"]);
        signature
    };
    let one = signature(TWO);
    // Another machine, other ids, the cycle begins with the other thread.
    let moved = "size 24M\nmachine arm64\nprocess 77 other\n\
         lock beta sx owner 100301\nlock alpha sx owner 100302\n\
         thread 100301 two wait alpha\nthread 100302 one wait beta\n";
    assert_eq!(one, signature(moved));
    assert_ne!(one, signature(&TWO.replace("beta", "gamma")));
    assert_ne!(one, signature(BEHIND));
}

#[test]
fn a_short_wait_is_not_stuck_unless_it_is_a_cycle() {
    let args = ["--limit", "16", "--json"];
    let case = Case::new(&BEHIND.replace("biord", "select"));
    let found = case.run("explain", &args).expect(0).json();
    assert_eq!(found["roots"][0]["stuck"], false);
    assert_eq!(found["stuck"], false);
    // A transfer that could not be followed is no sign that all is well.
    let found = Case::new(BEHIND).run("explain", &args).expect(3).json();
    assert_eq!(found["stuck"], Value::Null);
    let case = Case::new(TWO);
    case.run("explain", &args).expect(1);
    case.run("explain", &["--limit", "0"]).expect(2);
}

#[test]
fn readers_that_are_not_recorded_are_the_root() {
    let case = Case::new(
        "size 16M\nprocess 200 a\nlock r rw shared 3 100201\n\
         lock k lockmgr kernel\nthread 100200 one wait r\n\
         thread 100201 two sleep select\nthread 100202 three wait k\n",
    );
    let found = explain(&case, 1);
    let roots = found["roots"].as_array().unwrap();
    let kinds: Vec<_> = roots.iter().map(|r| &r["kind"]).collect();
    assert_eq!(kinds, ["lock", "lock"]);
    let names: Vec<_> =
        roots.iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert!(names.iter().any(|n| n.ends_with("held by readers")), "{names:?}");
    let kernel = "held by the kernel itself";
    assert!(names.iter().any(|n| n.ends_with(kernel)), "{names:?}");
    // The only one that shares such a lock is followed, and that is a doubt.
    let case = Case::new(
        "size 16M\nprocess 200 a\nlock r rw shared 1 100201\n\
         thread 100200 one wait r\nthread 100201 two sleep select\n",
    );
    let found = explain(&case, 3);
    let root = &found["roots"][0];
    assert_eq!(root["thread"]["tid"], 100_201);
    assert_eq!(root["certain"], false);
    assert_eq!(root["stuck"], false);
}

#[test]
fn a_machine_at_rest_is_not_stuck() {
    for recipe in
        ["size 16M", "size 16M\nmachine arm64", "release 12.1-RELEASE"]
    {
        let case = Case::new(recipe);
        let found = explain(&case, 0);
        assert_eq!(found["verdict"], "none");
        assert_eq!(found["stuck"], false);
        assert_eq!(found["roots"], json!([]));
        assert_eq!(found["signature"], Value::Null);
        assert_eq!(found["reasons"], json!([]));
        let text = case.run("explain", &[]).expect(0);
        assert!(
            text.text().starts_with("Nothing is stuck: "),
            "{}",
            text.text()
        );
        assert!(text.text().ends_with("\nverdict: none\n"));
    }
}

#[test]
fn a_damaged_list_is_no_rest() {
    let case = Case::new("size 16M\nprocess 200 a\nthread 100200 b sleep x\n");
    // td_proc of another process.
    case.poke64(case.thread(100_200) + 8, 0xffff_f800_dead_beef);
    let found = explain(&case, 3);
    assert_eq!(found["verdict"], "undetermined");
    assert_eq!(found["stuck"], Value::Null);
    assert!(!found["reasons"].as_array().unwrap().is_empty());
}

#[test]
fn many_threads_are_bounded_and_fast() {
    let mut recipe = String::from("size 128M\nprocess 200 a\n");
    recipe.push_str("lock l sx owner 100000\nthread 100000 t sleep x\n");
    for i in 1..=5000 {
        let tid = 100_000 + i;
        recipe.push_str(&format!("thread {tid} t{i} wait l\n"));
    }
    let case = Case::new(&recipe);
    let found = explain(&case, 1);
    assert_eq!(found["roots"][0]["count"], 5000);
    let text = case.run("explain", &[]).expect(1);
    assert!(text.text().lines().count() < 60, "{}", text.text());
}

/// The text of a picture, a line each.
fn texts(svg: &str) -> Vec<&str> {
    let lines = svg.lines().filter(|l| l.contains("<text "));
    lines.filter_map(|l| l.split('>').nth(1)?.split('<').next()).collect()
}

#[test]
fn a_picture_has_all_of_it_and_nothing_overlaps() {
    let mut recipe = String::from(BEHIND);
    for i in 300..500 {
        recipe.push_str(&format!("thread 100{i} waiter-{i} wait two\n"));
    }
    let case = Case::new(&recipe);
    let picture = case.path("picture.svg");
    case.run("explain", &["--svg", &picture]).expect(1);
    let svg = std::fs::read_to_string(picture).unwrap();
    let all = texts(&svg);
    let text = all.join("\n");
    assert!(text.contains("sleeps on \"biord\""), "{text}");
    assert!(text.contains("and 177 more threads wait"), "{text}");
    for tid in [100_200, 100_201, 100_300, 100_499] {
        assert!(text.contains(&tid.to_string()), "{tid}");
    }
    let number = |line: &str, name: &str| -> f64 {
        let name = format!(" {name}=\"");
        let value = line.split(&name).nth(1).unwrap();
        value.split('"').next().unwrap().parse().unwrap()
    };
    let boxes = svg.lines().filter(|l| l.contains("rx=\"3\""));
    let mut end = 0.0;
    for line in boxes {
        assert!(number(line, "y") >= end, "{line}");
        end = number(line, "y") + number(line, "height");
    }
    let width = number(svg.lines().next().unwrap(), "width");
    for line in svg.lines().filter(|l| l.contains("<text ")) {
        assert!(number(line, "x") + number(line, "textLength") <= width);
    }
    case.run("explain", &["--svg", "-", "--json"]).expect(2);
}
