// SPDX-License-Identifier: BSD-2-Clause
//! Values as `livedump print` gives them: as C would be written, and for
//! programs as the objects, arrays, numbers and strings that they are.

use super::{Hex, ReadChanged, Report, Table, escape};
use crate::analysis::expression::tree::Tree;
use livedump_vmcore::verdict::Verdict;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use std::io::{self, Write};

/// Equal elements in a row that are written once.
const REPEATS: usize = 8;

/// How integers and pointers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Radix {
    /// Integers in decimal, pointers in hexadecimal.
    #[default]
    Natural,
    /// All in hexadecimal.
    Hex,
    /// All in decimal.
    Decimal,
}

/// All that was asked for.
#[derive(Debug, Serialize)]
pub struct Print {
    /// As the file was named.
    pub file: String,
    /// The kernel's.
    pub kernel: String,
    /// One for each expression.
    pub values: Vec<Printed>,
    /// Whether what is printed can be relied on.
    pub verdict: Verdict,
    /// Why not.
    pub reason: Option<String>,
    /// Pages that changed, if they were recorded.
    pub changed: Option<ReadChanged>,
    /// For people.
    #[serde(skip)]
    pub radix: Radix,
}

/// What an expression came to.
#[derive(Debug, Serialize)]
pub struct Printed {
    /// As it was written.
    pub expression: String,
    /// Its type, as C writes it.
    #[serde(rename = "type")]
    pub of: Option<String>,
    /// Where it is in memory.
    pub address: Option<Hex>,
    /// The symbol that a pointer is to.
    pub symbol: Option<String>,
    /// The value.
    pub value: Option<Json>,
    /// Of a list, its elements.
    pub elements: Option<Elements>,
    /// Whether the list has more.
    pub more: bool,
    /// What is wrong with it, or missing of it.
    pub problems: Vec<String>,
}

/// A value that is serialized as what it is.
#[derive(Debug)]
pub struct Json(pub Tree);

/// The elements of a list.
#[derive(Debug)]
pub struct Elements {
    /// What was asked for of each; all of it if nothing.
    pub members: Vec<String>,
    /// Where each is, and its values.
    pub rows: Vec<(u64, Vec<Tree>)>,
}

impl Serialize for Elements {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut all = s.serialize_seq(Some(self.rows.len()))?;
        for row in &self.rows {
            all.serialize_element(&Row(&self.members, row))?;
        }
        all.end()
    }
}

/// One element.
struct Row<'a>(&'a [String], &'a (u64, Vec<Tree>));

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Self(members, (at, trees)) = self;
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("address", &Hex(*at))?;
        if members.is_empty() {
            map.serialize_entry("value", &trees.first().map(Shown))?;
        } else {
            map.serialize_entry("members", &Members(members, trees))?;
        }
        map.end()
    }
}

struct Members<'a>(&'a [String], &'a [Tree]);

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let shown = self.1.iter().map(Shown);
        s.collect_map(self.0.iter().zip(shown))
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Shown(&self.0).serialize(s)
    }
}

struct Shown<'a>(&'a Tree);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Tree::Signed(n, _) => s.serialize_i64(*n),
            Tree::Unsigned(n, _) | Tree::Bool(n) => s.serialize_u64(*n),
            Tree::Char(c) => s.serialize_u8(*c),
            Tree::Float(n) => s.serialize_f64(*n),
            Tree::Enum(_, Some(name)) => s.serialize_str(name),
            Tree::Enum(n, None) => s.serialize_i64(*n),
            Tree::Pointer(n, ..) => Hex(*n).serialize(s),
            Tree::Text(text, _) => s.serialize_str(&escape(text)),
            Tree::Array(all, _) => s.collect_seq(all.iter().map(Shown)),
            Tree::Record { members, .. } => {
                let mut map = s.serialize_map(None)?;
                flat(members, &mut map)?;
                map.end()
            }
            Tree::Missing(_) | Tree::Cut(_) => s.serialize_none(),
        }
    }
}

/// Members, those of anonymous ones among them, as in C.
fn flat<M: SerializeMap>(
    members: &[(Option<String>, Tree)],
    map: &mut M,
) -> Result<(), M::Error> {
    for (name, tree) in members {
        match (name, tree) {
            (Some(name), tree) => map.serialize_entry(name, &Shown(tree))?,
            (None, Tree::Record { members, .. }) => flat(members, map)?,
            (None, _) => {}
        }
    }
    Ok(())
}

impl Report for Print {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.values.iter().try_for_each(|v| v.text(out, self.radix))
    }
}

impl Printed {
    fn text(&self, out: &mut dyn Write, radix: Radix) -> io::Result<()> {
        let name = escape(self.expression.as_bytes());
        if let Some(Json(tree)) = &self.value {
            write!(out, "{name} = ")?;
            Writer { out, radix }.tree(tree, 0)?;
            writeln!(out)?;
        }
        if let Some(list) = &self.elements {
            list.text(out, radix)?;
            if self.more {
                writeln!(out, "... more elements")?;
            }
        }
        Ok(())
    }
}

impl Elements {
    fn text(&self, out: &mut dyn Write, radix: Radix) -> io::Result<()> {
        if self.members.is_empty() {
            for (at, trees) in &self.rows {
                write!(out, "*{at:#x} = ")?;
                for tree in trees {
                    Writer { out, radix }.tree(tree, 0)?;
                }
                writeln!(out)?;
            }
            return Ok(());
        }
        let heads = self.members.iter().enumerate().map(|(i, name)| {
            let trees = self.rows.iter().filter_map(|r| r.1.get(i));
            let mut numbers = trees.map(|tree| {
                matches!(tree, Tree::Signed(..) | Tree::Unsigned(..))
            });
            match !self.rows.is_empty() && numbers.all(|is| is) {
                true => format!(">{name}"),
                false => name.clone(),
            }
        });
        let heads: Vec<String> =
            ["ADDRESS".into()].into_iter().chain(heads).collect();
        let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
        let mut table = Table::new(&heads);
        for (at, trees) in &self.rows {
            let words = trees.iter().map(|tree| {
                let mut word = Vec::new();
                // Into memory: it cannot fail.
                let _ = Writer { out: &mut word, radix }.tree(tree, 0);
                let word = String::from_utf8_lossy(&word).into_owned();
                // A structure has lines.
                word.split_whitespace().collect::<Vec<_>>().join(" ")
            });
            let at = [format!("{at:#x}")];
            table.row(at.into_iter().chain(words).collect());
        }
        table.write(out)
    }
}

/// Writes trees.
struct Writer<'o> {
    out: &'o mut dyn Write,
    radix: Radix,
}

impl Writer<'_> {
    fn tree(&mut self, tree: &Tree, depth: usize) -> io::Result<()> {
        match tree {
            Tree::Record { is_union, members } => {
                if *is_union {
                    write!(self.out, "union ")?;
                }
                if members.is_empty() {
                    return write!(self.out, "{{}}");
                }
                writeln!(self.out, "{{")?;
                for (name, member) in members {
                    self.indent(depth + 1)?;
                    match name {
                        Some(name) => {
                            let name = escape(name.as_bytes());
                            write!(self.out, "{name} = ")?;
                        }
                        None if is_plain_struct(member) => {
                            write!(self.out, "struct ")?;
                        }
                        None => {}
                    }
                    self.tree(member, depth + 1)?;
                    writeln!(self.out)?;
                }
                self.indent(depth)?;
                write!(self.out, "}}")
            }
            Tree::Array(all, more) => self.array(all, *more, depth),
            other => write!(self.out, "{}", scalar(other, self.radix)),
        }
    }

    fn indent(&mut self, depth: usize) -> io::Result<()> {
        write!(self.out, "{:1$}", "", depth * 4)
    }

    fn array(
        &mut self,
        all: &[Tree],
        more: Option<u64>,
        depth: usize,
    ) -> io::Result<()> {
        let nested =
            |t: &Tree| matches!(t, Tree::Record { .. } | Tree::Array(..));
        if all.iter().any(nested) {
            return self.array_of_records(all, more, depth);
        }
        write!(self.out, "{{")?;
        let mut first = true;
        let mut rest = all;
        while let Some(tree) = rest.first() {
            let run = rest.iter().take_while(|t| *t == tree).count();
            let word = scalar(tree, self.radix);
            let times = if run >= REPEATS { 1 } else { run };
            for _ in 0..times {
                let comma = if first { "" } else { ", " };
                write!(self.out, "{comma}{word}")?;
                first = false;
            }
            if run >= REPEATS {
                write!(self.out, " <{run} times>")?;
            }
            rest = rest.get(run..).unwrap_or_default();
        }
        if let Some(more) = more {
            let comma = if first { "" } else { ", " };
            write!(self.out, "{comma}<{more} more>")?;
        }
        write!(self.out, "}}")
    }

    fn array_of_records(
        &mut self,
        all: &[Tree],
        more: Option<u64>,
        depth: usize,
    ) -> io::Result<()> {
        writeln!(self.out, "{{")?;
        for (i, tree) in all.iter().enumerate() {
            self.indent(depth + 1)?;
            write!(self.out, "[{i}] = ")?;
            self.tree(tree, depth + 1)?;
            writeln!(self.out)?;
        }
        if let Some(more) = more {
            self.indent(depth + 1)?;
            writeln!(self.out, "<{more} more>")?;
        }
        self.indent(depth)?;
        write!(self.out, "}}")
    }
}

fn is_plain_struct(tree: &Tree) -> bool {
    matches!(tree, Tree::Record { is_union: false, .. })
}

/// A value without parts, in one line.
fn scalar(tree: &Tree, radix: Radix) -> String {
    let hex = radix == Radix::Hex;
    match tree {
        Tree::Signed(n, bytes) if hex => {
            let unused = 64 - 8 * u32::from((*bytes).clamp(1, 8));
            format!("{:#x}", (*n as u64) << unused >> unused)
        }
        Tree::Signed(n, _) => n.to_string(),
        Tree::Unsigned(n, _) if hex => format!("{n:#x}"),
        Tree::Unsigned(n, _) => n.to_string(),
        Tree::Bool(0) => "false".into(),
        Tree::Bool(1) => "true".into(),
        Tree::Bool(n) => n.to_string(),
        Tree::Char(c) if hex => format!("{c:#x}"),
        Tree::Char(c @ 0x20..0x7f) if radix == Radix::Natural => {
            format!("{c} '{}'", *c as char)
        }
        Tree::Char(c) => c.to_string(),
        Tree::Float(n) => n.to_string(),
        Tree::Enum(_, Some(name)) if radix == Radix::Natural => {
            escape(name.as_bytes())
        }
        Tree::Enum(n, _) if hex => format!("{n:#x}"),
        Tree::Enum(n, _) => n.to_string(),
        Tree::Pointer(n, symbol, text) => {
            let mut word = match radix {
                Radix::Decimal => n.to_string(),
                _ => format!("{n:#x}"),
            };
            if let Some(symbol) = symbol {
                word.push_str(&format!(" <{symbol}>"));
            }
            if let Some(text) = text {
                word.push_str(&format!(" {}", quoted(text)));
            }
            word
        }
        Tree::Text(text, cut) => {
            let more = if *cut { "..." } else { "" };
            format!("{}{more}", quoted(text))
        }
        Tree::Missing(why) => format!("<missing: {why}>"),
        Tree::Cut(why) => format!("<not shown: {why}>"),
        Tree::Array(..) | Tree::Record { .. } => "...".into(),
    }
}

/// Text of another machine in quotes.
fn quoted(text: &[u8]) -> String {
    let lines: Vec<_> = text.split(|&b| b == b'\n').map(escape).collect();
    let text = lines.join("\\n").replace('"', "\\\"");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(tree: &Tree, radix: Radix) -> String {
        let mut out = Vec::new();
        Writer { out: &mut out, radix }.tree(tree, 0).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_written_as_c_has_them() {
        use Radix::{Decimal, Hex, Natural};
        let pointer = Tree::Pointer(0x10, Some("f+0x1".into()), None);
        let text = Tree::Text(b"a\"b\n\x1b".to_vec(), true);
        for (tree, radix, want) in [
            (Tree::Signed(-1, 4), Natural, "-1"),
            (Tree::Signed(-1, 4), Hex, "0xffffffff"),
            (Tree::Signed(-1, 8), Hex, "0xffffffffffffffff"),
            (Tree::Unsigned(10, 4), Hex, "0xa"),
            (Tree::Char(65), Natural, "65 'A'"),
            (Tree::Char(65), Decimal, "65"),
            (Tree::Bool(1), Natural, "true"),
            (Tree::Enum(2, Some("TWO".into())), Natural, "TWO"),
            (Tree::Enum(2, Some("TWO".into())), Decimal, "2"),
            (pointer.clone(), Natural, "0x10 <f+0x1>"),
            (pointer, Decimal, "16 <f+0x1>"),
            (text, Natural, "\"a\\\"b\\n\\x1b\"..."),
            (Tree::Missing("why".into()), Natural, "<missing: why>"),
        ] {
            assert_eq!(written(&tree, radix), want);
        }
        let zeros = vec![Tree::Signed(0, 4); 9];
        let some = [zeros, vec![Tree::Signed(1, 4)]].concat();
        let array = Tree::Array(some, Some(3));
        assert_eq!(written(&array, Natural), "{0 <9 times>, 1, <3 more>}");
    }

    #[test]
    fn members_of_anonymous_unions_are_members() {
        let inner = Tree::Record {
            is_union: true,
            members: vec![(Some("b".into()), Tree::Unsigned(2, 4))],
        };
        let tree = Tree::Record {
            is_union: false,
            members: vec![
                (Some("a".into()), Tree::Pointer(1, None, None)),
                (None, inner),
                (Some("c".into()), Tree::Cut("x".into())),
            ],
        };
        let json = serde_json::to_string(&Json(tree.clone())).unwrap();
        assert_eq!(json, r#"{"a":"0x1","b":2,"c":null}"#);
        assert_eq!(
            written(&tree, Radix::Natural),
            "{\n    a = 0x1\n    union {\n        b = 2\n    }\n    \
             c = <not shown: x>\n}"
        );
    }
}
