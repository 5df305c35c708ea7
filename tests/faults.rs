// SPDX-License-Identifier: BSD-2-Clause
//! What goes wrong, one thing at a time and two at a time: the answer, and
//! what remains.

mod order;
mod stream;
mod sweep;
mod writing;
