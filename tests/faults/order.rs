// SPDX-License-Identifier: BSD-2-Clause
//! The checks of a request, one row each, in their order. With any two of
//! them failing the earlier one answers, and nothing behind it is even asked.

use livedump_cli::device::Pipe;
use livedump_hosted::method::Method;
use livedump_hosted::process::{Credentials, Descriptor};
use livedump_hosted::vnode::FileKind;
use livedump_hosted::{Caller, Events};
use livedump_kmod::error::{Errno, Result};
use livedump_kmod::kpi::DumpLock;
use livedump_tests::scenario::Scenario;
use memdev::freeze::{
    FLAG_FREEZE, LARGEST_MAX_PAUSE_NS, MEM_MINIDUMP2, MINIDUMP_ARG2_VERSION,
    MemMinidumpArg2, MinidumpFreeze,
};
use memdev::ioctl::{
    FLAG_ESTIMATE, FLAG_QUIESCE, FLAG_REGISTERS, FLAG_STABILITY, FLAG_STREAM,
    MEM_KERNELDUMP, MEM_MINIDUMP, MEM_MINIDUMP_STATUS, MINIDUMP_ARG_VERSION,
    MemLivedumpArg, MemMinidumpArg,
};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Everything about a request that can be wrong.
struct Setup {
    request: u32,
    credentials: Credentials,
    kmem_read_for_all: bool,
    arg: MemMinidumpArg,
    /// What the larger argument has besides.
    freeze: MinidumpFreeze,
    /// `flags` of the stock request.
    stock_flags: i32,
    descriptor: fn(File) -> Descriptor,
    read_only: bool,
    path_only: bool,
    no_cap_write: bool,
    open: bool,
    compressors: bool,
    busy: bool,
    veto: Option<Errno>,
}

/// Where the four kinds of requests differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stock,
    Ours,
    Ours2,
    Stream,
}

const KINDS: [Kind; 4] = [Kind::Stock, Kind::Ours, Kind::Ours2, Kind::Stream];

/// One that nobody reads: nothing that is wrong gets that far.
fn stream(_: File) -> Descriptor {
    let (_, writer) = std::io::pipe().unwrap();
    let writer = File::from(OwnedFd::from(writer));
    let pipe = Box::new(Pipe::new(writer).unwrap());
    Descriptor::of_stream(FileKind::Pipe, pipe)
}

impl Setup {
    fn good(kind: Kind) -> Self {
        let request = match kind {
            Kind::Stock => MEM_KERNELDUMP,
            Kind::Ours | Kind::Stream => MEM_MINIDUMP,
            Kind::Ours2 => MEM_MINIDUMP2,
        };
        let is_stream = kind == Kind::Stream;
        let version = match request {
            MEM_MINIDUMP2 => MINIDUMP_ARG2_VERSION,
            _ => MINIDUMP_ARG_VERSION,
        };
        Self {
            request,
            freeze: MinidumpFreeze::default(),
            credentials: Credentials::ROOT,
            kmem_read_for_all: true,
            arg: MemMinidumpArg {
                version,
                compression: 1,
                flags: if is_stream { FLAG_STREAM } else { 0 },
                ..MemMinidumpArg::new()
            },
            stock_flags: 0,
            descriptor: match is_stream {
                true => stream,
                false => |file| Descriptor::from_file(file).unwrap(),
            },
            read_only: false,
            path_only: false,
            no_cap_write: false,
            open: true,
            compressors: true,
            busy: false,
            veto: None,
        }
    }
}

/// One way to be wrong.
struct Row {
    name: &'static str,
    errno: Errno,
    /// The last method of the KPI that may be asked, of those in [`ASKED`];
    /// `None` where nothing is.
    last: Option<Method>,
    /// Whether the stock request has this check, ours, ours with the larger
    /// argument, and that for a stream.
    stock: bool,
    ours: bool,
    ours2: bool,
    stream: bool,
    spoil: fn(&mut Setup),
}

/// The order in which the engine asks.
const ASKED: [Method; 10] = [
    Method::PrivCheckKmemRead,
    Method::PrivCheckRoot,
    Method::Getvnode,
    Method::Getstream,
    Method::FileIsWritable,
    Method::VnodeIsRegular,
    Method::CompressorAvail,
    Method::LivedumpTryXlock,
    Method::LivedumperStart,
    Method::CopyBitset,
];

const BOTH: Row = Row {
    name: "",
    errno: Errno::EINVAL,
    last: None,
    stock: true,
    ours: true,
    ours2: true,
    stream: true,
    spoil: |_| {},
};
const STOCK: Row = Row { ours: false, ours2: false, stream: false, ..BOTH };
/// What is asked of a vnode alone, and of a stream alone.
const VNODE: Row = Row { stream: false, ..BOTH };
const STREAM: Row = Row { stock: false, ours: false, ours2: false, ..BOTH };
const OURS: Row = Row { stock: false, ..BOTH };
/// Where the arguments are looked at.
const ARGUMENT: Row = Row { last: Some(Method::PrivCheckRoot), ..OURS };
/// The same of the larger one.
const ARGUMENT2: Row = Row { ours: false, stream: false, ..ARGUMENT };
const GETVNODE: Row = Row { last: Some(Method::Getvnode), ..BOTH };

/// In order.
const ROWS: &[Row] = &[
    Row {
        name: "a request that does not exist",
        errno: Errno::ENOTTY,
        spoil: |s| s.request ^= 1 << 3,
        ..BOTH
    },
    Row {
        name: "PRIV_KMEM_READ refused",
        errno: Errno::EPERM,
        last: Some(Method::PrivCheckKmemRead),
        spoil: |s| {
            s.credentials = Credentials::NOBODY;
            s.kmem_read_for_all = false;
        },
        ..BOTH
    },
    Row {
        name: "not root",
        errno: Errno::EPERM,
        last: Some(Method::PrivCheckRoot),
        spoil: |s| {
            if s.kmem_read_for_all {
                s.credentials = Credentials::NOBODY;
            }
        },
        ..OURS
    },
    Row {
        name: "root of a jail",
        errno: Errno::EPERM,
        last: Some(Method::PrivCheckRoot),
        spoil: |s| {
            if s.credentials == Credentials::ROOT {
                s.credentials = Credentials::JAILED_ROOT;
            }
        },
        ..OURS
    },
    Row {
        name: "flags in the stock request",
        last: Some(Method::PrivCheckKmemRead),
        spoil: |s| s.stock_flags = 1,
        ..STOCK
    },
    Row {
        name: "an unknown version",
        spoil: |s| s.arg.version ^= 3,
        ..ARGUMENT
    },
    Row {
        name: "an unknown flag",
        spoil: |s| s.arg.flags |= 1 << 7,
        ..ARGUMENT
    },
    Row { name: "padding", spoil: |s| s.arg.missing_cpus = 1, ..ARGUMENT },
    Row {
        name: "too many workers",
        spoil: |s| s.arg.workers = u32::MAX,
        ..ARGUMENT
    },
    Row {
        name: "a level there is not",
        spoil: |s| s.arg.level = -8,
        ..ARGUMENT
    },
    Row {
        name: "an estimate of a dump with suspended processes",
        spoil: |s| s.arg.flags |= FLAG_ESTIMATE | FLAG_QUIESCE,
        ..ARGUMENT
    },
    Row {
        name: "a list of changes that nobody asked for",
        spoil: |s| {
            s.arg.flags &= !FLAG_STABILITY;
            s.arg.changes_fd = 1;
        },
        ..ARGUMENT
    },
    Row {
        name: "the version of the smaller argument",
        spoil: |s| s.arg.version = 1,
        ..ARGUMENT2
    },
    Row {
        name: "a pause that nobody asked for",
        spoil: |s| s.freeze.max_pause_ns = 1,
        ..ARGUMENT2
    },
    Row {
        name: "a pause of more than a second",
        spoil: |s| {
            s.arg.flags |= FLAG_FREEZE;
            s.freeze.max_pause_ns = LARGEST_MAX_PAUSE_NS + 1;
        },
        ..ARGUMENT2
    },
    Row {
        name: "an answer that goes in",
        spoil: |s| {
            s.arg.flags |= FLAG_FREEZE;
            s.freeze.cpus = 1;
        },
        ..ARGUMENT2
    },
    Row {
        name: "stopped CPUs and suspended processes",
        spoil: |s| s.arg.flags |= FLAG_FREEZE | FLAG_QUIESCE,
        ..ARGUMENT2
    },
    Row {
        name: "stopped CPUs and changes",
        spoil: |s| s.arg.flags |= FLAG_FREEZE | FLAG_STABILITY,
        ..ARGUMENT2
    },
    Row {
        name: "a stream of which changes are wanted",
        last: Some(Method::PrivCheckRoot),
        spoil: |s| s.arg.flags |= FLAG_STABILITY,
        ..STREAM
    },
    Row {
        name: "no such descriptor",
        errno: Errno::EBADF,
        spoil: |s| s.open = false,
        ..GETVNODE
    },
    Row {
        name: "no CAP_WRITE",
        errno: Errno::ENOTCAPABLE,
        spoil: |s| s.no_cap_write = true,
        ..GETVNODE
    },
    Row {
        name: "a pipe",
        spoil: |s| s.descriptor = |_| Descriptor::of_kind(FileKind::Pipe),
        stream: false,
        ..GETVNODE
    },
    Row {
        name: "a socket",
        spoil: |s| s.descriptor = |_| Descriptor::of_kind(FileKind::Socket),
        stream: false,
        ..GETVNODE
    },
    Row {
        name: "a file as a stream",
        last: Some(Method::Getstream),
        spoil: |s| s.descriptor = |f| Descriptor::from_file(f).unwrap(),
        ..STREAM
    },
    Row {
        name: "O_PATH",
        errno: Errno::EBADF,
        spoil: |s| s.path_only = true,
        stream: false,
        ..GETVNODE
    },
    Row {
        name: "opened for reading",
        errno: Errno::EBADF,
        last: Some(Method::FileIsWritable),
        spoil: |s| s.read_only = true,
        ..BOTH
    },
    Row {
        name: "a directory",
        last: Some(Method::VnodeIsRegular),
        spoil: |s| not_regular(s, |_| Descriptor::of_kind(FileKind::Directory)),
        ..VNODE
    },
    Row {
        name: "a named pipe",
        last: Some(Method::VnodeIsRegular),
        spoil: |s| not_regular(s, |_| Descriptor::of_kind(FileKind::Fifo)),
        ..VNODE
    },
    Row {
        name: "a device",
        last: Some(Method::VnodeIsRegular),
        spoil: |s| not_regular(s, |_| Descriptor::of_kind(FileKind::Device)),
        ..VNODE
    },
    Row {
        name: "an unknown compression",
        last: Some(Method::VnodeIsRegular),
        // A level is one of a known codec's.
        spoil: |s| {
            if s.arg.level == 0 {
                s.arg.compression = 3;
            }
        },
        ..BOTH
    },
    Row {
        name: "a compressor that this kernel lacks",
        last: Some(Method::CompressorAvail),
        spoil: |s| s.compressors = false,
        ..BOTH
    },
    Row {
        name: "another dump",
        errno: Errno::EBUSY,
        last: Some(Method::LivedumpTryXlock),
        spoil: |s| s.busy = true,
        ..BOTH
    },
    Row {
        name: "a handler's veto",
        errno: Errno::ECANCELED,
        last: Some(Method::LivedumperStart),
        spoil: |s| s.veto = Some(Errno::ECANCELED),
        ..BOTH
    },
];

/// A pipe or a socket stays one: it is found out before.
fn not_regular(s: &mut Setup, kind: fn(File) -> Descriptor) {
    let d = (s.descriptor)(tempfile::tempfile().unwrap());
    if d.vnode().kind().is_vnode() {
        s.descriptor = kind;
    }
}

/// Plays a setup on `s`; the methods of [`ASKED`] that were.
fn play(s: &Scenario, setup: &Setup) -> (Result<()>, Vec<Method>) {
    let kernel = &s.kernel;
    kernel.grant_kmem_read(setup.kmem_read_for_all);
    kernel.set_compressors(setup.compressors, setup.compressors);
    let start = setup.veto.map(|errno| Arc::new(move || Err(errno)) as Arc<_>);
    kernel.set_events(Events { start, ..Events::default() });
    let process = kernel.process(setup.credentials);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"as it was").unwrap();
    let mut d = (setup.descriptor)(file.try_clone().unwrap());
    if setup.path_only {
        d = d.path_only();
    }
    if setup.read_only {
        d = d.read_only();
    }
    if setup.no_cap_write {
        d = d.without_cap_write();
    }
    let fd = process.install(d);
    if !setup.open {
        process.close(fd).unwrap();
    }
    let other = Caller::new(&s.process);
    if setup.busy {
        assert!(other.livedump_try_xlock());
    }
    let before = ASKED.map(|m| kernel.faults().calls(m));
    let result = ask(&process, setup, fd);
    let asked = ASKED.iter().zip(before);
    let asked = asked
        .filter(|&(&m, before)| kernel.faults().calls(m) > before)
        .map(|(&m, _)| m)
        .collect();
    if setup.busy {
        other.livedump_xunlock();
    }
    if result.is_err() {
        assert_eq!(file.metadata().unwrap().len(), 9, "the file was touched");
    }
    s.assert_at_rest();
    (result, asked)
}

fn ask(
    process: &livedump_hosted::process::Process,
    setup: &Setup,
    fd: i32,
) -> Result<()> {
    if setup.request >> 16 & 0x1fff == 32 {
        let arg = MemLivedumpArg {
            fd,
            flags: setup.stock_flags,
            compression: setup.arg.compression,
            ..MemLivedumpArg::default()
        };
        return process.ioctl(setup.request, &mut arg.encode());
    }
    let arg = MemMinidumpArg { fd, ..setup.arg };
    if setup.request >> 16 & 0x1fff == 192 {
        let mut data = [0; 192];
        let freeze = setup.freeze;
        MemMinidumpArg2 { arg, freeze }.encode(&mut data);
        return process.ioctl(setup.request, &mut data);
    }
    let mut data = [0; 128];
    arg.encode(&mut data);
    process.ioctl(setup.request, &mut data)
}

fn expect(
    kind: Kind,
    row: &Row,
    why: &str,
    (result, asked): (Result<()>, Vec<Method>),
) {
    assert_eq!(result, Err(row.errno), "{why}");
    // A descriptor is asked for once, as what it is to be.
    let last = match (kind, row.last) {
        (Kind::Stream, Some(Method::Getvnode)) => Some(Method::Getstream),
        (_, last) => last,
    };
    let allowed = match last {
        None => 0,
        Some(last) => ASKED.iter().position(|&m| m == last).unwrap() + 1,
    };
    let other = match kind {
        Kind::Stream => Method::Getvnode,
        _ => Method::Getstream,
    };
    let late =
        asked.iter().find(|m| **m == other || !ASKED[..allowed].contains(m));
    assert_eq!(late, None, "{why}: asked too much");
}

fn rows(kind: Kind) -> impl Iterator<Item = &'static Row> + Clone {
    ROWS.iter().filter(move |row| match kind {
        Kind::Stock => row.stock,
        Kind::Ours => row.ours,
        Kind::Ours2 => row.ours2,
        Kind::Stream => row.stream,
    })
}

#[test]
fn a_request_with_nothing_wrong_is_served() {
    let s = Scenario::model("size 16M");
    for kind in [Kind::Stock, Kind::Ours, Kind::Ours2] {
        let (result, asked) = play(&s, &Setup::good(kind));
        assert_eq!(result, Ok(()));
        let all = ASKED.iter().filter(|m| {
            let root = **m == Method::PrivCheckRoot;
            **m != Method::Getstream && !(root && kind == Kind::Stock)
        });
        assert!(asked.iter().eq(all), "{asked:?}");
    }
}

#[test]
fn every_check_has_its_errno() {
    let s = Scenario::model("size 16M");
    for kind in KINDS {
        for row in rows(kind) {
            let mut setup = Setup::good(kind);
            (row.spoil)(&mut setup);
            expect(kind, row, row.name, play(&s, &setup));
        }
    }
}

#[test]
fn of_two_failing_checks_the_earlier_one_answers() {
    let s = Scenario::model("size 16M");
    for kind in KINDS {
        for (i, earlier) in rows(kind).enumerate() {
            for later in rows(kind).skip(i + 1) {
                let mut setup = Setup::good(kind);
                (earlier.spoil)(&mut setup);
                (later.spoil)(&mut setup);
                let why = format!("{}, and {}", earlier.name, later.name);
                expect(kind, earlier, &why, play(&s, &setup));
            }
        }
    }
}

#[test]
fn flags_that_do_not_exist_are_refused() {
    let s = Scenario::model("size 16M");
    for bit in 0..32 {
        let mut setup = Setup::good(Kind::Ours);
        setup.arg.flags = 1 << bit;
        let want = match setup.arg.flags {
            FLAG_QUIESCE | FLAG_REGISTERS => Ok(()),
            // The list has nowhere to go: there is no descriptor 0.
            FLAG_STABILITY => Err(Errno::EBADF),
            // An estimate, and waiting when there is nobody to wait for.
            1 => Err(Errno::EINVAL),
            2 => Ok(()),
            _ => Err(Errno::EINVAL),
        };
        assert_eq!(play(&s, &setup).0, want, "bit {bit}");
    }
}

#[test]
fn stopping_the_machine_takes_the_larger_argument() {
    let s = Scenario::model("size 16M\ncpus 2");
    for (kind, want) in
        [(Kind::Ours, Err(Errno::EINVAL)), (Kind::Ours2, Ok(()))]
    {
        let mut setup = Setup::good(kind);
        setup.arg.flags |= FLAG_FREEZE;
        if kind == Kind::Ours2 {
            setup.freeze.max_pause_ns = LARGEST_MAX_PAUSE_NS;
        }
        assert_eq!(play(&s, &setup).0, want);
        // The registers are there with it or without.
        setup.arg.flags |= FLAG_REGISTERS;
        assert_eq!(play(&s, &setup).0, want);
        // An estimate stops nothing; with a descriptor it is none.
        setup.arg.flags = FLAG_FREEZE | FLAG_ESTIMATE;
        assert_eq!(play(&s, &setup).0, Err(Errno::EINVAL));
    }
}

#[test]
fn every_byte_of_the_larger_argument_that_only_comes_out_must_be_zero() {
    let s = Scenario::model("size 16M\ncpus 2");
    for (flags, first) in [(0, 128), (FLAG_FREEZE, 136)] {
        let mut good = [0; 192];
        let mut arg = s.frozen(0);
        arg.arg.flags = flags;
        if flags == 0 {
            arg.freeze = MinidumpFreeze::default();
        }
        arg.encode(&mut good);
        for at in first..192 {
            let mut data = good;
            data[at] = 1;
            let result = s.process.ioctl(MEM_MINIDUMP2, &mut data);
            assert_eq!(result, Err(Errno::EINVAL), "byte {at}");
        }
        assert_eq!(s.process.ioctl(MEM_MINIDUMP2, &mut good), Ok(()));
    }
}

#[test]
fn every_byte_of_padding_must_be_zero() {
    let s = Scenario::model("size 16M");
    let mut good = [0; 128];
    s.request(0).encode(&mut good);
    let reserved = (20..24).chain(88..92).chain(120..128);
    for at in [13].into_iter().chain(reserved) {
        let mut data = good;
        data[at] = 1;
        let result = s.process.ioctl(MEM_MINIDUMP, &mut data);
        assert_eq!(result, Err(Errno::EINVAL), "byte {at}");
    }
    assert_eq!(s.process.ioctl(MEM_MINIDUMP, &mut good), Ok(()));
}

#[test]
fn the_status_is_for_root_alone() {
    let s = Scenario::model("size 16M");
    let mut data = [0; 128];
    for who in [Credentials::NOBODY, Credentials::JAILED_ROOT] {
        let process = s.kernel.process(who);
        let result = process.ioctl(MEM_MINIDUMP_STATUS, &mut data);
        assert_eq!(result, Err(Errno::EPERM));
    }
    s.kernel.grant_kmem_read(false);
    let nobody = s.kernel.process(Credentials::NOBODY);
    let result = nobody.ioctl(MEM_MINIDUMP_STATUS, &mut data);
    assert_eq!(result, Err(Errno::EPERM));
}

#[test]
fn the_stock_request_is_everyones_where_the_kernel_says_so() {
    // As in 13.2 and 15.1: only the device's mode guards it.
    let s = Scenario::model("size 16M");
    let mut setup = Setup::good(Kind::Stock);
    setup.credentials = Credentials::NOBODY;
    assert_eq!(play(&s, &setup).0, Ok(()));
}

#[test]
fn requests_of_another_size_do_not_exist() {
    let s = Scenario::model("size 16M");
    for request in
        [MEM_KERNELDUMP, MEM_MINIDUMP, MEM_MINIDUMP2, MEM_MINIDUMP_STATUS]
    {
        for size in [0, 16, 31, 33, 64, 127, 129, 191, 193, 4096] {
            let request = request & !(0x1fff << 16) | size << 16;
            let mut data = vec![0; size as usize];
            let result = s.process.ioctl(request, &mut data);
            assert_eq!(result, Err(Errno::ENOTTY), "{request:#x}");
        }
    }
}
