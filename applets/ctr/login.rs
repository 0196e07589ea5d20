//! `ctr login` and `ctr logout`.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use coracle_image_oci::{Credentials, RegistryOptions, Server};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Most bytes of a password.
const PASSWORD_MAX: u64 = 64 << 10;

/// `login`.
#[derive(clap::Args)]
pub struct LoginArgs {
    /// Password or token; other users may see it in the list of processes
    #[arg(short, long)]
    password: Option<String>,

    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,

    /// User name
    #[arg(short, long)]
    username: Option<String>,

    /// Demand HTTPS and a valid certificate; a registry on this machine need not have one
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    tls_verify: bool,

    /// File of credentials, in the form of Docker's config.json, instead of the usual ones
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,

    /// Registry, as HOST[:PORT]; Docker Hub if not given
    #[arg(value_parser = Server::parse, default_value = "", hide_default_value = true)]
    server: Server,
}

/// `logout`.
#[derive(clap::Args)]
pub struct LogoutArgs {
    /// File of credentials, in the form of Docker's config.json, instead of the usual ones
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,

    /// Registry, as HOST[:PORT]; Docker Hub if not given
    #[arg(value_parser = Server::parse, default_value = "", hide_default_value = true)]
    server: Server,
}

/// Try credentials and keep them.
pub fn login(args: &LoginArgs) -> anyhow::Result<i32> {
    ensure!(
        !(args.password.is_some() && args.password_stdin),
        "--password and --password-stdin are mutually exclusive"
    );
    ensure!(!args.password_stdin || args.username.is_some(), "Must provide --username with --password-stdin");
    let mut err = io::stderr();
    let credentials = match (&args.username, &args.password) {
        (Some(user), Some(password)) => {
            writeln!(err, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.")?;
            Credentials { user: user.clone(), password: password.clone() }
        }
        (Some(user), None) if args.password_stdin => {
            Credentials { user: user.clone(), password: password_of(io::stdin().lock())? }
        }
        _ => ask(args)?,
    };
    ensure!(
        !credentials.user.is_empty() && !credentials.user.contains(':'),
        "a user name may not be empty or hold a colon"
    );
    ensure!(!credentials.password.is_empty(), "password required");
    let options = RegistryOptions { tls_verify: args.tls_verify, ..RegistryOptions::default() };
    args.server.verify(&credentials, &options).with_context(|| format!("cannot log in to {}", args.server.name()))?;
    let path = args.server.keep(&credentials, args.authfile.as_deref())?;
    writeln!(err, "WARNING! Your credentials are stored unencrypted in '{}'.", path.display())?;
    writeln!(io::stdout(), "Login Succeeded")?;
    Ok(0)
}

/// All that comes, without the newline at its end.
fn password_of(source: impl Read) -> anyhow::Result<String> {
    let mut password = String::new();
    source.take(PASSWORD_MAX).read_to_string(&mut password).context("cannot read the password")?;
    let end = password.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(end.unwrap_or(&password).to_owned())
}

/// Ask on the terminal for what was not given.
fn ask(args: &LoginArgs) -> anyhow::Result<Credentials> {
    if !io::stdin().is_terminal() {
        bail!("Cannot perform an interactive login from a non TTY device");
    }
    let known = args.server.user(args.authfile.as_deref())?;
    let user = match &args.username {
        Some(user) => user.clone(),
        None => {
            let offered = known.as_ref().map(|known| format!(" ({known})")).unwrap_or_default();
            let typed = line(&format!("Username{offered}: "))?;
            if typed.is_empty() { known.unwrap_or_default() } else { typed }
        }
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None => hidden_line("Password: ")?,
    };
    Ok(Credentials { user, password })
}

fn line(prompt: &str) -> anyhow::Result<String> {
    let mut out = io::stderr();
    write!(out, "{prompt}")?;
    out.flush()?;
    let mut text = String::new();
    io::stdin().lock().read_line(&mut text).context("cannot read from the terminal")?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// A line that the terminal does not show.
fn hidden_line(prompt: &str) -> anyhow::Result<String> {
    let before = tcgetattr(io::stdin()).context("cannot ask the terminal")?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Flush, &silent).context("cannot switch the echo off")?;
    let typed = line(prompt);
    tcsetattr(io::stdin(), OptionalActions::Flush, &before).context("cannot switch the echo on again")?;
    writeln!(io::stderr())?;
    typed
}

/// Forget credentials.
pub fn logout(args: &LogoutArgs) -> anyhow::Result<i32> {
    let name = args.server.name();
    let text = if args.server.forget(args.authfile.as_deref())? {
        format!("Removing login credentials for {name}")
    } else {
        format!("Not logged in to {name}")
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_ends_before_its_newline() {
        for (typed, password) in [("a b\n", "a b"), ("a\r\n", "a"), ("a", "a"), ("a\n\n", "a\n"), ("", "")] {
            assert_eq!(password_of(typed.as_bytes()).unwrap(), password);
        }
    }
}
