// SPDX-License-Identifier: BSD-2-Clause
//! A system without a mechanism that is known here.

use super::{Confinement, Purpose, Role};
use std::os::fd::BorrowedFd;

const WHY: &str = "not confined: not supported on this system";

pub(super) fn enter(
    _role: Role,
    _files: &[(BorrowedFd<'_>, Purpose)],
) -> Result<(), String> {
    Err(WHY.into())
}

pub(super) fn describe() -> Confinement {
    Confinement { mechanism: "none", works: false, text: WHY.into() }
}
