//! What `ctr run` and `ctr create` take.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{ArgAction, ValueEnum};
use coracle_cgroups::units::{Cpus, parse_size};
use coracle_netns::PortMapping;

use super::record::Device;
use super::{names, signals};

/// Options of a new container.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,

    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,

    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// Remove the container and its anonymous volumes when it ends
    #[arg(long = "rm")]
    pub remove: bool,

    /// Name of the container
    #[arg(long, value_parser = names::parse)]
    pub name: Option<String>,

    /// Set an environment variable, or pass one on
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub env: Vec<String>,

    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,

    /// Mount a host directory or a volume, by its name or a new one; options are ro, rw, nocopy
    #[arg(short, long, value_name = "[SOURCE:]PATH[:OPTIONS]", value_parser = parse_volume)]
    pub volume: Vec<Volume>,

    /// Limit of memory, in bytes or with k, m, g
    #[arg(short, long, value_name = "SIZE", value_parser = parse_memory)]
    pub memory: Option<u64>,

    /// Limit of memory and swap together; -1 for no limit of swap
    #[arg(long, value_name = "SIZE", value_parser = parse_swap, allow_hyphen_values = true, requires = "memory")]
    pub memory_swap: Option<i64>,

    /// Limit of CPU time, as a number of CPUs
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<Cpus>,

    /// Limit of the number of tasks; -1 for none
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(-1..), allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,

    /// Make the root file system read-only
    #[arg(long)]
    pub read_only: bool,

    /// User and group
    #[arg(short, long, value_name = "NAME|UID[:GROUP|GID]")]
    pub user: Option<String>,

    /// Working directory
    #[arg(short, long, value_name = "DIR", value_parser = parse_workdir)]
    pub workdir: Option<String>,

    /// Replace the image's entry point; empty for none
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,

    /// Publish a port on the host
    #[arg(short, long, value_name = "[[ADDRESS:]HOST-PORT:]PORT[/tcp|/udp]", value_parser = parse_ports)]
    pub publish: Vec<Ports>,

    /// Network
    #[arg(long, visible_alias = "net", value_enum, default_value_t = NetworkMode::Bridge)]
    pub network: NetworkMode,

    /// Host name
    #[arg(short = 'h', long, value_parser = parse_hostname)]
    pub hostname: Option<String>,

    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,

    /// Give a capability, or ALL
    #[arg(long, value_name = "CAPABILITY", value_parser = super::spec::parse_capability)]
    pub cap_add: Vec<String>,

    /// Take a capability, or ALL
    #[arg(long, value_name = "CAPABILITY", value_parser = super::spec::parse_capability)]
    pub cap_drop: Vec<String>,

    /// Give a device of the host
    #[arg(long, value_name = "HOST[:CONTAINER][:rwm]", value_parser = parse_device)]
    pub device: Vec<Device>,

    /// Signal that `ctr stop` sends first
    #[arg(long, value_name = "SIGNAL", value_parser = signals::parse)]
    pub stop_signal: Option<i32>,

    /// When to pull the image
    #[arg(long, value_enum, default_value_t = PullPolicy::Missing)]
    pub pull: PullPolicy,

    /// IMAGE is a directory of the host; it is never written to
    #[arg(long)]
    pub rootfs: bool,

    /// Image, and the command to run in place of its own
    #[arg(value_name = "IMAGE", required = true, num_args = 1.., trailing_var_arg = true)]
    pub image_and_command: Vec<String>,
}

impl Options {
    /// The image.
    pub fn image(&self) -> &str {
        self.image_and_command.first().map_or("", String::as_str)
    }

    /// The command, empty for the image's.
    pub fn command(&self) -> &[String] {
        self.image_and_command.get(1..).unwrap_or_default()
    }
}

/// `--network`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NetworkMode {
    /// A namespace of its own, on the host's bridge, with NAT
    Bridge,
    /// The host's
    Host,
    /// A namespace of its own, with loopback only
    None,
}

impl NetworkMode {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            NetworkMode::Bridge => "bridge",
            NetworkMode::Host => "host",
            NetworkMode::None => "none",
        }
    }
}

/// `--pull`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PullPolicy {
    /// Always
    Always,
    /// When it is not there
    Missing,
    /// Never
    Never,
}

/// One `-v`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// As given.
    pub text: String,
    /// An absolute path, or a volume's name; `None` for an anonymous volume.
    pub source: Option<String>,
    /// Absolute path in the container.
    pub destination: String,
    /// Options as given.
    pub mode: String,
    /// Read-only.
    pub read_only: bool,
}

/// One `-p`: a mapping for each port of a range.
#[derive(Clone, Debug)]
pub struct Ports(pub Vec<PortMapping>);

fn parse_ports(text: &str) -> Result<Ports, coracle_netns::Error> {
    PortMapping::parse_all(text).map(Ports)
}

fn parse_volume(text: &str) -> Result<Volume, String> {
    let parts: Vec<_> = text.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        [destination] => (None, destination, ""),
        [source, destination] => (Some(source), destination, ""),
        [source, destination, mode] => (Some(source), destination, mode),
        _ => return Err("wanted SOURCE:PATH[:OPTIONS]".into()),
    };
    let destination = parse_destination(destination)?;
    if let Some(source) = source
        && !source.starts_with('/')
    {
        names::parse(source).map_err(|_| format!("{source:?} is neither an absolute path nor a volume's name"))?;
    }
    let mut read_only = false;
    for option in mode.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            // SELinux labels: there is no SELinux here.
            "z" | "Z" => {}
            "nocopy" if source.is_none_or(|source| !source.starts_with('/')) => {}
            other => return Err(format!("unknown volume option {other:?}")),
        }
    }
    Ok(Volume { text: text.into(), source: source.map(Into::into), destination, mode: mode.into(), read_only })
}

/// Where a volume is to be mounted.
pub fn parse_destination(text: &str) -> Result<String, String> {
    let path = normalize(text);
    if !text.starts_with('/') || path == "/" {
        return Err(format!("{text:?} must be an absolute path in the container, and not its root"));
    }
    Ok(path)
}

fn parse_device(text: &str) -> Result<Device, String> {
    let is_access = |part: &str| !part.is_empty() && part.chars().all(|letter| "rwm".contains(letter));
    let parts: Vec<_> = text.split(':').collect();
    let (host, container, access) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, access] if is_access(access) => (host, host, access),
        [host, container] => (host, container, "rwm"),
        [host, container, access] if is_access(access) => (host, container, access),
        _ => return Err("wanted HOST[:CONTAINER][:rwm]".into()),
    };
    for path in [host, container] {
        if !path.starts_with('/') || normalize(path) == "/" {
            return Err(format!("{path:?} must be an absolute path of a device"));
        }
    }
    Ok(Device { path_on_host: host.into(), path_in_container: normalize(container), cgroup_permissions: access.into() })
}

/// An absolute path without `.`, `..` and doubled slashes.
pub fn normalize(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

fn parse_memory(text: &str) -> Result<u64, String> {
    // Docker's minimum: less does not hold a process.
    const MIN: u64 = 6 << 20;
    let bytes = parse_size(text).map_err(|error| error.to_string())?;
    if bytes != 0 && bytes < MIN { Err("Minimum memory limit allowed is 6MB".into()) } else { Ok(bytes) }
}

fn parse_swap(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    parse_size(text).map(u64::cast_signed).map_err(|error| error.to_string())
}

fn parse_workdir(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        Ok(normalize(text))
    } else {
        Err(format!("the working directory {text:?} must be an absolute path"))
    }
}

fn parse_hostname(text: &str) -> Result<String, String> {
    let valid = (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        && !text.starts_with(['-', '.']);
    if valid { Ok(text.into()) } else { Err(format!("{text:?} is no host name")) }
}

/// The environment: the image's, then the files', then `-e`; a name that comes again replaces its value in place.
pub fn environment(image: &[String], files: &[PathBuf], given: &[String]) -> anyhow::Result<Vec<String>> {
    let mut all = image.to_vec();
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        for entry in text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            set_variable(&mut all, entry).with_context(|| format!("in {}", file.display()))?;
        }
    }
    given.iter().try_for_each(|entry| set_variable(&mut all, entry))?;
    Ok(all)
}

/// `KEY=VALUE`, or `KEY` to pass on the caller's value.
pub fn set_variable(all: &mut Vec<String>, entry: &str) -> anyhow::Result<()> {
    let (key, value) = match entry.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (entry, std::env::var(entry).ok()),
    };
    anyhow::ensure!(!key.is_empty() && !key.contains(char::is_whitespace), "{entry:?} is no environment variable");
    let same = |other: &String| other.split('=').next() == Some(key);
    let Some(value) = value else {
        return Ok(());
    };
    let entry = format!("{key}={value}");
    match all.iter_mut().find(|other| same(other)) {
        Some(other) => *other = entry,
        None => all.push(entry),
    }
    Ok(())
}

/// Labels: the image's, then the given ones.
pub fn labels(image: BTreeMap<String, String>, given: &[String]) -> BTreeMap<String, String> {
    let given = given.iter().map(|label| label.split_once('=').unwrap_or((label, "")));
    image.into_iter().chain(given.map(|(key, value)| (key.to_owned(), value.to_owned()))).collect()
}

/// A bind mount's source.
pub fn is_path(source: &str) -> bool {
    Path::new(source).is_absolute()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn volumes() {
        let bind = parse_volume("/srv:/data:ro").unwrap();
        assert_eq!((bind.source.as_deref(), bind.destination.as_str(), bind.read_only), (Some("/srv"), "/data", true));
        assert_eq!(parse_volume("db:/var//lib/../db").unwrap().destination, "/var/db");
        assert_eq!(parse_volume("/data").unwrap().source, None);
        for wrong in ["", "a:b", "./x:/y", "../x:/y", "x:/", "x:/..", "a:/b:xx", "a:/b:ro:c", ":/x", "/a:/b:nocopy"] {
            assert!(parse_volume(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn devices() {
        let parts = |text| {
            let device = parse_device(text).unwrap();
            (device.path_on_host, device.path_in_container, device.cgroup_permissions)
        };
        let wanted = |host: &str, container: &str, access: &str| (host.into(), container.into(), access.into());
        assert_eq!(parts("/dev/fuse"), wanted("/dev/fuse", "/dev/fuse", "rwm"));
        assert_eq!(parts("/dev/fuse:r"), wanted("/dev/fuse", "/dev/fuse", "r"));
        assert_eq!(parts("/dev/fuse:/dev/x"), wanted("/dev/fuse", "/dev/x", "rwm"));
        assert_eq!(parts("/dev/fuse:/dev/x:rw"), wanted("/dev/fuse", "/dev/x", "rw"));
        for wrong in ["", "fuse", "/dev/fuse:", "/dev/fuse:x", "/dev/fuse:/dev/x:", "/dev/fuse:/dev/x:rwx", "/:/dev/x"]
        {
            assert!(parse_device(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn environment_is_replaced_in_place() {
        let image = ["A=1".to_owned(), "B=2".to_owned()];
        let given = ["A=3".to_owned(), "C=x=y".to_owned(), "CORACLE_NO_SUCH_VARIABLE".to_owned()];
        assert_eq!(environment(&image, &[], &given).unwrap(), ["A=3", "B=2", "C=x=y"]);
        assert!(environment(&[], &[], &["=x".to_owned()]).is_err());
    }

    #[test]
    fn memory_has_a_minimum() {
        assert!(parse_memory("1m").is_err());
        assert_eq!(parse_memory("64m"), Ok(64 << 20));
        assert_eq!(parse_swap("-1"), Ok(-1));
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,60}") {
            let _ = parse_volume(&text);
            let _ = parse_device(&text);
            let _ = parse_hostname(&text);
            let _ = set_variable(&mut Vec::new(), &text);
        }

        #[test]
        fn normalized_paths_stay_inside(text in "/[a-z./]{0,30}") {
            let path = normalize(&text);
            prop_assert!(path.starts_with('/') && !path.contains("//") && !path.split('/').any(|part| part == ".." || part == "."));
        }
    }
}
