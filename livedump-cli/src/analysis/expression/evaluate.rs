// SPDX-License-Identifier: BSD-2-Clause
//! An expression to a value.

use super::error::ExpressionError;
use super::near::near;
use super::parser::{Base, Expr, Operator, TypeName};
use super::value::{At, Value, extend};
use crate::analysis::names::Names;
use crate::analysis::types::reader::{
    CType, Encoding, Resolved, Tag, TypeId, TypeReader,
};
use livedump_vmcore::ReadError;
use std::cell::RefCell;

const PAGE: u64 = 4096;

/// Reads memory of the kernel's.
pub type Memory<'a> = dyn Fn(u64, &mut [u8]) -> Result<(), ReadError> + 'a;

/// What expressions are evaluated with.
pub struct Evaluator<'a> {
    memory: &'a Memory<'a>,
    names: &'a Names<'a>,
    types: &'a TypeReader<'a>,
    /// The page that was read last.
    page: RefCell<Option<(u64, Vec<u8>)>>,
    /// The symbol without a type that was named last, and its address.
    untyped: RefCell<Option<(u64, String)>>,
}

type Result<T, E = ExpressionError> = std::result::Result<T, E>;

impl<'a> Evaluator<'a> {
    /// With memory, symbols and types.
    #[must_use]
    pub fn new(
        memory: &'a Memory<'a>,
        names: &'a Names<'a>,
        types: &'a TypeReader<'a>,
    ) -> Self {
        let (page, untyped) = (RefCell::default(), RefCell::default());
        Self { memory, names, types, page, untyped }
    }

    /// The types.
    #[must_use]
    pub fn types(&self) -> &TypeReader<'a> {
        self.types
    }

    /// The symbols.
    #[must_use]
    pub fn names(&self) -> &Names<'a> {
        self.names
    }

    /// Evaluates.
    ///
    /// # Errors
    /// It has no value.
    pub fn eval(&self, e: &Expr) -> Result<Value> {
        self.eval_with(e, None)
    }

    /// Evaluates, where an element of a list may be named.
    ///
    /// # Errors
    /// It has no value.
    pub fn eval_with(
        &self,
        e: &Expr,
        element: Option<&Value>,
    ) -> Result<Value> {
        let eval = |e: &Expr| self.eval_with(e, element);
        match e {
            Expr::Number(n) => Ok(Value::number(*n)),
            Expr::Name(name) => self.name(name),
            Expr::Element => element.cloned().ok_or_else(|| {
                ExpressionError::NotAList("no list is walked".into())
            }),
            Expr::Deref(x) => {
                let (to, at) = self.pointer(&eval(x)?, "*")?;
                self.object(to, at, x)
            }
            Expr::Address(x) => self.address(eval(x)?),
            Expr::Minus(x) => {
                let n = self.integer(&eval(x)?, "-")?;
                Ok(Value::signed((n as i64).wrapping_neg()))
            }
            Expr::Member(x, name) => {
                if let Some(value) = self.static_of(x, name) {
                    return Ok(value);
                }
                let value = eval(x)?;
                let Some(at) = value.address() else {
                    return self.refuse(". (use ->)", &value.of);
                };
                self.member_of(&value.of, at, name)
            }
            Expr::Arrow(x, name) => {
                let (to, at) = self.pointer(&eval(x)?, "->")?;
                if at == 0 {
                    return Err(ExpressionError::Null(text(x)));
                }
                self.member_of(&to, at, name)
            }
            Expr::Index(x, i) => {
                let index = self.integer(&eval(i)?, "[]")? as i64;
                let value = eval(x)?;
                self.index(&value, index, x)
            }
            Expr::Cast(to, x) => {
                let to = self.type_of(to)?;
                self.cast(to, &eval(x)?)
            }
            Expr::Binary(operator, x, y) => {
                self.binary(*operator, &eval(x)?, &eval(y)?)
            }
            Expr::SizeOfType(of) => {
                let of = self.type_of(of)?;
                self.size(&of).map(Value::number)
            }
            Expr::SizeOf(x) => {
                let value = eval(x)?;
                self.size(&value.of).map(Value::number)
            }
            Expr::OffsetOf(of, path) => self.offset_of(of, path),
        }
    }

    /// A type by its name.
    ///
    /// # Errors
    /// There is none of it.
    pub fn type_of(&self, name: &TypeName) -> Result<CType> {
        let mut of = match &name.base {
            Base::Void => CType::Void,
            Base::Int(bytes, signed) => match (bytes, signed) {
                (1, true) => self.char_type()?,
                _ => CType::Int(*bytes, *signed),
            },
            Base::Named(tag, name) => self.named(*tag, name)?,
        };
        for _ in 0..name.pointers {
            of = of.pointer();
        }
        for n in name.dimensions.iter().rev() {
            of = CType::Array(Box::new(of), Some(*n));
        }
        Ok(of)
    }

    /// `char`, so that it is shown as text; a byte where there are no types.
    fn char_type(&self) -> Result<CType> {
        let found = self.types.find(Tag::Name, "char")?;
        Ok(found.map_or(CType::Int(1, true), CType::Known))
    }

    fn named(&self, tag: Tag, name: &str) -> Result<CType> {
        if let Some(id) = self.types.find(tag, name)? {
            return Ok(CType::Known(id));
        }
        let text = format!("{}{name}", tag.keyword());
        if self.types.is_empty() {
            return Err(ExpressionError::NoTypes(text));
        }
        let mut near = String::new();
        for other in [Tag::Struct, Tag::Union, Tag::Enum, Tag::Name] {
            if other != tag && self.types.find(other, name)?.is_some() {
                near = format!("; there is {}{name}", other.keyword());
            }
        }
        Err(ExpressionError::NoType { name: text, near })
    }

    fn name(&self, name: &str) -> Result<Value> {
        let symbol = self.names.find(name);
        if let Some(symbol) = symbol.filter(|s| s.is_code()) {
            let of = CType::Function;
            return Ok(Value { of, at: At::Number(symbol.at) });
        }
        let at = symbol.map(|s| s.at);
        // Types are the kernel's, not its modules'.
        let of_module = symbol.is_some_and(|s| self.names.module(&s).is_some());
        let variable = match of_module {
            true => None,
            false => self.types.variable(name, at)?,
        };
        let address = variable.and_then(|v| v.address).or(at);
        let Some(address) = address else {
            let near = self.names.near(name);
            return Err(ExpressionError::NoSymbol { name: name.into(), near });
        };
        let of = match variable.and_then(|v| v.of) {
            Some(of) => CType::Known(of),
            None => {
                if let Ok(mut last) = self.untyped.try_borrow_mut() {
                    *last = Some((address, name.into()));
                }
                CType::Untyped(symbol.map_or(0, |s| s.size))
            }
        };
        Ok(Value::memory(of, address))
    }

    /// A static variable of a function, as compilers name it:
    /// `kern_reboot.once`.
    fn static_of(&self, function: &Expr, name: &str) -> Option<Value> {
        let Expr::Name(function) = function else { return None };
        let outer = self.names.find(function);
        if outer.is_some_and(|n| !n.is_code()) {
            return None;
        }
        let symbol = self.names.find(&format!("{function}.{name}"))?;
        Some(Value::memory(CType::Untyped(symbol.size), symbol.at))
    }

    fn refuse<T>(&self, what: &'static str, of: &CType) -> Result<T> {
        let of = self.types.text(of)?;
        Err(ExpressionError::Operation { what, of })
    }

    /// The object that a pointer is to.
    fn object(&self, of: CType, at: u64, pointer: &Expr) -> Result<Value> {
        match self.types.resolve(&of)? {
            Resolved::Function => Ok(Value { of, at: At::Number(at) }),
            _ if at == 0 => Err(ExpressionError::Null(text(pointer))),
            Resolved::Void => self.refuse("* of", &of.pointer()),
            _ => Ok(Value::memory(of, at)),
        }
    }

    fn address(&self, value: Value) -> Result<Value> {
        match value.at {
            At::Memory(at) => {
                let of = match value.of {
                    CType::Untyped(_) => CType::Void,
                    of => of,
                };
                Ok(Value { of: of.pointer(), at: At::Number(at) })
            }
            At::Number(_) if value.of == CType::Function => Ok(value),
            At::Bits { .. } => self.refuse("& of a bit field, ", &value.of),
            At::Number(_) => self.refuse("& of a number,", &value.of),
        }
    }

    /// What a pointer or an array is of, and where that is.
    fn pointer(
        &self,
        value: &Value,
        what: &'static str,
    ) -> Result<(CType, u64)> {
        match self.types.resolve(&value.of)? {
            Resolved::Pointer(to) => Ok((to, self.load(value)?)),
            Resolved::Array(of, _) if value.address().is_some() => {
                Ok((of, value.address().unwrap_or(0)))
            }
            Resolved::Function if value.of == CType::Function => {
                Ok((value.of.clone(), self.load(value)?))
            }
            Resolved::Unknown => self.untyped(value, what),
            _ => self.refuse(what, &value.of),
        }
    }

    fn untyped<T>(&self, value: &Value, what: &'static str) -> Result<T> {
        match (&value.of, value.address()) {
            (CType::Untyped(_), Some(at)) => {
                let named = self.untyped.try_borrow().ok();
                let named = named.and_then(|named| named.clone());
                let named = named.filter(|n| n.0 == at).map(|n| n.1);
                let name = named.or_else(|| self.names.text(at));
                let name = name.unwrap_or_else(|| format!("{at:#x}"));
                Err(ExpressionError::Untyped(name))
            }
            _ => self.refuse(what, &value.of),
        }
    }

    /// A member of what is at an address.
    ///
    /// # Errors
    /// There is none, or it is no structure.
    pub fn member_of(&self, of: &CType, at: u64, name: &str) -> Result<Value> {
        let id = match self.types.resolve(of)? {
            Resolved::Record(id, Some(_)) => id,
            Resolved::Record(_, None) => {
                return Err(ExpressionError::Declared(self.types.text(of)?));
            }
            Resolved::Pointer(_) => return self.refuse(". (use ->)", of),
            Resolved::Unknown => {
                let value = Value::memory(of.clone(), at);
                return self.untyped(&value, "a member");
            }
            _ => return self.refuse("a member", of),
        };
        let Some(place) = self.types.member(id, name)? else {
            return Err(self.no_member(of, id, name)?);
        };
        Ok(part(at, place.at_bits, place.bits, place.of))
    }

    fn no_member(
        &self,
        of: &CType,
        id: TypeId,
        name: &str,
    ) -> Result<ExpressionError> {
        let names = self.types.member_names(id)?;
        let near = near(name, names.iter().map(String::as_str));
        let of = self.types.text(of)?;
        Ok(ExpressionError::NoMember { of, name: name.into(), near })
    }

    fn index(&self, value: &Value, index: i64, x: &Expr) -> Result<Value> {
        let resolved = self.types.resolve(&value.of)?;
        if let Resolved::Array(_, Some(n)) = resolved
            && n > 0
            && u64::try_from(index).map_or(true, |i| i >= n)
        {
            let of = self.types.text(&value.of)?;
            return Err(ExpressionError::Index { index, of });
        }
        let (of, at) = self.pointer(value, "[]")?;
        if at == 0 {
            return Err(ExpressionError::Null(text(x)));
        }
        let step = self.size(&of)?;
        let offset = (index as u64).wrapping_mul(step);
        self.object(of, at.wrapping_add(offset), x)
    }

    fn cast(&self, to: CType, value: &Value) -> Result<Value> {
        let (bytes, signed) = match self.types.resolve(&to)? {
            Resolved::Pointer(_) => (8, false),
            Resolved::Number(encoding, bytes @ 1..=8)
                if encoding != Encoding::Float =>
            {
                (bytes, is_signed(encoding))
            }
            Resolved::Enum(_, bytes @ 1..=8) => (bytes, false),
            _ => return self.refuse("a cast to", &to),
        };
        let n = match self.types.resolve(&value.of)? {
            Resolved::Array(..) => value.address().unwrap_or(0),
            Resolved::Record(..) => return self.refuse("a cast", &value.of),
            _ => self.load(value)?,
        };
        let bits = (bytes as u32).saturating_mul(8);
        Ok(Value { of: to, at: At::Number(extend(n, bits, signed)) })
    }

    fn binary(
        &self,
        operator: Operator,
        x: &Value,
        y: &Value,
    ) -> Result<Value> {
        let sign = match operator {
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
        };
        let steps = |value: &Value| match self.types.resolve(&value.of)? {
            Resolved::Pointer(_) | Resolved::Array(..) => {
                let (to, at) = self.pointer(value, sign)?;
                // As gcc(1) has it.
                let step = match self.types.resolve(&to)? {
                    Resolved::Void | Resolved::Function => 1,
                    _ => self.size(&to)?,
                };
                Ok::<_, ExpressionError>(Some((to, at, step)))
            }
            _ => Ok(None),
        };
        let pointer =
            |to: CType, at: u64| Value { of: to.pointer(), at: At::Number(at) };
        match (operator, steps(x)?, steps(y)?) {
            (Operator::Add, Some((to, at, step)), None) => {
                let n = self.integer(y, sign)?.wrapping_mul(step);
                Ok(pointer(to, at.wrapping_add(n)))
            }
            (Operator::Add, None, Some((to, at, step))) => {
                let n = self.integer(x, sign)?.wrapping_mul(step);
                Ok(pointer(to, at.wrapping_add(n)))
            }
            (Operator::Subtract, Some((to, at, step)), None) => {
                let n = self.integer(y, sign)?.wrapping_mul(step);
                Ok(pointer(to, at.wrapping_sub(n)))
            }
            (Operator::Subtract, Some((_, a, step)), Some((_, b, other)))
                if step == other && step > 0 =>
            {
                let bytes = a.wrapping_sub(b) as i64;
                let step = i64::try_from(step).unwrap_or(i64::MAX);
                Ok(Value::signed(bytes.checked_div(step).unwrap_or(0)))
            }
            (_, None, None) => {
                let (a, b) = (self.integer(x, sign)?, self.integer(y, sign)?);
                let n = match operator {
                    Operator::Add => a.wrapping_add(b),
                    Operator::Subtract => a.wrapping_sub(b),
                    Operator::Multiply => a.wrapping_mul(b),
                };
                let unsigned =
                    [x, y].iter().any(|v| v.of == CType::Int(8, false));
                Ok(match unsigned {
                    true => {
                        Value { of: CType::Int(8, false), at: At::Number(n) }
                    }
                    false => Value::signed(n as i64),
                })
            }
            _ => self.refuse(sign, &y.of),
        }
    }

    fn offset_of(&self, of: &TypeName, path: &[String]) -> Result<Value> {
        // As if an object were at 0.
        let mut value = Value::memory(self.type_of(of)?, 0);
        for name in path {
            let at = value.address().unwrap_or(0);
            value = self.member_of(&value.of, at, name)?;
        }
        match value.at {
            At::Bits { .. } => self.refuse("offsetof a bit field, ", &value.of),
            _ => Ok(Value::number(value.address().unwrap_or(0))),
        }
    }

    /// Bytes of a type.
    ///
    /// # Errors
    /// They are not known.
    pub fn size(&self, of: &CType) -> Result<u64> {
        let size = self.types.size(of)?;
        match size {
            Some(size) => Ok(size),
            None => Err(ExpressionError::NoSize(self.types.text(of)?)),
        }
    }

    /// A number or a pointer; an array is where it starts.
    ///
    /// # Errors
    /// It is neither, or not in the dump.
    pub fn scalar(&self, value: &Value) -> Result<u64> {
        match self.types.resolve(&value.of)? {
            Resolved::Array(..) => Ok(value.address().unwrap_or(0)),
            _ => self.load(value),
        }
    }

    fn integer(&self, value: &Value, what: &'static str) -> Result<u64> {
        match self.types.resolve(&value.of)? {
            Resolved::Number(encoding, _) if encoding != Encoding::Float => {
                self.load(value)
            }
            Resolved::Enum(..) => self.load(value),
            Resolved::Unknown => self.untyped(value, what),
            _ => self.refuse(what, &value.of),
        }
    }

    /// A number or a pointer, from where it is.
    ///
    /// # Errors
    /// It is neither, or not in the dump.
    pub fn load(&self, value: &Value) -> Result<u64> {
        let (bytes, signed) = match self.types.resolve(&value.of)? {
            Resolved::Number(encoding, bytes @ 1..=8) => {
                (bytes, is_signed(encoding))
            }
            Resolved::Enum(_, bytes @ 1..=8) => (bytes, true),
            Resolved::Pointer(_) | Resolved::Function => (8, false),
            Resolved::Unknown => return self.untyped(value, "the value"),
            _ => return self.refuse("the value", &value.of),
        };
        match value.at {
            At::Number(n) => Ok(n),
            At::Memory(at) => {
                let mut raw = [0; 8];
                let buf = raw.get_mut(..bytes as usize).unwrap_or_default();
                self.read(at, buf)?;
                let bits = (bytes as u32).saturating_mul(8);
                Ok(extend(u64::from_le_bytes(raw), bits, signed))
            }
            At::Bits { address, shift, bits } => {
                let bits = bits.min(64);
                let end = shift.saturating_add(bits).div_ceil(8) as usize;
                let mut raw = [0; 16];
                let buf = raw.get_mut(..end).unwrap_or_default();
                self.read(address, buf)?;
                let all = u128::from_le_bytes(raw);
                let n = all.checked_shr(shift).unwrap_or(0) as u64;
                Ok(extend(n, bits, signed))
            }
        }
    }

    /// Reads memory.
    ///
    /// # Errors
    /// It is not in the dump.
    pub fn read(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let page = at & !PAGE.wrapping_sub(1);
        let start = at.wrapping_sub(page) as usize;
        let end = start.saturating_add(buf.len());
        if end <= PAGE as usize
            && let Ok(mut kept) = self.page.try_borrow_mut()
        {
            if kept.as_ref().is_none_or(|(at, _)| *at != page) {
                let mut bytes = vec![0; PAGE as usize];
                let read = (self.memory)(page, &mut bytes);
                *kept = read.ok().map(|()| (page, bytes));
            }
            if let Some((_, bytes)) = kept.as_ref()
                && let Some(bytes) = bytes.get(start..end)
            {
                buf.iter_mut().zip(bytes).for_each(|(to, &b)| *to = b);
                return Ok(());
            }
        }
        (self.memory)(at, buf).map_err(|source| {
            let what = match self.names.text(at) {
                Some(name) => format!("{} bytes of {name}", buf.len()),
                None => format!("{} bytes at {at:#x}", buf.len()),
            };
            ExpressionError::Memory { what, source }
        })
    }
}

/// A part of an object at an address.
pub(super) fn part(
    at: u64,
    at_bits: u64,
    bits: Option<u32>,
    of: CType,
) -> Value {
    let address = at.wrapping_add(at_bits / 8);
    let at = match bits {
        Some(bits) => At::Bits { address, shift: (at_bits % 8) as u32, bits },
        None => At::Memory(address),
    };
    Value { of, at }
}

fn is_signed(encoding: Encoding) -> bool {
    matches!(encoding, Encoding::Signed | Encoding::Char)
}

/// An expression as it was written, more or less, for a message.
fn text(e: &Expr) -> String {
    match e {
        Expr::Number(0) => "the address".into(),
        Expr::Number(n) => format!("{n:#x}"),
        Expr::Name(name) => name.clone(),
        Expr::Element => "the element".into(),
        Expr::Deref(x) => format!("*{}", text(x)),
        Expr::Address(x) => format!("&{}", text(x)),
        Expr::Minus(x) => format!("-{}", text(x)),
        Expr::Member(x, name) => format!("{}.{name}", text(x)),
        Expr::Arrow(x, name) => format!("{}->{name}", text(x)),
        Expr::Index(x, i) => format!("{}[{}]", text(x), text(i)),
        Expr::Cast(_, x) => text(x),
        _ => "the pointer".into(),
    }
}
