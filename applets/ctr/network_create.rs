//! `ctr network create`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, bail, ensure};
use coracle_netns::cidr::{Cidr4, Cidr6};
use coracle_netns::netlink::Socket;
use coracle_netns::network::{Driver, Subnet6};
use coracle_netns::{Network, pools, sublink};

use super::options_env::labels;
use super::{names, network, time};

/// `network create`.
#[derive(clap::Args)]
pub struct CreateArgs {
    /// Driver: bridge, macvlan or ipvlan
    #[arg(short, long, default_value = "bridge")]
    driver: String,

    /// Subnet; an IPv4 one is chosen if none is given
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    subnet: Vec<String>,

    /// Gateway of a subnet
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<String>,

    /// Part of a subnet that addresses are given out from
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    ip_range: Vec<String>,

    /// Address of a subnet that is not given out
    #[arg(long, value_name = "NAME=ADDRESS")]
    aux_address: Vec<String>,

    /// Also give IPv6 addresses
    #[arg(long)]
    ipv6: bool,

    /// Keep its containers from the outside
    #[arg(long)]
    internal: bool,

    /// Docker's services do without it and single containers with it; here both may join any network
    #[arg(long)]
    attachable: bool,

    /// Set a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,

    /// Option of the driver
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,

    /// Name
    #[arg(value_name = "NETWORK")]
    name: String,
}

/// Make a network; its identifier.
pub fn create(args: &CreateArgs) -> anyhow::Result<String> {
    let name = args.name.as_str();
    ensure!(!matches!(name, "host" | "none" | "bridge"), "operation is not permitted on predefined {name} network");
    ensure!(name != "default" && !name.starts_with("container:"), "network name {name:?} is reserved");
    coracle_netns::network::check_identifier("network name", name)?;
    let driver = match args.driver.as_str() {
        "bridge" => Driver::Bridge,
        "macvlan" => Driver::Macvlan,
        "ipvlan" => Driver::Ipvlan,
        "host" | "null" => bail!("only one instance of \"{}\" network is allowed", args.driver),
        other => bail!("could not find plugin {other} in v1 plugin registry: plugin not found"),
    };
    let blocks = Blocks::read(args)?;
    let id = names::new_id()?;
    // Not kept under the lock: what is wrong with the options is said before anything is looked at.
    let mut draft = Network {
        driver,
        created: time::now(),
        internal: args.internal,
        attachable: args.attachable,
        names: true,
        labels: labels(BTreeMap::new(), &args.label),
        ..Network::plain(name, &format!("br-{}", names::short(&id)), Cidr4::of([10, 0, 0, 0].into(), 8))
    };
    apply_options(&mut draft, &options(&args.opt)?)?;
    if driver != Driver::Bridge {
        ensure!(draft.options.contains_key("parent"), "{} needs a parent: -o parent=INTERFACE", driver.word());
        sublink::parent(&mut Socket::route()?, &draft)?;
    }
    draft.id = id;
    Ok(network::store().create(name, |others| blocks.fill(draft, others, args.ipv6))?.id)
}

/// Subnets, gateways and ranges, sorted by family.
#[derive(Default)]
struct Blocks {
    v4: Option<(Cidr4, Option<std::net::Ipv4Addr>, Option<Cidr4>)>,
    v6: Option<(Cidr6, Option<std::net::Ipv6Addr>, Option<Cidr6>)>,
    reserved: BTreeMap<String, IpAddr>,
}

impl Blocks {
    fn read(args: &CreateArgs) -> anyhow::Result<Self> {
        let mut blocks = Blocks::default();
        for text in &args.subnet {
            let wrong = || format!("invalid subnet {text}");
            let twice = "multiple overlapping subnet configuration is not supported";
            if text.contains(':') {
                let subnet: Cidr6 = text.parse().with_context(wrong)?;
                ensure!(subnet.is_aligned(), "invalid subnet {text}: it should be {}", subnet.aligned());
                ensure!(blocks.v6.is_none(), "{twice}");
                blocks.v6 = Some((subnet, None, None));
            } else {
                let subnet: Cidr4 = text.parse().with_context(wrong)?;
                ensure!(subnet.is_aligned(), "invalid subnet {text}: it should be {}", subnet.aligned());
                ensure!(blocks.v4.is_none(), "{twice}");
                blocks.v4 = Some((subnet, None, None));
            }
        }
        ensure!(
            !args.subnet.is_empty() || (args.gateway.is_empty() && args.ip_range.is_empty()),
            "every ip-range or gateway must have a corresponding subnet"
        );
        args.ip_range.iter().try_for_each(|text| blocks.add_range(text))?;
        args.gateway.iter().try_for_each(|text| blocks.add_gateway(text))?;
        args.aux_address.iter().try_for_each(|text| blocks.reserve(text))?;
        Ok(blocks)
    }

    fn add_range(&mut self, text: &str) -> anyhow::Result<()> {
        let missing = || format!("no matching subnet for range {text}");
        let twice = |other: &dyn std::fmt::Display, subnet: &dyn std::fmt::Display| {
            format!("cannot configure multiple ranges ({text}, {other}) on the same subnet ({subnet})")
        };
        if text.contains(':') {
            let range = text.parse::<Cidr6>().with_context(|| format!("invalid ip-range {text}"))?.aligned();
            let (subnet, _, own) = self.v6.as_mut().filter(|(subnet, ..)| subnet.holds(range)).with_context(missing)?;
            if let Some(other) = own.replace(range) {
                bail!(twice(&other, subnet));
            }
        } else {
            let range = text.parse::<Cidr4>().with_context(|| format!("invalid ip-range {text}"))?.aligned();
            let (subnet, _, own) = self.v4.as_mut().filter(|(subnet, ..)| subnet.holds(range)).with_context(missing)?;
            if let Some(other) = own.replace(range) {
                bail!(twice(&other, subnet));
            }
        }
        Ok(())
    }

    fn add_gateway(&mut self, text: &str) -> anyhow::Result<()> {
        let missing = || format!("no matching subnet for gateway {text}");
        let twice = |other: &dyn std::fmt::Display, subnet: &dyn std::fmt::Display| {
            format!("cannot configure multiple gateways ({text}, {other}) for the same subnet ({subnet})")
        };
        match text.parse::<IpAddr>().with_context(|| format!("invalid gateway address: {text}"))? {
            IpAddr::V4(ip) => {
                let (subnet, own, _) =
                    self.v4.as_mut().filter(|(subnet, ..)| subnet.contains(ip)).with_context(missing)?;
                if let Some(other) = own.replace(ip) {
                    bail!(twice(&other, subnet));
                }
            }
            IpAddr::V6(ip) => {
                let (subnet, own, _) =
                    self.v6.as_mut().filter(|(subnet, ..)| subnet.contains(ip)).with_context(missing)?;
                if let Some(other) = own.replace(ip) {
                    bail!(twice(&other, subnet));
                }
            }
        }
        Ok(())
    }

    fn reserve(&mut self, text: &str) -> anyhow::Result<()> {
        let (name, address) =
            text.split_once('=').with_context(|| format!("invalid aux-address {text}: wanted NAME=ADDRESS"))?;
        let address: IpAddr = address.parse().with_context(|| format!("invalid aux-address {address}"))?;
        let inside = match address {
            IpAddr::V4(ip) => self.v4.is_some_and(|(subnet, ..)| subnet.contains(ip)),
            IpAddr::V6(ip) => self.v6.is_some_and(|(subnet, ..)| subnet.contains(ip)),
        };
        ensure!(inside, "no matching subnet for aux-address {address}");
        self.reserved.insert(name.into(), address);
        Ok(())
    }

    /// Complete a network, with subnets that nothing else uses where none are given.
    fn fill(self, draft: Network, others: &[Network], ipv6: bool) -> coracle_netns::Result<Network> {
        let used =
            if self.v4.is_none() || self.v6.is_none() && ipv6 { pools::Used::of(others)? } else { Default::default() };
        let (subnet, gateway, range) = match self.v4 {
            Some(given) => given,
            None => (used.free4()?, None, None),
        };
        let v6 = match self.v6 {
            None if ipv6 => Some((used.free6()?, None, None)),
            given => given,
        };
        Ok(Network {
            subnet: subnet.address,
            prefix: subnet.prefix,
            gateway: gateway.unwrap_or_else(|| subnet.nth(1)),
            range,
            static_subnet: self.v4.is_some() || self.v6.is_some(),
            ipv6: v6.map(|(subnet, gateway, range)| Subnet6 {
                subnet,
                gateway: gateway.unwrap_or_else(|| subnet.nth(1)),
                range,
            }),
            reserved: self.reserved,
            ..draft
        })
    }
}

fn options(given: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for text in given {
        let (key, value) = text.split_once('=').with_context(|| format!("invalid option {text}: wanted KEY=VALUE"))?;
        all.insert(key.to_owned(), value.to_owned());
    }
    Ok(all)
}

/// Docker's names of the drivers' options.
fn apply_options(network: &mut Network, options: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let mut flag = String::new();
    for (key, value) in options {
        let wrong = || format!("invalid value {value:?} of option {key}");
        let truth = || value.parse::<bool>().with_context(wrong);
        match (network.driver, key.as_str()) {
            (_, "com.docker.network.driver.mtu" | "mtu") => {
                // The least that IPv4 hosts must take in (RFC 791), and what the kernel can count to.
                let mtu: u32 = value.parse().with_context(wrong)?;
                ensure!((68..=65535).contains(&mtu), wrong());
                network.mtu = Some(mtu);
            }
            (Driver::Bridge, "com.docker.network.bridge.name") => {
                coracle_netns::link::check_name(value)?;
                network.bridge = value.clone();
            }
            (Driver::Bridge, "com.docker.network.bridge.enable_icc") => network.inter_container = truth()?,
            (Driver::Bridge, "com.docker.network.bridge.enable_ip_masquerade") => network.masquerade = truth()?,
            (Driver::Bridge, "com.docker.network.bridge.host_binding_ipv4") => {
                let ip: std::net::Ipv4Addr = value.parse().with_context(wrong)?;
                network.host_binding = Some(ip).filter(|ip| !ip.is_unspecified());
            }
            // Podman's name.
            (Driver::Bridge, "isolate") => network.isolated = value == "strict" || truth()?,
            (Driver::Macvlan | Driver::Ipvlan, "parent") => {
                coracle_netns::link::check_name(value)?;
                network.bridge = value.clone();
            }
            (Driver::Macvlan, "macvlan_mode") | (Driver::Ipvlan, "ipvlan_mode") => network.mode = value.clone(),
            (Driver::Ipvlan, "ipvlan_flag") => flag = format!(",{value}"),
            (driver, key) => bail!("unknown option {key} of the driver {}", driver.word()),
        }
    }
    network.mode.push_str(&flag);
    ensure!(
        sublink::knows_mode(network.driver, &network.mode),
        "unknown {} mode {:?}",
        network.driver.word(),
        network.mode
    );
    network.options = options.clone();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;

    fn parsed(args: &[&str]) -> CreateArgs {
        let command = <CreateArgs as clap::Args>::augment_args(clap::Command::new("create"));
        let matches = command.try_get_matches_from([&["create"], args, &["n"]].concat()).unwrap();
        CreateArgs::from_arg_matches(&matches).unwrap()
    }

    fn made(args: &[&str]) -> anyhow::Result<Network> {
        let args = parsed(args);
        let mut draft = Network::plain("n", "br-n", Cidr4::of([10, 0, 0, 0].into(), 8));
        apply_options(&mut draft, &options(&args.opt)?)?;
        let network = Blocks::read(&args)?.fill(draft, &[], args.ipv6)?;
        network.check()?;
        Ok(network)
    }

    #[test]
    fn subnets_are_read() {
        let network =
            made(&["--subnet", "10.5.0.0/24", "--gateway", "10.5.0.254", "--ip-range", "10.5.0.128/25"]).unwrap();
        assert_eq!(network.gateway.to_string(), "10.5.0.254");
        assert_eq!(network.range.unwrap().to_string(), "10.5.0.128/25");
        let both = made(&["--subnet", "10.5.0.0/24", "--subnet", "fd05::/64", "--gateway", "fd05::9"]).unwrap();
        assert_eq!(both.ipv6.unwrap().gateway.to_string(), "fd05::9");
        assert_eq!(both.gateway.to_string(), "10.5.0.1");
    }

    #[test]
    fn errors_are_dockers() {
        let error = |args: &[&str]| made(args).unwrap_err().to_string();
        assert_eq!(error(&["--gateway", "10.5.0.1"]), "every ip-range or gateway must have a corresponding subnet");
        let subnet = ["--subnet", "10.5.0.0/24"];
        let with = |more: &[&str]| error(&[&subnet, more].concat());
        assert_eq!(with(&["--gateway", "10.6.0.1"]), "no matching subnet for gateway 10.6.0.1");
        assert_eq!(with(&["--ip-range", "10.6.0.0/25"]), "no matching subnet for range 10.6.0.0/25");
        assert_eq!(with(&["--aux-address", "a=10.6.0.7"]), "no matching subnet for aux-address 10.6.0.7");
        assert_eq!(with(&subnet), "multiple overlapping subnet configuration is not supported");
        assert_eq!(error(&["--subnet", "10.5.0.1/24"]), "invalid subnet 10.5.0.1/24: it should be 10.5.0.0/24");
        assert!(error(&["--subnet", "x"]).contains("invalid subnet x"));
        for wrong in ["x", "com.docker.network.driver.mtu=1", "parent=eth0", "isolate=maybe", "ipvlan_mode=l2"] {
            assert!(made(&["-o", wrong]).is_err(), "{wrong}");
        }
    }
}
