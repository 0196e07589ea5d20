//! PID 1: boot phases, supervision, console, network, shutdown.
#![forbid(unsafe_code)]
