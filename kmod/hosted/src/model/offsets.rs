// SPDX-License-Identifier: BSD-2-Clause
//! Where fields stand in `struct proc`, `struct thread` and
//! `struct linker_file`. Those that kernels export are a real 13's for every
//! release; the others are what each release has. A reader has to take them
//! from the kernel's file, and a recipe may move each to see that it does.

use super::recipe::Recipe;
use super::words::RecipeError;
use memdev::arch::Machine;

/// Room for a struct proc or a struct thread.
pub(super) const SLOT: u64 = 2048;

/// A field: its name, amd64's and arm64's offset, its bytes, and the constant
/// the kernel exports it by.
struct Field(&'static str, u32, u32, u32, Option<&'static str>);

const FIELDS: &[Field] = &[
    Field("p_list", 0, 0, 16, Some("proc_off_p_list")),
    Field("p_threads", 16, 16, 16, Some("proc_off_p_threads")),
    Field("p_ucred", 64, 64, 8, None),
    Field("p_fd", 72, 72, 8, None),
    Field("p_flag", 184, 184, 4, None),
    Field("p_pid", 196, 196, 4, Some("proc_off_p_pid")),
    Field("p_hash", 200, 200, 16, Some("proc_off_p_hash")),
    Field("p_pptr", 232, 232, 8, None),
    Field("p_sibling", 240, 240, 16, None),
    Field("p_children", 256, 256, 8, None),
    Field("p_comm", 984, 984, 20, Some("proc_off_p_comm")),
    Field("td_lock", 0, 0, 8, None),
    Field("td_proc", 8, 8, 8, None),
    Field("td_plist", 16, 16, 16, Some("thread_off_td_plist")),
    Field("td_tid", 160, 160, 4, Some("thread_off_td_tid")),
    Field("td_slpq", 48, 48, 16, None),
    Field("td_lockq", 64, 64, 16, None),
    Field("td_inhibitors", 256, 256, 4, None),
    Field("td_sqqueue", 272, 272, 4, None),
    Field("td_wchan", 280, 280, 8, None),
    Field("td_wmesg", 288, 288, 8, None),
    Field("td_tsqueue", 297, 297, 1, None),
    Field("td_rw_rlocks", 300, 300, 2, None),
    Field("td_sx_slocks", 302, 302, 2, None),
    Field("td_lk_slocks", 304, 304, 2, None),
    Field("td_blocked", 312, 312, 8, None),
    Field("td_lockname", 320, 320, 8, None),
    Field("td_slptick", 376, 376, 4, None),
    Field("td_blktick", 380, 380, 4, None),
    Field("td_name", 700, 700, 20, Some("thread_off_td_name")),
    Field("td_pcb", 1080, 1080, 8, Some("thread_off_td_pcb")),
    Field("td_state", 1088, 1088, 4, None),
    Field("td_kstack", 1200, 1200, 8, None),
    Field("td_kstack_pages", 1208, 1208, 4, None),
    Field("td_oncpu", 1724, 1316, 4, Some("thread_off_td_oncpu")),
];

/// Where 12, 14, and 15 and later have a field that 13 has elsewhere.
const MOVED: &[(&str, [u32; 3])] = &[
    ("p_pptr", [224, 232, 232]),
    ("p_sibling", [232, 240, 240]),
    ("p_children", [248, 256, 256]),
    ("td_inhibitors", [256, 272, 272]),
    ("td_sqqueue", [268, 288, 288]),
    ("td_wchan", [272, 296, 296]),
    ("td_wmesg", [280, 304, 304]),
    ("td_tsqueue", [289, 313, 313]),
    ("td_rw_rlocks", [292, 320, 320]),
    ("td_sx_slocks", [294, 324, 324]),
    ("td_lk_slocks", [296, 328, 328]),
    ("td_blocked", [304, 336, 344]),
    ("td_lockname", [312, 344, 352]),
    ("td_slptick", [360, 400, 408]),
    ("td_blktick", [364, 404, 412]),
];

/// The release's own offset of a field.
fn native(f: &Field, recipe: &Recipe) -> u32 {
    let moved = MOVED.iter().find(|m| m.0 == f.0).map(|m| m.1);
    let [old, new, newest] = moved.unwrap_or([f.1; 3]);
    match (recipe.machine, recipe.release.osreldate / 100_000) {
        (_, ..=12) if moved.is_some() => old,
        (_, 14) if moved.is_some() => new,
        (_, 15..) if moved.is_some() => newest,
        (Machine::Amd64, _) => f.1,
        (Machine::Arm64, _) => f.2,
    }
}

/// The largest offset that a recipe may give a field, and what it must be a
/// multiple of; `None` where there is no such field.
pub(super) fn limits(name: &str) -> Option<(u32, u32)> {
    let field = FIELDS.iter().find(|f| f.0 == name)?;
    let align = match field.3 {
        8 | 16 => 8,
        4 => 4,
        _ => 1,
    };
    Some((SLOT as u32 - field.3, align))
}

/// The offsets of one machine.
#[derive(Clone, Debug)]
pub(super) struct Offsets([u32; FIELDS.len()]);

impl Offsets {
    pub(super) fn new(recipe: &Recipe) -> Result<Self, RecipeError> {
        let mut at = [0; FIELDS.len()];
        for (slot, f) in at.iter_mut().zip(FIELDS) {
            *slot = native(f, recipe);
            // The last line about a field counts.
            for (name, offset) in &recipe.offsets {
                if name == f.0 {
                    *slot = *offset;
                }
            }
        }
        let spans = at.iter().zip(FIELDS);
        for (i, (&a, f)) in spans.clone().enumerate() {
            for (&b, g) in spans.clone().skip(i + 1) {
                let same = f.0.starts_with("p_") == g.0.starts_with("p_");
                if same && a < b + g.3 && b < a + f.3 {
                    return Err(RecipeError::machine(format!(
                        "{} at {a} and {} at {b} overlap",
                        f.0, g.0
                    )));
                }
            }
        }
        Ok(Self(at))
    }

    /// Where `name` stands. Names are this module's callers' own.
    pub(super) fn of(&self, name: &str) -> u64 {
        let found = self.0.iter().zip(FIELDS).find(|(_, f)| f.0 == name);
        debug_assert!(found.is_some(), "{name}");
        found.map_or(0, |(&at, _)| u64::from(at))
    }

    /// All fields: name, offset, bytes.
    pub(super) fn all(
        &self,
    ) -> impl Iterator<Item = (&'static str, u32, u32)> + '_ {
        self.0.iter().zip(FIELDS).map(|(&at, f)| (f.0, at, f.3))
    }

    /// The exported constants and their values.
    pub(super) fn exported(
        &self,
    ) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        self.0
            .iter()
            .zip(FIELDS)
            .filter_map(|(&at, f)| f.4.map(|name| (name, at)))
    }
}
