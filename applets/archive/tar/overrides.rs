//! `--owner`, `--group`, `--mtime`: what all members of a new archive have in common.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context as _, bail};

use super::options::Options;
use crate::system::clock::Date;
use coracle_image_oci::tarball::Member;

/// Name and number.
type Owner = (Vec<u8>, u32);

/// What takes the place of the files' own.
pub struct Overrides {
    owner: Option<Owner>,
    group: Option<Owner>,
    mtime: Option<(i64, u32)>,
}

impl Overrides {
    /// # Errors
    /// If there is no such user, group or time.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let user = |name: &str| Ok(nix::unistd::User::from_name(name)?.map(|user| user.uid.as_raw()));
        let group = |name: &str| Ok(nix::unistd::Group::from_name(name)?.map(|group| group.gid.as_raw()));
        Ok(Self {
            owner: options.owner.as_deref().map(|text| owner(text, user)).transpose()?,
            group: options.group.as_deref().map(|text| owner(text, group)).transpose()?,
            mtime: options.mtime.as_deref().map(time).transpose()?,
        })
    }

    /// The member with what was asked for.
    pub fn apply(&self, mut member: Member) -> Member {
        if let Some((name, id)) = &self.owner {
            (member.user, member.uid) = (name.clone(), *id);
        }
        if let Some((name, id)) = &self.group {
            (member.group, member.gid) = (name.clone(), *id);
        }
        member.mtime = self.mtime.unwrap_or(member.mtime);
        member
    }
}

/// `NAME`, `NAME:ID`, `ID` or `:ID`.
fn owner(text: &str, find: impl Fn(&str) -> anyhow::Result<Option<u32>>) -> anyhow::Result<Owner> {
    if let Some((name, id)) = text.split_once(':') {
        let id = id.parse().with_context(|| format!("{text}: {id:?} is no number"))?;
        return Ok((name.into(), id));
    }
    if let Some(id) = find(text)? {
        return Ok((text.into(), id));
    }
    let digits = text.strip_prefix('+').unwrap_or(text);
    let id = digits.parse().with_context(|| format!("{text}: no such name; NAME:NUMBER gives both"))?;
    Ok((Vec::new(), id))
}

fn time(text: &str) -> anyhow::Result<(i64, u32)> {
    if let Some(seconds) = text.strip_prefix('@') {
        return Ok((seconds.parse().with_context(|| format!("{text}: not a number of seconds"))?, 0));
    }
    if text.starts_with(['/', '.']) {
        let meta = fs::metadata(text).with_context(|| format!("{text}: cannot take its time"))?;
        return Ok((meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap_or(0)));
    }
    match Date::parse(text) {
        Some(date) => Ok((date.to_unix(), 0)),
        None => bail!("{text}: not a time; write @SECONDS or YYYY-MM-DD HH:MM:SS (UTC)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        let find = |name: &str| Ok((name == "root").then_some(0));
        assert_eq!(owner("root", find).unwrap(), (b"root".to_vec(), 0));
        assert_eq!(owner("me:7", find).unwrap(), (b"me".to_vec(), 7));
        assert_eq!(owner("+8", find).unwrap(), (Vec::new(), 8));
        assert_eq!(owner("9", find).unwrap(), (Vec::new(), 9));
        assert!(owner("nobody-here", find).is_err() && owner("a:b", find).is_err());
    }

    #[test]
    fn times() {
        assert_eq!(time("@5").unwrap(), (5, 0));
        assert_eq!(time("1970-01-02").unwrap(), (86_400, 0));
        assert_eq!(time("2000-02-29 12:34:56Z").unwrap(), (951_827_696, 0));
        assert!(time("yesterday").is_err() && time("@x").is_err());
    }
}
