//! The mounts of a specification (runtime-spec config.md and config-linux.md, "mounts").

use std::path::{Path, PathBuf};

use coracle_abi::mount::{Propagation, attr, mount_setattr};
use oci_spec::runtime::Mount;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType, fstat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};

use super::Error;
use super::channel::{Doing, Step};
use super::rootfs::{Links, Rootfs, Target, attach, is_clean};

/// A mount, its options understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MountPlan {
    pub destination: PathBuf,
    source: PathBuf,
    kind: Kind,
    /// Of this mount.
    attributes: Attributes,
    /// Of this mount and all below it.
    recursive: Attributes,
    propagation: Option<(Propagation, bool)>,
    /// Options of the file system itself.
    data: Vec<(String, Option<String>)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Bind { recursive: bool },
    FileSystem(String),
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Attributes {
    set: u64,
    clear: u64,
}

/// Option, flag, whether the option clears it.
const ATTRIBUTES: [(&str, u64, bool); 18] = [
    ("ro", attr::RDONLY, false),
    ("rw", attr::RDONLY, true),
    ("nosuid", attr::NOSUID, false),
    ("suid", attr::NOSUID, true),
    ("nodev", attr::NODEV, false),
    ("dev", attr::NODEV, true),
    ("noexec", attr::NOEXEC, false),
    ("exec", attr::NOEXEC, true),
    ("nodiratime", attr::NODIRATIME, false),
    ("diratime", attr::NODIRATIME, true),
    ("nosymfollow", attr::NOSYMFOLLOW, false),
    ("symfollow", attr::NOSYMFOLLOW, true),
    ("noatime", attr::NOATIME, false),
    ("strictatime", attr::STRICTATIME, false),
    ("relatime", attr::RELATIME, false),
    ("atime", attr::RELATIME, false),
    ("norelatime", attr::STRICTATIME, false),
    ("nostrictatime", attr::RELATIME, false),
];

/// Access time modes are values of one field, which is cleared before one is set.
const ATIME_OPTIONS: [&str; 6] = ["noatime", "strictatime", "relatime", "atime", "norelatime", "nostrictatime"];

/// Options without effect on what is mounted here.
const NEUTRAL: [&str; 6] = ["defaults", "async", "silent", "loud", "nomand", "newinstance"];

/// Options that a mount of this runtime cannot honour.
const REFUSED: [&str; 6] = ["remount", "tmpcopyup", "idmap", "ridmap", "mand", "copy-symlink"];

impl MountPlan {
    /// Understand one mount.
    pub(super) fn new(mount: &Mount) -> Result<Self, Error> {
        let destination = mount.destination().clone();
        let what = || format!("mounts: {}", destination.display());
        if !is_clean(&destination) {
            return Err(Error::spec(what(), "a destination is an absolute path without \"..\""));
        }
        if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
            return Err(Error::spec(what(), "id-mapped mounts are not supported"));
        }
        let typ = mount.typ().as_deref().unwrap_or("none");
        let kind = match typ {
            "bind" | "none" => Kind::Bind { recursive: false },
            "cgroup" | "cgroup2" => Kind::FileSystem("cgroup2".into()),
            other => Kind::FileSystem(other.into()),
        };
        let source = mount.source().clone().unwrap_or_else(|| typ.into());
        let mut plan = Self {
            destination: destination.clone(),
            source,
            kind,
            attributes: Attributes::default(),
            recursive: Attributes::default(),
            propagation: None,
            data: Vec::new(),
        };
        for option in mount.options().iter().flatten() {
            plan.add(option).map_err(|why| Error::spec(what(), why))?;
        }
        match &plan.kind {
            Kind::Bind { .. } if hides_proc(&plan.destination) => {
                Err(Error::spec(what(), "nothing of the host is mounted over the container's procfs"))
            }
            Kind::Bind { .. } if mount.source().is_none() => Err(Error::spec(what(), "a bind mount needs a source")),
            Kind::Bind { .. } if !plan.data.is_empty() => {
                Err(Error::spec(what(), format!("{:?} is no option of a bind mount", plan.data[0].0)))
            }
            _ => Ok(plan),
        }
    }

    fn add(&mut self, option: &str) -> Result<(), String> {
        match option {
            "bind" => self.kind = Kind::Bind { recursive: matches!(self.kind, Kind::Bind { recursive: true }) },
            "rbind" => self.kind = Kind::Bind { recursive: true },
            _ if NEUTRAL.contains(&option) => {}
            _ if REFUSED.contains(&option) => return Err(format!("the option {option:?} is not supported")),
            _ => {
                if let Some(propagation) = propagation(option) {
                    self.propagation = Some(propagation);
                } else if !self.attributes.add(option)
                    && !option.strip_prefix('r').is_some_and(|plain| self.recursive.add(plain))
                {
                    let (key, value) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
                    self.data.push((key.into(), value.map(str::to_owned)));
                }
            }
        }
        Ok(())
    }

    /// Whether there are options that are the file system's own.
    pub(super) fn has_data(&self) -> bool {
        !self.data.is_empty()
    }

    /// Mount it below the root. `proc`, when made, may be kept from before (see [`super::procfs`]).
    pub(super) fn mount(&self, rootfs: &Rootfs, proc: Option<OwnedFd>) -> Step {
        let words = || format!("mount {} on {}", self.source.display(), self.destination.display());
        let mount = match (&self.kind, proc) {
            (Kind::Bind { recursive }, _) => self.bind(*recursive).doing(words)?,
            (Kind::FileSystem(_), Some(proc)) => proc,
            (Kind::FileSystem(name), None) => self.file_system(name).doing(words)?,
        };
        let target = rootfs.target(&self.destination, self.target(&mount).doing(words)?, self.links())?;
        attach(mount.as_fd(), target.as_fd()).doing(words)?;
        if let (Kind::FileSystem(_), Some((propagation, recursive))) = (&self.kind, self.propagation) {
            mount_setattr(mount.as_fd(), 0, 0, Some(propagation), recursive).doing(words)?;
        }
        Ok(())
    }

    /// A file system's mount, attached nowhere yet.
    pub(super) fn detached(&self) -> Step<OwnedFd> {
        let words = || format!("make the file system for {}", self.destination.display());
        match &self.kind {
            Kind::FileSystem(name) => self.file_system(name).doing(words),
            Kind::Bind { .. } => Err(rustix::io::Errno::INVAL).doing(words),
        }
    }

    fn target(&self, mount: &OwnedFd) -> Result<Target, rustix::io::Errno> {
        match self.kind {
            Kind::FileSystem(_) => Ok(Target::Directory),
            Kind::Bind { .. } => match FileType::from_raw_mode(fstat(mount)?.st_mode) {
                FileType::Directory => Ok(Target::Directory),
                _ => Ok(Target::File),
            },
        }
    }

    /// The kernel's file systems and /dev are what the container's isolation is built of: an image that has a link there is
    /// refused. Volumes may go behind links (`/var/run`), which lead nowhere but into the root.
    fn links(&self) -> Links {
        let is_kernel = matches!(&self.kind, Kind::FileSystem(name) if name != "tmpfs");
        let is_below = |top: &str| self.destination.starts_with(Path::new(top));
        if is_kernel || is_below("/dev") || is_below("/proc") || is_below("/sys") {
            Links::Refuse
        } else {
            Links::Follow
        }
    }

    fn bind(&self, recursive: bool) -> Result<OwnedFd, std::io::Error> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
        let tree = open_tree(CWD, &self.source, flags)?;
        let (propagation, deep) = self.propagation.unwrap_or((Propagation::Private, true));
        mount_setattr(tree.as_fd(), self.recursive.set, self.recursive.clear, deep.then_some(propagation), true)?;
        if self.attributes != Attributes::default() || !deep {
            let propagation = (!deep).then_some(propagation);
            mount_setattr(tree.as_fd(), self.attributes.set, self.attributes.clear, propagation, false)?;
        }
        Ok(tree)
    }

    fn file_system(&self, name: &str) -> Result<OwnedFd, rustix::io::Errno> {
        let context = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", &self.source)?;
        for (key, value) in &self.data {
            match value {
                Some(value) => fsconfig_set_string(&context, key.as_str(), value.as_str())?,
                None => fsconfig_set_flag(&context, key.as_str())?,
            }
        }
        let set = self.attributes.set | self.recursive.set;
        if set & attr::RDONLY != 0 && is_disk(name) {
            fsconfig_set_flag(&context, "ro")?;
        }
        fsconfig_create(&context)?;
        let flags = MountAttrFlags::from_bits_retain(u32::try_from(set).unwrap_or_default());
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
    }
}

impl Attributes {
    /// Take one option; false if it is none of these.
    fn add(&mut self, option: &str) -> bool {
        let Some((_, flag, clears)) = ATTRIBUTES.iter().find(|(name, ..)| *name == option) else {
            return false;
        };
        if ATIME_OPTIONS.contains(&option) {
            self.set &= !attr::ATIME_FIELD;
            self.clear |= attr::ATIME_FIELD;
        }
        if *clears {
            self.set &= !flag;
            self.clear |= flag;
        } else {
            self.set |= flag;
            self.clear &= if ATIME_OPTIONS.contains(&option) { u64::MAX } else { !flag };
        }
        true
    }
}

/// Whether a bind mount would stand for a part of procfs that matters (CVE-2019-16884). The files that lxcfs offers do not.
fn hides_proc(destination: &Path) -> bool {
    const HARMLESS: [&str; 8] = ["cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime"];
    match destination.strip_prefix("/proc") {
        Ok(rest) => !HARMLESS.iter().any(|name| rest == Path::new(name)),
        Err(_) => false,
    }
}

/// Propagation by its option, and whether it holds for the mounts below too.
pub(super) fn propagation(option: &str) -> Option<(Propagation, bool)> {
    let (name, recursive) = match option {
        "private" | "slave" | "shared" | "unbindable" => (option, false),
        _ => (option.strip_prefix('r')?, true),
    };
    let propagation = match name {
        "private" => Propagation::Private,
        "slave" => Propagation::Slave,
        "shared" => Propagation::Shared,
        "unbindable" => Propagation::Unbindable,
        _ => return None,
    };
    Some((propagation, recursive))
}

/// Whether read-only must be said to the file system itself: one on a disk writes (a journal) unless it is told not to. One that the
/// kernel shares between mounts must not be told.
fn is_disk(name: &str) -> bool {
    !matches!(name, "proc" | "sysfs" | "cgroup2" | "mqueue" | "devpts" | "tmpfs" | "overlay")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(typ: &str, options: &[&str]) -> Result<MountPlan, Error> {
        let mut mount = Mount::default();
        mount
            .set_destination("/x".into())
            .set_typ(Some(typ.into()))
            .set_source(Some("/src".into()))
            .set_options(Some(options.iter().map(|&option| option.into()).collect()));
        MountPlan::new(&mount)
    }

    #[test]
    fn options_by_kind() {
        let proc = plan("proc", &["nosuid", "noexec", "nodev", "hidepid=2"]).unwrap();
        assert_eq!(proc.attributes.set, attr::NOSUID | attr::NOEXEC | attr::NODEV);
        assert_eq!(proc.data, [("hidepid".to_owned(), Some("2".to_owned()))]);
        let bind = plan("bind", &["rbind", "rro", "rprivate", "nosuid", "suid"]).unwrap();
        assert_eq!(bind.kind, Kind::Bind { recursive: true });
        assert_eq!(bind.recursive.set, attr::RDONLY);
        assert_eq!(bind.attributes, Attributes { set: 0, clear: attr::NOSUID });
        assert_eq!(bind.propagation, Some((Propagation::Private, true)));
        let tmpfs = plan("tmpfs", &["noatime", "strictatime"]).unwrap();
        assert_eq!(tmpfs.attributes, Attributes { set: attr::STRICTATIME, clear: attr::ATIME_FIELD });
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        assert!(plan("bind", &["size=1m"]).is_err());
        assert!(plan("tmpfs", &["tmpcopyup"]).is_err());
        assert!(plan("bind", &["idmap"]).is_err());
        assert!(hides_proc(Path::new("/proc")) && hides_proc(Path::new("/proc/self/attr")));
        assert!(!hides_proc(Path::new("/proc/meminfo")) && !hides_proc(Path::new("/process")));
        let mut mount = Mount::default();
        mount.set_destination("/a/../b".into()).set_typ(Some("tmpfs".into()));
        assert!(MountPlan::new(&mount).is_err());
    }
}
