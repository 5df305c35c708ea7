// SPDX-License-Identifier: BSD-2-Clause
//! The kernel environment: tunables, and what loader(8) handed over. C:
//! `kenvp`, kern_environment.c; before that exists, `md_envp` and
//! `static_env`: strings one behind the other, an empty one at the end.
//!
//! It may have secrets: `kern.geom.eli.passphrase`, a boot password, keys. A
//! variable whose name looks as if it had one keeps its name, and its value is
//! not told.

use super::target::Target;
use super::unavailable::Unavailable;
use memdev::addr::Vaddr;

/// C: KENV_SIZE is 512.
const MAX_VARIABLES: u64 = 4096;
/// C: KENV_MNAMELEN and KENV_MVALLEN are 128; a release may have more.
const MAX_LENGTH: usize = 4096;

/// In a name, in any case.
const SECRET: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "credential",
    "private",
    "apikey",
    "auth",
    "psk",
];
/// At the end of a name, behind a dot, a dash or an underscore, or all of it.
const SECRET_ENDS: &[&str] = &["pass", "pw", "pin", "key", "pwd"];

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: Vec<u8>,
    /// Its value; `None` where it may be secret.
    pub value: Option<Vec<u8>>,
}

/// All of them.
#[derive(Debug)]
pub struct Environment {
    /// In the kernel's order.
    pub list: Vec<Variable>,
    /// "kenvp", "md_envp" or "static_env".
    pub source: &'static str,
    /// Why there may be more.
    pub problem: Option<String>,
}

impl Environment {
    /// Reads it.
    ///
    /// # Errors
    /// It is not told where it is.
    pub fn new(t: &Target<'_>) -> Result<Self, Unavailable> {
        let table = t.need_u64("kenvp")?;
        if table != 0 {
            return Ok(Self::of_table(t, table));
        }
        for source in ["md_envp", "kern_envp"] {
            if let Some(strings) = t.pointer(source) {
                return Ok(Self::of_strings(t, strings, source));
            }
        }
        let strings = t.need("static_env")?;
        Ok(Self::of_strings(t, strings, "static_env"))
    }

    fn of_table(t: &Target<'_>, table: u64) -> Self {
        let mut it = Self { list: Vec::new(), source: "kenvp", problem: None };
        for n in 0..MAX_VARIABLES {
            let at = Vaddr(table.wrapping_add(n.wrapping_mul(8)));
            let text = match t.core.read_u64(at) {
                Ok(0) => return it,
                Ok(text) => t.c_string(Vaddr(text), MAX_LENGTH),
                Err(e) => {
                    let why = super::target::read_error_text(&e);
                    it.problem = Some(format!("kenvp: {why}"));
                    return it;
                }
            };
            match text {
                Some(text) => it.list.push(Variable::new(&text)),
                None => {
                    let why = format!("kenvp: entry {n} cannot be read");
                    it.problem.get_or_insert(why);
                }
            }
        }
        it.problem = Some(format!("kenvp: more than {MAX_VARIABLES} entries"));
        it
    }

    fn of_strings(
        t: &Target<'_>,
        strings: Vaddr,
        source: &'static str,
    ) -> Self {
        let mut it = Self { list: Vec::new(), source, problem: None };
        let mut at = strings;
        for _ in 0..MAX_VARIABLES {
            let Some(text) = t.c_string(at, MAX_LENGTH) else {
                it.problem = Some(format!("{source} cannot be read at {at}"));
                return it;
            };
            if text.is_empty() {
                return it;
            }
            it.list.push(Variable::new(&text));
            let next = (text.len() as u64).saturating_add(1);
            at = Vaddr(at.0.wrapping_add(next));
        }
        it.problem = Some(format!("{source}: more than {MAX_VARIABLES}"));
        it
    }
}

impl Variable {
    /// Of `name=value`.
    fn new(text: &[u8]) -> Self {
        let end = text.iter().position(|&b| b == b'=').unwrap_or(text.len());
        let name = text.get(..end).unwrap_or_default();
        let value = text.get(end.saturating_add(1)..).unwrap_or_default();
        let value = (!is_secret(name)).then(|| value.to_vec());
        Self { name: name.to_vec(), value }
    }
}

/// Whether the name of a variable looks as if its value were a secret.
#[must_use]
pub fn is_secret(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let has = |word: &str| {
        name.windows(word.len()).any(|part| part == word.as_bytes())
    };
    if SECRET.iter().any(|word| has(word)) {
        return true;
    }
    let last = name.split(|b| b".-_".contains(b)).next_back();
    let last = last.unwrap_or_default();
    SECRET_ENDS.iter().any(|end| last == end.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_and_others_are_not_taken_for_some() {
        for name in [
            "password",
            "bootlock_password",
            "kern.geom.eli.passphrase",
            "KERN.GEOM.ELI.PASSPHRASE",
            "geli_user_key",
            "boot.nfsroot.pw",
            "wlan0_psk",
            "api-key",
            "x_auth_y",
        ] {
            assert!(is_secret(name.as_bytes()), "{name}");
        }
        for name in [
            "kernel",
            "kernelname",
            "hw.keyboard",
            "hint.atkbdc.0.at",
            "vfs.root.mountfrom",
            "smbios.system.serial",
            "spin",
            "hw.compass",
            "",
        ] {
            assert!(!is_secret(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_secret_keeps_its_name_and_loses_its_value() {
        let it = Variable::new(b"loader.password=hunter2");
        assert_eq!((&*it.name, it.value), (&b"loader.password"[..], None));
        let it = Variable::new(b"a=b=c");
        assert_eq!((&*it.name, it.value.unwrap()), (&b"a"[..], b"b=c".into()));
        let it = Variable::new(b"alone");
        assert_eq!((&*it.name, it.value.unwrap()), (&b"alone"[..], vec![]));
    }
}
