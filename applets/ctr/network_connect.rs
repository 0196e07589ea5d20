//! `ctr network connect` and `ctr network disconnect`: of a container that runs at once, of any for its next starts.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use anyhow::{bail, ensure};
use coracle_netns::namespace;

use super::network::{self, Place};
use super::network_options::{Target, parse_alias, parse_ip, parse_ip6};
use super::network_view;
use super::record::{self, Live, NetworkSettings, Record};
use super::{lifecycle, names};

/// `network connect`.
#[derive(clap::Args)]
pub struct ConnectArgs {
    /// Further name on the network
    #[arg(long, value_name = "NAME", value_parser = parse_alias)]
    alias: Vec<String>,

    /// IPv4 address
    #[arg(long, value_name = "ADDRESS", value_parser = parse_ip)]
    ip: Option<Ipv4Addr>,

    /// IPv6 address
    #[arg(long, value_name = "ADDRESS", value_parser = parse_ip6)]
    ip6: Option<Ipv6Addr>,

    /// The network with the highest number has the default route, at the next start
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_hyphen_values = true)]
    gw_priority: i64,

    /// Network
    #[arg(value_name = "NETWORK")]
    network: String,

    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// `network disconnect`.
#[derive(clap::Args)]
pub struct DisconnectArgs {
    /// Also where the network or the container is not there any more
    #[arg(short, long)]
    force: bool,

    /// Network
    #[arg(value_name = "NETWORK")]
    network: String,

    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Put a container on a further network.
pub fn connect(args: &ConnectArgs) -> anyhow::Result<()> {
    let id = record::resolve(&args.container)?;
    let payload = lifecycle::payload(&id)?;
    let view = network_view::find(&args.network)?;
    let mut record = Record::read(&id)?;
    let Some(network) = view.network else { bail!(mode_conflict(&view.name)) };
    ensure_movable(&record)?;
    ensure!(
        !record.network_settings.networks.contains_key(&network.name),
        "endpoint with name {} already exists in network {}",
        record.short_name(),
        network.name
    );
    let target = Target::connect(&network.name, &args.alias, args.ip, args.ip6, args.gw_priority);
    if !network.names {
        target.ensure_default()?;
    }
    let endpoint = target.endpoint(&network)?;
    record.network_settings.networks.insert(network.name.clone(), endpoint.clone());
    if record.host_config.network_mode == "none" {
        record.host_config.network_mode = network.name.clone();
    }
    if let Some(mut live) = Live::read(&id).filter(|_| payload.is_some()) {
        let space = namespace::of_process(live.pid)?;
        // Its ports are published where they were at its start.
        let place = Place { record: &record, space: space.as_fd(), pid: live.pid, ports: &[] };
        let attachment = place.attach(&network, &endpoint)?;
        network::add(&mut live.network, &network, &endpoint, &attachment);
        if let Err(error) = record_live(&id, &record, &live) {
            coracle_netns::detach(&network, &id)?;
            return Err(error);
        }
        network::names_changed(&[&network])?;
    }
    record.write()
}

/// Take a container off a network.
pub fn disconnect(args: &DisconnectArgs) -> anyhow::Result<()> {
    let id = record::resolve(&args.container)?;
    let payload = lifecycle::payload(&id)?;
    let name = match network_view::find(&args.network) {
        Ok(view) if view.network.is_some() => view.name,
        Ok(view) => bail!(mode_conflict(&view.name)),
        // Removed by hand: what the record says can still be undone.
        Err(_) if args.force => args.network.clone(),
        Err(error) => return Err(error),
    };
    let mut record = Record::read(&id)?;
    ensure_movable(&record)?;
    if record.network_settings.networks.remove(&name).is_none() {
        ensure!(args.force, "container {} is not connected to network {name}", names::short(&id));
    }
    if record.host_config.network_mode == name {
        let next = record.network_settings.networks.keys().next();
        record.host_config.network_mode = next.cloned().unwrap_or_else(|| "none".into());
    }
    // On record first: whatever happens from here on, the container is off the network at its next start.
    record.write()?;
    if let Some(network) = network::store().get(&name)? {
        coracle_netns::detach(&network, &id)?;
        if let Some(mut live) = Live::read(&id).filter(|_| payload.is_some()) {
            coracle_netns::attachment::restore_default_routes(&id)?;
            network::remove(&mut live.network, &name);
            record_live(&id, &record, &live)?;
        }
        network::names_changed(&[&network])?;
    }
    Ok(())
}

fn ensure_movable(record: &Record) -> anyhow::Result<()> {
    let mode = &record.host_config.network_mode;
    ensure!(
        !mode.starts_with("container:"),
        "container sharing network namespace with another container or host cannot be connected to any other network"
    );
    ensure!(mode != "host", mode_conflict("host"));
    Ok(())
}

fn mode_conflict(name: &str) -> String {
    format!("container cannot be disconnected from {name} network or connected to {name} network")
}

/// The payload may have ended meanwhile; then all this is undone with it.
fn record_live(id: &str, record: &Record, live: &Live) -> anyhow::Result<()> {
    ensure!(live.open()?.is_some(), "container {} is not running", record.short_name());
    live.write(id)?;
    write_files(record, &live.network)
}

fn write_files(record: &Record, settings: &NetworkSettings) -> anyhow::Result<()> {
    network::write_hosts(record, settings)
}
