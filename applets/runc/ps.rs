//! `ps`: the processes in a container.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::container::Container;
use super::options::Global;

/// `ps`.
#[derive(clap::Args)]
pub struct Args {
    /// table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: String,

    /// Name of the container
    #[arg(value_name = "container-id")]
    id: String,

    /// Options of ps(1), for the table
    #[arg(value_name = "ps options", default_value = "-ef", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Print them.
pub fn ps(global: &Global, args: &Args) -> anyhow::Result<i32> {
    global.warn_of_cgroups("ps");
    let container = Container::load(global, &args.id)?;
    if global.rootless && container.cgroup().is_none() && container.pidfd()?.is_some() {
        bail!("unable to get all container pids: the container has no cgroup");
    }
    let pids = container.pids()?;
    match args.format.as_str() {
        "json" => writeln!(io::stdout(), "{}", serde_json::to_string(&pids)?)?,
        "table" => {
            let text = run_ps(&args.options)?;
            let mut out = io::stdout().lock();
            filter(&text, &pids)?.into_iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
        _ => bail!("invalid format option"),
    }
    Ok(0)
}

/// The host's ps, or this program's own.
fn run_ps(options: &[String]) -> anyhow::Result<String> {
    let run = |mut command: Command| command.args(options).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = match run(Command::new("ps")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut own = Command::new("/proc/self/exe");
            own.arg("ps");
            run(own)
        }
        output => output,
    };
    let output = output.context("cannot run ps")?;
    anyhow::ensure!(output.status.success(), "ps {}: {}", options.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The header and the lines of these processes, by the column `PID`.
fn filter<'a>(text: &'a str, pids: &[i32]) -> anyhow::Result<Vec<&'a str>> {
    let header = text.lines().next().unwrap_or_default();
    let column = header.split_whitespace().position(|name| name == "PID");
    let column = column.context("couldn't find PID field in ps output")?;
    let is_one = |line: &&str| {
        let number = line.split_whitespace().nth(column).and_then(|field| field.parse().ok());
        number.is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(header).chain(text.lines().skip(1).filter(is_one)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_the_column() {
        let text = "UID        PID  PPID CMD\nroot         1     0 init\nroot        22     1 sh 1\n";
        assert_eq!(filter(text, &[22]).unwrap(), ["UID        PID  PPID CMD", "root        22     1 sh 1"]);
        assert!(filter("a b\n", &[1]).is_err());
    }
}
