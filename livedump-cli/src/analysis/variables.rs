// SPDX-License-Identifier: BSD-2-Clause
//! Variables of the kernel that sysctl(8) shows: what the machine has, what
//! limits it has, and how much of these is in use.

use super::target::Target;

/// The name of a variable, and of the sysctl that shows it.
const VARIABLES: &[(&str, &str)] = &[
    ("kern.hz", "hz"),
    ("hw.ncpu", "mp_ncpus"),
    ("kern.smp.maxid", "mp_maxid"),
    ("vm.ndomains", "vm_ndomains"),
    ("hw.physmem (pages)", "physmem"),
    ("hw.realmem (pages)", "realmem"),
    ("kern.osreldate", "osreldate"),
    ("kern.maxusers", "maxusers"),
    ("kern.maxproc", "maxproc"),
    ("kern.maxprocperuid", "maxprocperuid"),
    ("kern.nprocs", "nprocs"),
    ("kern.lastpid", "lastpid"),
    ("kern.maxfiles", "maxfiles"),
    ("kern.maxfilesperproc", "maxfilesperproc"),
    ("kern.openfiles", "openfiles"),
    ("kern.maxvnodes", "desiredvnodes"),
    ("vfs.numvnodes", "numvnodes"),
    ("vfs.freevnodes", "freevnodes"),
    ("kern.ipc.maxsockets", "maxsockets"),
    ("kern.ipc.nmbclusters", "nmbclusters"),
    ("kern.nbuf", "nbuf"),
    ("kern.nswbuf", "nswbuf"),
    ("vm.kmem_size", "vm_kmem_size"),
    ("vm.swap_total (bytes)", "swap_total"),
    ("vm.swap_reserved (bytes)", "swap_reserved"),
    ("kern.securelevel", "securelevel"),
    ("debug.bootverbose", "bootverbose"),
    ("debug.debugger_on_panic", "debugger_on_panic"),
    ("kern.rebooting", "rebooting"),
    ("kern.dumping", "dumping"),
];

/// A text, likewise.
const TEXTS: &[(&str, &str)] = &[
    ("kern.ostype", "ostype"),
    ("kern.osrelease", "osrelease"),
    ("kern.ident", "kern_ident"),
    ("hw.machine", "machine"),
    ("kern.compiler_version", "compiler_version"),
];
const MAX_TEXT: usize = 256;

/// What one has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A text.
    Text(Vec<u8>),
}

/// Those that the kernel has and the dump, too: the name that sysctl(8) has
/// for it, and the value.
#[must_use]
pub fn variables(t: &Target<'_>) -> Vec<(&'static str, Value)> {
    let text = |(shown, name): &(&'static str, &'static str)| {
        let text = t.c_string(t.address(name)?, MAX_TEXT)?;
        Some((*shown, Value::Text(text)))
    };
    let number = |(shown, name): &(&'static str, &'static str)| {
        Some((*shown, Value::Number(t.number(name)?)))
    };
    let texts = TEXTS.iter().filter_map(text);
    texts.chain(VARIABLES.iter().filter_map(number)).collect()
}

/// Bytes of a configuration file that are shown; GENERIC's has 12 KB.
const MAX_CONFIG: usize = 256 << 10;

/// The configuration file that the kernel was built from. C:
/// `kernconfstring`, with option INCLUDE_CONFIG_FILE; empty without.
#[must_use]
pub fn config(t: &Target<'_>) -> Option<Vec<u8>> {
    let symbol = t.kernel.find("kernconfstring")?;
    let limit = usize::try_from(symbol.size).ok()?.min(MAX_CONFIG);
    t.c_string(symbol.address, limit)
}
