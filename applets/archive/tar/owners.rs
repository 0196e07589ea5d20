//! Whose a member becomes: by the name that it had, where this machine knows it, else by its number.

use std::cell::RefCell;
use std::collections::HashMap;

use coracle_image_oci::tarball::Entry;

/// Numbers of names, each looked up once.
pub struct Owners {
    numeric: bool,
    users: RefCell<HashMap<Vec<u8>, Option<u32>>>,
    groups: RefCell<HashMap<Vec<u8>, Option<u32>>>,
}

impl Owners {
    /// With `numeric`, names do not count.
    pub fn new(numeric: bool) -> Self {
        Self { numeric, users: RefCell::default(), groups: RefCell::default() }
    }

    /// User and group of a member.
    pub fn of(&self, entry: &Entry) -> (u32, u32) {
        if self.numeric {
            return (entry.uid, entry.gid);
        }
        let user = |name: &str| Some(nix::unistd::User::from_name(name).ok()??.uid.as_raw());
        let group = |name: &str| Some(nix::unistd::Group::from_name(name).ok()??.gid.as_raw());
        (
            find(&self.users, &entry.user, user).unwrap_or(entry.uid),
            find(&self.groups, &entry.group, group).unwrap_or(entry.gid),
        )
    }
}

fn find(
    known: &RefCell<HashMap<Vec<u8>, Option<u32>>>,
    name: &[u8],
    look: impl Fn(&str) -> Option<u32>,
) -> Option<u32> {
    if name.is_empty() {
        return None;
    }
    let look = || std::str::from_utf8(name).ok().and_then(look);
    *known.borrow_mut().entry(name.to_vec()).or_insert_with(look)
}
