//! Options of `ctr run` about namespaces: which are the container's own, which it shares.

use anyhow::{Context, bail, ensure};
use clap::builder::PossibleValuesParser;

use super::record::{self, HostConfig, Record, Status};

/// Namespaces other than the network's.
#[derive(clap::Args)]
pub struct SpaceOptions {
    /// IPC namespace: private, shareable, host, none or container:NAME
    #[arg(long, value_name = "MODE", value_parser = parse_ipc)]
    ipc: Option<String>,

    /// PID namespace: host or container:NAME
    #[arg(long, value_name = "MODE", value_parser = parse_pid)]
    pid: Option<String>,

    /// UTS namespace: host
    #[arg(long, value_name = "MODE", value_parser = PossibleValuesParser::new(["", "private", "host"]))]
    uts: Option<String>,

    /// User namespace: host, or auto for users of its own
    #[arg(long, value_name = "MODE", value_parser = PossibleValuesParser::new(["", "host", "auto"]))]
    userns: Option<String>,

    /// Cgroup namespace: private or host
    #[arg(long, value_name = "MODE", value_parser = PossibleValuesParser::new(["", "private", "host"]))]
    cgroupns: Option<String>,
}

impl SpaceOptions {
    /// Put them on record, other containers by their ids.
    pub fn apply(&self, host: &mut HostConfig) -> anyhow::Result<()> {
        let mode = |given: &Option<String>, default: &str| {
            given.clone().filter(|mode| !mode.is_empty()).unwrap_or_else(|| default.into())
        };
        host.ipc_mode = by_id(&mode(&self.ipc, "private"))?;
        host.pid_mode = by_id(&mode(&self.pid, ""))?;
        host.uts_mode = mode(&self.uts, "").replace("private", "");
        host.userns_mode = mode(&self.userns, "");
        host.cgroupns_mode = mode(&self.cgroupns, "private");
        Ok(())
    }
}

fn parse_ipc(text: &str) -> Result<String, String> {
    match text {
        "" | "private" | "shareable" | "host" | "none" => Ok(text.into()),
        _ => parse_container(text)
            .ok_or_else(|| "invalid IPC mode: wanted private, shareable, host, none or container:NAME".into()),
    }
}

fn parse_pid(text: &str) -> Result<String, String> {
    match text {
        "" | "host" => Ok(text.into()),
        "private" => Ok(String::new()),
        _ => parse_container(text).ok_or_else(|| "--pid: invalid PID mode".into()),
    }
}

fn parse_container(text: &str) -> Option<String> {
    text.strip_prefix("container:").filter(|name| !name.is_empty()).map(|_| text.into())
}

fn by_id(mode: &str) -> anyhow::Result<String> {
    match mode.strip_prefix("container:") {
        Some(name) => Ok(format!("container:{}", record::resolve(name)?)),
        None => Ok(mode.into()),
    }
}

/// The container of a mode `container:ID`, which must run: its record and its first process.
pub fn other(mode: &str) -> anyhow::Result<Option<(Record, i32)>> {
    let Some(id) = mode.strip_prefix("container:") else { return Ok(None) };
    let id = record::resolve(id)?;
    super::reaper::sweep(&id)?;
    let record = Record::load(&id).with_context(|| format!("cannot join the namespace of {id}"))?;
    if record.state.status != Status::Running || record.state.pid == 0 {
        bail!(
            "cannot join the namespace of a non running container: {} is {}",
            record.short_name(),
            record.state.status.word()
        );
    }
    Ok(Some((record.clone(), record.state.pid)))
}

/// Refuse a container whose IPC namespace is its own alone.
pub fn check_ipc(other: &Record) -> anyhow::Result<()> {
    ensure!(
        other.host_config.ipc_mode == "shareable",
        "can't join IPC of container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
        other.id
    );
    Ok(())
}
