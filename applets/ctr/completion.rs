//! `ctr completion`: what a shell needs to complete ctr's command line.

use std::io::{self, Write};

use clap_complete::Shell;

/// `completion`.
#[derive(clap::Args)]
pub struct Args {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_enum)]
    shell: Shell,
}

/// Print the script that the shell is to read.
pub fn completion(args: &Args) -> anyhow::Result<i32> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::described(), "ctr", &mut script);
    io::stdout().write_all(&script)?;
    Ok(0)
}
