// SPDX-License-Identifier: BSD-2-Clause
#![no_std]
#[cfg(any(feature = "hosted", test))]
extern crate std;

pub mod error;
pub mod kpi;
