// SPDX-License-Identifier: BSD-2-Clause
use super::*;
use std::collections::HashMap;

const STACK: u64 = 0xffff_fe00_0001_0000;
const NMI: u64 = 0xffff_fe00_0900_0000;
const TEXT: u64 = 0xffff_ffff_8020_0000;

/// Code without debug information: functions of 256 bytes.
struct Functions(&'static [&'static str]);

impl Code for Functions {
    fn debug(&self, _: u64) -> Option<&DebugInfo<'_>> {
        None
    }

    fn symbol(&self, at: u64) -> Option<Vec<u8>> {
        let n = usize::try_from(at.checked_sub(TEXT)? / 256).ok()?;
        self.0.get(n).map(|name| name.as_bytes().to_vec())
    }

    fn entry(&self, _: &str) -> Option<u64> {
        None
    }
}

/// An address in the function of this number.
fn within(n: u64) -> u64 {
    TEXT + n * 256 + 0x40
}

fn unwind(
    machine: Machine,
    code: &Functions,
    words: &[(u64, u64)],
    (pc, sp, fp): (u64, u64, u64),
) -> (Vec<(u64, &'static str)>, Option<String>) {
    let words: HashMap<u64, u64> = words.iter().copied().collect();
    let read =
        |at: u64| words.get(&at).copied().ok_or_else(|| "not dumped".into());
    let unwinder = Unwinder { code, memory: &read, with_cfi: true };
    let mut first = Registers::new(machine, pc);
    first.set(debuginfo::sp(machine), Some(sp));
    first.set(debuginfo::fp(machine), Some(fp));
    let found = unwinder.unwind(first, Some((STACK, STACK + 0x4000)));
    let frames = found.frames.iter().map(|f| (f.pc, f.how.word()));
    (frames.collect(), found.broken)
}

/// A trap frame of amd64 at an address.
fn trap_frame(
    at: u64,
    (pc, sp, fp): (u64, u64, u64),
    cs: u64,
) -> Vec<(u64, u64)> {
    let mut words: Vec<_> = (0..24).map(|n| (at + n * 8, 0)).collect();
    for (offset, value) in
        [(0x40, fp), (0x98, pc), (0xa0, cs), (0xa8, 0x246), (0xb0, sp)]
    {
        words.retain(|w| w.0 != at + offset);
        words.push((at + offset, value));
    }
    words
}

const CODE: Functions =
    Functions(&["trap", "calltrap", "leaf", "caller", "fork_trampoline"]);

#[test]
fn a_stack_goes_on_behind_a_trap_frame_on_another_stack() {
    // trap() was called by calltrap, with the trap frame at the stack
    // pointer; what was interrupted is on the thread's own stack.
    let mut words =
        trap_frame(NMI + 0x20, (within(2), STACK + 0x100, STACK + 0x110), 0x20);
    words.extend([(NMI + 0x10, STACK + 0x110), (NMI + 0x18, within(1))]);
    words.extend([(STACK + 0x110, STACK + 0x200)]);
    words.extend([(STACK + 0x118, within(3))]);
    words.extend([(STACK + 0x200, 0), (STACK + 0x208, within(4))]);
    let first = (within(0), NMI, NMI + 0x10);
    let (frames, broken) = unwind(Machine::Amd64, &CODE, &words, first);
    assert_eq!(broken, None);
    assert_eq!(
        frames,
        [
            (within(0), "registers"),
            (within(1), "frame pointer"),
            (within(2), "trap"),
            (within(3), "frame pointer"),
            (within(4), "frame pointer"),
        ]
    );
}

#[test]
fn a_trap_frame_of_user_mode_ends_a_stack() {
    let user = (0x20_1000, 0x7fff_0000, 0x7fff_0010);
    let mut words = trap_frame(STACK + 0x20, user, 0x43);
    words.extend([(STACK + 0x10, STACK + 0x100), (STACK + 0x18, within(1))]);
    // There is a frame behind it, by its frame pointer.
    words.extend([(STACK + 0x100, 0), (STACK + 0x108, within(3))]);
    let first = (within(0), STACK, STACK + 0x10);
    let (frames, broken) = unwind(Machine::Amd64, &CODE, &words, first);
    assert_eq!((frames.len(), broken), (2, None));
}

#[test]
fn what_is_no_trap_frame_is_not_taken_for_one() {
    // Code segment of nobody; flags that cannot be; a pc of user mode.
    for (offset, value) in [(0xa0, 0x21), (0xa8, 0x8000), (0x98, 0x1000)] {
        let at = STACK + 0x20;
        let mut words = trap_frame(at, (within(2), STACK + 0x100, 0), 0x20);
        words.retain(|w| w.0 != at + offset);
        words.push((at + offset, value));
        words.extend([(STACK + 0x10, STACK + 0x200)]);
        words.extend([(STACK + 0x18, within(1))]);
        words.extend([(STACK + 0x200, 0), (STACK + 0x208, within(3))]);
        let first = (within(0), STACK, STACK + 0x10);
        let (frames, _) = unwind(Machine::Amd64, &CODE, &words, first);
        let hows: Vec<_> = frames.iter().map(|f| f.1).collect();
        let want = ["registers", "frame pointer", "frame pointer"];
        assert_eq!(hows, want, "{offset:#x}");
    }
}

#[test]
fn trap_frames_that_lead_to_each_other_end() {
    // What was interrupted was in calltrap itself, at the same trap frame.
    let at = STACK + 0x20;
    let words = trap_frame(at, (within(1), at, STACK + 0x10), 0x20);
    let first = (within(1), at, STACK + 0x10);
    let (frames, broken) = unwind(Machine::Amd64, &CODE, &words, first);
    assert_eq!(frames.len(), 1);
    assert!(broken.unwrap().contains("trap"));
    // Two of them, on two stacks.
    let mut words = trap_frame(at, (within(1), NMI, 0), 0x20);
    words.extend(trap_frame(NMI, (within(1), at, 0), 0x20));
    let (frames, broken) = unwind(Machine::Amd64, &CODE, &words, first);
    assert!(frames.len() <= MAX_TRAPS + 1, "{}", frames.len());
    assert!(broken.unwrap().contains("traps"));
}

#[test]
fn frames_have_an_end() {
    let mut words = Vec::new();
    for n in 0..400 {
        let at = STACK + 0x10 + n * 0x10;
        words.extend([(at, at + 0x10), (at + 8, within(3))]);
    }
    let first = (within(0), STACK, STACK + 0x10);
    let (frames, broken) = unwind(Machine::Amd64, &CODE, &words, first);
    assert_eq!(frames.len(), MAX_FRAMES);
    assert!(broken.unwrap().contains("more than 256 frames"));
}

#[test]
fn arm64_goes_through_its_exception_vectors() {
    const CODE: Functions = Functions(&[
        "do_el1h_sync",
        "handle_el1h_sync",
        "leaf",
        "caller",
        "handle_el0_sync",
    ]);
    // As in 15.1, and as in 13.2.
    for (x, gap) in [(48, 128), (32, 144)] {
        let (at, size) = (STACK + 0x100, x + 240);
        let fp = at + size;
        // sp, lr, elr, spsr; x29.
        let mut words: Vec<_> =
            (0..size / 8).map(|n| (at + n * 8, 0)).collect();
        for (offset, value) in [
            (0, fp + gap),
            (8, within(3)),
            (16, within(2)),
            (24, 0x6000_0005),
            (x + 29 * 8, STACK + 0x410),
        ] {
            words.retain(|w| w.0 != at + offset);
            words.push((at + offset, value));
        }
        words.extend([(STACK + 0x10, fp), (STACK + 0x18, within(1))]);
        words.extend([(STACK + 0x410, 0), (STACK + 0x418, within(3))]);
        words.push((at - 16, 0));
        words.push((at - 8, 0));
        let first = (within(0), STACK, STACK + 0x10);
        let (frames, broken) = unwind(Machine::Arm64, &CODE, &words, first);
        assert_eq!(broken, None, "{x}");
        assert_eq!(
            frames,
            [
                (within(0), "registers"),
                (within(1), "frame pointer"),
                (within(2), "trap"),
                (within(3), "frame pointer"),
            ]
        );
    }
}

/// As a torn stack does, whose words are of two moments.
#[test]
fn a_stack_that_ends_in_no_function_is_not_whole() {
    let nowhere = TEXT + 100 * 256;
    for (fp, back) in [(0, nowhere), (0x10_0000, TEXT - 1)] {
        let words = [
            (STACK + 0x10, STACK + 0x40),
            (STACK + 0x18, within(3)),
            (STACK + 0x40, fp),
            (STACK + 0x48, back),
        ];
        let first = (within(2), STACK, STACK + 0x10);
        let (frames, broken) = unwind(Machine::Amd64, &CODE, &words, first);
        assert_eq!(frames.len(), 3);
        let broken = broken.unwrap();
        assert!(broken.contains("no known function"), "{broken}");
        assert!(broken.contains(&format!("{back:#x}")), "{broken}");
    }
    // So is one that never was in any.
    let first = (nowhere, STACK, 0);
    let (frames, broken) = unwind(Machine::Amd64, &CODE, &[], first);
    assert_eq!(frames.len(), 1);
    assert!(broken.unwrap().contains("no known function"));
}
