// SPDX-License-Identifier: BSD-2-Clause
//! What is an expression, how it is bracketed, and what is refused.

use super::*;

/// An expression with all its parentheses.
fn shown(e: &Expr) -> String {
    let both = |sign: &str, x: &Expr, y: &Expr| {
        format!("({} {sign} {})", shown(x), shown(y))
    };
    match e {
        Expr::Number(n) => n.to_string(),
        Expr::Name(name) => name.clone(),
        Expr::Element => "$".into(),
        Expr::Deref(x) => format!("*{}", shown(x)),
        Expr::Address(x) => format!("&{}", shown(x)),
        Expr::Minus(x) => format!("-{}", shown(x)),
        Expr::Member(x, name) => format!("({}.{name})", shown(x)),
        Expr::Arrow(x, name) => format!("({}->{name})", shown(x)),
        Expr::Index(x, i) => format!("({}[{}])", shown(x), shown(i)),
        Expr::Cast(to, x) => format!("<{}>{}", named(to), shown(x)),
        Expr::Binary(Operator::Add, x, y) => both("+", x, y),
        Expr::Binary(Operator::Subtract, x, y) => both("-", x, y),
        Expr::Binary(Operator::Multiply, x, y) => both("*", x, y),
        Expr::SizeOfType(of) => format!("sizeof<{}>", named(of)),
        Expr::SizeOf(x) => format!("sizeof {}", shown(x)),
        Expr::OffsetOf(of, path) => {
            format!("offsetof<{}, {}>", named(of), path.join("."))
        }
    }
}

fn named(of: &TypeName) -> String {
    let mut text = match &of.base {
        Base::Void => "void".into(),
        Base::Int(bytes, signed) => {
            format!("{}{bytes}", if *signed { "i" } else { "u" })
        }
        Base::Named(tag, name) => format!("{}{name}", tag.keyword()),
    };
    text.push_str(&"*".repeat(of.pointers));
    for n in &of.dimensions {
        text.push_str(&format!("[{n}]"));
    }
    text
}

#[test]
fn expressions_are_bracketed_as_in_c() {
    for (text, want) in [
        ("hz", "hz"),
        ("allproc.lh_first->p_comm", "((allproc.lh_first)->p_comm)"),
        ("*a->b", "*(a->b)"),
        ("&a[1].b", "&((a[1]).b)"),
        ("a + b * 2 - 1", "((a + (b * 2)) - 1)"),
        ("-a - -1", "(-a - -1)"),
        ("+a", "a"),
        ("(a + b).c", "((a + b).c)"),
        ("**a", "**a"),
        ("*(struct proc *)0xff", "*<struct proc*>255"),
        ("(struct proc *)a->b", "<struct proc*>(a->b)"),
        ("((struct proc *)a)->b", "(<struct proc*>a->b)"),
        ("(vm_page_t)a", "<vm_page_t>a"),
        ("(vm_page_t *)&a", "<vm_page_t*>&a"),
        ("(a) - 1", "(a - 1)"),
        ("(a) * b", "(a * b)"),
        ("(a)", "a"),
        ("(unsigned long)a", "<u8>a"),
        ("(const volatile char *const)a", "<i1*>a"),
        ("(unsigned char)a", "<u1>a"),
        ("(long long)a", "<i8>a"),
        ("(short int)a", "<i2>a"),
        ("(bool)a", "<u1>a"),
        ("(void **)a", "<void**>a"),
        ("(int)(a + 1)", "<i4>(a + 1)"),
        ("(union u *)a", "<union u*>a"),
        ("(enum e)a", "<enum e>a"),
        ("sizeof(struct proc)", "sizeof<struct proc>"),
        ("sizeof(struct proc *[4])", "sizeof<struct proc*[4]>"),
        ("sizeof(pid_t *)", "sizeof<pid_t*>"),
        ("sizeof(a)", "sizeof a"),
        ("sizeof a.b", "sizeof (a.b)"),
        ("sizeof *a", "sizeof *a"),
        ("offsetof(struct proc, p_a.b)", "offsetof<struct proc, p_a.b>"),
        ("a[b[1] + 2]", "(a[((b[1]) + 2)])"),
        ("ffffffff81cd4c0c", "18446744071592299532"),
        ("count.1234", "count.1234"),
    ] {
        let e = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(shown(&e), want, "{text}");
    }
}

#[test]
fn what_would_change_or_call_something_is_refused_by_name() {
    for (text, what) in [
        ("hz = 1", "assignment"),
        ("hz += 1", "assignment"),
        ("hz++", "assignment by ++"),
        ("--hz", "assignment by ++ or --"),
        ("panic(1)", "calling a function"),
        ("(*f)(1)", "calling a function"),
        ("a->b(1)", "calling a function"),
        ("a / 2", "the operator /"),
        ("a == 2", "the operator =="),
        ("a & 3", "the operator &"),
        ("!a", "the operator !"),
        ("~a", "the operator ~"),
        ("a << 2", "the operator <<"),
        ("a ? b : c", "the operator ?:"),
        ("a, b", "the operator ,"),
    ] {
        let said = parse(text).unwrap_err().to_string();
        assert!(said.starts_with(what), "{text}: {said}");
        assert!(said.contains("is not supported"), "{text}: {said}");
    }
}

#[test]
fn what_is_no_expression_is_said_with_its_place() {
    for (text, said) in [
        ("", "expected a name, a number or ( at offset 0, found its end"),
        ("a.", "expected the name of a member at offset 2, found its end"),
        ("a->1", "expected the name of a member at offset 3, found 1"),
        ("(a", "expected ) at offset 2, found its end"),
        ("a[1", "expected ] at offset 3, found its end"),
        ("a b", "expected an operator or the end at offset 2, found \"b\""),
        ("(struct)a", "expected a tag at offset 7, found \")\""),
        ("$.a", "expected a name, a number or ( at offset 0, found \"$\""),
        ("a @", "character '@' at offset 2"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), said, "{text}");
    }
    assert_eq!(parse("struct proc").unwrap_err(), SyntaxError::TypeAlone);
    for text in ["(".repeat(500), "*".repeat(500), "- ".repeat(500)] {
        assert_eq!(parse(&text).unwrap_err(), SyntaxError::Deep);
    }
    let dots = "a".to_string() + &".b".repeat(400);
    assert_eq!(parse(&dots).unwrap_err(), SyntaxError::Deep);
    assert_eq!(parse(&"a".repeat(2000)).unwrap_err(), SyntaxError::Long);
}

#[test]
fn a_type_alone_is_one_and_members_are_of_an_element() {
    let parsed = parse_any("struct proc");
    let Ok(Parsed::Type(of)) = parsed else { panic!("{parsed:?}") };
    assert_eq!(named(&of), "struct proc");
    assert!(matches!(parse_any("hz"), Ok(Parsed::Expr(_))));
    let shown = |text: &str| parse_member(text).map(|e| shown(&e));
    assert_eq!(shown("p_comm").unwrap(), "($.p_comm)");
    assert_eq!(shown("p_a->b[1]").unwrap(), "((($.p_a)->b)[1])");
    assert!(shown("a + b").is_err());
    assert!(shown("").is_err());
}
