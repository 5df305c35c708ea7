// SPDX-License-Identifier: BSD-2-Clause
//! Files that commands write beside standard output: never an input, never
//! half of one, never a loss of what was there.

use crate::tool::{CrashDir, run};

fn scene() -> CrashDir {
    let dir = CrashDir::new();
    dir.capture("model:16M", &["-q", "--keep-kernel"]).expect(0);
    dir
}

#[test]
fn a_picture_replaces_no_input() {
    let dir = scene();
    let [dump, kernel] = ["livecore.0", "kernel.0"].map(|n| dir.file(n));
    let before = [dir.read("livecore.0"), dir.read("kernel.0")];
    let names = dir.names();
    for option in ["--svg", "--dot"] {
        for output in [&dump, &kernel, &dir.file("livecore.last")] {
            let file = dump.as_os_str();
            let args = ["deadlock".as_ref(), file, option.as_ref()];
            let run = run(args.into_iter().chain([output.as_os_str()]));
            let run = run.expect(2);
            assert!(run.stderr.contains("is an input"), "{}", run.stderr);
        }
    }
    assert!([dir.read("livecore.0"), dir.read("kernel.0")] == before);
    assert_eq!(dir.names(), names);
}

#[test]
fn a_picture_that_was_there_stays_until_there_is_another() {
    let dir = scene();
    let picture = dir.file("picture.svg");
    std::fs::write(&picture, "the one before").unwrap();
    std::fs::write(dir.file("text"), "no dump").unwrap();
    let draw = |file: &str| {
        let file = dir.file(file);
        let words = ["deadlock".as_ref(), file.as_os_str(), "--svg".as_ref()];
        run(words.into_iter().chain([picture.as_os_str()]))
    };
    let names = dir.names();
    draw("text").expect(2);
    draw("none").expect(2);
    assert_eq!(dir.text("picture.svg"), "the one before");
    draw("livecore.0").expect(0);
    assert!(dir.text("picture.svg").contains("</svg>"));
    assert_eq!(dir.names(), names);
}

#[test]
fn standard_output_is_written_by_one() {
    let dir = scene();
    let dump = dir.file("livecore.0");
    let dump = dump.to_str().unwrap();
    for words in [
        &["--dot", "-", "--svg", "-"][..],
        &["--json", "--dot", "-"],
        &["--json", "--svg", "-"],
    ] {
        let command = ["deadlock", dump];
        let run = run(command.iter().chain(words)).expect(2);
        assert!(run.stdout.is_empty());
        assert!(run.stderr.contains("only one of"), "{}", run.stderr);
    }
    let same = dir.file("same");
    let same = same.to_str().unwrap();
    let run = run(["deadlock", dump, "--dot", same, "--svg", same]).expect(2);
    assert!(run.stderr.contains("the same file"), "{}", run.stderr);
    assert!(!dir.file("same").exists());
}
