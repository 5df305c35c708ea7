// SPDX-License-Identifier: BSD-2-Clause
//! Real FreeBSD memory: dumps that we did not write.

mod decoder;
