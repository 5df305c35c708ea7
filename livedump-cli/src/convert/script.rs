// SPDX-License-Identifier: BSD-2-Clause
//! What a debugger has to be told besides the core: symbols, which are not
//! relocated, modules, and for gdb the ABI and the names of threads.

use super::elf::{Debugger, Threads};
use super::modules::Placed;
use super::signed;
use memdev::arch::Machine;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What a script has.
#[derive(Debug)]
pub struct Script<'a> {
    /// The core.
    pub core: PathBuf,
    /// The kernel, or its debug file.
    pub symbols: PathBuf,
    /// The machine.
    pub machine: Machine,
    /// The threads of the core.
    pub threads: &'a Threads,
    /// Modules: name, address, and where their files are.
    pub modules: Vec<(String, u64, Option<Placed>)>,
    /// Remarks.
    pub remarks: Vec<String>,
}

/// What a name is appended to: `lldb -s`, `gdb -x`.
#[must_use]
pub fn path(core: &Path, debugger: Debugger) -> PathBuf {
    let mut path = core.as_os_str().to_owned();
    path.push(match debugger {
        Debugger::Lldb => ".lldb",
        Debugger::Gdb => ".gdb",
    });
    path.into()
}

impl Script<'_> {
    /// Its text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = match self.threads.debugger {
            Debugger::Lldb => self.lldb(&mut out),
            Debugger::Gdb => self.gdb(&mut out),
        };
        out
    }

    fn remarks(&self, out: &mut String) -> std::fmt::Result {
        self.remarks.iter().try_for_each(|text| writeln!(out, "# {text}"))
    }

    fn lldb(&self, out: &mut String) -> std::fmt::Result {
        let (core, symbols) = (quoted(&self.core), quoted(&self.symbols));
        writeln!(
            out,
            "# lldb -s {}",
            path(&self.core, Debugger::Lldb).display()
        )?;
        self.remarks(out)?;
        if self.machine == Machine::Arm64 {
            out.write_str(signed::LLDB)?;
        }
        writeln!(out, "target create {symbols} --core {core}")?;
        writeln!(out, "target modules load --file {symbols} --slide 0")?;
        for (name, start, placed) in &self.modules {
            let Some(placed) = self.module(out, name, *start, placed)? else {
                continue;
            };
            let file = quoted(&placed.path);
            writeln!(out, "target modules add {file}")?;
            write!(out, "target modules load --file {file}")?;
            if placed.sections.is_empty() {
                write!(out, " --slide {start:#x}")?;
            }
            for (name, at) in &placed.sections {
                write!(out, " {name} {at:#x}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn gdb(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "# gdb -x {}",
            path(&self.core, Debugger::Gdb).display()
        )?;
        self.remarks(out)?;
        writeln!(out, "set osabi GNU/Linux")?;
        writeln!(out, "set print thread-events off")?;
        let architecture = match self.machine {
            Machine::Amd64 => "i386:x86-64",
            Machine::Arm64 => "aarch64",
        };
        writeln!(out, "set architecture {architecture}")?;
        writeln!(out, "file {}", quoted(&self.symbols))?;
        // It takes the line as it is.
        writeln!(out, "core-file {}", self.core.display())?;
        for (name, start, placed) in &self.modules {
            let Some(placed) = self.module(out, name, *start, placed)? else {
                continue;
            };
            write!(out, "add-symbol-file {}", quoted(&placed.path))?;
            if placed.sections.is_empty() {
                write!(out, " -o {start:#x}")?;
            }
            for (name, at) in &placed.sections {
                write!(out, " -s {name} {at:#x}")?;
            }
            writeln!(out)?;
        }
        writeln!(out, "python")?;
        writeln!(out, "names = {{")?;
        for t in &self.threads.list {
            writeln!(out, "    {}: \"{}\",", t.tid, escaped(&t.name))?;
        }
        writeln!(out, "}}")?;
        writeln!(out, "for t in gdb.selected_inferior().threads():")?;
        writeln!(out, "    t.name = names.get(t.ptid[1])")?;
        writeln!(out, "end")?;
        match self.machine {
            Machine::Amd64 => Ok(()),
            Machine::Arm64 => out.write_str(signed::GDB),
        }
    }

    /// A module with a file, or a remark that it has none.
    fn module<'p>(
        &self,
        out: &mut String,
        name: &str,
        start: u64,
        placed: &'p Option<Placed>,
    ) -> Result<Option<&'p Placed>, std::fmt::Error> {
        let name = escaped(name.as_bytes());
        match placed {
            None => writeln!(out, "# no file found for {name} at {start:#x}")?,
            Some(p) if p.same_size == Some(false) => writeln!(
                out,
                "# {name} at {start:#x}: the file has another size than the \
                 module"
            )?,
            Some(_) => {}
        }
        Ok(placed.as_ref())
    }
}

/// Printable characters, and no others.
fn escaped(text: &[u8]) -> String {
    let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
    let text = text.get(..end).unwrap_or_default();
    text.iter()
        .flat_map(|&b| std::ascii::escape_default(b))
        .map(char::from)
        .collect()
}

/// Both debuggers take double quotes and a backslash before what they would
/// take for something else.
fn quoted(path: &Path) -> String {
    let mut out = String::from('"');
    for c in path.to_string_lossy().chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::elf::Thread;

    fn script(debugger: Debugger, name: &str) -> String {
        script_of(Machine::Amd64, debugger, name)
    }

    fn script_of(machine: Machine, debugger: Debugger, name: &str) -> String {
        let list = vec![Thread {
            tid: 100_001,
            name: name.as_bytes().to_vec(),
            saved: None,
        }];
        let threads = Threads { debugger, osreldate: 0, list };
        let placed = Placed {
            path: "/k/a.ko".into(),
            sections: vec![(".text".into(), 0x1040)],
            same_size: Some(true),
        };
        Script {
            core: "/c/a core".into(),
            symbols: "/k/kernel \"x\"".into(),
            machine,
            threads: &threads,
            modules: vec![
                ("a.ko".into(), 0x1000, Some(placed)),
                ("b.ko".into(), 0x9000, None),
            ],
            remarks: vec!["a remark".into()],
        }
        .text()
    }

    #[test]
    fn scripts_name_symbols_core_and_modules() {
        let text = script(Debugger::Lldb, "x");
        assert_eq!(
            text,
            "# lldb -s /c/a core.lldb\n\
             # a remark\n\
             target create \"/k/kernel \\\"x\\\"\" --core \"/c/a core\"\n\
             target modules load --file \"/k/kernel \\\"x\\\"\" --slide 0\n\
             target modules add \"/k/a.ko\"\n\
             target modules load --file \"/k/a.ko\" .text 0x1040\n\
             # no file found for b.ko at 0x9000\n"
        );
        let text = script(Debugger::Gdb, "x");
        let osabi = text.find("set osabi GNU/Linux\n").unwrap();
        assert!(osabi < text.find("file \"/k/kernel").unwrap());
        assert!(text.contains("core-file /c/a core\n"));
        assert!(text.contains("add-symbol-file \"/k/a.ko\" -s .text 0x1040\n"));
        assert!(text.contains("    100001: \"x\",\n"));
    }

    #[test]
    fn a_name_of_the_dump_is_no_command() {
        let text = script(Debugger::Gdb, "x\"}\nend\nshell rm\n\u{1b}");
        let line = r#"    100001: "x\"}\nend\nshell rm\n\x1b","#;
        assert!(text.lines().any(|l| l == line), "{text}");
    }

    #[test]
    fn only_arm64_signs_addresses() {
        for (machine, want) in [(Machine::Amd64, 0), (Machine::Arm64, 1)] {
            let lldb = script_of(machine, Debugger::Lldb, "x");
            let bits = "highmem-virtual-addressable-bits 48\n";
            assert_eq!(lldb.matches(bits).count(), want);
            assert!(lldb.find(bits) < lldb.find("target create"));
            let gdb = script_of(machine, Debugger::Gdb, "x");
            assert_eq!(gdb.matches("register_unwinder").count(), want);
        }
    }
}
