// SPDX-License-Identifier: BSD-2-Clause
//! Dumps of panics, from images that the tests make: what comes off is what
//! was put on, what is damaged is refused, and nothing is lost.

mod hostile;
mod kept;
mod layouts;
mod list;
mod live;

use crate::tool::{CrashDir, Run, run};
use std::ffi::OsStr;
use std::path::PathBuf;

/// A crash directory and an image next to it.
struct Bench {
    dir: CrashDir,
    device: tempfile::NamedTempFile,
}

impl Bench {
    fn new(image: &[u8]) -> Self {
        let device = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(device.path(), image).unwrap();
        Self { dir: CrashDir::new(), device }
    }

    fn device(&self) -> PathBuf {
        self.device.path().into()
    }

    fn image(&self) -> Vec<u8> {
        std::fs::read(self.device.path()).unwrap()
    }

    fn put(&self, image: &[u8]) {
        std::fs::write(self.device.path(), image).unwrap();
    }

    /// What needs no crash directory.
    fn save_alone(&self, options: &[&str]) -> Run {
        let mut args = vec![OsStr::new("save")];
        args.extend(options.iter().map(OsStr::new));
        args.push(self.device.path().as_os_str());
        run(args)
    }

    fn save(&self, options: &[&str]) -> Run {
        let mut args = vec![OsStr::new("save")];
        args.extend(options.iter().map(OsStr::new));
        args.push(self.device.path().as_os_str());
        args.push(self.dir.path().as_os_str());
        run(args)
    }
}

/// Bytes that do not repeat, with two pages of zeros.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes: Vec<u8> = (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect();
    if let Some(zeros) = bytes.get_mut(8192..16384) {
        zeros.fill(0);
    }
    bytes
}
