//! `ctr build`: images from Containerfiles, and `ctr builder`.
//!
//! A Containerfile is parsed ([`containerfile`]) and its stages are built one after another ([`builder`], [`steps`]). A step that may
//! change files works on an overlay of the layers so far ([`view`]); what it leaves in the upper directory becomes a layer of the image
//! store. Its result is kept by the digest of all that goes into it ([`cache`]): the layers below, the instruction, the content of
//! files. The whole build is one process with a working directory, a lock and a mount namespace of its own ([`session`]).

mod add;
mod args;
mod builder;
mod cache;
pub mod change;
mod config;
pub mod containerfile;
mod context;
mod copy;
mod digest;
mod download;
mod epoch;
mod ignore;
mod mode;
mod mounts;
mod output;
mod owner;
pub mod pattern;
mod progress;
mod run;
mod secrets;
mod session;
mod steps;
mod stubs;
mod tree;
mod view;

use std::io::{self, Write};

use anyhow::Context as _;
use coracle_image_oci::{Image, Store};

pub use args::BuildArgs;
use args::{Output, ProgressMode};
use builder::{Builder, Done, check_platform};
pub use cache::{layers as cached_layers, usage as cached};
use containerfile::File;
use context::Context;
use progress::Progress;
use session::Session;
use view::View;

use super::format::decimal_size;
use super::prune::{self, Pruned};
use super::rmi::InUse;
use super::{ENGINE_FAILED, Exit, create, reaper};
use crate::runtime;

/// `builder`.
#[derive(clap::Args)]
pub struct BuilderArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Build an image from a Containerfile
    Build(Box<BuildArgs>),
    /// Forget what steps of builds have come to, and remove the layers that no image needs
    Prune {
        /// Do not ask
        #[arg(short, long)]
        force: bool,

        /// Also the directories of RUN --mount=type=cache
        #[arg(short, long)]
        all: bool,
    },
}

/// Builds and their cache.
pub fn builder(args: &BuilderArgs) -> anyhow::Result<i32> {
    match &args.command {
        Command::Build(args) => build(args),
        Command::Prune { force, all } => prune(*force, *all),
    }
}

/// Build an image.
pub fn build(args: &BuildArgs) -> anyhow::Result<i32> {
    // What is wrong with them is said before anything is done.
    let host = args.run.host_config(&run::network_of(None, &args.run.network)).map_err(wrong_usage)?;
    super::limits::check(&host).map_err(wrong_usage)?;
    if let Some(platform) = &args.platform {
        check_platform(platform)?;
    }
    runtime::seal_self()?;
    reaper::sweep_live()?;
    session::run(|session| {
        Ok(match begin(args, session) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("ERROR: failed to build: failed to solve: {error:#}");
                1
            }
        })
    })
}

/// Docker's exit status for options that cannot be honoured.
fn wrong_usage(error: anyhow::Error) -> anyhow::Error {
    Exit { status: ENGINE_FAILED, error }.into()
}

fn begin(args: &BuildArgs, session: &Session) -> anyhow::Result<()> {
    let store = create::store()?;
    // What steps have made stays until the image has it.
    let _hold = store.hold()?;
    cache::expire()?;
    let mut progress = Progress::new(args.quiet || args.progress == ProgressMode::Quiet);
    let context = Context::open(args, session)?;
    progress.begin(&format!("[internal] load build definition from {}", context.name)).done();
    let file = File::parse(&context.text)?;
    let mut builder = Builder::new(args, &store, session, &context, &file, progress)?;
    let mut done = builder.build()?;
    let unconsumed = builder.unconsumed();
    if !unconsumed.is_empty() && !args.quiet {
        eprintln!("[Warning] One or more build-args [{}] were not consumed", unconsumed.join(" "));
    }
    for label in &args.label {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        done.config.set_label(key, value);
    }
    export(args, &store, session, &mut builder, &done)
}

/// Give the result to whom it was asked for.
fn export(
    args: &BuildArgs,
    store: &Store,
    session: &Session,
    builder: &mut Builder<'_>,
    done: &Done,
) -> anyhow::Result<()> {
    let files =
        |what: &dyn Fn(&View) -> anyhow::Result<()>| what(&View::mount(session, &store.layer_paths(&done.layers)?)?);
    match &args.output {
        Some(Output::Local(folder)) => {
            let vertex = builder.begin("exporting to client directory");
            files(&|view| output::local(view, folder))?;
            vertex.done();
        }
        Some(Output::Tar(path)) => {
            let vertex = builder.begin("exporting to client tarball");
            files(&|view| output::tar(view, path.as_deref()))?;
            vertex.done();
        }
        other => {
            let mut names = args.tag.clone();
            if let Some(Output::Image(more)) = other {
                names.extend(more.iter().cloned());
            }
            let vertex = builder.begin("exporting to image");
            let image = store.create_image(document(builder, done)?, &done.layers, &names)?;
            vertex.say(&format!("writing image {} done", image.id()));
            names.iter().for_each(|name| vertex.say(&format!("naming to {name} done")));
            vertex.done();
            tell(args, &image)?;
        }
    }
    Ok(())
}

/// The image's document. One that has no date of its own is dated now, and the same the next time.
fn document(builder: &Builder<'_>, done: &Done) -> anyhow::Result<serde_json::Value> {
    let mut config = done.config.clone();
    let mut now = builder.now();
    if config.is_undated() && builder.epoch.is_none() {
        let mut key = digest::Key::default();
        key.add("image").add(config.document().to_string());
        let key = key.add_all(done.layers.iter().map(|layer| layer.diff_id.hex())).finish();
        match cache::get(builder.store, &key) {
            Some(record) => now = record.created,
            None => cache::put(&key, &cache::Record::new(None, &now, "image"))?,
        }
    }
    config.date(&now);
    Ok(config.document().clone())
}

fn tell(args: &BuildArgs, image: &Image) -> anyhow::Result<()> {
    if let Some(path) = &args.iidfile {
        super::files::write(path, image.id().to_string().as_bytes(), super::files::Durability::Volatile)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.metadata_file {
        let names: Vec<String> = image.names().iter().map(ToString::to_string).collect();
        let metadata = serde_json::json!({
            "containerimage.config.digest": image.id().to_string(),
            "containerimage.digest": image.manifest().to_string(),
            "image.name": names.join(","),
        });
        super::files::write(path, format!("{metadata:#}").as_bytes(), super::files::Durability::Volatile)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.quiet {
        writeln!(io::stdout(), "{}", image.id())?;
    }
    Ok(())
}

fn prune(force: bool, all: bool) -> anyhow::Result<i32> {
    if !force {
        let what = if all { "all build cache, and what RUN --mount=type=cache keeps" } else { "all build cache" };
        prune::confirm("builder", &format!("WARNING! This will remove {what}."))?;
    }
    let pruned = prune_cache(all)?;
    prune::print("Deleted build cache objects:", &pruned)?;
    writeln!(io::stdout(), "Total reclaimed space: {}", decimal_size(pruned.bytes))?;
    Ok(0)
}

/// Forget what steps have come to, and with `mounts` what RUN --mount=type=cache keeps.
pub fn prune_cache(mounts: bool) -> anyhow::Result<Pruned> {
    let store = create::store()?;
    let alone = store.alone()?;
    cache::clear()?;
    if mounts {
        mounts::clear()?;
    }
    let collected = alone.collect(&InUse::find()?.layers())?;
    let lines = collected.layers.iter().map(|layer| layer.hex().to_owned()).collect();
    Ok(Pruned { lines, bytes: collected.bytes })
}
