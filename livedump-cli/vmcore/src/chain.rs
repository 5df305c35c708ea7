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
    without_errno(&text)
}

/// As strerror(3) has it: without the " (os error 2)" of Rust's library.
#[must_use]
pub fn without_errno(text: &str) -> String {
    const MARK: &str = " (os error ";
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(MARK) {
        kept.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        match after.get(digits..).and_then(|after| after.strip_prefix(')')) {
            Some(after) if digits > 0 => rest = after,
            _ => {
                kept.push_str(MARK);
                rest = after;
            }
        }
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_an_error_is_left_out_and_nothing_else() {
        let e = std::io::Error::from_raw_os_error(2);
        assert_eq!(chain(&e), "No such file or directory");
        for (text, want) in [
            ("a (os error 2)", "a"),
            ("a (os error 2): b (os error 13) c", "a: b c"),
            ("a (os error )", "a (os error )"),
            ("a (os error 2", "a (os error 2"),
            ("full (28)", "full (28)"),
        ] {
            assert_eq!(without_errno(text), want);
        }
    }
}
