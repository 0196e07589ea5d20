//! What is mounted (/proc/self/mountinfo, proc_pid_mountinfo(5)) and what /etc/fstab would have mounted (fstab(5)).

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Number of the mount.
    pub id: u64,
    /// Number of the mount that it hangs on.
    pub parent: u64,
    /// Device as MAJOR:MINOR.
    pub device: String,
    /// The part of the file system that is seen here; `/` unless it is a bind mount.
    pub root: String,
    /// Mount point.
    pub target: PathBuf,
    /// Options of the mount, in the kernel's order.
    pub options: Vec<String>,
    /// Type of the file system.
    pub fs_type: String,
    /// Device, tag or name.
    pub source: String,
    /// Options of the file system.
    pub super_options: Vec<String>,
}

impl Mount {
    /// Options of the mount and of the file system in one list, `ro` or `rw` once and first.
    pub fn all_options(&self) -> String {
        let has = |options: &[String], word: &str| options.iter().any(|option| option == word);
        let first = if has(&self.options, "ro") || has(&self.super_options, "ro") { "ro" } else { "rw" };
        let rest =
            self.options.iter().chain(&self.super_options).filter(|option| !matches!(option.as_str(), "ro" | "rw"));
        let mut words: Vec<&str> = vec![first];
        for word in rest {
            if !words.contains(&word.as_str()) {
                words.push(word);
            }
        }
        words.join(",")
    }
}

/// All mounts that this process sees, in the order of mounting.
///
/// # Errors
/// When /proc is not there.
pub fn mounts() -> anyhow::Result<Vec<Mount>> {
    let bytes = std::fs::read("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo; is /proc mounted?")?;
    Ok(String::from_utf8_lossy(&bytes).lines().filter_map(parse_mount).collect())
}

fn parse_mount(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ');
    let id = fields.next()?.parse().ok()?;
    let parent = fields.next()?.parse().ok()?;
    let device = fields.next()?.to_owned();
    let root = unescape(fields.next()?);
    let target = unescape(fields.next()?).into();
    let options = words(fields.next()?);
    fields.find(|field| *field == "-")?;
    let fs_type = unescape(fields.next()?);
    let source = unescape(fields.next()?);
    let super_options = words(fields.next().unwrap_or_default());
    Some(Mount { id, parent, device, root, target, options, fs_type, source, super_options })
}

fn words(list: &str) -> Vec<String> {
    list.split(',').filter(|word| !word.is_empty()).map(unescape).collect()
}

/// Undo `\040` and the like (getmntent(3)).
pub fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes
            .get(at + 1..at + 4)
            .filter(|digits| bytes[at] == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match octal
            .and_then(|digits| digits.iter().try_fold(0_u8, |sum, digit| sum.checked_mul(8)?.checked_add(digit - b'0')))
        {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// One line of fstab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TabEntry {
    /// Device, `LABEL=`, `UUID=` or tag.
    pub source: String,
    /// Mount point.
    pub target: PathBuf,
    /// Type, or `auto`.
    pub fs_type: String,
    /// Options, comma-separated.
    pub options: String,
}

/// The lines of a file like /etc/fstab; none if there is no such file.
///
/// # Errors
/// When it is there and cannot be read, or a line lacks a field.
pub fn fstab(path: &Path) -> anyhow::Result<Vec<TabEntry>> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse_fstab(&text).with_context(|| format!("in {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn parse_fstab(text: &str) -> anyhow::Result<Vec<TabEntry>> {
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            let fields: Vec<String> = line.split_whitespace().map(unescape).collect();
            let [source, target, fs_type, rest @ ..] = fields.as_slice() else {
                anyhow::bail!("line {number}: source, mount point and type are needed");
            };
            Ok(TabEntry {
                source: source.clone(),
                target: target.into(),
                fs_type: fs_type.clone(),
                options: rest.first().cloned().unwrap_or_else(|| "defaults".into()),
            })
        })
        .collect()
}

/// Whether a type passes a `-t` list: `a,b` one of these, `noa,b` none of these (mount(8)).
pub fn type_fits(list: Option<&str>, fs_type: &str) -> bool {
    let Some(list) = list else { return true };
    match list.strip_prefix("no") {
        Some(rest) => !rest.split(',').any(|word| word.strip_prefix("no").unwrap_or(word) == fs_type),
        None => list.split(',').any(|word| word == fs_type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo() {
        let line = r"36 35 98:0 /mnt1 /mnt/a\040b rw,noatime master:1 propagate_from:2 - ext3 /dev/ro\134ot ro,errors=continue";
        let mount = parse_mount(line).unwrap();
        assert_eq!((mount.id, mount.parent, mount.root.as_str()), (36, 35, "/mnt1"));
        assert_eq!(mount.target, Path::new("/mnt/a b"));
        assert_eq!(mount.source, r"/dev/ro\ot");
        assert_eq!(mount.all_options(), "ro,noatime,errors=continue");
        assert!(parse_mount("36 35 98:0").is_none());
        assert!(mounts().unwrap().iter().any(|mount| mount.target == Path::new("/proc")));
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescape(r"a\9\0\777\040"), "a\\9\\0\\777 ");
    }

    #[test]
    fn fstab_lines() {
        let entries = parse_fstab("# comment\n\nLABEL=data /data ext4\n tmpfs\t/t\\040p tmpfs size=1m 0 0\n").unwrap();
        assert_eq!(entries[0].options, "defaults");
        assert_eq!(entries[1].target, Path::new("/t p"));
        assert!(parse_fstab("/dev/sda1 /mnt\n").is_err());
    }

    #[test]
    fn type_lists() {
        assert!(type_fits(None, "ext4") && type_fits(Some("vfat,ext4"), "ext4") && !type_fits(Some("vfat"), "ext4"));
        assert!(!type_fits(Some("noproc,sysfs"), "sysfs") && type_fits(Some("noproc"), "ext4"));
    }
}
