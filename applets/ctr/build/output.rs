//! `--output`: the files of the result, as a folder or as an archive, instead of an image.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Context as _;
use coracle_image_oci::{Marks, write_tree};

use super::copy::Target;
use super::tree::{Rules, open_folder};
use super::view::View;

/// Copy the result's files into a folder, which is made if it is not there.
///
/// # Errors
/// If something cannot be copied.
pub fn local(view: &View, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let tree = view.tree()?;
    let selection = tree.select(&[".".to_owned()], &Rules::default())?;
    let root = open_folder(folder)?;
    Target { root: root.as_fd(), owner: None, mode: None, replace: true }.copy(&tree, &selection, "/")
}

/// Write the result's files as an archive; nothing half-written keeps the name.
///
/// # Errors
/// If it cannot be written.
pub fn tar(view: &View, path: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = path else {
        let mut out = io::BufWriter::new(io::stdout().lock());
        write_tree(view.root(), Marks::Plain, &mut out)?;
        return Ok(out.flush()?);
    };
    let words = || format!("cannot write {}", path.display());
    let part = path.with_file_name(format!(
        ".{}.{}.part",
        path.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    ));
    let written = File::create(&part).with_context(words).and_then(|file| {
        let mut out = io::BufWriter::new(file);
        write_tree(view.root(), Marks::Plain, &mut out).with_context(words)?;
        out.flush().with_context(words)?;
        fs::rename(&part, path).with_context(words)
    });
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}
