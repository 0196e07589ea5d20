//! Network namespaces, bridges, veth pairs, addresses, NAT and published ports.
#![forbid(unsafe_code)]
