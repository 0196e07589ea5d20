//! Networks as `docker network inspect` prints them.

use std::collections::BTreeMap;

use coracle_netns::Network;
use coracle_netns::ipam::Registry;
use serde_json::{Value, json};

use super::record::Record;
use super::{network, time};

/// SHA-256 of `host` and of `none`: the same on every host, as is that of the default network.
const HOST_ID: &str = "4740ae6347b0172c01254ff55bae5aff5199f4446e7f6d643d40185b3f475145";
const NONE_ID: &str = "140bedbf9c3f6d56a9846d2ba7088798683f4da0c248231336e6a05679e4fdfe";

/// A network, or what goes by that name.
#[derive(Clone, Debug)]
pub struct View {
    /// Its name.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Docker's word.
    pub driver: &'static str,
    /// What is on disk; `None` for `host` and `none`.
    pub network: Option<Network>,
}

impl From<Network> for View {
    fn from(network: Network) -> Self {
        View {
            name: network.name.clone(),
            id: network.id.clone(),
            driver: network.driver.word(),
            network: Some(network),
        }
    }
}

/// Whether a network is there without having been made.
pub fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none")
}

/// All networks, by name.
pub fn all() -> anyhow::Result<Vec<View>> {
    let mut all: Vec<View> = network::store().list()?.into_iter().map(View::from).collect();
    all.extend(special());
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

fn special() -> [View; 2] {
    let view = |name: &str, id: &str, driver| View { name: name.into(), id: id.into(), driver, network: None };
    [view("host", HOST_ID, "host"), view("none", NONE_ID, "null")]
}

/// A network by its name, its identifier, or the beginning of that.
pub fn find(text: &str) -> anyhow::Result<View> {
    if let Some(view) = special().into_iter().find(|view| view.name == text) {
        return Ok(view);
    }
    match network::store().find(text) {
        Ok(network) => Ok(network.into()),
        Err(error @ coracle_netns::Error::NoSuchNetwork(_)) => {
            let found = special().into_iter().find(|view| !text.is_empty() && view.id.starts_with(text));
            found.ok_or_else(|| error.into())
        }
        Err(error) => Err(error.into()),
    }
}

impl View {
    /// Its labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.network.as_ref().map(|network| network.labels.clone()).unwrap_or_default()
    }

    /// When it was made.
    pub fn created(&self) -> String {
        let created = self.network.as_ref().map(|network| network.created.clone()).unwrap_or_default();
        if created.is_empty() { time::NEVER.into() } else { created }
    }

    /// Whether it has an IPv6 half.
    pub fn has_ipv6(&self) -> bool {
        self.network.as_ref().is_some_and(|network| network.ipv6.is_some())
    }

    /// Whether it is kept from the outside.
    pub fn is_internal(&self) -> bool {
        self.network.as_ref().is_some_and(|network| network.internal)
    }

    /// The containers on it, by id.
    pub fn containers(&self) -> anyhow::Result<BTreeMap<String, Value>> {
        let Some(network) = &self.network else { return Ok(BTreeMap::new()) };
        let held = Registry::lock()?.attachments(network)?;
        let entry = |held: coracle_netns::Attachment| {
            let name = Record::read(&held.container).map(|record| record.short_name().to_owned()).unwrap_or_default();
            let value = json!({
                "Name": name,
                "EndpointID": held.endpoint,
                "MacAddress": held.mac,
                "IPv4Address": format!("{}/{}", held.ip, held.prefix),
                "IPv6Address": held.ipv6.map(|ip| format!("{ip}/{}", held.prefix6)).unwrap_or_default(),
            });
            (held.container, value)
        };
        Ok(held.into_iter().map(entry).collect())
    }

    /// All that is known of it.
    pub fn document(&self) -> anyhow::Result<Value> {
        let network = self.network.as_ref();
        Ok(json!({
            "Name": self.name,
            "Id": self.id,
            "Created": self.created(),
            "Scope": "local",
            "Driver": self.driver,
            "EnableIPv4": true,
            "EnableIPv6": self.has_ipv6(),
            "IPAM": { "Driver": "default", "Options": network.map(|_| json!({})), "Config": network.map(pools) },
            "Internal": self.is_internal(),
            "Attachable": network.is_some_and(|network| network.attachable),
            "Ingress": false,
            "ConfigFrom": { "Network": "" },
            "ConfigOnly": false,
            "Containers": self.containers()?,
            "Options": network.map(options).unwrap_or_default(),
            "Labels": self.labels(),
        }))
    }
}

fn pools(network: &Network) -> Vec<Value> {
    let pool = |subnet: String, gateway: String, range: Option<String>, ipv6: bool| {
        let mut pool = json!({ "Subnet": subnet, "Gateway": gateway });
        if let Some(range) = range {
            pool["IPRange"] = range.into();
        }
        let reserved = network.reserved.iter().filter(|(_, ip)| ip.is_ipv6() == ipv6);
        let reserved: BTreeMap<_, _> = reserved.map(|(name, ip)| (name.clone(), ip.to_string())).collect();
        if !reserved.is_empty() {
            pool["AuxiliaryAddresses"] = json!(reserved);
        }
        pool
    };
    let text = |range: &dyn ToString| range.to_string();
    let mut pools =
        vec![pool(network.cidr(), network.gateway.to_string(), network.range.as_ref().map(|range| text(range)), false)];
    pools.extend(network.ipv6.as_ref().map(|six| {
        pool(six.subnet.to_string(), six.gateway.to_string(), six.range.as_ref().map(|range| text(range)), true)
    }));
    pools
}

fn options(network: &Network) -> BTreeMap<String, String> {
    let mut options = network.options.clone();
    if network.name == "bridge" {
        options.insert("com.docker.network.bridge.default_bridge".into(), "true".into());
        options.insert("com.docker.network.bridge.name".into(), network.bridge.clone());
    }
    options
}
