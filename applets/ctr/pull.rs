//! `ctr pull` and `ctr import`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use coracle_image_oci::{Credentials, DevicePolicy, Image, Platform, PullOptions, Reference, RegistryOptions, Store};

use super::create::store;
use super::progress::reporter;
use coracle_cgroups::units::parse_size;

/// What is let in from an image, wherever it comes from.
#[derive(clap::Args)]
pub struct Content {
    /// Platform, as linux/arm64/v8
    #[arg(long)]
    platform: Option<Platform>,

    /// Make the device nodes that layers hold, instead of refusing the image
    #[arg(long)]
    allow_devices: bool,

    /// Most bytes that the image may unpack to, or with k, m, g [default: 64g]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
}

impl Content {
    /// The library's options, those about registries left at their defaults.
    pub fn options(&self) -> PullOptions {
        let mut options = PullOptions::default();
        if let Some(platform) = &self.platform {
            options.platform = platform.clone();
        }
        if self.allow_devices {
            options.devices = DevicePolicy::Create;
        }
        if let Some(bytes) = self.max_size {
            options.limits.bytes = bytes;
        }
        options
    }
}

/// How to talk to a registry.
#[derive(clap::Args)]
pub struct RegistryArgs {
    /// Demand HTTPS and a valid certificate; a registry on this machine need not have one
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    tls_verify: bool,

    /// User and password for the registry
    #[arg(long, value_name = "USER:PASSWORD", value_parser = Credentials::parse)]
    creds: Option<Credentials>,

    /// File of credentials, in the form of Docker's config.json, instead of the usual ones
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,

    /// How often a transfer that failed is tried again
    #[arg(long, value_name = "TIMES", default_value_t = 5)]
    retry: u32,

    /// Give up a connection that brings nothing for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    stall_timeout: u64,
}

impl RegistryArgs {
    /// The library's options.
    pub fn options(&self) -> RegistryOptions {
        RegistryOptions {
            tls_verify: self.tls_verify,
            credentials: self.creds.clone(),
            auth_file: self.authfile.clone(),
            retries: self.retry,
            stall_timeout: Duration::from_secs(self.stall_timeout),
            ..RegistryOptions::default()
        }
    }
}

/// `pull`.
#[derive(clap::Args)]
pub struct PullArgs {
    /// Print the image's id only
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    registry: RegistryArgs,

    #[command(flatten)]
    content: Content,

    /// Image, as NAME[:TAG][@DIGEST]
    image: String,
}

/// `import`.
#[derive(clap::Args)]
pub struct ImportArgs {
    /// Program that the image runs; repeat for its arguments
    #[arg(short, long, value_name = "ARG", allow_hyphen_values = true)]
    command: Vec<String>,

    #[command(flatten)]
    content: Content,

    /// Archive of a root file system (tar, plain or compressed), or - for standard input
    file: String,

    /// Name of the image
    image: Reference,
}

/// Pull an image.
pub fn run(args: &PullArgs) -> anyhow::Result<i32> {
    let mut options = args.content.options();
    options.registry = args.registry.options();
    let image = fetch(&store()?, &args.image, &options, args.quiet)?;
    writeln!(io::stdout(), "{}", image.id())?;
    Ok(0)
}

/// Pull for `ctr run`, telling what is done on standard error.
pub fn pull(store: &Store, image: &str, options: &PullOptions, quiet: bool) -> anyhow::Result<Image> {
    fetch(store, image, options, quiet)
}

fn fetch(store: &Store, image: &str, options: &PullOptions, quiet: bool) -> anyhow::Result<Image> {
    let reference: Reference = image.parse()?;
    if !quiet {
        eprintln!("Pulling {reference}");
    }
    store.pull(&reference, options, &*reporter(quiet)).with_context(|| format!("cannot pull {reference}"))
}

/// Import an archive.
pub fn import(args: &ImportArgs) -> anyhow::Result<i32> {
    let store = store()?;
    let mut source: Box<dyn Read + Send> = match args.file.as_str() {
        "-" => Box::new(io::stdin()),
        path => Box::new(File::open(path).with_context(|| format!("cannot open {path}"))?),
    };
    let image = store
        .import(&mut source, &args.image, &args.command, &args.content.options())
        .with_context(|| format!("cannot import {}", args.file))?;
    writeln!(io::stdout(), "{}", image.id())?;
    Ok(0)
}
