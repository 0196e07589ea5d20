//! `ctr pull` and `ctr import`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use coracle_image_oci::{
    Credentials, Digest, Image, LayerState, Limits, Platform, Progress, PullOptions, Reference, Store,
};

use super::create::store;

/// `pull`.
#[derive(clap::Args)]
pub struct PullArgs {
    /// Print the image's id only
    #[arg(short, long)]
    quiet: bool,

    /// Demand HTTPS and a valid certificate; a registry on this machine need not have one
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    tls_verify: bool,

    /// Platform, as linux/arm64/v8
    #[arg(long)]
    platform: Option<Platform>,

    /// User and password for the registry
    #[arg(long, value_name = "USER:PASSWORD", value_parser = Credentials::parse)]
    creds: Option<Credentials>,

    /// Image, as NAME[:TAG][@DIGEST]
    image: String,
}

/// `import`.
#[derive(clap::Args)]
pub struct ImportArgs {
    /// Program that the image runs; repeat for its arguments
    #[arg(short, long, value_name = "ARG", allow_hyphen_values = true)]
    command: Vec<String>,

    /// Archive of a root file system (tar, plain or compressed), or - for standard input
    file: String,

    /// Name of the image
    image: Reference,
}

/// Pull an image.
pub fn run(args: &PullArgs) -> anyhow::Result<i32> {
    let mut options = PullOptions::default();
    options.registry.tls_verify = args.tls_verify;
    options.registry.credentials = args.creds.clone();
    if let Some(platform) = &args.platform {
        options.platform = platform.clone();
    }
    let image = if args.quiet {
        store()?.pull(&args.image.parse()?, &options, &coracle_image_oci::Silent)?
    } else {
        pull(&store()?, &args.image, &options)?
    };
    writeln!(io::stdout(), "{}", image.id())?;
    Ok(0)
}

/// Pull with a line on standard error for each step.
pub fn pull(store: &Store, image: &str, options: &PullOptions) -> anyhow::Result<Image> {
    let reference: Reference = image.parse()?;
    eprintln!("Pulling {reference}");
    let lines = Lines(Mutex::new(BTreeMap::new()));
    store.pull(&reference, options, &lines).with_context(|| format!("cannot pull {reference}"))
}

/// Import an archive.
pub fn import(args: &ImportArgs) -> anyhow::Result<i32> {
    let store = store()?;
    let mut source: Box<dyn Read + Send> = match args.file.as_str() {
        "-" => Box::new(io::stdin()),
        path => Box::new(File::open(path).with_context(|| format!("cannot open {path}"))?),
    };
    let image = store
        .import(&mut source, &args.image, &args.command, Limits::default())
        .with_context(|| format!("cannot import {}", args.file))?;
    writeln!(io::stdout(), "{}", image.id())?;
    Ok(0)
}

/// Tells by lines, or nothing.
pub fn lines(quiet: bool) -> Box<dyn Progress> {
    if quiet { Box::new(coracle_image_oci::Silent) } else { Box::new(Lines(Mutex::new(BTreeMap::new()))) }
}

/// Plain lines, each step of ten per cent once.
struct Lines(Mutex<BTreeMap<Digest, u64>>);

impl Progress for Lines {
    fn layer(&self, layer: &Digest, state: LayerState<'_>) {
        let short = layer.short();
        match state {
            LayerState::Present => eprintln!("{short}: already there"),
            LayerState::Waiting => eprintln!("{short}: another process fetches it; waiting"),
            LayerState::Retrying { reason } => eprintln!("{short}: trying again: {reason}"),
            LayerState::Done => eprintln!("{short}: done"),
            LayerState::Downloading { done, total } => {
                let step = (done * 10).checked_div(total).unwrap_or(10);
                let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if steps.insert(layer.clone(), step) != Some(step) {
                    eprintln!("{short}: {} of {} KiB", done >> 10, total >> 10);
                }
            }
        }
    }

    fn note(&self, text: &str) {
        eprintln!("{text}");
    }
}
