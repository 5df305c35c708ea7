// SPDX-License-Identifier: BSD-2-Clause
//! CPUs whose clock interrupt does not come. C: `struct pcpu_state` of
//! kern_clocksource.c.
//!
//! Only in a dump of one instant can the times of CPUs be compared: in a live
//! one they were copied at different moments.

use super::fields::Fields;

/// C: `MAXCPU`.
const MAX_CPUS: u32 = 1024;

/// A CPU that has not taken its clock interrupt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stalled {
    /// The CPU.
    pub cpu: u32,
    /// For so long, against the CPU that took one last.
    pub seconds: f64,
}

/// The CPUs that are at least `limit` seconds behind; `None` where that cannot
/// be told.
pub(super) fn stalled(f: &Fields<'_, '_>, limit: f64) -> Option<Vec<Stalled>> {
    if !f.t.core.is_frozen() {
        return None;
    }
    let cpus = f.t.int("mp_maxid").map_or(0, |n| n.min(MAX_CPUS));
    let state = |cpu: u32| {
        let at = f.per_cpu("pcpu_entry_timerstate", cpu)?;
        let now = f.get(at, "pcpu_state", "now")?;
        let idle = f.get(at, "pcpu_state", "idle")? & 0xffff_ffff;
        Some((cpu, now, idle != 0))
    };
    let all: Vec<_> = (0..=cpus).filter_map(state).collect();
    let last = all.iter().map(|&(_, now, _)| now).max()?;
    // An idle CPU takes none on purpose.
    let busy = all.iter().filter(|(_, now, idle)| !idle && *now != 0);
    let behind = busy.map(|&(cpu, now, _)| {
        let seconds = sbintime_seconds(last.wrapping_sub(now));
        Stalled { cpu, seconds }
    });
    Some(behind.filter(|s| s.seconds >= limit).collect())
}

/// C: `sbintime_t`, seconds with 32 bits of a fraction.
pub(super) fn sbintime_seconds(n: u64) -> f64 {
    n as f64 / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_32_bits() {
        assert_eq!(sbintime_seconds(3 << 31), 1.5);
    }
}
