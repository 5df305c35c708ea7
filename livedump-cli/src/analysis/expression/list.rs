// SPDX-License-Identifier: BSD-2-Clause
//! The lists of queue(3), and of ck_queue.h: LIST, SLIST, STAILQ and TAILQ.
//! Which one it is, the names of the head's and the links' members say. A link
//! may also be a plain pointer to the next element.
//!
//! The elements of a live dump were copied at different moments: each back
//! link and the head's last one is compared, and what does not match is said.

use super::error::ExpressionError;
use super::evaluate::{Evaluator, part};
use super::value::{At, Value};
use crate::analysis::types::reader::{CType, Resolved};
use livedump_vmcore::chain;
use std::collections::HashSet;

/// Elements that are walked, where no other number is given.
pub const DEFAULT_LIMIT: usize = 10_000;
/// What is said to be wrong with one list.
const MAX_PROBLEMS: usize = 16;

/// A list, as far as it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Its elements' type.
    pub of: CType,
    /// Where they are.
    pub elements: Vec<u64>,
    /// What is wrong with it.
    pub problems: Vec<String>,
    /// There are more than were to be walked.
    pub is_cut: bool,
    /// A part of it could not be read by this host.
    pub is_environment: bool,
}

/// How elements are linked.
struct Link {
    /// From an element to its next pointer.
    next: u64,
    /// To its back pointer, where it has one.
    prev: Option<u64>,
}

/// The head of a list.
struct Head {
    /// The first element; 0 if there is none.
    first: u64,
    /// Where that is written.
    at: Option<u64>,
    /// What the head says is where the last next pointer is.
    last: Option<u64>,
    /// The elements' type.
    of: CType,
}

type Result<T> = std::result::Result<T, ExpressionError>;

/// Walks the list whose head, or whose first element, is `start`; elements are
/// linked by their member `field`.
///
/// # Errors
/// It is no list. One that cannot be read to its end has problems.
pub fn walk(
    e: &Evaluator<'_>,
    start: &Value,
    field: &str,
    limit: usize,
) -> Result<List> {
    let head = head(e, start)?;
    let link = link(e, &head.of, field)?;
    let mut list = List {
        of: head.of,
        elements: Vec::new(),
        problems: Vec::new(),
        is_cut: false,
        is_environment: false,
    };
    let mut seen = HashSet::new();
    let (mut next, mut from) = (head.first, head.at);
    while next != 0 {
        if list.elements.len() >= limit {
            list.is_cut = true;
            return Ok(list);
        }
        if !seen.insert(next) {
            list.problem(format!("a cycle: {next:#x} is linked twice"));
            return Ok(list);
        }
        // What cannot be read is no element.
        let element = next;
        let at = element.wrapping_add(link.next);
        let Some(after) = pointer(e, at, &mut list) else {
            return Ok(list);
        };
        list.elements.push(element);
        if let (Some(prev), Some(from)) = (link.prev, from)
            && let Some(found) =
                pointer(e, element.wrapping_add(prev), &mut list)
            && found != from
        {
            list.problem(format!(
                "the back link of {element:#x} is {found:#x}, expected \
                 {from:#x}"
            ));
        }
        (next, from) = (after, Some(at));
    }
    // Of an empty list it is where the first would be.
    if let (Some(last), Some(from)) = (head.last, from)
        && last != from
    {
        list.problem(format!(
            "the list ends at {from:#x}, but its head has {last:#x} as its \
             end: it was changed while it was copied, or it is damaged"
        ));
    }
    Ok(list)
}

impl List {
    fn problem(&mut self, text: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(text);
        }
    }
}

/// A pointer; what is wrong if there is none.
fn pointer(e: &Evaluator<'_>, at: u64, list: &mut List) -> Option<u64> {
    let value = Value::memory(CType::Void.pointer(), at);
    match e.load(&value) {
        Ok(n) => Some(n),
        Err(why) => {
            list.is_environment |= why.is_environment();
            list.problem(chain(&why));
            None
        }
    }
}

fn no_list<T>(text: String) -> Result<T> {
    Err(ExpressionError::NotAList(text))
}

fn head(e: &Evaluator<'_>, start: &Value) -> Result<Head> {
    let types = e.types();
    let name = types.text(&start.of)?;
    let (id, at) = match types.resolve(&start.of)? {
        Resolved::Record(id, Some(_)) => (id, start.address()),
        // The first element itself.
        Resolved::Pointer(of) => {
            let first = e.load(start)?;
            return Ok(Head { first, at: start.address(), last: None, of });
        }
        _ => {
            return no_list(format!(
                "{name} is neither the head of a list nor a pointer to its \
                 first element"
            ));
        }
    };
    let at = at.unwrap_or(0);
    let (mut first, mut last) = (None, None);
    for m in types.members(id)? {
        let Some(member) = m.name else { continue };
        let of = m.of.map_or(CType::Void, CType::Known);
        let place = at.wrapping_add(m.at_bits / 8);
        if member.ends_with("h_first") && first.is_none() {
            first = Some((place, of));
        } else if member.ends_with("h_last") {
            last = Some(place);
        }
    }
    let Some((place, of)) = first else {
        return no_list(format!(
            "{name} is not the head of a list of queue(3): it has no first \
             element"
        ));
    };
    let Resolved::Pointer(element) = types.resolve(&of)? else {
        return no_list(format!("the first element of {name} is no pointer"));
    };
    let first = e.load(&Value::memory(of, place))?;
    let last = match last {
        Some(at) => Some(e.load(&Value::memory(CType::Void.pointer(), at))?),
        None => None,
    };
    Ok(Head { first, at: Some(place), last, of: element })
}

fn link(e: &Evaluator<'_>, of: &CType, field: &str) -> Result<Link> {
    let types = e.types();
    // As if an element were at 0, so that a missing member is said as for any
    // expression.
    let value = e.member_of(of, 0, field)?;
    let At::Memory(at) = value.at else {
        return no_list(format!("{field} is a bit field"));
    };
    match types.resolve(&value.of)? {
        Resolved::Pointer(_) => Ok(Link { next: at, prev: None }),
        Resolved::Record(id, Some(_)) => {
            let (mut next, mut prev) = (None, None);
            for m in types.members(id)? {
                let place = at.wrapping_add(m.at_bits / 8);
                match m.name.as_deref() {
                    Some(name) if name.ends_with("e_next") => {
                        next = Some(place);
                    }
                    Some(name) if name.ends_with("e_prev") => {
                        prev = Some(place);
                    }
                    _ => {}
                }
            }
            match next {
                Some(next) => Ok(Link { next, prev }),
                None => no_list(format!(
                    "{field} is not a link of queue(3): it has no next element"
                )),
            }
        }
        _ => no_list(format!("{field} is not a link of queue(3)")),
    }
}

/// The elements as values.
pub fn values(list: &List) -> impl Iterator<Item = Value> + '_ {
    let of = &list.of;
    list.elements.iter().map(|&at| part(at, 0, None, of.clone()))
}
