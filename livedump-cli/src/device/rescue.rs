// SPDX-License-Identifier: BSD-2-Clause
//! Whether a dump by the kernel's own facility would start a rescue kernel.
//!
//! A kernel with options RESCUE_SUPPORT does that where it would write a
//! minidump, and never returns; its test is not limited to panics. Our module
//! has a writer of its own.

#![forbid(unsafe_code)]

/// The tunable.
pub const TUNABLE: &str = "debug.rescue_minidump";
/// What such a kernel registers in `kern.shutdown.dumpdevname`.
const DUMPER: &str = "rescue";

/// What a dump by the kernel's own facility would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rescue {
    /// Nothing but a dump.
    #[default]
    No,
    /// Start the rescue kernel: what says so.
    Yes(String),
    /// Nothing says yes, and this could not be read.
    Undetermined(String),
}

/// By the tunable, `None` where it is not set, and the names of the dumpers;
/// or why they cannot be read.
#[must_use]
pub fn rescue(
    tunable: Result<Option<String>, String>,
    dumpers: Result<String, String>,
) -> Rescue {
    if let Ok(names) = &dumpers
        && names.split(',').any(is_rescue)
    {
        let text = format!("kern.shutdown.dumpdevname is {}", names.trim());
        return Rescue::Yes(text);
    }
    match (tunable, dumpers) {
        (Ok(Some(value)), _) if is_set(&value) => {
            Rescue::Yes(format!("kenv {TUNABLE} is {value}"))
        }
        (Err(why), _) => Rescue::Undetermined(format!("kenv {TUNABLE}: {why}")),
        (_, Err(why)) => {
            Rescue::Undetermined(format!("kern.shutdown.dumpdevname: {why}"))
        }
        (Ok(_), Ok(_)) => Rescue::No,
    }
}

fn is_rescue(name: &str) -> bool {
    let name = name.trim();
    name.strip_prefix("/dev/").unwrap_or(name) == DUMPER
}

/// As TUNABLE_INT takes it: strtol(3) with any base. What is no number may be
/// anything.
fn is_set(value: &str) -> bool {
    let value = value.trim().trim_matches('"');
    let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
    let digits = match digits.strip_prefix("0x") {
        Some(digits) => digits,
        None => digits.strip_prefix("0X").unwrap_or(digits),
    };
    digits.is_empty() || !digits.chars().all(|c| c == '0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tunable: Option<&str>, dumpers: &str) -> Rescue {
        rescue(Ok(tunable.map(String::from)), Ok(dumpers.into()))
    }

    #[test]
    fn a_rescue_kernel_is_known_by_its_tunable_and_its_dumper() {
        for value in ["1", "-1", "0x1", "010", "yes", ""] {
            let it = of(Some(value), "/dev/null");
            assert!(matches!(it, Rescue::Yes(_)), "{value:?}: {it:?}");
        }
        for value in ["0", "00", "0x0", "-0", "\"0\""] {
            assert_eq!(of(Some(value), "/dev/ada0p3"), Rescue::No, "{value}");
        }
        for names in
            ["rescue", "/dev/rescue", "rescue,/dev/ada0p3", "a, rescue"]
        {
            let Rescue::Yes(text) = of(None, names) else { panic!("{names}") };
            assert!(text.contains(names), "{text}");
        }
        for names in ["", "/dev/null", "/dev/rescue0", "/dev/gpt/rescue"] {
            assert_eq!(of(None, names), Rescue::No, "{names}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_a_no() {
        let denied = || Err("Operation not permitted".to_owned());
        let it = rescue(denied(), Ok("/dev/null".into()));
        let Rescue::Undetermined(text) = it else { panic!("{it:?}") };
        assert!(text.contains(TUNABLE) && text.contains("not permitted"));
        let it = rescue(Ok(None), Err("unknown".into()));
        assert!(matches!(it, Rescue::Undetermined(_)), "{it:?}");
        // One that says yes is enough.
        let it = rescue(denied(), Ok("rescue".into()));
        assert!(matches!(it, Rescue::Yes(_)), "{it:?}");
        let it = rescue(Ok(Some("1".into())), Err("unknown".into()));
        assert!(matches!(it, Rescue::Yes(_)), "{it:?}");
    }
}
