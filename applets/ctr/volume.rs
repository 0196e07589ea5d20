//! `ctr volume`: volumes by name.

use std::io::{self, IsTerminal, Write};

use clap::Subcommand;
use serde_json::{Map, Value};

use super::filter::{self, Filter, Filters};
use super::format::{Inspector, Listing, Row, decimal_size};
use super::lifecycle::each;
use super::options_env::labels;
use super::prune;
use super::volumes::Volume;
use super::{Exit, events, names, volumes};

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
        /// Driver: local is the only one
        #[arg(short, long, default_value = "local", value_parser = ["local"])]
        driver: String,

        /// Set a label
        #[arg(long, value_name = "KEY[=VALUE]")]
        label: Vec<String>,

        /// Name; without one it is generated
        #[arg(value_parser = names::parse)]
        name: Option<String>,
    },
    /// Print all that is known of volumes
    Inspect {
        /// Print as `json`, or by a Go template
        #[arg(short, long, value_name = "FORMAT")]
        format: Option<String>,

        /// Volumes
        #[arg(required = true, value_name = "VOLUME")]
        names: Vec<String>,
    },
    /// List volumes
    #[command(visible_alias = "list")]
    Ls {
        /// Show those that meet a condition: dangling, driver, label, name
        #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter::parse)]
        filter: Vec<Filter>,

        /// Print as `table`, `table TEMPLATE`, `json` or a Go template
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,

        /// Print names only
        #[arg(short, long)]
        quiet: bool,
    },
    /// Remove volumes that no container has
    #[command(visible_alias = "remove")]
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

        /// Remove those that meet a condition: label, label!
        #[arg(long, value_name = "KEY=VALUE", value_parser = filter::parse)]
        filter: Vec<Filter>,

        /// Do not ask, as is done on a terminal
        #[arg(short, long)]
        force: bool,
    },
}

const LISTING: Listing<'_> = Listing {
    type_name: "*formatter.volumeContext",
    titles: &[
        ("Availability", "AVAILABILITY"),
        ("Driver", "DRIVER"),
        ("Group", "GROUP"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
    columns: r"{{.Driver}}\t{{.Name}}",
};

/// Do what was asked for.
pub fn volume(args: &Args) -> anyhow::Result<i32> {
    let mut out = io::stdout().lock();
    match &args.command {
        Command::Create { driver: _, label, name } => {
            let lock = volumes::lock()?;
            let name = match name {
                Some(name) => {
                    volumes::create(&lock, name, labels(Default::default(), label))?;
                    name.clone()
                }
                None => {
                    let name = names::new_id()?;
                    volumes::create_anonymous(&lock, &name, labels(Default::default(), label))?;
                    name
                }
            };
            tell("create", &name);
            writeln!(out, "{name}")?;
        }
        Command::Inspect { format, names } => return inspect(format.as_deref(), names),
        Command::Ls { filter, format, quiet } => {
            let filters = Filters::new(filter, &["dangling", "driver", "label", "label!", "name"])?;
            let format = if *quiet { Some("{{.Name}}") } else { format.as_deref() };
            list(&mut out, &filters, format)?;
        }
        Command::Rm { force, names } => {
            let lock = volumes::lock()?;
            return each(names, |name| {
                if !force || volumes::read(name).is_ok() {
                    volumes::remove(&lock, name)?;
                    tell("destroy", name);
                }
                Ok(())
            });
        }
        Command::Prune { all, filter, force } => {
            let filters = Filters::new(filter, &["label", "label!", "all"])?;
            let all = *all || filters.truth("all")? == Some(true);
            if !force && io::stdin().is_terminal() {
                let which = if all { "all" } else { "anonymous" };
                prune::confirm(
                    "volume",
                    &format!("WARNING! This will remove {which} local volumes not used by at least one container."),
                )?;
            }
            let pruned = prune::prune_volumes(all, &filters)?;
            prune::print("Deleted Volumes:", &pruned)?;
            writeln!(out, "Total reclaimed space: {}", decimal_size(pruned.bytes))?;
        }
    }
    Ok(0)
}

/// An event of a volume.
pub fn tell(action: &str, name: &str) {
    events::emit("volume", action, name, [("driver".to_owned(), "local".to_owned())].into());
}

/// What is not there is named, and the rest printed all the same.
fn inspect(format: Option<&str>, names: &[String]) -> anyhow::Result<i32> {
    let mut inspector = Inspector::new(format).map_err(|error| Exit { status: 64, error })?;
    let mut status = 0;
    for name in names {
        match volumes::read(name) {
            Ok(volume) => inspector.add(document(&volume)?)?,
            Err(error) => {
                eprintln!("ctr: {error:#}");
                status = 1;
            }
        }
    }
    inspector.finish()?;
    Ok(status)
}

/// All that is known of a volume.
pub fn document(volume: &Volume) -> anyhow::Result<Value> {
    let mut document = serde_json::to_value(volume)?;
    document["Options"] = Map::new().into();
    Ok(document)
}

fn list(out: &mut impl Write, filters: &Filters, format: Option<&str>) -> anyhow::Result<()> {
    let dangling = filters.truth("dangling")?;
    let mut rows = Vec::new();
    for volume in volumes::list()? {
        let is_used = || anyhow::Ok(!volumes::users(&volume.name)?.is_empty());
        let fits = filters.any("driver", |driver| *driver == volume.driver)
            && filters.any("name", |name| volume.name.contains(name.as_str()))
            && filters.labels(&volume.labels);
        if !fits || (dangling.is_some() && dangling == Some(is_used()?)) {
            continue;
        }
        let unknown = || String::from("N/A");
        let row = Row::new([
            ("Availability", unknown()),
            ("Driver", volume.driver.clone()),
            ("Group", unknown()),
            ("Links", unknown()),
            ("Mountpoint", volume.mountpoint.display().to_string()),
            ("Name", volume.name.clone()),
            ("Scope", volume.scope.clone()),
            ("Size", unknown()),
            ("Status", unknown()),
        ]);
        rows.push(row.with_labels(&volume.labels));
    }
    LISTING.print(out, format, &rows)
}
