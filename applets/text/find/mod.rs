//! `find`: search folders for files.
//!
//! POSIX.1-2024 XCU `find` with GNU findutils' predicates. Refused are `-D`, `-O` and `-context`.

mod actions;
mod clock;
mod entry;
mod evaluate;
mod expression;
mod flavour;
mod format;
mod mode;
mod names;
mod parse;
mod predicates;
mod walk;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;

use anyhow::Result;

use crate::common;
use crate::registry::{Applet, Dir};
use actions::Actions;
use entry::Report;
use parse::HelpWanted;
use walk::Walk;

/// `find`.
pub const APPLET: Applet =
    Applet { name: "find", aliases: &[], dir: Dir::Bin, summary: "Search folders for files", run };

const HELP: &str = "\
Search folders for files and do something with them

Usage: find [-H] [-L] [-P] [PATH]... [EXPRESSION]

The default PATH is the working folder; without an action, -print is done.

Symbolic links:   -P follow none (default)   -L follow all   -H follow those given as PATHs
Operators, the tightest first:
  ( EXPR )   ! EXPR   -not EXPR   EXPR1 [-a] EXPR2   EXPR1 -o EXPR2   EXPR1 , EXPR2
Options:
  -depth -maxdepth LEVELS -mindepth LEVELS -mount -xdev -follow -daystart -noleaf -nowarn
  -ignore_readdir_race -noignore_readdir_race -regextype TYPE -files0-from FILE
Tests (N may be +N for more than N, or -N for less):
  -name PATTERN -iname PATTERN -path PATTERN -ipath PATTERN -wholename PATTERN -iwholename PATTERN
  -lname PATTERN -ilname PATTERN -regex PATTERN -iregex PATTERN
  -type [bcdpfls] -xtype [bcdpfls] -size N[bcwkMG] -empty -links N -inum N -samefile FILE -fstype TYPE
  -perm [-/]MODE -user NAME -group NAME -uid N -gid N -nouser -nogroup -readable -writable -executable
  -amin N -cmin N -mmin N -atime N -ctime N -mtime N -used N
  -anewer FILE -cnewer FILE -newer FILE -newerXY REFERENCE -true -false
Actions:
  -print -print0 -printf FORMAT -ls -fprint FILE -fprint0 FILE -fprintf FILE FORMAT -fls FILE
  -exec COMMAND ; -exec COMMAND {} + -execdir COMMAND ; -execdir COMMAND {} + -ok COMMAND ; -okdir COMMAND ;
  -delete -prune -quit
";

fn run(args: &[OsString]) -> i32 {
    let arguments: Vec<Vec<u8>> = args.iter().skip(1).map(|arg| arg.as_bytes().to_vec()).collect();
    let result = match find(&arguments) {
        Err(error) if error.is::<HelpWanted>() => {
            io::stdout().write_all(HELP.as_bytes()).map(|()| 0).map_err(Into::into)
        }
        result => result,
    };
    common::finish("find", result)
}

fn find(arguments: &[Vec<u8>]) -> Result<i32> {
    let plan = parse::parse(arguments)?;
    let report = Report::default();
    let out = BufWriter::with_capacity(64 << 10, io::stdout());
    let mut actions = Actions::new(&plan, &report, out)?;
    for start in &plan.starting_points {
        if Walk::from(start, &plan, &report, &mut actions)? {
            break;
        }
    }
    actions.finish()?;
    Ok(i32::from(report.failed()))
}
