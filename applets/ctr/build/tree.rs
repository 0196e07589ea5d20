//! Where COPY takes files from: the context, a stage, an image. All paths are resolved by the kernel below the tree's root
//! (openat2(2), `RESOLVE_IN_ROOT`): no symbolic link leads out of it.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat2, statat};
use rustix::io::Errno;

use super::ignore::Ignore;
use super::pattern::{Pattern, clean, is_pattern};

/// Deepest folder that is walked: what PATH_MAX allows.
const DEPTH_MAX: usize = 2048;

/// A folder and what of it may be seen.
pub struct Tree {
    root: OwnedFd,
    ignore: Ignore,
}

/// Something that is to be copied.
#[derive(Debug)]
pub struct Entry {
    /// Where it is, below the tree's root.
    pub from: PathBuf,
    /// Where it goes, below the destination; empty for the destination itself.
    pub to: PathBuf,
    /// What it is. Of a source that is a symbolic link this tells of its target.
    pub stat: Stat,
}

impl Entry {
    /// Its kind.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// What sources come to.
#[derive(Debug, Default)]
pub struct Selection {
    /// Folders before what is in them.
    pub entries: Vec<Entry>,
    /// Sources, patterns resolved.
    pub sources: usize,
}

/// How sources are selected.
#[derive(Debug, Default)]
pub struct Rules {
    /// `--exclude`.
    pub exclude: Ignore,
    /// `--parents`.
    pub parents: bool,
}

impl Tree {
    /// A tree of which nothing is hidden.
    pub fn new(root: OwnedFd) -> Self {
        Tree { root, ignore: Ignore::default() }
    }

    /// A context.
    pub fn with_ignore(root: OwnedFd, ignore: Ignore) -> Self {
        Tree { root, ignore }
    }

    /// Whether something may be hidden.
    pub fn hides_anything(&self) -> bool {
        !self.ignore.is_empty()
    }

    /// The same tree again.
    pub fn try_clone(&self) -> anyhow::Result<Self> {
        Ok(Tree { root: self.root.try_clone()?, ignore: self.ignore.clone() })
    }

    /// Open a path; the last part is followed if it is a link unless the flags say otherwise.
    pub fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        open_in(self.root.as_fd(), path, flags)
    }

    /// Open a regular file to read it.
    pub fn open_file(&self, path: &Path) -> anyhow::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open(path, flags).with_context(|| format!("cannot open {}", path.display()))?;
        let file = File::from(file);
        ensure!(file.metadata()?.is_file(), "{} is no regular file", path.display());
        Ok(file)
    }

    /// Where a link leads.
    pub fn read_link(&self, path: &Path) -> anyhow::Result<CString> {
        let link = self.open(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        rustix::fs::readlinkat(&link, "", Vec::new())
            .with_context(|| format!("cannot read the link {}", path.display()))
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>, Errno> {
        match self.open(path, OFlags::PATH) {
            Ok(file) => rustix::fs::fstat(&file).map(Some),
            // A link that leads nowhere, or in circles, is as good as none.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// What the sources of a COPY come to.
    ///
    /// # Errors
    /// If one is not there, or a pattern fits nothing.
    pub fn select(&self, sources: &[String], rules: &Rules) -> anyhow::Result<Selection> {
        let mut selection = Selection::default();
        for source in sources {
            // A place in the path from which on `--parents` keeps folders.
            let (pivot, path) = match source.split_once("/./") {
                Some((before, after)) if rules.parents => (clean(before), clean(&format!("{before}/{after}"))),
                _ => (String::new(), clean(source)),
            };
            let found = if is_pattern(&path) { self.glob(&path)? } else { vec![PathBuf::from(&path)] };
            ensure!(!found.is_empty(), "lstat {path}: no such file or directory");
            for path in found {
                self.add(&path, Path::new(&pivot), rules, &mut selection)?;
            }
        }
        Ok(selection)
    }

    fn add(&self, path: &Path, pivot: &Path, rules: &Rules, selection: &mut Selection) -> anyhow::Result<()> {
        let missing = || anyhow::anyhow!("\"/{}\": not found", path.display());
        let excluded = self.ignore.excludes(&path.to_string_lossy());
        ensure!(!excluded || self.ignore.has_exceptions(), missing());
        let stat =
            self.stat(path).with_context(|| format!("cannot look at {}", path.display()))?.ok_or_else(missing)?;
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let kept = path.strip_prefix(pivot).unwrap_or(path);
        let to = match (rules.parents, is_folder) {
            (true, _) => kept.to_path_buf(),
            (false, true) => PathBuf::new(),
            (false, false) => path.file_name().map(PathBuf::from).unwrap_or_default(),
        };
        selection.sources += 1;
        if rules.parents {
            self.add_parents(path, kept, selection)?;
        }
        if is_folder {
            let below = self.walk(path, &to, Path::new(""), rules, 0)?;
            ensure!(!excluded || !below.is_empty(), missing());
            selection.entries.push(Entry { from: path.into(), to, stat });
            selection.entries.extend(below);
            return Ok(());
        }
        ensure!(!excluded, missing());
        let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
        if !rules.exclude.excludes(&name) && !rules.exclude.excludes(&path.to_string_lossy()) {
            selection.entries.push(Entry { from: path.into(), to, stat });
        }
        Ok(())
    }

    /// The folders that `--parents` keeps, outermost first.
    fn add_parents(&self, path: &Path, kept: &Path, selection: &mut Selection) -> anyhow::Result<()> {
        let cut = path.components().count() - kept.components().count();
        let mut folders: Vec<&Path> =
            kept.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()).collect();
        folders.reverse();
        for folder in folders {
            if selection.entries.iter().any(|entry| entry.to == folder) {
                continue;
            }
            let from: PathBuf = path.components().take(cut + folder.components().count()).collect();
            if let Some(stat) = self.stat(&from)? {
                selection.entries.push(Entry { from, to: folder.into(), stat });
            }
        }
        Ok(())
    }

    /// What is in a folder, itself not included. `inner` is its path below the source.
    fn walk(&self, from: &Path, to: &Path, inner: &Path, rules: &Rules, depth: usize) -> anyhow::Result<Vec<Entry>> {
        ensure!(depth < DEPTH_MAX, "{} lies too deep", from.display());
        let words = || format!("cannot list {}", from.display());
        let folder = self.open(from, OFlags::RDONLY | OFlags::DIRECTORY).with_context(words)?;
        let mut all = Vec::new();
        for name in names(&folder).with_context(words)? {
            let (from, to, inner) = (from.join(&name), to.join(&name), inner.join(&name));
            let out = self.ignore.excludes(&from.to_string_lossy());
            let out_by_rule = rules.exclude.excludes(&inner.to_string_lossy());
            if (out && !self.ignore.has_exceptions()) || (out_by_rule && !rules.exclude.has_exceptions()) {
                continue;
            }
            let stat = match statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                // Gone meanwhile.
                Err(Errno::NOENT) => continue,
                stat => stat.with_context(|| format!("cannot look at {}", from.display()))?,
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let below = self.walk(&from, &to, &inner, rules, depth + 1)?;
                if !(out || out_by_rule) || !below.is_empty() {
                    all.push(Entry { from, to, stat });
                    all.extend(below);
                }
            } else if !(out || out_by_rule) {
                all.push(Entry { from, to, stat });
            }
        }
        Ok(all)
    }

    /// The paths that fit a pattern, part by part, sorted; `**` goes into all folders.
    fn glob(&self, pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = vec![PathBuf::new()];
        for part in pattern.split('/') {
            let mut next = Vec::new();
            if part == "**" {
                for path in &found {
                    self.folders(path, &mut next, 0)?;
                }
            } else if is_pattern(part) {
                let fits = Pattern::new(part).map_err(anyhow::Error::msg)?;
                for path in &found {
                    let names = self.list(path)?.into_iter().filter(|name| fits.matches(&name.to_string_lossy()));
                    next.extend(names.map(|name| path.join(name)));
                }
            } else {
                next.extend(found.iter().map(|path| path.join(part)));
            }
            next.sort();
            next.dedup();
            found = next;
        }
        let mut seen = Vec::new();
        for path in found {
            let hidden = self.ignore.excludes(&path.to_string_lossy());
            if !hidden && self.stat(&path)?.is_some() {
                seen.push(path);
            }
        }
        Ok(seen)
    }

    /// A folder and all in it.
    fn folders(&self, path: &Path, out: &mut Vec<PathBuf>, depth: usize) -> anyhow::Result<()> {
        ensure!(depth < DEPTH_MAX, "{} lies too deep", path.display());
        out.push(path.into());
        for name in self.list(path)? {
            let path = path.join(name);
            let hidden = self.ignore.excludes(&path.to_string_lossy()) && !self.ignore.has_exceptions();
            let link = self.open(&path, OFlags::PATH | OFlags::NOFOLLOW)?;
            if !hidden && FileType::from_raw_mode(rustix::fs::fstat(&link)?.st_mode) == FileType::Directory {
                self.folders(&path, out, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Names in a folder; none if it is no folder.
    fn list(&self, path: &Path) -> anyhow::Result<Vec<OsString>> {
        match self.open(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(folder) => names(&folder).with_context(|| format!("cannot list {}", path.display())),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Vec::new()),
            Err(errno) => bail!("cannot open {}: {errno}", path.display()),
        }
    }
}

/// Open a path below a root that no link leads out of.
pub fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        // EAGAIN: a rename somewhere raced with a `..` in a link.
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
}

/// What a folder holds, sorted.
pub fn names(folder: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder.as_fd())? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
    Ok(names)
}

/// Open a folder of the host.
pub fn open_folder(path: &Path) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).with_context(|| format!("cannot open the folder {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tree(ignore: &str) -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["a/b", "c", "out"] {
            fs::create_dir_all(dir.path().join("ctx").join(folder)).unwrap();
        }
        for file in ["x.txt", "y.md", "a/1.txt", "a/b/2.txt", "c/3.md"] {
            fs::write(dir.path().join("ctx").join(file), file).unwrap();
        }
        fs::write(dir.path().join("secret"), "secret").unwrap();
        let links = [
            ("../secret", "up"),
            ("/x.txt", "abs"),
            ("a/1.txt", "rel"),
            ("../../../x.txt", "far"),
            ("nowhere", "dangling"),
        ];
        for (target, name) in links {
            symlink(target, dir.path().join("ctx").join(name)).unwrap();
        }
        let root = open_folder(&dir.path().join("ctx")).unwrap();
        (dir, Tree::with_ignore(root, Ignore::parse(ignore).unwrap()))
    }

    fn select(tree: &Tree, sources: &[&str], rules: &Rules) -> anyhow::Result<Vec<String>> {
        let sources: Vec<String> = sources.iter().map(|&source| source.into()).collect();
        let entries = tree.select(&sources, rules)?.entries;
        Ok(entries.iter().map(|entry| entry.to.display().to_string()).collect())
    }

    #[test]
    fn files_folders_and_patterns() {
        let (_dir, tree) = tree("");
        let all = Rules::default();
        assert_eq!(select(&tree, &["x.txt"], &all).unwrap(), ["x.txt"]);
        assert_eq!(select(&tree, &["/a/"], &all).unwrap(), ["", "1.txt", "b", "b/2.txt"]);
        assert_eq!(select(&tree, &["*.txt", "c/*"], &all).unwrap(), ["x.txt", "3.md"]);
        assert_eq!(select(&tree, &["../../x.t?t"], &all).unwrap(), ["x.txt"]);
        assert!(select(&tree, &["none"], &all).unwrap_err().to_string().contains("\"/none\": not found"));
        assert!(select(&tree, &["*.none"], &all).unwrap_err().to_string().contains("no such file or directory"));
        assert!(select(&tree, &["["], &all).is_err());
    }

    #[test]
    fn links_stay_inside() {
        let (_dir, tree) = tree("");
        let all = Rules::default();
        for inside in ["abs", "rel", "far"] {
            assert_eq!(select(&tree, &[inside], &all).unwrap(), [inside]);
            assert!(tree.open_file(Path::new(inside)).is_ok());
        }
        for outside in ["up", "dangling"] {
            assert!(select(&tree, &[outside], &all).is_err(), "{outside}");
            assert!(tree.open_file(Path::new(outside)).is_err());
        }
    }

    #[test]
    fn ignored_files_are_not_there() {
        let (_dir, tree) = tree("a\n!a/b/2.txt\n**/*.md\n");
        let all = Rules::default();
        assert_eq!(select(&tree, &["a"], &all).unwrap(), ["", "b", "b/2.txt"]);
        assert!(select(&tree, &["a/1.txt"], &all).is_err());
        assert!(select(&tree, &["y.md"], &all).is_err());
        let found = select(&tree, &["."], &all).unwrap();
        assert!(found.contains(&"c".to_owned()) && !found.contains(&"c/3.md".to_owned()), "{found:?}");
    }

    #[test]
    fn exclude_and_parents() {
        let (_dir, tree) = tree("");
        let exclude = Rules { exclude: Ignore::new(["**/*.txt"].into_iter()).unwrap(), parents: false };
        assert_eq!(select(&tree, &["a", "*.md", "x.txt"], &exclude).unwrap(), ["", "b", "y.md"]);
        let parents = Rules { exclude: Ignore::default(), parents: true };
        assert_eq!(select(&tree, &["a/b/2.txt", "a/1.txt"], &parents).unwrap(), ["a", "a/b", "a/b/2.txt", "a/1.txt"]);
        assert_eq!(select(&tree, &["a/./b/2.txt"], &parents).unwrap(), ["b", "b/2.txt"]);
        assert_eq!(select(&tree, &["**/2.txt"], &parents).unwrap(), ["a", "a/b", "a/b/2.txt"]);
    }
}
