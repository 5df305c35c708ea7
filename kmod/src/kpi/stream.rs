// SPDX-License-Identifier: BSD-2-Clause
//! Pipes and sockets that the caller passed, and writing to them.

use super::Files;
use crate::error::Result;

/// Streams, by the caller's descriptors. [`Files::fdrop`] gives them back, and
/// [`Files::file_is_writable`] is of them, too.
pub trait Streams: Files {
    /// The caller's descriptor as a pipe, a FIFO or a stream socket, with
    /// `CAP_WRITE`; takes a reference. C: `fget(td, fd, &cap_write_rights,
    /// &fp)`, `f_type`, `so_type`.
    ///
    /// # Errors
    /// `EBADF` no such descriptor, `ENOTCAPABLE`, `EINVAL` something else.
    fn getstream(&self, fd: i32) -> Result<Self::File>;

    /// Whether the caller's process has the other end of this pipe open for
    /// reading: one that goes on while others are suspended. C: `PIPE_PEER`,
    /// `fd_ofiles`.
    fn is_read_by_caller(&self, file: &Self::File) -> bool;

    /// Writes all of `data`. Sleeps as long as the reader is slow, until a
    /// signal comes. C: `fo_write`.
    ///
    /// # Errors
    /// `EPIPE` when nobody reads any more, `EINTR`, the socket's.
    fn fo_write(&self, file: &Self::File, data: &[u8]) -> Result<()>;
}
