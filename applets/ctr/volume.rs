//! `ctr volume`: volumes by name.

use std::io::{self, Write};

use clap::Subcommand;

use super::options_env::labels;
use super::{list::Format, names, volumes};

/// `volume`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a volume; one that exists is left as it is
    Create {
        /// Set a label
        #[arg(long, value_name = "KEY[=VALUE]")]
        label: Vec<String>,

        /// Name; without one it is generated
        #[arg(value_parser = names::parse)]
        name: Option<String>,
    },
    /// Print all that is known of volumes
    Inspect {
        /// Volumes
        #[arg(required = true, value_name = "VOLUME")]
        names: Vec<String>,
    },
    /// List volumes
    Ls {
        /// Print names only
        #[arg(short, long)]
        quiet: bool,

        /// Print in another form than a table
        #[arg(long, value_enum, conflicts_with = "quiet")]
        format: Option<Format>,
    },
    /// Remove volumes that no container has
    Rm {
        /// One that does not exist is no error
        #[arg(short, long)]
        force: bool,

        /// Volumes
        #[arg(required = true, value_name = "VOLUME")]
        names: Vec<String>,
    },
    /// Remove anonymous volumes that no container has
    Prune {
        /// Also those with a name
        #[arg(short, long)]
        all: bool,
    },
}

/// Do what was asked for.
pub fn volume(args: &Args) -> anyhow::Result<i32> {
    let mut out = io::stdout().lock();
    match &args.command {
        Command::Create { label, name } => {
            let lock = volumes::lock()?;
            let name = match name {
                Some(name) => {
                    volumes::create(&lock, name, labels(Default::default(), label))?;
                    name.clone()
                }
                None => volumes::create_anonymous(&lock, labels(Default::default(), label))?.0,
            };
            writeln!(out, "{name}")?;
        }
        Command::Inspect { names } => {
            let all = names.iter().map(|name| volumes::read(name)).collect::<anyhow::Result<Vec<_>>>()?;
            writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        }
        Command::Ls { quiet, format } => list(&mut out, *quiet, *format)?,
        Command::Rm { force, names } => {
            let lock = volumes::lock()?;
            for name in names {
                if !force || volumes::read(name).is_ok() {
                    volumes::remove(&lock, name)?;
                    writeln!(out, "{name}")?;
                }
            }
        }
        Command::Prune { all } => {
            let lock = volumes::lock()?;
            volumes::remove_remains(&lock)?;
            for volume in volumes::list()? {
                if (*all || volume.is_anonymous()) && volumes::users(&volume.name)?.is_empty() {
                    volumes::remove(&lock, &volume.name)?;
                    writeln!(out, "{}", volume.name)?;
                }
            }
        }
    }
    Ok(0)
}

fn list(out: &mut impl Write, quiet: bool, format: Option<Format>) -> anyhow::Result<()> {
    if !quiet && format.is_none() {
        writeln!(out, "DRIVER    VOLUME NAME")?;
    }
    for volume in volumes::list()? {
        match format {
            Some(Format::Json) => writeln!(out, "{}", serde_json::to_string(&volume)?)?,
            None if quiet => writeln!(out, "{}", volume.name)?,
            None => writeln!(out, "local     {}", volume.name)?,
        }
    }
    Ok(())
}
