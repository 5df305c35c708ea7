// SPDX-License-Identifier: BSD-2-Clause
//! A checkpoint of bhyve's is what its memory alone is, and is called that; one
//! whose description is of other memory is refused.

use super::model::{Case, TWO};
use crate::tool::run;

/// Describes it as bhyve does.
fn describe(case: &Case, memsize: u64) {
    let text = format!(
        "{{\"basic metadata\": {{\"ncpus\": 2, \"vmname\": \"guest\", \
         \"memsize\": {memsize}, \"memflags\": 0}}, \"kern_structs\": [], \
         \"devices\": []}}"
    );
    std::fs::write(case.path("raw.meta"), text).unwrap();
}

#[test]
fn a_checkpoint_is_read_as_any_image() {
    let case = Case::new(TWO);
    let bytes = std::fs::metadata(case.path("raw")).unwrap().len();
    let commands = [("ps", 0), ("dmesg", 0), ("deadlock", 1), ("verify", 0)];
    let before = commands.map(|(it, exit)| case.says(it, "raw", exit));
    assert!(!case.says("info", "raw", 0).contains("bhyve"));
    describe(&case, bytes);
    let info = case.says("info", "raw", 0);
    assert!(info.contains("bhyve checkpoint"), "{info}");
    for ((command, exit), before) in commands.into_iter().zip(before) {
        // verify says what it is of.
        let now = case.says(command, "raw", exit);
        let now = now.replace("bhyve checkpoint", "raw memory");
        assert!(command == "verify" || now == before, "{command}: {now}");
    }
    let (kernel, raw) = (case.text("kernel"), case.text("raw"));
    let words = ["convert", "-k", &kernel, &raw, "--to", "minidump"];
    let mini = case.text("mini");
    let it = run(words.iter().chain([&mini.as_str()])).expect(0).stderr;
    assert!(it.contains("2 vCPUs are not read"), "{it}");
    assert_eq!(case.says("ps", "mini", 0), case.says("ps", "raw", 0));
    let (machine, to) = (format!("image:{raw}"), case.text("to"));
    std::fs::create_dir(&to).unwrap();
    let words = ["capture", "-q", "--machine", &machine, "-k", &kernel, &to];
    run(words).expect(0);
    // Without its kernel it says what it is.
    let alone = run(["ps", &raw]).expect(2).stderr;
    assert!(alone.contains("bhyve checkpoint"), "{alone}");
}

#[test]
fn a_checkpoint_that_is_not_whole_is_refused() {
    let case = Case::new(TWO);
    let bytes = std::fs::metadata(case.path("raw")).unwrap().len();
    let (kernel, raw) = (case.text("kernel"), case.text("raw"));
    for (memsize, want) in
        [(bytes + 4096, "by FILE.meta"), (0, "memsize of 0x0")]
    {
        describe(&case, memsize);
        for words in [
            vec!["ps", "-k", &kernel, &raw],
            vec!["verify", "-k", &kernel, &raw],
        ] {
            let run = run(&words);
            assert_ne!(run.status, Some(0), "{words:?}");
            let said = format!("{}{}", run.text(), run.stderr);
            assert!(said.contains(want), "{words:?}: {said}");
        }
    }
}
