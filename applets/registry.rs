//! The table of applets: what a user can type.
//!
//! An applet is declared where it is implemented; here they are only listed, sorted by name. `dispatch` finds one by its
//! name or an alias.

use std::ffi::OsString;

/// Where an applet's symlink lives; `/bin` and `/sbin` are links to `/usr/bin` in the image, so this tells
/// `coracle --install` only which of an embedded system's folders a user expects the tool in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dir {
    /// For everyone.
    Bin,
    /// For the administrator.
    Sbin,
}

impl Dir {
    /// The folder's name below the install root.
    pub fn name(self) -> &'static str {
        match self {
            Dir::Bin => "bin",
            Dir::Sbin => "sbin",
        }
    }
}

/// One command of the multicall binary.
pub struct Applet {
    /// The name it is called by.
    pub name: &'static str,
    /// Other names for the same code; the code sees which one in `args[0]`.
    pub aliases: &'static [&'static str],
    /// Where its symlinks go.
    pub dir: Dir,
    /// One line for `coracle --help`.
    pub summary: &'static str,
    /// The command. `args[0]` is the name it was called by, without folders; the result is the exit status (0 to 255).
    pub run: fn(args: &[OsString]) -> i32,
}

/// Our own applets, sorted by name.
#[rustfmt::skip]
pub const APPLETS: &[&Applet] = &[
    &crate::system::blkid::APPLET,
    &crate::system::clear::CLEAR,
    &crate::text::cmp::APPLET,
    &crate::ctr::APPLET,
    &crate::ctr::name_server::APPLET,
    &crate::text::diff::APPLET,
    &crate::system::dmesg::APPLET,
    &crate::ctr::docker_init::APPLET,
    &crate::truth::FALSE,
    &crate::text::find::APPLET,
    &crate::system::free::APPLET,
    &crate::text::grep::APPLET,
    &crate::archive::gzip::APPLET,
    &crate::text::hexdump::HEXDUMP,
    &crate::system::hostname::APPLET,
    &crate::system::hwclock::APPLET,
    &crate::init::APPLET,
    &crate::net::ip::APPLET,
    &crate::system::kill::KILL,
    &crate::system::kill::KILLALL,
    &crate::edit::less::APPLET,
    &crate::system::lsblk::APPLET,
    &crate::system::swap::MKSWAP,
    &crate::system::mount::APPLET,
    &crate::system::mountpoint::APPLET,
    &crate::net::nc::APPLET,
    &crate::net::nslookup::APPLET,
    &crate::system::pgrep::PGREP,
    &crate::system::pgrep::PIDOF,
    &crate::net::ping::APPLET,
    &crate::power::POWEROFF,
    &crate::system::ps::APPLET,
    &crate::system::clear::RESET,
    &crate::runc::APPLET,
    &crate::text::sed::APPLET,
    #[cfg(feature = "brush")]
    &crate::sh::APPLET,
    &crate::power::SHUTDOWN,
    &crate::system::swap::SWAPOFF,
    &crate::system::swap::SWAPON,
    &crate::system::sysctl::APPLET,
    &crate::archive::tar::APPLET,
    &crate::system::top::APPLET,
    &crate::truth::TRUE,
    &crate::net::udhcpc::APPLET,
    &crate::system::umount::APPLET,
    &crate::system::uptime::APPLET,
    &crate::edit::vi::APPLET,
    &crate::system::watch::APPLET,
    &crate::net::wget::APPLET,
    &crate::system::which::APPLET,
    &crate::text::xargs::APPLET,
    &crate::text::hexdump::XXD,
    &crate::archive::zstd::APPLET,
];

/// The foreign ones, a table of their own, sorted by name.
#[cfg(feature = "coreutils")]
const COREUTILS: &[&Applet] = crate::coreutils::APPLETS;
#[cfg(not(feature = "coreutils"))]
const COREUTILS: &[&Applet] = &[];

/// All applets, table by table.
pub fn all() -> impl Iterator<Item = &'static Applet> {
    APPLETS.iter().chain(COREUTILS).copied()
}

/// Find an applet by name or alias.
pub fn find(name: &str) -> Option<&'static Applet> {
    all().find(|applet| applet.name == name || applet.aliases.contains(&name))
}

/// All names, aliases included, sorted.
pub fn names() -> Vec<(&'static str, &'static Applet)> {
    let mut all: Vec<_> = all()
        .flat_map(|applet| std::iter::once(applet.name).chain(applet.aliases.iter().copied()).map(move |n| (n, applet)))
        .collect();
    all.sort_unstable_by_key(|(name, _)| *name);
    all
}

#[cfg(test)]
mod tests {
    use super::names as all_names;
    use super::*;

    #[test]
    fn table_is_sorted_and_unique() {
        for table in [APPLETS, COREUTILS] {
            let names: Vec<_> = table.iter().map(|applet| applet.name).collect();
            assert!(names.is_sorted(), "the tables list applets in order of their names: {names:?}");
        }
        let all = all_names();
        for pair in all.windows(2) {
            assert_ne!(pair[0].0, pair[1].0, "two applets answer to one name");
        }
    }

    #[test]
    fn every_applet_says_what_it_does() {
        for applet in all() {
            assert!(!applet.summary.is_empty() && !applet.summary.ends_with('.'), "{}", applet.name);
        }
    }
}
