// SPDX-License-Identifier: BSD-2-Clause
//! The kernel's image: text, read-only data, data; and the symbols in them.
//! Names are the kernel's own: libkvm, kgdb and LLDB look them up.

use super::words::RecipeError;
use memdev::addr::{PAGE_SIZE, Vaddr};
use std::borrow::Cow;

/// A part of the image, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Text,
    Rodata,
    Data,
    Absolute,
}

/// A symbol.
#[derive(Clone, Debug)]
pub(super) struct Symbol {
    pub(super) name: Cow<'static, str>,
    pub(super) value: u64,
    pub(super) size: u64,
    pub(super) section: Section,
}

/// One section: its addresses, and what is still free.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: u64,
    next: u64,
    end: u64,
}

impl Part {
    fn new(start: u64, end: u64) -> Self {
        Self { start, next: start, end }
    }

    fn take(&mut self, size: u64, align: u64) -> Option<u64> {
        let at = self.next.next_multiple_of(align);
        let end = at.checked_add(size)?;
        (end <= self.end).then(|| {
            self.next = end;
            at
        })
    }
}

/// Where everything of the kernel's own is.
#[derive(Debug)]
pub(super) struct Image {
    text: Part,
    rodata: Part,
    data: Part,
    symbols: Vec<Symbol>,
}

impl Image {
    /// An image with its text at `start`. An eighth of the data, 1 MB at
    /// most, is read-only.
    pub(super) fn new(start: u64, text_bytes: u64, data_bytes: u64) -> Self {
        let page = PAGE_SIZE as u64;
        let data = start + text_bytes;
        let rodata_bytes =
            (data_bytes / 8).clamp(page, 1 << 20).min(data_bytes);
        let rodata_end = data + rodata_bytes.next_multiple_of(page);
        let end = data + data_bytes;
        Self {
            text: Part::new(start, data),
            rodata: Part::new(data, rodata_end.min(end)),
            data: Part::new(rodata_end.min(end), end),
            symbols: Vec::new(),
        }
    }

    fn part(&mut self, section: Section) -> Option<&mut Part> {
        match section {
            Section::Text => Some(&mut self.text),
            Section::Rodata => Some(&mut self.rodata),
            Section::Data => Some(&mut self.data),
            Section::Absolute => None,
        }
    }

    /// First address of a section, and the one behind it.
    pub(super) fn bounds(&self, section: Section) -> (u64, u64) {
        let p = match section {
            Section::Text => self.text,
            Section::Rodata => self.rodata,
            Section::Data => self.data,
            Section::Absolute => Part::new(0, 0),
        };
        (p.start, p.end)
    }

    /// Room without a name.
    pub(super) fn room(
        &mut self,
        section: Section,
        size: u64,
        align: u64,
    ) -> Result<u64, RecipeError> {
        self.part(section).and_then(|p| p.take(size, align)).ok_or_else(|| {
            RecipeError::machine(format!(
                "the kernel's {section:?} is too small for its contents"
            ))
        })
    }

    /// Room for a variable or a function.
    pub(super) fn define(
        &mut self,
        section: Section,
        name: impl Into<Cow<'static, str>>,
        size: u64,
    ) -> Result<u64, RecipeError> {
        let align = match size {
            0..=4 => 4,
            5..=63 => 8,
            _ => 64,
        };
        let value = self.room(section, size, align)?;
        let name = name.into();
        self.symbols.push(Symbol { name, value, size, section });
        Ok(value)
    }

    /// A name for a number, or for a place that is there already.
    pub(super) fn name(
        &mut self,
        section: Section,
        name: &'static str,
        value: u64,
    ) {
        let name = name.into();
        self.symbols.push(Symbol { name, value, size: 0, section });
    }

    pub(super) fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    pub(super) fn symbol(&self, name: &str) -> Option<Vaddr> {
        self.symbols.iter().find(|s| s.name == name).map(|s| Vaddr(s.value))
    }
}
