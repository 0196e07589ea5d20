//! The io controller: throttles, weights and latency targets per block device.

use std::fmt;
use std::str::FromStr;

use crate::{Ceiling, Cgroup, Error, Result, Setting, files};

/// A block device's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Device {
    /// Major number: the driver.
    pub major: u32,
    /// Minor number: the device.
    pub minor: u32,
}

impl fmt::Display for Device {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.major, self.minor)
    }
}

impl FromStr for Device {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let (major, minor) = text.split_once(':').ok_or(())?;
        Ok(Device { major: major.parse().map_err(|_| ())?, minor: minor.parse().map_err(|_| ())? })
    }
}

/// One line of `io.max`; `None` leaves a value as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// The device.
    pub device: Device,
    /// Bytes read per second.
    pub rbps: Option<Ceiling>,
    /// Bytes written per second.
    pub wbps: Option<Ceiling>,
    /// Reads per second.
    pub riops: Option<Ceiling>,
    /// Writes per second.
    pub wiops: Option<Ceiling>,
}

impl fmt::Display for Throttle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.device.fmt(out)?;
        let all = [("rbps", self.rbps), ("wbps", self.wbps), ("riops", self.riops), ("wiops", self.wiops)];
        all.into_iter().try_for_each(|(key, value)| value.map_or(Ok(()), |value| write!(out, " {key}={value}")))
    }
}

/// What to set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// `io.max`, one entry per device.
    pub max: Vec<Throttle>,
    /// `io.weight` for all devices, 1 to 10,000; the kernel's default is 100.
    pub weight: Option<u64>,
    /// `io.weight` of single devices.
    pub device_weights: Vec<(Device, u64)>,
    /// `io.latency`: target in microseconds per device.
    pub latency_us: Vec<(Device, u64)>,
}

impl Limits {
    pub(crate) fn settings(&self) -> Result<Vec<Setting>> {
        let all_weights = self.weight.iter().chain(self.device_weights.iter().map(|(_, weight)| weight));
        if let Some(wrong) = all_weights.copied().find(|weight| !(1..=10_000).contains(weight)) {
            return Err(Error::Range { what: "io.weight", value: wrong.to_string(), range: "1 to 10000" });
        }
        let max = self.max.iter().map(|throttle| Setting::new("io.max", throttle));
        let weight = self.weight.iter().map(|weight| Setting::new("io.weight", format!("default {weight}")));
        let device =
            self.device_weights.iter().map(|(device, weight)| Setting::new("io.weight", format!("{device} {weight}")));
        let latency = self
            .latency_us
            .iter()
            .map(|(device, target)| Setting::new("io.latency", format!("{device} target={target}")));
        Ok(max.chain(weight).chain(device).chain(latency).collect())
    }
}

/// One device's row of `io.stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The device.
    pub device: Device,
    /// Bytes read.
    pub rbytes: u64,
    /// Bytes written.
    pub wbytes: u64,
    /// Reads.
    pub rios: u64,
    /// Writes.
    pub wios: u64,
}

fn parse_stat(text: &str) -> Vec<Stat> {
    let rows = files::nested_keyed(text).filter_map(|(key, subs)| {
        let mut stat = Stat { device: key.parse().ok()?, rbytes: 0, wbytes: 0, rios: 0, wios: 0 };
        for (sub, value) in subs {
            let Ok(value) = value.parse() else { continue };
            match sub {
                "rbytes" => stat.rbytes = value,
                "wbytes" => stat.wbytes = value,
                "rios" => stat.rios = value,
                "wios" => stat.wios = value,
                _ => {}
            }
        }
        Some(stat)
    });
    rows.collect()
}

impl Cgroup {
    /// `io.stat`.
    ///
    /// # Errors
    /// The controller is not enabled here.
    pub fn io_stat(&self) -> Result<Vec<Stat>> {
        Ok(parse_stat(&self.read("io.stat")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VDA: Device = Device { major: 254, minor: 0 };

    #[test]
    fn limits_become_writes() {
        let throttle = Throttle {
            device: VDA,
            rbps: Some(Ceiling::Value(10_000_000)),
            wbps: None,
            riops: None,
            wiops: Some(Ceiling::Max),
        };
        let limits = Limits {
            max: vec![throttle],
            weight: Some(50),
            latency_us: vec![(VDA, 2000)],
            device_weights: vec![(VDA, 7)],
        };
        let writes: Vec<_> =
            limits.settings().unwrap().into_iter().map(|set| format!("{} {}", set.file, set.value)).collect();
        assert_eq!(
            writes,
            [
                "io.max 254:0 rbps=10000000 wiops=max",
                "io.weight default 50",
                "io.weight 254:0 7",
                "io.latency 254:0 target=2000"
            ]
        );
        assert!(Limits { weight: Some(10_001), ..Default::default() }.settings().is_err());
    }

    #[test]
    fn stat_of_a_fixture() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("io.stat"),
            "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n8:0 \nodd\n",
        )
        .unwrap();
        let stats = Cgroup::open(dir.path()).unwrap().io_stat().unwrap();
        assert_eq!(stats[0], Stat { device: VDA, rbytes: 1, wbytes: 2, rios: 3, wios: 4 });
        assert_eq!(stats.len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".{0,200}") {
            let _ = parse_stat(&text);
        }
    }
}
