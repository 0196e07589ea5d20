//! `ctr port`: where a container's ports are published.

use std::io::{self, Write};

use anyhow::{Context, bail};

use super::reaper;
use super::record::{self, HostPort, Record};

/// `port`.
#[derive(clap::Args)]
pub struct Args {
    /// Container, by name or id
    container: String,

    /// One of its ports
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

/// Print where ports are published.
pub fn port(args: &Args) -> anyhow::Result<i32> {
    let id = record::resolve(&args.container)?;
    reaper::sweep(&id)?;
    let ports = Record::load(&id)?.network_settings.ports;
    let mut out = io::stdout().lock();
    let address = |host: &HostPort| match host.host_ip.contains(':') {
        true => format!("[{}]:{}", host.host_ip, host.host_port),
        false => format!("{}:{}", host.host_ip, host.host_port),
    };
    let Some(wanted) = &args.port else {
        for (port, hosts) in &ports {
            hosts.iter().try_for_each(|host| writeln!(out, "{port} -> {}", address(host)))?;
        }
        return Ok(0);
    };
    let (number, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    number.parse::<u16>().ok().with_context(|| format!("invalid port {wanted:?}"))?;
    let port = format!("{number}/{protocol}");
    match ports.get(&port).filter(|hosts| !hosts.is_empty()) {
        Some(hosts) => hosts.iter().try_for_each(|host| writeln!(out, "{}", address(host)))?,
        None => bail!("no public port '{port}' published for {}", args.container),
    }
    Ok(0)
}
