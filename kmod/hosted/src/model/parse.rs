// SPDX-License-Identifier: BSD-2-Clause
//! From text to [`Recipe`]. One thing a line, `#` starts a comment; sizes and
//! addresses are decimal or 0x, with K, M, G or T behind them.
//!
//! ```text
//! machine amd64|arm64             ram START END          a range; repeats
//! release 15.1-RELEASE            size 256M              or: the usual ones
//! osreldate N   minidump N        kernphys ADDRESS       multiple of 2M
//! hostname NAME                   text SIZE [4K|2M]
//! cpus N                          data SIZE [4K|2M]
//! la57                            kmap SIZE [4K|2M|1G]   repeats
//! seed N                          device ADDRESS [SIZE]  repeats
//! msgbuf SIZE                     uma N       pages with the known pattern
//! message "TEXT"       repeats    nodump N    pages with PG_NODUMP
//! dumper TID                      vmpage N    pages of vm_page_array
//! process PID NAME [uid N] [zombie]                      repeats
//! thread TID NAME [sleep WMESG | run CPU | runq | wait LOCK [shared]]
//!                                                        of the last process
//! lock NAME mtx|spin|sx|rw|lockmgr                       repeats
//!         [owner TID | shared N [TID...] | kernel]
//! offset FIELD N                  mutate KIND [TIMES]    a step
//! params                          a parameter page, as livedump.ko makes one
//! system                          CPUs, memory, mounts and the like, for report
//! types none|ctf|dwarf            what the kernel's file tells
//! ```

use super::defaults::default_ram;
use super::directives::{DIRECTIVES, Draft};
use super::recipe::{MAX_RAM, MIN_RAM, Recipe};
use super::words::{self, RecipeError, Words};

impl Default for Recipe {
    /// 256 MB of amd64 running 15.1, at rest.
    fn default() -> Self {
        let mut recipe = Self::blank();
        recipe.ram = default_ram(recipe.machine, 256 << 20);
        recipe.fill(&[]);
        recipe
    }
}

impl Recipe {
    /// Reads a recipe's text.
    ///
    /// # Errors
    /// The first wrong line with its word, or what contradicts what.
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        recipe(text)
    }

    /// The default machine with another size.
    ///
    /// # Errors
    /// A size below [`MIN_RAM`] or above [`MAX_RAM`].
    pub fn with_size(bytes: u64) -> Result<Self, RecipeError> {
        if !(MIN_RAM..=MAX_RAM).contains(&bytes) {
            return Err(RecipeError::machine(format!(
                "{} of memory, expected {} to {}",
                words::amount(bytes),
                words::amount(MIN_RAM),
                words::amount(MAX_RAM)
            )));
        }
        let mut recipe = Self::blank();
        recipe.ram = default_ram(recipe.machine, bytes);
        recipe.fill(&[]);
        Ok(recipe)
    }

    /// Reads a size as recipes have it (`256M`, `0x10000000`); `None` where
    /// it is none, which may then be a file's name.
    #[must_use]
    pub fn size(word: &str) -> Option<u64> {
        words::number(word)
    }
}

fn recipe(text: &str) -> Result<Recipe, RecipeError> {
    let recipe = Recipe::blank();
    let mut draft = Draft { recipe, size: None, osreldate: None };
    let mut given: Vec<&'static str> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let Some((name, mut words)) = Words::cut(i + 1, line)? else {
            continue;
        };
        let directive = DIRECTIVES
            .iter()
            .find(|d| d.name == name)
            .ok_or_else(|| words.wrong("no such directive"))?;
        if given.contains(&directive.name) {
            if !directive.repeats {
                return Err(words.wrong("given twice"));
            }
        } else {
            given.push(directive.name);
        }
        (directive.read)(&mut draft, &mut words)?;
        words.end()?;
    }
    finish(draft, &given)
}

fn finish(
    Draft { mut recipe, size, osreldate }: Draft,
    given: &[&'static str],
) -> Result<Recipe, RecipeError> {
    if let Some(osreldate) = osreldate {
        recipe.release.osreldate = osreldate;
    }
    match size {
        Some(_) if !recipe.ram.is_empty() => {
            return Err(RecipeError::machine("both size and ram are given"));
        }
        Some(bytes) => recipe.ram = default_ram(recipe.machine, bytes),
        None if recipe.ram.is_empty() => {
            recipe.ram = default_ram(recipe.machine, 256 << 20);
        }
        None => {}
    }
    recipe.fill(given);
    recipe.check()?;
    Ok(recipe)
}

#[cfg(test)]
mod tests {
    use super::super::recipe::{Mutate, Region, ThreadState};
    use super::*;
    use memdev::arch::Machine;

    fn read(text: &str) -> Recipe {
        Recipe::parse(text).unwrap()
    }

    fn error(text: &str) -> String {
        Recipe::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn nothing_is_the_default_machine() {
        assert_eq!(read(""), Recipe::default());
        assert_eq!(read("# nothing\n\n  \t# at all"), Recipe::default());
        assert_eq!(read("size 256M"), Recipe::default());
        assert_eq!(Recipe::with_size(256 << 20), Ok(Recipe::default()));
    }

    #[test]
    fn every_line_is_taken() {
        let r = read(
            "machine arm64\nrelease 13.2-RELEASE-p3\nosreldate 1302005\n\
             minidump 2\nhostname box.example\ncpus 4\nseed 0x2a\n\
             ram 0x40000000 0x50000000\nram 1536M 0x68000000\n\
             kernphys 0x40200000\ntext 4M 2M\ndata 1M 4K\nkmap 8M\n\
             kmap 2M 2M\ndevice 0x9000000 8K\numa 100\nnodump 5\n\
             params\nvmpage 7\nmsgbuf 64K\nmessage \"hello, world\"\n\
             process 7 seven\nthread 100200 one sleep biord\n\
             thread 100201 two run 3\nthread 100202 three runq\n\
             process 9 nine zombie\ndumper 100201\noffset td_tid 168\n\
             mutate all 2\nmutate procs 0\n",
        );
        assert_eq!(r.machine, Machine::Arm64);
        assert_eq!(r.release.name(), "13.2-RELEASE-p3");
        assert_eq!(r.release.osreldate, 1_302_005);
        assert_eq!((r.minidump, r.cpus, r.seed), (2, 4, 42));
        assert_eq!(r.hostname, "box.example");
        assert_eq!(
            r.ram,
            [(0x4000_0000, 0x5000_0000), (0x6000_0000, 0x6800_0000)]
        );
        assert_eq!(r.kernphys, 0x4020_0000);
        assert_eq!(r.text, Region { bytes: 4 << 20, level: 1 });
        assert_eq!(r.data, Region { bytes: 1 << 20, level: 0 });
        assert_eq!(r.kmap.len(), 2);
        assert_eq!(r.devices, [(0x900_0000, 0x2000)]);
        assert_eq!((r.uma_pages, r.nodump_pages, r.vm_page_pages), (100, 5, 7));
        assert!(r.params);
        assert_eq!(r.msgbuf_bytes, 64 << 10);
        assert_eq!(r.messages, ["hello, world\n"]);
        let pids: Vec<i32> = r.processes.iter().map(|p| p.pid).collect();
        assert_eq!(pids, [0, 1, 7, 9]);
        let seven = &r.processes[2];
        assert_eq!(seven.threads.len(), 3);
        assert_eq!(seven.threads[0].state, ThreadState::Sleep("biord".into()));
        assert_eq!(seven.threads[1].state, ThreadState::Running(3));
        assert!(r.processes[3].zombie);
        assert_eq!(r.dumper, Some(100_201));
        assert_eq!(r.offsets, [("td_tid".to_string(), 168)]);
        assert_eq!(r.mutate, Mutate { procs: 0, ..Mutate::all(2) });
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_word() {
        for (text, wanted) in [
            ("bogus 1", "recipe line 1: \"bogus\": no such directive"),
            (
                "\ncpus",
                "recipe line 2: \"cpus\": the number of CPUs is \
             missing after it",
            ),
            (
                "cpus 257",
                "recipe line 1: \"257\": the number of CPUs must be \
             from 1 to 256",
            ),
            ("seed 1\nseed 2", "recipe line 2: \"seed\": given twice"),
            ("seed 1 2", "recipe line 1: \"2\": unexpected word"),
            (
                "size 15M",
                "recipe line 1: \"15M\": the size of memory must be \
             from 16M to 1T",
            ),
            (
                "machine mips",
                "recipe line 1: \"mips\": unknown machine, expected \
             amd64 or arm64",
            ),
            (
                "kmap 3M 2M",
                "recipe line 1: \"2M\": the size is not a multiple \
             of it",
            ),
            (
                "text 1G 1G",
                "recipe line 1: \"1G\": the page size must be from \
             4K to 2M",
            ),
            (
                "ram 2M 1M",
                "recipe line 1: \"1M\": the range ends before it \
             starts",
            ),
            (
                "ram 0 2M\nram 1M 3M",
                "recipe line 2: \"3M\": ranges must \
             ascend and not overlap",
            ),
            (
                "thread 1 x",
                "recipe line 1: \"x\": a thread must follow its \
             process",
            ),
            (
                "process 5 x\nprocess 5 y",
                "recipe line 2: \"5\": a pid is \
             given twice",
            ),
            ("offset td_nope 1", "recipe line 1: \"td_nope\": unknown field"),
            (
                "offset td_pcb 1081",
                "recipe line 1: \"1081\": td_pcb is \
             aligned to 8",
            ),
            (
                "mutate time",
                "recipe line 1: \"time\": expected pages, tables, bitset, msgbuf, procs or all",
            ),
            (
                "size 64M\nram 0 64M",
                "invalid machine: both size and ram are \
             given",
            ),
            ("machine arm64\nla57", "invalid machine: la57 requires amd64"),
            (
                "cpus 2\nprocess 5 x\nthread 9 y run 2",
                "invalid machine: thread 9 runs on CPU 2 of 2",
            ),
        ] {
            assert_eq!(error(text), wanted);
        }
    }

    #[test]
    fn lists_end_somewhere() {
        let rams: String = (0..63)
            .map(|i| format!("ram {}M {}M\n", 2 * i, 2 * i + 1))
            .collect();
        assert!(error(&rams).ends_with("more than 62 ranges"));
        let many: String =
            (2..2000).map(|i| format!("process {i} x\n")).collect();
        assert!(error(&many).contains("more than 1024 lines"));
    }
}
