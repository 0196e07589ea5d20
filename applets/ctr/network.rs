//! A container's place on its networks, and the files that say so inside of it.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::Context;
use coracle_netns::store::Store;
use coracle_netns::{Attachment, Network, PortMapping, Request, dns, link, namespace};

use super::record::{Endpoint, HostPort, Live, NetworkSettings, PortMap, Record};
use super::{name_server, names, options_network, paths};

/// The networks on disk.
pub fn store() -> Store {
    Store::at(paths::state_dir().join("networks"))
}

/// Whether a container of this mode has interfaces that it was given.
pub fn is_managed(mode: &str) -> bool {
    !matches!(mode, "host" | "none") && !mode.starts_with("container:")
}

/// Put a created container on its networks.
pub fn attach(record: &Record, pid: i32) -> anyhow::Result<NetworkSettings> {
    let mode = record.host_config.network_mode.as_str();
    if mode == "host" || mode.starts_with("container:") {
        return Ok(NetworkSettings::default());
    }
    let space = namespace::of_process(pid)?;
    if mode == "none" {
        link::loopback_up(&mut namespace::route_socket(space.as_fd())?)?;
        return Ok(NetworkSettings::default());
    }
    let ports = mappings(&record.host_config.port_bindings)?;
    let mut settings = NetworkSettings { sandbox_key: format!("/proc/{pid}/ns/net"), ..NetworkSettings::default() };
    let mut place = Place { record, space: space.as_fd(), pid, ports: &ports };
    let mut joined = Vec::new();
    for (network, endpoint) in places(record)? {
        let attachment = match place.attach(&network, &endpoint) {
            Ok(attachment) => attachment,
            Err(error) => {
                coracle_netns::attachment::detach_all(&record.id)?;
                return Err(error);
            }
        };
        if !attachment.ports.is_empty() {
            place.ports = &[];
        }
        add(&mut settings, &network, &endpoint, &attachment);
        joined.push(network);
    }
    if joined.iter().any(|network| network.names)
        && let Err(error) = name_server::summon(&record.id)
    {
        coracle_netns::attachment::detach_all(&record.id)?;
        return Err(error);
    }
    for port in record.config.exposed_ports.keys() {
        settings.ports.entry(port.clone()).or_default();
    }
    Ok(settings)
}

/// The networks of a container: the one with the highest priority first, as it has the default route, then its mode's.
fn places(record: &Record) -> anyhow::Result<Vec<(Network, Endpoint)>> {
    let mode = &record.host_config.network_mode;
    let mut wanted = record.network_settings.networks.clone();
    wanted.entry(mode.clone()).or_default();
    let mut wanted: Vec<_> = wanted.into_iter().collect();
    wanted.sort_by_key(|(name, endpoint)| (-endpoint.gw_priority, name != mode));
    let find = |(name, endpoint): (String, Endpoint)| {
        let network = store().get(&name)?.with_context(|| format!("network {name} not found"))?;
        Ok((network, endpoint.request()))
    };
    wanted.into_iter().map(find).collect()
}

/// A container that is to be put on a network.
pub struct Place<'a> {
    /// The container.
    pub record: &'a Record,
    /// Its network namespace.
    pub space: BorrowedFd<'a>,
    /// A process in there.
    pub pid: i32,
    /// What to publish.
    pub ports: &'a [PortMapping],
}

impl Place<'_> {
    /// Put it there.
    pub fn attach(&self, network: &Network, endpoint: &Endpoint) -> anyhow::Result<Attachment> {
        let ipam = endpoint.ipam_config.clone().unwrap_or_default();
        let wanted = |text: &str| if text.is_empty() { None } else { text.parse::<IpAddr>().ok() };
        let id = names::new_id()?;
        let request = Request {
            pid: self.pid,
            ip: wanted(&ipam.ipv4_address).and_then(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None }),
            ipv6: wanted(&ipam.ipv6_address).and_then(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None }),
            mac: endpoint.wanted_mac_address.parse().ok(),
            names: dns_names(self.record, network, endpoint),
            servers: self.record.host_config.dns.iter().filter_map(|server| server.parse().ok()).collect(),
            endpoint: id.clone(),
            ..Request::new(&self.record.id, self.space, self.ports)
        };
        coracle_netns::attach(network, &request).map_err(|error| match error {
            coracle_netns::Error::PortAllocated { .. } | coracle_netns::Error::PortInUse { .. } => {
                let name = self.record.short_name().to_owned();
                anyhow::anyhow!("driver failed programming external connectivity on endpoint {name} ({id}): {error}")
            }
            error => error.into(),
        })
    }
}

/// What others on a network may call a container: its name, its aliases, its short id and its host name.
pub fn dns_names(record: &Record, network: &Network, endpoint: &Endpoint) -> Vec<String> {
    if !network.names {
        return Vec::new();
    }
    let mut all = vec![record.short_name().to_owned()];
    all.extend(endpoint.aliases.iter().flatten().cloned());
    all.push(names::short(&record.id).to_owned());
    all.push(record.config.hostname.clone());
    let mut seen = std::collections::HashSet::new();
    all.retain(|name| !name.is_empty() && seen.insert(name.clone()));
    all
}

/// Put on record what a container was given.
pub fn add(settings: &mut NetworkSettings, network: &Network, wanted: &Endpoint, attachment: &Attachment) {
    let gateway = Some(attachment.gateway).filter(|ip| !ip.is_unspecified());
    let endpoint = Endpoint {
        mac_address: attachment.mac.clone(),
        network_id: network.id.clone(),
        endpoint_id: attachment.endpoint.clone(),
        gateway: gateway.map(|ip| ip.to_string()).unwrap_or_default(),
        ip_address: attachment.ip.to_string(),
        ip_prefix_len: attachment.prefix,
        ipv6_gateway: attachment.gateway6.map(|ip| ip.to_string()).unwrap_or_default(),
        global_ipv6_address: attachment.ipv6.map(|ip| ip.to_string()).unwrap_or_default(),
        global_ipv6_prefix_len: attachment.prefix6,
        dns_names: (!attachment.names.is_empty()).then(|| attachment.names.clone()),
        ..wanted.clone()
    };
    // Docker's top level is of the default network only.
    if !network.names {
        settings.ip_address = endpoint.ip_address.clone();
        settings.ip_prefix_len = endpoint.ip_prefix_len;
        settings.gateway = endpoint.gateway.clone();
        settings.global_ipv6_address = endpoint.global_ipv6_address.clone();
        settings.global_ipv6_prefix_len = endpoint.global_ipv6_prefix_len;
        settings.ipv6_gateway = endpoint.ipv6_gateway.clone();
        settings.mac_address = endpoint.mac_address.clone();
        settings.endpoint_id = endpoint.endpoint_id.clone();
    }
    for port in &attachment.ports {
        let hosts = settings.ports.entry(port_key(port)).or_default();
        hosts.extend(bound(port, attachment.ipv6.is_some()));
    }
    settings.networks.insert(network.name.clone(), endpoint);
}

/// Take a network off record.
pub fn remove(settings: &mut NetworkSettings, name: &str) {
    let Some(endpoint) = settings.networks.remove(name) else { return };
    if settings.endpoint_id == endpoint.endpoint_id {
        let kept = NetworkSettings {
            ports: std::mem::take(&mut settings.ports),
            networks: std::mem::take(&mut settings.networks),
            sandbox_key: std::mem::take(&mut settings.sandbox_key),
            ..NetworkSettings::default()
        };
        *settings = kept;
    }
}

/// A container has another name: on the networks where it is, it goes by that from now on.
pub fn renamed(record: &Record) -> anyhow::Result<()> {
    let Some(mut live) = Live::read(&record.id) else { return Ok(()) };
    for (name, endpoint) in &mut live.network.networks {
        let Some(network) = store().get(name)?.filter(|network| network.names) else { continue };
        let names = dns_names(record, &network, endpoint);
        if coracle_netns::attachment::rename(&network, &record.id, names.clone())? {
            endpoint.dns_names = Some(names);
        }
    }
    live.write(&record.id)
}

/// Take a container off its networks; repeatable.
pub fn detach(record: &Record) -> anyhow::Result<()> {
    if is_managed(&record.host_config.network_mode) { detach_unknown(&record.id) } else { Ok(()) }
}

/// Take a container of which nothing is on record off whatever network it is on; repeatable.
pub fn detach_unknown(id: &str) -> anyhow::Result<()> {
    if coracle_netns::attachment::detach_all(id)? {
        // What it holds of the namespace goes now, and with the last container the server itself.
        dns::settle()?;
    }
    Ok(())
}

fn port_key(port: &PortMapping) -> String {
    format!("{}/{}", port.container_port, port.protocol)
}

/// What is to be published, in Docker's form: no address is all, no port is a free one.
pub fn port_map(ports: &[PortMapping]) -> PortMap {
    let mut map = PortMap::new();
    for port in ports {
        let host = HostPort {
            host_ip: port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
            host_port: if port.host_port == 0 { String::new() } else { port.host_port.to_string() },
        };
        map.entry(port_key(port)).or_default().push(host);
    }
    map
}

/// Where a port is published, in Docker's form.
fn bound(port: &PortMapping, ipv6: bool) -> Vec<HostPort> {
    let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), std::net::Ipv6Addr::UNSPECIFIED.into()];
    let addresses = match port.host_ip {
        Some(ip) => vec![ip],
        None if ipv6 => any.to_vec(),
        None => any[..1].to_vec(),
    };
    let host = |ip: IpAddr| HostPort { host_ip: ip.to_string(), host_port: port.host_port.to_string() };
    addresses.into_iter().map(host).collect()
}

fn mappings(map: &PortMap) -> anyhow::Result<Vec<PortMapping>> {
    let mut all = Vec::new();
    for (port, hosts) in map {
        for host in hosts {
            let wrong = || format!("the record has a wrong port: {port} on {:?} {:?}", host.host_ip, host.host_port);
            let mapping: PortMapping = port.parse().with_context(wrong)?;
            let ip = if host.host_ip.is_empty() { None } else { Some(host.host_ip.parse().with_context(wrong)?) };
            let number = if host.host_port.is_empty() { 0 } else { host.host_port.parse().with_context(wrong)? };
            all.push(PortMapping { host_ip: ip, host_port: number, ..mapping });
        }
    }
    Ok(all)
}

/// Write the files as far as they are known before the container has an address.
pub fn write_files(record: &Record) -> anyhow::Result<()> {
    // Those of the container whose namespace it shares are its own too.
    if record.host_config.network_mode.starts_with("container:") {
        if record.host_config.uts_mode.is_empty() {
            write(&record.hostname_path, &format!("{}\n", record.config.hostname))?;
        }
        return Ok(());
    }
    write(&record.hostname_path, &format!("{}\n", record.config.hostname))?;
    write(&record.resolv_conf_path, &resolv_conf(record)?)?;
    write_hosts(record, &NetworkSettings::default())
}

/// Write /etc/hosts in place: it is mounted already.
pub fn write_hosts(record: &Record, settings: &NetworkSettings) -> anyhow::Result<()> {
    let config = &record.config;
    let names = if config.domainname.is_empty() {
        config.hostname.clone()
    } else {
        format!("{}.{} {}", config.hostname, config.domainname, config.hostname)
    };
    let gateway = Network::default_bridge().gateway.to_string();
    let extra = options_network::extra_hosts(&record.host_config, &gateway);
    let endpoints = settings.networks.values();
    let addresses =
        endpoints.flat_map(|endpoint| [endpoint.ip_address.as_str(), endpoint.global_ipv6_address.as_str()]);
    let addresses: Vec<&str> = addresses.filter(|address| !address.is_empty()).collect();
    write(&record.hosts_path, &hosts(&record.host_config.network_mode, &extra, &addresses, &names))
}

/// A container has come to a network or left it: where its names are found may have changed with that. What was edited in the container
/// is left alone, as under Docker.
pub fn rewrite_resolv_conf(before: &Record, after: &Record) -> anyhow::Result<()> {
    let (old, new) = (resolv_conf(before)?, resolv_conf(after)?);
    let is_ours = std::fs::read_to_string(&after.resolv_conf_path).is_ok_and(|text| text == old);
    if is_ours && old != new { write(&after.resolv_conf_path, &new) } else { Ok(()) }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    // Every user in the container reads these.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

fn hosts(mode: &str, extra: &str, addresses: &[&str], names: &str) -> String {
    if mode == "host"
        && let Ok(text) = std::fs::read_to_string("/etc/hosts")
    {
        return text + extra;
    }
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    text.push_str(extra);
    for address in addresses {
        text.push_str(&format!("{address}\t{names}\n"));
    }
    text
}

/// What a container's resolv.conf says: on a network with names, to ask the name server of containers, which knows of the other servers.
fn resolv_conf(record: &Record) -> anyhow::Result<String> {
    let mode = &record.host_config.network_mode;
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    if !is_managed(mode) {
        return Ok(options_network::resolv_conf(&host, &record.host_config));
    }
    for name in record.network_settings.networks.keys().chain([mode]) {
        if store().get(name)?.is_some_and(|network| network.names) {
            return Ok(options_network::named_resolv_conf(&host, &record.host_config));
        }
    }
    Ok(options_network::resolv_conf(&reachable(&host), &record.host_config))
}

/// The host's resolv.conf without servers on its loopback, which a container cannot reach.
fn reachable(host: &str) -> String {
    let is_loopback = |line: &&str| {
        let mut words = line.split_ascii_whitespace();
        words.next() == Some("nameserver")
            && words
                .next()
                .is_some_and(|server| server.parse::<Ipv4Addr>().map_or(server == "::1", |ip| ip.is_loopback()))
    };
    let mut text: String = host.lines().filter(|line| !is_loopback(line)).map(|line| format!("{line}\n")).collect();
    if !text.lines().any(|line| line.starts_with("nameserver")) {
        text.extend(dns::PUBLIC_SERVERS.map(|server| format!("nameserver {server}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_on_loopback_are_left_out() {
        let text = reachable("search x\nnameserver 127.0.0.53\nnameserver 10.0.0.2\n");
        assert_eq!(text, "search x\nnameserver 10.0.0.2\n");
        assert!(reachable("nameserver 127.0.0.1\n").contains("1.1.1.1"));
    }

    #[test]
    fn hosts_names_the_container() {
        assert!(hosts("bridge", "", &["10.88.0.2"], "web").ends_with("10.88.0.2\tweb\n"));
    }

    #[test]
    fn ports_round_trip() {
        for text in ["127.0.0.1:8080:80", "80/udp", "8080:80", "[::1]:8080-8081:80-81", "0.0.0.0:1:2"] {
            let ports = PortMapping::parse_all(text).unwrap();
            assert_eq!(mappings(&port_map(&ports)).unwrap(), ports, "{text}");
        }
        let map = port_map(&PortMapping::parse_all("127.0.0.1:8080:80").unwrap());
        assert_eq!(map["80/tcp"][0], HostPort { host_ip: "127.0.0.1".into(), host_port: "8080".into() });
        let any = PortMapping::parse_all("8080:80").unwrap();
        let hosts: Vec<_> = bound(&any[0], true).into_iter().map(|host| host.host_ip).collect();
        assert_eq!(hosts, ["0.0.0.0", "::"]);
    }
}
