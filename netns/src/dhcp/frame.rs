//! DHCP messages in UDP, IPv4 and Ethernet, as they go over a packet socket before there is an address.

use std::net::Ipv4Addr;

use super::{CLIENT_PORT, SERVER_PORT};
use crate::checksum::checksum;
use crate::link::MacAddress;

/// Ethernet's number for IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERNET: usize = 14;
const UDP: u8 = 17;

/// The classic BPF program of `tcpdump udp dst port 68`: unfragmented IPv4 UDP datagrams to the client's port.
pub const FILTER: [(u16, u8, u8, u32); 11] = [
    (0x28, 0, 0, 12),                    // ldh [12]
    (0x15, 0, 8, ETHERTYPE_IPV4 as u32), // jeq IPv4
    (0x30, 0, 0, 23),                    // ldb [23]
    (0x15, 0, 6, UDP as u32),            // jeq UDP
    (0x28, 0, 0, 20),                    // ldh [20]
    (0x45, 4, 0, 0x1fff),                // jset fragment offset
    (0xb1, 0, 0, 14),                    // ldxb 4*([14]&0xf)
    (0x48, 0, 0, 16),                    // ldh [x+16]
    (0x15, 0, 1, CLIENT_PORT as u32),    // jeq 68
    (0x06, 0, 0, 0x4_0000),              // ret all
    (0x06, 0, 0, 0),                     // ret nothing
];

/// A broadcast frame to the servers' port.
pub fn build(mac: MacAddress, from: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let udp_length = u16::try_from(8 + message.len()).unwrap_or(u16::MAX);
    let mut ip = vec![0x45, 0x10];
    ip.extend((20 + udp_length).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, UDP, 0, 0]);
    ip.extend(from.octets());
    ip.extend(Ipv4Addr::BROADCAST.octets());
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());

    let mut udp = [CLIENT_PORT, SERVER_PORT, udp_length, 0].iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>();
    let mut pseudo = [from.octets(), Ipv4Addr::BROADCAST.octets()].concat();
    pseudo.extend([0, UDP]);
    pseudo.extend(udp_length.to_be_bytes());
    // Zero says "no checksum" (RFC 768).
    let sum = match checksum(&[&pseudo, &udp, message]) {
        0 => 0xffff,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());

    let mut frame = vec![0xff; 6];
    frame.extend(mac.0);
    frame.extend(ETHERTYPE_IPV4.to_be_bytes());
    frame.extend(ip);
    frame.extend(udp);
    frame.extend(message);
    frame
}

/// The message in a frame to the client's port. UDP's checksum is not looked at: between virtual machines of one host it
/// is often left for hardware that is not there.
pub fn parse(frame: &[u8]) -> Option<&[u8]> {
    let ip = frame.get(ETHERNET..)?;
    let header = usize::from(ip.first()? & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
    let valid = ip[0] >> 4 == 4 && header >= 20 && *ip.get(9)? == UDP && checksum(&[ip.get(..header)?]) == 0;
    let udp = ip.get(header..total).filter(|udp| valid && udp.len() >= 8)?;
    let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    let to_us = u16::from_be_bytes([udp[2], udp[3]]) == CLIENT_PORT;
    udp.get(8..length).filter(|_| to_us)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_built_has_right_checksums() {
        let frame = build(MacAddress([2, 0, 0, 0, 0, 1]), Ipv4Addr::UNSPECIFIED, b"odd");
        assert_eq!(checksum(&[&frame[14..34]]), 0);
        let mut pseudo = frame[26..34].to_vec();
        pseudo.extend([0, UDP, 0, 11]);
        assert_eq!(checksum(&[&pseudo, &frame[34..]]), 0);
        assert_eq!(parse(&frame), None, "goes to the servers' port");
    }

    #[test]
    fn a_reply_is_read() {
        let mut frame = build(MacAddress([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 1), b"hello");
        frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
        frame.extend(b"padding of a short frame");
        assert_eq!(parse(&frame), Some(&b"hello"[..]));
    }

    proptest! {
        #[test]
        fn hostile_frames_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&bytes);
        }
    }
}
