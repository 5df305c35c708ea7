// SPDX-License-Identifier: BSD-2-Clause
//! Real vmcores, whose kernels tell no more than the exported constants.

use crate::tool::run;
use livedump_tests::vmcores;

#[test]
fn ps_lists_what_a_real_vmcore_has() {
    for (arch, wanted) in [
        (
            "amd64",
            [
                (800, "sysctl", vec![100_670]),
                (28, "pagedaemon", vec![100_210, 100_214, 100_215]),
                (11, "idle", (100_003..=100_014).collect()),
            ],
        ),
        (
            "arm64",
            [
                (939, "sysctl", vec![100_137]),
                (21, "syncer", vec![100_081]),
                (11, "idle", (100_003..=100_010).collect()),
            ],
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let Some(real) = vmcores::unpack(arch, dir.path()) else { return };
        let (k, f) = (real.kernel.as_os_str(), real.vmcore.as_os_str());
        let ps = run(["ps".as_ref(), "--json".as_ref(), "-k".as_ref(), k, f]);
        // Only a part of these lists was kept.
        let json = ps.expect(3).json();
        assert_eq!(json["verdict"], "undetermined");
        let problems = json["problems"].to_string();
        assert!(problems.contains("process 0 is missing"), "{problems}");
        // All reasons, not only those of damage.
        assert!(problems.contains("back links do not match"), "{problems}");
        assert_eq!(json["reason"], json["problems"][0]);
        let all = json["processes"].as_array().unwrap();
        assert_eq!(all.len(), 3);
        for (p, (pid, name, tids)) in all.iter().zip(wanted) {
            assert_eq!(p["pid"], pid);
            assert_eq!(p["command"], name);
            let threads = p["threads"].as_array().unwrap();
            let found: Vec<_> =
                threads.iter().map(|t| t["tid"].as_i64().unwrap()).collect();
            assert_eq!(found, tids);
        }
    }
}

#[test]
fn bt_of_a_real_thread_has_its_eleven_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let Some(real) = vmcores::unpack("amd64", dir.path()) else { return };
    let (k, f) = (real.kernel.as_os_str(), real.vmcore.as_os_str());
    let tid = "100670".as_ref();
    let bt = run(["bt".as_ref(), "--json".as_ref(), "-k".as_ref(), k, f, tid]);
    let json = bt.expect(3).json();
    let reason = json["reason"].as_str().unwrap();
    assert!(reason.contains("back links do not match"), "{reason}");
    assert!(!reason.contains("changed"), "{reason}");
    assert_eq!(json["registers"], "dumppcb");
    assert_eq!(json["command"], "sysctl");
    let frames = json["frames"].as_array().unwrap();
    let found: Vec<_> =
        frames.iter().map(|f| f["pc"].as_str().unwrap()).collect();
    let wanted = [
        "80c09ade", "80c09916", "80c09d90", "80c09b93", "80c57d91", "80c19e71",
        "80c192bc", "80c19933", "80c1977f", "8108ba8c", "810620ce",
    ];
    let wanted: Vec<_> =
        wanted.iter().map(|a| format!("0xffffffff{a}")).collect();
    assert_eq!(found, wanted);
}
