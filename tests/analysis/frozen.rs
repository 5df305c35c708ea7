// SPDX-License-Identifier: BSD-2-Clause
//! A dump of one instant has what a dump of the machine that runs has, and
//! goes wherever that goes.

use super::{Case, TWO, tids};
use serde_json::Value;

const KINDS: [&str; 3] = [
    "machine amd64\nrelease 12.1-RELEASE\n",
    "machine amd64\nrelease 15.1-RELEASE\ntypes ctf\ncpus 2\n",
    "machine arm64\nrelease 15.1-RELEASE\ntypes dwarf\n",
];

/// The host may have other things to do.
const FROZEN: [&str; 3] = ["--freeze", "--max-pause", "1s"];

/// Processes and threads.
fn ps(case: &Case) -> Value {
    case.run("ps", &["--json"]).expect(0).json()["processes"].take()
}

#[test]
fn threads_stacks_and_deadlocks_are_those_of_a_live_dump() {
    for kind in KINDS {
        let recipe = format!("{kind}{TWO}");
        let live = Case::new(&recipe);
        let frozen = Case::with(&recipe, &FROZEN);
        assert_eq!(ps(&frozen), ps(&live), "{kind}");
        let found = frozen.deadlock(1);
        assert_eq!(found["cycles"], live.deadlock(1)["cycles"]);
        assert_eq!(tids(&found["cycles"][0]).len(), 2, "{kind}");
        for thread in ["100200", "100201"] {
            let bt = |case: &Case| {
                case.run("bt", &["--json", thread]).expect(0).json()
            };
            assert_eq!(bt(&frozen)["frames"], bt(&live)["frames"]);
        }
        let said = frozen.run("verify", &[]).expect(0);
        assert!(said.text().contains("of one instant"), "{}", said.text());
    }
}

#[test]
fn what_it_is_converted_to_has_the_same_threads() {
    let frozen = Case::with(TWO, &FROZEN);
    let (dump, kernel) = (frozen.path("livecore.0"), frozen.path("kernel.0"));
    let threads = ps(&frozen);
    for to in ["elf", "kdump", "raw", "lime", "minidump"] {
        let out = frozen.path(to);
        let args = ["convert", "-k", &kernel, &dump, "--to", to, &out];
        crate::tool::run(args).expect(0);
        let args = ["ps", "--json", "-k", &kernel, &out];
        let mut found = crate::tool::run(args).expect(0).json();
        assert_eq!(found["processes"].take(), threads, "{to}");
        let args = ["deadlock", "-k", &kernel, &out];
        crate::tool::run(args).expect(1);
    }
}
