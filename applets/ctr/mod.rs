//! `ctr`: images and containers in Docker's words.
//!
//! There is no daemon. Every subcommand works on files below the [`paths`] and on the one small monitor process that each
//! running container has. One file per subcommand or pair of subcommands; this file only lists them.

mod paths;
mod version;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::common;
use crate::registry::{Applet, Dir};

/// The applet.
pub const APPLET: Applet =
    Applet { name: "ctr", aliases: &[], dir: Dir::Bin, summary: "Run and manage containers and images", run };

/// Exit status when `ctr` itself failed, bad usage included, as Docker has it.
pub const ENGINE_FAILED: i32 = 125;

/// Run and manage containers and images.
#[derive(Parser)]
#[command(name = "ctr", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Version(version::Args),
}

fn run(args: &[OsString]) -> i32 {
    let cli = match common::parse::<Cli>(args, ENGINE_FAILED) {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    let result = match cli.command {
        Command::Version(args) => version::run(&args),
    };
    common::finish("ctr", result)
}
