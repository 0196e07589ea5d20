//! `ctr save`.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use coracle_image_oci::{Reference, Selected, Store};
use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};

use super::create::store;
use super::events;

/// `save`.
#[derive(clap::Args)]
pub struct SaveArgs {
    /// Write to a file, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Images, by name or id; a repository without a tag stands for all its tags
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Write images as an archive.
pub fn save(args: &SaveArgs) -> anyhow::Result<i32> {
    let store = store()?;
    let images = select(&store, &args.images)?;
    match &args.output {
        Some(path) => write_whole(path, 0o666, |out| store.save(&images, out).context("cannot save"))?,
        None => {
            let out = io::stdout();
            ensure!(!out.is_terminal(), "cowardly refusing to save to a terminal. Use the -o flag or redirect");
            let mut out = BufWriter::with_capacity(256 << 10, out.lock());
            store.save(&images, &mut out).context("cannot save")?;
            out.flush().context("cannot write the archive")?;
        }
    }
    images.iter().for_each(|saved| events::of_image("save", saved.image.id().to_string(), saved.names.first()));
    Ok(0)
}

/// The images that are meant, each once, with the names that were asked for.
fn select(store: &Store, wanted: &[String]) -> anyhow::Result<Vec<Selected>> {
    let mut all: Vec<Selected> = Vec::new();
    for text in wanted {
        let found = match repository(text) {
            Some(repository) => tags_of(store, &repository)?,
            None => Vec::new(),
        };
        let found = if found.is_empty() {
            let image = store.resolve(text)?;
            let name = text.parse::<Reference>().ok().filter(|name| image.names().contains(name));
            vec![Selected { image, names: name.into_iter().collect() }]
        } else {
            found
        };
        for Selected { image, names } in found {
            match all.iter_mut().find(|known| known.image.id() == image.id()) {
                Some(known) => known.names.extend(names),
                None => all.push(Selected { image, names }),
            }
        }
    }
    for selected in &mut all {
        selected.names.sort();
        selected.names.dedup();
    }
    Ok(all)
}

/// A name without tag or digest.
fn repository(text: &str) -> Option<String> {
    let has_tag = text.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    text.parse::<Reference>().ok().filter(|_| !has_tag).map(|reference| reference.name())
}

fn tags_of(store: &Store, repository: &str) -> anyhow::Result<Vec<Selected>> {
    let mut all = Vec::new();
    for image in store.images()? {
        let of = |name: &&Reference| name.name() == repository && name.tag().is_some();
        let names: Vec<Reference> = image.names().iter().filter(of).cloned().collect();
        if !names.is_empty() {
            all.push(Selected { image, names });
        }
    }
    Ok(all)
}

/// Write a file that takes its name when it is complete; what is no regular file is written into. `mode`: of a new file, less the
/// umask. `write` may enter another mount namespace, where the path would mean something else.
pub fn write_whole(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let creating = || format!("cannot create {}", path.display());
    let is_special = match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => bail!("invalid output path: {} is a directory", path.display()),
        Ok(meta) => !meta.is_file(),
        Err(_) => false,
    };
    if is_special {
        let mut out = BufWriter::new(File::options().write(true).open(path).with_context(creating)?);
        write(&mut out)?;
        return out.flush().with_context(creating);
    }
    let name = path.file_name().with_context(creating)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = File::open(dir).with_context(creating)?;
    let part = format!(".ctr-{}.part", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&dir, &part, flags, Mode::from_raw_mode(mode)).with_context(creating)?;
    let whole = || -> anyhow::Result<()> {
        let mut out = BufWriter::with_capacity(256 << 10, File::from(file));
        write(&mut out)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error).with_context(creating)?;
        file.sync_all().with_context(creating)?;
        renameat(&dir, &part, &dir, name).with_context(creating)
    };
    let written = whole();
    if written.is_err() {
        let _ = unlinkat(&dir, &part, AtFlags::empty());
    }
    written
}
