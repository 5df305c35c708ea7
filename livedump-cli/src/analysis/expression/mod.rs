// SPDX-License-Identifier: BSD-2-Clause
//! Expressions of C over the memory of a dump.
//!
//! ```text
//! expr     = product { ("+" | "-") product }
//! product  = unary { "*" unary }
//! unary    = { "*" | "&" | "-" | "+" | "(" type ")" } postfix
//! postfix  = primary { "." name | "->" name | "[" expr "]" }
//! primary  = name | number | "(" expr ")"
//!          | "sizeof" (unary | "(" type ")")
//!          | "offsetof" "(" type "," name { "." name } ")"
//! type     = ("struct" | "union" | "enum") name | name | integer | "void"
//!            { "*" } { "[" number "]" }
//! ```
//!
//! Nothing is assigned or called: those are refused by name. Types are the
//! kernel's; an index has to be within its array; a pointer that is followed
//! must not be NULL.
//!
//! ```text
//! lexer     words and signs
//! parser    the grammar
//! evaluate  an expression to a value
//! value     where a value is, and what
//! list      the lists of queue(3)
//! tree      a value with its members, as it is printed
//! near      names that may have been meant
//! error     why there is none
//! ```

pub mod error;
pub mod evaluate;
mod lexer;
pub mod list;
pub mod near;
pub mod parser;
pub mod tree;
mod value;

pub use error::{ExpressionError, SyntaxError};
pub use evaluate::Evaluator;
pub use parser::{Expr, Parsed, TypeName, parse, parse_any, parse_member};
pub use value::{At, Value};
