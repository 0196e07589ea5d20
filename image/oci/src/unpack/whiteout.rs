//! Whiteouts (image-spec layer.md, "Whiteouts"; kernel Documentation/filesystems/overlayfs.rst, "whiteouts and opaque
//! directories"): a layer's way to hide what layers below it hold.
//!
//! A whiteout acts on lower layers only, wherever in its own layer it stands: what the layer itself holds stays.

use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::root::{doing, split};
use super::{Layer, There, kind_of};
use crate::error::{Context, Result};

const PREFIX: &[u8] = b".wh.";
const META_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a path in a layer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    Ordinary,
    /// Hide this path.
    Hide(Vec<u8>),
    /// Hide what is below this directory.
    Opaque(Vec<u8>),
    /// Left behind by AUFS; Docker passes over it too.
    Ignored,
}

pub(super) fn classify(path: &[u8]) -> Result<Name, &'static str> {
    if path.split(|&byte| byte == b'/').any(|part| part.starts_with(META_PREFIX) && part != OPAQUE) {
        return Ok(Name::Ignored);
    }
    let (dir, name) = split(path);
    if dir.split(|&byte| byte == b'/').any(|part| part.starts_with(PREFIX)) {
        return Err("a directory cannot be a whiteout");
    }
    if name == OPAQUE {
        return Ok(Name::Opaque(dir.to_vec()));
    }
    match name.strip_prefix(PREFIX) {
        None => Ok(Name::Ordinary),
        Some(b"" | b"." | b"..") => Err("a whiteout of nothing, or of its own directory or the one above"),
        Some(target) if dir.is_empty() => Ok(Name::Hide(target.to_vec())),
        Some(target) => Ok(Name::Hide([dir, b"/", target].concat())),
    }
}

/// Mark a directory so that overlayfs hides what is below it.
pub(super) fn set_opaque(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    match rustix::fs::fsetxattr(&fd, c"trusted.overlay.opaque", b"y", XattrFlags::empty()) {
        // Without privileges overlayfs is mounted with `userxattr` and looks here instead.
        Err(Errno::PERM) => rustix::fs::fsetxattr(&fd, c"user.overlay.opaque", b"y", XattrFlags::empty()),
        other => other,
    }
}

impl Layer<'_, '_> {
    pub(super) fn hide(&mut self, path: &[u8]) -> Result<()> {
        let (dir, name) = split(path);
        let parent = self.root.parent(dir)?;
        let hiding = || doing("hiding", path);
        match rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => Ok(()),
            // What this layer holds stays; a file hides what is below by being there, a directory by being opaque.
            Err(Errno::EXIST) if kind_of(parent, path)? == There::Directory => set_opaque(parent, name).doing(hiding),
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error).doing(hiding),
        }
    }

    pub(super) fn make_opaque(&mut self, path: &[u8]) -> Result<()> {
        if path.is_empty() {
            self.report.opaque_root = true;
            return Ok(());
        }
        let parent = self.root.parent(path)?;
        set_opaque(parent, b".").doing(|| doing("marking as opaque", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let hide = |path: &[u8]| Ok(Name::Hide(path.to_vec()));
        assert_eq!(classify(b"a/b"), Ok(Name::Ordinary));
        assert_eq!(classify(b".wh.a"), hide(b"a"));
        assert_eq!(classify(b"d/.wh.a"), hide(b"d/a"));
        assert_eq!(classify(b"d/.wh..hidden"), hide(b"d/.hidden"));
        assert_eq!(classify(b"d/.wh...."), hide(b"d/..."));
        assert_eq!(classify(b"d/.wh..wh..opq"), Ok(Name::Opaque(b"d".to_vec())));
        assert_eq!(classify(b".wh..wh..opq"), Ok(Name::Opaque(Vec::new())));
        assert_eq!(classify(b".wh..wh.plnk/1.2"), Ok(Name::Ignored));
        for bad in [&b".wh."[..], b".wh..", b".wh...", b"d/.wh...", b".wh.d/a", b".wh..wh..opq/a"] {
            assert!(classify(bad).is_err(), "{bad:?}");
        }
    }
}
