// SPDX-License-Identifier: BSD-2-Clause
//! The pieces, one by one.

fn main() {
    divan::main();
}
