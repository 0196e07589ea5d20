//! Text tools and file finders: what works on files and streams and needs nothing of the system but files.

pub mod cmp;
mod command_line;
pub mod diff;
pub mod find;
pub mod glob;
pub mod grep;
pub mod hexdump;
pub mod regex;
pub mod sed;
pub mod xargs;

use std::io;

/// What the system says of an error, as C programs print it: without Rust's ` (os error N)`.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => text.trim_end_matches(&format!(" (os error {number})")).to_owned(),
        None => text,
    }
}
