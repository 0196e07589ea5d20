//! `features`: what this runtime can do (runtime-spec features.md).

use std::io::{self, Write};

use serde_json::{Value, json};

use super::SPEC_VERSION;
use crate::runtime;

/// In the order of linux/capability.h.
const CAPABILITIES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE \
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT \
    SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE \
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE";

/// Print the document.
pub fn features() -> anyhow::Result<i32> {
    let text = serde_json::to_string_pretty(&document())?.replace("  ", "    ");
    writeln!(io::stdout(), "{text}")?;
    Ok(0)
}

fn document() -> Value {
    let known = runtime::features();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": known.hooks,
        "mountOptions": known.mount_options,
        "linux": {
            "namespaces": known.namespaces,
            "capabilities": capabilities(),
            "cgroup": {"v1": false, "v2": true, "systemd": false, "systemdUser": false, "rdma": true},
            "seccomp": {
                "enabled": true,
                "actions": known.seccomp_actions,
                "operators": known.seccomp_operators,
                "archs": known.seccomp_architectures,
                "knownFlags": known.seccomp_flags,
                "supportedFlags": known.seccomp_flags,
            },
            "apparmor": {"enabled": known.apparmor},
            "selinux": {"enabled": known.selinux},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": known.idmapped_mounts}},
        },
        "annotations": {"org.coracle.version": env!("CARGO_PKG_VERSION")},
        "potentiallyUnsafeConfigAnnotations": [],
    })
}

/// All that the specification names.
fn capabilities() -> Vec<String> {
    CAPABILITIES.split_ascii_whitespace().map(|name| format!("CAP_{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_is_of_the_specification() {
        let features: oci_spec::runtime::Features = serde_json::from_value(document()).unwrap();
        assert_eq!(features.oci_version_max(), SPEC_VERSION);
        assert!(features.mount_options().as_ref().unwrap().is_sorted());
    }
}
