// SPDX-License-Identifier: BSD-2-Clause
//! Any files under the names of a crash directory: the dumps are listed,
//! checked and pruned, and what is pruned was removable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livedump_cli::crashdir::{CrashDir, InfoText, Retention};
use livedump_cli::seal::Seal;
use livedump_fuzz::file;
use livedump_vmcore::changes::Changes;
use std::path::Path;
use std::time::SystemTime;

const NAMES: [&str; 12] = [
    "bounds",
    "minfree",
    "info.0",
    "livecore.0",
    "seal.0",
    "changed.0",
    "info.1",
    "livecore.1.zst",
    "vmcore.2.gz",
    "info.2",
    "textdump.tar.3",
    "vmcore_encrypted.4",
];

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    match choice % 4 {
        0 => drop(InfoText::parse(rest)),
        1 => {
            let file = file(rest);
            if let Ok(seal) = Seal::read(file.as_file()) {
                // What was read is written as it was.
                assert!(seal.text().as_bytes() == rest);
            }
        }
        2 => {
            if let Ok(list) = Changes::read(rest, Path::new("changed.0")) {
                let _ = list.summary();
                assert!(list.records().len() <= rest.len());
            }
        }
        _ => directory(rest),
    }
});

/// A name, a length, the bytes, and so on.
fn directory(mut rest: &[u8]) {
    let dir = tempfile::tempdir().expect("room for a directory");
    while let Some((head, tail)) = rest.split_first_chunk::<3>() {
        let name = NAMES[usize::from(head[0]) % NAMES.len()];
        let n = usize::from(u16::from_le_bytes([head[1], head[2]]));
        let (bytes, tail) = tail.split_at(n.min(tail.len()));
        std::fs::write(dir.path().join(name), bytes).expect("room");
        rest = tail;
    }
    let crash = CrashDir::open(dir.path()).expect("a directory");
    let _ = crash.bounds(None);
    let _ = crash.minfree_bytes();
    let before = crash.dumps().expect("a list");
    for dump in &before {
        let _ = crash.judge(dump);
    }
    let keep = Retention { keep: Some(1), ..Retention::default() };
    if let Ok(pruned) = crash.prune(&keep, SystemTime::now(), false) {
        let after = crash.dumps().expect("a list");
        assert_eq!(after.len() + pruned.removed.len(), before.len());
        assert!(before.is_empty() || !after.is_empty());
    }
}
