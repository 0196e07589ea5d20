//! `HostConfig` of a record: what the host grants a container, in the form that `docker inspect` prints.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::options_mounts::MountOption;
use super::record::PortMap;

/// `HostConfig`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfig {
    /// `-v` as given.
    pub binds: Vec<String>,
    /// `--cidfile`.
    #[serde(rename = "ContainerIDFile")]
    pub container_id_file: String,
    /// `--log-driver` and `--log-opt`.
    pub log_config: LogConfig,
    /// `bridge`, `host`, `none`, or what else `--network` names.
    pub network_mode: String,
    /// Published ports.
    pub port_bindings: PortMap,
    /// `--restart`.
    pub restart_policy: RestartPolicy,
    /// `--rm`.
    pub auto_remove: bool,
    /// Always empty.
    pub volume_driver: String,
    /// `--volumes-from` as given.
    pub volumes_from: Vec<String>,
    /// `--privileged`.
    pub privileged: bool,
    /// `-P`.
    pub publish_all_ports: bool,
    /// `--read-only`.
    pub readonly_rootfs: bool,
    /// `--cap-add`.
    pub cap_add: Vec<String>,
    /// `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// `--cgroupns`: `private` or `host`.
    pub cgroupns_mode: String,
    /// `--dns`.
    pub dns: Vec<String>,
    /// `--dns-option`.
    pub dns_options: Vec<String>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--add-host`, as `NAME:ADDRESS`.
    pub extra_hosts: Vec<String>,
    /// `--group-add`.
    pub group_add: Vec<String>,
    /// `--ipc`: `private`, `shareable`, `host`, `none` or `container:ID`.
    pub ipc_mode: String,
    /// `--pid`: empty, `host` or `container:ID`.
    pub pid_mode: String,
    /// `--uts`: empty or `host`.
    #[serde(rename = "UTSMode")]
    pub uts_mode: String,
    /// `--userns`: empty, `host` or `auto`.
    pub userns_mode: String,
    /// `--oom-score-adj`.
    pub oom_score_adj: i32,
    /// `--security-opt` as given; a profile is stored whole.
    pub security_opt: Vec<String>,
    /// `--tmpfs`: path to options.
    pub tmpfs: BTreeMap<String, String>,
    /// `--shm-size` in bytes.
    pub shm_size: u64,
    /// `--sysctl`.
    pub sysctls: BTreeMap<String, String>,
    /// `--annotation`.
    pub annotations: BTreeMap<String, String>,
    /// `--init`.
    pub init: bool,
    /// Always our own.
    pub runtime: String,
    /// Always empty.
    pub isolation: String,
    /// `--mount`.
    pub mounts: Vec<MountOption>,
    /// Paths that are covered.
    pub masked_paths: Vec<String>,
    /// Paths that cannot be written to.
    pub readonly_paths: Vec<String>,
    /// `--device`.
    pub devices: Vec<Device>,
    /// `--device-cgroup-rule`.
    pub device_cgroup_rules: Vec<String>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--cgroup-parent`.
    pub cgroup_parent: String,
    /// Bytes; 0 is no limit.
    pub memory: u64,
    /// Bytes of memory and swap together; 0 is twice the memory, -1 no limit.
    pub memory_swap: i64,
    /// `--memory-reservation` in bytes; 0 is none.
    pub memory_reservation: u64,
    /// Billionths of a CPU; 0 is no limit.
    pub nano_cpus: u64,
    /// `--cpu-shares`, 1024 is the default's weight; 0 is the default.
    pub cpu_shares: u64,
    /// `--cpu-period` in microseconds; 0 is the default.
    pub cpu_period: u64,
    /// `--cpu-quota` in microseconds; 0 or less is no limit.
    pub cpu_quota: i64,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: String,
    /// `--cpuset-mems`.
    pub cpuset_mems: String,
    /// `--blkio-weight`, 10 to 1000; 0 is the default.
    pub blkio_weight: u16,
    /// `--blkio-weight-device`.
    pub blkio_weight_device: Vec<WeightDevice>,
    /// `--device-read-bps`.
    pub blkio_device_read_bps: Vec<ThrottleDevice>,
    /// `--device-write-bps`.
    pub blkio_device_write_bps: Vec<ThrottleDevice>,
    /// `--device-read-iops`.
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Vec<ThrottleDevice>,
    /// `--device-write-iops`.
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Vec<ThrottleDevice>,
    /// Tasks; 0 is no limit.
    pub pids_limit: u64,
    /// Always false.
    pub oom_kill_disable: bool,
}

/// `HostConfig.LogConfig`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfig {
    /// `json-file`, `local` or `none`.
    #[serde(rename = "Type")]
    pub driver: String,
    /// `--log-opt`.
    pub config: BTreeMap<String, String>,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { driver: "json-file".into(), config: BTreeMap::new() }
    }
}

/// `HostConfig.RestartPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicy {
    /// `no`, `always`, `unless-stopped` or `on-failure`.
    pub name: String,
    /// With `on-failure`: how often at most; 0 is without end.
    pub maximum_retry_count: u32,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        RestartPolicy { name: "no".into(), maximum_retry_count: 0 }
    }
}

/// One of `HostConfig.Devices`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Device {
    /// Where it is on the host.
    pub path_on_host: PathBuf,
    /// Where the container finds it.
    pub path_in_container: String,
    /// Letters of `rwm`: read, write, make a node.
    pub cgroup_permissions: String,
}

/// One of `HostConfig.Ulimits`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ulimit {
    /// Such as `nofile`.
    pub name: String,
    /// -1 is unlimited.
    pub hard: i64,
    /// -1 is unlimited.
    pub soft: i64,
}

/// One of `HostConfig.BlkioWeightDevice`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WeightDevice {
    /// The block device.
    pub path: PathBuf,
    /// 10 to 1000.
    pub weight: u16,
}

/// One of `HostConfig.BlkioDevice…`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ThrottleDevice {
    /// The block device.
    pub path: PathBuf,
    /// Bytes or operations a second.
    pub rate: u64,
}
