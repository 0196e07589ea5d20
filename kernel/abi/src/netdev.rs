//! Network interfaces by the classic ioctls of netdevice(7): enough to bring one up and give it a static IPv4
//! configuration without a netlink stack. PID 1 uses this; everything else speaks netlink.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// One interface, by name.
pub struct NetDevice {
    socket: OwnedFd,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl NetDevice {
    /// Address an interface. It need not exist yet.
    ///
    /// # Errors
    /// `InvalidInput` if the name is empty or longer than 15 bytes; otherwise what socket(2) says.
    pub fn new(name: &str) -> io::Result<Self> {
        let mut buffer = [0; libc::IFNAMSIZ];
        if name.is_empty() || name.len() >= buffer.len() || name.bytes().any(|byte| byte == 0 || byte == b'/') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no interface name")));
        }
        for (slot, byte) in buffer.iter_mut().zip(name.bytes()) {
            *slot = byte as libc::c_char;
        }
        // SAFETY: socket(2) takes integers only; the result is checked before it is owned.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: fd is a fresh descriptor that nothing else owns.
        Ok(Self { socket: unsafe { OwnedFd::from_raw_fd(fd) }, name: buffer })
    }

    /// Set the interface up (`IFF_UP`).
    ///
    /// # Errors
    /// `ENODEV` if there is no such interface, `EPERM` without CAP_NET_ADMIN.
    pub fn set_up(&self) -> io::Result<()> {
        let mut request = self.request();
        self.ioctl(libc::SIOCGIFFLAGS as _, &mut request)?;
        // SAFETY: SIOCGIFFLAGS filled the union's flags member.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
        self.ioctl(libc::SIOCSIFFLAGS as _, &mut request)
    }

    /// Give the interface its (first) IPv4 address and netmask.
    ///
    /// # Errors
    /// What the kernel says to SIOCSIFADDR or SIOCSIFNETMASK.
    pub fn set_ipv4(&self, address: Ipv4Addr, netmask: Ipv4Addr) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_addr = sockaddr(address);
        self.ioctl(libc::SIOCSIFADDR as _, &mut request)?;
        let mut request = self.request();
        request.ifr_ifru.ifru_netmask = sockaddr(netmask);
        self.ioctl(libc::SIOCSIFNETMASK as _, &mut request)
    }

    /// Send what no other route matches to `gateway`, through this interface.
    ///
    /// # Errors
    /// `EEXIST` if there is such a route, `ENETUNREACH` if the gateway is in no network of the interface.
    pub fn add_default_route(&self, gateway: Ipv4Addr) -> io::Result<()> {
        let mut name = self.name;
        // SAFETY: rtentry is a C struct of integers and pointers for which all-zero is a valid value.
        let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
        route.rt_dst = sockaddr(Ipv4Addr::UNSPECIFIED);
        route.rt_genmask = sockaddr(Ipv4Addr::UNSPECIFIED);
        route.rt_gateway = sockaddr(gateway);
        route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
        route.rt_dev = name.as_mut_ptr();
        // SAFETY: SIOCADDRT reads one rtentry and the device name it points to; both outlive the call.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCADDRT as _, &raw const route) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn request(&self) -> libc::ifreq {
        // SAFETY: ifreq is a C struct of integers and unions of such, for which all-zero is a valid value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_name = self.name;
        request
    }

    fn ioctl(&self, number: u32, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: every SIOC[GS]IF* request reads and writes exactly one ifreq.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), number as _, &raw mut *request) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn sockaddr(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    // sockaddr_in: two bytes of port, then the address in network order.
    for (slot, byte) in data[2..].iter_mut().zip(address.octets()) {
        *slot = byte as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for bad in ["", "a-name-of-16-byt", "a/b", "a\0b"] {
            assert!(NetDevice::new(bad).is_err(), "{bad:?}");
        }
        assert!(NetDevice::new("fifteen-bytes-x").is_ok());
    }

    #[test]
    fn missing_interface_is_an_error() {
        let error = NetDevice::new("no-such-if").unwrap().set_up().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}
