//! `NetworkSettings` of a container's record: what it asked for, and while it runs, what it was given.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::PortMap;

/// `NetworkSettings`. The addresses at its top are those on the default network.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkSettings {
    /// Docker's name for where the namespace is found.
    pub sandbox_key: String,
    /// Published ports; one that is only exposed has no host address.
    #[serde(with = "ports")]
    pub ports: PortMap,
    /// IPv4 address.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// Length of the network's prefix.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    /// Default route.
    pub gateway: String,
    /// IPv6 address.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// Length of the IPv6 network's prefix.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    /// IPv6 default route.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// Link address.
    pub mac_address: String,
    /// The identifier of its place on the default network.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// The same by network.
    pub networks: BTreeMap<String, Endpoint>,
}

/// One of `NetworkSettings.Networks`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Endpoint {
    /// Addresses that were asked for.
    #[serde(rename = "IPAMConfig")]
    pub ipam_config: Option<IpamConfig>,
    /// Never.
    pub links: Option<Vec<String>>,
    /// Further names that were asked for.
    pub aliases: Option<Vec<String>>,
    /// Link address.
    pub mac_address: String,
    /// Options of the network's driver.
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// The highest has the default route.
    pub gw_priority: i64,
    /// The network's identifier.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// The identifier of its place on the network.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Default route.
    pub gateway: String,
    /// IPv4 address.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// Length of the network's prefix.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    /// IPv6 default route.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// IPv6 address.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// Length of the IPv6 network's prefix.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    /// What others on the network call it.
    #[serde(rename = "DNSNames")]
    pub dns_names: Option<Vec<String>>,
    /// The hardware address that was asked for: of ours, for the next start.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub wanted_mac_address: String,
}

impl Endpoint {
    /// What was asked for, without what was given.
    pub fn request(&self) -> Self {
        Endpoint {
            ipam_config: self.ipam_config.clone(),
            aliases: self.aliases.clone(),
            driver_opts: self.driver_opts.clone(),
            gw_priority: self.gw_priority,
            wanted_mac_address: self.wanted_mac_address.clone(),
            ..Endpoint::default()
        }
    }
}

/// `IPAMConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpamConfig {
    /// `--ip`.
    #[serde(rename = "IPv4Address", skip_serializing_if = "String::is_empty")]
    pub ipv4_address: String,
    /// `--ip6`.
    #[serde(rename = "IPv6Address", skip_serializing_if = "String::is_empty")]
    pub ipv6_address: String,
}

/// Docker has `null` for a port that is exposed and not published.
mod ports {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::super::record::HostPort;
    use super::PortMap;

    pub fn serialize<S: Serializer>(map: &PortMap, serializer: S) -> Result<S::Ok, S::Error> {
        let map: BTreeMap<_, _> =
            map.iter().map(|(port, hosts)| (port, Some(hosts).filter(|all| !all.is_empty()))).collect();
        map.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PortMap, D::Error> {
        let map = BTreeMap::<String, Option<Vec<HostPort>>>::deserialize(deserializer)?;
        Ok(map.into_iter().map(|(port, hosts)| (port, hosts.unwrap_or_default())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_dockers() {
        let settings = NetworkSettings {
            ports: [("80/tcp".to_owned(), Vec::new())].into(),
            networks: [("n".to_owned(), Endpoint::default())].into(),
            ..Default::default()
        };
        let value = serde_json::to_value(&settings).unwrap();
        assert!(value["Ports"]["80/tcp"].is_null());
        for key in [
            "IPAMConfig",
            "Aliases",
            "MacAddress",
            "NetworkID",
            "EndpointID",
            "Gateway",
            "IPAddress",
            "IPPrefixLen",
            "IPv6Gateway",
            "GlobalIPv6Address",
            "GlobalIPv6PrefixLen",
            "DNSNames",
            "DriverOpts",
            "Links",
            "GwPriority",
        ] {
            assert!(value["Networks"]["n"].get(key).is_some(), "{key}");
        }
        let back: NetworkSettings = serde_json::from_value(value).unwrap();
        assert!(back.ports["80/tcp"].is_empty());
    }
}
