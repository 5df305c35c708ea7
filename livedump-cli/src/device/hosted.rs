// SPDX-License-Identifier: BSD-2-Clause
//! A machine of the hosted kernel: the model, the memory in an existing dump,
//! the memory in a file. The tool is a process of root's on it.

#![deny(unsafe_code)]

use super::opening::Opening;
use super::{Device, MachineSpec, OpenError, Pipe};
use crate::sandbox::Purpose;
use livedump_hosted::HostedKernel;
use livedump_hosted::machine::{Machine, Missing};
use livedump_hosted::process::{Credentials, Descriptor, Process};
use livedump_hosted::vmcore;
use livedump_hosted::vnode::FileKind;
use livedump_vmcore::Vmcore;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::image::kernel::ImageFacts;
use livedump_vmcore::verdict::Verdict;
use memdev::errno::Errno;
use memdev::freeze::{MEM_MINIDUMP2, MemMinidumpArg2};
use memdev::ioctl::{
    MEM_KERNELDUMP, MEM_MINIDUMP, MEM_MINIDUMP_STATUS, MemLivedumpArg,
    MemMinidumpArg, MemMinidumpStatus, NO_FD,
};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

/// Tells what type information is needed for of the kernel in an image.
pub type Facts<'f> = dyn Fn(&Vmcore, &Kernel) -> ImageFacts + 'f;

/// Of a machine that is no image nothing more is to be known.
#[must_use]
pub fn no_facts(_: &Vmcore, _: &Kernel) -> ImageFacts {
    ImageFacts::default()
}

/// A hosted machine.
pub struct HostedDevice {
    name: String,
    machine: Arc<dyn Machine>,
    process: Process,
    /// What its memory is read from.
    files: Vec<Arc<File>>,
    /// It is a guest that runs.
    is_running: bool,
}

impl HostedDevice {
    /// Builds or opens the machine.
    ///
    /// # Errors
    /// What of it cannot be.
    pub fn open(
        spec: &MachineSpec,
        kernel: Option<&Path>,
        facts: &Facts<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, OpenError> {
        let opening = Opening { kernel, facts, stop };
        let name = spec.to_string();
        match opening.build(spec) {
            Ok((machine, files)) => {
                let is_running = matches!(spec, MachineSpec::Bhyve { .. });
                let new = Self::new(&name, machine);
                Ok(Self { files, is_running, ..new })
            }
            Err(source) => Err(OpenError::Hosted { machine: name, source }),
        }
    }

    /// The machine of a dump that is open, or of an image with its kernel.
    ///
    /// # Errors
    /// What of it no machine can have.
    pub fn of_dump(core: Vmcore, facts: ImageFacts) -> Result<Self, OpenError> {
        let name = core.file().path.display().to_string();
        match vmcore::of_dump(core, facts) {
            Ok(machine) => Ok(Self::new(&name, machine)),
            Err(source) => {
                let source = source.into();
                Err(OpenError::Hosted { machine: name, source })
            }
        }
    }

    /// A machine that is there already, under a name.
    #[must_use]
    pub fn new(name: &str, machine: Arc<dyn Machine>) -> Self {
        let kernel = HostedKernel::new(Arc::clone(&machine));
        let process = kernel.process(Credentials::ROOT);
        let (name, files) = (name.into(), Vec::new());
        Self { name, machine, process, files, is_running: false }
    }

    /// The process that asks, and through it the kernel.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Asks with `file` open, if there is one.
    fn with_file(
        &self,
        file: Option<&File>,
        ask: impl FnOnce(i32) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let Some(file) = file else { return ask(NO_FD) };
        let fd = descriptor(file)
            .map(|descriptor| self.process.install(descriptor))
            .map_err(|_| Errno::EBADF)?;
        let answer = ask(fd);
        self.process.close(fd)?;
        answer
    }
}

/// A pipe is one that the tool reads itself.
fn descriptor(file: &File) -> io::Result<Descriptor> {
    let (kind, file) = (file.metadata()?.file_type(), file.try_clone()?);
    if !kind.is_fifo() {
        return Descriptor::from_file(file);
    }
    let pipe = Box::new(Pipe::new(file)?);
    Ok(Descriptor::of_stream(FileKind::Pipe, pipe).read_by_caller())
}

impl Device for HostedDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn minidump(
        &self,
        arg: &mut MemMinidumpArg,
        file: Option<&File>,
    ) -> Result<(), Errno> {
        self.with_file(file, |fd| {
            arg.fd = fd;
            let mut bytes = [0; 128];
            arg.encode(&mut bytes);
            self.process.ioctl(MEM_MINIDUMP, &mut bytes)?;
            *arg = MemMinidumpArg::decode(&bytes);
            Ok(())
        })
    }

    fn minidump2(
        &self,
        arg: &mut MemMinidumpArg2,
        file: Option<&File>,
    ) -> Result<(), Errno> {
        // Memory in a file is of the moments that it is of.
        if self.machine.running().is_none() {
            return Err(Errno::EOPNOTSUPP);
        }
        self.with_file(file, |fd| {
            arg.arg.fd = fd;
            let mut bytes = [0; 192];
            arg.encode(&mut bytes);
            self.process.ioctl(MEM_MINIDUMP2, &mut bytes)?;
            *arg = MemMinidumpArg2::decode(&bytes);
            Ok(())
        })
    }

    fn minidump_listing(
        &self,
        arg: &mut MemMinidumpArg,
        file: &File,
        changes: &File,
    ) -> Result<(), Errno> {
        self.with_file(Some(changes), |fd| {
            arg.changes_fd = fd;
            self.minidump(arg, Some(file))
        })
    }

    fn kerneldump(
        &self,
        arg: &mut MemLivedumpArg,
        file: &File,
    ) -> Result<(), Errno> {
        self.with_file(Some(file), |fd| {
            arg.fd = fd;
            self.process.ioctl(MEM_KERNELDUMP, &mut arg.encode())
        })
    }

    fn status(&self) -> Result<MemMinidumpStatus, Errno> {
        let mut bytes = [0; 128];
        self.process.ioctl(MEM_MINIDUMP_STATUS, &mut bytes)?;
        Ok(MemMinidumpStatus::decode(&bytes))
    }

    fn pid(&self) -> i32 {
        self.process.pid()
    }

    // Not by a request, which would be a step of the machine's.
    fn readable_bytes(&self) -> Option<u64> {
        let progress = self.process.kernel().livedump().progress();
        let status = progress.status(0);
        // Those of the last one stay until the next begins.
        let is_own = status.pid == self.pid();
        Some(if is_own { status.bytes_out } else { 0 })
    }

    fn interrupt(&self) {
        self.process.signal();
    }

    fn descriptors(&self) -> Vec<(BorrowedFd<'_>, Purpose)> {
        let files = self.files.iter();
        files.map(|file| (file.as_fd(), Purpose::Read)).collect()
    }

    fn remark(&self) -> Option<&'static str> {
        self.is_running.then_some(
            "the guest runs while it is dumped, which is not of one instant: \
             --gdb ADDRESS:PORT pauses it",
        )
    }

    fn missing(&self) -> Verdict {
        let name = &self.name;
        match self.machine.missing() {
            Missing::None => Verdict::Sound,
            Missing::Truncated { pages, of } => Verdict::Damaged(format!(
                "{name} ends early: {pages} of its {of} pages are after the \
                 end, and not dumped"
            )),
            Missing::Absent { pages, of, first } => {
                Verdict::Undetermined(format!(
                    "{of} pages are marked in vm_page_dump, {pages} are not \
                     in {name}, and not dumped, the first at physical {first}"
                ))
            }
        }
    }

    fn kernel_elf(&self) -> Option<Vec<u8>> {
        self.machine.running()?.kernel_elf()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use livedump_hosted::raw::RawMachine;
    use memdev::ioctl::FLAG_ESTIMATE;
    use std::io::Read;

    fn raw() -> HostedDevice {
        let machine = RawMachine::zeroed(4 << 20).unwrap();
        HostedDevice::new("raw", Arc::new(machine))
    }

    #[test]
    fn an_estimate_tells_the_size_that_the_dump_has() {
        let device = raw();
        let mut estimate =
            MemMinidumpArg { flags: FLAG_ESTIMATE, ..MemMinidumpArg::new() };
        device.minidump(&mut estimate, None).unwrap();
        let file = tempfile::tempfile().unwrap();
        let mut arg = MemMinidumpArg::new();
        device.minidump(&mut arg, Some(&file)).unwrap();
        assert!(estimate.dumpextent > 4 << 20);
        assert_eq!(arg.dumpextent, estimate.dumpextent);
        assert_eq!(arg.dumplength, estimate.dumpextent);
        let mut magic = [0; 22];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut magic, 0)
            .unwrap();
        assert_eq!(&magic, b"minidump FreeBSD/amd64");
    }

    #[test]
    fn the_stock_request_works_too_and_the_status_tells_of_it() {
        let device = raw();
        let mut file = tempfile::tempfile().unwrap();
        device.kerneldump(&mut MemLivedumpArg::default(), &file).unwrap();
        let status = device.status().unwrap();
        assert_eq!((status.completed, status.last_error), (1, 0));
        assert_eq!(status.last_pid, device.pid());
        let mut all = Vec::new();
        file.read_to_end(&mut all).unwrap();
        assert_eq!(all.len() % 4096, 512);
    }

    #[test]
    fn a_machine_that_cannot_be_is_named_with_its_reason() {
        let spec: MachineSpec = "vmcore:/nonexistent".parse().unwrap();
        let Err(e) = HostedDevice::open(&spec, None, &no_facts, &|| false)
        else {
            panic!("opened")
        };
        let text = livedump_vmcore::chain(&e);
        assert!(text.starts_with("machine vmcore:/nonexistent: "), "{text}");
        assert!(text.contains("No such file"), "{text}");
    }
}
