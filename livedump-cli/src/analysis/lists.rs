// SPDX-License-Identifier: BSD-2-Clause
//! The lists of <sys/queue.h>. Whatever their kind, the first element is where
//! the head points, and the next where the link's first word does. A live
//! dump's may lead anywhere: a walk ends at the first element that it has
//! seen, that cannot be read, or that is one too many, and says so.

use super::target::{Target, at, read_error_text};
use super::types::Field;
use memdev::addr::Vaddr;
use std::collections::HashSet;

/// What a walk has found.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// The elements, in order.
    pub(super) elements: Vec<Vaddr>,
    /// Why there may be more.
    pub(super) problem: Option<String>,
}

/// Walks a list of at most `most` elements.
pub(super) fn walk(
    t: &Target<'_>,
    what: &str,
    head: Vaddr,
    link: Field,
    most: usize,
) -> Walked {
    let mut found = Walked::default();
    let mut seen = HashSet::new();
    let mut next = head;
    loop {
        let element = match t.core.read_u64(next) {
            Ok(0) => return found,
            Ok(element) => Vaddr(element),
            Err(e) => {
                let why = read_error_text(&e);
                found.problem = Some(format!("{what}: {why}"));
                return found;
            }
        };
        if !seen.insert(element.0) {
            found.problem = Some(format!("{what}: {element} is linked twice"));
            return found;
        }
        if found.elements.len() >= most {
            found.problem = Some(format!("{what}: more than {most} elements"));
            return found;
        }
        found.elements.push(element);
        next = at(element, link);
    }
}
