//! Network tools: interfaces, reachability, names, downloads, DHCP.

pub mod ip;
pub mod nc;
pub mod nslookup;
pub mod ping;
pub mod resolve;
pub mod udhcpc;
pub mod wget;
