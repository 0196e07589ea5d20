//! The name server of containers, as `ctr` starts it: this program under another name, in a session of its own.
//!
//! What it does is [`coracle_netns::dns`].

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use coracle_abi::child::ChildExt;
use coracle_netns::dns;

use crate::common;
use crate::registry::{Applet, Dir};

/// The applet.
pub const APPLET: Applet = Applet {
    name: "ctr-dns",
    aliases: &[],
    dir: Dir::Sbin,
    summary: "Answer containers that ask for names (started by ctr, ends with the last container)",
    run,
};

#[derive(clap::Parser)]
#[command(name = "ctr-dns", about = APPLET.summary)]
struct Args {}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 2, |_, _: Args| {
        dns::serve()?;
        Ok(0)
    })
}

/// Have the name server listen for a container that has been put on a network.
pub fn summon(container: &str) -> anyhow::Result<()> {
    Ok(dns::summon(container, start)?)
}

/// Start the name server again if it was killed.
pub fn revive() {
    if dns::is_missing() {
        // Who needs it next is told what is wrong.
        let _ = start();
    }
}

fn start() -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(APPLET.name).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.default_signals().close_descriptors().new_session().spawn()
}
