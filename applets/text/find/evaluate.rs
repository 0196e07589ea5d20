//! Whether a file is what the expression asks for.

use std::os::fd::AsFd;

use anyhow::Result;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Statx};

use super::actions::Actions;
use super::entry::{Entry, device, kind_of, letter, stamp, stat_at};
use super::expression::{Access, Action, Expression, Stamp, Test};

/// What evaluating an expression for one file has led to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Do not go below this folder.
    pub prune: bool,
    /// Go no further at all.
    pub quit: bool,
}

/// Evaluate `expression` for a file and do what it says.
///
/// # Errors
/// When output cannot be written.
pub fn evaluate(expression: &Expression, entry: &Entry<'_>, actions: &mut Actions<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    holds(expression, entry, actions, &mut outcome)?;
    Ok(outcome)
}

fn holds(expression: &Expression, entry: &Entry<'_>, actions: &mut Actions<'_>, outcome: &mut Outcome) -> Result<bool> {
    match expression {
        Expression::Test(test) => passes(test, entry, actions),
        Expression::Action(Action::Prune) => {
            outcome.prune = true;
            Ok(true)
        }
        Expression::Action(Action::Quit) => {
            outcome.quit = true;
            Ok(false)
        }
        Expression::Action(action) => actions.run(action, entry),
        Expression::Not(inner) => Ok(!holds(inner, entry, actions, outcome)?),
        Expression::And(all) => {
            for part in all {
                if !holds(part, entry, actions, outcome)? || outcome.quit {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Expression::Or(any) => {
            for part in any {
                if holds(part, entry, actions, outcome)? || outcome.quit {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Expression::List(all) => {
            let mut last = false;
            for part in all {
                last = holds(part, entry, actions, outcome)?;
                if outcome.quit {
                    break;
                }
            }
            Ok(last)
        }
    }
}

fn passes(test: &Test, entry: &Entry<'_>, actions: &mut Actions<'_>) -> Result<bool> {
    Ok(match test {
        Test::Constant(value) => *value,
        Test::Name(glob) => glob.matches(entry.name()),
        Test::Path(glob) => glob.matches(entry.path),
        Test::Regex(regex) => regex.is_match(entry.path)?,
        Test::LinkName(glob) => {
            entry.kind() == FileType::Symlink && entry.link_target().is_some_and(|target| glob.matches(&target))
        }
        Test::Type(letters) => letters.contains(&letter(entry.kind())),
        Test::OtherType(letters) => {
            stat_at(entry.folder, entry.at, !entry.follow).is_ok_and(|stat| letters.contains(&letter(kind_of(&stat))))
        }
        Test::Access(access) => may(entry, *access),
        Test::Empty => is_empty(entry),
        test => entry.stat().is_some_and(|stat| passes_by_stat(test, stat, actions)),
    })
}

fn passes_by_stat(test: &Test, stat: &Statx, actions: &mut Actions<'_>) -> bool {
    match test {
        Test::Size(compare, unit) => compare.holds(stat.stx_size.div_ceil(*unit)),
        Test::Mode(mode) => mode.holds(stat.stx_mode.into()),
        Test::User(compare) => compare.holds(stat.stx_uid.into()),
        Test::Group(compare) => compare.holds(stat.stx_gid.into()),
        Test::NoUser => !actions.names.has_user(stat.stx_uid),
        Test::NoGroup => !actions.names.has_group(stat.stx_gid),
        Test::Links(compare) => compare.holds(stat.stx_nlink.into()),
        Test::Inode(compare) => compare.holds(stat.stx_ino),
        Test::SameFile(on, inode) => device(stat) == *on && stat.stx_ino == *inode,
        Test::Time(which, when) => stamp(stat, *which).is_some_and(|time| when.holds(time)),
        Test::Used(compare) => {
            let days = stamp(stat, Stamp::Access)
                .zip(stamp(stat, Stamp::Change))
                .map(|(access, change)| (access - change).div_euclid(super::clock::DAY));
            days.and_then(|days| u64::try_from(days).ok()).is_some_and(|days| compare.holds(days))
        }
        Test::FileSystem(name) => actions.names.file_system(device(stat)).as_bytes() == name,
        _ => false,
    }
}

/// Whether this process may do that, by access(2).
fn may(entry: &Entry<'_>, access: Access) -> bool {
    let access = match access {
        Access::Read => rustix::fs::Access::READ_OK,
        Access::Write => rustix::fs::Access::WRITE_OK,
        Access::Execute => rustix::fs::Access::EXEC_OK,
    };
    rustix::fs::accessat(entry.folder, entry.at, access, AtFlags::empty()).is_ok()
}

fn is_empty(entry: &Entry<'_>) -> bool {
    match entry.kind() {
        FileType::RegularFile => entry.stat().is_some_and(|stat| stat.stx_size == 0),
        FileType::Directory => match is_empty_folder(entry) {
            Ok(empty) => empty,
            Err(error) => {
                entry.report.path(entry.path, error);
                false
            }
        },
        _ => false,
    }
}

fn is_empty_folder(entry: &Entry<'_>) -> rustix::io::Result<bool> {
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, !entry.follow);
    let folder = rustix::fs::openat(entry.folder, entry.at, flags, Mode::empty())?;
    for child in Dir::read_from(folder.as_fd())? {
        if !matches!(child?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}
