//! `-v`, `--mount` and `--tmpfs` of `ctr run`.

use std::collections::BTreeMap;
use std::path::Path;

use coracle_cgroups::units::parse_size;
use serde::{Deserialize, Serialize};

use super::names;
use super::options::normalize;

/// Propagations of a bind mount (mount_namespaces(7)).
const PROPAGATIONS: [&str; 6] = ["shared", "slave", "private", "rshared", "rslave", "rprivate"];

/// One `-v`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// As given.
    pub text: String,
    /// An absolute path, or a volume's name; `None` for an anonymous volume.
    pub source: Option<String>,
    /// Absolute path in the container.
    pub destination: String,
    /// Options as given.
    pub mode: String,
    /// Read-only.
    pub read_only: bool,
    /// One of [`PROPAGATIONS`]; empty for the default.
    pub propagation: String,
}

/// One `--mount`, in the form that `docker inspect` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MountOption {
    /// `bind`, `volume` or `tmpfs`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// A path of the host, or a volume's name; empty for an anonymous volume and for a tmpfs.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    /// Read-only.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Of a bind mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    /// Of a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
    /// Of a tmpfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
}

/// `BindOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BindOptions {
    /// One of [`PROPAGATIONS`]; empty for the default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub propagation: String,
    /// Without the mounts below.
    #[serde(skip_serializing_if = "is_false")]
    pub non_recursive: bool,
    /// The mounts below a read-only one stay as they are.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only_non_recursive: bool,
    /// Make the source if it is not there.
    #[serde(skip_serializing_if = "is_false")]
    pub create_mountpoint: bool,
}

/// `VolumeOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeOptions {
    /// Not to be filled with what the image has at its place.
    #[serde(skip_serializing_if = "is_false")]
    pub no_copy: bool,
    /// Of a volume that is made for this.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// `TmpfsOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TmpfsOptions {
    /// Bytes; 0 is half of the memory.
    #[serde(skip_serializing_if = "is_zero")]
    pub size_bytes: u64,
    /// Permission bits; 0 is 1777.
    #[serde(skip_serializing_if = "is_zero32")]
    pub mode: u32,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_zero32(value: &u32) -> bool {
    *value == 0
}

/// Read `-v`.
pub fn parse_volume(text: &str) -> Result<Volume, String> {
    let parts: Vec<_> = text.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        [destination] => (None, destination, ""),
        [source, destination] => (Some(source), destination, ""),
        [source, destination, mode] => (Some(source), destination, mode),
        _ => return Err(format!("invalid volume specification: '{text}': wanted [SOURCE:]PATH[:OPTIONS]")),
    };
    let destination = parse_destination(destination)?;
    let source = source.map(host_path).transpose()?;
    if let Some(source) = &source
        && !source.starts_with('/')
    {
        names::parse(source).map_err(|_| {
            format!(
                "\"{source}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. \
                 If you intended to pass a host directory, use absolute path"
            )
        })?;
    }
    let is_bind = source.as_ref().is_some_and(|source| source.starts_with('/'));
    let (read_only, propagation) = parse_mode(mode, is_bind)?;
    Ok(Volume { text: text.into(), source, destination, mode: mode.into(), read_only, propagation })
}

/// The third part of `-v`: whether it is read-only, and its propagation. Of each kind of option there may be one.
fn parse_mode(mode: &str, is_bind: bool) -> Result<(bool, String), String> {
    let wrong = || format!("invalid mode: {mode}");
    let (mut access, mut label, mut copy, mut propagation) = (None, None, None, None);
    for option in mode.split(',').filter(|option| !option.is_empty()) {
        let slot = match option {
            "ro" | "rw" => &mut access,
            // SELinux labels: there is no SELinux here.
            "z" | "Z" => &mut label,
            "nocopy" if !is_bind => &mut copy,
            // Of Docker Desktop's file sharing; without effect on Linux.
            "consistent" | "cached" | "delegated" => continue,
            other if PROPAGATIONS.contains(&other) && is_bind => &mut propagation,
            _ => return Err(wrong()),
        };
        if slot.replace(option).is_some() {
            return Err(wrong());
        }
    }
    Ok((access == Some("ro"), propagation.unwrap_or_default().to_owned()))
}

/// A path that begins with a dot is relative to the caller's directory.
fn host_path(text: &str) -> Result<String, String> {
    if text != "." && text != ".." && !text.starts_with("./") && !text.starts_with("../") {
        return Ok(text.into());
    }
    let here = std::env::current_dir().map_err(|error| format!("cannot resolve {text:?}: {error}"))?;
    let path = here.join(text).into_os_string().into_string();
    path.map(|path| normalize(&path)).map_err(|_| format!("{text:?} lies in a directory whose name is no text"))
}

/// Where a volume is to be mounted.
pub fn parse_destination(text: &str) -> Result<String, String> {
    let path = normalize(text);
    if !text.starts_with('/') {
        return Err(format!("invalid mount path: '{text}' mount path must be absolute"));
    }
    if path == "/" {
        return Err("invalid specification: destination can't be '/'".into());
    }
    Ok(path)
}

/// Read `--mount`.
pub fn parse_mount(text: &str) -> Result<MountOption, String> {
    let mut mount = MountOption { kind: "volume".into(), ..MountOption::default() };
    let (mut bind, mut volume, mut tmpfs) = (None::<BindOptions>, None::<VolumeOptions>, None::<TmpfsOptions>);
    for field in csv(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        let needed = || value.ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"));
        let flag = || flag(&key, value);
        match key.as_str() {
            "type" => mount.kind = needed()?.to_ascii_lowercase(),
            "source" | "src" => mount.source = host_path(needed()?)?,
            "target" | "dst" | "destination" => mount.target = needed()?.into(),
            "readonly" | "ro" => mount.read_only = flag()?,
            "consistency" => drop(needed()?),
            "bind-propagation" => {
                let value = needed()?;
                if !PROPAGATIONS.contains(&value) {
                    return Err(format!("invalid value for bind-propagation: {value}"));
                }
                bind.get_or_insert_default().propagation = value.into();
            }
            "bind-nonrecursive" => bind.get_or_insert_default().non_recursive = flag()?,
            "bind-create-src" => bind.get_or_insert_default().create_mountpoint = flag()?,
            "bind-recursive" => recursive(bind.get_or_insert_default(), needed()?)?,
            "volume-nocopy" => volume.get_or_insert_default().no_copy = flag()?,
            "volume-label" => {
                let (key, value) = needed()?.split_once('=').unwrap_or((needed()?, ""));
                volume.get_or_insert_default().labels.insert(key.into(), value.into());
            }
            "volume-driver" if needed()? == "local" => drop(volume.get_or_insert_default()),
            "volume-driver" => {
                return Err(format!("the volume driver {:?} is not supported: only local is", needed()?));
            }
            "volume-opt" | "volume-subpath" | "image-subpath" => return Err(format!("{key} is not supported")),
            "tmpfs-size" => {
                let size = parse_size(needed()?)
                    .map_err(|_| format!("invalid value for {key}: {}", needed().unwrap_or("")))?;
                tmpfs.get_or_insert_default().size_bytes = size;
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(needed()?, 8).ok().filter(|mode| *mode <= 0o7777);
                tmpfs.get_or_insert_default().mode =
                    mode.ok_or_else(|| format!("invalid value for {key}: {}", needed().unwrap_or("")))?;
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    (mount.bind_options, mount.volume_options, mount.tmpfs_options) = (bind, volume, tmpfs);
    check(mount)
}

/// `bind-recursive`.
fn recursive(bind: &mut BindOptions, value: &str) -> Result<(), String> {
    match value {
        "enabled" | "readonly" => bind.non_recursive = false,
        "disabled" => bind.non_recursive = true,
        "writable" => bind.read_only_non_recursive = true,
        _ => {
            return Err(format!(
                "invalid value for bind-recursive: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
            ));
        }
    }
    Ok(())
}

fn check(mut mount: MountOption) -> Result<MountOption, String> {
    let kind = mount.kind.clone();
    let given = [
        ("bind", mount.bind_options.is_some()),
        ("volume", mount.volume_options.is_some()),
        ("tmpfs", mount.tmpfs_options.is_some()),
    ];
    if !given.iter().any(|(name, _)| *name == kind) {
        return Err(format!(
            "invalid mount config: the type {kind:?} is not supported: only bind, volume and tmpfs are"
        ));
    }
    if let Some((name, _)) = given.iter().find(|(name, given)| *given && *name != kind) {
        return Err(format!("cannot mix '{name}-*' options with mount type '{kind}'"));
    }
    let wrong = |why: String| format!("invalid mount config for type {kind:?}: {why}");
    if mount.target.is_empty() {
        return Err("target is required".into());
    }
    mount.target = parse_destination(&mount.target).map_err(wrong)?;
    match kind.as_str() {
        "bind" if mount.source.is_empty() => return Err(wrong("field Source must not be empty".into())),
        "bind" if !mount.source.starts_with('/') => {
            return Err(wrong(format!("invalid mount path: '{}' mount path must be absolute", mount.source)));
        }
        "tmpfs" if !mount.source.is_empty() => return Err(wrong("field Source must not be specified".into())),
        "volume" if !mount.source.is_empty() => {
            drop(names::parse(&mount.source).map_err(|_| wrong(format!("{:?} is no volume's name", mount.source)))?)
        }
        _ => {}
    }
    Ok(mount)
}

/// A key that may stand alone for true.
fn flag(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(format!("invalid value for {key}: {other}")),
    }
}

/// Fields of one line of comma-separated values (RFC 4180): a field in quotes may have commas, and doubled quotes for one.
fn csv(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let Some(field) = fields.last_mut() else { break };
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    if quoted { Err(format!("{text:?} has a quote that does not end")) } else { Ok(fields) }
}

/// Read `--tmpfs`: path and options of tmpfs(5).
pub fn parse_tmpfs(text: &str) -> Result<(String, String), String> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    for option in options.split(',').filter(|option| !option.is_empty()) {
        tmpfs_option(option)?;
    }
    Ok((parse_destination(path)?, options.into()))
}

fn tmpfs_option(option: &str) -> Result<(), String> {
    const FLAGS: [&str; 24] = [
        "ro",
        "rw",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "sync",
        "async",
        "dirsync",
        "nomand",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "defaults",
        "private",
        "rprivate",
        "slave",
    ];
    let wrong = || format!("invalid tmpfs option {option:?}");
    match option.split_once('=') {
        None if FLAGS.contains(&option) || PROPAGATIONS.contains(&option) => Ok(()),
        Some(("size", size)) if size.strip_suffix('%').is_some_and(|number| number.parse::<u8>().is_ok()) => Ok(()),
        Some(("size" | "nr_blocks" | "nr_inodes", size)) => parse_size(size).map(drop).map_err(|_| wrong()),
        Some(("mode", mode)) => u32::from_str_radix(mode, 8).map(drop).map_err(|_| wrong()),
        Some(("uid" | "gid", id)) => id.parse::<u32>().map(drop).map_err(|_| wrong()),
        Some(("mpol", _)) => Ok(()),
        _ => Err(wrong()),
    }
}

/// Options of a tmpfs for the runtime: Docker's, then the given ones, the last of each kind.
pub fn tmpfs_options(given: &str) -> Vec<String> {
    let opposite = |option: &str| match option {
        "suid" => "nosuid".to_owned(),
        "dev" => "nodev".into(),
        "exec" => "noexec".into(),
        "rw" => "ro".into(),
        other => other.strip_prefix("no").unwrap_or(if other == "ro" { "rw" } else { "" }).into(),
    };
    let mut all: Vec<String> = ["noexec", "nosuid", "nodev"].map(Into::into).to_vec();
    for option in given.split(',').filter(|option| !option.is_empty()) {
        let key = option.split_once('=').map(|(key, _)| key);
        all.retain(|other| {
            other != option
                && *other != opposite(option)
                && (key.is_none() || other.split_once('=').map(|(key, _)| key) != key)
        });
        all.push(lower_units(option));
    }
    all
}

/// tmpfs itself knows k, m and g only, and no fractions.
fn lower_units(option: &str) -> String {
    match option.split_once('=') {
        Some((key @ ("size" | "nr_blocks" | "nr_inodes"), value)) if !value.ends_with('%') => {
            parse_size(value).map_or_else(|_| option.into(), |size| format!("{key}={size}"))
        }
        _ => option.into(),
    }
}

/// A bind mount's source.
pub fn is_path(source: &str) -> bool {
    Path::new(source).is_absolute()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn volumes() {
        let bind = parse_volume("/srv:/data:ro").unwrap();
        assert_eq!((bind.source.as_deref(), bind.destination.as_str(), bind.read_only), (Some("/srv"), "/data", true));
        assert_eq!(parse_volume("db:/var//lib/../db").unwrap().destination, "/var/db");
        assert_eq!(parse_volume("/data").unwrap().source, None);
        assert_eq!(parse_volume("/a:/b:rslave,ro,Z").unwrap().propagation, "rslave");
        for wrong in
            ["", "a:b", "x:/", "x:/..", "a:/b:xx", "a:/b:ro:c", ":/x", "/a:/b:nocopy", "/a:/b:ro,rw", "a:/b:rslave"]
        {
            assert!(parse_volume(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn relative_sources_are_of_the_callers_directory() {
        let here = std::env::current_dir().unwrap().into_os_string().into_string().unwrap();
        assert_eq!(parse_volume("./x:/y").unwrap().source, Some(format!("{here}/x")));
        assert_eq!(parse_volume("../x:/y").unwrap().source, Some(normalize(&format!("{here}/../x"))));
        assert_eq!(parse_mount("type=bind,src=.,dst=/y").unwrap().source, here);
    }

    #[test]
    fn mounts() {
        let mount = parse_mount("type=bind,source=/srv,target=/data,readonly,bind-propagation=rshared").unwrap();
        assert_eq!((mount.kind.as_str(), mount.source.as_str(), mount.read_only), ("bind", "/srv", true));
        assert_eq!(mount.bind_options.unwrap().propagation, "rshared");
        let tmpfs = parse_mount("type=tmpfs,dst=/x,tmpfs-size=64m,tmpfs-mode=0700").unwrap().tmpfs_options.unwrap();
        assert_eq!((tmpfs.size_bytes, tmpfs.mode), (64 << 20, 0o700));
        assert_eq!(parse_mount("source=db,dst=/x").unwrap().kind, "volume");
        assert!(parse_mount("dst=/x,volume-nocopy").unwrap().volume_options.unwrap().no_copy);
        assert_eq!(parse_mount("type=bind,\"src=/a,b\",dst=/x").unwrap().source, "/a,b");
        for (wrong, why) in [
            ("type=bind,source=/srv", "target is required"),
            ("type=bind,target=/x", "field Source must not be empty"),
            ("type=tmpfs,source=a,target=/x", "field Source must not be specified"),
            ("type=bind,source=/a,target=/x,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
            ("type=npipe,source=/a,target=/x", "not supported"),
            ("type=bind,source=/a,target=/x,magic=1", "unexpected key 'magic' in 'magic=1'"),
            ("type", "invalid field 'type' must be a key=value pair"),
            ("dst=x", "mount path must be absolute"),
            ("dst=/x,readonly=maybe", "invalid value for readonly: maybe"),
        ] {
            let found = parse_mount(wrong).unwrap_err();
            assert!(found.contains(why), "{wrong}: {found}");
        }
    }

    #[test]
    fn tmpfs() {
        assert_eq!(parse_tmpfs("/x:size=64m,exec").unwrap(), ("/x".into(), "size=64m,exec".into()));
        assert_eq!(tmpfs_options("size=64m,exec,size=1.5g"), ["nosuid", "nodev", "exec", "size=1610612736"]);
        for wrong in ["x", "/x:magic", "/x:size=abc", "/x:mode=9", "/"] {
            assert!(parse_tmpfs(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,60}") {
            let _ = parse_volume(&text);
            let _ = parse_mount(&text);
            let _ = parse_tmpfs(&text);
        }
    }
}
