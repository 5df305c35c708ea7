// SPDX-License-Identifier: BSD-2-Clause
//! Dumps from outside without the kernel's file: by the parameter page of
//! livedump.ko in the guest.

use crate::deadlocks::tool;
use crate::dump_check::Answer;
use crate::outside::Outside;
use std::path::PathBuf;

impl Outside<'_> {
    /// Takes one. It is checked as one with the kernel's file is.
    pub(crate) fn by_page(&self, name: &str) -> Answer<PathBuf> {
        let crash = self.crash(name)?;
        let out = tool(self.args_unnamed(&crash))?;
        let text = String::from_utf8_lossy(&out.stderr);
        if out.status.code() != Some(0) {
            return Err(format!("page: {}: {}", out.status, text.trim()));
        }
        let by_page = "its kernel was found by the parameter page at 0x";
        if !text.contains(by_page) {
            return Err(format!("page: not told of: {}", text.trim()));
        }
        // With the device there is nothing to be searched.
        let searched = text.contains("was searched for a parameter page");
        if searched == self.vmcoreinfo {
            return Err(format!("page: searched: {searched}: {}", text.trim()));
        }
        let lines = text.lines().filter(|line| line.contains("parameter page"));
        for line in lines {
            println!("{}: {name}: {line}", self.kernel.name);
        }
        std::fs::write(crash.join("json"), &out.stdout)
            .map_err(|e| e.to_string())?;
        Ok(crash)
    }

    /// Asks for one where the module is not loaded any more.
    pub(crate) fn without_page(&self) -> Answer<String> {
        let crash = self.crash("pageless")?;
        let out = tool(self.args_unnamed(&crash))?;
        let text = String::from_utf8_lossy(&out.stderr);
        let text = text.trim();
        let told = [
            "name its kernel with -k",
            "load livedump.ko",
            "no parameter page",
        ];
        let is_told = told.iter().all(|words| text.contains(words));
        if out.status.code() != Some(2) || !is_told {
            return Err(format!("pageless: {}: {text}", out.status));
        }
        let left = std::fs::read_dir(&crash).map_err(|e| e.to_string())?;
        match left.count() {
            0 => Ok(format!("without a page: {text}")),
            n => Err(format!("pageless: {n} files are left")),
        }
    }
}
