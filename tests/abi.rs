// SPDX-License-Identifier: BSD-2-Clause
//! Bytes and numbers that others rely on: FreeBSD's tools, C programs, older
//! versions of our own.

use livedump_tests::vmcores;
use memdev::errno::Errno;
use memdev::freeze::{
    FLAG_FREEZE, MEM_MINIDUMP2, MINIDUMP_ARG2_VERSION, MemMinidumpArg2,
    MinidumpFreeze,
};
use memdev::ioctl::{
    FLAG_ESTIMATE, FLAG_QUIESCE, FLAG_REGISTERS, FLAG_STABILITY, FLAG_WAIT,
    MEM_KERNELDUMP, MEM_MINIDUMP, MEM_MINIDUMP_STATUS, MINIDUMP_ARG_VERSION,
    MemLivedumpArg, MemMinidumpArg, MemMinidumpStatus,
};
use memdev::kerneldump::{Compression, KernelDumpHeader, Magic};
use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::Command;

/// <sys/ioccom.h>, in our own words.
const IOCCOM: &str = "
#define IOC_NUMBER(dir, g, n, t) \\
    ((dir) | (unsigned)(sizeof(t) & 0x1fff) << 16 | (g) << 8 | (n))
#define _IOR(g, n, t) IOC_NUMBER(0x40000000u, g, n, t)
#define _IOW(g, n, t) IOC_NUMBER(0x80000000u, g, n, t)
#define _IOWR(g, n, t) IOC_NUMBER(0xc0000000u, g, n, t)
";

/// Compiles and runs a program over the header that C programs include; what
/// it prints, by name. `None` where there is no compiler.
fn said_by_c(names: &[&str]) -> Option<BTreeMap<String, u64>> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sys")).unwrap();
    std::fs::write(dir.path().join("sys/ioccom.h"), IOCCOM).unwrap();
    let lines: String = names
        .iter()
        .map(|n| format!("printf(\"%s=%llu\\n\", \"{n}\", (U)({n}));\n"))
        .collect();
    let program = format!(
        "#include <stddef.h>\n#include <stdio.h>\n\
         #include \"livedump_ioctl.h\"\ntypedef unsigned long long U;\n\
         int main(void) {{\n{lines}return 0;\n}}\n"
    );
    let source = dir.path().join("abi.c");
    std::fs::write(&source, program).unwrap();
    let csrc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kmod/csrc");
    let binary = dir.path().join("abi");
    let cc = Command::new("cc")
        .arg("-I")
        .arg(dir.path())
        .arg("-I")
        .arg(csrc)
        .args(["-Wall", "-Werror", "-o"])
        .arg(&binary)
        .arg(&source)
        .status();
    let Ok(status) = cc else {
        livedump_skip::skipped("no C compiler");
        return None;
    };
    assert!(status.success(), "cc: {status}");
    let out = Command::new(binary).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let pairs = text.lines().map(|l| l.rsplit_once('=').unwrap());
    Some(pairs.map(|(n, v)| (n.into(), v.parse().unwrap())).collect())
}

fn check(expected: &[(&str, u64)]) {
    let names: Vec<_> = expected.iter().map(|e| e.0).collect();
    let Some(message) = said_by_c(&names) else { return };
    for (name, value) in expected {
        assert_eq!(message[*name], *value, "{name}");
    }
}

macro_rules! fields {
    ($out:ident, $c:literal, $prefix:literal, $rust:ty: $($field:ident)*) => {
        $(
            $out.push((
                concat!(
                    "offsetof(struct ", $c, ", ", $prefix,
                    stringify!($field), ")"
                ),
                offset_of!($rust, $field) as u64,
            ));
        )*
        $out.push((
            concat!("sizeof(struct ", $c, ")"),
            size_of::<$rust>() as u64,
        ));
    };
}

#[test]
fn c_and_rust_lay_out_the_arguments_alike() {
    let mut all = Vec::new();
    fields!(all, "mem_livedump_arg", "", MemLivedumpArg:
        fd flags compression pad1 pad2);
    fields!(all, "mem_minidump_arg", "mda_", MemMinidumpArg:
        version flags fd compression pad0 level workers pad1 stage
        minidump_version pages zero_pages changed_pages dumplength
        dumpextent elapsed_ns quiesced_ns changes_fd registers
        changed_by_kind missing_cpus);
    fields!(all, "mem_minidump_status", "mds_", MemMinidumpStatus:
        version stage pages_done pages_total bytes_out dumpextent start_sec
        elapsed_ns started completed last_stage last_error pid pad0 last_pid
        pad1 estimates last_needs last_has reserved);
    fields!(all, "mem_minidump_freeze", "mdf_", MinidumpFreeze:
        max_pause_ns pause_ns uptime_ns time_ns pages late_pages copy_bytes
        cpus pad);
    fields!(all, "mem_minidump_arg2", "mda2_", MemMinidumpArg2: arg freeze);
    check(&all);
}

#[test]
fn c_and_rust_have_the_same_numbers() {
    check(&[
        ("MEM_KERNELDUMP", MEM_KERNELDUMP.into()),
        ("MEM_MINIDUMP", MEM_MINIDUMP.into()),
        ("MEM_MINIDUMP2", MEM_MINIDUMP2.into()),
        ("MEM_MINIDUMP_STATUS", MEM_MINIDUMP_STATUS.into()),
        ("MINIDUMP_ARG_VERSION", MINIDUMP_ARG_VERSION.into()),
        ("MINIDUMP_ARG2_VERSION", MINIDUMP_ARG2_VERSION.into()),
        ("MINIDUMP_FREEZE", FLAG_FREEZE.into()),
        ("MINIDUMP_ESTIMATE", FLAG_ESTIMATE.into()),
        ("MINIDUMP_WAIT", FLAG_WAIT.into()),
        ("MINIDUMP_QUIESCE", FLAG_QUIESCE.into()),
        ("MINIDUMP_REGISTERS", FLAG_REGISTERS.into()),
        ("MINIDUMP_STABILITY", FLAG_STABILITY.into()),
        ("MINIDUMP_COMP_NONE", Compression::None as u64),
        ("MINIDUMP_COMP_GZIP", Compression::Gzip as u64),
        ("MINIDUMP_COMP_ZSTD", Compression::Zstd as u64),
    ]);
}

#[test]
fn the_stock_request_has_the_number_that_savecore_uses() {
    assert_eq!(MEM_KERNELDUMP, 0x8020_6d35);
    assert_eq!(size_of::<MemLivedumpArg>(), 32);
}

#[test]
fn error_numbers_are_freebsds() {
    for (errno, number) in [
        (Errno::EPERM, 1),
        (Errno::EINTR, 4),
        (Errno::EIO, 5),
        (Errno::EBADF, 9),
        (Errno::EBUSY, 16),
        (Errno::EINVAL, 22),
        (Errno::ENOTTY, 25),
        (Errno::EFBIG, 27),
        (Errno::ENOSPC, 28),
        (Errno::EROFS, 30),
        (Errno::EOPNOTSUPP, 45),
        (Errno::EDQUOT, 69),
        (Errno::ECANCELED, 85),
        (Errno::ENOTCAPABLE, 93),
        (Errno::EINTEGRITY, 97),
    ] {
        assert_eq!(errno.0, number, "{errno:?}");
    }
}

#[test]
fn the_header_is_written_as_the_known_one() {
    let Some(path) = vmcores::file("kerneldumpheader-v4.bin") else { return };
    let golden = std::fs::read(path).unwrap();
    let header = KernelDumpHeader {
        magic: Magic::Kernel,
        architecture: b"amd64",
        version: 4,
        architecture_version: 2,
        dumplength: 107_388_928,
        dumptime: 0x6553_f100,
        dumpkeysize: 0,
        blocksize: 4096,
        hostname: b"testhost.example.org",
        versionstring: b"FreeBSD 14.0-RELEASE #0: test\n    \
            root@builder:/usr/obj/usr/src/amd64.amd64/sys/GENERIC\n",
        panicstring: b"",
        compression: Compression::None,
        dumpextent: 107_388_928,
    };
    let mut bytes = [0xff; 512];
    header.encode(&mut bytes);
    assert_eq!(bytes[..], golden[..]);
    let bytes: [u8; 512] = golden.try_into().unwrap();
    assert_eq!(KernelDumpHeader::decode(&bytes), Ok(header));
}

#[test]
fn a_long_version_ends_in_a_newline() {
    // C: strlcpy, then the last byte before the NUL.
    let long = [b'v'; 300];
    let host = [b'h'; 300];
    let mut bytes = [0; 512];
    KernelDumpHeader { versionstring: &long, hostname: &host, ..blank() }
        .encode(&mut bytes);
    assert_eq!(&bytes[128 + 189..128 + 192], b"v\n\0");
    assert_eq!(&bytes[64 + 62..64 + 64], b"h\0");
    assert!(livedump_tests::decoder::trailer::decode(&bytes).is_ok());
}

fn blank() -> KernelDumpHeader<'static> {
    KernelDumpHeader {
        magic: Magic::Kernel,
        architecture: b"aarch64",
        version: 4,
        architecture_version: 1,
        dumplength: 0,
        dumptime: 0,
        dumpkeysize: 0,
        blocksize: 4096,
        hostname: b"",
        versionstring: b"",
        panicstring: b"",
        compression: Compression::None,
        dumpextent: 0,
    }
}
