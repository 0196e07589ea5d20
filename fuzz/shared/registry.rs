//! What an applet is declared with; see applets/registry.rs.

use std::ffi::OsString;

pub enum Dir {
    Bin,
    Sbin,
}

pub struct Applet {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub dir: Dir,
    pub summary: &'static str,
    pub run: fn(args: &[OsString]) -> i32,
}
