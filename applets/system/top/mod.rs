//! `top`: what uses the machine (procps top(1)), and in which container.

mod sample;
mod view;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use crate::common;
use crate::registry::{Applet, Dir};
use crate::terminal::Screen;
use sample::Sampler;
use view::{Request, View};

/// `top`.
pub const APPLET: Applet = Applet { name: "top", aliases: &[], dir: Dir::Bin, summary: "what uses the machine", run };

#[derive(Parser)]
#[command(
    name = "top",
    about = "Show what uses the machine, again and again; h tells the keys",
    disable_help_flag = true
)]
struct Options {
    /// Write to standard output, take no keys
    #[arg(short, long)]
    batch: bool,
    /// So many times
    #[arg(short = 'n', long, value_name = "N")]
    iterations: Option<u64>,
    /// Seconds in between
    #[arg(short, long, value_name = "SECONDS", default_value_t = 3.0)]
    delay: f64,
    /// Only these processes
    #[arg(short, long, value_name = "PID", value_delimiter = ',')]
    pid: Vec<i32>,
    /// Arguments, not only names
    #[arg(short, long)]
    command_line: bool,
    /// Print help
    #[arg(short, long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 1, |_, options: Options| start(options).map(|()| 0))
}

fn start(options: Options) -> anyhow::Result<()> {
    let delay = Duration::try_from_secs_f64(options.delay).context("-d: not a time in seconds")?;
    anyhow::ensure!(options.iterations != Some(0), "-n: once at least");
    let view = View::new(options.command_line, options.pid);
    if options.batch {
        return batch(view, delay, options.iterations.unwrap_or(u64::MAX));
    }
    anyhow::ensure!(io::stdout().is_terminal(), "standard output is no terminal; use -b");
    converse(view, delay, options.iterations.unwrap_or(u64::MAX))
}

fn batch(mut view: View, delay: Duration, times: u64) -> anyhow::Result<()> {
    let mut sampler = Sampler::default();
    for time in 0..times {
        if time > 0 {
            std::thread::sleep(delay);
            writeln!(io::stdout())?;
        }
        let lines = view.lines(&mut sampler.look()?)?;
        let mut out = io::stdout().lock();
        lines.iter().try_for_each(|line| writeln!(out, "{}", line.trim_end()))?;
        out.flush()?;
    }
    Ok(())
}

fn converse(mut view: View, delay: Duration, times: u64) -> anyhow::Result<()> {
    let mut screen = Screen::open(true).context("no terminal")?;
    let mut sampler = Sampler::default();
    let pause = u16::try_from(delay.as_millis()).unwrap_or(u16::MAX).max(100);
    for _ in 0..times {
        let mut sample = sampler.look()?;
        loop {
            draw(&mut screen, &view.lines(&mut sample)?)?;
            let Some(key) = screen.key(Some(pause))? else { break };
            match view.key(key) {
                Request::Quit => return Ok(()),
                Request::Refresh => break,
                Request::Draw => {}
                Request::Suspend => screen.suspend()?,
                Request::Kill(pid, signal) => {
                    view.message = match nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal) {
                        Ok(()) => format!("signal sent to {pid}"),
                        Err(error) => format!("cannot signal {pid}: {}", error.desc()),
                    };
                }
            }
        }
    }
    Ok(())
}

fn draw(screen: &mut Screen, lines: &[String]) -> io::Result<()> {
    let (rows, columns) = screen.size();
    let shown: Vec<String> = lines.iter().take(rows).map(|line| view::fit(line, columns)).collect();
    screen.draw(&format!("\x1b[?25l\x1b[H{}\x1b[K\x1b[J", shown.join("\x1b[K\r\n")))
}
