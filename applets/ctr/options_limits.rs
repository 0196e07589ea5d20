//! Options of `ctr run` that set limits: memory, CPU, tasks, block devices, ulimits.

use std::path::PathBuf;

use anyhow::ensure;
use coracle_cgroups::units::{Cpus, parse_size};
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};

use super::options_refused::Refused;
use super::record_host::{HostConfig, ThrottleDevice, Ulimit, WeightDevice};

/// What Docker calls resources.
#[derive(clap::Args)]
pub struct LimitOptions {
    /// Limit of memory, in bytes or with k, m, g
    #[arg(short, long, value_name = "SIZE", value_parser = parse_memory)]
    memory: Option<u64>,

    /// Limit of memory and swap together; -1 for no limit of swap
    #[arg(long, value_name = "SIZE", value_parser = parse_swap, allow_hyphen_values = true)]
    memory_swap: Option<i64>,

    /// Memory that it is pressed back to when the host runs short
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    memory_reservation: Option<u64>,

    #[arg(long, hide = true, allow_hyphen_values = true, value_parser = Refused("cgroup v2 has no swappiness of a group"))]
    memory_swappiness: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("cgroup v2 has no limit of kernel memory apart: --memory counts it"))]
    kernel_memory: Option<String>,

    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = Refused::unless_false("cgroup v2 always has the OOM killer; a larger --memory is what helps"))]
    oom_kill_disable: Option<String>,

    /// How gladly the OOM killer takes it, -1000 to 1000
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_hyphen_values = true, value_parser = parse_oom_score)]
    oom_score_adj: i32,

    /// Limit of CPU time, as a number of CPUs
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    cpus: Option<u64>,

    /// Share of CPU time when there is not enough; 1024 is the default's
    #[arg(short, long, value_name = "NUMBER", value_parser = parse_shares, allow_hyphen_values = true)]
    cpu_shares: Option<u64>,

    /// Period of the limit of CPU time in microseconds
    #[arg(long, value_name = "MICROSECONDS", value_parser = parse_period)]
    cpu_period: Option<u64>,

    /// CPU time in each period in microseconds; -1 for no limit
    #[arg(long, value_name = "MICROSECONDS", value_parser = parse_quota, allow_hyphen_values = true)]
    cpu_quota: Option<i64>,

    #[arg(long, hide = true, value_parser = Refused("cgroup v2 has no share of real-time scheduling"))]
    cpu_rt_period: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("cgroup v2 has no share of real-time scheduling"))]
    cpu_rt_runtime: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("it is an option of Windows"))]
    cpu_count: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("it is an option of Windows"))]
    cpu_percent: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("it is an option of Windows"))]
    io_maxbandwidth: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("it is an option of Windows"))]
    io_maxiops: Option<String>,

    /// CPUs that it may run on, such as 0-2,4
    #[arg(long, value_name = "LIST", value_parser = parse_list)]
    cpuset_cpus: Option<String>,

    /// Memory nodes that it may use
    #[arg(long, value_name = "LIST", value_parser = parse_list)]
    cpuset_mems: Option<String>,

    /// Limit of the number of tasks; -1 for none
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(-1..), allow_hyphen_values = true)]
    pids_limit: Option<i64>,

    /// Share of block devices' time, 10 to 1000
    #[arg(long, value_name = "NUMBER", value_parser = parse_weight)]
    blkio_weight: Option<u16>,

    /// The same for one device
    #[arg(long, value_name = "DEVICE:WEIGHT", value_parser = parse_weight_device)]
    blkio_weight_device: Vec<WeightDevice>,

    /// Limit of bytes read from a device in a second
    #[arg(long, value_name = "DEVICE:SIZE", value_parser = parse_bytes_rate)]
    device_read_bps: Vec<ThrottleDevice>,

    /// Limit of bytes written to a device in a second
    #[arg(long, value_name = "DEVICE:SIZE", value_parser = parse_bytes_rate)]
    device_write_bps: Vec<ThrottleDevice>,

    /// Limit of reads from a device in a second
    #[arg(long, value_name = "DEVICE:NUMBER", value_parser = parse_operations_rate)]
    device_read_iops: Vec<ThrottleDevice>,

    /// Limit of writes to a device in a second
    #[arg(long, value_name = "DEVICE:NUMBER", value_parser = parse_operations_rate)]
    device_write_iops: Vec<ThrottleDevice>,

    /// Limit of a process, such as nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = parse_ulimit)]
    ulimit: Vec<Ulimit>,

    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE", value_parser = parse_shm)]
    shm_size: Option<u64>,

    /// Cgroup below which the container's is made
    #[arg(long, value_name = "PATH", value_parser = parse_cgroup_parent)]
    cgroup_parent: Option<String>,
}

/// Docker's /dev/shm.
const SHM_SIZE: u64 = 64 << 20;

impl LimitOptions {
    /// Check them together, in Docker's words, and put them on record.
    pub fn apply(&self, host: &mut HostConfig) -> anyhow::Result<()> {
        let memory = self.memory.unwrap_or(0);
        let swap = self.memory_swap.unwrap_or(0);
        let reservation = self.memory_reservation.unwrap_or(0);
        ensure!(
            memory > 0 || swap <= 0,
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        );
        ensure!(
            swap <= 0 || swap.cast_unsigned() >= memory,
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        );
        ensure!(
            memory == 0 || reservation <= memory,
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        );
        let cpus = self.cpus.unwrap_or(0);
        ensure!(
            cpus == 0 || self.cpu_period.unwrap_or(0) == 0,
            "Conflicting options: Nano CPUs and CPU Period cannot both be set"
        );
        ensure!(
            cpus == 0 || self.cpu_quota.unwrap_or(0) <= 0,
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set"
        );
        host.memory = memory;
        host.memory_swap = swap;
        host.memory_reservation = reservation;
        host.oom_score_adj = self.oom_score_adj;
        host.nano_cpus = cpus;
        host.cpu_shares = self.cpu_shares.unwrap_or(0);
        host.cpu_period = self.cpu_period.unwrap_or(0);
        host.cpu_quota = self.cpu_quota.unwrap_or(0);
        host.cpuset_cpus = self.cpuset_cpus.clone().unwrap_or_default();
        host.cpuset_mems = self.cpuset_mems.clone().unwrap_or_default();
        host.pids_limit = self.pids_limit.and_then(|limit| u64::try_from(limit).ok()).unwrap_or(0);
        host.blkio_weight = self.blkio_weight.unwrap_or(0);
        host.blkio_weight_device = self.blkio_weight_device.clone();
        host.blkio_device_read_bps = self.device_read_bps.clone();
        host.blkio_device_write_bps = self.device_write_bps.clone();
        host.blkio_device_read_iops = self.device_read_iops.clone();
        host.blkio_device_write_iops = self.device_write_iops.clone();
        host.ulimits = last_of_each(&self.ulimit);
        host.shm_size = self.shm_size.filter(|size| *size > 0).unwrap_or(SHM_SIZE);
        host.cgroup_parent = self.cgroup_parent.clone().unwrap_or_default();
        Ok(())
    }
}

fn last_of_each(all: &[Ulimit]) -> Vec<Ulimit> {
    let mut kept: Vec<Ulimit> = Vec::new();
    for limit in all {
        kept.retain(|other| other.name != limit.name);
        kept.push(limit.clone());
    }
    kept
}

pub(super) fn parse_memory(text: &str) -> Result<u64, String> {
    // Docker's minimum: less does not hold a process.
    const MIN: u64 = 6 << 20;
    let bytes = parse_size(text).map_err(|error| error.to_string())?;
    if bytes != 0 && bytes < MIN { Err("Minimum memory limit allowed is 6MB".into()) } else { Ok(bytes) }
}

pub(super) fn parse_swap(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    parse_size(text).map(u64::cast_signed).map_err(|error| error.to_string())
}

fn parse_shm(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|error| error.to_string())
}

pub(super) fn parse_cpus(text: &str) -> Result<u64, String> {
    if text.bytes().all(|byte| matches!(byte, b'0' | b'.')) && text.contains('0') {
        return Ok(0);
    }
    let cpus: Cpus = text.parse().map_err(|error: coracle_cgroups::units::ParseError| error.to_string())?;
    let there = std::thread::available_parallelism().map_or(u64::MAX, |count| count.get() as u64);
    let within = cpus.nanos() <= there.saturating_mul(1_000_000_000);
    within
        .then_some(cpus.nanos())
        .ok_or_else(|| format!("Range of CPUs is from 0.01 to {there}.00, as there are only {there} CPUs available"))
}

pub(super) fn parse_shares(text: &str) -> Result<u64, String> {
    match text.parse::<i64>() {
        Ok(0) => Ok(0),
        // The kernel's own bounds of cgroup v1, which the weight is reckoned from.
        Ok(shares) if shares > 0 => Ok(shares.clamp(2, 262_144).cast_unsigned()),
        Ok(shares) => Err(format!("invalid CPU shares ({shares}): value must be a positive integer")),
        Err(_) => Err("wanted a number".into()),
    }
}

pub(super) fn parse_period(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(period) if period == 0 || (1_000..=1_000_000).contains(&period) => Ok(period),
        Ok(_) => Err("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".into()),
        Err(_) => Err("wanted a number".into()),
    }
}

pub(super) fn parse_quota(text: &str) -> Result<i64, String> {
    match text.parse::<i64>() {
        Ok(quota) if quota <= 0 || quota >= 1_000 => Ok(quota),
        Ok(_) => Err("CPU cfs quota can not be less than 1ms (i.e. 1000)".into()),
        Err(_) => Err("wanted a number".into()),
    }
}

fn parse_oom_score(text: &str) -> Result<i32, String> {
    match text.parse::<i32>() {
        Ok(score) if (-1000..=1000).contains(&score) => Ok(score),
        Ok(score) => Err(format!("Invalid value {score}, range for oom score adj is [-1000, 1000]")),
        Err(_) => Err("wanted a number".into()),
    }
}

/// A list of numbers and ranges by cpuset(7).
pub(super) fn parse_list(text: &str) -> Result<String, String> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number < 8192);
    let valid = text.split(',').all(|part| match part.split_once('-') {
        None => number(part).is_some(),
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first <= last),
    });
    if valid || text.is_empty() { Ok(text.into()) } else { Err(format!("Invalid value {text} for cpuset")) }
}

pub(super) fn parse_weight(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(weight) if weight == 0 || (10..=1000).contains(&weight) => Ok(weight),
        _ => Err("Range of blkio weight is from 10 to 1000".into()),
    }
}

fn parse_weight_device(text: &str) -> Result<WeightDevice, String> {
    let (path, weight) = device_and(text)?;
    let weight = parse_weight(weight).map_err(|_| format!("invalid weight for device: {text}"))?;
    Ok(WeightDevice { path, weight })
}

fn parse_bytes_rate(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = device_and(text)?;
    let rate = parse_size(rate).map_err(|_| {
        format!("invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb")
    })?;
    Ok(ThrottleDevice { path, rate })
}

fn parse_operations_rate(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = device_and(text)?;
    let rate = rate.parse().map_err(|_| {
        format!("invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer")
    })?;
    Ok(ThrottleDevice { path, rate })
}

fn device_and(text: &str) -> Result<(PathBuf, &str), String> {
    let (path, value) = text.rsplit_once(':').ok_or_else(|| format!("bad format: {text}"))?;
    if path.starts_with("/dev/") {
        Ok((path.into(), value))
    } else {
        Err(format!("bad format for device path: {text}"))
    }
}

/// Names of getrlimit(2), as Docker writes them.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn parse_ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, values) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    let name = name.to_ascii_lowercase();
    if !ULIMITS.contains(&name.as_str()) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    if hard.contains(':') {
        return Err(format!("too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"));
    }
    let number = |text: &str| match text {
        "unlimited" => Some(-1),
        text => text.parse::<i64>().ok().filter(|number| *number >= -1),
    };
    let wrong = || format!("invalid ulimit argument: {text}");
    let (soft, hard) = (number(soft).ok_or_else(wrong)?, number(hard).ok_or_else(wrong)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(Ulimit { name, hard, soft })
}

/// A ulimit in the runtime's form.
pub fn rlimit(limit: &Ulimit) -> Option<PosixRlimit> {
    let kind = format!("RLIMIT_{}", limit.name.to_ascii_uppercase()).parse::<PosixRlimitType>().ok()?;
    let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    PosixRlimitBuilder::default().typ(kind).soft(number(limit.soft)).hard(number(limit.hard)).build().ok()
}

fn parse_cgroup_parent(text: &str) -> Result<String, String> {
    let path = text.trim_matches('/');
    let clean = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.starts_with("cgroup.");
    if path.split('/').all(clean) { Ok(path.into()) } else { Err(format!("{text:?} is no path of a cgroup")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_a_minimum() {
        assert!(parse_memory("1m").is_err());
        assert_eq!(parse_memory("64m"), Ok(64 << 20));
        assert_eq!(parse_swap("-1"), Ok(-1));
    }

    #[test]
    fn ulimits() {
        let limit = |name: &str, soft, hard| Ok(Ulimit { name: name.into(), soft, hard });
        assert_eq!(parse_ulimit("nofile=1024:4096"), limit("nofile", 1024, 4096));
        assert_eq!(parse_ulimit("core=-1"), limit("core", -1, -1));
        assert_eq!(parse_ulimit("cpu=1:-1"), limit("cpu", 1, -1));
        for wrong in ["nofile", "magic=1", "nofile=a", "nofile=2:1", "nofile=-1:1", "nofile=1:2:3", "nofile=-2"] {
            assert!(parse_ulimit(wrong).is_err(), "{wrong}");
        }
        for name in ULIMITS {
            assert!(rlimit(&parse_ulimit(&format!("{name}=1")).unwrap()).is_some(), "{name}");
        }
        let all = [parse_ulimit("core=1").unwrap(), parse_ulimit("core=2").unwrap()];
        assert_eq!(last_of_each(&all), all[1..]);
    }

    #[test]
    fn devices_with_values() {
        let device = |rate| Ok(ThrottleDevice { path: "/dev/sda".into(), rate });
        assert_eq!(parse_bytes_rate("/dev/sda:1mb"), device(1 << 20));
        assert_eq!(parse_operations_rate("/dev/sda:100"), device(100));
        for wrong in ["/dev/sda", "sda:1", "/dev/sda:x", "/dev/sda:-1"] {
            assert!(parse_bytes_rate(wrong).is_err() && parse_operations_rate(wrong).is_err(), "{wrong}");
        }
        assert!(parse_weight_device("/dev/sda:9").is_err() && parse_weight_device("/dev/sda:10").is_ok());
    }

    #[test]
    fn lists_and_paths() {
        for right in ["0", "0-2,4", ""] {
            assert!(parse_list(right).is_ok(), "{right}");
        }
        for wrong in ["a", "2-1", "1-", ",", "0,,1", "99999"] {
            assert!(parse_list(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_cgroup_parent("/a/b/").unwrap(), "a/b");
        for wrong in ["", "/", "a//b", "../a", "a/..", "cgroup.procs"] {
            assert!(parse_cgroup_parent(wrong).is_err(), "{wrong}");
        }
    }
}
