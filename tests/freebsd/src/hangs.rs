// SPDX-License-Identifier: BSD-2-Clause
//! What `livedump explain` says of hangs of known cause: of each dump of one
//! instant that cause, of a dump of the machine that ran that one or none, and
//! nothing of a machine that does not hang.

use crate::check::extract;
use crate::console::{Console, DumpAt};
use crate::deadlocks::tool;
use crate::dump_check::Answer;
use crate::kernel::Kernel;
use crate::qemu::OUTPUT;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Dumps of a machine that does not hang.
const HEALTHY: [&str; 2] = ["idle", "load"];
/// Releases before this do not record for which lock a thread spins.
const RECORDED: u64 = 1_500_000;
/// A wait of so many seconds is long: of what is planted, and of a machine
/// that may be given no CPU by its host for as long as that.
const LIMITS: [&str; 2] = ["2", "10"];

/// What all wait for, as the guest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    kind: String,
    name: Option<String>,
    thread: Option<u64>,
    /// At least so many wait.
    count: u64,
    /// The threads of a cycle.
    cycle: BTreeSet<u64>,
}

impl Expected {
    /// `kind tid count name`; of a cycle its threads instead of a name.
    /// The fact is of one dump, or of all of its kind.
    fn read(console: &Console, kind: &str, dump: &str) -> Answer<Self> {
        let name = format!("hang-{kind}");
        let fact = console.facts.get(dump).or(console.facts.get(&name));
        let line = fact.ok_or_else(|| format!("no fact {name}"))?;
        let garbled = || format!("{name}: {line}");
        let words: Vec<_> = line.splitn(4, ' ').collect();
        let &[kind, tid, count, last] = &words[..] else {
            return Err(garbled());
        };
        let number = |word: &str| word.parse().map_err(|_| garbled());
        let more = console.fact(&format!("{name}-more")).unwrap_or(0);
        let is_cycle = kind == "cycle";
        let cycle = last.split(' ').filter(|_| is_cycle);
        Ok(Self {
            kind: kind.into(),
            name: Some(last.into()).filter(|_| !is_cycle && last != "-"),
            thread: Some(number(tid)?).filter(|&tid| tid != 0),
            count: number(count)? + more,
            cycle: cycle.map(number).collect::<Answer<_>>()?,
        })
    }

    fn is(&self, root: &Value) -> Answer<()> {
        let wrong = |what: &str| {
            let seen = |key: &str| root[key].to_string();
            let all = ["kind", "name", "count", "waiters"].map(seen);
            let thread = &root["thread"]["tid"];
            Err(format!("{what}: {} {thread}, not {self:?}", all.join(" ")))
        };
        if root["kind"] != self.kind.as_str() {
            return wrong("kind");
        }
        if root["name"].as_str() != self.name.as_deref() {
            return wrong("name");
        }
        if root["thread"]["tid"].as_u64() != self.thread {
            return wrong("thread");
        }
        if root["count"].as_u64().is_none_or(|n| n < self.count) {
            return wrong("count");
        }
        let path = root["path"].as_array().into_iter().flatten();
        let tids: BTreeSet<_> =
            path.filter_map(|w| w["tid"].as_u64()).collect();
        match self.cycle.is_empty() || tids == self.cycle {
            true => Ok(()),
            false => wrong("cycle"),
        }
    }
}

/// What one dump shows.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    /// What it is to show, and that one's signature.
    Right(String),
    /// Nothing that is stuck.
    Nothing(String),
    Wrong(String),
}

/// Dumps of one kind that were taken in one way.
#[derive(Debug, Default)]
struct Counted {
    right: u32,
    all: u32,
    wrong: Vec<String>,
    nothing: Vec<String>,
}

/// Of all kinds.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// By kind, then by how they were taken.
    kinds: BTreeMap<String, BTreeMap<String, Counted>>,
    signatures: BTreeMap<String, BTreeSet<String>>,
    /// Names of dumps that are still to be looked at, and their files.
    dumps: Vec<(String, Answer<PathBuf>)>,
}

/// `hang-KIND-HOW-NTH`.
fn parts(name: &str) -> Option<(&str, &str)> {
    let mut words = name.strip_prefix("hang-")?.split('-');
    Some((words.next()?, words.next()?))
}

pub(crate) fn is_one(name: &str) -> bool {
    parts(name).is_some()
}

impl Results {
    /// Takes a dump off the output disk.
    pub(crate) fn dump(&mut self, dir: &Path, at: &DumpAt) {
        let path = dir.join(&at.name);
        let result = extract(&dir.join(OUTPUT), at, &path).map(|()| path);
        self.dumps.push((at.name.clone(), result));
    }

    /// One that was taken from outside.
    pub(crate) fn outside(&mut self, name: &str, crash: &Path) {
        self.dumps.push((name.into(), Ok(crash.join("livecore.0"))));
    }

    /// Looks at all of them, some at the same time.
    pub(crate) fn look(&mut self, kernel: &Kernel, console: &Console) {
        let dumps = std::mem::take(&mut self.dumps);
        let next = AtomicUsize::new(0);
        let results = Mutex::new(self);
        let threads = std::thread::available_parallelism();
        std::thread::scope(|scope| {
            for _ in 0..threads.map_or(1, usize::from) {
                scope.spawn(|| {
                    while let Some((name, path)) =
                        dumps.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        let file = path.as_ref().map_err(Clone::clone);
                        let seen = file.and_then(|file| {
                            shown(kernel, console, name, file)
                        });
                        let file = path.as_deref().unwrap_or(Path::new(""));
                        results.lock().add(name, seen, file);
                    }
                });
            }
        });
    }

    /// A dump that shows what it is to is not needed any more.
    fn add(&mut self, name: &str, shown: Answer<Shown>, path: &Path) {
        let Some((kind, how)) = parts(name) else { return };
        let hows = self.kinds.entry(kind.into()).or_default();
        let counted = hows.entry(how.into()).or_default();
        counted.all += 1;
        match shown {
            Ok(Shown::Right(signature)) => {
                counted.right += 1;
                if !signature.is_empty() {
                    let all = self.signatures.entry(kind.into()).or_default();
                    all.insert(signature);
                }
                let _ = std::fs::remove_file(path);
            }
            Ok(Shown::Nothing(why)) => counted.nothing.push(why),
            Ok(Shown::Wrong(why)) | Err(why) => counted.wrong.push(why),
        }
    }

    /// A line for each kind, and whether it is as it should be.
    pub(crate) fn results(&self) -> Vec<(String, Answer<()>)> {
        let mut results = Vec::new();
        for (kind, hows) in &self.kinds {
            let counts = hows.iter().map(|(how, counted)| {
                format!("{how} {} of {}", counted.right, counted.all)
            });
            let mut line =
                format!("{kind}: {}", counts.collect::<Vec<_>>().join(", "));
            let signatures = self.signatures.get(kind);
            if let Some(all) = signatures {
                let all: Vec<_> = all.iter().map(String::as_str).collect();
                line.push_str(&format!("; signature {}", all.join(" ")));
            }
            results.push((line, self.answer(kind, hows)));
        }
        results
    }

    fn answer(
        &self,
        kind: &str,
        hows: &BTreeMap<String, Counted>,
    ) -> Answer<()> {
        let mut problems = Vec::new();
        for (how, counted) in hows {
            let wrong = counted.wrong.iter();
            problems.extend(wrong.map(|why| format!("{how}: {why}")));
            // What ran on while it was dumped may be in doubt.
            let nothing = counted.nothing.iter().filter(|_| how != "live");
            problems.extend(nothing.map(|why| format!("{how}: {why}")));
        }
        if let Some(own) = self.signatures.get(kind) {
            if own.len() > 1 {
                problems.push(format!("{} signatures", own.len()));
            }
            let others = self.signatures.iter().filter(|(k, _)| *k != kind);
            let shared = others.filter(|(_, all)| !all.is_disjoint(own));
            let shared = shared.filter(|(other, _)| !are_alike(kind, other));
            problems.extend(
                shared.map(|(other, _)| format!("the signature of {other}")),
            );
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(format!("hangs: {kind}: {}", problems.join("; "))),
        }
    }
}

/// The root of both is the holder of ldstuck.ko's sx; or a device that does
/// not answer, whichever it is.
fn are_alike(kind: &str, other: &str) -> bool {
    [["sx", "chain"], ["bio", "disk"]]
        .iter()
        .any(|pair| pair.contains(&kind) && pair.contains(&other))
}

/// Runs `livedump explain` on a dump.
fn explain(kernel: &Kernel, dump: &Path, is_healthy: bool) -> Answer<Value> {
    let [planted, healthy] = LIMITS;
    let limit = if is_healthy { healthy } else { planted };
    let debug = kernel.path.with_extension("debug");
    let mut args: Vec<&OsStr> =
        ["explain", "--limit", limit, "--json", "-k"].map(OsStr::new).into();
    args.push(kernel.path.as_os_str());
    if debug.is_file() {
        args.extend([OsStr::new("--debug"), debug.as_os_str()]);
    }
    args.push(dump.as_os_str());
    let out = tool(args)?;
    let report: Value = serde_json::from_slice(&out.stdout).map_err(|e| {
        let complaint = String::from_utf8_lossy(&out.stderr);
        format!("explain: {e}: {}", complaint.trim())
    })?;
    let _ = std::fs::write(dump.with_extension("json"), &out.stdout);
    // The exit status says the same.
    let expected = match report["verdict"].as_str() {
        Some("none") => 0,
        Some("stuck") => 1,
        _ => 3,
    };
    match out.status.code() == Some(expected) {
        true => Ok(report),
        false => Err(format!("explain: exit {:?}", out.status.code())),
    }
}

fn shown(
    kernel: &Kernel,
    console: &Console,
    name: &str,
    dump: &Path,
) -> Answer<Shown> {
    let (kind, _) = parts(name).ok_or("its name")?;
    let is_healthy = HEALTHY.contains(&kind);
    let report = explain(kernel, dump, is_healthy)?;
    let roots = report["roots"].as_array().ok_or("no roots")?;
    let mut stuck = roots.iter().filter(|r| r["stuck"] == true);
    if is_healthy {
        let cycle = roots.iter().find(|r| r["kind"] == "cycle");
        return Ok(match stuck.next().or(cycle) {
            Some(root) => Shown::Wrong(format!("{name}: {root}")),
            None if report["verdict"] == "stuck" => {
                Shown::Wrong(format!("{name}: {}", report["summary"]))
            }
            None => Shown::Right(String::new()),
        });
    }
    let expected = Expected::read(console, kind, name)?;
    let Some(first) = stuck.next() else {
        if kind == "spin" {
            return Ok(spins(console, name, &expected, &report));
        }
        let reasons = &report["reasons"];
        let why = format!("{name}: nothing is stuck: {reasons}");
        return Ok(Shown::Nothing(why));
    };
    if let Err(why) = expected.is(first) {
        return Ok(Shown::Wrong(format!("{name}: {why}")));
    }
    if let Some(other) = stuck.next() {
        return Ok(Shown::Wrong(format!("{name}: another root: {other}")));
    }
    if kind == "disk" && !names_file(&report) {
        return Ok(Shown::Wrong(format!("{name}: no file: {first}")));
    }
    let signature = first["signature"].as_str().ok_or("no signature")?;
    Ok(Shown::Right(signature.into()))
}

/// That a thread spins, and for what, where that is recorded. Since when is not:
/// others ran on its CPU meanwhile, so that nothing is called stuck.
fn spins(
    console: &Console,
    name: &str,
    expected: &Expected,
    report: &Value,
) -> Shown {
    let is_outside = parts(name).is_some_and(|(_, how)| how == "outside");
    let list = |key: &str| report[key].as_array().into_iter().flatten();
    if console.fact("osreldate").is_none_or(|release| release < RECORDED) {
        // It has its CPU where that does not take the dump.
        return match is_outside && list("spinners").next().is_none() {
            true => Shown::Wrong(format!("{name}: no thread spins")),
            false => Shown::Right(String::new()),
        };
    }
    let spins = |root: &&Value| {
        let path = root["path"].as_array().into_iter().flatten();
        path.last().is_some_and(|wait| wait["spins"] == true)
    };
    let mut roots = list("roots").filter(spins);
    match roots.find(|root| expected.is(root).is_ok()) {
        Some(root) => Shown::Right(
            root["signature"].as_str().unwrap_or_default().to_string(),
        ),
        None => Shown::Nothing(format!("{name}: {}", report["roots"])),
    }
}

/// A wait for the disk is for a file of it.
fn names_file(report: &Value) -> bool {
    let waits = report["waits"].as_array().into_iter().flatten();
    let mut objects = waits.filter_map(|w| w["object"].as_str());
    objects.any(|o| o.contains("/slow/dir/") && o.contains("on /slow (ufs)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn expected(line: &str) -> Expected {
        let mut console = Console::default();
        console.line(&format!("FACT hang-it {line}"));
        console.line("FACT hang-it-more 2");
        Expected::read(&console, "it", "hang-it-live-0").unwrap()
    }

    #[test]
    fn a_root_is_compared_with_what_the_guest_says() {
        let free_pages = expected("memory 0 3 free pages");
        let root = json!({ "kind": "memory", "name": "free pages",
            "thread": null, "count": 5, "path": [] });
        assert_eq!(free_pages.is(&root), Ok(()));
        let thread = expected("thread 100 1 -");
        let root = json!({ "kind": "thread", "name": null,
            "thread": { "tid": 100 }, "count": 3, "path": [] });
        assert_eq!(thread.is(&root), Ok(()));
        assert!(free_pages.is(&root).is_err());
        let root = json!({ "kind": "thread", "name": null,
            "thread": { "tid": 100 }, "count": 2, "path": [] });
        assert!(thread.is(&root).is_err());
        let cycle = expected("cycle 0 0 7 8");
        let mut root = json!({ "kind": "cycle", "name": null, "thread": null,
            "count": 2, "path": [{ "tid": 8 }, { "tid": 7 }] });
        assert_eq!(cycle.is(&root), Ok(()));
        root["path"][0]["tid"] = json!(9);
        assert!(cycle.is(&root).is_err());
    }

    #[test]
    fn a_live_dump_may_show_nothing_and_no_dump_the_wrong_thing() {
        let mut results = Results::default();
        let at = Path::new("/nonexistent/livedump");
        let right = || Ok(Shown::Right("0123".into()));
        results.add("hang-sx-frozen-0", right(), at);
        results.add("hang-sx-live-0", Ok(Shown::Nothing("no".into())), at);
        results.add("hang-chain-live-0", right(), at);
        let answers = results.results();
        assert!(answers.iter().all(|(_, answer)| answer.is_ok()));
        assert!(answers[1].0.starts_with("sx: frozen 1 of 1, live 0 of 1"));
        results.add("hang-sx-live-1", Ok(Shown::Wrong("x".into())), at);
        results.add("hang-rm-frozen-0", Ok(Shown::Nothing("x".into())), at);
        results.add("hang-zone-frozen-0", right(), at);
        let answers = results.results();
        assert!(answers[1..].iter().all(|(_, answer)| answer.is_err()));
    }
}
