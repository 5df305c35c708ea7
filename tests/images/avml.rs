// SPDX-License-Identifier: BSD-2-Clause
//! AVML's converter: what it makes of a LiME file of ours is read, and what it
//! makes of that again. It leaves out pages of zeros, which are missing then.

use super::model::{Case, TWO};
use super::open;
use crate::tool::run;
use livedump_vmcore::image::{Checksums, Format};
use std::process::Command;

/// `avml convert`; false where there is no such program.
fn avml(case: &Case, from: [&str; 2], to: [&str; 2]) -> bool {
    let out = Command::new("avml")
        .args(["convert", "--source-format", from[0], "--format", to[0]])
        .args([case.path(from[1]), case.path(to[1])])
        .output();
    match out {
        Ok(out) => {
            let text = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{from:?} {to:?}: {text}");
            true
        }
        Err(e) => {
            livedump_skip::skipped(format_args!("avml: {e}"));
            false
        }
    }
}

#[test]
fn what_avml_makes_of_lime_is_read_and_so_is_what_it_makes_of_that() {
    let case = Case::new(TWO);
    let kernel = case.text("kernel");
    let convert = |from: &str, to: &str, out: &str| {
        let (from, out) = (case.text(from), case.text(out));
        let words = ["convert", "--no-seal", "-k", &kernel, "--to", to];
        run(words.iter().chain([&from.as_str(), &out.as_str()])).expect(0);
        std::fs::read(out).unwrap()
    };
    convert("raw", "lime", "lime");
    let want = convert("lime", "raw", "want");
    if !avml(&case, ["lime", "lime"], ["lime_compressed", "avml"]) {
        return;
    }
    avml(&case, ["lime_compressed", "avml"], ["lime", "again"]);
    avml(&case, ["lime_compressed", "avml"], ["raw", "memory"]);
    let image = open(&case.path("avml"));
    assert_eq!(image.format(), Format::Avml);
    assert_eq!(image.claims().checksums, Checksums::All);
    assert_eq!(open(&case.path("again")).format(), Format::Lime);
    for name in ["avml", "again", "memory"] {
        assert!(convert(name, "raw", "found") == want, "{name}");
        let (ps, ours) = (case.says("ps", name, 0), case.says("ps", "raw", 0));
        assert_eq!(ps, ours, "{name}");
    }
}
