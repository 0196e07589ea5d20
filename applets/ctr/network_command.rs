//! `ctr network`: networks by name.

use std::io::{self, Write};

use clap::Subcommand;

use super::filter::{self, Filter, Filters};
use super::format::{Inspector, Listing, Row};
use super::network_connect::{self, ConnectArgs, DisconnectArgs};
use super::network_create::{self, CreateArgs};
use super::network_view::{self, View};
use super::{Exit, names, network, prune, reaper};

/// `network`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put a container on a network
    Connect(ConnectArgs),
    /// Make a network
    Create(CreateArgs),
    /// Take a container off a network
    Disconnect(DisconnectArgs),
    /// Print all that is known of networks
    Inspect {
        /// Print as `json`, or by a Go template
        #[arg(short, long, value_name = "FORMAT")]
        format: Option<String>,

        /// Docker's word for more of a swarm's networks, which there are none of here
        #[arg(short, long)]
        verbose: bool,

        /// Networks, by name or id
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<String>,
    },
    /// List networks
    #[command(visible_alias = "list")]
    Ls {
        /// Print ids only
        #[arg(short, long)]
        quiet: bool,

        /// Print whole ids
        #[arg(long)]
        no_trunc: bool,

        /// Print as a `table`, as `json`, or by a Go template
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,

        /// Only networks of a driver, id, name, label, scope or type (custom, builtin), or dangling=BOOL
        #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter::parse)]
        filter: Vec<Filter>,
    },
    /// Remove networks that no running container is on
    Prune {
        /// Do not ask
        #[arg(short, long)]
        force: bool,

        /// Only networks made before a time, `until`, or with a `label`
        #[arg(long, value_name = "KEY=VALUE", value_parser = filter::parse)]
        filter: Vec<Filter>,
    },
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm {
        /// One that does not exist is no error
        #[arg(short, long)]
        force: bool,

        /// Networks, by name or id
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<String>,
    },
}

/// Do what was asked for.
pub fn network(args: &Args) -> anyhow::Result<i32> {
    let mut out = io::stdout().lock();
    match &args.command {
        Command::Connect(args) => network_connect::connect(args)?,
        Command::Create(args) => writeln!(out, "{}", network_create::create(args)?)?,
        Command::Disconnect(args) => network_connect::disconnect(args)?,
        Command::Inspect { format, names, .. } => return inspect(format.as_deref(), names),
        Command::Ls { quiet, no_trunc, format, filter } => {
            list(&mut out, *quiet, *no_trunc, format.as_deref(), filter)?;
        }
        Command::Prune { force, filter } => prune(*force, filter)?,
        Command::Rm { force, names } => return remove(&mut out, *force, names),
    }
    Ok(0)
}

const LISTING: Listing<'_> = Listing {
    type_name: "*network.networkContext",
    titles: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    columns: r"{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
};

fn inspect(format: Option<&str>, names: &[String]) -> anyhow::Result<i32> {
    let mut inspector = Inspector::new(format).map_err(|error| Exit { status: 64, error })?;
    reaper::sweep_live()?;
    let mut status = 0;
    for name in names {
        match network_view::find(name).and_then(|view| view.document()) {
            Ok(document) => inspector.add(document)?,
            Err(error) => {
                eprintln!("ctr: {error:#}");
                status = 1;
            }
        }
    }
    inspector.finish()?;
    Ok(status)
}

fn list(
    out: &mut impl Write,
    quiet: bool,
    no_trunc: bool,
    format: Option<&str>,
    filter: &[Filter],
) -> anyhow::Result<()> {
    let known = ["driver", "id", "name", "label", "scope", "type", "dangling"];
    let filters = Filters::new(filter, &known)?;
    let mut all = network_view::all()?;
    let dangling = filters.truth("dangling")?;
    let mut kept = Vec::new();
    for view in all.drain(..) {
        let kind = if network_view::is_predefined(&view.name) { "builtin" } else { "custom" };
        let fits = filters.any("driver", |driver| driver == view.driver)
            && filters.any("scope", |scope| scope == "local")
            && filters.any("type", |wanted| wanted == kind)
            && filters.matches("id", &[&view.id])
            && filters.matches("name", &[&view.name])
            && filters.labels(&view.labels());
        // Predefined ones are never dangling, nor the opposite: as with Docker they are left out of both.
        let fits = fits
            && match dangling {
                Some(wanted) => kind == "custom" && view.containers()?.is_empty() == wanted,
                None => true,
            };
        if fits {
            kept.push(view);
        }
    }
    let id = |view: &View| if no_trunc { view.id.clone() } else { names::short(&view.id).to_owned() };
    if quiet && format.is_none() {
        return kept.iter().try_for_each(|view| Ok(writeln!(out, "{}", id(view))?));
    }
    let rows: Vec<Row> = kept.iter().map(|view| row(view, id(view))).collect();
    LISTING.print(out, format, &rows)
}

fn row(view: &View, id: String) -> Row {
    Row::new([
        ("ID", id),
        ("Name", view.name.clone()),
        ("Driver", view.driver.into()),
        ("Scope", "local".into()),
        ("IPv4", "true".into()),
        ("IPv6", view.has_ipv6().to_string()),
        ("Internal", view.is_internal().to_string()),
        ("CreatedAt", view.created()),
    ])
    .with_labels(&view.labels())
}

/// Every one is tried; what cannot be removed is named.
fn remove(out: &mut impl Write, force: bool, names: &[String]) -> anyhow::Result<i32> {
    reaper::sweep_live()?;
    let mut status = 0;
    for name in names {
        match remove_one(name) {
            Ok(()) => writeln!(out, "{name}")?,
            Err(error) => {
                let absent = matches!(error.downcast_ref(), Some(coracle_netns::Error::NoSuchNetwork(_)));
                if !(force && absent) {
                    eprintln!("ctr: {error:#}");
                    status = 1;
                }
            }
        }
    }
    Ok(status)
}

fn remove_one(name: &str) -> anyhow::Result<()> {
    let view = network_view::find(name)?;
    let Some(network) = view.network.filter(|_| !network_view::is_predefined(&view.name)) else {
        anyhow::bail!("{} is a pre-defined network and cannot be removed", view.name);
    };
    match network::store().remove(&network) {
        Err(coracle_netns::Error::NetworkInUse { .. }) => {
            anyhow::bail!(
                "error while removing network: network {} has active endpoints ({})",
                network.name,
                users(&network)?
            )
        }
        removed => Ok(removed?),
    }
}

/// `name:"web" id:"0123456789ab"`, as Docker names who is in the way.
fn users(network: &coracle_netns::Network) -> anyhow::Result<String> {
    let containers = View::from(network.clone()).containers()?;
    let each = containers.iter().map(|(id, value)| {
        format!("name:\"{}\" id:\"{}\"", value["Name"].as_str().unwrap_or_default(), names::short(id))
    });
    Ok(each.collect::<Vec<_>>().join(", "))
}

fn prune(force: bool, filter: &[Filter]) -> anyhow::Result<()> {
    let filters = Filters::new(filter, &["label", "label!", "until"])?;
    if !force {
        prune::confirm("network", "WARNING! This will remove all custom networks not used by at least one container.")?;
    }
    prune::print("Deleted Networks:", &prune::prune_networks(&filters)?)
}
