//! `ctr pull` and `ctr import`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use coracle_image_oci::{Credentials, DevicePolicy, Image, Platform, PullOptions, Reference, RegistryOptions, Store};

use super::build::change;
use super::create::store;
use super::progress::reporter;
use super::{events, time};
use coracle_cgroups::units::parse_size;
use serde_json::json;

/// What is let in from an image, wherever it comes from.
#[derive(clap::Args)]
pub struct Content {
    /// Platform, as linux/arm64/v8
    #[arg(long)]
    platform: Option<Platform>,

    /// Make the device nodes that layers hold, instead of refusing the image
    #[arg(long)]
    allow_devices: bool,

    /// File that says which images may come in, instead of /etc/containers/policy.json
    #[arg(long, value_name = "FILE")]
    signature_policy: Option<PathBuf>,

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
        options.policy.clone_from(&self.signature_policy);
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
    /// Pull all tags of the repository
    #[arg(short, long)]
    all_tags: bool,

    /// Print the image's name only
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
    /// Program that the image runs; repeat for its arguments. Or, as docker has it, an instruction: 'CMD ["sh"]'
    #[arg(short, long, value_name = "ARG", allow_hyphen_values = true)]
    command: Vec<String>,

    /// Change the image's configuration by a Containerfile's instruction
    #[arg(long, value_name = "INSTRUCTION")]
    change: Vec<String>,

    /// Comment on what is imported, for its history
    #[arg(short, long)]
    message: Option<String>,

    #[command(flatten)]
    content: Content,

    /// Archive of a root file system (tar, plain or compressed), or - for standard input
    file: String,

    /// Name of the image; without one it has its id only
    image: Option<Reference>,
}

/// Pull an image.
pub fn run(args: &PullArgs) -> anyhow::Result<i32> {
    let mut options = args.content.options();
    options.registry = args.registry.options();
    let reference: Reference = args.image.parse()?;
    let has_tag = args.image.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    let mut out = io::stdout();
    if args.all_tags {
        anyhow::ensure!(!has_tag, "tag can't be used with --all-tags/-a");
        let store = store()?;
        let tags = store.remote_tags(&reference, &options);
        for tag in tags.with_context(|| format!("cannot list the tags of {}", reference.name()))? {
            fetch(&store, &tag, &options, args.quiet, &mut out)?;
        }
        writeln!(out, "{}", reference.name())?;
        return Ok(0);
    }
    if !args.quiet && !has_tag {
        writeln!(out, "Using default tag: latest")?;
    }
    fetch(&store()?, &reference, &options, args.quiet, &mut out)?;
    writeln!(out, "{reference}")?;
    Ok(0)
}

/// Pull for `ctr run`, telling what is done on standard error.
pub fn pull(store: &Store, image: &str, options: &PullOptions, quiet: bool) -> anyhow::Result<Image> {
    let reference: Reference = image.parse()?;
    fetch(store, &reference, options, quiet, &mut io::stderr())
}

/// Pull, and say so in docker's words.
fn fetch(
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    quiet: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Image> {
    let before = store.resolve(&reference.to_string()).ok();
    if !quiet {
        let repository = if reference.registry() == "docker.io" {
            reference.repository().to_owned()
        } else {
            reference.familiar_name()
        };
        writeln!(out, "{}: Pulling from {repository}", reference.selector())?;
    }
    let pulled = store.pull(reference, options, &*reporter(quiet));
    let image = pulled.with_context(|| format!("cannot pull {reference}"))?;
    events::of_image("pull", image.id().to_string(), Some(reference));
    if quiet {
        return Ok(image);
    }
    let prefix = format!("{}@", reference.familiar_name());
    if let Some(digest) = image.digests().iter().find_map(|digest| digest.strip_prefix(&prefix)) {
        writeln!(out, "Digest: {digest}")?;
    }
    let is_new = before.is_none_or(|before| before.id() != image.id());
    let status = if is_new { "Downloaded newer image for" } else { "Image is up to date for" };
    writeln!(out, "Status: {status} {}", reference.familiar())?;
    Ok(image)
}

/// Import an archive.
pub fn import(args: &ImportArgs) -> anyhow::Result<i32> {
    let store = store()?;
    let mut source: Box<dyn Read + Send> = match args.file.as_str() {
        "-" => Box::new(io::stdin()),
        path => Box::new(File::open(path).with_context(|| format!("cannot open {path}"))?),
    };
    let comment = args.message.clone().unwrap_or_else(|| format!("Imported from {}", args.file));
    let now = time::now();
    let is_change = |text: &&String| text.split_once(' ').is_some_and(|(word, _)| change::CHANGES.contains(&word));
    let (changes, command): (Vec<_>, Vec<_>) = args.command.iter().partition(is_change);
    let mut image = change::apply_texts(serde_json::Map::new(), args.change.iter().chain(changes))?;
    if !command.is_empty() {
        image.entry("Cmd").or_insert(json!(command));
    }
    let config = json!({
        "created": now,
        "config": image,
        "history": [{ "created": now, "comment": comment }],
    });
    let image = store
        .import(&mut source, args.image.as_ref(), config, &args.content.options())
        .with_context(|| format!("cannot import {}", args.file))?;
    events::of_image("import", image.id().to_string(), args.image.as_ref());
    writeln!(io::stdout(), "{}", image.id())?;
    Ok(0)
}
