//! `--output`: the files of the result, as a folder or as an archive, instead of an image.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Context as _;
use coracle_image_oci::{Marks, write_tree};

use super::super::save::write_whole;
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
    write_whole(path, 0o666, |out| Ok(write_tree(view.root(), Marks::Plain, out)?))
}
