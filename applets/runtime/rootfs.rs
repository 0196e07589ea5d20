//! The container's root: mounted, addressed by a descriptor, and made `/`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use coracle_abi::mount::{Propagation, attr, mount_setattr};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, fstat, mkdirat, openat, openat2, readlinkat, statx,
};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount, mount_change, move_mount, open_tree, unmount,
};

use super::Root;
use super::channel::{Doing, Step};

/// Longest value that fsconfig(2) takes.
pub(super) const FSCONFIG_LIMIT: usize = 255;

/// Links one after the other that lead to a mount point which is to be made.
const MAX_LINKS: u32 = 8;

/// The attached root of the container; paths are resolved below it.
pub(super) struct Rootfs(OwnedFd);

/// What a mount point must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Directory,
    File,
}

/// Whether symbolic links on the way are followed (always within the root) or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    Follow,
    Refuse,
}

impl Rootfs {
    /// A mount as the root.
    pub(super) fn of(mount: OwnedFd) -> Self {
        Self(mount)
    }

    /// In the new mount namespace: cut it off from the host's and attach the root in it. `made`: an overlay that exists.
    /// `shared`: do not cut it off, as bind mounts are to give to the host what is mounted in them (`linux.rootfsPropagation`).
    pub(super) fn attach(root: &Root<'_>, made: Option<BorrowedFd<'_>>, shared: bool) -> Step<Self> {
        let words = || "cut the mount namespace off from the host's".into();
        if shared {
            // Nothing that is attached there may show on the host, and pivot_root(2) wants it.
            let (Root::Path(target) | Root::Overlay { target, .. }) = root;
            make_private(target).doing(words)?;
        } else {
            // Unmounts on the host still arrive (nothing stays pinned by a container), nothing goes out.
            mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).doing(words)?;
        }
        let (mount, target) = match (root, made) {
            (Root::Overlay { target, .. }, Some(made)) => {
                (made.try_clone_to_owned().doing(|| "take hold of the overlay".into())?, *target)
            }
            (Root::Path(path), _) => {
                let flags =
                    OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
                (open_tree(CWD, *path, flags).doing(|| format!("open the root {}", path.display()))?, *path)
            }
            (Root::Overlay { lower, upper, work, target }, None) => {
                let words = || format!("mount the overlay of {} layers with {} on top", lower.len(), upper.display());
                match overlay(lower, upper, work) {
                    Ok(mount) => (mount, *target),
                    // Before Linux 6.5 layers cannot be given one by one.
                    Err(Errno::INVAL | Errno::NAMETOOLONG) => {
                        return overlay_by_options(lower, upper, work, target).doing(words);
                    }
                    Err(errno) => return Err(errno).doing(words),
                }
            }
        };
        mount_setattr(mount.as_fd(), 0, 0, Some(Propagation::Private), true)
            .doing(|| "make the root private".into())?;
        move_mount(&mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .doing(|| format!("mount the root on {}", target.display()))?;
        Ok(Self(mount))
    }

    /// Put the root's mount over `/`, as an initramfs cannot be pivoted away. What else of the host is mounted would show in
    /// the container's mountinfo, and a procfs of the host would let it out of the masks: such mounts go first.
    fn move_to_root(&self) -> Result<(), Errno> {
        let own = std::fs::read_link(format!("/proc/self/fd/{}", self.0.as_raw_fd())).map_err(|_| Errno::IO)?;
        let table = std::fs::read_to_string("/proc/self/mountinfo").map_err(|_| Errno::IO)?;
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| *point != "/");
        let foreign: Vec<PathBuf> = points
            .map(|point| PathBuf::from(unescape(point)))
            .filter(|point| !point.starts_with(&own) && !own.starts_with(point))
            .collect();
        for point in foreign.iter().rev() {
            match unmount(point, UnmountFlags::DETACH) {
                Ok(()) | Err(Errno::INVAL | Errno::NOENT | Errno::PERM) => {}
                Err(errno) => return Err(errno),
            }
        }
        move_mount(&self.0, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        rustix::process::chroot(".")
    }

    /// The root of the calling process: in a container, its root.
    pub(super) fn current() -> Step<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, "/", flags, Mode::empty()).doing(|| "open the container's root".into()).map(Self)
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Open a path of the container with `O_PATH`.
    pub(super) fn resolve(&self, path: &Path, links: Links) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::PATH, links)
    }

    /// Open a path of the container.
    pub(super) fn open(&self, path: &Path, flags: OFlags, links: Links) -> Result<OwnedFd, Errno> {
        openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve_flags(links))
    }

    /// Open a mount point, made with its parents if it is not there. What exists must be of the wanted kind.
    pub(super) fn target(&self, path: &Path, kind: Target, links: Links) -> Step<OwnedFd> {
        let words = || format!("open the mount point {} in the container", path.display());
        let target = match self.resolve(path, links) {
            Err(Errno::NOENT) => {
                self.make(path, kind, links, MAX_LINKS).doing(|| format!("make {} in the container", path.display()))?
            }
            Err(Errno::LOOP) if links == Links::Refuse => {
                return Err(Errno::LOOP)
                    .doing(|| format!("mount on {}: it is or lies behind a symbolic link", path.display()));
            }
            found => found.doing(words)?,
        };
        let is_directory = FileType::from_raw_mode(fstat(&target).doing(words)?.st_mode) == FileType::Directory;
        match (kind, is_directory) {
            (Target::Directory, false) => Err(Errno::NOTDIR).doing(words),
            (Target::File, true) => Err(Errno::ISDIR).doing(words),
            _ => Ok(target),
        }
    }

    /// `left`: links that lead nowhere yet which may be followed.
    fn make(&self, path: &Path, kind: Target, links: Links, left: u32) -> Result<OwnedFd, Errno> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = match path.parent() {
            None => return Err(Errno::INVAL),
            Some(parent) => match self.resolve(parent, links) {
                Err(Errno::NOENT) => self.make(parent, Target::Directory, links, left)?,
                found => found?,
            },
        };
        make_entry(parent.as_fd(), name, kind)?;
        match self.resolve(path, links) {
            // A link whose end is missing, as /etc/resolv.conf often is: the mount point is its end, which is in the root like all else.
            Err(Errno::NOENT) if links == Links::Follow && left > 0 => {
                let end = readlinkat(&parent, name, Vec::new())?;
                let end = path.parent().ok_or(Errno::INVAL)?.join(OsStr::from_bytes(end.as_bytes()));
                self.make(&end, kind, links, left - 1)
            }
            found => found,
        }
    }

    /// Make the root read-only.
    pub(super) fn make_readonly(&self) -> Step {
        mount_setattr(self.as_fd(), attr::RDONLY, 0, None, false).doing(|| "make the root read-only".into())
    }

    /// Make the root `/` and let go of the host's. `propagation`: `linux.rootfsPropagation`.
    pub(super) fn make_current(&self, no_pivot: bool, propagation: Option<(Propagation, bool)>) -> Step {
        let words = || "make the container's root /".into();
        rustix::process::fchdir(&self.0).doing(words)?;
        if no_pivot {
            self.move_to_root().doing(words)?;
        } else {
            let host =
                openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).doing(words)?;
            // pivot_root(2): with the same directory twice the old root lies on top of the new one, and is taken away.
            rustix::process::pivot_root(".", ".").doing(words)?;
            rustix::process::fchdir(&host).doing(words)?;
            if matches!(propagation, Some((Propagation::Shared, _))) {
                // It is still shared with the host's, which is to keep what is unmounted here.
                mount_change(".", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).doing(words)?;
            }
            unmount(".", UnmountFlags::DETACH).doing(|| "detach the host's root".into())?;
        }
        rustix::process::chdir("/").doing(words)?;
        if let Some((propagation, recursive)) = propagation {
            mount_setattr(self.as_fd(), 0, 0, Some(propagation), recursive)
                .doing(|| "set the root's propagation".into())?;
        }
        Ok(())
    }
}

fn resolve_flags(links: Links) -> ResolveFlags {
    match links {
        Links::Follow => ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        Links::Refuse => ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS,
    }
}

fn make_entry(parent: BorrowedFd<'_>, name: &OsStr, kind: Target) -> Result<(), Errno> {
    let made = match kind {
        Target::Directory => mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        Target::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match made {
        // Someone else made it meanwhile; the caller looks at what it is.
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

/// Whether a destination is absolute and free of `..`, whose meaning would change while its parents are made.
pub(super) fn is_clean(path: &Path) -> bool {
    path.is_absolute() && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

/// An overlay that is attached nowhere yet.
pub(super) fn overlay(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", "overlay")?;
    for (key, path) in
        lower.iter().rev().map(|layer| ("lowerdir+", layer.as_path())).chain([("upperdir", upper), ("workdir", work)])
    {
        if path.as_os_str().len() > FSCONFIG_LIMIT {
            return Err(Errno::NAMETOOLONG);
        }
        fsconfig_set_string(&context, key, path)?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// The same by mount(2), for older kernels and for very long paths.
fn overlay_by_options(lower: &[PathBuf], upper: &Path, work: &Path, target: &Path) -> Result<Rootfs, Errno> {
    let list: Vec<String> = lower.iter().rev().map(|layer| escape(layer)).collect();
    let options = format!("lowerdir={},upperdir={},workdir={}", list.join(":"), escape(upper), escape(work));
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    mount("overlay", target, "overlay", MountFlags::empty(), options.as_c_str())?;
    let root = openat(CWD, target, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    mount_setattr(root.as_fd(), 0, 0, Some(Propagation::Private), true).map_err(|_| Errno::INVAL)?;
    Ok(Rootfs(root))
}

/// Mount points in mountinfo have blanks and backslashes as three octal digits (proc_pid_mountinfo(5)).
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// Make the mount that a directory lies on private.
fn make_private(path: &Path) -> Result<(), Errno> {
    let open_in = |dir: BorrowedFd<'_>, path: &Path| {
        openat(dir, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    let identify = |dir: &OwnedFd| {
        let found = statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | StatxFlags::INO)?;
        Ok::<_, Errno>((found.stx_mnt_id, found.stx_ino))
    };
    let mut dir = open_in(CWD, path)?;
    loop {
        let parent = open_in(dir.as_fd(), Path::new(".."))?;
        let (own, above) = (identify(&dir)?, identify(&parent)?);
        // The root of the mount, or of all.
        if own.0 != above.0 || own == above {
            break;
        }
        dir = parent;
    }
    let private = mount_setattr(dir.as_fd(), 0, 0, Some(Propagation::Private), false);
    private.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Escape what separates options and layers (Documentation/filesystems/overlayfs.rst).
fn escape(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

/// Attach a mount to a descriptor of the container.
pub(super) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    move_mount(mount, "", target, "", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH)
}

/// Clone the mount at a descriptor, to be attached elsewhere.
pub(super) fn clone_mount(file: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(file, "", flags)
}
