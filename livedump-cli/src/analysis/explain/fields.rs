// SPDX-License-Identifier: BSD-2-Clause
//! Fields by name, of structures that a release may lay out otherwise or a
//! damaged dump may not have. What no type information has is remembered: a
//! wait that could not be followed for want of it is not one that ends there.

use crate::analysis::target::Target;
use crate::analysis::types::{Field, FieldId};
use memdev::addr::Vaddr;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// A pointer of C's, which is not NULL.
pub(in crate::analysis) type Pointer = u64;

/// Reads fields of a dump.
#[derive(Debug)]
pub(in crate::analysis) struct Fields<'t, 'a> {
    pub(in crate::analysis) t: &'t Target<'a>,
    missing: RefCell<BTreeSet<FieldId>>,
}

impl<'t, 'a> Fields<'t, 'a> {
    pub(in crate::analysis) fn new(t: &'t Target<'a>) -> Self {
        Self { t, missing: RefCell::default() }
    }

    /// Whether all of the dump is of one instant.
    pub(in crate::analysis) fn is_of_one_instant(&self) -> bool {
        self.t.core.is_frozen() || self.t.has_panicked()
    }

    /// All that was asked for and is not known: `vnode.v_mount`.
    pub(in crate::analysis) fn missing(&self) -> Vec<String> {
        let all = self.missing.borrow();
        all.iter().map(|(of, name)| format!("{of}.{name}")).collect()
    }

    /// Where a field is, if its type is known.
    pub(in crate::analysis) fn field(
        &self,
        of: &'static str,
        name: &'static str,
    ) -> Option<Field> {
        let field = self.t.types.field(of, name);
        if field.is_none() {
            self.missing.borrow_mut().insert((of, name));
        }
        field
    }

    /// The same, where an older or newer release does not have it.
    pub(in crate::analysis) fn optional(
        &self,
        of: &'static str,
        name: &'static str,
    ) -> Option<Field> {
        self.t.types.field(of, name)
    }

    /// Whether a field is known. Where a wait may or may not be of some kind,
    /// this is asked first: a field that is missing then says nothing.
    pub(in crate::analysis) fn has(
        &self,
        of: &'static str,
        name: &'static str,
    ) -> bool {
        self.optional(of, name).is_some()
    }

    /// The value of a field.
    pub(in crate::analysis) fn get(
        &self,
        at: Pointer,
        of: &'static str,
        name: &'static str,
    ) -> Option<u64> {
        let field = self.field(of, name)?;
        self.t.get(Vaddr(at), field).ok()
    }

    /// A pointer that is not NULL.
    pub(in crate::analysis) fn pointer(
        &self,
        at: Pointer,
        of: &'static str,
        name: &'static str,
    ) -> Option<Pointer> {
        self.get(at, of, name).filter(|&n| n != 0)
    }

    /// The address of a field.
    pub(in crate::analysis) fn address(
        &self,
        at: Pointer,
        of: &'static str,
        name: &'static str,
    ) -> Option<Pointer> {
        let offset = self.field(of, name)?.offset;
        Some(at.wrapping_add(offset))
    }

    /// The structure whose field is at `at`. C: `__containerof`.
    pub(in crate::analysis) fn container(
        &self,
        at: Pointer,
        of: &'static str,
        name: &'static str,
    ) -> Option<Pointer> {
        let offset = self.field(of, name)?.offset;
        Some(at.wrapping_sub(offset))
    }

    /// An array of characters within a structure.
    pub(in crate::analysis) fn array(
        &self,
        at: Pointer,
        of: &'static str,
        name: &'static str,
        limit: usize,
    ) -> Option<String> {
        self.text(self.address(at, of, name)?, limit)
    }

    /// A string.
    pub(in crate::analysis) fn text(
        &self,
        at: Pointer,
        limit: usize,
    ) -> Option<String> {
        self.t.text(Vaddr(at), limit)
    }

    /// Eight bytes.
    pub(in crate::analysis) fn word(&self, at: Pointer) -> Option<u64> {
        self.t.core.read_u64(Vaddr(at)).ok()
    }

    /// The address of a variable of one CPU. C: `DPCPU_ID_PTR`.
    pub(in crate::analysis) fn per_cpu(
        &self,
        symbol: &str,
        cpu: u32,
    ) -> Option<Pointer> {
        let offsets = self.t.kernel.find("dpcpu_off")?;
        let skip = u64::from(cpu).checked_mul(8)?;
        // A kernel without symbol sizes is bounded by what it maps.
        if offsets.size != 0 && skip >= offsets.size {
            return None;
        }
        let offset = self.word(offsets.address.0.wrapping_add(skip))?;
        let symbol = self.t.address(symbol)?;
        (offset != 0).then(|| offset.wrapping_add(symbol.0))
    }
}
