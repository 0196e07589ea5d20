//! Swap areas in and out of use.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `SWAP_FLAG_PREFER` of linux/swap.h: the low bits are a priority.
const SWAP_FLAG_PREFER: libc::c_int = 0x8000;
/// `SWAP_FLAG_PRIO_MASK`.
const SWAP_FLAG_PRIO_MASK: libc::c_int = 0x7fff;

/// Use a swap area (swapon(2)); the one with the highest priority (0 to 32767) is used first.
///
/// # Errors
/// `EINVAL` if it is no swap area, `EBUSY` if it is in use, `EPERM` without CAP_SYS_ADMIN.
pub fn swapon(path: &Path, priority: Option<u16>) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = priority.map_or(0, |priority| SWAP_FLAG_PREFER | (libc::c_int::from(priority) & SWAP_FLAG_PRIO_MASK));
    // SAFETY: the path is a C string that outlives the call.
    if unsafe { libc::swapon(path.as_ptr(), flags) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Take a swap area out of use (swapoff(2)); what is in it is read back first.
///
/// # Errors
/// `EINVAL` if it is not in use, `ENOMEM` if memory does not suffice, `EPERM` without CAP_SYS_ADMIN.
pub fn swapoff(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a C string that outlives the call.
    if unsafe { libc::swapoff(path.as_ptr()) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_swap_area_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(swapon(file.path(), Some(1)).is_err());
        assert!(swapoff(file.path()).is_err());
        assert!(swapon(Path::new("a\0b"), None).is_err());
    }
}
