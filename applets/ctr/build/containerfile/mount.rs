//! `RUN --mount=...`.

use coracle_cgroups::units::parse_size;

/// A mount for the time of one RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `type`.
    pub kind: MountKind,
    /// `from`: a stage or an image; the context if not given.
    pub from: Option<String>,
    /// `source`.
    pub source: Option<String>,
    /// `target`.
    pub target: Option<String>,
    /// Whether the command may not write to it.
    pub read_only: bool,
    /// `id` of a cache or a secret.
    pub id: Option<String>,
    /// `required`: a secret that is not given is an error.
    pub required: bool,
    /// `size` of a tmpfs, in bytes.
    pub size: Option<u64>,
    /// `sharing` of a cache.
    pub sharing: Sharing,
    /// `mode`.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
    /// `env`: the variable that holds a secret.
    pub env: Option<String>,
}

/// What is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A path of the context, a stage or an image; what is written to it is thrown away.
    Bind,
    /// A directory that stays from build to build.
    Cache,
    /// An empty file system in memory.
    Tmpfs,
    /// A file that is given to `build` and never becomes part of an image.
    Secret,
}

/// Who else may have a cache meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Anybody.
    Shared,
    /// Nobody: others get a cache of their own.
    Private,
    /// Nobody: others wait.
    Locked,
}

impl Mount {
    /// Read `key=value,...`; each value is expanded first.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, expand: &dyn Fn(&str) -> Result<String, String>) -> Result<Self, String> {
        let mut mount = Mount {
            kind: MountKind::Bind,
            from: None,
            source: None,
            target: None,
            read_only: true,
            id: None,
            required: false,
            size: None,
            sharing: Sharing::Shared,
            mode: None,
            uid: None,
            gid: None,
            env: None,
        };
        let mut read_only = None;
        let mut sharing = None;
        for field in fields(text)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_ascii_lowercase(), Some(expand(value)?)),
                None => (field.to_ascii_lowercase(), None),
            };
            match (key.as_str(), value) {
                ("readonly" | "ro", value) => read_only = Some(boolean(&key, value)?),
                ("readwrite" | "rw", value) => read_only = Some(!boolean(&key, value)?),
                ("required", value) => mount.required = boolean(&key, value)?,
                ("sharing", Some(value)) => sharing = Some(parse_sharing(&value)?),
                (_, Some(value)) => mount.set(&key, value, &field)?,
                (_, None) => return Err(format!("invalid field '{field}' must be a key=value pair")),
            }
        }
        mount.read_only = read_only.unwrap_or(!matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs));
        mount.sharing = sharing.unwrap_or(Sharing::Shared);
        mount.check(sharing.is_some())?;
        Ok(mount)
    }

    fn set(&mut self, key: &str, value: String, field: &str) -> Result<(), String> {
        let number = |value: &str| value.parse().map_err(|_| format!("invalid value {value} for {key}"));
        match key {
            "type" => {
                self.kind = match value.to_ascii_lowercase().as_str() {
                    "bind" => MountKind::Bind,
                    "cache" => MountKind::Cache,
                    "tmpfs" => MountKind::Tmpfs,
                    "secret" => MountKind::Secret,
                    "ssh" => return Err("mounts of type ssh are not supported; give a key as a secret".into()),
                    _ => return Err(format!("unsupported mount type {value:?}")),
                }
            }
            "from" => self.from = Some(value),
            "source" | "src" => self.source = Some(value),
            "target" | "dst" | "destination" => self.target = Some(value),
            "id" => self.id = Some(value),
            "env" => self.env = Some(value),
            "size" => self.size = Some(parse_size(&value).map_err(|_| format!("invalid value for size: {value}"))?),
            "mode" => {
                let mode = u32::from_str_radix(&value, 8).ok().filter(|&mode| mode <= 0o7777);
                self.mode = Some(mode.ok_or_else(|| format!("invalid value {value} for mode"))?);
            }
            "uid" => self.uid = Some(number(&value)?),
            "gid" => self.gid = Some(number(&value)?),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
        Ok(())
    }

    fn check(&self, has_sharing: bool) -> Result<(), String> {
        let kind = self.kind.word();
        let is = |kinds: &[MountKind]| kinds.contains(&self.kind);
        for (name, given) in [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)] {
            if given.is_some() && !is(&[MountKind::Cache, MountKind::Secret]) {
                return Err(format!("{name} not allowed for {kind:?} type mounts"));
            }
        }
        let wrong = [
            ("required", self.required, is(&[MountKind::Secret])),
            ("size", self.size.is_some(), is(&[MountKind::Tmpfs])),
            ("env", self.env.is_some(), is(&[MountKind::Secret])),
            ("from", self.from.is_some(), is(&[MountKind::Bind, MountKind::Cache])),
            ("source", self.source.is_some(), !is(&[MountKind::Tmpfs])),
            ("id", self.id.is_some(), is(&[MountKind::Cache, MountKind::Secret])),
        ];
        if let Some((name, ..)) = wrong.iter().find(|(_, given, allowed)| *given && !allowed) {
            return Err(format!("unexpected key '{name}' for mount type '{kind}'"));
        }
        if has_sharing && self.kind != MountKind::Cache {
            return Err(format!("invalid cache sharing set for {kind} mount"));
        }
        match self.kind {
            MountKind::Secret if self.source.is_none() && self.target.is_none() && self.id.is_none() => {
                Err("invalid secret mount. one of source, target required".into())
            }
            MountKind::Secret if self.source.is_some() && self.id.is_some() => {
                Err("both source and id can't be set".into())
            }
            MountKind::Secret => Ok(()),
            _ if self.target.as_deref().is_none_or(str::is_empty) => Err("missing mount target".into()),
            _ => Ok(()),
        }
    }
}

impl MountKind {
    /// Its word in a Containerfile.
    pub fn word(self) -> &'static str {
        match self {
            MountKind::Bind => "bind",
            MountKind::Cache => "cache",
            MountKind::Tmpfs => "tmpfs",
            MountKind::Secret => "secret",
        }
    }
}

fn parse_sharing(value: &str) -> Result<Sharing, String> {
    match value.to_ascii_lowercase().as_str() {
        "shared" => Ok(Sharing::Shared),
        "private" => Ok(Sharing::Private),
        "locked" => Ok(Sharing::Locked),
        _ => Err(format!("unsupported sharing value {value:?}")),
    }
}

fn boolean(key: &str, value: Option<String>) -> Result<bool, String> {
    match value.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => Err(format!("invalid value for {key}: {value}")),
    }
}

/// A line of comma-separated values (RFC 4180).
fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut all = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(field) = all.last_mut() else { break };
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            '"' => return Err("failed to parse csv mounts: bare \" in non-quoted field".into()),
            ',' if !quoted => all.push(String::new()),
            c => field.push(c),
        }
    }
    if quoted { Err("failed to parse csv mounts: extraneous or missing \" in quoted-field".into()) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Mount, String> {
        Mount::parse(text, &|value| Ok(value.replace("$X", "x")))
    }

    #[test]
    fn kinds() {
        let bind = parse("target=/a").unwrap();
        assert_eq!((bind.kind, bind.read_only), (MountKind::Bind, true));
        let cache = parse("type=cache,dst=/a,id=$X,sharing=locked,mode=0700,uid=5").unwrap();
        assert_eq!((cache.kind, cache.read_only, cache.id.as_deref()), (MountKind::Cache, false, Some("x")));
        assert_eq!((cache.sharing, cache.mode, cache.uid), (Sharing::Locked, Some(0o700), Some(5)));
        assert_eq!(parse("type=tmpfs,target=/t,size=10m").unwrap().size, Some(10 << 20));
        let secret = parse("type=secret,id=key,required,\"target=/a,b\"").unwrap();
        assert_eq!((secret.required, secret.target.as_deref()), (true, Some("/a,b")));
        assert!(!parse("type=bind,target=/a,rw").unwrap().read_only);
    }

    #[test]
    fn wrong_ones() {
        for (text, part) in [
            ("type=x,target=/a", "unsupported mount type \"x\""),
            ("type=bind", "missing mount target"),
            ("type=bind,target=/a,mode=7", "mode not allowed"),
            ("type=bind,target=/a,sharing=locked", "invalid cache sharing"),
            ("type=cache,target=/a,sharing=x", "unsupported sharing"),
            ("type=secret", "one of source, target required"),
            ("type=tmpfs,target=/a,required", "unexpected key 'required'"),
            ("type=bind,target=/a,foo=1", "unexpected key 'foo' in 'foo=1'"),
            ("type=bind,target", "must be a key=value pair"),
            ("type=ssh", "not supported"),
            ("target=\"/a", "csv"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(type=|target=|cache|secret|,|=|\"|[ -~]){0,12}") {
            let _ = parse(&text);
        }
    }
}
