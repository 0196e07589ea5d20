//! Keep this binary out of containers' reach (CVE-2019-5736).
//!
//! A process that enters a container shows its program to it as /proc/PID/exe, and an image may name /proc/self/exe as the
//! program to run. Both lead to the file through the mount that it was executed from, so that mount must be read-only: the
//! system's own root is; elsewhere the program executes itself once more through a read-only bind mount of its file that is
//! attached nowhere.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStringExt;

use coracle_abi::mount::{attr, mount_setattr};
use nix::fcntl::AtFlags;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, fstatvfs, open};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::Error;

/// Make sure that this process executes from a read-only mount; if it does not, execute the program anew, with the same arguments.
/// Call it first: what the process did before is lost.
///
/// # Errors
/// When the bind mount cannot be made, as without `CAP_SYS_ADMIN`.
pub fn seal_self() -> Result<(), Error> {
    let doing = "make this program read-only for containers";
    let exe = open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::setup("open /proc/self/exe (is /proc mounted?)", errno))?;
    if is_readonly(exe.as_fd()).map_err(|source| Error::setup(doing, source))? {
        return Ok(());
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, "/proc/self/exe", flags).map_err(|errno| Error::setup(doing, errno))?;
    mount_setattr(mount.as_fd(), attr::RDONLY, 0, None, false).map_err(|source| Error::setup(doing, source))?;
    if !is_readonly(mount.as_fd()).map_err(|source| Error::setup(doing, source))? {
        return Err(Error::setup(doing, io::Error::other("the read-only mount is not read-only")));
    }
    let args = std::env::args_os().map(|arg| c_string(arg.into_vec())).collect::<io::Result<Vec<_>>>();
    let env = std::env::vars_os()
        .map(|(key, value)| c_string([key.into_vec(), b"=".to_vec(), value.into_vec()].concat()))
        .collect::<io::Result<Vec<_>>>();
    let (args, env) = args.and_then(|args| Ok((args, env?))).map_err(|source| Error::setup(doing, source))?;
    match nix::unistd::execveat(mount.as_fd(), c"", &args, &env, AtFlags::AT_EMPTY_PATH) {
        Ok(never) => match never {},
        Err(errno) => Err(Error::setup("execute this program from a read-only mount", errno)),
    }
}

fn is_readonly(file: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(fstatvfs(file)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn c_string(bytes: Vec<u8>) -> io::Result<CString> {
    CString::new(bytes).map_err(io::Error::from)
}
