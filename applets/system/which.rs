//! `which`: where PATH finds a program.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Parser;
use nix::unistd::{AccessFlags, access};

use crate::common;
use crate::registry::{Applet, Dir};

/// `which`.
pub const APPLET: Applet =
    Applet { name: "which", aliases: &[], dir: Dir::Bin, summary: "tell where PATH finds a program", run };

#[derive(Parser)]
#[command(name = "which", about = "Tell where PATH finds programs")]
struct Options {
    /// All of that name, not only the first
    #[arg(short, long)]
    all: bool,
    /// Names
    #[arg(required = true)]
    names: Vec<OsString>,
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 2, |_, options: Options| tell(&options).map_err(Into::into))
}

fn tell(options: &Options) -> io::Result<i32> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut out = io::stdout().lock();
    let mut missing = false;
    for name in &options.names {
        let found = find(name, &path);
        missing |= found.is_empty();
        for program in found.iter().take(if options.all { usize::MAX } else { 1 }) {
            out.write_all(program.as_os_str().as_bytes())?;
            out.write_all(b"\n")?;
        }
    }
    Ok(i32::from(missing))
}

fn find(name: &OsStr, path: &OsStr) -> Vec<PathBuf> {
    let is_program = |path: &Path| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).into_iter().filter(|path| is_program(path)).collect();
    }
    std::env::split_paths(path).map(|folder| folder.join(name)).filter(|path| is_program(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_only() {
        assert_eq!(find("sh".as_ref(), "/nowhere:/bin".as_ref()), [PathBuf::from("/bin/sh")]);
        assert_eq!(find("/bin/sh".as_ref(), "".as_ref()), [PathBuf::from("/bin/sh")]);
        assert!(find("passwd".as_ref(), "/etc".as_ref()).is_empty());
        assert!(find("/etc".as_ref(), "".as_ref()).is_empty());
    }
}
