//! Kernel settings that differ from the kernel's own defaults.

use std::fs;
use std::path::Path;

/// Path below `/proc/sys`, value. Each has its reason.
const DEFAULTS: &[(&str, &str)] = &[
    // A machine that nobody watches reboots by itself, into the previous version if need be.
    ("kernel/panic", "10"),
    // An oops leaves locks held and structures half changed.
    ("kernel/panic_on_oops", "1"),
    // Kernel addresses are for root: they tell where to aim.
    ("kernel/kptr_restrict", "1"),
    ("kernel/dmesg_restrict", "1"),
    // Process numbers that are not used again soon: a stale number in a script hits nobody.
    ("kernel/pid_max", "4194304"),
    // Tricks with links and FIFOs in folders that all may write to.
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_symlinks", "1"),
    ("fs/protected_fifos", "1"),
    ("fs/protected_regular", "2"),
    // Each container's programs watch files; the default of 128 is used up by a handful.
    ("fs/inotify/max_user_instances", "8192"),
    // Databases and JITs in containers map more than 65530 areas (Debian and Fedora ship the same).
    ("vm/max_map_count", "1048576"),
    // Free pages may lie in the processors' lists, where neither MemFree nor MemAvailable counts them: by default up to an eighth of the
    // memory. One percent in all.
    ("vm/percpu_pagelist_high_fraction", "100"),
    // An unprivileged `ping` in every container.
    ("net/ipv4/ping_group_range", "0 2147483647"),
    // Answers are taken only from where they can come from, by any route (loose: multi-homed machines work).
    ("net/ipv4/conf/all/rp_filter", "2"),
    ("net/ipv4/conf/default/rp_filter", "2"),
];

/// Set them. A kernel without one of them is left as it is.
pub fn apply() {
    for (name, value) in DEFAULTS {
        let _ = fs::write(Path::new("/proc/sys").join(name), value);
    }
}

/// Keep kernel messages that are no errors off the console, where people type; `dmesg` has them all.
pub fn quiet_console() {
    let _ = fs::write("/proc/sys/kernel/printk", "4 4 1 7");
}
