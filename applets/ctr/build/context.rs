//! The context and the Containerfile: a folder, or what comes on standard input.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use coracle_image_oci::decompress::{self, Compression};
use coracle_image_oci::tarball::Archive;

use super::args::BuildArgs;
use super::ignore::Ignore;
use super::session::Session;
use super::tree::{Tree, open_folder};
use crate::archive::tar;

/// Longest Containerfile or ignore file.
const FILE_MAX: u64 = 8 << 20;
/// Names of a Containerfile, the first that is there counts.
const FILES: [&str; 2] = ["Dockerfile", "Containerfile"];
/// Names of an ignore file.
const IGNORE_FILES: [&str; 2] = [".containerignore", ".dockerignore"];

/// What a build is made from.
pub struct Context {
    /// The folder, and what of it may be used.
    pub tree: Tree,
    /// The Containerfile's name, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl Context {
    /// Find both.
    ///
    /// # Errors
    /// If one is missing, unreadable, or refused.
    pub fn open(args: &BuildArgs, session: &Session) -> anyhow::Result<Self> {
        let from_stdin = args.file.as_deref() == Some(Path::new("-"));
        let mut text = None;
        let dir = match args.context.as_str() {
            "-" => {
                ensure!(!from_stdin, "invalid argument: can't use stdin for both build context and dockerfile");
                let spool = spool(session)?;
                let dir = session.new_dir("context")?;
                if is_archive(&spool)? {
                    unpack(&spool, &dir)?;
                } else {
                    text = Some(read(File::open(&spool)?, "-")?);
                }
                dir
            }
            path if is_remote(path) => {
                bail!("unable to prepare context: {path}: contexts are not fetched; clone or download it first")
            }
            path => {
                fs::canonicalize(path).with_context(|| format!("unable to prepare context: path {path:?} not found"))?
            }
        };
        ensure!(dir.is_dir(), "unable to prepare context: {} is no folder", dir.display());
        let own = Tree::new(open_folder(&dir)?);
        let (name, text, beside) = match (text, &args.file) {
            (Some(text), _) => ("Dockerfile".into(), text, None),
            (None, Some(_)) if from_stdin => ("Dockerfile".into(), read(io::stdin(), "-")?, None),
            (None, Some(path)) => named(path, &own)?,
            (None, None) => {
                let found = FILES.iter().find_map(|name| own.open_file(Path::new(name)).ok().map(|file| (name, file)));
                let (name, file) =
                    found.context("failed to read dockerfile: open Dockerfile: no such file or directory")?;
                ((*name).into(), read(file, name)?, None)
            }
        };
        let ignore = ignore(&own, beside)?;
        Ok(Context { tree: Tree::with_ignore(open_folder(&dir)?, ignore), name, text })
    }
}

/// A further context: a folder, without what its ignore file names.
///
/// # Errors
/// If it cannot be opened, or its ignore file cannot be read.
pub fn further(folder: &Path) -> anyhow::Result<Tree> {
    let ignore = ignore(&Tree::new(open_folder(folder)?), None)?;
    Ok(Tree::with_ignore(open_folder(folder)?, ignore))
}

/// The file of `-f`: by its path, or in the context. An ignore file may lie beside it.
fn named(path: &Path, context: &Tree) -> anyhow::Result<(String, String, Option<String>)> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let shown = path.display().to_string();
    let beside = PathBuf::from(format!("{shown}.dockerignore"));
    match File::open(path) {
        Ok(file) => {
            let beside = File::open(&beside).ok().map(|file| read(file, "its .dockerignore")).transpose()?;
            Ok((name, read(file, &shown)?, beside))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_relative() => {
            let missing = || format!("failed to read dockerfile: open {shown}: no such file or directory");
            let file = context.open_file(path).with_context(missing)?;
            let beside = context.open_file(&beside).ok().map(|file| read(file, "its .dockerignore")).transpose()?;
            Ok((name, read(file, &shown)?, beside))
        }
        Err(error) => Err(error).with_context(|| format!("failed to read dockerfile: open {shown}")),
    }
}

fn ignore(context: &Tree, beside: Option<String>) -> anyhow::Result<Ignore> {
    if let Some(text) = beside {
        return Ignore::parse(&text).map_err(anyhow::Error::msg).context("the ignore file beside the Containerfile");
    }
    for name in IGNORE_FILES {
        if let Ok(file) = context.open_file(Path::new(name)) {
            return Ignore::parse(&read(file, name)?).map_err(anyhow::Error::msg).context(name);
        }
    }
    Ok(Ignore::default())
}

fn read(source: impl Read, name: &str) -> anyhow::Result<String> {
    let mut text = Vec::new();
    let words = || format!("failed to read dockerfile: cannot read {name}");
    source.take(FILE_MAX + 1).read_to_end(&mut text).with_context(words)?;
    ensure!(text.len() as u64 <= FILE_MAX, "{name} is too large for a Containerfile");
    String::from_utf8(text).with_context(|| format!("{name} is no text in UTF-8"))
}

fn is_remote(path: &str) -> bool {
    let schemes = ["http://", "https://", "git://", "ssh://", "git@", "github.com/"];
    schemes.iter().any(|scheme| path.starts_with(scheme)) && !Path::new(path).exists()
}

/// Standard input as a file.
fn spool(session: &Session) -> anyhow::Result<PathBuf> {
    let path = session.new_dir("stdin")?.join("data");
    let mut file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    io::copy(&mut io::stdin(), &mut file).context("cannot keep what comes on standard input")?;
    Ok(path)
}

/// Whether a file is a tar archive, plain or compressed in a way that can be read here.
///
/// # Errors
/// If it is compressed in another way.
pub fn is_archive(path: &Path) -> anyhow::Result<bool> {
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(8).read_to_end(&mut head))?;
    for (magic, name) in [(&b"BZh"[..], "bzip2"), (b"\xfd7zXZ\0", "xz")] {
        ensure!(
            !head.starts_with(magic),
            "archives that are compressed with {name} are not unpacked; use gzip or zstd"
        );
    }
    let file = io::BufReader::new(File::open(path)?);
    let Ok((compression, reader)) = decompress::reader(file) else { return Ok(false) };
    let first = Archive::new(io::BufReader::new(reader)).next_entry();
    Ok(match first {
        Ok(Some(_)) => true,
        // No members at all: an empty archive is blocks of zeros.
        Ok(None) => compression != Compression::Plain || head.starts_with(&[0; 8]),
        Err(_) => false,
    })
}

/// Unpack an archive into an empty folder, owners by number.
pub fn unpack(archive: &Path, folder: &Path) -> anyhow::Result<()> {
    let mut source = io::BufReader::new(File::open(archive)?);
    let is_whole =
        tar::unpack_into(open_folder(folder)?, &mut source, "ctr", true).context("cannot unpack the archive")?;
    ensure!(is_whole, "cannot unpack the archive");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_known_by_their_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for (bytes, expected) in [(&b"FROM scratch\n"[..], false), (&[0; 1024], true), (b"", false)] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(is_archive(&path).unwrap(), expected, "{bytes:?}");
        }
        fs::write(&path, b"\xfd7zXZ\0....").unwrap();
        assert!(is_archive(&path).unwrap_err().to_string().contains("xz"));
    }

    #[test]
    fn remote_contexts() {
        assert!(is_remote("https://example.com/x.git") && is_remote("git@host:x") && !is_remote("./github.com/x"));
    }
}
