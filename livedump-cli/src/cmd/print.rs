// SPDX-License-Identifier: BSD-2-Clause
//! `livedump print`: values of the dumped kernel, by expressions of C.
//!
//! ```text
//! $ livedump print vmcore.0 'allproc.lh_first->p_comm'
//! allproc.lh_first->p_comm = "sysctl"
//! ```

use super::changed_pages::ChangedPages;
use super::session::{KernelArgs, Session};
use crate::analysis::expression::list::{self, List};
use crate::analysis::expression::tree::{Builder, DEFAULT_ELEMENTS, Tree};
use crate::analysis::expression::{
    At, Evaluator, Expr, ExpressionError, Parsed, SyntaxError, TypeName, Value,
    parse_any, parse_member,
};
use crate::analysis::modules::modules;
use crate::analysis::names::Names;
use crate::analysis::stack::ModuleFile;
use crate::analysis::types::TypesError;
use crate::analysis::types::reader::{Tag, TypeReader};
use crate::analysis::{Target, TargetError};
use crate::convert::modules::ModuleFiles;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::report::{Elements, Hex, Json, Print, Printed, Radix, Report, note};
use clap::ValueHint;
use livedump_vmcore::chain;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::path::escape_path;
use livedump_vmcore::verdict::Verdict;
use memdev::addr::Vaddr;
use std::path::{Path, PathBuf};

/// Arguments of `print`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kernel: KernelArgs,
    /// Print integers in hexadecimal
    #[arg(short = 'x', long, conflicts_with = "decimal")]
    pub hex: bool,
    /// Print pointers, characters and enumerations in decimal
    #[arg(short, long)]
    pub decimal: bool,
    /// Walk the list of queue(3) that is linked by FIELD
    #[arg(long, value_name = "FIELD")]
    pub list: Option<String>,
    /// Of each element only these members, as a table
    #[arg(
        long,
        value_name = "MEMBER,...",
        value_delimiter = ',',
        requires = "list"
    )]
    pub member: Vec<String>,
    /// Elements of a list [default: 10000] or an array [default: 200]
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub limit: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Dump file: plain, gzip or zstd
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Expression of C, or a type and an address
    #[arg(
        value_name = "EXPRESSION",
        required = true,
        value_hint = ValueHint::Other
    )]
    pub expressions: Vec<String>,
}

/// An expression that has no value.
#[derive(Debug, thiserror::Error)]
#[error("{expression}")]
pub struct BadExpression {
    /// As it was written.
    expression: String,
    /// Why not.
    source: ExpressionError,
}

impl BadExpression {
    /// Of this text.
    pub(super) fn new(text: &str, source: impl Into<ExpressionError>) -> Self {
        let expression = livedump_vmcore::path::escape_line(text);
        Self { expression, source: source.into() }
    }
}

impl From<BadExpression> for Error {
    fn from(e: BadExpression) -> Self {
        Self::of_command(e)
    }
}

/// One thing to print.
struct Asked {
    text: String,
    e: Expr,
    /// The object of this type that is there.
    of: Option<TypeName>,
}

fn asked(texts: &[String]) -> Result<Vec<Asked>, BadExpression> {
    let mut all = Vec::new();
    let mut texts = texts.iter();
    while let Some(text) = texts.next() {
        let bad = |e: SyntaxError| BadExpression::new(text, e);
        let of = match parse_any(text).map_err(bad)? {
            Parsed::Expr(e) => {
                all.push(Asked { text: text.clone(), e, of: None });
                continue;
            }
            Parsed::Type(of) => of,
        };
        let Some(at) = texts.next() else {
            return Err(bad(SyntaxError::TypeAlone));
        };
        let bad = |e: SyntaxError| BadExpression::new(at, e);
        match parse_any(at).map_err(bad)? {
            Parsed::Expr(e) => {
                let text = format!("{text} {at}");
                all.push(Asked { text, e, of: Some(of) });
            }
            Parsed::Type(_) => return Err(bad(SyntaxError::TypeAlone)),
        }
    }
    Ok(all)
}

/// A dump with its kernel and its modules, for expressions.
pub(super) struct Opened {
    pub(super) session: Session,
    modules: ModuleFiles,
}

impl Opened {
    pub(super) fn open(file: &Path, args: &KernelArgs) -> Result<Self, Error> {
        let (session, modules) = Session::open_with_modules(file, args)?;
        Ok(Self { session, modules })
    }

    /// The files of the modules that the dumped kernel had loaded.
    pub(super) fn modules(&self, target: &Target<'_>) -> Vec<ModuleFile> {
        self.modules.load(&modules(target))
    }
}

/// The symbols of a kernel and its modules.
pub(super) fn names<'k>(
    kernel: &'k Kernel,
    debug: Option<&'k Kernel>,
    modules: &'k [ModuleFile],
) -> Names<'k> {
    // A stripped kernel's debug file has more, and that of another knows less
    // of each.
    let few =
        |debug: &&Kernel| kernel.symbol_count() < debug.symbol_count() / 2;
    let kernel = debug.filter(few).unwrap_or(kernel);
    let modules = modules.iter().map(|m| (&m.file, module_name(&m.file)));
    Names::new(kernel, modules)
}

/// The types of a kernel and its debug file, which must not contradict what
/// the kernel exports.
pub(super) fn types<'a>(target: &Target<'a>) -> Result<TypeReader<'a>, Error> {
    let types = TypeReader::new(target.kernel, target.debug);
    // Of a file that is proved to be the kernel's there is no doubt.
    if target.unproven.is_empty() {
        return Ok(types);
    }
    for (of, name) in [("proc", "p_pid"), ("thread", "td_tid")] {
        let found = types.find(Tag::Struct, of).map_err(TargetError::from)?;
        let Some(found) = found else { continue };
        let place = types.member(found, name).map_err(TargetError::from)?;
        let exported = target.types.field(of, name);
        if let (Some(place), Some(exported)) = (place, exported)
            && place.at_bits / 8 != exported.offset
        {
            let file = target.debug.unwrap_or(target.kernel);
            return Err(TargetError::from(TypesError::Other {
                path: file.path().to_string(),
                source_name: "type information",
                field: format!("{of}.{name}"),
                found: place.at_bits / 8,
                other: "the kernel exports",
                expected: exported.offset,
            })
            .into());
        }
    }
    Ok(types)
}

fn module_name(file: &Kernel) -> String {
    let name = file.path().rsplit('/').next().unwrap_or_default();
    name.strip_suffix(".debug").unwrap_or(name).into()
}

/// Shows it.
///
/// # Errors
/// The files do not belong together, or an expression has no value. Memory
/// that is not in the dump is [`Outcome::Finding`], a list that does not agree
/// with itself [`Outcome::Undetermined`].
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let all = asked(&args.expressions)?;
    let members: Vec<Expr> = args
        .member
        .iter()
        .map(|m| parse_member(m).map_err(|e| BadExpression::new(m, e)))
        .collect::<Result<_, _>>()?;
    let opened = Opened::open(&args.file, &args.kernel)?;
    let session = &opened.session;
    let target = session.exported_only()?;
    let changed_pages =
        ChangedPages::of(&session.core, session.changes.as_ref());
    let modules = opened.modules(&target);
    let (kernel, debug) = (target.kernel, target.debug);
    let names = names(kernel, debug, &modules);
    let types = types(&target)?;
    let memory = |at, buf: &mut [u8]| target.core.read_va(Vaddr(at), buf);
    let e = Evaluator::new(&memory, &names, &types);
    let mut reasons = target.unproven.clone();
    reasons.iter().for_each(note);
    let mut outcome = Outcome::Clean;
    let mut values = Vec::new();
    for one in &all {
        let (printed, found) = print(args, &e, one, &members)
            .map_err(|e| BadExpression::new(&one.text, e))?;
        for problem in &printed.problems {
            note(format_args!("{}: {problem}", printed.expression));
        }
        if found == Outcome::Undetermined {
            reasons.extend(printed.problems.first().cloned());
        }
        outcome = outcome.and(found);
        values.push(printed);
    }
    let verdict = match reasons.first() {
        Some(why) => Verdict::Undetermined(why.clone()),
        None => Verdict::Sound,
    };
    let report = Print {
        file: escape_path(&args.file),
        kernel: kernel.path().to_string(),
        values,
        reason: verdict.reason().map(String::from),
        changed: changed_pages.warn(),
        radix: match (args.hex, args.decimal) {
            (true, _) => Radix::Hex,
            (_, true) => Radix::Decimal,
            _ => Radix::Natural,
        },
        verdict,
    };
    report.print(args.json)?;
    Ok(outcome.and(Outcome::from(&report.verdict)))
}

type Result<T, E = ExpressionError> = std::result::Result<T, E>;

fn print(
    args: &Args,
    e: &Evaluator<'_>,
    asked: &Asked,
    members: &[Expr],
) -> Result<(Printed, Outcome)> {
    let mut printed = Printed {
        expression: asked.text.clone(),
        of: None,
        address: None,
        symbol: None,
        value: None,
        elements: None,
        more: false,
        problems: Vec::new(),
    };
    let done = match (&args.list, value(e, asked)) {
        (None, Ok(value)) => print_value(args, e, &value, &mut printed),
        (Some(field), Ok(value)) => {
            print_list(args, e, (&value, field), members, &mut printed)
        }
        (_, Err(why)) => Err(why),
    };
    match done {
        Ok(outcome) => Ok((printed, outcome)),
        Err(why) if why.is_of_dump() => {
            printed.problems.push(chain(&why));
            let outcome = missing(why.is_environment());
            Ok((printed, outcome))
        }
        Err(why) => Err(why),
    }
}

/// What is not in the dump is a finding; what this host could not read is not
/// known.
fn missing(is_environment: bool) -> Outcome {
    match is_environment {
        true => Outcome::Undetermined,
        false => Outcome::Finding,
    }
}

fn value(e: &Evaluator<'_>, asked: &Asked) -> Result<Value> {
    let value = e.eval(&asked.e)?;
    let Some(of) = &asked.of else { return Ok(value) };
    let of = e.type_of(of)?;
    match e.scalar(&value)? {
        0 => Err(ExpressionError::Null("the address".into())),
        at => Ok(Value::memory(of, at)),
    }
}

fn print_value(
    args: &Args,
    e: &Evaluator<'_>,
    value: &Value,
    printed: &mut Printed,
) -> Result<Outcome> {
    printed.of = Some(e.types().text(&value.of)?);
    printed.address = value.at.address().map(Hex);
    let elements = args.limit.map_or(DEFAULT_ELEMENTS, |n| n as usize);
    let mut builder = Builder::new(e, elements);
    let tree = match value.at {
        // Of a number there is nothing but itself.
        At::Number(_) | At::Memory(_) | At::Bits { .. } => {
            builder.tree(value)?
        }
    };
    if let Tree::Pointer(_, symbol, _) = &tree {
        printed.symbol = symbol.clone();
    }
    printed.value = Some(Json(tree));
    printed.problems.extend(builder.missing.iter().cloned());
    Ok(match builder.missing.is_empty() {
        true => Outcome::Clean,
        false => missing(builder.is_environment),
    })
}

fn print_list(
    args: &Args,
    e: &Evaluator<'_>,
    (start, field): (&Value, &str),
    members: &[Expr],
    printed: &mut Printed,
) -> Result<Outcome> {
    let limit = args.limit.map_or(list::DEFAULT_LIMIT, |n| n as usize);
    let found: List = list::walk(e, start, field, limit)?;
    printed.of = Some(e.types().text(&found.of)?);
    printed.more = found.is_cut;
    printed.problems.clone_from(&found.problems);
    let mut builder = Builder::new(e, DEFAULT_ELEMENTS);
    let mut rows = Vec::new();
    let mut is_environment = found.is_environment;
    let mut lost = 0usize;
    for element in list::values(&found) {
        let at = element.address().unwrap_or(0);
        let mut trees = Vec::new();
        if members.is_empty() {
            trees.push(builder.tree(&element)?);
        }
        for member in members {
            let tree = e
                .eval_with(member, Some(&element))
                .and_then(|value| builder.tree(&value));
            trees.push(match tree {
                Ok(tree) => tree,
                Err(why) if why.is_of_dump() => {
                    is_environment |= why.is_environment();
                    lost = lost.saturating_add(1);
                    Tree::Missing(chain(&why))
                }
                Err(why) => return Err(why),
            });
        }
        rows.push((at, trees));
    }
    if found.is_cut {
        note(format_args!(
            "{}: stopped after {} elements (--limit)",
            printed.expression,
            rows.len()
        ));
    }
    if lost > 0 {
        let s = if lost == 1 { "" } else { "s" };
        printed.problems.push(format!("{lost} member{s} could not be read"));
    }
    printed.problems.extend(builder.missing.iter().cloned());
    printed.elements = Some(Elements { members: args.member.clone(), rows });
    is_environment |= builder.is_environment;
    Ok(match (found.problems.is_empty(), lost, builder.missing.is_empty()) {
        (true, 0, true) => Outcome::Clean,
        (true, _, _) => missing(is_environment),
        (false, _, _) => Outcome::Undetermined,
    })
}
