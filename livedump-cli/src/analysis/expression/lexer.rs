// SPDX-License-Identifier: BSD-2-Clause
//! Words and signs of an expression.

use super::error::SyntaxError;

/// No expression is longer.
pub const MAX_TEXT: usize = 1024;

/// A word or a sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A name, or a word of C.
    Name(String),
    /// A number.
    Number(u64),
    /// `->` and the like.
    Sign(&'static str),
}

/// Longer ones first. Those that the grammar does not have are refused by
/// name.
const SIGNS: &[&str] = &[
    "<<=", ">>=", "...", "->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=",
    "&&", "||", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "(", ")", "[",
    "]", ".", "*", "&", "+", "-", ",", "/", "%", "|", "^", "~", "!", "<", ">",
    "=", "?", ":", ";", "$",
];

/// The tokens of a text, each with the offset at which it starts.
///
/// # Errors
/// A number or a character that is none.
pub fn tokens(text: &str) -> Result<Vec<(usize, Token)>, SyntaxError> {
    if text.len() > MAX_TEXT {
        return Err(SyntaxError::Long);
    }
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let at = text.len().saturating_sub(rest.len());
        let Some(first) = rest.chars().next() else { return Ok(found) };
        let (token, left) = match first {
            c if c.is_ascii_alphanumeric() || c == '_' => word(rest, at)?,
            c => {
                let sign = SIGNS.iter().find(|s| rest.starts_with(**s));
                let Some(sign) = sign else {
                    return Err(SyntaxError::Character(c, at));
                };
                (Token::Sign(sign), rest.get(sign.len()..).unwrap_or_default())
            }
        };
        found.push((at, token));
        rest = left;
    }
}

/// A name or a number, and what follows it.
fn word(rest: &str, at: usize) -> Result<(Token, &str), SyntaxError> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
    let (word, mut left) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if let Some(address) = bare_address(word) {
        return Ok((Token::Number(address), left));
    }
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        let bad = || SyntaxError::Number(word.into(), at);
        return Ok((Token::Number(number(word).ok_or_else(bad)?), left));
    }
    // The compiler's names of local variables: count.1234
    let mut name = word.to_string();
    if let Some(digits) = left.strip_prefix('.')
        && digits.starts_with(|c: char| c.is_ascii_digit())
    {
        let end = digits.find(|c: char| !c.is_ascii_digit());
        let (digits, after) = digits
            .split_at_checked(end.unwrap_or(digits.len()))
            .unwrap_or((digits, ""));
        name = format!("{name}.{digits}");
        left = after;
    }
    Ok((Token::Name(name), left))
}

/// An address of the kernel's as debuggers print it.
fn bare_address(word: &str) -> Option<u64> {
    let is = word.len() == 16
        && word.starts_with(['f', 'F'])
        && word.bytes().all(|b| b.is_ascii_hexdigit());
    is.then(|| u64::from_str_radix(word, 16).ok()).flatten()
}

/// C's, with a suffix that does not matter.
fn number(word: &str) -> Option<u64> {
    let hex = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    let (digits, radix) = match (hex, word.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (word, 10),
    };
    let digits = digits.trim_end_matches(['u', 'U', 'l', 'L']);
    match radix {
        // 0ul
        8 if digits.is_empty() => Some(0),
        _ => u64::from_str_radix(digits, radix).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_in_c_or_bare_addresses() {
        for (text, want) in [
            ("0", 0),
            ("10", 10),
            ("010", 8),
            ("0x1f", 0x1f),
            ("0XFFUL", 0xff),
            ("7ul", 7),
            ("0ul", 0),
            ("ffffffff81cd4c0c", 0xffff_ffff_81cd_4c0c),
        ] {
            assert_eq!(tokens(text).unwrap(), [(0, Token::Number(want))]);
        }
        for text in ["0x", "08", "1x", "0xg", "99999999999999999999", "@", "é"]
        {
            assert!(tokens(text).is_err(), "{text}");
        }
        assert!(tokens(&"1+".repeat(4096)).is_err());
    }

    #[test]
    fn names_keep_the_numbers_of_local_variables() {
        let name = |s: &str| Token::Name(s.into());
        let of = |s: &str| -> Vec<Token> {
            tokens(s).unwrap().into_iter().map(|t| t.1).collect()
        };
        assert_eq!(of("count.12+1")[0], name("count.12"));
        assert_eq!(of("a.b")[..], [name("a"), Token::Sign("."), name("b")]);
        assert_eq!(of("a->b")[1], Token::Sign("->"));
        assert_eq!(of("a- >b")[1], Token::Sign("-"));
        assert_eq!(tokens("  x").unwrap()[0].0, 2);
    }
}
