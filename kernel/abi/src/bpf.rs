//! bpf(2): device control of a cgroup v2 by `BPF_PROG_TYPE_CGROUP_DEVICE`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

// linux/bpf.h.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;

/// One instruction of eBPF; `struct bpf_insn` of linux/bpf.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub registers: u8,
    /// Signed offset of a jump or a load.
    pub offset: i16,
    /// Signed constant.
    pub immediate: i32,
}

/// The fields of `union bpf_attr` for a load that older kernels know.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The fields of `union bpf_attr` for an attachment.
#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// The fields of `union bpf_attr` for a query.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
}

/// Have the kernel ask `program` about every use of a device by the processes of `cgroup`, besides the programs that are attached
/// there and above already: all must allow it.
///
/// # Errors
/// `EINVAL` for a program that the verifier refuses, or a kernel without CONFIG_CGROUP_BPF; `EPERM` without privilege.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let license = c"Apache-2.0";
    let load = Load {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).unwrap_or(0),
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: load is a valid prefix of union bpf_attr of the size passed; the program and the license outlive the call, and the
    // kernel copies them.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<Load>()) };
    let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has made this descriptor for us.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let attach = Attach {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_bpf_fd: program.as_raw_fd().cast_unsigned(),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: attach is a valid prefix of union bpf_attr of the size passed, with open descriptors.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attach, size_of::<Attach>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How many programs decide on the devices of `cgroup`, those of its ancestors not counted.
///
/// # Errors
/// `EINVAL` for a kernel without CONFIG_CGROUP_BPF, `EPERM` without privilege.
pub fn device_programs(cgroup: BorrowedFd<'_>) -> io::Result<u32> {
    let mut query =
        Query { target_fd: cgroup.as_raw_fd().cast_unsigned(), attach_type: BPF_CGROUP_DEVICE, ..Query::default() };
    // SAFETY: query is a valid prefix of union bpf_attr of the size passed and outlives the call; with no buffer for their ids the
    // kernel only counts the programs.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<Query>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(query.prog_cnt) }
}
