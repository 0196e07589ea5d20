//! The mounts of a specification (runtime-spec config.md and config-linux.md, "mounts").

use std::ffi::CString;
use std::path::{Path, PathBuf};

use coracle_abi::mount::{Propagation, attr, mount_setattr, set_id_map};
use oci_spec::runtime::Mount;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, fstatfs, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick, open_tree,
};

use super::channel::{Doing, Step};
use super::rootfs::{FSCONFIG_LIMIT, Links, Rootfs, Target, attach, is_clean};
use super::userns::IdMaps;
use super::{Error, copy_up};

/// linux/mount.h; rustix lacks it.
const MS_NOSYMFOLLOW: u32 = 256;

/// A mount, its options understood.
#[derive(Debug)]
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
    /// Whether a tmpfs begins with what it covers.
    copy_up: bool,
    id_map: Option<IdMap>,
    /// The mount with its ids mapped, which only the parent can make.
    mapped: Option<OwnedFd>,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Bind {
        recursive: bool,
    },
    FileSystem(String),
    /// Other options for what is mounted there.
    Remount {
        bind: bool,
    },
}

/// The mapping of ids between a file system and what a mount shows.
#[derive(Debug, PartialEq, Eq)]
struct IdMap {
    maps: IdMaps,
    /// For the mounts below as well.
    recursive: bool,
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

/// Options without effect on what is mounted here: they name the default, or what a console shows.
const NEUTRAL: [&str; 8] = ["defaults", "async", "silent", "loud", "nomand", "newinstance", "noiversion", "nolazytime"];

/// Options that are passed on to the file system, but that many have (fs/fs_context.c of Linux, mount(8)).
const COMMON: [&str; 6] = ["acl", "dirsync", "iversion", "lazytime", "noacl", "sync"];

/// Options that a mount of this runtime cannot honour, and why.
const REFUSED: [(&str, &str); 2] =
    [("mand", "Linux has no mandatory locks"), ("copy-symlink", "the specification does not define it")];

impl MountPlan {
    /// Understand one mount. `bundle`: where a relative source begins. `container`: the mapping of the container's users.
    pub(super) fn new(mount: &Mount, bundle: Option<&Path>, container: Option<&IdMaps>) -> Result<Self, Error> {
        let destination = mount.destination().clone();
        let what = || format!("mounts: {}", destination.display());
        if !is_clean(&destination) {
            return Err(Error::spec(what(), "a destination is an absolute path without \"..\""));
        }
        let typ = mount.typ().as_deref().filter(|typ| !typ.is_empty()).unwrap_or("none");
        let kind = match typ {
            "bind" | "none" => Kind::Bind { recursive: false },
            "cgroup" | "cgroup2" => Kind::FileSystem("cgroup2".into()),
            other => Kind::FileSystem(other.into()),
        };
        let mut plan = Self {
            destination: destination.clone(),
            source: mount.source().clone().unwrap_or_else(|| typ.into()),
            kind,
            attributes: Attributes::default(),
            recursive: Attributes::default(),
            propagation: None,
            data: Vec::new(),
            copy_up: false,
            id_map: None,
            mapped: None,
        };
        let mut id_map = None;
        for option in mount.options().iter().flatten() {
            match option.as_str() {
                "idmap" => id_map = Some(false),
                "ridmap" => id_map = Some(true),
                _ => plan.add(option).map_err(|why| Error::spec(what(), why))?,
            }
        }
        plan.id_map = plan_id_map(mount, id_map, container)?;
        if let (Kind::Bind { .. }, Some(bundle)) = (&plan.kind, bundle) {
            // An absolute one stays what it is.
            plan.source = bundle.join(&plan.source);
        }
        plan.check(mount.source().is_some()).map_err(|why| Error::spec(what(), why))?;
        Ok(plan)
    }

    fn check(&self, has_source: bool) -> Result<(), String> {
        let is_bind = matches!(self.kind, Kind::Bind { .. });
        let is_proc = matches!(&self.kind, Kind::FileSystem(name) if name == "proc");
        let is_over_proc = self.destination == Path::new("/proc");
        if hides_proc(&self.destination) && !(is_over_proc && (is_proc || is_bind && is_procfs(&self.source))) {
            return Err("nothing else is mounted over the container's procfs".into());
        }
        if is_bind && !has_source {
            return Err("a bind mount needs a source".into());
        }
        if let (true, Some((name, _))) = (is_bind, self.data.first()) {
            return Err(format!("{name:?} is no option of a bind mount"));
        }
        if self.copy_up && !matches!(&self.kind, Kind::FileSystem(name) if name == "tmpfs") {
            return Err("tmpcopyup is for a tmpfs".into());
        }
        if self.id_map.is_some() && !is_bind {
            return Err("only bind mounts are mapped to other ids".into());
        }
        Ok(())
    }

    fn add(&mut self, option: &str) -> Result<(), String> {
        let is_recursive = matches!(self.kind, Kind::Bind { recursive: true });
        match option {
            "bind" if matches!(self.kind, Kind::Remount { .. }) => self.kind = Kind::Remount { bind: true },
            "bind" => self.kind = Kind::Bind { recursive: is_recursive },
            "rbind" => self.kind = Kind::Bind { recursive: true },
            "remount" => self.kind = Kind::Remount { bind: matches!(self.kind, Kind::Bind { .. }) },
            "tmpcopyup" => self.copy_up = true,
            _ => {
                if let Some((_, why)) = REFUSED.iter().find(|(name, _)| *name == option) {
                    return Err(format!("the option {option:?} is not supported: {why}"));
                }
                if let Some(propagation) = propagation(option) {
                    self.propagation = Some(propagation);
                } else if !self.attributes.add(option)
                    && !option.strip_prefix('r').is_some_and(|plain| self.recursive.add(plain))
                    && !NEUTRAL.contains(&option)
                {
                    let (key, value) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
                    self.data.push((key.into(), value.map(str::to_owned)));
                }
            }
        }
        Ok(())
    }

    /// Whether there are no options but those that all file systems have in common.
    pub(super) fn understands_all(&self) -> bool {
        self.data.iter().all(|(name, _)| COMMON.contains(&name.as_str()))
    }

    /// In the parent: make the mount whose ids are mapped.
    pub(super) fn map_ids(&mut self) -> Result<(), Error> {
        let (Some(map), Kind::Bind { recursive }) = (&self.id_map, &self.kind) else { return Ok(()) };
        let doing = |source| Error::setup(format!("map the ids of {}", self.source.display()), source);
        let users = map.maps.carrier()?;
        let tree = self.tree(*recursive).map_err(|errno| doing(errno.into()))?;
        set_id_map(tree.as_fd(), users.as_fd(), map.recursive).map_err(doing)?;
        self.set_attributes(&tree).map_err(doing)?;
        self.mapped = Some(tree);
        Ok(())
    }

    /// The mount as far as it must be made before the child has become a user of its own user namespace.
    pub(super) fn early(&self, has_users: bool) -> Step<Option<OwnedFd>> {
        let words = || format!("open {} to mount it on {}", self.source.display(), self.destination.display());
        match (&self.mapped, &self.kind) {
            (Some(tree), _) => tree.try_clone().map(Some).doing(words),
            (None, Kind::Bind { recursive }) if has_users => self.bind(*recursive).map(Some).doing(words),
            _ => Ok(None),
        }
    }

    /// Mount it below the root. `made`: what was made of it before.
    pub(super) fn mount(&self, rootfs: &Rootfs, made: Option<OwnedFd>) -> Step {
        let words = || format!("mount {} on {}", self.source.display(), self.destination.display());
        let mount = match (&self.kind, made) {
            (_, Some(made)) => made,
            (Kind::Bind { recursive }, None) => self.bind(*recursive).doing(words)?,
            (Kind::Remount { bind }, None) => return self.remount(rootfs, *bind),
            (Kind::FileSystem(name), None) if self.data.iter().any(is_long) => return self.mount_long(name, rootfs),
            (Kind::FileSystem(name), None) if name == "tmpfs" => self.tmpfs(rootfs)?,
            (Kind::FileSystem(name), None) => match (self.file_system(name, None), host_path(name)) {
                // Of a user namespace without the network or cgroup namespace that it would show.
                (Err(Errno::PERM), Some(path)) => self.show_hosts(path).doing(words)?,
                (mount, _) => mount.doing(words)?,
            },
        };
        let target = self.open_target(rootfs, self.target(&mount).doing(words)?)?;
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
            Kind::FileSystem(name) => self.file_system(name, None).doing(words),
            Kind::Bind { .. } | Kind::Remount { .. } => Err(Errno::INVAL).doing(words),
        }
    }

    /// Open the mount point, made if it is not there. A link of the image does not lead into its procfs, where a destination may not
    /// be by name either (CVE-2019-16884).
    fn open_target(&self, rootfs: &Rootfs, kind: Target) -> Step<OwnedFd> {
        let words = || format!("mount on {}: it lies behind a link into procfs", self.destination.display());
        let target = rootfs.target(&self.destination, kind, self.links())?;
        let is_behind_link = || rootfs.resolve(&self.destination, Links::Refuse).is_err();
        if self.links() == Links::Follow && is_of_procfs(&target).doing(words)? && is_behind_link() {
            return Err(Errno::LOOP).doing(words);
        }
        Ok(target)
    }

    fn target(&self, mount: &OwnedFd) -> Result<Target, Errno> {
        match self.kind {
            Kind::Bind { .. } => match FileType::from_raw_mode(fstat(mount)?.st_mode) {
                FileType::Directory => Ok(Target::Directory),
                _ => Ok(Target::File),
            },
            Kind::FileSystem(_) | Kind::Remount { .. } => Ok(Target::Directory),
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
        let tree = self.tree(recursive)?;
        self.set_attributes(&tree)?;
        Ok(tree)
    }

    /// A copy of the source's mount, and those below it.
    fn tree(&self, recursive: bool) -> Result<OwnedFd, Errno> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
        open_tree(CWD, &self.source, flags)
    }

    fn set_attributes(&self, tree: &OwnedFd) -> std::io::Result<()> {
        let (propagation, deep) = self.propagation.unwrap_or((Propagation::Private, true));
        mount_setattr(tree.as_fd(), self.recursive.set, self.recursive.clear, deep.then_some(propagation), true)?;
        if self.attributes != Attributes::default() || !deep {
            let propagation = (!deep).then_some(propagation);
            mount_setattr(tree.as_fd(), self.attributes.set, self.attributes.clear, propagation, false)?;
        }
        Ok(())
    }

    /// What the host has mounted there, with what is below it, read-only.
    fn show_hosts(&self, path: &str) -> std::io::Result<OwnedFd> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(CWD, path, flags)?;
        let set = attr::RDONLY | (self.attributes.set | self.recursive.set) & !attr::ATIME_FIELD;
        mount_setattr(tree.as_fd(), set, 0, Some(Propagation::Private), true)?;
        Ok(tree)
    }

    /// A tmpfs: where it covers a directory it takes on its mode, unless another is asked for, and with tmpcopyup its content.
    fn tmpfs(&self, rootfs: &Rootfs) -> Step<OwnedFd> {
        let words = || format!("mount a tmpfs on {}", self.destination.display());
        let covered = match rootfs.open(&self.destination, OFlags::RDONLY | OFlags::DIRECTORY, self.links()) {
            Ok(covered) => Some(covered),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno).doing(words),
        };
        let has_mode = self.data.iter().any(|(key, _)| key == "mode");
        let mode = match &covered {
            Some(covered) if !has_mode => Some(fstat(covered).doing(words)?.st_mode & 0o7777),
            _ => None,
        };
        let mount = self.file_system("tmpfs", mode).doing(words)?;
        if let (true, Some(covered)) = (self.copy_up, &covered) {
            let top = openat(&mount, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            copy_up::copy_tree(covered, &top.doing(words)?)
                .doing(|| format!("copy {} into the tmpfs over it", self.destination.display()))?;
            if self.attributes.set & attr::RDONLY != 0 {
                mount_setattr(mount.as_fd(), attr::RDONLY, 0, None, false).doing(words)?;
            }
        }
        Ok(mount)
    }

    fn file_system(&self, name: &str, mode: Option<u32>) -> Result<OwnedFd, Errno> {
        let context = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", &self.source)?;
        if let Some(mode) = mode {
            fsconfig_set_string(&context, "mode", format!("{mode:o}"))?;
        }
        self.configure(&context)?;
        let mut set = self.attributes.set | self.recursive.set;
        if set & attr::RDONLY != 0 && is_disk(name) {
            fsconfig_set_flag(&context, "ro")?;
        }
        if self.copy_up {
            // Not before it is filled.
            set &= !attr::RDONLY;
        }
        fsconfig_create(&context)?;
        let flags = MountAttrFlags::from_bits_retain(u32::try_from(set).unwrap_or_default());
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
    }

    fn configure(&self, context: &OwnedFd) -> Result<(), Errno> {
        self.data.iter().try_for_each(|(key, value)| match value {
            Some(value) => fsconfig_set_string(context, key.as_str(), value.as_str()),
            None => fsconfig_set_flag(context, key.as_str()),
        })
    }

    /// Change what is mounted at the destination: the mount, and without `bind` the file system too.
    fn remount(&self, rootfs: &Rootfs, bind: bool) -> Step {
        let words = || format!("remount {}", self.destination.display());
        let target = rootfs.resolve(&self.destination, self.links()).doing(words)?;
        let (own, all) = (&self.attributes, &self.recursive);
        mount_setattr(target.as_fd(), own.set, own.clear, None, false).doing(words)?;
        if *all != Attributes::default() || self.propagation.is_some_and(|(_, deep)| deep) {
            let propagation = self.propagation.filter(|(_, deep)| *deep).map(|(propagation, _)| propagation);
            mount_setattr(target.as_fd(), all.set, all.clear, propagation, true).doing(words)?;
        }
        if let Some((propagation, false)) = self.propagation {
            mount_setattr(target.as_fd(), 0, 0, Some(propagation), false).doing(words)?;
        }
        if bind || self.data.is_empty() {
            return Ok(());
        }
        let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
        let context = fspick(&target, "", flags).doing(words)?;
        self.configure(&context).and_then(|()| fsconfig_reconfigure(&context)).doing(words)
    }

    /// By mount(2): fsconfig(2) takes values of at most 255 bytes, less than the layers of an overlay may need. The target is
    /// named by its descriptor, in the host's procfs.
    fn mount_long(&self, name: &str, rootfs: &Rootfs) -> Step {
        let words = || format!("mount {} on {}", self.source.display(), self.destination.display());
        let target = self.open_target(rootfs, Target::Directory)?;
        let path = format!("/proc/self/fd/{}", target.as_raw_fd());
        let options = self.data.iter().map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        });
        let data = CString::new(options.collect::<Vec<_>>().join(",")).map_err(|_| Errno::INVAL).doing(words)?;
        let flags = mount_flags(self.attributes.set | self.recursive.set);
        rustix::mount::mount(&self.source, path.as_str(), name, flags, data.as_c_str()).doing(words)?;
        match self.propagation {
            None => Ok(()),
            Some((propagation, recursive)) => {
                let mount = rootfs.resolve(&self.destination, self.links()).doing(words)?;
                mount_setattr(mount.as_fd(), 0, 0, Some(propagation), recursive).doing(words)
            }
        }
    }
}

/// The mapping that `idmap`, `ridmap` or the mount's own mappings ask for.
fn plan_id_map(mount: &Mount, option: Option<bool>, container: Option<&IdMaps>) -> Result<Option<IdMap>, Error> {
    let what = || format!("mounts: {}", mount.destination().display());
    let own = match (mount.uid_mappings().as_deref(), mount.gid_mappings().as_deref()) {
        (None | Some([]), None | Some([])) => None,
        (Some(uid), Some(gid)) => Some(IdMaps::plan(&what(), uid, gid)?),
        _ => return Err(Error::spec(what(), "uidMappings and gidMappings go together")),
    };
    match (own, option, container) {
        (None, None, _) => Ok(None),
        (Some(maps), recursive, _) => Ok(Some(IdMap { maps, recursive: recursive.unwrap_or(false) })),
        (None, Some(recursive), Some(maps)) => Ok(Some(IdMap { maps: maps.clone(), recursive })),
        (None, Some(_), None) => {
            Err(Error::spec(what(), "idmap needs uidMappings and gidMappings, or a new user namespace with them"))
        }
    }
}

/// Where the host has what a user namespace may not mount.
fn host_path(name: &str) -> Option<&'static str> {
    match name {
        "sysfs" => Some("/sys"),
        "cgroup2" => Some("/sys/fs/cgroup"),
        _ => None,
    }
}

fn is_long((key, value): &(String, Option<String>)) -> bool {
    key.len() > FSCONFIG_LIMIT || value.as_ref().is_some_and(|value| value.len() > FSCONFIG_LIMIT)
}

/// `MOUNT_ATTR_*` as flags of mount(2).
fn mount_flags(set: u64) -> MountFlags {
    let all = [
        (attr::RDONLY, MountFlags::RDONLY),
        (attr::NOSUID, MountFlags::NOSUID),
        (attr::NODEV, MountFlags::NODEV),
        (attr::NOEXEC, MountFlags::NOEXEC),
        (attr::NOATIME, MountFlags::NOATIME),
        (attr::STRICTATIME, MountFlags::STRICTATIME),
        (attr::NODIRATIME, MountFlags::NODIRATIME),
        (attr::NOSYMFOLLOW, MountFlags::from_bits_retain(MS_NOSYMFOLLOW)),
    ];
    all.into_iter().filter(|(bit, _)| set & bit != 0).fold(MountFlags::empty(), |flags, (_, flag)| flags | flag)
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

/// Whether a path is the root of a procfs.
fn is_procfs(path: &Path) -> bool {
    /// `PROC_ROOT_INO` of fs/proc.
    const ROOT: u64 = 1;
    let open = || openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    open().is_ok_and(|file| is_of_procfs(&file) == Ok(true) && fstat(&file).is_ok_and(|stat| stat.st_ino == ROOT))
}

/// Whether a file is one of a procfs.
fn is_of_procfs(file: &OwnedFd) -> Result<bool, Errno> {
    /// `PROC_SUPER_MAGIC`, linux/magic.h.
    const MAGIC: u64 = 0x9fa0;
    Ok(u64::try_from(fstatfs(file)?.f_type).is_ok_and(|magic| magic == MAGIC))
}

/// Whether a mount would stand for a part of procfs that matters (CVE-2019-16884). The files that lxcfs offers do not.
fn hides_proc(destination: &Path) -> bool {
    const HARMLESS: [&str; 10] = [
        "cpuinfo",
        "diskstats",
        "loadavg",
        "meminfo",
        "slabinfo",
        "stat",
        "swaps",
        "sys/crypto/fips_enabled",
        "sys/kernel/ns_last_pid",
        "uptime",
    ];
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
        MountPlan::new(&mount, None, None)
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
        assert!(plan("bind", &["tmpcopyup"]).is_err());
        assert!(plan("bind", &["idmap"]).is_err());
        assert!(plan("tmpfs", &["mand"]).is_err());
        assert!(hides_proc(Path::new("/proc")) && hides_proc(Path::new("/proc/self/attr")));
        assert!(!hides_proc(Path::new("/proc/meminfo")) && !hides_proc(Path::new("/process")));
        let mut mount = Mount::default();
        mount.set_destination("/a/../b".into()).set_typ(Some("tmpfs".into()));
        assert!(MountPlan::new(&mount, None, None).is_err());
    }
}
