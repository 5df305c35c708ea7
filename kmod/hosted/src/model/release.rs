// SPDX-License-Identifier: BSD-2-Clause
//! What a FreeBSD release's name says about its kernel: the numbers that
//! readers go by, and what its own minidumps look like.

use memdev::arch::Machine;

/// A release, as `15.1-RELEASE-p1` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    name: String,
    /// C: `osreldate`, `__FreeBSD_version`.
    pub osreldate: u32,
}

impl Default for Release {
    fn default() -> Self {
        Self { name: "15.1-RELEASE".to_string(), osreldate: 1_501_000 }
    }
}

impl Release {
    /// Reads a name; `None` where it is not one of 12.0 and later.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (number, branch) = name.split_once('-')?;
        let (major, minor) = number.split_once('.')?;
        let major: u32 = major.parse().ok()?;
        let minor: u32 = minor.parse().ok()?;
        let short = branch.len() <= 32
            && !branch.is_empty()
            && branch.bytes().all(|b| b.is_ascii_graphic());
        if !(12..=19).contains(&major) || minor > 9 || !short {
            return None;
        }
        let osreldate = match (major, minor) {
            // Released at the numbers main and stable/13 had reached.
            (14, 0) => 1_400_097,
            (13, 2) => 1_302_001,
            _ => major * 100_000 + minor * 1000,
        };
        Some(Self { name: name.to_string(), osreldate })
    }

    /// Its name. C: `osrelease`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// C: `version`.
    #[must_use]
    pub fn version(&self) -> String {
        format!("FreeBSD {} model GENERIC\n", self.name)
    }

    /// The version of this release's own minidumps.
    #[must_use]
    pub fn minidump_version(&self, machine: Machine) -> u32 {
        match (machine, self.osreldate / 100_000) {
            (Machine::Amd64, ..=12) => 2,
            (Machine::Amd64, _) => 3,
            (Machine::Arm64, ..=12) => 1,
            (Machine::Arm64, 13) => 2,
            (Machine::Arm64, _) => 3,
        }
    }

    /// Zombies have a list of their own, `zombproc`; later they are found
    /// through `pidhashtbl` alone.
    pub(super) fn has_zombproc(&self) -> bool {
        self.osreldate < 1_300_000
    }

    /// Where `struct ucred` has `cr_uid`.
    pub(super) fn cr_uid(&self) -> u32 {
        match self.osreldate / 100_000 {
            ..=12 => 4,
            13 => 88,
            14 => 96,
            _ => 100,
        }
    }

    /// `stoppcbs` is a pointer.
    pub(super) fn has_allocated_stoppcbs(&self) -> bool {
        self.osreldate >= 1_400_089
    }

    /// arm64 pcbs hold callee-saved registers only.
    pub(super) fn has_short_arm64_pcb(&self) -> bool {
        self.osreldate >= 1_400_084
    }

    /// amd64 has `kva_layout`.
    pub(super) fn has_kva_layout(&self) -> bool {
        self.osreldate >= 1_500_051
    }

    /// amd64 maps everything below its kernel, from physical address 0.
    pub(super) fn maps_low_memory(&self) -> bool {
        self.osreldate < 1_301_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_osreldate_and_minidump_versions() {
        for (name, osreldate, amd64, arm64) in [
            ("12.1-RELEASE", 1_201_000, 2, 1),
            ("13.2-RELEASE-p4", 1_302_001, 3, 2),
            ("14.0-RELEASE", 1_400_097, 3, 3),
            ("15.1-RELEASE-p1", 1_501_000, 3, 3),
        ] {
            let r = Release::parse(name).unwrap();
            assert_eq!(r.osreldate, osreldate, "{name}");
            assert_eq!(r.minidump_version(Machine::Amd64), amd64, "{name}");
            assert_eq!(r.minidump_version(Machine::Arm64), arm64, "{name}");
        }
    }

    #[test]
    fn the_default_is_what_its_name_says() {
        let r = Release::default();
        assert_eq!(Release::parse(r.name()), Some(r));
    }

    #[test]
    fn what_is_no_release_is_refused() {
        for bad in
            ["", "15", "15.1", "11.4-RELEASE", "x.y-z", "15.1-", "15.1-a b"]
        {
            assert_eq!(Release::parse(bad), None, "{bad}");
        }
    }
}
