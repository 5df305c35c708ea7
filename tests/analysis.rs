// SPDX-License-Identifier: BSD-2-Clause
//! `ps`, `bt`, `stacks`, `explain` and `deadlock` on machines whose threads and
//! locks are known, on what is left of them when they are damaged, and on real
//! dumps.

mod changed;
mod dwarf;
mod explained;
mod files;
mod frames;
mod frozen;
mod graphs;
mod groups;
mod hostile;
mod live;
mod objects;
mod print;
mod processes;
mod reader;
mod real;
mod report;
mod stacks;
mod types;
mod verdicts;

use crate::tool::{CrashDir, Run, run};
use livedump_tests::decoder::Dump;
use livedump_tests::scenario::model;

/// A dump of a model machine with its kernel, and where its things are.
pub struct Case {
    dir: CrashDir,
    machine: livedump_hosted::model::ModelMachine,
}

impl Case {
    /// Takes it.
    pub fn new(recipe: &str) -> Self {
        Self::with(recipe, &[])
    }

    /// Takes it with more options.
    pub fn with(recipe: &str, options: &[&str]) -> Self {
        let dir = CrashDir::new();
        let name = dir.recipe(recipe);
        let all = ["--keep-kernel", "-q"];
        dir.capture(&name, &[&all, options].concat()).expect(0);
        Self { dir, machine: model(recipe) }
    }

    /// Runs a command on it.
    pub fn run(&self, command: &str, rest: &[&str]) -> Run {
        let (file, kernel) = (self.path("livecore.0"), self.path("kernel.0"));
        let args = [command, "-k", &kernel, &file];
        run(args.iter().chain(rest))
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.file(name).to_str().unwrap().to_string()
    }

    /// What `deadlock` finds, which ends with `status`.
    #[track_caller]
    pub fn deadlock(&self, status: i32) -> serde_json::Value {
        self.run("deadlock", &["--json"]).expect(status).json()
    }

    /// Changes the dump at an address of the kernel's.
    pub fn poke(&self, at: u64, bytes: &[u8]) {
        let dump: Dump = self.dir.judge("livecore.0");
        let mut file = self.dir.read("livecore.0");
        let pa = dump.translate(at).unwrap();
        let offset = dump.offset_of(pa).unwrap();
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
        std::fs::write(self.dir.file("livecore.0"), file).unwrap();
    }

    pub fn poke64(&self, at: u64, value: u64) {
        self.poke(at, &value.to_le_bytes());
    }

    pub fn lock(&self, name: &str) -> u64 {
        self.machine.lock(name).unwrap().0
    }

    pub fn thread(&self, tid: i32) -> u64 {
        self.machine.thread(tid).unwrap().0
    }
}

/// The ids of the threads that wait in a cycle or chain.
pub fn tids(tangle: &serde_json::Value) -> Vec<i64> {
    let waits = tangle["waits"].as_array().unwrap();
    waits.iter().map(|w| w["tid"].as_i64().unwrap()).collect()
}

/// Two threads with two sx locks, each wanting the other's.
pub const TWO: &str = "size 16M\nprocess 843 livedump\n\
    thread 100670 livedump run 0\nprocess 200 ab\n\
    lock alpha sx owner 100200\nlock beta sx owner 100201\n\
    thread 100200 one wait beta\nthread 100201 two wait alpha\n";
