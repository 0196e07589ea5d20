//! Errors in the words that callers look for: podman, containerd and Docker tell "no such program" (127) and "not executable" (126)
//! by runc's messages.

use std::io;

use anyhow::anyhow;

use crate::runtime::Error;

/// An error of the launcher.
pub fn runtime(error: Error) -> anyhow::Error {
    const START: &str = "unable to start container process";
    match error {
        Error::NotFound { program } if program.contains('/') => {
            anyhow!("{START}: exec: {program:?}: stat {program}: no such file or directory")
        }
        Error::NotFound { program } => anyhow!("{START}: exec: {program:?}: executable file not found in $PATH"),
        Error::NotExecutable { program, source } => anyhow!("{START}: exec: {program:?}: {}", reason(&source)),
        Error::Setup { doing, source } => {
            anyhow!("{START}: error during container init: cannot {doing}: {}", reason(&source))
        }
        other => anyhow::Error::from(other),
    }
}

/// An error of a cgroup.
pub fn cgroup(error: coracle_cgroups::Error) -> anyhow::Error {
    anyhow::Error::from(error)
}

/// An error and its causes, outermost first, with what the kernel said as Go's programs print it.
pub fn chain(error: &anyhow::Error) -> String {
    let one = |cause: &(dyn std::error::Error + 'static)| {
        let errno = cause.downcast_ref::<rustix::io::Errno>().map(|errno| io::Error::from(*errno));
        let errno = errno.or_else(|| cause.downcast_ref::<nix::errno::Errno>().map(|errno| io::Error::from(*errno)));
        let said = errno.as_ref().or_else(|| cause.downcast_ref());
        said.map_or_else(|| cause.to_string(), reason)
    };
    error.chain().map(one).collect::<Vec<_>>().join(": ")
}

/// What the kernel said, as Go's programs print it: in small letters and without the number.
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_ascii_lowercase(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_gos() {
        let kernel = || io::Error::from_raw_os_error(libc::EACCES);
        for error in [anyhow::Error::from(kernel()), rustix::io::Errno::ACCESS.into(), nix::errno::Errno::EACCES.into()]
        {
            assert_eq!(chain(&error.context("cannot open x")), "cannot open x: permission denied");
        }
        assert_eq!(chain(&anyhow!("Other words")), "Other words");
    }

    #[test]
    fn what_callers_look_for() {
        let text = |error| format!("{:#}", runtime(error));
        assert_eq!(
            text(Error::NotFound { program: "nope".into() }),
            "unable to start container process: exec: \"nope\": executable file not found in $PATH"
        );
        assert_eq!(
            text(Error::NotFound { program: "/nope".into() }),
            "unable to start container process: exec: \"/nope\": stat /nope: no such file or directory"
        );
        let source = io::Error::from_raw_os_error(libc::EACCES);
        assert_eq!(
            text(Error::NotExecutable { program: "/etc".into(), source }),
            "unable to start container process: exec: \"/etc\": permission denied"
        );
    }
}
