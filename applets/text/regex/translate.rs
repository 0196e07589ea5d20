//! From the meaning of a POSIX pattern to the notation of the `regex` crate.

use std::fmt::Write;

use super::ast::{Assert, Class, ClassItem, Named, Node};

/// Write `node` in the notation of the `regex` crate. It must hold no back-reference; one is written as what matches nothing.
pub fn translate(node: &Node) -> String {
    let mut out = String::new();
    write_node(node, &mut out);
    out
}

fn write_node(node: &Node, out: &mut String) {
    match node {
        Node::Empty => out.push_str("(?:)"),
        Node::Char(c) => write_char(*c, out),
        Node::Byte(byte) => push(out, format_args!("(?-u:\\x{byte:02X})")),
        Node::Any => out.push('.'),
        Node::Class(class) => write_class(class, out),
        Node::Assert(assert) => out.push_str(match assert {
            Assert::LineStart => "^",
            Assert::LineEnd => "$",
            Assert::TextStart => "\\A",
            Assert::TextEnd => "\\z",
            Assert::WordStart => "\\b{start}",
            Assert::WordEnd => "\\b{end}",
            Assert::NoWordBefore => "\\b{start-half}",
            Assert::NoWordAfter => "\\b{end-half}",
            Assert::WordEdge => "\\b",
            Assert::NoWordEdge => "\\B",
        }),
        Node::Group(_, node) => {
            out.push('(');
            write_node(node, out);
            out.push(')');
        }
        Node::BackReference(_) => out.push_str("[^\\s\\S]"),
        Node::Concat(nodes) => nodes.iter().for_each(|node| write_wrapped(node, out)),
        Node::Alternate(nodes) => {
            for (index, node) in nodes.iter().enumerate() {
                if index > 0 {
                    out.push('|');
                }
                write_node(node, out);
            }
        }
        Node::Repeat { node, min, max } => {
            out.push_str("(?:");
            write_node(node, out);
            out.push(')');
            match (min, max) {
                (0, None) => out.push('*'),
                (1, None) => out.push('+'),
                (0, Some(1)) => out.push('?'),
                (min, None) => push(out, format_args!("{{{min},}}")),
                (min, Some(max)) => push(out, format_args!("{{{min},{max}}}")),
            }
        }
    }
}

/// An alternation within a sequence needs parentheses.
fn write_wrapped(node: &Node, out: &mut String) {
    if matches!(node, Node::Alternate(_)) {
        out.push_str("(?:");
        write_node(node, out);
        out.push(')');
    } else {
        write_node(node, out);
    }
}

fn write_char(c: char, out: &mut String) {
    if c.is_alphanumeric() || c == ' ' || c == '_' {
        out.push(c);
    } else {
        push(out, format_args!("\\x{{{:X}}}", u32::from(c)));
    }
}

fn write_class(class: &Class, out: &mut String) {
    out.push_str(if class.negated { "[^" } else { "[" });
    for item in &class.items {
        match *item {
            ClassItem::Range(low, high) => {
                push(out, format_args!("\\x{{{:X}}}", u32::from(low)));
                if high != low {
                    push(out, format_args!("-\\x{{{:X}}}", u32::from(high)));
                }
            }
            ClassItem::Named(named) => out.push_str(named_class(named)),
        }
    }
    out.push(']');
}

fn named_class(named: Named) -> &'static str {
    match named {
        Named::Alnum => r"\p{Alphabetic}\p{N}",
        Named::Alpha => r"\p{Alphabetic}",
        Named::Blank => r"\x20\t",
        Named::Cntrl => r"\p{Cc}",
        Named::Digit => "0-9",
        Named::Graph => r"[^\p{Cc}\s]",
        Named::Lower => r"\p{Lowercase}",
        Named::Print => r"[^\p{Cc}]",
        Named::Punct => r"[[:punct:]][[^\x00-\x7F]--[\p{Alphabetic}\p{N}\s]]",
        Named::Space => r"\s",
        Named::Upper => r"\p{Uppercase}",
        Named::Xdigit => "0-9A-Fa-f",
    }
}

fn push(out: &mut String, args: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(args);
}

#[cfg(test)]
mod tests {
    use super::super::parse::{Syntax, parse};
    use super::*;

    fn basic(pattern: &str) -> String {
        translate(&parse(pattern.as_bytes(), Syntax::default(), 1).unwrap().0)
    }

    fn extended(pattern: &str) -> String {
        translate(&parse(pattern.as_bytes(), Syntax { extended: true, escapes: false }, 1).unwrap().0)
    }

    #[test]
    fn basic_operators() {
        assert_eq!(basic("a*"), "(?:a)*");
        assert_eq!(basic("*a"), r"\x{2A}a");
        assert_eq!(basic("^*a"), r"^\x{2A}a");
        assert_eq!(basic("a+"), r"a\x{2B}");
        assert_eq!(basic(r"a\+\(b\|c\)\{2,3\}"), "(?:a)+(?:(b|c)){2,3}");
        assert_eq!(basic("a^b$c"), r"a\x{5E}b\x{24}c");
        assert_eq!(basic(r"\(^a$\)"), "(^a$)");
        assert_eq!(basic("a{2}"), r"a\x{7B}2\x{7D}");
    }

    #[test]
    fn extended_operators() {
        assert_eq!(extended("a+(b|c){2,}"), "(?:a)+(?:(b|c)){2,}");
        assert_eq!(extended("a{,3}"), "(?:a){0,3}");
        assert_eq!(extended("a{x"), r"a\x{7B}x");
        assert_eq!(extended(r"\(a\)"), r"\x{28}a\x{29}");
        assert_eq!(extended("a)"), r"a\x{29}");
        assert_eq!(extended("()"), "((?:))");
        assert_eq!(extended("*a"), "(?:)a");
    }

    #[test]
    fn brackets() {
        assert_eq!(basic("[]a]"), r"[\x{5D}\x{61}]");
        assert_eq!(basic("[^]a-c-]"), r"[^\x{5D}\x{61}-\x{63}\x{2D}]");
        assert_eq!(basic(r"[\n]"), r"[\x{5C}\x{6E}]");
        assert_eq!(basic("[[:digit:][.-.]]"), r"[0-9\x{2D}]");
        let sed = Syntax { extended: false, escapes: true };
        assert_eq!(translate(&parse(br"[\n]\t", sed, 1).unwrap().0), r"[\x{A}]\x{9}");
    }

    #[test]
    fn bad_patterns_are_refused() {
        for pattern in [r"\(a", r"a\)", "[a", r"a\{1", r"a\{2,1\}", "a\\", r"\1", r"\(a\1\)", "[[:nope:]]", "[z-a]"] {
            assert!(parse(pattern.as_bytes(), Syntax::default(), 1).is_err(), "{pattern}");
        }
    }
}
