// SPDX-License-Identifier: BSD-2-Clause
//! What is the same for the same hang in the dumps of other machines: classes
//! and names of locks, functions, wait messages; no address, no thread, no
//! process, no device, nothing that a compiler adds to a name.

use super::roots::{Root, RootOf};
use super::wait::{Object, Wait};
use super::{Explanation, Stacks, Threads};
use crate::analysis::stack_groups::Place;
use crate::analysis::threads::{State, Thread};
use livedump_vmcore::unwind::How;
use sha2::{Digest, Sha256};

/// Frames that count; what is further out is how it came there.
const MAX_FRAMES: usize = 32;

/// Sixteen hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature(pub String);

/// The signature of a root.
#[must_use]
pub fn of_root(
    explanation: &Explanation,
    root: &Root,
    threads: &Threads,
    stacks: &Stacks<'_, '_>,
) -> Signature {
    let wait = |n: usize| explanation.of(n).map(described).unwrap_or_default();
    let lines = match &root.of {
        RootOf::Cycle(all) => {
            let mut lines: Vec<_> = all.iter().map(|&n| wait(n)).collect();
            rotate_to_least(&mut lines);
            lines.insert(0, "cycle".into());
            lines
        }
        RootOf::Thread(n) => {
            let mut lines = vec!["thread".to_string()];
            let td = threads.list.get(*n);
            if td.is_some_and(runs) {
                let path = root.behind.first().map(|&n| explanation.path(n));
                let mut waits = path.iter().flatten().rev();
                lines.push("runs".into());
                lines.extend(waits.find(|at| *at != n).map(|&n| wait(n)));
                return Signature(digest(&lines));
            }
            lines.extend(td.map(|td| td.state_word().to_string()));
            let frames = td.map(|td| functions(stacks, td));
            lines.extend(frames.into_iter().flatten());
            lines
        }
        RootOf::Resource(n) => {
            let kind = explanation.resources.get(*n).map(|r| r.kind.word());
            let of_lock = root.behind.first().map(|&n| wait(n));
            let of_lock = of_lock.filter(|_| kind == Some("lock"));
            vec![
                "resource".to_string(),
                kind.unwrap_or_default().to_string(),
                of_lock.unwrap_or_default(),
            ]
        }
    };
    Signature(digest(&lines))
}

/// Where such a thread is changes from moment to moment, and whether it has a
/// CPU just now; what others wait for stays.
fn runs(td: &Thread) -> bool {
    matches!(td.state, State::Running | State::RunQueue)
}

/// The class and the name of a lock; what kind of thing it is otherwise.
fn described(wait: &Wait) -> String {
    match &wait.object {
        Object::Lock(lock, _) => {
            let name = lock.name.text.as_deref().unwrap_or_default();
            format!("{} {name}", lock.class.word())
        }
        Object::Other(text) => text.clone(),
    }
}

fn functions(stacks: &Stacks<'_, '_>, td: &Thread) -> Vec<String> {
    let stack = stacks.of(td);
    // Frames that only debug information tells of do not count.
    let frames = stack.frames.iter().filter(|f| f.how != How::TailCall);
    let frames = frames.take(MAX_FRAMES);
    let name = |frame| match Place::of(frame) {
        // Nor do functions of modules, whose files may not be there.
        Place::Function { module: Some(name), .. }
        | Place::Module { name, .. } => Some(name),
        Place::Function { name, module: None } => {
            let name = String::from_utf8_lossy(&name).into_owned();
            Some(plain(&name).to_string())
        }
        Place::Address(_) => None,
    };
    frames.filter_map(name).skip_while(|name| is_switch(name)).collect()
}

/// How a thread gives its CPU up, which other releases call otherwise. C:
/// `sched_switch`, `sched_ule_sswitch`.
fn is_switch(name: &str) -> bool {
    name == "mi_switch" || name.starts_with("sched_")
}

/// A function's name without what a compiler adds: `foo.constprop.0`.
fn plain(name: &str) -> &str {
    name.split('.').next().filter(|s| !s.is_empty()).unwrap_or(name)
}

/// The same cycle starts with another thread elsewhere.
fn rotate_to_least(lines: &mut [String]) {
    let starts = 0..lines.len();
    let from = |start: usize| {
        let (before, after) = lines.split_at(start);
        [after, before].concat()
    };
    let least = starts.min_by_key(|&start| from(start)).unwrap_or(0);
    lines.rotate_left(least);
}

fn digest(lines: &[String]) -> String {
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(line.as_bytes());
        hash.update(b"\n");
    }
    let all = hash.finalize();
    all.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(all: &[&str]) -> Vec<String> {
        all.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn it_does_not_matter_with_which_thread_a_cycle_starts() {
        let mut a = lines(&["b", "a", "c", "a", "b"]);
        let mut b = lines(&["a", "b", "b", "a", "c"]);
        rotate_to_least(&mut a);
        rotate_to_least(&mut b);
        assert_eq!(a, b);
        assert_eq!(a, ["a", "b", "b", "a", "c"]);
        rotate_to_least(&mut []);
    }

    #[test]
    fn how_a_cpu_is_given_up_does_not_count() {
        assert!(is_switch("sched_switch") && is_switch("sched_ule_sswitch"));
        assert!(is_switch("mi_switch") && !is_switch("sleepq_switch"));
    }

    #[test]
    fn what_a_compiler_adds_does_not_count() {
        assert_eq!(plain("foo.constprop.0"), "foo");
        assert_eq!(plain("foo.llvm.123"), "foo");
        assert_eq!(plain("foo"), "foo");
        assert_eq!(plain(".hidden"), ".hidden");
    }

    #[test]
    fn lines_are_not_run_together() {
        assert_ne!(digest(&lines(&["ab", "c"])), digest(&lines(&["a", "bc"])));
        assert_eq!(digest(&lines(&["ab"])).len(), 16);
    }
}
