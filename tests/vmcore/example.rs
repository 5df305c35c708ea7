// SPDX-License-Identifier: BSD-2-Clause
//! The example of the reader's crate, over a dump and over an image.

#[path = "../../livedump-cli/vmcore/examples/hz.rs"]
#[allow(dead_code)]
mod hz;

use livedump_hosted::machine::{Machine, Running};
use livedump_tests::scenario::Scenario;
use memdev::addr::{PAGE_SIZE, Paddr};
use std::fs::File;
use std::os::unix::fs::FileExt;

#[test]
fn hz_is_read_from_a_dump_and_from_memory() {
    let s = Scenario::model("size 16M\n");
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    std::fs::write(path("kernel"), s.machine.kernel_elf().unwrap()).unwrap();

    let _ = s.dump(0);
    std::fs::write(path("dump"), s.contents()).unwrap();
    assert_eq!(hz::hz(&path("kernel"), &path("dump")).unwrap(), 1000);

    let memory = File::create(path("memory")).unwrap();
    for &(start, end) in s.machine.dump_avail() {
        for pa in (start..end).step_by(PAGE_SIZE) {
            let mut page = [0; PAGE_SIZE];
            s.machine.read_page(Paddr(pa), &mut page).unwrap();
            memory.write_all_at(&page, pa).unwrap();
        }
    }
    assert_eq!(hz::hz(&path("kernel"), &path("memory")).unwrap(), 1000);

    let e = hz::hz(&path("dump"), &path("dump")).unwrap_err();
    assert!(e.to_string().contains("not a kernel"), "{e}");
}
