//! The immutable root: a tree of one binary, its links and a skeleton of `/etc`, packed as EROFS.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::tool::tool;
use super::{At, Error, input};
use crate::guid::Guid;
use crate::layout::{self, Arch};

/// What the root is made of.
#[derive(Debug)]
pub struct Root<'a> {
    /// The multicall binary.
    pub binary: &'a Path,
    /// Names of its applets, aliases included: what `coracle --list` printed.
    pub applets: &'a [String],
    /// Files copied as they are; executable files keep their execute bit.
    pub skeleton: &'a Path,
    /// The bundle of CA certificates (PEM) that TLS clients trust.
    pub certificates: &'a Path,
    /// Version of the OS.
    pub version: &'a str,
    /// For what it is built.
    pub arch: Arch,
    /// Modification time of every file, seconds of the Unix epoch.
    pub epoch: u32,
}

/// Mount points and folders that something expects, with their modes.
const FOLDERS: &[(&str, u32)] = &[
    ("boot", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("etc/ssl", 0o755),
    ("etc/ssl/certs", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/lib", 0o755),
    ("usr/share", 0o755),
    ("var", 0o755),
];

/// Links that make the merged `/usr`, and what programs look for.
const LINKS: &[(&str, &str)] = &[
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("sbin", "usr/bin"),
    ("usr/sbin", "bin"),
    ("etc/mtab", "../proc/self/mounts"),
    ("etc/os-release", "../usr/lib/os-release"),
];

/// Lay the tree out in the empty folder `dir`.
///
/// # Errors
/// When an input is missing or not what it should be, or `dir` cannot be written.
pub fn lay_out(root: &Root, dir: &Path) -> Result<(), Error> {
    for (name, _) in FOLDERS {
        fs::create_dir_all(dir.join(name)).at("create", &dir.join(name))?;
    }
    for (name, target) in LINKS {
        link(target, &dir.join(name))?;
    }
    copy(root.binary, &dir.join(layout::BINARY), 0o755)?;
    for applet in root.applets {
        check_applet(applet)?;
        link("coracle", &dir.join("usr/bin").join(applet))?;
    }
    copy_tree(root.skeleton, dir)?;
    copy(root.certificates, &dir.join("etc/ssl/certs/ca-certificates.crt"), 0o644)?;
    // Where OpenSSL's default looks.
    // The network is known after the start only: its clients write here.
    link("/run/coracle/resolv.conf", &dir.join("etc/resolv.conf"))?;
    link("certs/ca-certificates.crt", &dir.join("etc/ssl/cert.pem"))?;
    let release = dir.join("usr/lib/os-release");
    fs::write(&release, os_release(root)).at("write", &release)?;
    mode(&release, 0o644)?;
    // Last, so that a folder without write permission does not stop what goes into it.
    FOLDERS.iter().try_for_each(|(name, bits)| mode(&dir.join(name), *bits))
}

/// `os-release(5)`; the UKI carries it too, and systemd-boot sorts and names its menu by it.
pub fn os_release(root: &Root) -> String {
    let (version, arch) = (root.version, root.arch.systemd_name());
    format!(
        "NAME=Coracle\nID=coracle\nVERSION={version}\nVERSION_ID={version}\nIMAGE_ID=coracle\nIMAGE_VERSION={version}\n\
         PRETTY_NAME=\"Coracle {version}\"\nARCHITECTURE={arch}\n"
    )
}

/// Pack the tree at `dir` as the EROFS image `out`.
///
/// LZ4HC in clusters of 4 KiB: a program's start decompresses little more than it uses. Against clusters of 64 KiB, the boot spends a fifth
/// less and the image in RAM grows by 1.8 MB, but the initramfs, which is compressed once more, by only 2 %. Zstd, which
/// erofs-utils have since 1.8, is smaller yet and takes several times as long to read.
///
/// # Errors
/// When mkfs.erofs is missing or fails.
pub fn erofs(dir: &Path, out: &Path, root: &Root) -> Result<(), Error> {
    let uuid = Guid::derive(root.version, "root");
    tool("mkfs.erofs", "erofs-utils")
        .args(["-d1", "-x-1", "--all-root", "-zlz4hc,12", "-C4096", "-Eztailpacking"])
        .arg(format!("-T{}", root.epoch))
        .arg(format!("-U{uuid}"))
        .arg(out)
        .arg(dir)
        .run()?;
    Ok(())
}

/// A name from `--list` becomes a file name: it must be one.
fn check_applet(name: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+[".contains(&byte);
    if name.is_empty() || name.starts_with('.') || name == "coracle" || !name.bytes().all(plain) {
        return Err(input(Path::new(name), "is no name for an applet's link"));
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), Error> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(from).and_then(|dir| dir.map(|e| e.map(|e| e.path())).collect()).at("list", from)?;
    entries.sort_unstable();
    for source in entries {
        let Some(name) = source.file_name() else { continue };
        let target = to.join(name);
        let meta = fs::symlink_metadata(&source).at("examine", &source)?;
        if meta.is_dir() {
            fs::create_dir_all(&target).at("create", &target)?;
            mode(&target, 0o755)?;
            copy_tree(&source, &target)?;
        } else if meta.is_symlink() {
            link(fs::read_link(&source).at("read", &source)?, &target)?;
        } else {
            copy(&source, &target, if meta.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 })?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, bits: u32) -> Result<(), Error> {
    let mut source = fs::File::open(from).at("open", from)?;
    let mut target = fs::File::create_new(to).at("create", to)?;
    std::io::copy(&mut source, &mut target).at("write", to)?;
    mode(to, bits)
}

fn link(target: impl AsRef<Path>, at: &Path) -> Result<(), Error> {
    symlink(target, at).at("link", at)
}

fn mode(path: &Path, bits: u32) -> Result<(), Error> {
    fs::set_permissions(path, Permissions::from_mode(bits)).at("set the mode of", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root<'a>(dir: &'a Path, applets: &'a [String], paths: &'a [PathBuf; 3]) -> Root<'a> {
        fs::write(&paths[0], "binary").unwrap();
        fs::create_dir_all(paths[1].join("etc/init.d")).unwrap();
        fs::write(paths[1].join("etc/init.d/x"), "#!/bin/sh").unwrap();
        fs::set_permissions(paths[1].join("etc/init.d/x"), Permissions::from_mode(0o700)).unwrap();
        fs::write(&paths[2], "certificates").unwrap();
        assert!(dir.is_dir());
        Root {
            binary: &paths[0],
            applets,
            skeleton: &paths[1],
            certificates: &paths[2],
            version: "1.2.3",
            arch: Arch::X86_64,
            epoch: 1_700_000_000,
        }
    }

    fn paths(dir: &Path) -> [PathBuf; 3] {
        ["binary", "skeleton", "certificates"].map(|name| dir.join(name))
    }

    #[test]
    fn tree_has_binary_links_skeleton_and_modes() {
        let dir = tempfile::tempdir().unwrap();
        let (applets, paths) = (["[".to_owned(), "ls".to_owned()], paths(dir.path()));
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        lay_out(&root(dir.path(), &applets, &paths), &tree).unwrap();
        assert_eq!(fs::read_to_string(tree.join("sbin/ls")).unwrap(), "binary");
        assert_eq!(fs::read_link(tree.join("usr/bin/[")).unwrap(), Path::new("coracle"));
        let bits = |name: &str| fs::symlink_metadata(tree.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(bits("tmp"), 0o1777);
        assert_eq!(bits("etc/init.d/x"), 0o755);
        assert!(fs::read_to_string(tree.join("etc/os-release")).unwrap().contains("VERSION_ID=1.2.3\n"));
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in ["", "..", "../x", "a/b", "coracle", "a b"] {
            assert!(check_applet(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn two_erofs_images_of_a_tree_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (applets, paths) = (["ls".to_owned()], paths(dir.path()));
        let root = root(dir.path(), &applets, &paths);
        let images = ["a", "b"].map(|name| {
            let (tree, out) = (dir.path().join(name), dir.path().join(format!("{name}.erofs")));
            fs::create_dir(&tree).unwrap();
            lay_out(&root, &tree).unwrap();
            erofs(&tree, &out, &root).unwrap();
            fs::read(out).unwrap()
        });
        assert!(images[0] == images[1]);
    }
}
