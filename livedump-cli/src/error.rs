// SPDX-License-Identifier: BSD-2-Clause
//! What ends a command, joined; how it is said and what it exits with. What
//! only one command meets is in that command's file and comes here as
//! [`Error::Command`]: nothing here knows the commands.
//!
//! A message says what was being done; its cause stands in `source()` and is
//! printed behind it, once, by [`Error::report`].

use crate::analysis::TargetError;
use crate::crashdir;
use crate::kernel_files;
use livedump_vmcore::OpenError;
use livedump_vmcore::chain;
use livedump_vmcore::elf::ElfError;
use livedump_vmcore::msgbuf::MsgbufError;
use std::io;
use std::process::ExitCode;

/// Why a command could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What only one command meets.
    #[error(transparent)]
    Command(Box<dyn std::error::Error + Send + Sync>),
    /// A crash directory.
    #[error(transparent)]
    CrashDir(#[from] crashdir::Error),
    /// Options that say too little, or contradict each other.
    #[error("{0}")]
    Usage(&'static str),
    /// TZ is set to something unknown.
    #[error(transparent)]
    Zone(#[from] crate::report::UnknownZone),
    /// `livedump watch --on-change`.
    #[error("--on-change: there is no sysctl {0}, or it cannot be read")]
    NoValue(String),
    /// A file that is no dump.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An image of memory without the kernel in it.
    #[error(transparent)]
    Image(#[from] livedump_vmcore::ImageKernelError),
    /// A seal that cannot be opened.
    #[error(transparent)]
    Seal(#[from] crate::seal::NoSeal),
    /// A seal that is none.
    #[error(transparent)]
    NotASeal(#[from] crate::seal::NotASeal),
    /// Keys of encrypted dumps.
    #[error(transparent)]
    Ekcd(#[from] crate::ekcd::Error),
    /// A file that is no kernel.
    #[error(transparent)]
    Kernel(#[from] ElfError),
    /// A dump without a message buffer.
    #[error(transparent)]
    Msgbuf(#[from] MsgbufError),
    /// A dump without its kernel.
    #[error(transparent)]
    NoKernel(#[from] kernel_files::NoKernel),
    /// A dump and a kernel that do not belong together, or tell too little.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No place for a dump that is not to be kept.
    #[error("temporary directory in {directory} (TMPDIR)")]
    Temporary {
        /// Where.
        directory: String,
        /// Why not.
        source: io::Error,
    },
    /// What was found out could not be told; what was done stays.
    #[error("the dump was kept; writing to standard output")]
    KeptUnreported(#[source] io::Error),
    /// Data that could not be written to standard output.
    #[error("writing to standard output")]
    Output(#[from] io::Error),
}

impl From<kernel_files::Error> for Error {
    fn from(e: kernel_files::Error) -> Self {
        match e {
            kernel_files::Error::NoKernel(e) => Self::NoKernel(e),
            kernel_files::Error::Kernel(e) => Self::Kernel(e),
            kernel_files::Error::Target(e) => Self::Target(e),
            kernel_files::Error::Open(e) => Self::Open(e),
            kernel_files::Error::Image(e) => Self::Image(e),
        }
    }
}

impl Error {
    /// What only one command meets.
    pub fn of_command(
        e: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Command(Box::new(e))
    }

    /// The exit status: 2, but 0 when only the reader of a pipe has gone, 1
    /// when there is a dump all the same, and 3 when this host could not read
    /// or unpack a file.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        if self.is_broken_pipe() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(match self {
                Self::KeptUnreported(_) => 1,
                e if e.is_environment() => 3,
                _ => 2,
            })
        }
    }

    fn is_environment(&self) -> bool {
        match self {
            Self::Open(e) => e.is_environment(),
            Self::Target(e) => e.is_environment(),
            Self::Msgbuf(e) => e.is_environment(),
            _ => false,
        }
    }

    /// Prints the chain on standard error, in one line.
    pub fn report(&self) {
        if !self.is_broken_pipe() {
            crate::report::complain(chain(self));
        }
    }

    fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_every_cause_once() {
        let e = Error::Output(io::Error::other("disk on fire"));
        assert_eq!(chain(&e), "writing to standard output: disk on fire");
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let e = Error::Output(io::ErrorKind::BrokenPipe.into());
        assert!(e.is_broken_pipe());
    }
}
