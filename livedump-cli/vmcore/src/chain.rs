// SPDX-License-Identifier: BSD-2-Clause
//! An error and its causes in one line.

use std::error::Error;

/// An error and its causes, from the outside in: "a: b: c".
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
