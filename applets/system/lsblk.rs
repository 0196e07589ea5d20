//! `lsblk`: block devices as a tree (util-linux lsblk(8)), from /sys and superblocks.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};

use anyhow::Context as _;
use clap::Parser;
use serde_json::{Map, Value};

use super::superblock::{self, Found, sys_text};
use super::{mount_table, size};
use crate::common;
use crate::registry::{Applet, Dir};

/// `lsblk`.
pub const APPLET: Applet =
    Applet { name: "lsblk", aliases: &[], dir: Dir::Bin, summary: "block devices as a tree", run };

const DEFAULT: &str = "NAME,MAJ:MIN,RM,SIZE,RO,TYPE,MOUNTPOINTS";
const FILE_SYSTEMS: &str = "NAME,FSTYPE,LABEL,UUID,MOUNTPOINTS";

#[derive(Parser)]
#[command(name = "lsblk", about = "List block devices")]
struct Options {
    /// What file systems are on them
    #[arg(short = 'f', long, conflicts_with = "output")]
    fs: bool,
    /// Columns: NAME, KNAME, PATH, PKNAME, MAJ:MIN, RM, SIZE, RO, ROTA, TYPE, MODEL, FSTYPE, LABEL, UUID, PARTLABEL, MOUNTPOINT, MOUNTPOINTS
    #[arg(short, long, value_name = "COLUMNS", value_delimiter = ',')]
    output: Vec<String>,
    /// No headings
    #[arg(short, long)]
    noheadings: bool,
    /// Sizes in bytes
    #[arg(short, long)]
    bytes: bool,
    /// Names with /dev/
    #[arg(short, long)]
    paths: bool,
    /// As JSON
    #[arg(short = 'J', long, conflicts_with_all = ["pairs", "list"])]
    json: bool,
    /// As KEY="value"
    #[arg(short = 'P', long, conflicts_with = "list")]
    pairs: bool,
    /// As a list, not a tree
    #[arg(short, long)]
    list: bool,
    /// Without what lies on the devices
    #[arg(short = 'd', long)]
    nodeps: bool,
    /// Devices; all if there are none
    devices: Vec<String>,
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 1, |_, options: Options| show(&options).map(|()| 0))
}

/// A device and what lies on it.
struct Device {
    name: String,
    parent: Option<String>,
    children: Vec<Device>,
}

/// What columns are computed from.
struct Context<'a> {
    options: &'a Options,
    /// Mount points by MAJOR:MINOR.
    mounts: HashMap<String, Vec<String>>,
}

fn show(options: &Options) -> anyhow::Result<()> {
    let columns: Vec<String> = match (options.output.is_empty(), options.fs) {
        (false, _) => options.output.iter().map(|column| column.to_ascii_uppercase()).collect(),
        (true, true) => FILE_SYSTEMS.split(',').map(str::to_owned).collect(),
        (true, false) => DEFAULT.split(',').map(str::to_owned).collect(),
    };
    if let Some(unknown) = columns.iter().find(|column| !is_column(column)) {
        anyhow::bail!("{unknown}: no such column");
    }
    let mut mounts: HashMap<String, Vec<String>> = HashMap::new();
    for mount in mount_table::mounts()? {
        mounts.entry(mount.device).or_default().push(mount.target.to_string_lossy().into_owned());
    }
    for swap in super::swap::active().unwrap_or_default() {
        if let Some(name) = swap.strip_prefix("/dev/")
            && let Some(device) = sys_text(name, "dev")
        {
            mounts.entry(device).or_default().push("[SWAP]".into());
        }
    }
    let context = Context { options, mounts };
    let devices = devices(options)?;
    let text = if options.json {
        let list = devices.iter().map(|device| json(device, &columns, &context)).collect();
        let top = Map::from_iter([("blockdevices".to_owned(), Value::Array(list))]);
        serde_json::to_string_pretty(&top)? + "\n"
    } else {
        table(&devices, &columns, &context)
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn devices(options: &Options) -> anyhow::Result<Vec<Device>> {
    if !options.devices.is_empty() {
        let named = options.devices.iter().map(|word| {
            let path = fs::canonicalize(word).unwrap_or_else(|_| word.into());
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            anyhow::ensure!(sys_text(&name, "dev").is_some(), "{word}: not a block device");
            Ok(device(name, None, options.nodeps))
        });
        return named.collect();
    }
    let entries = fs::read_dir("/sys/block").context("cannot read /sys/block; is /sys mounted?")?;
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    // RAM disks, and loop devices without a file, are only possibilities.
    names.retain(|name| {
        !name.starts_with("ram")
            && (!name.starts_with("loop") || sys_text(name, "size").is_some_and(|size| size != "0"))
    });
    // What lies on others is shown there.
    names.retain(|name| options.nodeps || entries_of(name, "slaves").is_empty());
    names.sort_by_key(|name| (sys_text(name, "dev").and_then(|dev| numbers(&dev)), name.clone()));
    Ok(names.into_iter().map(|name| device(name, None, options.nodeps)).collect())
}

fn numbers(device: &str) -> Option<(u32, u32)> {
    let (major, minor) = device.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn entries_of(name: &str, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(format!("/sys/class/block/{name}/{folder}")).into_iter().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

fn device(name: String, parent: Option<&str>, alone: bool) -> Device {
    let mut below = Vec::new();
    if !alone {
        let is_part = |child: &String| sys_text(child, "partition").is_some();
        let mut parts: Vec<String> =
            entries_of(&name, "").into_iter().filter(|child| child.starts_with(&name) && is_part(child)).collect();
        parts.sort_by_key(|part| sys_text(part, "partition").and_then(|number| number.parse::<u32>().ok()));
        below = parts.into_iter().chain(entries_of(&name, "holders")).collect();
    }
    let children = below.into_iter().map(|child| device(child, Some(&name), alone)).collect();
    Device { name, parent: parent.map(str::to_owned), children }
}

/// A column's text; `None` if there is nothing to say.
fn is_column(column: &str) -> bool {
    [
        "NAME",
        "KNAME",
        "PATH",
        "PKNAME",
        "MAJ:MIN",
        "RM",
        "SIZE",
        "RO",
        "ROTA",
        "TYPE",
        "MODEL",
        "FSTYPE",
        "LABEL",
        "UUID",
        "PARTLABEL",
        "MOUNTPOINT",
        "MOUNTPOINTS",
    ]
    .contains(&column)
}

fn cell(device: &Device, column: &str, context: &Context, found: &Found) -> Vec<String> {
    let sys = |file: &str| sys_text(&device.name, file);
    let mounts = || sys("dev").and_then(|dev| context.mounts.get(&dev).cloned()).unwrap_or_default();
    // A mapped device is known by the name that it was given.
    let name = || sys("dm/name").unwrap_or_else(|| device.name.clone());
    let path = || match sys("dm/name") {
        Some(mapped) => format!("/dev/mapper/{mapped}"),
        None => superblock::node(&device.name).to_string_lossy().into_owned(),
    };
    let one = match column {
        "NAME" if context.options.paths => Some(path()),
        "NAME" => Some(name()),
        "KNAME" => Some(device.name.clone()),
        "PATH" => Some(path()),
        "PKNAME" => device.parent.clone(),
        "MAJ:MIN" => sys("dev"),
        "RM" => sys("removable").or_else(|| parent_text(device, "removable")),
        "RO" => sys("ro"),
        "ROTA" => sys("queue/rotational").or_else(|| parent_text(device, "queue/rotational")),
        "MODEL" => sys("device/model"),
        "TYPE" => Some(kind(device)),
        "SIZE" => sys("size").and_then(|sectors| sectors.parse::<u64>().ok()).map(|sectors| {
            // Sectors of 512 bytes, whatever the device's are.
            let bytes = sectors * 512;
            if context.options.bytes { bytes.to_string() } else { size::human(bytes, 1024, size::SHORT) }
        }),
        "FSTYPE" => Some(found.fs_type.to_owned()).filter(|text| !text.is_empty()),
        "LABEL" => found.label.clone(),
        "UUID" => found.uuid.clone(),
        "PARTLABEL" => superblock::part_label(&device.name),
        "MOUNTPOINT" => mounts().into_iter().next(),
        _ => return mounts(),
    };
    one.into_iter().collect()
}

fn parent_text(device: &Device, file: &str) -> Option<String> {
    sys_text(device.parent.as_deref()?, file)
}

fn kind(device: &Device) -> String {
    let name = &device.name;
    if sys_text(name, "partition").is_some() {
        return "part".into();
    }
    if let Some(uuid) = sys_text(name, "dm/uuid") {
        let prefix = uuid.split('-').next().unwrap_or_default().to_ascii_lowercase();
        return if prefix.is_empty() { "dm".into() } else { prefix };
    }
    let kinds = [("loop", "loop"), ("sr", "rom"), ("md", "raid")];
    kinds.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or("disk", |(_, kind)| kind).into()
}

fn found(device: &Device, columns: &[String]) -> Found {
    let wanted = columns.iter().any(|column| matches!(column.as_str(), "FSTYPE" | "LABEL" | "UUID"));
    // A disk with partitions has a partition table where a superblock would be.
    if !wanted || device.children.iter().any(|child| sys_text(&child.name, "partition").is_some()) {
        return Found::default();
    }
    superblock::probe_path(&superblock::node(&device.name)).ok().flatten().unwrap_or_default()
}

fn table(devices: &[Device], columns: &[String], context: &Context) -> String {
    let mut rows: Vec<Vec<Vec<String>>> = Vec::new();
    let tree = !context.options.list && !context.options.pairs;
    devices.iter().for_each(|device| add_rows(device, columns, context, "", None, tree, &mut rows));
    if context.options.pairs {
        let pair = |(column, cell): (&String, &Vec<String>)| format!("{column}=\"{}\"", cell.join("\\x0a"));
        return rows.iter().map(|row| columns.iter().zip(row).map(pair).collect::<Vec<_>>().join(" ") + "\n").collect();
    }
    let right = |column: &str| matches!(column, "SIZE" | "RM" | "RO" | "ROTA");
    let width = |at: usize| {
        let head = if context.options.noheadings { 0 } else { columns[at].len() };
        rows.iter().flat_map(|row| &row[at]).map(|text| text.chars().count()).max().unwrap_or(0).max(head)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &[&str]| {
        let parts: Vec<String> = cells
            .iter()
            .enumerate()
            .map(|(at, cell)| match right(&columns[at]) {
                true => format!("{cell:>width$}", width = widths[at]),
                false => format!("{cell:<width$}", width = widths[at]),
            })
            .collect();
        text.push_str(parts.join(" ").trim_end());
        text.push('\n');
    };
    if !context.options.noheadings {
        line(&columns.iter().map(String::as_str).collect::<Vec<_>>());
    }
    for row in &rows {
        // Several mount points stand below each other.
        for index in 0..row.iter().map(Vec::len).max().unwrap_or(0).max(1) {
            line(&row.iter().map(|cell| cell.get(index).map_or("", String::as_str)).collect::<Vec<_>>());
        }
    }
    text
}

fn add_rows(
    device: &Device,
    columns: &[String],
    context: &Context,
    indent: &str,
    last: Option<bool>,
    tree: bool,
    rows: &mut Vec<Vec<Vec<String>>>,
) {
    let found = found(device, columns);
    let mut row: Vec<Vec<String>> = columns.iter().map(|column| cell(device, column, context, &found)).collect();
    let branch = match last {
        None => "",
        Some(true) => "└─",
        Some(false) => "├─",
    };
    if tree && let Some(at) = columns.iter().position(|column| column == "NAME") {
        row[at].iter_mut().for_each(|name| *name = format!("{indent}{branch}{name}"));
    }
    rows.push(row);
    let below = match last {
        None => String::new(),
        Some(true) => format!("{indent}  "),
        Some(false) => format!("{indent}│ "),
    };
    let count = device.children.len();
    for (index, child) in device.children.iter().enumerate() {
        add_rows(child, columns, context, &below, Some(index + 1 == count), tree, rows);
    }
}

fn json(device: &Device, columns: &[String], context: &Context) -> Value {
    let found = found(device, columns);
    let mut object = Map::new();
    for column in columns {
        let cell = cell(device, column, context, &found);
        let first = cell.first().cloned();
        let value = match column.as_str() {
            "MOUNTPOINTS" if cell.is_empty() => Value::Array(vec![Value::Null]),
            "MOUNTPOINTS" => Value::Array(cell.into_iter().map(Value::String).collect()),
            "RM" | "RO" | "ROTA" => Value::Bool(first.as_deref() == Some("1")),
            "SIZE" if context.options.bytes => {
                first.and_then(|text| text.parse::<u64>().ok()).map_or(Value::Null, Value::from)
            }
            _ => first.map_or(Value::Null, Value::String),
        };
        object.insert(column.to_ascii_lowercase(), value);
    }
    if !device.children.is_empty() {
        let children = device.children.iter().map(|child| json(child, columns, context)).collect();
        object.insert("children".into(), Value::Array(children));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_drawn() {
        let leaf = |name: &str| Device { name: name.into(), parent: None, children: Vec::new() };
        let disk = Device {
            name: "d".into(),
            parent: None,
            children: vec![Device { children: vec![leaf("x")], ..leaf("p1") }, leaf("p2")],
        };
        let options = Options::parse_from(["lsblk", "-o", "NAME,TYPE", "-n"]);
        let context = Context { options: &options, mounts: HashMap::new() };
        let text = table(&[disk], &options.output, &context);
        assert_eq!(text, "d     disk\n├─p1  disk\n│ └─x disk\n└─p2  disk\n");
    }

    #[test]
    fn columns_are_known() {
        for list in [DEFAULT, FILE_SYSTEMS] {
            assert!(list.split(',').all(is_column));
        }
        assert!(!is_column("FOO"));
    }
}
