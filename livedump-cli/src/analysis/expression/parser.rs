// SPDX-License-Identifier: BSD-2-Clause
//! Expressions of C, those that read. What they may do is in `mod.rs`.

use super::error::SyntaxError;
use super::lexer::{Token, tokens};
use crate::analysis::types::reader::Tag;

/// Parentheses and operators in each other.
const MAX_DEPTH: usize = 64;

/// The name of a type, and what it is a pointer to or an array of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeName {
    /// What it is based on.
    pub base: Base,
    /// Stars.
    pub pointers: usize,
    /// Dimensions, the first first.
    pub dimensions: Vec<u64>,
}

/// A type by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// `void`
    Void,
    /// One of C's integers: its bytes, whether it is signed.
    Int(u8, bool),
    /// A tag, or a typedef's name.
    Named(Tag, String),
}

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// A number.
    Number(u64),
    /// A symbol or variable.
    Name(String),
    /// The element of a list that is being walked.
    Element,
    /// `*x`
    Deref(Box<Expr>),
    /// `&x`
    Address(Box<Expr>),
    /// `-x`
    Minus(Box<Expr>),
    /// `x.name`
    Member(Box<Expr>, String),
    /// `x->name`
    Arrow(Box<Expr>, String),
    /// `x[n]`
    Index(Box<Expr>, Box<Expr>),
    /// `(type)x`
    Cast(TypeName, Box<Expr>),
    /// `x + y`, `x - y`, `x * y`
    Binary(Operator, Box<Expr>, Box<Expr>),
    /// `sizeof(type)`
    SizeOfType(TypeName),
    /// `sizeof(x)`
    SizeOf(Box<Expr>),
    /// `offsetof(type, a.b)`
    OffsetOf(TypeName, Vec<String>),
}

/// What is done with two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A value.
    Expr(Expr),
    /// A type, whose address comes as the next argument.
    Type(TypeName),
}

/// Words that C's integers are made of.
const INTEGER_WORDS: &[&str] =
    &["unsigned", "signed", "char", "short", "int", "long", "_Bool", "bool"];
/// Words that do not change what is read.
const QUALIFIERS: &[&str] = &["const", "volatile", "restrict"];
const TAGS: &[(&str, Tag)] =
    &[("struct", Tag::Struct), ("union", Tag::Union), ("enum", Tag::Enum)];

/// Parses an expression.
///
/// # Errors
/// It is none.
pub fn parse(text: &str) -> Result<Expr, SyntaxError> {
    match parse_any(text)? {
        Parsed::Expr(e) => Ok(e),
        Parsed::Type(_) => Err(SyntaxError::TypeAlone),
    }
}

/// Parses an expression, or a type alone.
///
/// # Errors
/// It is neither.
pub fn parse_any(text: &str) -> Result<Parsed, SyntaxError> {
    let mut p =
        Parser { tokens: tokens(text)?, at: 0, depth: 0, element: false };
    if p.starts_type() {
        let name = p.type_name()?;
        p.end()?;
        return Ok(Parsed::Type(name));
    }
    let e = p.expr()?;
    p.end()?;
    Ok(Parsed::Expr(e))
}

/// Parses what a list's elements are asked for: `p_comm` is that member of
/// each.
///
/// # Errors
/// It is none.
pub fn parse_member(text: &str) -> Result<Expr, SyntaxError> {
    let text = format!("$.{text}");
    let tokens = tokens(&text)?;
    let mut p = Parser { tokens, at: 0, depth: 0, element: true };
    let e = p.postfix()?;
    p.end()?;
    Ok(e)
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
    /// Whether `$` is an element.
    element: bool,
}

type Result<T, E = SyntaxError> = std::result::Result<T, E>;

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|t| &t.1)
    }

    fn peek_at(&self, n: usize) -> Option<&Token> {
        self.tokens.get(self.at.saturating_add(n)).map(|t| &t.1)
    }

    fn sign(&self) -> Option<&'static str> {
        match self.peek() {
            Some(Token::Sign(sign)) => Some(sign),
            _ => None,
        }
    }

    fn word(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Name(word)) => Some(word),
            _ => None,
        }
    }

    fn skip(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn take(&mut self, sign: &str) -> bool {
        let is = self.sign() == Some(sign);
        if is {
            self.skip();
        }
        is
    }

    fn offset(&self) -> usize {
        let last = || self.tokens.last().map_or(0, |t| t.0.saturating_add(1));
        self.tokens.get(self.at).map_or_else(last, |t| t.0)
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T> {
        if let Some(unsupported) = self.unsupported() {
            return Err(unsupported);
        }
        let found = match self.peek() {
            Some(Token::Name(name)) => format!("{name:?}"),
            Some(Token::Number(n)) => n.to_string(),
            Some(Token::Sign(sign)) => format!("{sign:?}"),
            None => "its end".into(),
        };
        Err(SyntaxError::Expected { expected, at: self.offset(), found })
    }

    /// What C has here and this does not, by its name.
    fn unsupported(&self) -> Option<SyntaxError> {
        let what = match self.sign()? {
            "=" | "+=" | "-=" | "*=" | "/=" | "%=" | "&=" | "|=" | "^="
            | "<<=" | ">>=" => "assignment",
            "++" | "--" => "assignment by ++ or --",
            "(" => "calling a function",
            "?" | ":" => "the operator ?:",
            "," => "the operator ,",
            sign @ ("/" | "%" | "<<" | ">>" | "<" | ">" | "<=" | ">="
            | "==" | "!=" | "|" | "^" | "&&" | "||" | "!" | "~"
            | "&") => {
                return Some(SyntaxError::Unsupported {
                    what: format!("the operator {sign}"),
                    at: self.offset(),
                    hint: None,
                });
            }
            _ => return None,
        };
        Some(SyntaxError::Unsupported {
            what: what.into(),
            at: self.offset(),
            hint: what.starts_with("ass").then_some(": a dump is only read"),
        })
    }

    fn need(&mut self, sign: &'static str) -> Result<()> {
        match self.take(sign) {
            true => Ok(()),
            false => self.expected(sign),
        }
    }

    fn name(&mut self, what: &'static str) -> Result<String> {
        match self.word() {
            Some(word) => {
                let word = word.to_string();
                self.skip();
                Ok(word)
            }
            None => self.expected(what),
        }
    }

    fn end(&self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.expected("an operator or the end"),
        }
    }

    fn deeper<T>(
        &mut self,
        f: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return Err(SyntaxError::Deep);
        }
        let found = f(self)?;
        self.depth = self.depth.saturating_sub(1);
        Ok(found)
    }

    fn expr(&mut self) -> Result<Expr> {
        self.deeper(|p| {
            let mut left = p.product()?;
            loop {
                let operator = match p.sign() {
                    Some("+") => Operator::Add,
                    Some("-") => Operator::Subtract,
                    _ => return Ok(left),
                };
                p.skip();
                let right = p.product()?;
                left = binary(operator, left, right);
            }
        })
    }

    fn product(&mut self) -> Result<Expr> {
        let mut left = self.unary()?;
        while self.take("*") {
            let right = self.unary()?;
            left = binary(Operator::Multiply, left, right);
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr> {
        self.deeper(|p| {
            let Some(sign) = p.sign() else { return p.postfix() };
            Ok(match sign {
                "*" => {
                    p.skip();
                    Expr::Deref(Box::new(p.unary()?))
                }
                "&" => {
                    p.skip();
                    Expr::Address(Box::new(p.unary()?))
                }
                "-" => {
                    p.skip();
                    Expr::Minus(Box::new(p.unary()?))
                }
                "+" => {
                    p.skip();
                    p.unary()?
                }
                "(" if p.is_cast() => {
                    p.skip();
                    let of = p.type_name()?;
                    p.need(")")?;
                    Expr::Cast(of, Box::new(p.unary()?))
                }
                _ => return p.postfix(),
            })
        })
    }

    /// Whether what follows is a type in parentheses, and then a value.
    fn is_cast(&self) -> bool {
        let Some(Token::Name(word)) = self.peek_at(1) else { return false };
        if is_type_word(word) {
            return true;
        }
        let mut n = 2;
        while self.peek_at(n) == Some(&Token::Sign("*")) {
            n = n.saturating_add(1);
        }
        if self.peek_at(n) != Some(&Token::Sign(")")) {
            return false;
        }
        // `(name)` alone is a type only if a value follows it.
        let value = self.peek_at(n.saturating_add(1));
        n > 2
            || matches!(
                value,
                Some(Token::Name(_) | Token::Number(_) | Token::Sign("("))
            )
    }

    fn postfix(&mut self) -> Result<Expr> {
        let mut e = self.primary()?;
        // Each is a level of what is evaluated.
        let mut count = 0usize;
        loop {
            let Some(sign) = self.sign() else { return Ok(e) };
            e = match sign {
                "." => {
                    self.skip();
                    let name = self.name("the name of a member")?;
                    Expr::Member(Box::new(e), name)
                }
                "->" => {
                    self.skip();
                    let name = self.name("the name of a member")?;
                    Expr::Arrow(Box::new(e), name)
                }
                "[" => {
                    self.skip();
                    let index = self.expr()?;
                    self.need("]")?;
                    Expr::Index(Box::new(e), Box::new(index))
                }
                "(" | "++" | "--" => return self.expected("an operator"),
                _ => return Ok(e),
            };
            count = count.saturating_add(1);
            if count > MAX_DEPTH {
                return Err(SyntaxError::Deep);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr> {
        match self.peek().cloned() {
            Some(Token::Number(n)) => {
                self.skip();
                Ok(Expr::Number(n))
            }
            Some(Token::Name(word)) if word == "sizeof" => {
                self.skip();
                self.size_of()
            }
            Some(Token::Name(word))
                if word == "offsetof"
                    || word == "__offsetof"
                    || word == "__builtin_offsetof" =>
            {
                self.skip();
                self.offset_of()
            }
            Some(Token::Name(word)) if !is_type_word(&word) => {
                self.skip();
                Ok(Expr::Name(word))
            }
            Some(Token::Sign("(")) => {
                self.skip();
                let e = self.expr()?;
                self.need(")")?;
                Ok(e)
            }
            Some(Token::Sign("$")) if self.element => {
                self.skip();
                Ok(Expr::Element)
            }
            _ => self.expected("a name, a number or ("),
        }
    }

    fn size_of(&mut self) -> Result<Expr> {
        let is_type = match self.peek_at(1) {
            Some(Token::Name(word)) => {
                is_type_word(word) || self.is_pointer_in_parentheses()
            }
            _ => false,
        };
        if self.sign() == Some("(") && is_type {
            self.skip();
            let of = self.type_name()?;
            self.need(")")?;
            return Ok(Expr::SizeOfType(of));
        }
        Ok(Expr::SizeOf(Box::new(self.unary()?)))
    }

    /// `(name *)`
    fn is_pointer_in_parentheses(&self) -> bool {
        let mut n = 2;
        while self.peek_at(n) == Some(&Token::Sign("*")) {
            n = n.saturating_add(1);
        }
        n > 2 && self.peek_at(n) == Some(&Token::Sign(")"))
    }

    fn offset_of(&mut self) -> Result<Expr> {
        self.need("(")?;
        let of = self.type_name()?;
        self.need(",")?;
        let mut path = vec![self.name("the name of a member")?];
        while self.take(".") {
            path.push(self.name("the name of a member")?);
            if path.len() > MAX_DEPTH {
                return Err(SyntaxError::Deep);
            }
        }
        self.need(")")?;
        Ok(Expr::OffsetOf(of, path))
    }

    /// Whether a type stands here and not a value.
    fn starts_type(&self) -> bool {
        self.word().is_some_and(is_type_word)
    }

    fn type_name(&mut self) -> Result<TypeName> {
        self.qualifiers();
        let base = self.base()?;
        let (mut pointers, mut dimensions) = (0usize, Vec::new());
        self.qualifiers();
        while self.take("*") {
            pointers = pointers.saturating_add(1);
            self.qualifiers();
            if pointers > MAX_DEPTH {
                return Err(SyntaxError::Deep);
            }
        }
        while self.take("[") {
            let Some(Token::Number(n)) = self.peek() else {
                return self.expected("a number");
            };
            dimensions.push(*n);
            self.skip();
            self.need("]")?;
            if dimensions.len() > MAX_DEPTH {
                return Err(SyntaxError::Deep);
            }
        }
        Ok(TypeName { base, pointers, dimensions })
    }

    fn qualifiers(&mut self) {
        while self.word().is_some_and(|word| QUALIFIERS.contains(&word)) {
            self.skip();
        }
    }

    fn base(&mut self) -> Result<Base> {
        let word = self.name("a type")?;
        if let Some((_, tag)) = TAGS.iter().find(|t| t.0 == word) {
            return Ok(Base::Named(*tag, self.name("a tag")?));
        }
        if word == "void" {
            return Ok(Base::Void);
        }
        if !INTEGER_WORDS.contains(&word.as_str()) {
            return Ok(Base::Named(Tag::Name, word));
        }
        let mut words = vec![word];
        while let Some(word) = self.word()
            && INTEGER_WORDS.contains(&word)
        {
            words.push(word.to_string());
            self.skip();
            self.qualifiers();
        }
        let has = |word: &str| words.iter().any(|w| w == word);
        // C: `char` is signed on amd64 and not on arm64; here it is shown as
        // a character in any case.
        let bytes = match () {
            () if has("char") || has("_Bool") || has("bool") => 1,
            () if has("short") => 2,
            () if has("long") => 8,
            () => 4,
        };
        let unsigned = has("unsigned") || has("_Bool") || has("bool");
        Ok(Base::Int(bytes, !unsigned))
    }
}

fn is_type_word(word: &str) -> bool {
    word == "void"
        || INTEGER_WORDS.contains(&word)
        || QUALIFIERS.contains(&word)
        || TAGS.iter().any(|t| t.0 == word)
}

fn binary(operator: Operator, left: Expr, right: Expr) -> Expr {
    Expr::Binary(operator, Box::new(left), Box::new(right))
}

#[cfg(test)]
mod tests;
