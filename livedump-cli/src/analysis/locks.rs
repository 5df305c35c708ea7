// SPDX-License-Identifier: BSD-2-Clause
//! A lock, from its `struct lock_object` and its word. C: <sys/lock.h>,
//! <sys/mutex.h>, <sys/sx.h>, <sys/rwlock.h>, <sys/lockmgr.h>.
//!
//! Which class a lock has is told by its index into `lock_classes`, and that
//! by which of the kernel's `lock_class_*` stands there.

use super::target::{Target, at};
use super::threads::{TEXT_BYTES, Text};
use super::types::{Field, Missing, RequiredFields};
use livedump_vmcore::ReadError;
use memdev::addr::Vaddr;

/// C: `LO_INITIALIZED`.
const LO_INITIALIZED: u64 = 0x10000;
/// C: `LO_CLASSSHIFT`, `LOCK_CLASS_MAX`.
const CLASS_SHIFT: u32 = 24;
const CLASSES: u64 = 16;

/// C: `struct lock_class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `mtx(9)`, MTX_SPIN.
    SpinMutex,
    /// `mtx(9)`, MTX_DEF.
    Mutex,
    /// `sx(9)`.
    Sx,
    /// `rmlock(9)`, of both kinds: readers are on no list here.
    Rm,
    /// `rwlock(9)`.
    Rw,
    /// `lock(9)`.
    Lockmgr,
}

const SYMBOLS: [(&str, Class); 7] = [
    ("lock_class_mtx_spin", Class::SpinMutex),
    ("lock_class_mtx_sleep", Class::Mutex),
    ("lock_class_sx", Class::Sx),
    ("lock_class_rm", Class::Rm),
    ("lock_class_rm_sleepable", Class::Rm),
    ("lock_class_rw", Class::Rw),
    ("lock_class_lockmgr", Class::Lockmgr),
];

impl Class {
    /// FreeBSD's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::SpinMutex => "spin mutex",
            Self::Mutex => "mutex",
            Self::Sx => "sx",
            Self::Rm => "rm",
            Self::Rw => "rw",
            Self::Lockmgr => "lockmgr",
        }
    }
}

/// What a lock's word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// None.
    Free,
    /// A thread has it to itself, if there is one there.
    Thread(Vaddr),
    /// So many share it, where the count can be told; who they are is not
    /// recorded.
    Shared(Option<u64>),
    /// It was given to the kernel itself. C: `LK_KERNPROC`.
    Kernel,
    /// It is gone.
    Destroyed,
    /// Its word says nothing about that.
    NotRecorded,
}

/// A lock.
#[derive(Clone, Debug)]
pub struct Lock {
    /// C: `struct lock_object *`.
    pub address: Vaddr,
    /// Its class.
    pub class: Class,
    /// C: `lo_name`.
    pub name: Text,
    /// Its word, where it has one.
    pub word: Option<u64>,
    /// Its holder, by its word.
    pub holder: Holder,
    /// Its word says that a thread waits.
    pub contested: bool,
}

/// Reads locks.
#[derive(Debug)]
pub struct Locks<'t, 'a> {
    t: &'t Target<'a>,
    classes: Vec<Option<Class>>,
    name: Field,
    flags: Field,
    /// Of mtx, sx, rwlock and lock.
    words: [Field; 4],
    /// C: `SX_SHARERS_SHIFT`, `LK_SHARERS_SHIFT`; they have changed.
    shift: Option<u32>,
}

impl<'t, 'a> Locks<'t, 'a> {
    /// Gathers what is needed.
    ///
    /// # Errors
    /// All that is missing.
    pub fn new(t: &'t Target<'a>) -> Result<Self, Missing> {
        let mut required = RequiredFields::new(&t.types);
        let mut need = |of, field| required.field(of, field);
        let name = need("lock_object", "lo_name");
        let flags = need("lock_object", "lo_flags");
        let words = [
            need("mtx", "mtx_lock"),
            need("sx", "sx_lock"),
            need("rwlock", "rw_lock"),
            need("lock", "lk_lock"),
        ];
        required.check()?;
        let table = t
            .address("lock_classes")
            .ok_or_else(|| Missing(vec!["the symbol lock_classes".into()]))?;
        let known: Vec<_> = SYMBOLS
            .iter()
            .filter_map(|&(name, class)| Some((t.address(name)?, class)))
            .collect();
        let class = |i: u64| {
            let at = Vaddr(table.0.wrapping_add(i.wrapping_mul(8)));
            let found = t.core.read_u64(at).ok()?;
            let mut all = known.iter();
            all.find(|(at, _)| at.0 == found).map(|&(_, class)| class)
        };
        let classes = (0..CLASSES).map(class).collect();
        let shift = match t.osreldate() {
            0 => None,
            n if n < 1_300_000 => Some(4),
            _ => Some(5),
        };
        Ok(Self { t, classes, name, flags, words, shift })
    }

    /// The dump that they are of.
    #[must_use]
    pub fn target(&self) -> &'t Target<'a> {
        self.t
    }

    /// Symbols of classes that threads wait for and that the kernel's table
    /// does not have: locks of these are not known to be locks.
    #[must_use]
    pub fn missing_classes(&self) -> Vec<&'static str> {
        let missing = |class| !self.classes.contains(&Some(class));
        [Class::Mutex, Class::Rw, Class::Sx, Class::Lockmgr]
            .into_iter()
            .filter(|&class| missing(class))
            .map(Class::word)
            .collect()
    }

    /// The lock at an address; `None` where there is none.
    ///
    /// # Errors
    /// What is there is not in the dump.
    pub fn at(&self, address: Vaddr) -> Result<Option<Lock>, ReadError> {
        if !address.0.is_multiple_of(8) {
            return Ok(None);
        }
        let flags = self.t.get(address, self.flags)?;
        if flags & LO_INITIALIZED == 0 {
            return Ok(None);
        }
        let index = (flags >> CLASS_SHIFT) & CLASSES.saturating_sub(1);
        let class = self.classes.get(index as usize).copied().flatten();
        let Some(class) = class else { return Ok(None) };
        let name = self.t.get(address, self.name)?;
        let text = self.t.text(Vaddr(name), TEXT_BYTES);
        let name = Text { address: name, text };
        let [mtx, sx, rw, lk] = self.words;
        let word = match class {
            Class::SpinMutex | Class::Mutex => Some(mtx),
            Class::Sx => Some(sx),
            Class::Rw => Some(rw),
            Class::Lockmgr => Some(lk),
            Class::Rm => None,
        };
        let word = match word {
            Some(f) => Some(self.t.core.read_u64(at(address, f))?),
            None => None,
        };
        let (holder, contested) = match word {
            Some(word) => decode(class, word, self.shift),
            None => (Holder::NotRecorded, true),
        };
        Ok(Some(Lock { address, class, name, word, holder, contested }))
    }
}

/// The holder of a lock, and whether a thread waits for it.
fn decode(class: Class, word: u64, shift: Option<u32>) -> (Holder, bool) {
    match class {
        Class::SpinMutex | Class::Mutex => {
            let holder = match (word & 4 != 0, word & !7) {
                (true, _) => Holder::Destroyed,
                (_, 0) => Holder::Free,
                (_, owner) => Holder::Thread(Vaddr(owner)),
            };
            (holder, word & 2 != 0)
        }
        Class::Rm => (Holder::NotRecorded, true),
        Class::Sx | Class::Rw | Class::Lockmgr => {
            let contested = word & 6 != 0;
            // An rwlock's count has not moved.
            let shift = if class == Class::Rw { Some(5) } else { shift };
            let exclusive = word & !0x1f;
            let holder = if word & 1 != 0 {
                match shift {
                    Some(n) if word >> n == 0 => Holder::Free,
                    Some(n) => Holder::Shared(Some(word >> n)),
                    None if exclusive == 0 => Holder::Free,
                    None => Holder::Shared(None),
                }
            } else if class == Class::Lockmgr && exclusive == !0x1f {
                Holder::Kernel
            } else if exclusive == 0 {
                Holder::Destroyed
            } else {
                Holder::Thread(Vaddr(exclusive))
            };
            (holder, contested)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TD: u64 = 0xffff_f800_0336_9380;

    #[test]
    fn words_say_who_has_a_lock_and_whether_somebody_waits() {
        use Class::{Lockmgr, Mutex, Rm, Rw, Sx};
        let td = Holder::Thread(Vaddr(TD));
        for (class, word, holder, contested) in [
            (Mutex, 0, Holder::Free, false),
            (Mutex, TD, td, false),
            (Mutex, TD | 3, td, true),
            (Mutex, 4, Holder::Destroyed, false),
            (Sx, 1, Holder::Free, false),
            (Sx, TD | 4, td, true),
            (Sx, TD | 0x10, td, false),
            (Sx, 3 << 5 | 5, Holder::Shared(Some(3)), true),
            (Sx, 6, Holder::Destroyed, true),
            (Rw, 1, Holder::Free, false),
            (Rw, TD | 2, td, true),
            (Rw, 1 << 5 | 1, Holder::Shared(Some(1)), false),
            (Lockmgr, 1, Holder::Free, false),
            (Lockmgr, TD | 4, td, true),
            (Lockmgr, !0x1f, Holder::Kernel, false),
            (Lockmgr, !0x1f | 6, Holder::Kernel, true),
            (Rm, 7, Holder::NotRecorded, true),
        ] {
            assert_eq!(
                decode(class, word, Some(5)),
                (holder, contested),
                "{class:?} {word:#x}"
            );
        }
    }

    #[test]
    fn before_13_sharers_are_counted_a_bit_lower() {
        let two = 2 << 4 | 1;
        let got = decode(Class::Lockmgr, two, Some(4)).0;
        assert_eq!(got, Holder::Shared(Some(2)));
        let got = decode(Class::Sx, 2 << 5 | 1, None).0;
        assert_eq!(got, Holder::Shared(None));
        let got = decode(Class::Rw, 2 << 5 | 1, Some(4)).0;
        assert_eq!(got, Holder::Shared(Some(2)));
    }
}
