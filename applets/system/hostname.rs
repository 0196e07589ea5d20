//! `hostname`: show or set the machine's name (net-tools hostname(1)).

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::ToSocketAddrs as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;

use crate::common;
use crate::registry::{Applet, Dir};

/// `hostname`.
pub const APPLET: Applet =
    Applet { name: "hostname", aliases: &[], dir: Dir::Bin, summary: "show or set the machine's name", run };

/// Longest name that the kernel takes (__NEW_UTS_LEN).
const MAX_NAME: usize = 64;

#[derive(Parser)]
#[command(name = "hostname", about = "Show or set the machine's name until the next boot")]
struct Options {
    /// The name up to the first dot
    #[arg(short, long, group = "what")]
    short: bool,
    /// The name with its domain, as the resolver knows it
    #[arg(short, long, visible_alias = "long", group = "what")]
    fqdn: bool,
    /// The domain
    #[arg(short, long, group = "what")]
    domain: bool,
    /// The addresses that the name resolves to
    #[arg(short, long, group = "what")]
    ip_address: bool,
    /// Take the name from a file
    #[arg(short = 'F', long, value_name = "FILE", conflicts_with = "name")]
    file: Option<PathBuf>,
    /// The new name
    #[arg(conflicts_with = "what")]
    name: Option<String>,
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 1, |_, options: Options| act(&options).map(|()| 0))
}

fn act(options: &Options) -> anyhow::Result<()> {
    if let Some(path) = &options.file {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        return set(name.with_context(|| format!("{} holds no name", path.display()))?);
    }
    if let Some(name) = &options.name {
        return set(name);
    }
    let name = nix::unistd::gethostname().context("cannot read the machine's name")?;
    let name = name.to_string_lossy().into_owned();
    let text = if options.short {
        name.split('.').next().unwrap_or_default().to_owned()
    } else if options.fqdn {
        full_name(&name)
    } else if options.domain {
        full_name(&name).split_once('.').map_or("", |(_, domain)| domain).to_owned()
    } else if options.ip_address {
        addresses(&name)?
    } else {
        name
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

fn set(name: &str) -> anyhow::Result<()> {
    check(name)?;
    nix::unistd::sethostname(name).with_context(|| format!("cannot set the name to {name}"))
}

/// Letters, digits, hyphens and dots (RFC 1123, 2.1), no label empty or with a hyphen at an end.
fn check(name: &str) -> anyhow::Result<()> {
    let label_is_good = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let good = name.len() <= MAX_NAME && name.split('.').all(label_is_good);
    anyhow::ensure!(good, "{name:?}: a name has at most {MAX_NAME} letters, digits, dots and inner hyphens");
    Ok(())
}

/// The first name with a dot that /etc/hosts gives to this name; else the name itself.
fn full_name(name: &str) -> String {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    name_in(&hosts, name).unwrap_or_else(|| name.to_owned())
}

fn name_in(hosts: &str, name: &str) -> Option<String> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut named = lines.map(|line| line.split_whitespace().skip(1).collect::<Vec<&str>>());
    let names = named.find(|names| names.contains(&name))?;
    names.first().map(|first| (*first).to_owned())
}

fn addresses(name: &str) -> anyhow::Result<String> {
    let found = (name, 0).to_socket_addrs().with_context(|| format!("cannot resolve {name}"))?;
    let mut texts: Vec<String> = found.map(|address| address.ip().to_string()).collect();
    texts.dedup();
    Ok(texts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["coracle", "node-1.example.org", "a"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a..b", "a b", "ä", &"a".repeat(65)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn full_names_come_from_hosts() {
        let hosts = "127.0.0.1 localhost\n10.0.0.1 node.example.org node # that is us\n";
        assert_eq!(name_in(hosts, "node"), Some("node.example.org".into()));
        assert_eq!(name_in(hosts, "other"), None);
    }
}
