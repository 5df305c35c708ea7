// SPDX-License-Identifier: BSD-2-Clause
//! What an image of memory says about itself, without its kernel.

use super::info::{line, size};
use super::{Hex, Report};
use serde::Serialize;
use std::io::{self, Write};

/// Facts of an image.
#[derive(Debug, Serialize)]
pub struct ImageInfo {
    /// As the file was named.
    pub file: String,
    /// "ELF core", "kdump (QEMU)", "LiME".
    pub form: &'static str,
    /// Length of the file.
    pub file_length: u64,
    /// Bytes of disk it takes.
    pub allocated: u64,
    /// "amd64" or "arm64", where it says so.
    pub machine: Option<&'static str>,
    /// System and release whose memory it is, where it says so.
    pub system: Option<String>,
    /// Physical address at KERNBASE, where it says so. Not checked.
    pub phys_base: Option<Hex>,
    /// CPUs whose registers it has.
    pub cpus: usize,
    /// What has checksums: "none", "compressed pages", "all pages".
    pub checksums: &'static str,
    /// Pages it has.
    pub pages: u64,
    /// The first ranges of them, adjacent ones joined.
    pub ranges: Vec<(Hex, Hex)>,
    /// Why its parameter page is not used, if it has one.
    pub parameter_page: Option<String>,
    /// What is odd about the file.
    pub notes: Vec<String>,
}

impl Report for ImageInfo {
    fn text(&self, o: &mut dyn Write) -> io::Result<()> {
        line(o, "File", &self.file)?;
        line(o, "Form", self.form)?;
        line(o, "File length", size(self.file_length))?;
        if self.allocated < self.file_length {
            line(o, "On disk", size(self.allocated))?;
        }
        if let Some(machine) = self.machine {
            line(o, "Machine", machine)?;
        }
        if let Some(system) = &self.system {
            line(o, "System", format_args!("{system} (not checked)"))?;
        }
        if let Some(at) = self.phys_base {
            line(o, "phys_base", format_args!("{at} (not checked)"))?;
        }
        if self.cpus > 0 {
            line(o, "Registers of", format_args!("{} CPUs", self.cpus))?;
        }
        line(o, "Checksums", self.checksums)?;
        line(o, "Pages", self.pages)?;
        for (start, end) in &self.ranges {
            line(o, "Memory", format_args!("{start} to {end}"))?;
        }
        if let Some(why) = &self.parameter_page {
            line(o, "Parameter page", why)?;
        }
        let is_other = |name: &String| !name.starts_with("FreeBSD");
        line(
            o,
            "Kernel",
            match self.system.as_ref().is_some_and(is_other) {
                true => "none of FreeBSD is known to be in it",
                false => "not known: name it with -k",
            },
        )
    }
}
