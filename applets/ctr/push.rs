//! `ctr push`.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail, ensure};
use coracle_image_oci::{Digest, PushProgress, PushState, Reference, Store};

use super::create::store;
use super::events;
use super::pull::RegistryArgs;

/// `push`.
#[derive(clap::Args)]
pub struct PushArgs {
    /// Push all tags of the repository
    #[arg(short, long)]
    all_tags: bool,

    /// Print the image's name only
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    registry: RegistryArgs,

    /// Image, as NAME[:TAG]
    image: String,
}

/// Push an image.
pub fn push(args: &PushArgs) -> anyhow::Result<i32> {
    let name: Reference = args.image.parse()?;
    ensure!(name.digest().is_none(), "cannot push a digest reference");
    let has_tag = args.image.rsplit('/').next().is_some_and(|last| last.contains(':'));
    ensure!(!(args.all_tags && has_tag), "tag can't be used with --all-tags/-a");
    let store = store()?;
    let names = if args.all_tags { tags(&store, &name)? } else { vec![name.clone()] };
    let say = |text: &str| if args.quiet { Ok(()) } else { writeln!(io::stdout(), "{text}") };
    if !has_tag && !args.all_tags {
        say("Using default tag: latest")?;
    }
    say(&format!("The push refers to repository [{}]", name.name()))?;
    for name in &names {
        if store.images()?.iter().all(|image| !image.names().contains(name)) {
            bail!("An image does not exist locally with the tag: {}", name.familiar_name());
        }
        let lines = Lines { quiet: args.quiet, said: Mutex::default() };
        let pushed =
            store.push(name, &args.registry.options(), &lines).with_context(|| format!("cannot push {name}"))?;
        events::of_image("push", store.resolve(&name.to_string())?.id().to_string(), Some(name));
        say(&format!("{}: digest: {} size: {}", name.tag().unwrap_or_default(), pushed.digest, pushed.size))?;
    }
    if args.quiet {
        let printed = if args.all_tags { name.familiar_name() } else { name.to_string() };
        writeln!(io::stdout(), "{printed}")?;
    }
    Ok(0)
}

fn tags(store: &Store, repository: &Reference) -> anyhow::Result<Vec<Reference>> {
    let mut all = Vec::new();
    for image in store.images()? {
        let of = |name: &&Reference| name.name() == repository.name() && name.tag().is_some();
        all.extend(image.names().iter().filter(of).cloned());
    }
    all.sort();
    ensure!(!all.is_empty(), "An image does not exist locally with the tag: {}", repository.familiar_name());
    Ok(all)
}

/// A line for each layer and state, as docker prints where there is no terminal.
struct Lines {
    quiet: bool,
    said: Mutex<Vec<(Digest, u64)>>,
}

impl PushProgress for Lines {
    fn layer(&self, diff_id: &Digest, state: PushState<'_>) {
        if self.quiet {
            return;
        }
        let text = match state {
            PushState::Preparing => "Preparing".to_owned(),
            PushState::Exists => "Layer already exists".to_owned(),
            PushState::Mounted { from } => format!("Mounted from {from}"),
            PushState::Pushing { done, total } => {
                let step = (done * 10).checked_div(total).unwrap_or(10);
                let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
                if said.contains(&(diff_id.clone(), step)) {
                    return;
                }
                said.push((diff_id.clone(), step));
                format!("Pushing {} of {} KiB", done >> 10, total >> 10)
            }
            PushState::Retrying { reason } => format!("Retrying: {reason}"),
            PushState::Pushed => "Pushed".to_owned(),
        };
        // Progress that nobody can read is no reason to fail.
        let _ = writeln!(io::stdout(), "{}: {text}", diff_id.short());
    }
}
