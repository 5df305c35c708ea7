// SPDX-License-Identifier: BSD-2-Clause
//! The KPI over a machine built in user space.

pub mod machine;
pub mod phys;
pub mod threads;
