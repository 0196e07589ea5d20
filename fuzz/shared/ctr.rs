//! The parts of `ctr` that read options and records, without those that act: what they would ask of containers that run is
//! answered as if there were none.

#[path = "../../applets/ctr/files.rs"]
pub mod files;
#[path = "../../applets/ctr/filter.rs"]
pub mod filter;
#[path = "../../applets/ctr/logfile.rs"]
pub mod logfile;
#[path = "../../applets/ctr/names.rs"]
pub mod names;
#[path = "../../applets/ctr/network_options.rs"]
pub mod network_options;
#[path = "../../applets/ctr/options.rs"]
pub mod options;
#[path = "../../applets/ctr/options_env.rs"]
pub mod options_env;
#[path = "../../applets/ctr/options_health.rs"]
pub mod options_health;
#[path = "../../applets/ctr/options_limits.rs"]
pub mod options_limits;
#[path = "../../applets/ctr/options_log.rs"]
pub mod options_log;
#[path = "../../applets/ctr/options_mounts.rs"]
pub mod options_mounts;
#[path = "../../applets/ctr/options_network.rs"]
pub mod options_network;
#[path = "../../applets/ctr/options_refused.rs"]
pub mod options_refused;
#[path = "../../applets/ctr/options_security.rs"]
pub mod options_security;
#[path = "../../applets/ctr/options_spaces.rs"]
pub mod options_spaces;
#[path = "../../applets/ctr/paths.rs"]
pub mod paths;
#[path = "../../applets/ctr/record.rs"]
pub mod record;
#[path = "../../applets/ctr/record_config.rs"]
pub mod record_config;
#[path = "../../applets/ctr/record_health.rs"]
pub mod record_health;
#[path = "../../applets/ctr/record_host.rs"]
pub mod record_host;
#[path = "../../applets/ctr/record_network.rs"]
pub mod record_network;
#[path = "../../applets/ctr/signals.rs"]
pub mod signals;
#[path = "../../applets/ctr/time.rs"]
pub mod time;

pub mod lifecycle {
    pub fn payload(_: &str) -> anyhow::Result<()> {
        Ok(())
    }
}

pub mod limits {
    pub fn is_frozen(_: &str) -> bool {
        false
    }

    pub fn oom_killed(_: &str) -> bool {
        false
    }
}

pub mod network {
    pub fn store() -> coracle_netns::store::Store {
        coracle_netns::store::Store::at("/nonexistent".into())
    }
}

pub mod reaper {
    pub fn sweep(_: &str) -> anyhow::Result<()> {
        Ok(())
    }
}

pub mod spec {
    pub fn parse_capability(text: &str) -> Result<String, String> {
        Ok(text.into())
    }
}

pub mod start {
    pub fn start_time(_: i32) -> u64 {
        0
    }
}

pub mod wire {
    pub const CHUNK: usize = 16 << 10;
}
