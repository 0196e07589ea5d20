//! What every applet needs: parsing by clap with BusyBox's manners, and one way to report an error.

use std::ffi::OsString;
use std::io::{self, Write};

/// Parse `args` (`args[0]` is the applet's name) by a clap definition.
///
/// # Errors
/// The exit status when there is nothing to run: 0 after `--help` or `--version`, `usage_status` after bad usage; the text has been
/// printed.
pub fn parse<P: clap::Parser>(args: &[OsString], usage_status: i32) -> Result<P, i32> {
    P::try_parse_from(args).map_err(|error| usage_error(&error, usage_status))
}

/// Print what clap has to say, and give the exit status: 0 for help and version.
pub fn usage_error(error: &clap::Error, usage_status: i32) -> i32 {
    // A closed pipe while printing help is no failure of ours.
    let _ = error.print();
    if error.use_stderr() { usage_status } else { 0 }
}

/// Parse the arguments and act on them: what most applets are. `act` gets the name that the applet was called by, and gives the status.
pub fn run<P: clap::Parser>(
    args: &[OsString],
    usage_status: i32,
    act: impl FnOnce(&str, P) -> anyhow::Result<i32>,
) -> i32 {
    let name = called_as(args);
    match parse(args, usage_status) {
        Ok(options) => finish(&name, act(&name, options)),
        Err(status) => status,
    }
}

/// The applet's name as it was called, for messages.
pub fn called_as(args: &[OsString]) -> String {
    args.first().map_or_else(|| "coracle".into(), |name| name.to_string_lossy().into_owned())
}

/// Turn the result of an applet into an exit status: prints `name: error: cause: cause` and gives 1.
/// A broken pipe is success: the reader has seen enough.
pub fn finish(name: &str, result: anyhow::Result<i32>) -> i32 {
    let result = result.and_then(|status| io::stdout().flush().map(|()| status).map_err(Into::into));
    match result {
        Ok(status) => status,
        Err(error) if is_broken_pipe(&error) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{name}: {error:#}");
            1
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}
