//! `blkid`: what file systems are on block devices (util-linux blkid(8)).

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};

use super::superblock;
use crate::common;
use crate::registry::{Applet, Dir};

/// `blkid`.
pub const APPLET: Applet =
    Applet { name: "blkid", aliases: &[], dir: Dir::Sbin, summary: "what file systems are on block devices", run };

/// Exit status when nothing was found.
const NOTHING: i32 = 2;

#[derive(Parser)]
#[command(name = "blkid", about = "Tell type, label and UUID of file systems")]
struct Options {
    /// Only these: LABEL, UUID, TYPE, PARTLABEL
    #[arg(short = 's', long = "match-tag", value_name = "TAG", ignore_case = true)]
    tags: Vec<String>,
    /// How it is written
    #[arg(short, long, value_enum, default_value = "full")]
    output: Output,
    /// The device with this label
    #[arg(short = 'L', long, value_name = "LABEL", conflicts_with = "uuid")]
    label: Option<String>,
    /// The device with this UUID
    #[arg(short = 'U', long, value_name = "UUID")]
    uuid: Option<String>,
    /// Devices or files; all devices if there are none
    devices: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// `DEVICE: TAG="value" ...`
    Full,
    /// Values alone
    Value,
    /// `TAG=value` on lines
    Export,
    /// Names of the devices
    Device,
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 4, |_, options: Options| show(&options))
}

fn show(options: &Options) -> anyhow::Result<i32> {
    let mut out = io::stdout().lock();
    let source = match (&options.label, &options.uuid) {
        (Some(label), _) => Some(format!("LABEL={label}")),
        (_, Some(uuid)) => Some(format!("UUID={uuid}")),
        _ => None,
    };
    if let Some(source) = source {
        return Ok(match superblock::resolve(&source) {
            Ok(device) => {
                writeln!(out, "{device}")?;
                0
            }
            Err(_) => NOTHING,
        });
    }
    let all = options.devices.is_empty();
    let devices = match all {
        true => superblock::devices()?.iter().map(|name| superblock::node(name)).collect(),
        false => options.devices.clone(),
    };
    let mut found = false;
    let mut shown = 0;
    for device in devices {
        let tags = match tags(&device) {
            Ok(tags) => tags,
            // A drive without a medium, among all devices, is no failure.
            Err(_) if all => continue,
            Err(error) => {
                writeln!(io::stderr(), "blkid: {}: {}", device.display(), crate::text::reason(&error))?;
                continue;
            }
        };
        if tags.is_empty() {
            continue;
        }
        // Found is found, even if nothing of it was asked for.
        found = true;
        let wanted = |tag: &&(&str, String)| {
            options.tags.is_empty() || options.tags.iter().any(|wanted| wanted.eq_ignore_ascii_case(tag.0))
        };
        let tags: Vec<_> = tags.iter().filter(wanted).collect();
        if tags.is_empty() && options.output != Output::Device {
            continue;
        }
        let device = device.display();
        match options.output {
            Output::Full => {
                let pairs: Vec<String> =
                    tags.iter().map(|(tag, value)| format!("{tag}=\"{}\"", value.replace('"', "\\\""))).collect();
                writeln!(out, "{device}: {}", pairs.join(" "))?;
            }
            Output::Value => tags.iter().try_for_each(|(_, value)| writeln!(out, "{value}"))?,
            Output::Export => {
                if shown > 0 {
                    writeln!(out)?;
                }
                writeln!(out, "DEVNAME={device}")?;
                tags.iter().try_for_each(|(tag, value)| writeln!(out, "{tag}={value}"))?;
            }
            Output::Device => writeln!(out, "{device}")?,
        }
        shown += 1;
    }
    Ok(if found { 0 } else { NOTHING })
}

fn tags(device: &Path) -> io::Result<Vec<(&'static str, String)>> {
    let mut tags = Vec::new();
    if let Some(found) = superblock::probe_path(device)? {
        tags.extend(found.label.map(|label| ("LABEL", label)));
        tags.extend(found.uuid.map(|uuid| ("UUID", uuid)));
        tags.push(("TYPE", found.fs_type.to_owned()));
    }
    let name = device.file_name().unwrap_or_default().to_string_lossy();
    if device.starts_with("/dev") {
        tags.extend(superblock::part_label(&name).map(|label| ("PARTLABEL", label)));
    }
    Ok(tags)
}
