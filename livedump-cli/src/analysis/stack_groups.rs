// SPDX-License-Identifier: BSD-2-Clause
//! Threads with the same stack and the same state. Stacks are compared by the
//! names of their functions, without offsets, so that they are the same in
//! another build as well; where no function is known, by the offset in the
//! module, so that it does not matter where that was loaded.
//!
//! Stacks that could not be read to their end are compared by the reason.

use super::clock::{Clock, longest};
use super::stack::{Frame, STALE, Source, Stacks};
use super::threads::{Thread, Threads};
use livedump_vmcore::unwind;
use std::collections::HashMap;

/// Frames of different stacks that are kept. A damaged dump may have as many
/// stacks as threads.
const MAX_FRAMES: usize = 4 << 20;
/// Places of all of them: an address without a function is one, too.
const MAX_PLACES: usize = 1 << 18;
/// Addresses whose functions are remembered.
const MAX_CACHED: usize = 1 << 18;
const TOO_MANY: &str = "too many different stacks";

/// What is at the address of a frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A function.
    Function {
        /// Its name.
        name: Vec<u8>,
        /// Its module, where that is not the kernel.
        module: Option<String>,
    },
    /// A module whose functions are not known.
    Module {
        /// Its name.
        name: String,
        /// How far into it.
        offset: u64,
    },
    /// Nothing that is known.
    Address(u64),
}

impl Place {
    /// The place of a frame.
    #[must_use]
    pub fn of(frame: &Frame) -> Self {
        let module = frame.module.as_ref();
        match (&frame.place, module) {
            (Some(p), Some(m)) if p.name == m.as_bytes() => {
                Self::Module { name: m.clone(), offset: p.offset }
            }
            (Some(p), _) => {
                Self::Function { name: p.name.clone(), module: module.cloned() }
            }
            (None, _) => Self::Address(frame.pc.0),
        }
    }
}

/// Which threads are looked for; all where nothing is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'f> {
    /// A function of the stack, which may be inlined in another.
    pub function: Option<&'f str>,
    /// A module that has a frame, with or without `.ko`.
    pub module: Option<&'f str>,
    /// The state.
    pub state: Option<&'f str>,
    /// The wait message, or the name of the lock.
    pub wmesg: Option<&'f str>,
}

impl Filter<'_> {
    /// Whether state and wait message are those.
    #[must_use]
    pub fn has_thread(&self, td: &Thread) -> bool {
        let message = td.wait_message().and_then(|m| m.text.as_deref());
        self.state.is_none_or(|state| state == td.state_word())
            && self.wmesg.is_none_or(|wmesg| message == Some(wmesg))
    }

    /// Whether the frames matter.
    fn is_of_frames(&self) -> bool {
        self.function.is_some() || self.module.is_some()
    }

    fn has_function(&self, frame: &Frame) -> bool {
        let is = |name: &[u8]| Some(name) == self.function.map(str::as_bytes);
        let inlined = frame.calls.iter().filter_map(|c| c.function.as_ref());
        let physical = match Place::of(frame) {
            Place::Function { name, .. } => is(&name),
            _ => false,
        };
        physical || inlined.into_iter().any(|name| is(name.as_bytes()))
    }

    fn has_module(&self, frame: &Frame) -> bool {
        let name = frame.module.as_deref();
        name.zip(self.module).is_some_and(|(name, wanted)| {
            name == wanted || name.strip_suffix(".ko") == Some(wanted)
        })
    }
}

/// A thread of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Its number in the list.
    pub thread: usize,
    /// For how long it has waited.
    pub seconds: Option<f64>,
}

/// Threads with the same stack and state.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// "run", "sleep" and so on.
    pub state: &'static str,
    /// Innermost first, or why it could not be read.
    pub stack: Result<Vec<Place>, String>,
    /// The longest wait first.
    pub members: Vec<Member>,
}

impl Group {
    /// The longest wait.
    #[must_use]
    pub fn seconds(&self) -> Option<f64> {
        self.members.first().and_then(|m| m.seconds)
    }
}

/// All groups.
#[derive(Debug, Default)]
pub struct StackGroups {
    /// The longest wait first, then the largest.
    pub groups: Vec<Group>,
    /// Threads whose stack could not be read to its end, also where for that
    /// reason they are in no group.
    pub incomplete: usize,
    /// Why, of the first.
    pub reason: Option<String>,
}

impl StackGroups {
    /// Reads the stacks of all threads that `filter` has.
    #[must_use]
    pub fn new(
        threads: &Threads,
        stacks: &Stacks<'_, '_>,
        clock: Option<Clock>,
        filter: Filter<'_>,
    ) -> Self {
        let mut frames = Frames {
            stacks,
            filter,
            places: Places::default(),
            cached: HashMap::new(),
        };
        let mut found = Grouping::default();
        let mut groups = Self::default();
        let all = threads.list.iter().enumerate();
        let wanted = all.filter(|(_, td)| filter.has_thread(td));
        // Where the file has them, so that a compressed one is unpacked once
        // and not once for each.
        let mut order: Vec<_> =
            wanted.map(|(n, td)| (stacks.place_in_file(td), n, td)).collect();
        order.sort_by_key(|&(at, n, _)| (at, n));
        let mut first = None;
        for (_, n, td) in order {
            let (stack, wanted) = frames.read(td);
            let seconds = clock.and_then(|clock| clock.waited(td));
            let member = Member { thread: n, seconds };
            let broken = stack.as_ref().err().cloned();
            let kept = !wanted || found.add(td.state_word(), stack, member);
            let why = broken.or_else(|| (!kept).then(|| TOO_MANY.into()));
            if let Some(why) = why {
                groups.incomplete = groups.incomplete.saturating_add(1);
                let earlier = first.as_ref().is_none_or(|&(m, _)| n < m);
                first = first.filter(|_| !earlier).or(Some((n, why)));
            }
        }
        groups.reason = first.map(|(_, why)| why);
        groups.groups = found.sorted(&frames.places);
        groups
    }
}

/// Places by number: a stack is compared by those.
#[derive(Debug, Default)]
struct Places {
    all: Vec<Place>,
    numbers: HashMap<Place, u32>,
}

impl Places {
    /// Its number; `None` where it is new and there are too many.
    fn number(&mut self, place: Place) -> Option<u32> {
        if let Some(&n) = self.numbers.get(&place) {
            return Some(n);
        }
        let n = Some(self.all.len()).filter(|&n| n < MAX_PLACES)?;
        let n = u32::try_from(n).ok()?;
        self.all.push(place.clone());
        self.numbers.insert(place, n);
        Some(n)
    }

    fn get(&self, n: u32) -> Option<Place> {
        self.all.get(n as usize).cloned()
    }
}

/// What is known of an address.
#[derive(Clone, Copy, Debug)]
struct Known {
    place: Option<u32>,
    has_function: bool,
    has_module: bool,
}

struct Frames<'s, 't, 'a, 'f> {
    stacks: &'s Stacks<'t, 'a>,
    filter: Filter<'f>,
    places: Places,
    cached: HashMap<(u64, u64), Known>,
}

impl Frames<'_, '_, '_, '_> {
    /// A stack by the numbers of its places, or why there is none; and
    /// whether it is one that is looked for.
    fn read(&mut self, td: &Thread) -> (Result<Vec<u32>, String>, bool) {
        let read = self.stacks.addresses(td);
        if let Source::Stale(_) = read.source {
            // Its frames are those of another moment.
            return (Err(STALE.into()), !self.filter.is_of_frames());
        }
        let broken = read.broken.map(|why| without_addresses(&why));
        let mut stack = Some(Vec::with_capacity(read.frames.len()));
        let (mut function, mut module) =
            (self.filter.function.is_none(), self.filter.module.is_none());
        // Of one that is broken the frames only count if one is looked for.
        if broken.is_none() || self.filter.is_of_frames() {
            for frame in &read.frames {
                let known = self.known(frame);
                function |= known.has_function;
                module |= known.has_module;
                match (&mut stack, known.place) {
                    (Some(stack), Some(place)) => stack.push(place),
                    (stack, _) => *stack = None,
                }
            }
        }
        let stack = match broken {
            Some(why) => Err(why),
            None => stack.ok_or_else(|| TOO_MANY.into()),
        };
        (stack, function && module)
    }

    fn known(&mut self, frame: &unwind::Frame) -> Known {
        let key = (frame.pc, frame.at);
        if let Some(&known) = self.cached.get(&key) {
            return known;
        }
        let frame = self.stacks.frame(frame);
        let known = Known {
            place: self.places.number(Place::of(&frame)),
            has_function: self.filter.has_function(&frame),
            has_module: self.filter.has_module(&frame),
        };
        if self.cached.len() < MAX_CACHED {
            self.cached.insert(key, known);
        }
        known
    }
}

/// A reason that is the same for all threads that have it.
fn without_addresses(why: &str) -> String {
    let mut out = String::with_capacity(why.len());
    let mut rest = why;
    while let Some((before, after)) = rest.split_once("0x") {
        out.push_str(before);
        out.push_str("0x...");
        rest = after.trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    out.push_str(rest);
    out
}

type Key = (&'static str, Result<Vec<u32>, String>);

/// Groups while they are being found.
#[derive(Debug, Default)]
struct Grouping {
    by_key: HashMap<Key, usize>,
    members: Vec<Vec<Member>>,
    /// Of all keys.
    frames: usize,
}

impl Grouping {
    /// Whether there is room for another such stack.
    fn has_room(&self, stack: &Result<Vec<u32>, String>) -> bool {
        let frames = stack.as_ref().map_or(0, Vec::len);
        self.frames.saturating_add(frames) <= MAX_FRAMES
    }

    /// Adds a thread; `false` where its stack is not kept.
    fn add(
        &mut self,
        state: &'static str,
        stack: Result<Vec<u32>, String>,
        member: Member,
    ) -> bool {
        let key = (state, stack);
        if let Some(group) =
            self.by_key.get(&key).and_then(|&n| self.members.get_mut(n))
        {
            group.push(member);
            return true;
        }
        if !self.has_room(&key.1) {
            self.add(state, Err(TOO_MANY.into()), member);
            return false;
        }
        let frames = key.1.as_ref().map_or(0, Vec::len);
        self.frames = self.frames.saturating_add(frames);
        self.by_key.insert(key, self.members.len());
        self.members.push(vec![member]);
        true
    }

    fn sorted(mut self, places: &Places) -> Vec<Group> {
        let keys = self.by_key.into_iter();
        let mut all: Vec<(Option<usize>, Group)> = keys
            .map(|((state, stack), n)| {
                let members = self.members.get_mut(n);
                let mut members =
                    members.map(std::mem::take).unwrap_or_default();
                members.sort_unstable_by_key(|m| m.thread);
                let first = members.first().map(|m| m.thread);
                members.sort_by(|a, b| longest(a.seconds, b.seconds));
                let stack = stack.map(|numbers| {
                    let all = numbers.into_iter();
                    all.filter_map(|n| places.get(n)).collect()
                });
                (first, Group { state, stack, members })
            })
            .collect();
        all.sort_by(|(first, a), (other, b)| {
            let larger = b.members.len().cmp(&a.members.len());
            let longer = longest(a.seconds(), b.seconds());
            longer.then(larger).then(first.cmp(other))
        });
        all.into_iter().map(|(_, group)| group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::symbols::SymbolOffset;
    use super::*;
    use livedump_vmcore::unwind::How;
    use memdev::addr::Vaddr;

    fn frame(
        pc: u64,
        name: Option<(&str, u64)>,
        module: Option<&str>,
    ) -> Frame {
        let place = name
            .map(|(name, offset)| SymbolOffset { name: name.into(), offset });
        Frame {
            pc: Vaddr(pc),
            place,
            module: module.map(String::from),
            how: How::FramePointer,
            calls: Vec::new(),
            arguments: None,
        }
    }

    fn member(thread: usize, seconds: Option<f64>) -> Member {
        Member { thread, seconds }
    }

    #[test]
    fn a_place_does_not_depend_on_where_code_was_loaded() {
        let of = |pc, name, module| Place::of(&frame(pc, name, module));
        // A function, wherever in it.
        assert_eq!(
            of(0x1010, Some(("f", 0x10)), None),
            of(0x2020, Some(("f", 0x20)), None)
        );
        // The same name in a module is another function.
        assert_ne!(
            of(1, Some(("f", 1)), Some("a.ko")),
            of(1, Some(("f", 1)), None)
        );
        // Only the module is known: the offset in it counts.
        let module = |pc, offset| of(pc, Some(("a.ko", offset)), Some("a.ko"));
        assert_eq!(module(0x1008, 8), module(0x9008, 8));
        assert_ne!(module(0x1008, 8), module(0x1009, 9));
        assert_ne!(of(1, None, None), of(2, None, None));
    }

    #[test]
    fn groups_are_sorted_by_the_longest_wait_and_then_by_size() {
        let mut places = Places::default();
        let mut stack = |names: &[&str]| -> Result<Vec<u32>, String> {
            let place = |n: &&str| Place::Function {
                name: n.as_bytes().to_vec(),
                module: None,
            };
            let numbers = names.iter().map(|n| places.number(place(n)));
            Ok(numbers.collect::<Option<_>>().unwrap())
        };
        let mut found = Grouping::default();
        let (ab, ac) = (stack(&["a", "b"]), stack(&["a", "c"]));
        for (n, state, stack, seconds) in [
            (0, "run", &ac, None),
            (1, "sleep", &ab, Some(1.0)),
            (2, "sleep", &ac, Some(9.0)),
            (3, "sleep", &ab, Some(2.0)),
            (4, "lock", &ab, None),
            (5, "lock", &ab, None),
            (6, "sleep", &ab, None),
        ] {
            assert!(found.add(state, stack.clone(), member(n, seconds)));
        }
        let all = found.sorted(&places);
        let found: Vec<(_, Vec<_>)> = all
            .iter()
            .map(|g| (g.state, g.members.iter().map(|m| m.thread).collect()))
            .collect();
        assert_eq!(
            found,
            [
                ("sleep", vec![2]),
                ("sleep", vec![3, 1, 6]),
                ("lock", vec![4, 5]),
                ("run", vec![0]),
            ]
        );
        assert_eq!(all[1].seconds(), Some(2.0));
        let names = all[1].stack.as_ref().unwrap();
        assert_eq!(names.len(), 2);
        assert_eq!(
            names[1],
            Place::Function { name: b"b".into(), module: None }
        );
    }

    #[test]
    fn stacks_that_cannot_be_read_are_one_group_for_a_reason() {
        assert_eq!(
            without_addresses("the frame at 0xfe00, 0x is not; 12"),
            "the frame at 0x..., 0x... is not; 12"
        );
        let mut found = Grouping::default();
        for (n, why) in ["at 0x1", "at 0x2f", "no pcb"].iter().enumerate() {
            let why = Err(without_addresses(why));
            assert!(found.add("sleep", why, member(n, None)));
        }
        let all = found.sorted(&Places::default());
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].stack, Err("at 0x...".into()));
        assert_eq!(all[0].members.len(), 2);
    }

    #[test]
    fn different_stacks_are_bounded() {
        let mut found =
            Grouping { frames: MAX_FRAMES - 3, ..Grouping::default() };
        assert!(found.add("run", Ok(vec![1, 2]), member(0, None)));
        assert!(!found.add("run", Ok(vec![1, 3]), member(1, None)));
        assert!(!found.add("run", Ok(vec![1, 4]), member(2, None)));
        // One that is there takes no room.
        assert!(found.add("run", Ok(vec![1, 2]), member(3, None)));
        let all = found.sorted(&Places::default());
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].stack, Err(TOO_MANY.into()));
        assert_eq!(all[1].members.len(), 2);
    }

    #[test]
    fn places_are_bounded() {
        let mut places = Places::default();
        for n in 0..MAX_PLACES as u64 {
            assert_eq!(places.number(Place::Address(n)), Some(n as u32));
        }
        assert_eq!(places.number(Place::Address(!0)), None);
        assert_eq!(places.number(Place::Address(7)), Some(7));
    }

    #[test]
    fn a_filter_finds_modules_with_and_without_their_suffix() {
        let of = frame(1, Some(("zio_wait", 4)), Some("zfs.ko"));
        for (module, has) in [("zfs", true), ("zfs.ko", true), ("zf", false)] {
            let filter = Filter { module: Some(module), ..Filter::default() };
            assert_eq!(filter.has_module(&of), has, "{module}");
        }
        for (function, has) in
            [("zio_wait", true), ("zio", false), ("zfs.ko", false)]
        {
            let function = Some(function);
            let filter = Filter { function, ..Filter::default() };
            assert_eq!(filter.has_function(&of), has, "{function:?}");
        }
    }
}
