//! A container's place on the network, and the files that say so inside of it.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context;
use coracle_netns::{Attachment, Network, PortMapping, link, namespace};

use super::options_network;
use super::record::{Endpoint, HostPort, NetworkSettings, PortMap, Record};

/// What a container gets when the host's own servers are out of its reach.
const PUBLIC_SERVERS: &str = "nameserver 1.1.1.1\nnameserver 8.8.8.8\n";

/// Put a created container on its network.
pub fn attach(record: &Record, pid: i32) -> anyhow::Result<NetworkSettings> {
    match record.host_config.network_mode.as_str() {
        "bridge" => {
            let space = namespace::of_process(pid)?;
            let ports = mappings(&record.host_config.port_bindings)?;
            let attachment = coracle_netns::attach(
                &Network::default_bridge(),
                &record.id,
                std::os::fd::AsFd::as_fd(&space),
                &ports,
            )?;
            Ok(settings(&attachment))
        }
        "none" => {
            let space = namespace::of_process(pid)?;
            let mut socket = namespace::route_socket(std::os::fd::AsFd::as_fd(&space))?;
            link::loopback_up(&mut socket)?;
            Ok(NetworkSettings::default())
        }
        _ => Ok(NetworkSettings::default()),
    }
}

/// Take a container off its network; repeatable.
pub fn detach(record: &Record) -> anyhow::Result<()> {
    if record.host_config.network_mode == "bridge" {
        coracle_netns::detach(&Network::default_bridge(), &record.id)?;
    }
    Ok(())
}

/// Take a container of which nothing is on record off the default network; repeatable.
pub fn detach_unknown(id: &str) -> anyhow::Result<()> {
    Ok(coracle_netns::detach(&Network::default_bridge(), id)?)
}

/// Published ports in Docker's form.
pub fn port_map(ports: &[PortMapping]) -> PortMap {
    let mut map = PortMap::new();
    for port in ports {
        let host = HostPort {
            host_ip: port.host_ip.map_or_else(|| "0.0.0.0".into(), |ip| ip.to_string()),
            host_port: port.host_port.to_string(),
        };
        map.entry(format!("{}/{}", port.container_port, port.protocol)).or_default().push(host);
    }
    map
}

fn mappings(map: &PortMap) -> anyhow::Result<Vec<PortMapping>> {
    let mut all = Vec::new();
    for (port, hosts) in map {
        for host in hosts {
            let ip = if host.host_ip == "0.0.0.0" { String::new() } else { format!("{}:", host.host_ip) };
            let text = format!("{ip}{}:{port}", host.host_port);
            all.extend(PortMapping::parse_all(&text).with_context(|| format!("the record has a wrong port {text:?}"))?);
        }
    }
    Ok(all)
}

fn settings(attachment: &Attachment) -> NetworkSettings {
    let endpoint = Endpoint {
        ip_address: attachment.ip.to_string(),
        ip_prefix_len: attachment.prefix,
        gateway: attachment.gateway.to_string(),
        mac_address: attachment.mac.clone(),
    };
    NetworkSettings {
        ip_address: endpoint.ip_address.clone(),
        ip_prefix_len: endpoint.ip_prefix_len,
        gateway: endpoint.gateway.clone(),
        mac_address: endpoint.mac_address.clone(),
        ports: port_map(&attachment.ports),
        networks: [("bridge".to_owned(), endpoint)].into(),
    }
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
    let servers = resolv_conf(&record.host_config.network_mode);
    write(&record.resolv_conf_path, &options_network::resolv_conf(&servers, &record.host_config))?;
    write_hosts(record, "")
}

/// Write /etc/hosts in place: it is mounted already.
pub fn write_hosts(record: &Record, address: &str) -> anyhow::Result<()> {
    let config = &record.config;
    let names = if config.domainname.is_empty() {
        config.hostname.clone()
    } else {
        format!("{}.{} {}", config.hostname, config.domainname, config.hostname)
    };
    let gateway = Network::default_bridge().gateway.to_string();
    let extra = options_network::extra_hosts(&record.host_config, &gateway);
    write(&record.hosts_path, &hosts(&record.host_config.network_mode, &extra, address, &names))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    // Every user in the container reads these.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

fn hosts(mode: &str, extra: &str, address: &str, names: &str) -> String {
    if mode == "host"
        && let Ok(text) = std::fs::read_to_string("/etc/hosts")
    {
        return text + extra;
    }
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    text.push_str(extra);
    if !address.is_empty() {
        text.push_str(&format!("{address}\t{names}\n"));
    }
    text
}

fn resolv_conf(mode: &str) -> String {
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    if mode == "bridge" { reachable(&host) } else { host }
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
        text.push_str(PUBLIC_SERVERS);
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
        assert!(hosts("bridge", "", "10.88.0.2", "web").ends_with("10.88.0.2\tweb\n"));
    }

    #[test]
    fn ports_round_trip() {
        let ports = PortMapping::parse_all("127.0.0.1:8080:80").unwrap();
        let map = port_map(&ports);
        assert_eq!(map["80/tcp"][0], HostPort { host_ip: "127.0.0.1".into(), host_port: "8080".into() });
        assert_eq!(mappings(&map).unwrap(), ports);
    }
}
