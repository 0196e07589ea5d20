//! PID 1 of Coracle: from `/init` in the initramfs (the program `coracle-early`) to a shell prompt, and back down to power-off.
//!
//! Principles:
//! - PID 1 never ends and never panics: the kernel panics if it does. What goes wrong is said on the console, and the
//!   boot goes on with what there is; the worst case is a shell on the console.
//! - One thread, one epoll loop ([`events`]): signals, the power button, the control socket, a wait for the network.
//! - What decides is a pure type ([`supervise`], [`cmdline`]); what acts is a short function around system calls.
//! - Boot is a list of named phases ([`phases`]), each printed with its duration.
#![forbid(unsafe_code)]

pub mod buttons;
pub mod cgroup;
pub mod cmdline;
pub mod console;
pub mod control;
pub mod early;
pub mod events;
pub mod ipconfig;
pub mod launch;
pub mod machine;
pub mod mounts;
pub mod network;
pub mod phases;
pub mod reap;
pub mod run;
pub mod shutdown;
pub mod signals;
pub mod state;
pub mod supervise;
pub mod sysctl;
pub mod tuning;

use std::path::PathBuf;

/// What programs find by name: everything is in `/usr/bin`, the other folders are for scripts that insist.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Volatile state of the machine.
pub const RUN: &str = "/run/coracle";

/// Persistent state of the machine.
pub const STATE: &str = "/var/lib/coracle";

/// Be PID 1 in the root that stage 1 ([`early`]) has entered: boot the machine.
/// Comes back only where this is not PID 1, with the exit status.
#[must_use]
pub fn main() -> i32 {
    if std::process::id() != 1 {
        console::say("init: this program is PID 1; started by hand it does nothing. See poweroff, reboot");
        return 1;
    }
    let start = early::start_time();
    signals::block_all();
    phases::boot(start)
}

/// Where the control socket is: `init.sock` in `CORACLE_RUN` or [`RUN`].
#[must_use]
pub fn control_socket() -> PathBuf {
    std::env::var_os("CORACLE_RUN").map_or_else(|| PathBuf::from(RUN), PathBuf::from).join("init.sock")
}
