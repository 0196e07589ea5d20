//! `sysctl`: kernel parameters at run time (procps sysctl(8), /proc/sys).

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;

use crate::common;
use crate::registry::{Applet, Dir};

/// `sysctl`.
pub const APPLET: Applet =
    Applet { name: "sysctl", aliases: &[], dir: Dir::Sbin, summary: "read and set kernel parameters", run };

const ROOT: &str = "/proc/sys";
/// Files that `--system` reads, the later winning (sysctl.d(5)).
const FOLDERS: [&str; 3] = ["/usr/lib/sysctl.d", "/run/sysctl.d", "/etc/sysctl.d"];

#[derive(Parser)]
#[command(name = "sysctl", about = "Read and set kernel parameters")]
struct Options {
    /// All parameters
    #[arg(short, long, visible_short_alias = 'A')]
    all: bool,
    /// Values only
    #[arg(short = 'n', long)]
    values: bool,
    /// Names only
    #[arg(short = 'N', long)]
    names: bool,
    /// Do not complain about unknown names
    #[arg(short = 'e', long)]
    ignore: bool,
    /// Do not print what is set
    #[arg(short, long)]
    quiet: bool,
    /// Set: every operand is NAME=VALUE
    #[arg(short, long)]
    write: bool,
    /// Set what is in the file (/etc/sysctl.conf if none is named)
    #[arg(short = 'p', long, num_args = 0.., value_name = "FILE")]
    load: Option<Vec<PathBuf>>,
    /// Set what is in sysctl.d and /etc/sysctl.conf
    #[arg(long)]
    system: bool,
    /// NAME or NAME=VALUE
    operands: Vec<String>,
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 1, |name, options: Options| options.act(name))
}

impl Options {
    fn act(&self, called: &str) -> anyhow::Result<i32> {
        let mut status = 0;
        let mut tell = |result: anyhow::Result<()>| -> anyhow::Result<()> {
            if let Err(error) = result {
                if error.chain().any(|cause| {
                    cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
                }) {
                    return Err(error);
                }
                writeln!(io::stderr(), "{called}: {error:#}")?;
                status = 1;
            }
            Ok(())
        };
        let files = match (&self.load, self.system) {
            (Some(files), _) if !files.is_empty() => files.clone(),
            (Some(_), _) => vec!["/etc/sysctl.conf".into()],
            (None, true) => system_files(),
            (None, false) => Vec::new(),
        };
        for file in files {
            tell(self.load_file(&file))?;
        }
        if self.all {
            tell(self.show_tree(Path::new(ROOT)))?;
        }
        if self.operands.is_empty() && !self.all && self.load.is_none() && !self.system {
            anyhow::bail!("which parameter? see sysctl --help");
        }
        for operand in &self.operands {
            tell(match operand.split_once('=') {
                Some((name, value)) => self.set(name.trim(), value.trim()),
                None if self.write => Err(anyhow::anyhow!("{operand}: must be NAME=VALUE")),
                None => self.show(operand),
            })?;
        }
        Ok(status)
    }

    fn load_file(&self, file: &Path) -> anyhow::Result<()> {
        let text = match file.as_os_str() == "-" {
            true => io::read_to_string(io::stdin()),
            false => fs::read_to_string(file),
        };
        let text = text.with_context(|| format!("cannot read {}", file.display()))?;
        let mut failed = 0;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            // A leading dash: failure is no error (sysctl.conf(5)).
            let (lenient, line) = line.strip_prefix('-').map_or((false, line), |rest| (true, rest));
            let result = match line.split_once('=') {
                Some((name, value)) => self.set(name.trim(), value.trim()),
                None => Err(anyhow::anyhow!("no `=` in the line")),
            };
            if let Err(error) = result
                && !lenient
            {
                writeln!(io::stderr(), "sysctl: {}:{}: {error:#}", file.display(), number + 1)?;
                failed += 1;
            }
        }
        anyhow::ensure!(failed == 0, "{}: {failed} lines failed", file.display());
        Ok(())
    }

    fn set(&self, name: &str, value: &str) -> anyhow::Result<()> {
        let path = path_of(name)?;
        if self.ignore && !path.exists() {
            return Ok(());
        }
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(format!("{value}\n").as_bytes()))
            .with_context(|| format!("cannot set {name} to {value:?}"))?;
        if !self.quiet {
            self.print(&dotted(&path), value)?;
        }
        Ok(())
    }

    fn show(&self, name: &str) -> anyhow::Result<()> {
        let path = path_of(name)?;
        if path.is_dir() {
            return self.show_tree(&path);
        }
        if self.ignore && !path.exists() {
            return Ok(());
        }
        let value = fs::read(&path).with_context(|| format!("cannot read {name}"))?;
        self.print(&dotted(&path), &String::from_utf8_lossy(&value))
    }

    /// All parameters below a folder, by name. What may not be read is passed over.
    fn show_tree(&self, folder: &Path) -> anyhow::Result<()> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort_unstable();
        for path in paths {
            if path.is_dir() {
                self.show_tree(&path)?;
            } else if let Ok(value) = fs::read(&path) {
                self.print(&dotted(&path), &String::from_utf8_lossy(&value))?;
            }
        }
        Ok(())
    }

    fn print(&self, name: &str, value: &str) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.names {
            writeln!(out, "{name}")?;
            return Ok(());
        }
        for line in value.trim_end_matches('\n').split('\n') {
            match self.values {
                true => writeln!(out, "{line}")?,
                false => writeln!(out, "{name} = {line}")?,
            }
        }
        Ok(())
    }
}

/// The file of a parameter. Dots divide, as slashes do; where a slash comes first, a dot is part of a name (sysctl(8)).
fn path_of(name: &str) -> anyhow::Result<PathBuf> {
    let relative = match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name.to_owned(),
        _ => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
    };
    let path = Path::new(&relative);
    let plain = !relative.is_empty() && path.components().all(|part| matches!(part, Component::Normal(_)));
    anyhow::ensure!(plain, "{name:?}: not the name of a parameter");
    Ok(Path::new(ROOT).join(path))
}

fn dotted(path: &Path) -> String {
    let relative = path.strip_prefix(ROOT).unwrap_or(path).to_string_lossy();
    relative
        .chars()
        .map(|c| {
            if c == '/' {
                '.'
            } else if c == '.' {
                '/'
            } else {
                c
            }
        })
        .collect()
}

/// `*.conf` of the folders by name, a later folder hiding an earlier one's, then /etc/sysctl.conf.
fn system_files() -> Vec<PathBuf> {
    let mut files = std::collections::BTreeMap::new();
    for entry in FOLDERS.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().filter_map(Result::ok) {
        if entry.path().extension().is_some_and(|extension| extension == "conf") {
            files.insert(entry.file_name(), entry.path());
        }
    }
    let last = Path::new("/etc/sysctl.conf");
    files.into_values().chain(last.exists().then(|| last.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths() {
        assert_eq!(path_of("kernel.hostname").unwrap(), Path::new("/proc/sys/kernel/hostname"));
        assert_eq!(
            path_of("net/ipv4/conf/eth0.1/forwarding").unwrap(),
            Path::new("/proc/sys/net/ipv4/conf/eth0.1/forwarding")
        );
        assert_eq!(
            path_of("net.ipv4.conf.eth0/1.forwarding").unwrap(),
            Path::new("/proc/sys/net/ipv4/conf/eth0.1/forwarding")
        );
        assert_eq!(dotted(Path::new("/proc/sys/net/ipv4/conf/eth0.1/forwarding")), "net.ipv4.conf.eth0/1.forwarding");
        for bad in ["", "/etc/passwd", "a/../../etc/passwd", "../x"] {
            assert!(path_of(bad).is_err(), "{bad}");
        }
    }
}
