//! What a container may do: the system call filter, the paths that it does not see, the host's devices.

use std::collections::HashSet;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{Context, bail};
use oci_spec::runtime::{Capability, LinuxDevice, LinuxDeviceType, LinuxSeccomp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::options_security::{Seccomp, Security};
use super::record::{HostConfig, Record};
use super::spec::device_node;
use crate::runtime;

/// Covered and read-only paths of a new container.
pub fn paths(host: &HostConfig) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let security = Security::of(&host.security_opt).map_err(anyhow::Error::msg)?;
    let spec = runtime::default_spec();
    let linux = spec.linux().clone().unwrap_or_default();
    let of = |paths: &Option<Vec<String>>| {
        if host.privileged { Vec::new() } else { security.keep(paths.as_deref().unwrap_or_default()) }
    };
    let masked = of(linux.masked_paths()).into_iter().chain(security.mask.clone()).collect();
    Ok((masked, of(linux.readonly_paths())))
}

/// The filter of a container with these capabilities.
pub fn seccomp(
    record: &Record,
    security: &Security,
    capabilities: &HashSet<Capability>,
) -> anyhow::Result<Option<LinuxSeccomp>> {
    match &security.seccomp {
        Seccomp::Default if record.host_config.privileged => Ok(None),
        Seccomp::Default => Ok(Some(runtime::default_seccomp(capabilities))),
        Seccomp::Unconfined => Ok(None),
        Seccomp::Profile(text) => profile(text, capabilities).map(Some).context("Decoding seccomp profile failed"),
    }
}

/// A profile in Docker's form (moby profiles/seccomp): the runtime's, and conditions for some of its rules.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: Value,
    #[serde(default)]
    default_errno_ret: Value,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    flags: Value,
    #[serde(default)]
    listener_path: Value,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: Value,
    #[serde(default)]
    errno_ret: Value,
    #[serde(default)]
    args: Option<Vec<Value>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    arches: Vec<String>,
    caps: Vec<String>,
    min_kernel: String,
}

impl Rule {
    fn holds(&self, capabilities: &HashSet<Capability>) -> bool {
        let has = |name: &String| {
            let name = name.strip_prefix("CAP_").unwrap_or(name);
            name.parse().is_ok_and(|capability: Capability| capabilities.contains(&capability))
        };
        let is_arch = |arches: &[String]| arches.iter().any(|arch| arch == go_arch());
        let included = self.includes.as_ref().is_none_or(|wanted| {
            (wanted.arches.is_empty() || is_arch(&wanted.arches))
                && wanted.caps.iter().all(has)
                && (wanted.min_kernel.is_empty() || kernel_is_at_least(&wanted.min_kernel))
        });
        let excluded = self.excludes.as_ref().is_some_and(|unwanted| {
            is_arch(&unwanted.arches)
                || unwanted.caps.iter().any(has)
                || !unwanted.min_kernel.is_empty() && kernel_is_at_least(&unwanted.min_kernel)
        });
        included && !excluded
    }

    fn json(&self) -> Value {
        let names = self.names.clone().filter(|names| !names.is_empty()).unwrap_or_else(|| vec![self.name.clone()]);
        let mut rule = json!({ "names": names, "action": self.action });
        if !self.errno_ret.is_null() {
            rule["errnoRet"] = self.errno_ret.clone();
        }
        if let Some(args) = self.args.as_ref().filter(|args| !args.is_empty()) {
            rule["args"] = json!(args);
        }
        rule
    }
}

fn go_arch() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn native_arch() -> &'static str {
    if cfg!(target_arch = "aarch64") { "SCMP_ARCH_AARCH64" } else { "SCMP_ARCH_X86_64" }
}

fn kernel_is_at_least(wanted: &str) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    version(&release) >= version(wanted)
}

/// Major and minor number.
fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// Read a profile for a container with these capabilities.
fn profile(text: &str, capabilities: &HashSet<Capability>) -> anyhow::Result<LinuxSeccomp> {
    let profile: Profile = serde_json::from_str(text)?;
    let given = profile.architectures.filter(|all| !all.is_empty());
    let map = profile.arch_map.filter(|all| !all.is_empty());
    let architectures = match (given, map) {
        (Some(_), Some(_)) => bail!(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'"
        ),
        (Some(given), None) => given,
        (None, map) => {
            let own = map.into_iter().flatten().filter(|entry| entry.architecture == native_arch());
            own.flat_map(|entry| std::iter::once(entry.architecture).chain(entry.sub_architectures.unwrap_or_default()))
                .collect()
        }
    };
    let rules = profile.syscalls.unwrap_or_default();
    for rule in &rules {
        let names = rule.names.as_deref().unwrap_or_default();
        if !rule.name.is_empty() && !names.is_empty() {
            bail!("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'");
        }
    }
    let rules: Vec<Value> = rules.iter().filter(|rule| rule.holds(capabilities)).map(Rule::json).collect();
    let mut whole =
        json!({ "defaultAction": profile.default_action, "architectures": architectures, "syscalls": rules });
    for (key, value) in [
        ("defaultErrnoRet", profile.default_errno_ret),
        ("flags", profile.flags),
        ("listenerPath", profile.listener_path),
    ] {
        if !value.is_null() {
            whole[key] = value;
        }
    }
    Ok(serde_json::from_value(whole)?)
}

/// All devices of the host's /dev, for a privileged container.
pub fn host_devices() -> anyhow::Result<Vec<LinuxDevice>> {
    let mut all = Vec::new();
    add_devices(Path::new("/dev"), &mut all).context("cannot list /dev")?;
    Ok(all)
}

fn add_devices(dir: &Path, all: &mut Vec<LinuxDevice>) -> std::io::Result<()> {
    // Not devices of the host's, or other file systems that a container has of its own.
    const LEFT_OUT: [&str; 8] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"];
    for entry in std::fs::read_dir(dir)?.filter_map(Result::ok) {
        let (kind, path) = (entry.file_type()?, entry.path());
        let device = match kind {
            _ if LEFT_OUT.iter().any(|name| entry.file_name() == *name) => continue,
            kind if kind.is_dir() => {
                add_devices(&path, all)?;
                continue;
            }
            kind if kind.is_char_device() => LinuxDeviceType::C,
            kind if kind.is_block_device() => LinuxDeviceType::B,
            _ => continue,
        };
        // One that has gone meanwhile is none.
        if let (Ok(meta), Some(path)) = (entry.metadata(), path.to_str()) {
            all.push(device_node(path, device, &meta));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_of_dockers_form() {
        let text = r#"{ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
            "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"] },
                        { "architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"] }],
            "syscalls": [
                { "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "", "includes": {}, "excludes": {} },
                { "name": "write", "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 1, "valueTwo": 0, "op": "SCMP_CMP_EQ" }] },
                { "names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_ADMIN"] } },
                { "names": ["kill"], "action": "SCMP_ACT_ALLOW", "excludes": { "caps": ["CAP_CHOWN"] } },
                { "names": ["dup"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "99.0" } },
                { "names": ["pipe"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["s390x"] } } ] }"#;
        let found = profile(text, &HashSet::from([Capability::Chown])).unwrap();
        let names: Vec<_> = found.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect();
        assert_eq!(names, ["read", "write"]);
        assert_eq!(found.architectures().as_ref().map(Vec::len), Some(2));
        let admin = profile(text, &HashSet::from([Capability::SysAdmin])).unwrap();
        assert_eq!(admin.syscalls().as_ref().map(Vec::len), Some(4));
        assert!(profile("{}", &HashSet::new()).is_err());
    }

    #[test]
    fn privileged_sees_all() {
        let host = HostConfig { privileged: true, ..HostConfig::default() };
        assert_eq!(paths(&host).unwrap(), (vec![], vec![]));
        let masked = HostConfig { security_opt: vec!["mask=/proc/cpuinfo".into()], ..HostConfig::default() };
        assert!(paths(&masked).unwrap().0.contains(&"/proc/cpuinfo".to_owned()));
    }
}
