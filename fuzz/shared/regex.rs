//! What patterns of the shell are made of.

#[path = "../../applets/text/regex/ast.rs"]
pub mod ast;
