// SPDX-License-Identifier: BSD-2-Clause
//! Offsets come from the kernel; missing ones are reported.

use super::{Case, TWO};

#[test]
fn fields_that_moved_are_found_in_ctf_and_in_dwarf() {
    for types in ["ctf", "dwarf"] {
        for release in ["13.2", "15.1"] {
            let case = Case::new(&format!(
                "release {release}-RELEASE\n{TWO}types {types}\n\
                 offset td_wchan 1800\noffset td_slpq 1744\n\
                 offset td_inhibitors 1900\noffset td_tid 1952\n\
                 offset p_comm 700\noffset td_kstack 1400\n"
            ));
            let found = case.deadlock(1);
            let from = found["types"].to_string();
            assert!(from.contains(&types.to_uppercase()), "{from}");
            assert!(from.contains("exported symbols"), "{from}");
            assert_eq!(found["cycles"][0]["waits"][0]["command"], "ab");
        }
    }
}

#[test]
fn a_kernel_that_tells_nothing_still_has_ps_and_bt() {
    let case = Case::new(&format!("{TWO}types none\n"));
    let deadlock = case.run("deadlock", &[]).expect(2);
    for name in ["thread.td_state, ", "td_wchan and ", " more", "--debug"] {
        assert!(deadlock.stderr.contains(name), "{}", deadlock.stderr);
    }
    let ps = case.run("ps", &["-t"]).expect(0);
    assert!(ps.stderr.contains("thread.td_state"), "{}", ps.stderr);
    assert!(ps.text().contains("100200   - unknown"), "{}", ps.text());
    assert!(ps.text().contains("100670   0 run"), "{}", ps.text());
    let bt = case.run("bt", &["100200"]).expect(0);
    assert!(bt.text().contains("sleepq_wait+0x"), "{}", bt.text());
    let json = case.run("ps", &["--json"]).expect(0).json();
    assert!(json["missing"].to_string().contains("td_state"));
}

#[test]
fn another_kernels_debug_file_is_refused() {
    let case = Case::new(&format!("{TWO}types none\n"));
    let other = Case::new(&format!("{TWO}types dwarf\noffset td_tid 1300\n"));
    let debug = other.path("kernel.0");
    let message = case.run("deadlock", &["--debug", &debug]).expect(2).stderr;
    assert!(message.contains("from another kernel"), "{message}");
    assert!(message.contains("td_tid"), "{message}");
    let right = Case::new(&format!("{TWO}types dwarf\n"));
    let debug = right.path("kernel.0");
    case.run("deadlock", &["--debug", &debug]).expect(1);
}

#[test]
fn a_kernel_of_another_version_or_machine_is_refused() {
    let case = Case::new(TWO);
    for (recipe, word) in [
        ("release 14.2-RELEASE\nsize 16M", "14.2-RELEASE"),
        ("machine arm64\nsize 16M", "arm64"),
    ] {
        let other = Case::new(recipe);
        let kernel = other.path("kernel.0");
        let file = case.path("livecore.0");
        for command in ["ps", "deadlock"] {
            let run = crate::tool::run([command, "-k", &kernel, &file]);
            let message = run.expect(2).stderr;
            assert!(message.contains(word), "{message}");
        }
    }
}
