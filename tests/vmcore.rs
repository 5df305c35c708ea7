// SPDX-License-Identifier: BSD-2-Clause
//! Real FreeBSD memory: dumps that we did not write, read by the tool, and
//! dumped once more by the engine.

mod again;
mod converted;
mod decoder;
mod example;
mod vectors;
