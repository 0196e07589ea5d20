//! `/init` of the initramfs: stage 1 of the boot ([`coracle_init::early`]) and nothing else.
//!
//! The multicall binary lies in the root file system. Were it `/init` too, it would be twice in every image and once more in memory at
//! boot; this takes a few hundred kilobytes.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        coracle_init::console::say(
            "coracle-early: this program is /init of an initramfs; started by hand it does nothing",
        );
        return ExitCode::FAILURE;
    }
    let error = coracle_init::early::enter_root(coracle_init::early::now());
    coracle_init::console::say(&format!("coracle: cannot enter the root file system: {error:#}"));
    // Without a root there is nothing to go on with: the kernel panics, and reboots by itself.
    ExitCode::FAILURE
}
