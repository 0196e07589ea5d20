//! `init`: PID 1. See the crate coracle-init.

use std::ffi::OsString;

use crate::common;
use crate::registry::{Applet, Dir};

/// The table's entry.
pub const APPLET: Applet =
    Applet { name: "init", aliases: &[], dir: Dir::Sbin, summary: "boot the machine and keep it running (PID 1)", run };

/// Boot the machine and keep it running. The kernel starts this as PID 1; started by hand it does nothing.
#[derive(clap::Parser)]
#[command(name = "init", after_help = "To stop or restart the machine, see poweroff and reboot.")]
struct Usage {
    /// Let the file system of STATE grow to its partition's size: what PID 1 does not wait for
    #[arg(long, hide = true)]
    grow_state: bool,
}

fn run(args: &[OsString]) -> i32 {
    // The kernel hands over whatever it does not know of its command line: nothing to stumble over for PID 1.
    if std::process::id() == 1 {
        return coracle_init::main();
    }
    match common::parse::<Usage>(args, 2) {
        Ok(Usage { grow_state: true }) => coracle_init::state::grow(),
        Ok(Usage { grow_state: false }) => coracle_init::main(),
        Err(status) => status,
    }
}
