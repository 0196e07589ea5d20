//! What `RUN --mount` mounts: sources on the host for the container's mounts.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use coracle_image_oci::Digest;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::mount::{MountFlags, UnmountFlags};

use super::super::files;
use super::super::record::MountPoint;
use super::builder::From;
use super::cache::mounts_folder;
use super::containerfile::{Mount, MountKind, Sharing};
use super::copy::Target;
use super::digest::{Key, of_selection};
use super::pattern::escape;
use super::session::path_of;
use super::steps::Steps;
use super::tree::{Rules, Tree, open_folder};
use super::view::View;

/// Mounts for one run. Dropped, what they need is let go.
#[derive(Default)]
pub struct Mounts {
    /// As a container's record has them.
    pub points: Vec<MountPoint>,
    /// Secrets that are variables.
    pub env: Vec<(String, String)>,
    /// Overlays that are mounted from.
    views: Vec<View>,
    /// File systems in memory.
    memory: Vec<Tmpfs>,
    /// Caches in use.
    locks: Vec<File>,
}

/// Add what mounts contribute to a step to its key. What is in caches and secrets does not count.
///
/// # Errors
/// If a source is not there.
pub fn add_to_key(it: &mut Steps<'_, '_>, mounts: &[Mount], key: &mut Key) -> anyhow::Result<()> {
    for mount in mounts {
        key.add(mount.kind.word()).add(format!("{:?} {:?} {:?}", mount.target, mount.id, mount.env));
        key.add(format!("{} {:?} {:?} {:?} {:?}", mount.read_only, mount.size, mount.mode, mount.uid, mount.gid));
        if mount.kind == MountKind::Bind {
            let (tree, _view) = source_tree(it, mount.from.as_deref())?;
            let source = mount.source.clone().unwrap_or_default();
            let selection = tree.select(&[escape(&source)], &Rules::default())?;
            key.add(of_selection(&tree, &selection, true)?.hex());
        }
    }
    Ok(())
}

/// The context, or what `from` names; a view lives as long as it is read.
fn source_tree(it: &mut Steps<'_, '_>, from: Option<&str>) -> anyhow::Result<(Tree, Option<From>)> {
    let Some(from) = from else { return Ok((it.builder.context.tree.try_clone()?, None)) };
    let from = it.builder.from(from, it.index)?;
    Ok((from.tree()?, Some(from)))
}

impl Mounts {
    /// Make all sources.
    ///
    /// # Errors
    /// If one cannot be made, or a secret that is required was not given.
    pub fn prepare(it: &mut Steps<'_, '_>, wanted: &[Mount]) -> anyhow::Result<Self> {
        let mut all = Mounts::default();
        for mount in wanted {
            let target = mount.target.as_deref().map(|target| it.config.resolve_folder(target));
            match (mount.kind, target) {
                (MountKind::Secret, target) => all.secret(it, mount, target)?,
                (_, None) => bail!("missing mount target"),
                (_, Some(target)) if target == "/" => bail!("a mount cannot hide the whole root"),
                (MountKind::Bind, Some(target)) => all.bind_source(it, mount, &target)?,
                (MountKind::Cache, Some(target)) => all.cache(it, mount, &target)?,
                (MountKind::Tmpfs, Some(target)) => {
                    let tmpfs = Tmpfs::mount(it, mount.size)?;
                    all.bind(tmpfs.0.clone(), &target, !mount.read_only);
                    all.memory.push(tmpfs);
                }
            }
        }
        Ok(all)
    }

    /// Mount a path of the host.
    pub fn bind(&mut self, source: PathBuf, destination: &str, writable: bool) {
        self.points.push(MountPoint {
            kind: "bind".into(),
            source,
            destination: destination.into(),
            rw: writable,
            ..MountPoint::default()
        });
    }

    /// Where something is mounted, and whether it is a folder.
    pub fn destinations(&self) -> Vec<(String, bool)> {
        self.points.iter().map(|point| (point.destination.clone(), point.source.is_dir())).collect()
    }

    /// What is written to it goes to an overlay, and is thrown away.
    fn bind_source(&mut self, it: &mut Steps<'_, '_>, mount: &Mount, target: &str) -> anyhow::Result<()> {
        let view = match source_tree(it, mount.from.as_deref())? {
            (_, Some(From::View(view))) => view,
            // A folder of the host is only ever mounted below an overlay: what it hides by rules is not in it.
            (tree, _) => View::mount(it.builder.session, &[visible(it, &tree)?])?,
        };
        let source = mount.source.clone().unwrap_or_default();
        let path = super::pattern::clean(&source);
        let found = view.tree()?.open(Path::new(&path), OFlags::PATH);
        let found = found.with_context(|| format!("failed to compute cache key: \"/{path}\": not found"))?;
        self.bind(path_of(&found)?, target, !mount.read_only);
        self.views.push(view);
        Ok(())
    }

    fn cache(&mut self, it: &mut Steps<'_, '_>, mount: &Mount, target: &str) -> anyhow::Result<()> {
        let mut key = Key::default();
        key.add(mount.id.as_deref().unwrap_or(target)).add(mount.from.as_deref().unwrap_or_default());
        key.add(mount.source.as_deref().unwrap_or_default());
        let folder = mounts_folder();
        files::private_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let (lock, dir) = take(&folder, &key.finish(), mount.sharing)?;
        self.locks.push(lock);
        if !dir.exists() {
            self.fill(it, mount, &dir)?;
        }
        self.bind(dir, target, !mount.read_only);
        Ok(())
    }

    /// A new cache: empty, or with what `from` has; complete when it has its name.
    fn fill(&self, it: &mut Steps<'_, '_>, mount: &Mount, dir: &Path) -> anyhow::Result<()> {
        let new = dir.with_extension("new");
        files::remove_tree(&new)?;
        fs::create_dir(&new).with_context(|| format!("cannot create {}", new.display()))?;
        if let Some(from) = &mount.from {
            let (tree, _view) = source_tree(it, Some(from))?;
            let source = mount.source.clone().unwrap_or_default();
            let selection = tree.select(&[escape(&source)], &Rules::default())?;
            let root = open_folder(&new)?;
            Target { root: root.as_fd(), owner: None, mode: None, replace: false }.copy(&tree, &selection, "/")?;
        }
        set(&new, mount.mode.unwrap_or(0o755), mount.uid, mount.gid)?;
        fs::rename(&new, dir).with_context(|| format!("cannot make the cache {}", dir.display()))
    }

    fn secret(&mut self, it: &Steps<'_, '_>, mount: &Mount, target: Option<String>) -> anyhow::Result<()> {
        let name = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
        let id = mount.id.clone().or_else(|| mount.source.clone()).or_else(|| target.as_ref().map(name));
        let id = id.unwrap_or_default();
        let Some(secret) = it.builder.args.secret.iter().find(|secret| secret.id == id) else {
            ensure!(!mount.required, "secret {id}: not found");
            return Ok(());
        };
        let bytes = secret.read()?;
        if let Some(variable) = &mount.env {
            let value = std::str::from_utf8(&bytes).with_context(|| format!("secret {id} is no text"))?;
            self.env.push((variable.clone(), value.to_owned()));
            if target.is_none() {
                return Ok(());
            }
        }
        let target = target.unwrap_or_else(|| format!("/run/secrets/{id}"));
        self.secret_file(it, mount, &target, &bytes)
    }

    /// A file in memory: a secret is never on the disk.
    fn secret_file(&mut self, it: &Steps<'_, '_>, mount: &Mount, target: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let tmpfs = Tmpfs::mount(it, Some(1 << 20))?;
        let path = tmpfs.0.join("secret");
        self.memory.push(tmpfs);
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| std::io::Write::write_all(&mut file, bytes)).context("cannot keep a secret")?;
        set(&path, mount.mode.unwrap_or(0o400), mount.uid, mount.gid)?;
        self.bind(path, target, false);
        Ok(())
    }
}

/// A file system in memory, in the build's mount namespace. Dropped, it is unmounted.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(it: &Steps<'_, '_>, size: Option<u64>) -> anyhow::Result<Self> {
        let dir = it.builder.session.new_dir("tmpfs")?;
        let size = size.map_or_else(String::new, |size| format!(",size={size}"));
        let options = std::ffi::CString::new(format!("mode=755{size}"))?;
        rustix::mount::mount("tmpfs", &dir, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
            .context("cannot mount a tmpfs")?;
        Ok(Tmpfs(dir))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // What cannot be unmounted goes with the namespace.
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// A folder of the host without what is ignored: itself if that is nothing, or else a copy.
fn visible(it: &Steps<'_, '_>, tree: &Tree) -> anyhow::Result<PathBuf> {
    if !tree.hides_anything() {
        return path_of(tree.open(Path::new(""), OFlags::PATH)?);
    }
    let dir = it.builder.session.new_dir("visible")?;
    let selection = tree.select(&[".".to_owned()], &Rules::default())?;
    let root: OwnedFd = open_folder(&dir)?;
    Target { root: root.as_fd(), owner: None, mode: None, replace: false }.copy(tree, &selection, "/")?;
    Ok(dir)
}

/// A cache's directory, and the lock that says that it is in use.
fn take(folder: &Path, key: &Digest, sharing: Sharing) -> anyhow::Result<(File, PathBuf)> {
    for copy in 0.. {
        let name = if copy == 0 { key.hex().to_owned() } else { format!("{}-{copy}", key.hex()) };
        let path = folder.join(format!("{name}.lock"));
        let lock = File::options().write(true).create(true).truncate(false).open(&path);
        let lock = lock.with_context(|| format!("cannot open {}", path.display()))?;
        let operation = match sharing {
            Sharing::Shared => FlockOperation::LockShared,
            Sharing::Locked => FlockOperation::LockExclusive,
            Sharing::Private => FlockOperation::NonBlockingLockExclusive,
        };
        match rustix::io::retry_on_intr(|| flock(&lock, operation)) {
            Ok(()) => return Ok((lock, folder.join(name))),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(errno).with_context(|| format!("cannot lock {}", path.display())),
        }
    }
    bail!("there is no free cache")
}

/// Remove the caches that no build uses. Gives how many there were.
///
/// # Errors
/// If one cannot be removed.
pub fn clear() -> anyhow::Result<usize> {
    let folder = mounts_folder();
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(0) };
    let mut count = 0;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let Ok(lock) = File::open(&path) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let dir = path.with_extension("");
        count += usize::from(dir.exists());
        files::remove_tree(&dir)?;
        files::remove_tree(&path.with_extension("new"))?;
        files::remove(&path)?;
    }
    Ok(count)
}

fn set(path: &Path, mode: u32, uid: Option<u32>, gid: Option<u32>) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let words = || format!("cannot set owner and mode of {}", path.display());
    chown(path, Some(uid.unwrap_or(0)), Some(gid.unwrap_or(0))).with_context(words)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(words)
}
