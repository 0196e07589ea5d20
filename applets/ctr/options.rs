//! What `ctr run` and `ctr create` take.

use std::path::PathBuf;

use clap::{ArgAction, ValueEnum};
use coracle_image_oci::Platform;
use coracle_netns::PortMapping;

use super::build::pattern::clean;
use super::network_options::NetworkOptions;
use super::options_env::{parse_label, parse_pair};
use super::options_health::{HealthOptions, parse_restart};
use super::options_limits::LimitOptions;
use super::options_mounts::{MountOption, Volume, parse_mount, parse_tmpfs, parse_volume};
use super::options_network::NameOptions;
use super::options_refused::RefusedOptions;
use super::record::{Device, RestartPolicy};
use super::{names, options_log, options_security, options_spaces, signals};

/// Options of a new container.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,

    /// Keep standard input open
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
          action = ArgAction::Set)]
    pub interactive: bool,

    /// Give it a terminal
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
          action = ArgAction::Set)]
    pub tty: bool,

    /// Streams to follow: stdin, stdout, stderr
    #[arg(short, long, value_name = "STREAM", value_parser = parse_stream)]
    pub attach: Vec<String>,

    /// Remove the container and its anonymous volumes when it ends
    #[arg(long = "rm", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
          action = ArgAction::Set)]
    pub remove: bool,

    /// Name of the container
    #[arg(long, value_parser = names::parse)]
    pub name: Option<String>,

    /// Write the container's id to a new file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,

    /// Set an environment variable, or pass one on
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub env: Vec<String>,

    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,

    /// Mount a host directory or a volume, by its name or a new one; options are ro, rw, nocopy, z, Z and a propagation
    #[arg(short, long, value_name = "[SOURCE:]PATH[:OPTIONS]", value_parser = parse_volume)]
    pub volume: Vec<Volume>,

    /// The same, and a tmpfs, as type=bind|volume|tmpfs,source=…,target=…
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = parse_mount)]
    pub mount: Vec<MountOption>,

    /// Mount a tmpfs
    #[arg(long, value_name = "PATH[:OPTIONS]", value_parser = parse_tmpfs)]
    pub tmpfs: Vec<(String, String)>,

    /// Mount what another container has
    #[arg(long, value_name = "CONTAINER[:ro|:rw]")]
    pub volumes_from: Vec<String>,

    /// Make the root file system read-only
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
          action = ArgAction::Set)]
    pub read_only: bool,

    /// User and group
    #[arg(short, long, value_name = "NAME|UID[:GROUP|GID]")]
    pub user: Option<String>,

    /// Further groups
    #[arg(long, value_name = "GROUP|GID")]
    pub group_add: Vec<String>,

    /// Working directory
    #[arg(short, long, value_name = "DIR", value_parser = parse_workdir)]
    pub workdir: Option<String>,

    /// Replace the image's entry point; empty for none
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,

    /// Run the program below a small init that reaps and passes signals on
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
          action = ArgAction::Set)]
    pub init: bool,

    /// Publish a port on the host
    #[arg(short, long, value_name = "[[ADDRESS:]HOST-PORT:]PORT[/tcp|/udp]", value_parser = parse_ports)]
    pub publish: Vec<Ports>,

    #[command(flatten)]
    pub networks: NetworkOptions,

    /// Pod that it is to be in
    #[arg(long, value_name = "POD")]
    pub pod: Option<String>,

    #[command(flatten)]
    pub names: NameOptions,

    /// Host name
    #[arg(short = 'h', long, value_parser = parse_hostname)]
    pub hostname: Option<String>,

    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = parse_label)]
    pub label: Vec<String>,

    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,

    /// Set an annotation of the runtime's specification
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub annotation: Vec<(String, String)>,

    /// Give all: capabilities, devices, the kernel's files
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
          action = ArgAction::Set)]
    pub privileged: bool,

    /// Give a capability, or ALL
    #[arg(long, value_name = "CAPABILITY", value_parser = super::spec::parse_capability)]
    pub cap_add: Vec<String>,

    /// Take a capability, or ALL
    #[arg(long, value_name = "CAPABILITY", value_parser = super::spec::parse_capability)]
    pub cap_drop: Vec<String>,

    /// no-new-privileges[=false], seccomp=unconfined|FILE, systempaths=unconfined, mask=PATHS, unmask=PATHS|ALL
    #[arg(long, value_name = "OPTION", value_parser = options_security::parse)]
    pub security_opt: Vec<String>,

    /// Set a sysctl of the container's namespaces
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub sysctl: Vec<(String, String)>,

    /// Give a device of the host
    #[arg(long, value_name = "HOST[:CONTAINER][:rwm]", value_parser = parse_device)]
    pub device: Vec<Device>,

    /// Allow devices by number, as 'c 42:* rwm'
    #[arg(long, value_name = "RULE", value_parser = options_security::parse_device_rule)]
    pub device_cgroup_rule: Vec<String>,

    #[command(flatten)]
    pub limits: LimitOptions,

    #[command(flatten)]
    pub spaces: options_spaces::SpaceOptions,

    #[command(flatten)]
    pub log: options_log::LogOptions,

    #[command(flatten)]
    pub health: HealthOptions,

    /// When to start it again: no, always, unless-stopped, on-failure[:MAX]
    #[arg(long, value_name = "POLICY", default_value = "no", value_parser = parse_restart)]
    pub restart: RestartPolicy,

    /// Signal that `ctr stop` sends first
    #[arg(long, value_name = "SIGNAL", value_parser = signals::parse)]
    pub stop_signal: Option<i32>,

    /// Seconds that `ctr stop` waits; -1 for ever
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true, value_parser = clap::value_parser!(i64).range(-1..))]
    pub stop_timeout: Option<i64>,

    /// When to pull the image
    #[arg(long, value_enum, default_value_t = PullPolicy::Missing)]
    pub pull: PullPolicy,

    /// Say nothing while the image is pulled
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
          action = ArgAction::Set)]
    pub quiet: bool,

    /// Platform of the image, as OS[/ARCHITECTURE[/VARIANT]]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<Platform>,

    /// Docker's content trust, which is not used here; signatures are a matter of the host's policy
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true",
          action = ArgAction::Set)]
    disable_content_trust: bool,

    #[command(flatten)]
    refused: RefusedOptions,

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

/// One `-p`: a mapping for each port of a range.
#[derive(Clone, Debug)]
pub struct Ports(pub Vec<PortMapping>);

fn parse_ports(text: &str) -> Result<Ports, coracle_netns::Error> {
    PortMapping::parse_all(text).map(Ports)
}

fn parse_stream(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    match name.as_str() {
        "stdin" | "stdout" | "stderr" => Ok(name),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".into()),
    }
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
    format!("/{}", clean(path))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn never_panics(text in ".{0,60}") {
            let _ = parse_device(&text);
            let _ = parse_hostname(&text);
        }

        #[test]
        fn normalized_paths_stay_inside(text in "/[a-z./]{0,30}") {
            let path = normalize(&text);
            prop_assert!(path.starts_with('/') && !path.contains("//") && !path.split('/').any(|part| part == ".." || part == "."));
        }
    }
}
