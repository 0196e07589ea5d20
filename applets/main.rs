//! Coracle's one binary. What it does is chosen by the name it is called by.
//!
//! `coracle APPLET ARGS`, a symlink named after the applet, or, as PID 1, `init`. See `registry.rs` for the table.
#![forbid(unsafe_code)]

mod archive;
mod common;
#[cfg(feature = "coreutils")]
mod coreutils;
mod ctr;
mod duration;
mod edit;
mod init;
mod net;
mod power;
mod registry;
mod runc;
mod runtime;
#[cfg(feature = "brush")]
mod sh;
mod system;
mod terminal;
mod text;
mod truth;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use registry::Applet;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let status = dispatch(&args);
    ExitCode::from(u8::try_from(status & 0xff).unwrap_or(1))
}

/// Run the applet that the arguments name and give its exit status.
fn dispatch(args: &[OsString]) -> i32 {
    let called = args.first().map(|arg0| base_name(arg0)).unwrap_or_default();
    // A login shell is called as `-sh`.
    if let Some(applet) = registry::find(called.trim_start_matches('-')) {
        return run(applet, args, &called);
    }
    match args.get(1).map(|arg| arg.to_string_lossy().into_owned()).as_deref() {
        None | Some("--help" | "-h") => finish(usage(&mut io::stdout().lock())),
        Some("--list") => finish(list(&mut io::stdout().lock())),
        Some("--version" | "-V") => finish(writeln!(io::stdout(), "coracle {}", env!("CARGO_PKG_VERSION"))),
        Some("--install") => match args.get(2) {
            Some(dir) if args.len() == 3 => install(Path::new(dir)),
            _ => complain("usage: coracle --install DIR"),
        },
        Some(name) => match registry::find(name) {
            Some(applet) => run(applet, &args[1..], name),
            None => {
                let _ = writeln!(io::stderr(), "coracle: no applet named {name:?}; `coracle --list` names them all");
                127
            }
        },
    }
}

fn run(applet: &'static Applet, args: &[OsString], called: &str) -> i32 {
    let mut args = args.to_vec();
    if let Some(first) = args.first_mut() {
        *first = called.into();
    }
    (applet.run)(&args)
}

fn base_name(arg0: &OsStr) -> String {
    Path::new(arg0).file_name().unwrap_or(arg0).to_string_lossy().into_owned()
}

fn finish(result: io::Result<()>) -> i32 {
    common::finish("coracle", result.map(|()| 0).map_err(Into::into))
}

fn complain(message: &str) -> i32 {
    let _ = writeln!(io::stderr(), "coracle: {message}");
    2
}

fn usage(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "coracle {}: a container operating system that is one file\n", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "usage: coracle APPLET [ARGS]      or call it by a symlink named after the applet")?;
    writeln!(out, "       coracle --list             names of all applets")?;
    writeln!(out, "       coracle --install DIR      make the symlinks in DIR/bin and DIR/sbin\n")?;
    let mut applets: Vec<_> = registry::all().collect();
    applets.sort_unstable_by_key(|applet| applet.name);
    for applet in applets {
        writeln!(out, "  {:<12} {}", applet.name, applet.summary)?;
    }
    Ok(())
}

fn list(out: &mut impl Write) -> io::Result<()> {
    registry::names().iter().try_for_each(|(name, _)| writeln!(out, "{name}"))
}

/// Make the applets' symlinks below `dir`. Links that are ours are replaced; a file of someone else's is never touched.
fn install(dir: &Path) -> i32 {
    let result = std::env::current_exe().and_then(|exe| {
        registry::names().iter().try_for_each(|(name, applet)| {
            let folder = dir.join(applet.dir.name());
            std::fs::create_dir_all(&folder)?;
            let link = folder.join(name);
            match std::fs::symlink_metadata(&link) {
                Ok(meta) if meta.is_symlink() => std::fs::remove_file(&link)?,
                Ok(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::AlreadyExists,
                        format!("{} exists and is no symlink; remove it first", link.display()),
                    ));
                }
                Err(_) => {}
            }
            std::os::unix::fs::symlink(&exe, &link)
        })
    });
    finish(result)
}
