//! seccomp(2): load a classic BPF filter.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// One instruction; `struct sock_filter` of linux/filter.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if a comparison holds.
    pub jt: u8,
    /// Instructions to skip if it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const NEW_LISTENER: u32 = 1 << 3;
/// Flags that make the call return a descriptor or a thread id in place of a status.
const REFUSED_FLAGS: u32 = 1 | NEW_LISTENER;
/// `BPF_MAXINSNS`.
const MAX_INSTRUCTIONS: usize = 4096;

/// A filter ready to be loaded.
#[derive(Clone, Debug)]
pub struct Filter {
    program: Vec<Instruction>,
    flags: u32,
}

impl Filter {
    /// Take a program and `SECCOMP_FILTER_FLAG_*` (not TSYNC or NEW_LISTENER).
    ///
    /// # Errors
    /// `EINVAL` for an empty program, one of more than 4096 instructions, or another flag.
    pub fn new(program: Vec<Instruction>, flags: u32) -> io::Result<Self> {
        if program.is_empty() || program.len() > MAX_INSTRUCTIONS || flags & REFUSED_FLAGS != 0 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(Self { program, flags })
    }

    /// The instructions.
    pub fn program(&self) -> &[Instruction] {
        &self.program
    }

    /// Put the calling thread, and all that comes of it, under this filter. There is no way back.
    ///
    /// # Errors
    /// `EACCES` without no_new_privs and `CAP_SYS_ADMIN`; `EINVAL` if the kernel does not accept the program.
    pub fn load(&self) -> io::Result<()> {
        self.load_with(self.flags).map(drop)
    }

    /// The same, with a descriptor by which another process decides on calls that are notified (seccomp_unotify(2)). Close-on-exec.
    ///
    /// # Errors
    /// As for [`Filter::load`]; `EBUSY` if a filter with a listener is there already.
    pub fn load_with_listener(&self) -> io::Result<OwnedFd> {
        let fd = self.load_with(self.flags | NEW_LISTENER)?;
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: with NEW_LISTENER the call returns a new descriptor, which nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn load_with(&self, flags: u32) -> io::Result<libc::c_long> {
        let len = u16::try_from(self.program.len()).unwrap_or(0);
        let program = Program { len, filter: self.program.as_ptr() };
        // SAFETY: the program's pointer and length describe self.program, which outlives the call; the kernel copies it.
        let result = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }
}
