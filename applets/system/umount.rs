//! `umount`: detach file systems from the tree (util-linux umount(8)).

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Parser;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};

use super::mount_table::{self, Mount, type_fits};
use crate::common;
use crate::registry::{Applet, Dir};

/// `umount`.
pub const APPLET: Applet =
    Applet { name: "umount", aliases: &[], dir: Dir::Bin, summary: "detach file systems from the tree", run };

const USAGE_ERROR: i32 = 1;
const FAILURE: i32 = 32;

/// Never taken away by -a: nothing works without them.
const SPARED: &[&str] = &["proc", "sysfs", "devtmpfs", "devpts", "cgroup2", "rootfs"];

#[derive(Parser)]
#[command(name = "umount", about = "Detach file systems from the tree")]
struct Options {
    /// All but the kernel's own
    #[arg(short, long, conflicts_with = "places")]
    all: bool,
    /// With -a: only these types; `no` in front for all others
    #[arg(short = 't', long = "types", value_name = "LIST")]
    fs_type: Option<String>,
    /// Detach now, clean up when no longer in use
    #[arg(short, long)]
    lazy: bool,
    /// Even when a network server does not answer
    #[arg(short, long)]
    force: bool,
    /// With all mounts below
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Make it read-only if it cannot be detached
    #[arg(short, long)]
    read_only: bool,
    /// Do not complain about what is not mounted
    #[arg(short, long)]
    quiet: bool,
    /// Say what was detached
    #[arg(short, long)]
    verbose: bool,
    /// Mount points or devices
    #[arg(required_unless_present = "all")]
    places: Vec<PathBuf>,
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, USAGE_ERROR, |name, options: Options| options.act(name))
}

impl Options {
    fn act(&self, called: &str) -> anyhow::Result<i32> {
        let mut failed = false;
        for target in self.targets(called, &mut failed)? {
            if let Err(message) = self.detach(&target) {
                writeln!(io::stderr(), "{called}: {message}")?;
                failed = true;
            } else if self.verbose {
                writeln!(io::stdout(), "{called}: {} unmounted", target.display())?;
            }
        }
        Ok(if failed { FAILURE } else { 0 })
    }

    /// What to detach, the innermost first.
    fn targets(&self, called: &str, failed: &mut bool) -> anyhow::Result<Vec<PathBuf>> {
        let mounts = mount_table::mounts()?;
        if self.all {
            let wanted = |mount: &&Mount| {
                let spared = self.fs_type.is_none() && SPARED.contains(&mount.fs_type.as_str());
                !spared && mount.target != Path::new("/") && type_fits(self.fs_type.as_deref(), &mount.fs_type)
            };
            return Ok(mounts.iter().rev().filter(wanted).map(|mount| mount.target.clone()).collect());
        }
        let mut targets = Vec::new();
        for place in &self.places {
            match find(&mounts, place) {
                Some(mount) if self.recursive => targets.extend(tree(&mounts, mount)),
                Some(mount) => targets.push(mount.target.clone()),
                None if self.quiet => *failed = true,
                None => {
                    writeln!(io::stderr(), "{called}: {}: not mounted", place.display())?;
                    *failed = true;
                }
            }
        }
        Ok(targets)
    }

    fn detach(&self, target: &Path) -> Result<(), String> {
        let mut flags = MntFlags::empty();
        if self.lazy {
            flags |= MntFlags::MNT_DETACH;
        }
        if self.force {
            flags |= MntFlags::MNT_FORCE;
        }
        let place = target.display();
        match nix::mount::umount2(target, flags) {
            Ok(()) => Ok(()),
            Err(Errno::EBUSY) if self.read_only => {
                let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
                nix::mount::mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
                    .map_err(|errno| format!("cannot make {place} read-only: {}", errno.desc()))
            }
            Err(Errno::EBUSY) => Err(format!("{place}: in use; close what uses it, or detach it with -l")),
            Err(errno) => Err(format!("cannot detach {place}: {}", errno.desc())),
        }
    }
}

/// The mount that a user means: the topmost at that place, or the last of that device.
fn find<'a>(mounts: &'a [Mount], place: &Path) -> Option<&'a Mount> {
    let whole = std::fs::canonicalize(place).unwrap_or_else(|_| place.to_owned());
    let newest_first = || mounts.iter().rev();
    newest_first()
        .find(|mount| mount.target == whole)
        .or_else(|| newest_first().find(|mount| mount.target == place))
        .or_else(|| newest_first().find(|mount| Path::new(&mount.source) == whole))
}

/// A mount and all that hang on it, the innermost first.
fn tree(mounts: &[Mount], top: &Mount) -> Vec<PathBuf> {
    let mut found = vec![top];
    let mut at = 0;
    while let Some(mount) = found.get(at).copied() {
        found.extend(mounts.iter().filter(|child| child.parent == mount.id && child.id != mount.id));
        at += 1;
    }
    found.iter().rev().map(|mount| mount.target.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(id: u64, parent: u64, target: &str) -> Mount {
        Mount {
            id,
            parent,
            device: "0:1".into(),
            root: "/".into(),
            target: target.into(),
            options: Vec::new(),
            fs_type: "tmpfs".into(),
            source: format!("source{id}"),
            super_options: Vec::new(),
        }
    }

    #[test]
    fn the_innermost_first() {
        let mounts =
            [mount(1, 1, "/"), mount(2, 1, "/a"), mount(3, 2, "/a/b"), mount(4, 1, "/c"), mount(5, 3, "/a/b/c")];
        let targets: Vec<PathBuf> = tree(&mounts, &mounts[1]);
        assert_eq!(targets, [Path::new("/a/b/c"), Path::new("/a/b"), Path::new("/a")]);
    }

    #[test]
    fn found_by_place_and_by_source() {
        let mounts = [mount(1, 1, "/nonexistent"), mount(2, 1, "/nonexistent")];
        assert_eq!(find(&mounts, Path::new("/nonexistent")).map(|mount| mount.id), Some(2));
        assert_eq!(find(&mounts, Path::new("source1")).map(|mount| mount.id), Some(1));
        assert!(find(&mounts, Path::new("/other")).is_none());
    }
}
