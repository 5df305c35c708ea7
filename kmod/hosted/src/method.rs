// SPDX-License-Identifier: BSD-2-Clause
//! The KPI's methods as values: what a step was, and what it fails with when
//! a script says no more than that it fails.

use livedump_kmod::error::Errno;

macro_rules! methods {
    ($($name:ident $text:literal $($errno:ident)?,)*) => {
        /// A method of the KPI (`Compress` is the compressor's).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "named after the methods")]
        pub enum Method {
            $($name,)*
        }

        impl Method {
            /// All of them, in the trait's order.
            pub const ALL: &'static [Method] = &[$(Method::$name,)*];

            /// The method's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Method::$name => $text,)*
                }
            }

            /// What it fails with where a script names no errno; `None` when
            /// it cannot fail.
            #[must_use]
            pub fn errno(self) -> Option<Errno> {
                match self {
                    $(Method::$name => {
                        const E: &[Errno] = &[$(Errno::$errno)?];
                        E.first().copied()
                    })*
                }
            }
        }
    };
}

methods! {
    PrivCheckKmemRead "priv_check_kmem_read" EPERM,
    PrivCheckRoot "priv_check_root" EPERM,
    SigIntr "sig_intr" EINTR,
    Pid "pid",
    Getvnode "getvnode" EBADF,
    Fdrop "fdrop",
    FileIsWritable "file_is_writable",
    VnodeIsRegular "vnode_is_regular",
    SameVnode "same_vnode",
    FileIsServed "file_is_served",
    RangelockWlock "rangelock_wlock" EAGAIN,
    RangelockUnlock "rangelock_unlock",
    VnTruncate "vn_truncate" EIO,
    VnWrite "vn_write" ENOSPC,
    VnCheck "vn_check" EINTEGRITY,
    Getstream "getstream" EBADF,
    IsReadByCaller "is_read_by_caller",
    FoWrite "fo_write" EPIPE,
    LivedumpTryXlock "livedump_try_xlock" EBUSY,
    LivedumpXlockSig "livedump_xlock_sig" EINTR,
    LivedumpXunlock "livedump_xunlock",
    Quiesce "quiesce" EINTR,
    SuspendPass "suspend_pass",
    Quiesced "quiesced" EAGAIN,
    Pause "pause",
    Resume "resume",
    LivedumperStart "livedumper_start" EPERM,
    LivedumperDump "livedumper_dump" EPERM,
    LivedumperFinish "livedumper_finish",
    DumpSavectx "dump_savectx",
    Cpus "cpus",
    Debugger "debugger",
    Instant "instant" ENOMEM,
    Freeze "freeze" ETIMEDOUT,
    MallocWords "malloc_words" ENOMEM,
    MallocPages "malloc_pages" ENOMEM,
    MallocArray "malloc_array" ENOMEM,
    Monitor "monitor" ENOMEM,
    FreePages "free_pages",
    Copies "copies" ENOMEM,
    DumpKeys "dump_keys" E2BIG,
    Ncpus "ncpus",
    WithWorkers "with_workers" EAGAIN,
    Target "target",
    DumpAvail "dump_avail",
    CopyBitset "copy_bitset",
    CopyMsgbuf "copy_msgbuf",
    LinkedPages "linked_pages",
    LoadEntry "load_entry",
    PhysInDmap "phys_in_dmap",
    VmPhysIsDumpable "vm_phys_is_dumpable",
    ReadPage "read_page" EFAULT,
    PageIsZero "page_is_zero",
    MaybeYield "maybe_yield",
    CompressorAvail "compressor_avail",
    CompressorLevel "compressor_level",
    CompressorInit "compressor_init" ENOMEM,
    Compress "compress" E2BIG,
    TimeSecond "time_second",
    Nanouptime "nanouptime",
    Hostname "hostname",
    Version "version",
}

impl core::fmt::Display for Method {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
