//! `state` and `list`.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::SPEC_VERSION;
use super::container::{Container, Status};
use super::options::Global;
use super::state;

/// `list`.
#[derive(clap::Args)]
pub struct Args {
    /// table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: String,

    /// Display only container IDs
    #[arg(short, long)]
    quiet: bool,
}

/// The state as runc prints it: that of the runtime specification and some more.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    oci_version: &'static str,
    id: String,
    pid: i32,
    status: String,
    bundle: PathBuf,
    rootfs: PathBuf,
    created: String,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    annotations: HashMap<String, String>,
    owner: String,
}

impl Shown {
    fn of(container: &Container) -> anyhow::Result<Self> {
        let status = container.status()?;
        let record = &container.record;
        let annotations = container.state.spec()?.annotations().clone().unwrap_or_default();
        Ok(Self {
            oci_version: SPEC_VERSION,
            id: record.id.clone(),
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status: status.to_string(),
            bundle: record.bundle.clone(),
            rootfs: record.rootfs.clone(),
            created: record.created.clone(),
            annotations,
            owner: String::new(),
        })
    }
}

/// Print the state of a container.
pub fn state(global: &Global, id: &str) -> anyhow::Result<i32> {
    let shown = Shown::of(&Container::load(global, id)?)?;
    write!(io::stdout(), "{}", serde_json::to_string_pretty(&shown)?)?;
    Ok(0)
}

/// Print the containers.
pub fn list(global: &Global, args: &Args) -> anyhow::Result<i32> {
    if args.quiet {
        let mut out = io::stdout().lock();
        for id in state::ids(&global.root)? {
            if Container::find(global, &id)?.is_some() {
                writeln!(out, "{id}")?;
            }
        }
        return Ok(0);
    }
    let mut all = Vec::new();
    for id in state::ids(&global.root)? {
        // One that is gone or damaged does not hide the others.
        let shown = Container::find(global, &id).and_then(|container| match container {
            Some(container) => Ok(Some(Shown { owner: user_name(container.state.owner()), ..Shown::of(&container)? })),
            None => Ok(None),
        });
        match shown {
            Ok(shown) => all.extend(shown),
            Err(error) => writeln!(io::stderr(), "load container {id}: {error:#}")?,
        }
    }
    let mut out = io::stdout().lock();
    match args.format.as_str() {
        "table" => write!(out, "{}", table(&all))?,
        "json" if all.is_empty() => writeln!(out, "null")?,
        "json" => writeln!(out, "{}", serde_json::to_string(&all)?)?,
        _ => anyhow::bail!("invalid format option"),
    }
    Ok(0)
}

/// Columns as Go's tabwriter aligns them: at least 12 wide, 3 apart.
fn table(all: &[Shown]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows = all.iter().map(|one| {
        let bundle = one.bundle.display().to_string();
        [one.id.clone(), one.pid.to_string(), one.status.clone(), bundle, one.created.clone(), one.owner.clone()]
    });
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(&row[5]);
        text.push('\n');
    }
    text
}

/// By the host's /etc/passwd; a user without a name is `#UID`.
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string(Path::new("/etc/passwd")).unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_runcs() {
        assert_eq!(table(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
        let one = Shown {
            oci_version: SPEC_VERSION,
            id: "foo".into(),
            pid: 6831,
            status: "created".into(),
            bundle: "/tmp/rt/b".into(),
            rootfs: "/tmp/rt/b/rootfs".into(),
            created: "2026-11-24T15:23:21.527193654Z".into(),
            annotations: HashMap::new(),
            owner: "root".into(),
        };
        let expected = "\
ID          PID         STATUS      BUNDLE      CREATED                          OWNER
foo         6831        created     /tmp/rt/b   2026-11-24T15:23:21.527193654Z   root
";
        assert_eq!(table(&[one]), expected);
    }
}
