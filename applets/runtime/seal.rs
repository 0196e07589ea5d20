//! Keep this binary out of containers' reach (CVE-2019-5736).
//!
//! A process that enters a container shows its program to it as /proc/PID/exe, and an image may name /proc/self/exe as the
//! program to run. Both lead to the file through the mount that it was executed from, so that mount must be read-only: the
//! system's own root is; elsewhere the program executes itself once more through a read-only bind mount of its file that is
//! attached nowhere. A user who may not mount executes a copy in memory that is sealed against writing.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;

use coracle_abi::mount::{attr, mount_setattr};
use nix::fcntl::AtFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fcntl_get_seals, fstatvfs,
    memfd_create, open,
};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::Error;

const DOING: &str = "make this program read-only for containers";

/// Make sure that this process executes from what no one can write to; if it does not, execute the program anew, with the same
/// arguments. Call it first: what the process did before is lost.
///
/// # Errors
/// When neither a bind mount nor a copy in memory can be made.
pub fn seal_self() -> Result<(), Error> {
    let exe = open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::setup("open /proc/self/exe (is /proc mounted?)", errno))?;
    if is_readonly(exe.as_fd()).map_err(|source| Error::setup(DOING, source))? || is_sealed(exe.as_fd()) {
        return Ok(());
    }
    let program = match readonly_mount() {
        Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => sealed_copy(exe),
        mount => mount,
    };
    let program = program.map_err(|source| Error::setup(DOING, source))?;
    let args = std::env::args_os().map(|arg| c_string(arg.into_vec())).collect::<io::Result<Vec<_>>>();
    let env = std::env::vars_os()
        .map(|(key, value)| c_string([key.into_vec(), b"=".to_vec(), value.into_vec()].concat()))
        .collect::<io::Result<Vec<_>>>();
    let (args, env) = args.and_then(|args| Ok((args, env?))).map_err(|source| Error::setup(DOING, source))?;
    match nix::unistd::execveat(program.as_fd(), c"", &args, &env, AtFlags::AT_EMPTY_PATH) {
        Ok(never) => match never {},
        Err(errno) => Err(Error::setup("execute this program from where it cannot be written to", errno)),
    }
}

fn readonly_mount() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, "/proc/self/exe", flags)?;
    mount_setattr(mount.as_fd(), attr::RDONLY, 0, None, false)?;
    if is_readonly(mount.as_fd())? { Ok(mount) } else { Err(io::Error::other("the read-only mount is not read-only")) }
}

/// The program in memory (memfd_create(2)).
fn sealed_copy(exe: OwnedFd) -> io::Result<OwnedFd> {
    let create = |flags| memfd_create("coracle", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | flags);
    let copy = match create(MemfdFlags::EXEC) {
        // Before Linux 6.3 every one is executable.
        Err(Errno::INVAL) => create(MemfdFlags::empty()),
        made => made,
    };
    let mut copy = File::from(copy?);
    io::copy(&mut File::from(exe), &mut copy)?;
    fcntl_add_seals(&copy, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(copy.into())
}

fn is_sealed(file: BorrowedFd<'_>) -> bool {
    fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::WRITE | SealFlags::SEAL))
}

fn is_readonly(file: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(fstatvfs(file)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn c_string(bytes: Vec<u8>) -> io::Result<CString> {
    CString::new(bytes).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_cannot_be_written_to() {
        let exe = File::open("/proc/self/exe").unwrap();
        let length = exe.metadata().unwrap().len();
        assert!(!is_sealed(exe.as_fd()));
        let copy = sealed_copy(exe.into()).unwrap();
        assert!(is_sealed(copy.as_fd()));
        let mut copy = File::from(copy);
        assert_eq!(copy.metadata().unwrap().len(), length);
        assert!(io::Write::write(&mut copy, b"x").is_err() && copy.set_len(0).is_err());
    }
}
