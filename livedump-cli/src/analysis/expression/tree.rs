// SPDX-License-Identifier: BSD-2-Clause
//! A value with all its members and elements, as it is printed. How deep, how
//! many and how long is limited; what is cut is said in its place.

use super::error::ExpressionError;
use super::evaluate::{Evaluator, part};
use super::value::{At, Value};
use crate::analysis::types::reader::{CType, Encoding, Kind, Resolved, TypeId};
use livedump_vmcore::chain;

/// Structures in structures.
const MAX_DEPTH: usize = 24;
/// Values of one expression.
const MAX_VALUES: usize = 100_000;
/// Elements of an array, where no other number is given.
pub const DEFAULT_ELEMENTS: usize = 200;
/// Bytes of text.
const MAX_TEXT: usize = 1024;
/// Of the text that a pointer is to.
const MAX_POINTED: usize = 128;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// An integer, its bytes.
    Signed(i64, u8),
    /// An integer, its bytes.
    Unsigned(u64, u8),
    /// `bool`
    Bool(u64),
    /// `char`
    Char(u8),
    /// A number with a fraction.
    Float(f64),
    /// Of an enumeration, with its name.
    Enum(i64, Option<String>),
    /// A pointer; the symbol it is to, the text it is to.
    Pointer(u64, Option<String>, Option<Vec<u8>>),
    /// An array of characters; whether it was cut.
    Text(Vec<u8>, bool),
    /// An array; elements that are not here.
    Array(Vec<Tree>, Option<u64>),
    /// A structure or union.
    Record {
        /// Whether it is a union.
        is_union: bool,
        /// Members; one without a name is a structure or union itself.
        members: Vec<(Option<String>, Tree)>,
    },
    /// It is not here: why.
    Missing(String),
    /// It is not shown: why.
    Cut(String),
}

/// Makes trees.
pub struct Builder<'e, 'a> {
    e: &'e Evaluator<'a>,
    elements: usize,
    left: usize,
    /// What of the dump was missing on the way.
    pub missing: Vec<String>,
    /// This host could not read it.
    pub is_environment: bool,
}

type Result<T> = std::result::Result<T, ExpressionError>;

impl<'e, 'a> Builder<'e, 'a> {
    /// With at most so many elements of each array.
    #[must_use]
    pub fn new(e: &'e Evaluator<'a>, elements: usize) -> Self {
        Self {
            e,
            elements,
            left: MAX_VALUES,
            missing: Vec::new(),
            is_environment: false,
        }
    }

    /// With at most so many values.
    #[must_use]
    pub fn at_most(self, values: usize) -> Self {
        Self { left: values, ..self }
    }

    /// The tree of a value.
    ///
    /// # Errors
    /// Its type cannot be read. Memory that is not in the dump is in its
    /// place in the tree.
    pub fn tree(&mut self, value: &Value) -> Result<Tree> {
        self.within(value, 0)
    }

    fn within(&mut self, value: &Value, depth: usize) -> Result<Tree> {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return Ok(Tree::Cut("more values".into())),
        }
        if depth > MAX_DEPTH {
            return Ok(Tree::Cut("nested too deeply".into()));
        }
        let types = self.e.types();
        match types.resolve(&value.of)? {
            Resolved::Number(Encoding::Float, bytes) => {
                self.float(value, bytes)
            }
            Resolved::Number(encoding, bytes @ 1..=8) => {
                let n = self.e.load(value);
                self.known(n, |_, n| number(encoding, n, bytes as u8))
            }
            Resolved::Enum(id, _) => {
                let n = self.e.load(value);
                let name = match &n {
                    Ok(n) => types.enumerator(id, *n as i64)?,
                    Err(_) => None,
                };
                self.known(n, |_, n| Tree::Enum(n as i64, name))
            }
            Resolved::Pointer(to) => {
                let n = self.e.load(value);
                let is_text = types.is_char(&to)?;
                self.known(n, |b, n| b.pointer(n, is_text))
            }
            Resolved::Function => {
                let n = self.e.load(value);
                self.known(n, |b, n| b.pointer(n, false))
            }
            Resolved::Array(of, n) => self.array(value, &of, n, depth),
            Resolved::Record(id, Some(_)) => self.record(value, id, depth),
            Resolved::Record(_, None) => {
                let of = types.text(&value.of)?;
                Err(ExpressionError::Declared(of))
            }
            Resolved::Void => {
                let (what, of) = ("the value", types.text(&value.of)?);
                Err(ExpressionError::Operation { what, of })
            }
            Resolved::Number(..) | Resolved::Unknown => match value.of {
                CType::Untyped(_) => {
                    self.e.load(value).map(|_| Tree::Cut("unknown type".into()))
                }
                _ => Ok(Tree::Cut("unknown type".into())),
            },
        }
    }

    /// What was read, or that it is missing.
    fn known(
        &mut self,
        read: Result<u64>,
        tree: impl FnOnce(&Self, u64) -> Tree,
    ) -> Result<Tree> {
        match read {
            Ok(n) => Ok(tree(self, n)),
            Err(e) => self.missing(e),
        }
    }

    fn missing(&mut self, e: ExpressionError) -> Result<Tree> {
        if !e.is_of_dump() {
            return Err(e);
        }
        self.is_environment |= e.is_environment();
        let why = match std::error::Error::source(&e) {
            Some(why) => chain(why),
            None => chain(&e),
        };
        if self.missing.len() < 64 && !self.missing.contains(&why) {
            self.missing.push(why.clone());
        }
        Ok(Tree::Missing(why))
    }

    fn float(&mut self, value: &Value, bytes: u64) -> Result<Tree> {
        let Some(at) = value.address().filter(|_| bytes == 4 || bytes == 8)
        else {
            return Ok(Tree::Cut(format!("a number of {bytes} bytes")));
        };
        let mut raw = [0; 8];
        let buf = raw.get_mut(..bytes as usize).unwrap_or_default();
        if let Err(e) = self.e.read(at, buf) {
            return self.missing(e);
        }
        let n = u64::from_le_bytes(raw);
        Ok(Tree::Float(match bytes {
            4 => f64::from(f32::from_bits(n as u32)),
            _ => f64::from_bits(n),
        }))
    }

    fn pointer(&self, n: u64, is_text: bool) -> Tree {
        let text = match is_text && n != 0 {
            // Bytes that are no text are passed over: caddr_t is a char *.
            true => {
                let text = self.text_at(n, MAX_POINTED).ok();
                text.map(|(t, _)| t).filter(|t| t.iter().all(is_printable))
            }
            false => None,
        };
        Tree::Pointer(n, self.e.names().text(n), text)
    }

    /// A string, and whether it is longer than that.
    fn text_at(&self, at: u64, limit: usize) -> Result<(Vec<u8>, bool)> {
        let mut text = Vec::new();
        let mut at = at;
        while text.len() < limit {
            let mut byte = [0];
            self.e.read(at, &mut byte)?;
            let [byte] = byte;
            if byte == 0 {
                return Ok((text, false));
            }
            text.push(byte);
            at = at.wrapping_add(1);
        }
        Ok((text, true))
    }

    fn array(
        &mut self,
        value: &Value,
        of: &CType,
        n: Option<u64>,
        depth: usize,
    ) -> Result<Tree> {
        let (Some(n), Some(at)) = (n, value.address()) else {
            return Ok(Tree::Cut("an array of unknown length".into()));
        };
        let element = self.e.types().resolve(of)?;
        if let Resolved::Number(encoding @ (Encoding::Char | Encoding::Byte), 1) =
            element
            && let Some(text) = self.text(at, n, encoding)?
        {
            return Ok(text);
        }
        let step = self.e.size(of)?;
        let shown = n.min(self.elements as u64);
        let mut all = Vec::new();
        for i in 0..shown {
            let offset = i.saturating_mul(step);
            let at = at.wrapping_add(offset);
            let element = part(at, 0, None, of.clone());
            all.push(self.within(&element, depth.saturating_add(1))?);
            if self.left == 0 {
                break;
            }
        }
        let more = n.saturating_sub(all.len() as u64);
        Ok(Tree::Array(all, (more > 0).then_some(more)))
    }

    /// An array of characters as text; `None` for bytes that are none.
    fn text(
        &mut self,
        at: u64,
        n: u64,
        encoding: Encoding,
    ) -> Result<Option<Tree>> {
        let bytes = n.min(MAX_TEXT as u64) as usize;
        let mut raw = vec![0; bytes];
        if let Err(e) = self.e.read(at, &mut raw) {
            return self.missing(e).map(Some);
        }
        let end = raw.iter().position(|&b| b == 0);
        let cut = end.is_none() && n > bytes as u64;
        let rest = raw.get(end.unwrap_or(bytes)..).unwrap_or_default();
        let is_padded = rest.iter().all(|&b| b == 0);
        raw.truncate(end.unwrap_or(bytes));
        let is_text = encoding == Encoding::Char
            || is_padded && !raw.is_empty() && raw.iter().all(is_printable);
        Ok(is_text.then_some(Tree::Text(raw, cut)))
    }

    fn record(
        &mut self,
        value: &Value,
        id: TypeId,
        depth: usize,
    ) -> Result<Tree> {
        let Some(at) = value.address() else {
            return Ok(Tree::Cut("no address".into()));
        };
        let t = self.e.types().get(id)?;
        let Kind::Record { is_union, members: all } = &t.kind else {
            return Ok(Tree::Cut("unknown type".into()));
        };
        let mut members = Vec::new();
        for m in all.iter().flatten() {
            let of = m.of.map_or(CType::Void, CType::Known);
            let member = part(at, m.at_bits, m.bits, of);
            // Padding.
            if m.name.is_none() && m.bits.is_some() {
                self.left = self.left.saturating_sub(1);
                continue;
            }
            let tree = self.within(&member, depth.saturating_add(1));
            let tree = match tree {
                Err(ExpressionError::Declared(_)) => {
                    Tree::Cut("only declared".into())
                }
                Err(ExpressionError::NoSize(_)) => {
                    Tree::Cut("of unknown size".into())
                }
                Err(ExpressionError::Operation { .. }) => {
                    Tree::Cut("unknown type".into())
                }
                other => other?,
            };
            members.push((m.name.clone(), tree));
            if self.left == 0 {
                members.push((None, Tree::Cut("more members".into())));
                break;
            }
        }
        let is_union = *is_union;
        Ok(Tree::Record { is_union, members })
    }
}

fn is_printable(byte: &u8) -> bool {
    (0x20..0x7f).contains(byte) || matches!(byte, b'\n' | b'\t')
}

fn number(encoding: Encoding, n: u64, bytes: u8) -> Tree {
    match encoding {
        Encoding::Signed => Tree::Signed(n as i64, bytes),
        Encoding::Char if bytes == 1 => Tree::Char(n as u8),
        Encoding::Bool => Tree::Bool(n),
        _ => Tree::Unsigned(n, bytes),
    }
}

impl At {
    /// The address, for `print`.
    #[must_use]
    pub fn address(self) -> Option<u64> {
        match self {
            Self::Memory(at) => Some(at),
            _ => None,
        }
    }
}
