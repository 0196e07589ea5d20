//! Where the cgroup v2 tree is, and what it can do.

use std::path::{Component, Path, PathBuf};

use crate::{Cgroup, Error, Result, group};

/// `CGROUP2_SUPER_MAGIC`, linux/magic.h.
const CGROUP2: u64 = 0x6367_7270;

/// The mounted cgroup v2 tree.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    root: PathBuf,
}

impl Hierarchy {
    /// Find the mounted tree: `/sys/fs/cgroup`, or on a hybrid host wherever mountinfo says.
    ///
    /// # Errors
    /// [`Error::NoHierarchy`] on a host without one.
    pub fn find() -> Result<Self> {
        let usual = Path::new("/sys/fs/cgroup");
        // The usual place is asked first: mountinfo can be long.
        if rustix::fs::statfs(usual).is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|kind| kind == CGROUP2)) {
            return Ok(Hierarchy { root: usual.into() });
        }
        let file = PathBuf::from("/proc/self/mountinfo");
        let text = std::fs::read_to_string(&file).map_err(|source| Error::Read { file, source })?;
        mount_point(&text).map(|root| Hierarchy { root }).ok_or(Error::NoHierarchy)
    }

    /// The tree at a known place (also a directory of fake files, for tests).
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Hierarchy { root: root.into() }
    }

    /// The mount point.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The controllers that the root offers (`cgroup.controllers`).
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn controllers(&self) -> Result<Vec<String>> {
        let root = Cgroup::open(&self.root)?;
        Ok(root.read("cgroup.controllers")?.split_ascii_whitespace().map(Into::into).collect())
    }

    /// Check that the tree has a controller.
    ///
    /// # Errors
    /// [`Error::NoController`], which also says whether cgroup v1 has taken it.
    pub fn require(&self, controller: &'static str) -> Result<()> {
        if self.controllers()?.iter().any(|name| name == controller) {
            return Ok(());
        }
        let v1 = std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|text| is_v1(&text, controller));
        Err(Error::NoController { controller, root: self.root.clone(), v1 })
    }

    /// The directory of a group named relative to the root. `..` and absolute names stay below the root.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        let inside = name.as_ref().components().filter(|part| matches!(part, Component::Normal(_)));
        inside.fold(self.root.clone(), |path, part| path.join(part))
    }

    /// Make a group and its parents, with every controller that is on offer enabled down the path. A group that exists is opened.
    ///
    /// # Errors
    /// A directory cannot be made, or the kernel refuses a controller.
    pub fn create(&self, name: impl AsRef<Path>) -> Result<Cgroup> {
        let target = self.path(name);
        let relative = target.strip_prefix(&self.root).unwrap_or(Path::new(""));
        let mut current = Cgroup::open(&self.root)?;
        for part in relative.components() {
            current.enable_all()?;
            let path = current.path().join(part);
            group::make_dir(&path)?;
            current = Cgroup::open(&path)?;
        }
        Ok(current)
    }

    /// Open a group that exists.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn open(&self, name: impl AsRef<Path>) -> Result<Cgroup> {
        Cgroup::open(&self.path(name))
    }
}

/// The first cgroup2 mount in the text of /proc/PID/mountinfo (proc_pid_mountinfo(5)); `/sys/fs/cgroup` is preferred.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    let mut found = None;
    for (mount, kind, _) in mounts(mountinfo) {
        if kind == "cgroup2" {
            if mount == "/sys/fs/cgroup" {
                return Some(mount.into());
            }
            found.get_or_insert_with(|| PathBuf::from(mount));
        }
    }
    found
}

fn is_v1(mountinfo: &str, controller: &str) -> bool {
    let legacy = if controller == "io" { "blkio" } else { controller };
    mounts(mountinfo).any(|(_, kind, options)| kind == "cgroup" && options.split(',').any(|option| option == legacy))
}

/// Mount point, file system type and super-block options of each line.
fn mounts(mountinfo: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        Some((left.split(' ').nth(4)?, right.next()?, right.nth(1)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;

    const HYBRID: &str = "\
        30 20 0:26 / /sys/fs/cgroup rw,nosuid - tmpfs tmpfs rw\n\
        31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        32 30 0:28 / /sys/fs/cgroup/blkio rw shared:3 - cgroup cgroup rw,blkio\n\
        33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn finds_the_unified_tree() {
        assert_eq!(mount_point(HYBRID), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point("25 1 0:22 / /sys/fs/cgroup rw - cgroup2 none rw\n"), Some("/sys/fs/cgroup".into()));
        assert_eq!(mount_point("garbage\n - \n"), None);
    }

    #[test]
    fn knows_who_took_a_controller() {
        assert!(is_v1(HYBRID, "memory") && is_v1(HYBRID, "io") && !is_v1(HYBRID, "cpu"));
    }

    #[test]
    fn names_stay_below_the_root() {
        let tree = Hierarchy::at("/sys/fs/cgroup");
        assert_eq!(tree.path("/../a/./b"), Path::new("/sys/fs/cgroup/a/b"));
    }

    #[test]
    fn create_enables_down_the_path() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        std::fs::write(dir.path().join("cgroup.subtree_control"), "cpu\n").unwrap();
        let group = Hierarchy::at(dir.path()).create("solo").unwrap();
        assert_eq!(group.path(), dir.path().join("solo"));
        assert_eq!(
            files::read(Cgroup::open(dir.path()).unwrap().as_fd(), "cgroup.subtree_control").unwrap(),
            "+memory +pids"
        );
    }

    #[test]
    fn a_missing_controller_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cgroup.controllers"), "cpu\n").unwrap();
        let tree = Hierarchy::at(dir.path());
        tree.require("cpu").unwrap();
        let error = tree.require("rdma").unwrap_err().to_string();
        assert!(error.contains("rdma") && error.contains(&dir.path().display().to_string()), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn mountinfo_never_panics(text in "[a-z0-9 /\\-\n:,]{0,300}") {
            let _ = mount_point(&text);
            let _ = is_v1(&text, "memory");
        }
    }
}
