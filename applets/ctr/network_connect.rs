//! `ctr network connect` and `ctr network disconnect`: of a container that runs at once, of any for its next starts.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use anyhow::{bail, ensure};
use coracle_netns::{Network, dns, namespace};

use super::network::{self, Place};
use super::network_options::{Target, parse_alias, parse_ip, parse_ip6};
use super::network_view;
use super::record::{self, Endpoint, Live, Record};
use super::{lifecycle, name_server, names};

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
    let runs = lifecycle::payload(&id)?.is_some();
    let view = network_view::find(&args.network)?;
    let Some(network) = view.network else { bail!(mode_conflict(&view.name)) };
    let mut joined = false;
    // Whoever else changes its networks waits, on record and live.
    let changed = Record::change(&id, |record| {
        let before = record.clone();
        ensure_movable(record)?;
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
        if let Some(live) = Live::read(&id).filter(|_| runs) {
            joined = true;
            join(record, live, &network, &endpoint)?;
            network::rewrite_resolv_conf(&before, record)?;
        }
        Ok(())
    });
    if joined && changed.is_err() {
        // It is not on record, nor is it to be there until its end, with which the rest goes.
        let _ = leave(&id, &network, true);
    }
    changed.map(drop)
}

/// Put a running container on a network.
fn join(record: &Record, mut live: Live, network: &Network, endpoint: &Endpoint) -> anyhow::Result<()> {
    let space = namespace::of_process(live.pid)?;
    // Its ports are published where they were at its start.
    let place = Place { record, space: space.as_fd(), pid: live.pid, ports: &[] };
    let attachment = place.attach(network, endpoint)?;
    network::add(&mut live.network, network, endpoint, &attachment);
    if network.names {
        name_server::summon(&record.id)?;
    }
    record_live(record, &live)
}

/// Take a container off a network, where it runs.
fn leave(id: &str, network: &Network, runs: bool) -> anyhow::Result<()> {
    coracle_netns::detach(network, id)?;
    if let Some(mut live) = Live::read(id).filter(|_| runs) {
        coracle_netns::attachment::restore_default_routes(id)?;
        network::remove(&mut live.network, &network.name);
        record_live(&Record::read(id)?, &live)?;
    }
    Ok(dns::settle()?)
}

/// Take a container off a network.
pub fn disconnect(args: &DisconnectArgs) -> anyhow::Result<()> {
    let id = record::resolve(&args.container)?;
    let runs = lifecycle::payload(&id)?.is_some();
    let name = match network_view::find(&args.network) {
        Ok(view) if view.network.is_some() => view.name,
        Ok(view) => bail!(mode_conflict(&view.name)),
        // Removed by hand: what the record says can still be undone.
        Err(_) if args.force => args.network.clone(),
        Err(error) => return Err(error),
    };
    let changed = Record::change(&id, |record| {
        let before = record.clone();
        ensure_movable(record)?;
        if record.network_settings.networks.remove(&name).is_none() {
            ensure!(args.force, "container {} is not connected to network {name}", names::short(&id));
        }
        if record.host_config.network_mode == name {
            let next = record.network_settings.networks.keys().next();
            record.host_config.network_mode = next.cloned().unwrap_or_else(|| "none".into());
        }
        if let Some(network) = network::store().get(&name)? {
            leave(&id, &network, runs)?;
            if runs {
                network::rewrite_resolv_conf(&before, record)?;
            }
        }
        Ok(())
    });
    changed.map(drop)
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
fn record_live(record: &Record, live: &Live) -> anyhow::Result<()> {
    ensure!(live.open()?.is_some(), "container {} is not running", record.id);
    live.write(&record.id)?;
    network::write_hosts(record, &live.network)
}
