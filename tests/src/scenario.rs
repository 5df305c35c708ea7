// SPDX-License-Identifier: BSD-2-Clause
//! Recipe -> machine -> real request -> file -> judge.

use crate::decoder::{RawFile, judge_raw};
use crate::elf::Symbols;
use livedump_hosted::HostedKernel;
use livedump_hosted::machine::Machine;
use livedump_hosted::model::{ModelMachine, Recipe};
use livedump_hosted::process::{Credentials, Descriptor, Process};
use livedump_kmod::error::Result;
use memdev::freeze::{
    FLAG_FREEZE, LARGEST_MAX_PAUSE_NS, MEM_MINIDUMP2, MINIDUMP_ARG2_VERSION,
    MemMinidumpArg2, MinidumpFreeze,
};
use memdev::ioctl::{
    MEM_KERNELDUMP, MEM_MINIDUMP, MEM_MINIDUMP_STATUS, MemLivedumpArg,
    MemMinidumpArg, MemMinidumpStatus,
};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// As little as a machine can have, for tests that take thousands of dumps.
pub const TINY: &str = "size 16M\ntext 64K 4K\ndata 128K 4K\nkmap 64K 4K\n\
                        uma 8\nnodump 4\nvmpage 4\nmsgbuf 4K";

/// The same with another architecture.
pub const TINY_ARM64: &str = "machine arm64\nsize 16M\ntext 64K 4K\n\
                              data 128K 4K\nkmap 64K 4K\numa 8\nnodump 4\n\
                              vmpage 4\nmsgbuf 4K";

/// A machine, its kernel, and one process of root's with a file.
pub struct Scenario<M = ModelMachine> {
    /// The machine.
    pub machine: M,
    /// Its kernel.
    pub kernel: Arc<HostedKernel>,
    /// Who asks.
    pub process: Process,
    /// Where its dumps go.
    pub file: File,
    /// The descriptor of that file.
    pub fd: i32,
}

impl Scenario<ModelMachine> {
    /// The machine that a recipe's text describes.
    ///
    /// # Panics
    /// When there is no such machine.
    #[must_use]
    pub fn model(recipe: &str) -> Self {
        Self::on(model(recipe))
    }
}

impl<M: Machine + Clone + 'static> Scenario<M> {
    /// Any machine.
    ///
    /// # Panics
    /// When the host has no room for a file.
    #[must_use]
    pub fn on(machine: M) -> Self {
        Self::with_file(machine, tempfile::tempfile().unwrap())
    }

    /// Any machine, its dumps going to `file`.
    ///
    /// # Panics
    /// When that is no file.
    #[must_use]
    pub fn with_file(machine: M, file: File) -> Self {
        let kernel = HostedKernel::new(Arc::new(machine.clone()));
        let process = kernel.process(Credentials::ROOT);
        let descriptor = Descriptor::from_file(file.try_clone().unwrap());
        let fd = process.install(descriptor.unwrap());
        Self { machine, kernel, process, file, fd }
    }

    /// The symbols of its kernel file.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn symbols(&self) -> Symbols {
        let machine = self.machine.running().unwrap();
        let elf = machine.kernel_elf().unwrap();
        Symbols::parse(&elf).unwrap()
    }

    /// The stock request.
    ///
    /// # Errors
    /// The engine's.
    pub fn kerneldump(&self, compression: u8) -> Result<()> {
        let arg =
            MemLivedumpArg { fd: self.fd, compression, ..Default::default() };
        self.process.ioctl(MEM_KERNELDUMP, &mut arg.encode())
    }

    /// Our request, as it is in `arg`.
    ///
    /// # Errors
    /// The engine's.
    pub fn minidump(&self, arg: &MemMinidumpArg) -> Result<MemMinidumpArg> {
        minidump(&self.process, arg)
    }

    /// Our request for a dump into the file.
    #[must_use]
    pub fn request(&self, compression: u8) -> MemMinidumpArg {
        MemMinidumpArg { fd: self.fd, compression, ..MemMinidumpArg::new() }
    }

    /// Our request with the larger argument, as it is in `arg`.
    ///
    /// # Errors
    /// The engine's.
    pub fn minidump2(&self, arg: &MemMinidumpArg2) -> Result<MemMinidumpArg2> {
        let mut data = [0; 192];
        arg.encode(&mut data);
        self.process.ioctl(MEM_MINIDUMP2, &mut data)?;
        Ok(MemMinidumpArg2::decode(&data))
    }

    /// Our request for a dump of one instant into the file, however long the
    /// host takes for it.
    #[must_use]
    pub fn frozen(&self, compression: u8) -> MemMinidumpArg2 {
        let version = MINIDUMP_ARG2_VERSION;
        let flags = FLAG_FREEZE;
        MemMinidumpArg2 {
            arg: MemMinidumpArg { version, flags, ..self.request(compression) },
            freeze: MinidumpFreeze {
                max_pause_ns: LARGEST_MAX_PAUSE_NS,
                ..MinidumpFreeze::default()
            },
        }
    }

    /// How far a dump is.
    ///
    /// # Panics
    /// When the engine refuses root.
    #[must_use]
    pub fn status(&self) -> MemMinidumpStatus {
        let mut data = [0; 128];
        self.process.ioctl(MEM_MINIDUMP_STATUS, &mut data).unwrap();
        MemMinidumpStatus::decode(&data)
    }

    /// What is in the file.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        let len = self.file.metadata().unwrap().len();
        let mut out = vec![0; usize::try_from(len).unwrap()];
        self.file.read_exact_at(&mut out, 0).unwrap();
        out
    }

    /// Takes a dump that must succeed, and judges it.
    ///
    /// # Panics
    /// When it fails, or the judge finds something.
    #[must_use]
    pub fn dump(&self, compression: u8) -> RawFile {
        if let Err(e) = self.kerneldump(compression) {
            panic!("{e}; the last steps were {}", self.steps());
        }
        self.assert_at_rest();
        match judge_raw(&self.contents()) {
            Ok(raw) => raw,
            Err(wrong) => panic!("{wrong}"),
        }
    }

    /// The last calls into the kernel, for a message.
    #[must_use]
    pub fn steps(&self) -> String {
        let recent = self.kernel.faults().recent();
        let names: Vec<_> = recent.iter().map(|m| m.name()).collect();
        names.join(" ")
    }

    /// That the engine has given everything back.
    ///
    /// # Panics
    /// When it has not.
    pub fn assert_at_rest(&self) {
        let k = &self.kernel;
        let steps = || format!("the last steps were {}", self.steps());
        assert_eq!(k.locks_held(), 0, "locks held; {}", steps());
        assert_eq!(k.misuses(), 0, "locks freed twice; {}", steps());
        assert!(!k.is_quiesced(), "not resumed; {}", steps());
        assert_eq!(k.files_held(), 0, "references kept; {}", steps());
        assert_eq!(k.memory().current(), 0, "bytes kept; {}", steps());
    }
}

/// The machine that a recipe's text describes.
///
/// # Panics
/// When there is no such machine.
#[must_use]
pub fn model(recipe: &str) -> ModelMachine {
    let machine =
        Recipe::parse(recipe).and_then(|recipe| ModelMachine::build(&recipe));
    match machine {
        Ok(machine) => machine,
        Err(e) => panic!("{recipe}\n{e}"),
    }
}

/// Our request, by any process.
///
/// # Errors
/// The engine's.
pub fn minidump(
    process: &Process,
    arg: &MemMinidumpArg,
) -> Result<MemMinidumpArg> {
    let mut data = [0; 128];
    arg.encode(&mut data);
    process.ioctl(MEM_MINIDUMP, &mut data)?;
    Ok(MemMinidumpArg::decode(&data))
}
