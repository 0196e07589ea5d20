//! Packet sockets (packet(7)) bound to one interface: whole frames in and out, before there is an address.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// One instruction of a classic BPF filter: code, jump if true, jump if false, operand.
pub type Instruction = (u16, u8, u8, u32);

/// Open a packet socket on interface `index` that receives frames of `ethertype` that `filter` lets through. The filter
/// is attached before the socket is bound, so no other frame is ever queued.
///
/// # Errors
/// `EPERM` without CAP_NET_RAW, `ENODEV` if there is no such interface, `EINVAL` for a filter that the kernel refuses.
pub fn open(index: u32, ethertype: u16, filter: &[Instruction]) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes integers only; protocol 0 receives nothing until bound. The result is checked.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fd is a fresh descriptor that nothing else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    attach_filter(&socket, filter)?;
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ethertype.to_be();
    address.sll_ifindex = index.cast_signed();
    // SAFETY: address is a whole sockaddr_ll and lives through the call.
    let status = unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

fn attach_filter(socket: &OwnedFd, filter: &[Instruction]) -> io::Result<()> {
    let mut program: Vec<libc::sock_filter> =
        filter.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: program points to `len` instructions that live through the call; the kernel copies and checks them.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
