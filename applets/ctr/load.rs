//! `ctr load` and `ctr tag`.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use anyhow::Context;
use coracle_image_oci::Reference;

use super::create::store;
use super::events;
use super::progress::reporter;
use super::pull::Content;

/// `load`.
#[derive(clap::Args)]
pub struct LoadArgs {
    /// Archive of `docker save`, or OCI layout (folder or archive), plain or compressed; standard input if not given
    #[arg(short, long)]
    input: Option<PathBuf>,

    /// Print the images' names only
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    content: Content,
}

/// `tag`.
#[derive(clap::Args)]
pub struct TagArgs {
    /// Image, by name or id
    image: String,

    /// The further name
    name: Reference,
}

/// Load images.
pub fn load(args: &LoadArgs) -> anyhow::Result<i32> {
    let store = store()?;
    let options = args.content.options();
    let progress = reporter(args.quiet);
    let loaded = match &args.input {
        Some(folder) if folder.is_dir() => store.load_layout(folder, &options, &*progress),
        Some(path) => {
            let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            store.load_archive(file, &options, &*progress)
        }
        None => store.load_archive(File::from(io::stdin().as_fd().try_clone_to_owned()?), &options, &*progress),
    };
    let mut said: Vec<String> = Vec::new();
    for image in loaded.context("cannot load")? {
        events::of_image("load", image.id().to_string(), image.names().first());
        said.extend(image.names().iter().map(|name| format!("Loaded image: {}", name.familiar())));
        if image.names().is_empty() {
            said.push(format!("Loaded image ID: {}", image.id()));
        }
    }
    // A layout names an image once for each tag.
    said.sort();
    said.dedup();
    said.iter().try_for_each(|line| writeln!(io::stdout(), "{line}"))?;
    Ok(0)
}

/// Give an image a further name.
pub fn tag(args: &TagArgs) -> anyhow::Result<i32> {
    let store = store()?;
    store.tag(&args.image, &args.name)?;
    events::of_image("tag", store.resolve(&args.name.to_string())?.id().to_string(), Some(&args.name));
    Ok(0)
}
