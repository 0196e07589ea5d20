//! `ctr ps` and `ctr inspect`.

use std::io::{self, Write};

use anyhow::Context;
use clap::ValueEnum;
use serde_json::json;

use super::record::{self, PortMap, Record, Status};
use super::{names, reaper, time};

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Json,
}

/// `ps`.
#[derive(clap::Args)]
pub struct PsArgs {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,

    /// Print ids only
    #[arg(short, long)]
    quiet: bool,

    /// Print whole ids and commands
    #[arg(long)]
    no_trunc: bool,

    /// Print in another form than a table
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// `inspect`.
#[derive(clap::Args)]
pub struct InspectArgs {
    /// Print in this form; it is the only one
    #[arg(short, long, value_enum)]
    format: Option<Format>,

    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// List containers, the newest first.
pub fn ps(args: &PsArgs) -> anyhow::Result<i32> {
    reaper::sweep_all()?;
    let mut all: Vec<Record> = record::ids()?.iter().filter_map(|id| Record::load(id).ok()).collect();
    all.retain(|record| args.all || record.state.status == Status::Running);
    all.sort_by(|one, other| other.created.cmp(&one.created));
    let mut out = io::stdout().lock();
    let id = |record: &Record| if args.no_trunc { record.id.clone() } else { names::short(&record.id).to_owned() };
    if args.quiet {
        all.iter().try_for_each(|record| writeln!(out, "{}", id(record)))?;
        return Ok(0);
    }
    if args.format == Some(Format::Json) {
        for record in &all {
            let line = json!({
                "ID": id(record), "Image": record.config.image, "Command": record.command_line(), "CreatedAt": record.created,
                "Names": record.short_name(), "State": record.state.status.word(), "Status": status(record),
                "Ports": ports(&record.network_settings.ports),
            });
            writeln!(out, "{line}")?;
        }
        return Ok(0);
    }
    writeln!(
        out,
        "{:<12}   {:<24} {:<24} {:<22} {:<36} {:<28} NAMES",
        "CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS"
    )?;
    for record in &all {
        let mut command = record.command_line();
        if !args.no_trunc && command.chars().count() > 20 {
            command = command.chars().take(19).chain(['…']).collect();
        }
        let created = format!("{} ago", time::human(time::since(&record.created)));
        writeln!(
            out,
            "{:<12}   {:<24} {:<24} {created:<22} {:<36} {:<28} {}",
            id(record),
            record.config.image,
            format!("\"{command}\""),
            status(record),
            ports(&record.network_settings.ports),
            record.short_name()
        )?;
    }
    Ok(0)
}

fn status(record: &Record) -> String {
    match record.state.status {
        Status::Created => "Created".into(),
        Status::Running => format!("Up {}", time::human(time::since(&record.state.started_at))),
        Status::Exited => {
            let oom = if record.state.oom_killed { ", OOMKilled" } else { "" };
            format!(
                "Exited ({}{oom}) {} ago",
                record.state.exit_code,
                time::human(time::since(&record.state.finished_at))
            )
        }
    }
}

fn ports(map: &PortMap) -> String {
    let each = |(port, hosts): (&String, &Vec<record::HostPort>)| {
        hosts.iter().map(|host| format!("{}:{}->{port}", host.host_ip, host.host_port)).collect::<Vec<_>>()
    };
    map.iter().flat_map(each).collect::<Vec<_>>().join(", ")
}

/// Print all that is known of containers.
pub fn inspect(args: &InspectArgs) -> anyhow::Result<i32> {
    let mut all = Vec::new();
    for name in &args.containers {
        let id = record::resolve(name)?;
        reaper::sweep(&id)?;
        all.push(Record::load(&id)?);
    }
    let text = match args.format {
        None => serde_json::to_string_pretty(&all),
        Some(Format::Json) => serde_json::to_string(&all),
    };
    writeln!(io::stdout(), "{}", text.context("cannot print the record")?)?;
    Ok(0)
}
