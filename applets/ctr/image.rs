//! `ctr image`: all about images, under one word.

use clap::Subcommand;

use super::{build, history, image_inspect, images, load, prune, pull, push, rmi, save};

/// `image`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build an image from a Containerfile
    Build(Box<build::BuildArgs>),
    /// Print how an image was made
    History(history::HistoryArgs),
    /// Make an image of an archive of a root file system
    Import(pull::ImportArgs),
    /// Print all that is known of images
    Inspect(image_inspect::InspectArgs),
    /// Load images of docker save, or of an OCI layout
    Load(load::LoadArgs),
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::ImagesArgs),
    /// Remove images that nothing uses
    Prune(prune::ImagePruneArgs),
    /// Fetch an image from a registry
    Pull(pull::PullArgs),
    /// Put an image into a registry
    Push(push::PushArgs),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(rmi::RmiArgs),
    /// Write images as an archive
    Save(save::SaveArgs),
    /// Give an image a further name
    Tag(load::TagArgs),
}

/// Do what was asked for.
pub fn image(args: &Args) -> anyhow::Result<i32> {
    match &args.command {
        Command::Build(args) => build::build(args),
        Command::History(args) => history::history(args),
        Command::Import(args) => pull::import(args),
        Command::Inspect(args) => image_inspect::inspect(args),
        Command::Load(args) => load::load(args),
        Command::Ls(args) => images::images(args),
        Command::Prune(args) => prune::images(args),
        Command::Pull(args) => pull::run(args),
        Command::Push(args) => push::push(args),
        Command::Rm(args) => rmi::rmi(args),
        Command::Save(args) => save::save(args),
        Command::Tag(args) => load::tag(args),
    }
}
