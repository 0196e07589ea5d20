//! The first network: loopback, and one interface by DHCP or as the kernel parameter `ip=` says.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use coracle_abi::netdev::NetDevice;

use crate::RUN;
use crate::console::say;
use crate::ipconfig::{IpConfig, Method};
use crate::machine::replace;
use crate::supervise::{Io, Restart, Unit};

/// How long `ready` waits for a lease.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits for a cable to be plugged in.
pub const CARRIER_PATIENCE: Duration = Duration::from_secs(3);

/// What is still to be done once the interfaces are up.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing, or nothing that can be waited for.
    Done,
    /// DHCP on this interface.
    Dhcp(String),
}

/// Bring up loopback and the interface; a static address is set at once.
pub fn bring_up(config: &IpConfig) -> Plan {
    if let Err(error) = NetDevice::new("lo").and_then(|lo| lo.set_up()) {
        say(&format!("coracle: cannot bring up lo: {error}"));
    }
    let Some(device) = config.device.clone().or_else(|| first_device(Path::new("/sys/class/net"))) else {
        return Plan::Done;
    };
    match configure(&device, config) {
        Ok(plan) => plan,
        Err(error) => {
            say(&format!("coracle: network: {error:#}"));
            Plan::Done
        }
    }
}

fn configure(device: &str, config: &IpConfig) -> anyhow::Result<Plan> {
    if config.method == Method::Off {
        return Ok(Plan::Done);
    }
    let link = NetDevice::new(device)?;
    if let Method::Static { address, netmask, .. } = &config.method {
        link.set_ipv4(*address, *netmask).with_context(|| format!("cannot give {device} the address {address}"))?;
    }
    link.set_up().with_context(|| format!("cannot bring up {device}"))?;
    let Method::Static { gateway, .. } = &config.method else {
        return Ok(Plan::Dhcp(device.into()));
    };
    if let Some(gateway) = gateway {
        link.add_default_route(*gateway).with_context(|| format!("cannot add the route by {gateway}"))?;
    }
    if !config.dns.is_empty() {
        write_resolv_conf(&config.dns).context("cannot write resolv.conf")?;
    }
    Ok(Plan::Done)
}

fn write_resolv_conf(servers: &[Ipv4Addr]) -> anyhow::Result<()> {
    let path = network_dir().with_file_name("resolv.conf");
    let text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    Ok(replace(&path, text.as_bytes(), 0o644)?)
}

/// The first interface, in order of names, that has hardware behind it.
fn first_device(class: &Path) -> Option<String> {
    let entries = fs::read_dir(class).ok()?.flatten().filter(|entry| entry.path().join("device").exists());
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).min()
}

/// The DHCP client for an interface.
#[must_use]
pub fn dhcp_client(device: &str) -> Unit {
    Unit {
        name: format!("udhcpc-{device}"),
        program: "/usr/bin/udhcpc".into(),
        arg0: None,
        args: ["-f", "-i", device].map(Into::into).into(),
        io: Io::Log,
        restart: Restart::Always,
    }
}

/// Where leases and resolver settings are.
#[must_use]
pub fn network_dir() -> PathBuf {
    Path::new(RUN).join("network")
}

/// Has the DHCP client got a lease?
#[must_use]
pub fn has_lease(device: &str) -> bool {
    network_dir().join(format!("{device}.json")).exists()
}

/// Is a cable plugged in?
#[must_use]
pub fn has_carrier(device: &str) -> bool {
    fs::read_to_string(format!("/sys/class/net/{device}/carrier")).is_ok_and(|text| text.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_device_with_hardware() {
        let class = tempfile::tempdir().unwrap();
        for name in ["lo", "eth1/device", "eth0/device", "br0"] {
            fs::create_dir_all(class.path().join(name)).unwrap();
        }
        assert_eq!(first_device(class.path()).as_deref(), Some("eth0"));
    }
}
