//! cgroup v2: tree, limits, accounting, pressure, events, freeze and kill.
#![forbid(unsafe_code)]
