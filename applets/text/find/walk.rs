//! The walk through the folders.
//!
//! Each folder is opened relative to the one that holds it, without following a symbolic link that was not to be followed, so that
//! nobody can lead the walk elsewhere by moving things about. Of a deep tree only the last folders are kept open; one that was
//! closed is opened again through its content's `..`, or from the starting point, and must then be the same.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, Statx};
use rustix::io::Errno;

use super::actions::Actions;
use super::entry::{Entry, Report, device, quoted, stat_at};
use super::evaluate::{Outcome, evaluate};
use super::expression::{Follow, Plan};

/// How many folders are kept open.
const OPEN_MAX: usize = 32;

/// Device and inode.
type Identity = (u64, u64);

/// A file that a folder holds.
struct Child {
    name: Box<[u8]>,
    hint: FileType,
}

/// A folder on the way to where the walk is.
struct Level {
    /// None while it is closed.
    folder: Option<OwnedFd>,
    identity: Identity,
    children: std::vec::IntoIter<Child>,
    /// The length of its path.
    path: usize,
    /// Where its name, as system calls take it, begins within the path.
    name: usize,
    /// A symbolic link may have led here.
    follow: bool,
    hint: FileType,
}

/// The walk from one starting point.
pub struct Walk<'p, 'a> {
    plan: &'p Plan,
    report: &'p Report,
    actions: &'p mut Actions<'a>,
    path: Vec<u8>,
    root: usize,
    levels: Vec<Level>,
    /// The levels' folders, and the lengths of their paths.
    entered: HashMap<Identity, usize>,
}

impl<'p, 'a> Walk<'p, 'a> {
    /// Walk from `start` on; true if the expression said to go no further.
    ///
    /// # Errors
    /// When output cannot be written.
    pub fn from(start: &[u8], plan: &'p Plan, report: &'p Report, actions: &'p mut Actions<'a>) -> Result<bool> {
        let mut walk = Walk {
            plan,
            report,
            actions,
            path: start.to_vec(),
            root: start.len(),
            levels: Vec::new(),
            entered: HashMap::new(),
        };
        walk.run()
    }

    fn run(&mut self) -> Result<bool> {
        if self.visit(0, FileType::Unknown)? {
            return Ok(true);
        }
        while let Some(level) = self.levels.last_mut() {
            let quit = match level.children.next() {
                Some(child) => {
                    self.path.truncate(level.path);
                    if self.path.last() != Some(&b'/') {
                        self.path.push(b'/');
                    }
                    let name = self.path.len();
                    self.path.extend_from_slice(&child.name);
                    self.visit(name, child.hint)?
                }
                None => self.leave()?,
            };
            if quit {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The folder that holds what is at the end of the path.
    fn folder(&self) -> BorrowedFd<'_> {
        holder(&self.levels)
    }

    /// Come to the file at the end of the path, whose name begins at `name`. True to quit.
    fn visit(&mut self, name: usize, hint: FileType) -> Result<bool> {
        let depth = self.levels.len();
        let entry = self.entry(name, hint);
        if (depth == 0 || hint == FileType::Unknown) && !self.is_there(&entry) {
            return Ok(false);
        }
        let is_folder = entry.kind() == FileType::Directory;
        // Where links are followed, a ring is told of instead of being looked at.
        if is_folder && self.plan.follow == Follow::Always {
            let identity = entry.stat().map(|stat| (device(stat), stat.stx_ino));
            if identity.is_some_and(|identity| self.is_loop(identity)) {
                return Ok(false);
            }
        }
        let stat = entry.stat;
        if !(self.plan.contents_first && is_folder) {
            let outcome = self.evaluate(name, hint, stat)?;
            if outcome.quit || !is_folder || outcome.prune {
                return Ok(outcome.quit);
            }
            if depth < self.plan.max_depth {
                self.enter(name, hint)?;
            }
            return Ok(false);
        }
        if depth < self.plan.max_depth && self.enter(name, hint)? {
            return Ok(false);
        }
        Ok(self.evaluate(name, hint, stat)?.quit)
    }

    fn entry(&self, name: usize, hint: FileType) -> Entry<'_> {
        let place = Place { path: &self.path, root: self.root, name, hint };
        place.entry(&self.levels, self.plan, self.report, OnceCell::new())
    }

    /// Whether the file has not vanished since its folder was read.
    fn is_there(&self, entry: &Entry<'_>) -> bool {
        let asked = self.plan.ignore_races && !self.levels.is_empty();
        if asked && matches!(stat_at(entry.folder, entry.at, entry.follow), Err(Errno::NOENT)) {
            return false;
        }
        entry.stat().is_some()
    }

    /// Evaluate the expression for the file at the end of the path.
    fn evaluate(&mut self, name: usize, hint: FileType, stat: OnceCell<Option<Statx>>) -> Result<Outcome> {
        if self.levels.len() < self.plan.min_depth {
            return Ok(Outcome::default());
        }
        let place = Place { path: &self.path, root: self.root, name, hint };
        let entry = place.entry(&self.levels, self.plan, self.report, stat);
        evaluate(&self.plan.expression, &entry, self.actions)
    }

    /// Open the folder at the end of the path and read it; false if the walk does not go there.
    fn enter(&mut self, name: usize, hint: FileType) -> Result<bool> {
        let follow = follows(self.plan.follow, self.levels.len());
        let opened =
            open(self.folder(), &self.path[name..], follow).and_then(|folder| Ok((identity(&folder)?, folder)));
        let (identity, folder) = match opened {
            Ok(opened) => opened,
            Err(Errno::NOENT) if self.plan.ignore_races => return Ok(false),
            Err(error) => {
                self.report.path(&self.path, error);
                return Ok(false);
            }
        };
        if self.is_loop(identity) {
            return Ok(false);
        }
        let start = self.levels.first().map_or(identity, |level| level.identity);
        if self.plan.one_file_system && identity.0 != start.0 {
            return Ok(false);
        }
        let (children, failure) = read(&folder);
        if let Some(error) = failure {
            self.report.path(&self.path, error);
        }
        if let Some(holder) = self.levels.last().and_then(|level| level.folder.as_ref()) {
            self.actions.leave_folder(holder.as_fd())?;
        }
        if let Some(far) = self.levels.len().checked_sub(OPEN_MAX) {
            self.levels[far].folder = None;
        }
        let children = children.into_iter();
        self.entered.insert(identity, self.path.len());
        self.levels.push(Level { folder: Some(folder), identity, children, path: self.path.len(), name, follow, hint });
        Ok(true)
    }

    /// Whether the folder at the end of the path is one of those that hold it, which is told.
    fn is_loop(&self, identity: Identity) -> bool {
        let Some(length) = self.entered.get(&identity) else { return false };
        self.report.message(&format!(
            "File system loop detected; {} is part of the same file system loop as {}.",
            quoted(&self.path),
            quoted(&self.path[..*length])
        ));
        true
    }

    /// Leave the folder that has been walked. True to quit.
    fn leave(&mut self) -> Result<bool> {
        let Some(level) = self.levels.pop() else { return Ok(false) };
        self.entered.remove(&level.identity);
        if let Some(folder) = &level.folder {
            self.actions.leave_folder(folder.as_fd())?;
        }
        self.path.truncate(level.path);
        if !self.reopen(level.folder) {
            // What else the lost folder holds cannot be reached, nor what is above it.
            let lost = self.levels.last().map_or(0, |level| level.path);
            self.report.message(&format!(
                "{} was moved away while its content was walked; the rest of it is left out",
                quoted(&self.path[..lost])
            ));
            if let Some(level) = self.levels.last_mut() {
                level.children = Vec::new().into_iter();
            }
            return Ok(false);
        }
        if self.plan.contents_first {
            Ok(self.evaluate(level.name, level.hint, OnceCell::new())?.quit)
        } else {
            Ok(false)
        }
    }

    /// See to it that the last level is open, by way of what it holds if that is open. False if it is not the same any more.
    fn reopen(&mut self, child: Option<OwnedFd>) -> bool {
        let Some(level) = self.levels.last() else { return true };
        if level.folder.is_some() {
            return true;
        }
        let wanted = level.identity;
        let is_wanted = |folder: &OwnedFd| identity(folder) == Ok(wanted);
        let folder = child
            .and_then(|child| open(child.as_fd(), b"..", false).ok())
            .filter(is_wanted)
            .or_else(|| self.open_from_start().filter(is_wanted));
        let found = folder.is_some();
        if let Some(level) = self.levels.last_mut() {
            level.folder = folder;
        }
        found
    }

    /// Open the last level, folder by folder.
    fn open_from_start(&self) -> Option<OwnedFd> {
        let mut folder: Option<OwnedFd> = None;
        for level in &self.levels {
            let holder = folder.as_ref().map_or(CWD, AsFd::as_fd);
            let next = open(holder, &self.path[level.name..level.path], level.follow).ok()?;
            if identity(&next) != Ok(level.identity) {
                return None;
            }
            folder = Some(next);
        }
        folder
    }
}

/// Where the walk is.
struct Place<'w> {
    path: &'w [u8],
    root: usize,
    name: usize,
    hint: FileType,
}

impl<'w> Place<'w> {
    fn entry(self, levels: &'w [Level], plan: &Plan, report: &'w Report, stat: OnceCell<Option<Statx>>) -> Entry<'w> {
        let depth = levels.len();
        Entry {
            path: self.path,
            root: self.root,
            depth,
            folder: holder(levels),
            at: &self.path[self.name..],
            follow: follows(plan.follow, depth),
            hint: self.hint,
            report,
            stat,
        }
    }
}

/// The folder of the last level.
fn holder(levels: &[Level]) -> BorrowedFd<'_> {
    levels.last().and_then(|level| level.folder.as_ref()).map_or(CWD, AsFd::as_fd)
}

fn follows(follow: Follow, depth: usize) -> bool {
    match follow {
        Follow::Always => true,
        Follow::StartingPoints => depth == 0,
        Follow::Never => false,
    }
}

fn open(holder: BorrowedFd<'_>, name: &[u8], follow: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    flags.set(OFlags::NOFOLLOW, !follow);
    rustix::fs::openat(holder, name, flags, Mode::empty())
}

fn identity(folder: &OwnedFd) -> Result<Identity, Errno> {
    rustix::fs::fstat(folder).map(|stat| (stat.st_dev, stat.st_ino))
}

/// What a folder holds, as far as it can be read, and the error that ended that.
fn read(folder: &OwnedFd) -> (Vec<Child>, Option<Errno>) {
    let mut children = Vec::new();
    let entries = match Dir::read_from(folder) {
        Ok(entries) => entries,
        Err(error) => return (children, Some(error)),
    };
    for entry in entries {
        match entry {
            Ok(entry) => {
                let name = entry.file_name().to_bytes();
                if !matches!(name, b"." | b"..") {
                    children.push(Child { name: name.into(), hint: entry.file_type() });
                }
            }
            Err(error) => return (children, Some(error)),
        }
    }
    (children, None)
}
