//! Options of `ctr run` about networks: `--network` and what goes with it, in Docker's short and long forms.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{bail, ensure};
use coracle_netns::link::MacAddress;

use super::record::{Endpoint, Record};
use super::record_network::IpamConfig;
use super::{lifecycle, network, record};

/// Where a container is plugged in.
#[derive(clap::Args, Clone, Default)]
pub struct NetworkOptions {
    /// Network: bridge, host, none, container:NAME, or one of `ctr network`, also as name=NAME,alias=A,ip=IP,ip6=IP,mac-address=MAC
    #[arg(long, visible_alias = "net", value_name = "NETWORK", value_parser = parse_target)]
    network: Vec<Target>,

    /// Further name on the network
    #[arg(long, visible_alias = "net-alias", value_name = "NAME", value_parser = parse_alias)]
    network_alias: Vec<String>,

    /// IPv4 address
    #[arg(long, value_name = "ADDRESS", value_parser = parse_ip)]
    ip: Option<Ipv4Addr>,

    /// IPv6 address
    #[arg(long, value_name = "ADDRESS", value_parser = parse_ip6)]
    ip6: Option<Ipv6Addr>,

    /// Hardware address
    #[arg(long, value_name = "MAC", value_parser = parse_mac)]
    mac_address: Option<MacAddress>,
}

/// One `--network`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    name: String,
    aliases: Vec<String>,
    ip: Option<Ipv4Addr>,
    ip6: Option<Ipv6Addr>,
    mac: Option<MacAddress>,
    driver_opts: BTreeMap<String, String>,
    gw_priority: i64,
}

/// What a container's record says of its networks.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// `HostConfig.NetworkMode`.
    pub mode: String,
    /// `NetworkSettings.Networks`.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// The container whose namespace it shares.
    pub shared_with: Option<Box<Record>>,
}

impl NetworkOptions {
    /// Look the networks up. An error is said in Docker's words.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        let mut targets = self.network.clone();
        if targets.is_empty() {
            targets.push(Target { name: "bridge".into(), ..Target::default() });
        }
        self.merge(&mut targets)?;
        let special =
            |name: &str| matches!(name, "default" | "bridge" | "host" | "none") || name.starts_with("container:");
        ensure!(
            targets.len() == 1 || !targets.iter().any(|target| special(&target.name)),
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        );
        let mut plan = Plan::default();
        for target in targets {
            let (mode, endpoint) = match target.name.as_str() {
                name @ ("host" | "none") => {
                    target.ensure_plain()?;
                    (name.to_owned(), None)
                }
                name if name.starts_with("container:") => {
                    target.ensure_plain()?;
                    let other = shared(&name["container:".len()..])?;
                    let mode = format!("container:{}", other.id);
                    plan.shared_with = Some(Box::new(other));
                    (mode, None)
                }
                name => {
                    let name = if name == "default" { "bridge" } else { name };
                    let network = network::store().find(name)?;
                    if network.name == "bridge" {
                        target.ensure_default()?;
                    }
                    (network.name.clone(), Some(target.endpoint(&network)?))
                }
            };
            if let Some(endpoint) = endpoint {
                let other = plan.endpoints.insert(mode.clone(), endpoint);
                ensure!(other.is_none(), "network \"{mode}\" is specified multiple times");
            }
            if plan.mode.is_empty() {
                plan.mode = mode;
            }
        }
        Ok(plan)
    }

    /// `--network-alias` and the like belong to the first network.
    fn merge(&self, targets: &mut [Target]) -> anyhow::Result<()> {
        let Some(first) = targets.first_mut() else { return Ok(()) };
        let conflict = |given: bool, own: bool, option: &str, what: &str| {
            ensure!(!given || !own, "conflicting options: cannot specify both --{option} and per-network {what}");
            Ok(())
        };
        conflict(!self.network_alias.is_empty(), !first.aliases.is_empty(), "network-alias", "alias")?;
        conflict(self.ip.is_some(), first.ip.is_some(), "ip", "IPv4 address")?;
        conflict(self.ip6.is_some(), first.ip6.is_some(), "ip6", "IPv6 address")?;
        conflict(self.mac_address.is_some(), first.mac.is_some(), "mac-address", "MAC address")?;
        first.aliases.extend(self.network_alias.iter().cloned());
        first.ip = first.ip.or(self.ip);
        first.ip6 = first.ip6.or(self.ip6);
        first.mac = first.mac.or(self.mac_address);
        Ok(())
    }
}

impl Target {
    /// From the options of `ctr network connect`.
    pub fn connect(
        name: &str,
        aliases: &[String],
        ip: Option<Ipv4Addr>,
        ip6: Option<Ipv6Addr>,
        gw_priority: i64,
    ) -> Self {
        Target { name: name.into(), aliases: aliases.to_vec(), ip, ip6, gw_priority, ..Target::default() }
    }

    /// A container has no place of its own in the host's or another's namespace.
    fn ensure_plain(&self) -> anyhow::Result<()> {
        let mode = self.name.split(':').next().unwrap_or_default();
        ensure!(self.mac.is_none(), "conflicting options: mac-address and the network mode");
        self.ensure_default()?;
        ensure!(*self == Target { name: self.name.clone(), ..Target::default() }, "network {mode} takes no options");
        Ok(())
    }

    /// The default network has neither names nor places to choose.
    pub fn ensure_default(&self) -> anyhow::Result<()> {
        ensure!(
            self.ip.is_none() && self.ip6.is_none(),
            "invalid config for network {}: invalid endpoint settings:\nuser specified IP address is supported on user defined networks only",
            self.name
        );
        ensure!(
            self.aliases.is_empty(),
            "invalid config for network {}: invalid endpoint settings:\nnetwork-scoped aliases are only supported for user-defined networks",
            self.name
        );
        Ok(())
    }

    /// Its place on a network.
    pub fn endpoint(&self, network: &coracle_netns::Network) -> anyhow::Result<Endpoint> {
        let invalid = |ip: IpAddr, has: bool| {
            let reason = if network.static_subnet {
                format!("no configured subnet or ip-range contain the IP address {ip}")
            } else {
                "user specified IP address is supported only when connecting to networks with user configured subnets"
                    .into()
            };
            ensure!(
                has && network.static_subnet,
                "invalid config for network {}: invalid endpoint settings:\n{reason}",
                network.name
            );
            Ok(())
        };
        if let Some(ip) = self.ip {
            invalid(ip.into(), network.cidr4().contains(ip))?;
        }
        if let Some(ip) = self.ip6 {
            invalid(ip.into(), network.ipv6.is_some_and(|six| six.subnet.contains(ip)))?;
        }
        if let Some(option) = self.driver_opts.keys().next() {
            bail!("network {}: unknown driver option {option}", network.name);
        }
        let asked = self.ip.is_some() || self.ip6.is_some();
        let text = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
        Ok(Endpoint {
            ipam_config: asked.then(|| IpamConfig {
                ipv4_address: text(self.ip.map(Into::into)),
                ipv6_address: text(self.ip6.map(Into::into)),
            }),
            aliases: (!self.aliases.is_empty()).then(|| self.aliases.clone()),
            gw_priority: self.gw_priority,
            network_id: network.id.clone(),
            wanted_mac_address: self.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            ..Endpoint::default()
        })
    }
}

/// The container of `container:NAME`.
fn shared(name: &str) -> anyhow::Result<Record> {
    ensure!(!name.is_empty(), "invalid container format container:<name|id>");
    let id = record::resolve(name)?;
    lifecycle::payload(&id)?;
    let other = Record::load(&id)?;
    ensure!(
        !other.host_config.network_mode.starts_with("container:"),
        "container {name} itself shares the network of another; name that one"
    );
    Ok(other)
}

fn parse_target(text: &str) -> Result<Target, String> {
    let mut target = Target::default();
    if !text.contains('=') {
        target.name = text.into();
        return if text.is_empty() { Err("a network has a name".into()) } else { Ok(target) };
    }
    for (index, field) in text.split(',').enumerate() {
        let Some((key, value)) = field.split_once('=') else {
            // NAME,alias=A is not Docker's, but what people try first.
            if index == 0 && !field.is_empty() {
                target.name = field.into();
                continue;
            }
            return Err(format!("invalid field {field} must be a key=value pair"));
        };
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => target.name = value.into(),
            "alias" => target.aliases.push(parse_alias(value)?),
            "ip" => target.ip = Some(parse_ip(value)?),
            "ip6" => target.ip6 = Some(parse_ip6(value)?),
            "mac-address" | "mac" => target.mac = Some(parse_mac(value)?),
            "driver-opt" => {
                let (key, value) = value.split_once('=').ok_or("invalid key value pair format in driver options")?;
                target.driver_opts.insert(key.into(), value.into());
            }
            "gw-priority" => target.gw_priority = value.parse().map_err(|_| format!("invalid gw-priority: {value}"))?,
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if target.name.is_empty() { Err("network name must be specified".into()) } else { Ok(target) }
}

/// A name that DNS can carry: labels of up to 63 bytes.
pub fn parse_alias(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if text.len() <= 253 && text.split('.').all(label) {
        Ok(text.into())
    } else {
        Err(format!("invalid alias name: {text:?}"))
    }
}

pub fn parse_ip(text: &str) -> Result<Ipv4Addr, String> {
    text.parse()
        .ok()
        .filter(|ip: &Ipv4Addr| !ip.is_unspecified())
        .ok_or_else(|| format!("invalid IPv4 address: {text}"))
}

pub fn parse_ip6(text: &str) -> Result<Ipv6Addr, String> {
    text.parse()
        .ok()
        .filter(|ip: &Ipv6Addr| !ip.is_unspecified())
        .ok_or_else(|| format!("invalid IPv6 address: {text}"))
}

fn parse_mac(text: &str) -> Result<MacAddress, String> {
    let mac: MacAddress = text.replace('-', ":").parse().map_err(|_| format!("{text} is not a valid mac address"))?;
    // A group's address is nobody's (IEEE 802).
    if mac.0[0] & 1 != 0 || mac.0 == [0; 6] { Err(format!("{text} is not a valid mac address")) } else { Ok(mac) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_are_read() {
        assert_eq!(parse_target("net").unwrap().name, "net");
        let long =
            parse_target("name=net,alias=a,alias=b.c,ip=10.1.0.5,ip6=fd00::5,mac-address=02-42-0a-01-00-05").unwrap();
        assert_eq!(
            (long.name.as_str(), long.aliases.as_slice()),
            ("net", ["a".to_owned(), "b.c".to_owned()].as_slice())
        );
        assert_eq!((long.ip, long.ip6), ("10.1.0.5".parse().ok(), "fd00::5".parse().ok()));
        assert_eq!(long.mac.unwrap().to_string(), "02:42:0a:01:00:05");
        assert_eq!(parse_target("net,alias=a").unwrap(), parse_target("name=net,alias=a").unwrap());
        for wrong in [
            "",
            "alias=a",
            "name=",
            "name=n,x=y",
            "name=n,alias",
            "name=n,ip=::1",
            "name=n,ip=0.0.0.0",
            "name=n,mac-address=ff:ff:ff:ff:ff:ff",
            "name=n,alias=a b",
            "name=n,alias=",
        ] {
            assert!(parse_target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_are_not_given_twice() {
        let options = |target: &str| NetworkOptions {
            network: vec![parse_target(target).unwrap()],
            ip: "10.1.0.5".parse().ok(),
            ..NetworkOptions::default()
        };
        let error = options("name=n,ip=10.1.0.6").plan().unwrap_err().to_string();
        assert_eq!(error, "conflicting options: cannot specify both --ip and per-network IPv4 address");
        assert!(options("none").plan().is_err());
        let mut two = options("host");
        two.network.push(parse_target("n").unwrap());
        two.ip = None;
        assert!(two.plan().unwrap_err().to_string().starts_with("conflicting options: cannot attach both"));
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in "[a-z0-9=,.:-]{0,40}") {
            let _ = parse_target(&text);
        }
    }
}
