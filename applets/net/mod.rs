//! Network tools: interfaces, reachability, names, downloads, DHCP.

pub mod udhcpc;
