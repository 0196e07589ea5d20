//! `ps`: the processes (procps ps(1), with BusyBox's default of showing all).

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};

use anyhow::Context as _;
use procfs::{Current as _, Meminfo};

use super::clock;
use super::pgrep;
use super::processes::{self, Names, Process};
use super::ps_fields::{self, Field, Machine};
use crate::common;
use crate::registry::{Applet, Dir};

/// `ps`.
pub const APPLET: Applet = Applet { name: "ps", aliases: &[], dir: Dir::Bin, summary: "the processes", run };

const USAGE: &str = "\
usage: ps [-A | -e] [-f | -l | -j | u] [-o FIELD[=HEADING],...] [-p PID,...] [-u USER,...] [-C NAME,...]
          [--ppid PID,...] [--sort [-]FIELD] [--no-headers] [-w]
       ps aux

Show the processes; without a selection, all. Dates are UTC.
";

const DEFAULT: &str = "pid,user,time,args";
const EVERY: &str = "pid,tty,time,comm";
const FULL: &str = "user=UID,pid,ppid,c,stime=STIME,tty,time,cmd";
const LONG: &str = "s,uid,pid,ppid,c,pri,ni,sz,tty,time,comm=CMD";
const JOBS: &str = "pid,pgid,sid,tty,time,cmd";
const USER: &str = "user,pid,%cpu,%mem,vsz,rss,tty,stat,start,time,command";

/// The parsed command line.
#[derive(Debug, Default)]
struct Options {
    columns: String,
    pids: Vec<i32>,
    parents: Vec<i32>,
    users: Vec<u32>,
    names: Vec<String>,
    sort: Option<String>,
    bare: bool,
    wide: bool,
}

fn run(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    let words: Vec<String> = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    if words.iter().any(|word| word == "--help") {
        return common::finish(&name, io::stdout().write_all(USAGE.as_bytes()).map(|()| 0).map_err(Into::into));
    }
    common::finish(&name, parse(&words).and_then(|options| show(&options)))
}

fn parse(words: &[String]) -> anyhow::Result<Options> {
    let mut options = Options::default();
    let mut style = DEFAULT;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let mut value = |what: &str| rest.next().cloned().with_context(|| format!("{what}: its argument is missing"));
        if let Some(long) = word.strip_prefix("--") {
            let (long, attached) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value.to_owned())));
            let mut argument = || attached.clone().map_or_else(|| value(word), Ok);
            match long {
                "ppid" => options.parents.extend(numbers(&argument()?)?),
                "pid" => options.pids.extend(numbers(&argument()?)?),
                "sort" => options.sort = Some(argument()?),
                "no-headers" | "no-heading" => options.bare = true,
                _ => anyhow::bail!("{word}: no such option; see ps --help"),
            }
            continue;
        }
        let (bsd, letters) = word.strip_prefix('-').map_or((true, word.as_str()), |rest| (false, rest));
        if bsd && letters.bytes().all(|byte| byte.is_ascii_digit()) {
            options.pids.extend(numbers(letters)?);
            continue;
        }
        for (at, letter) in letters.char_indices() {
            let attached = &letters[at + letter.len_utf8()..];
            let mut argument = || if attached.is_empty() { value(word) } else { Ok(attached.to_owned()) };
            match letter {
                'o' => {
                    options.columns = format!("{},{}", options.columns, argument()?);
                    break;
                }
                'p' => {
                    options.pids.extend(numbers(&argument()?)?);
                    break;
                }
                'C' if !bsd => {
                    options.names.extend(argument()?.split(',').map(str::to_owned));
                    break;
                }
                // `ps -aux` has always meant `ps aux`.
                'u' if bsd || attached.starts_with('x') => style = USER,
                'u' | 'U' if !bsd => {
                    options.users.extend(argument()?.split(',').map(pgrep::uid).collect::<anyhow::Result<Vec<u32>>>()?);
                    break;
                }
                // All processes are shown without being asked for.
                'a' | 'x' => {}
                'A' | 'e' if !bsd => style = if style == DEFAULT { EVERY } else { style },
                'f' if !bsd => style = FULL,
                'l' => style = LONG,
                'j' => style = JOBS,
                'w' => options.wide = true,
                'h' if bsd => options.bare = true,
                _ => anyhow::bail!("{word}: no such option; see ps --help"),
            }
        }
    }
    if options.columns.is_empty() {
        options.columns = style.into();
    }
    Ok(options)
}

fn numbers(list: &str) -> anyhow::Result<Vec<i32>> {
    let words = list.split([',', ' ']).filter(|word| !word.is_empty());
    words.map(|word| word.parse().with_context(|| format!("{word}: not a process id"))).collect()
}

/// The columns of a list such as `pid,comm=NAME`; a heading goes on to the end of its `-o` word.
fn columns(list: &str) -> anyhow::Result<Vec<(&'static Field, String)>> {
    let words = list.split([',', ' ']).filter(|word| !word.is_empty());
    words
        .map(|word| {
            let (name, head) = word.split_once('=').map_or((word, None), |(name, head)| (name, Some(head)));
            let field = ps_fields::find(&name.to_ascii_lowercase()).with_context(|| {
                let all: Vec<&str> =
                    ps_fields::FIELDS.iter().filter_map(|field| field.names.first().copied()).collect();
                format!("{name}: no such field; there are {}", all.join(" "))
            })?;
            Ok((field, head.unwrap_or(field.head).to_owned()))
        })
        .collect()
}

fn show(options: &Options) -> anyhow::Result<i32> {
    let columns = columns(&options.columns)?;
    let machine = machine()?;
    let mut names = Names::default();
    let chooses = !(options.pids.is_empty()
        && options.parents.is_empty()
        && options.users.is_empty()
        && options.names.is_empty());
    let chosen = |p: &Process| {
        !chooses
            || options.pids.contains(&p.pid)
            || options.parents.contains(&p.stat.ppid)
            || options.users.contains(&p.uids.1)
            || options.names.contains(&p.stat.comm)
    };
    let mut found: Vec<Process> = processes::all()?.into_iter().filter(|p| chosen(p)).collect();
    if let Some(key) = &options.sort {
        sort(&mut found, key, &machine, &mut names)?;
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|p| columns.iter().map(|(field, _)| (field.text)(p, &machine, &mut names)).collect())
        .collect();
    let limit = if options.wide || !io::stdout().is_terminal() { usize::MAX } else { terminal_columns() };
    let bare = options.bare || columns.iter().all(|(_, head)| head.is_empty());
    io::stdout().write_all(table(&columns, &rows, bare, limit).as_bytes())?;
    Ok(i32::from(found.is_empty()))
}

/// What the columns need to know of the machine now.
///
/// # Errors
/// When /proc is not there.
pub fn machine() -> anyhow::Result<Machine> {
    let memory = Meminfo::current().context("cannot read /proc/meminfo; is /proc mounted?")?;
    Ok(Machine {
        uptime: processes::uptime()?,
        now: clock::now(),
        tick_rate: processes::tick_rate(),
        memory: memory.mem_total,
        page: rustix::param::page_size() as u64,
    })
}

fn terminal_columns() -> usize {
    match rustix::termios::tcgetwinsize(rustix::stdio::stdout()).map_or(0, |size| usize::from(size.ws_col)) {
        0 => 80,
        width => width,
    }
}

/// Sort by `FIELD` or `-FIELD`; numbers by value.
fn sort(found: &mut [Process], key: &str, machine: &Machine, names: &mut Names) -> anyhow::Result<()> {
    let (reverse, name) = key.strip_prefix('-').map_or((false, key.trim_start_matches('+')), |name| (true, name));
    let field = ps_fields::find(name).with_context(|| format!("{name}: no such field to sort by"))?;
    found.sort_by_cached_key(|process| {
        let text = (field.text)(process, machine, names);
        // Tenths are the finest that a column shows.
        let number = text.parse::<f64>().map_or(0, |number| (number * 10.0) as i64);
        (number, text)
    });
    if reverse {
        found.reverse();
    }
    Ok(())
}

fn table(columns: &[(&Field, String)], rows: &[Vec<String>], bare: bool, limit: usize) -> String {
    let heads: Vec<String> = columns.iter().map(|(_, head)| head.clone()).collect();
    let heads = if bare { None } else { Some(&heads) };
    let lines = || heads.into_iter().chain(rows);
    let width = |at: usize| lines().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in lines() {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            match columns[at].0.right {
                true => line.push_str(&format!("{gap}{cell:>width$}", width = widths[at])),
                false => line.push_str(&format!("{gap}{cell:<width$}", width = widths[at])),
            }
        }
        text.extend(line.trim_end().chars().take(limit));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> anyhow::Result<Options> {
        parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn styles() {
        assert_eq!(parsed(&[]).unwrap().columns, DEFAULT);
        assert_eq!(parsed(&["aux"]).unwrap().columns, USER);
        assert_eq!(parsed(&["-aux"]).unwrap().columns, USER);
        assert_eq!(parsed(&["-ef"]).unwrap().columns, FULL);
        assert_eq!(parsed(&["-e"]).unwrap().columns, EVERY);
    }

    #[test]
    fn selections() {
        let options = parsed(&["-p1,2", "-o", "pid=", "--ppid=3", "-o", "comm"]).unwrap();
        assert_eq!((options.pids, options.parents), (vec![1, 2], vec![3]));
        assert_eq!(columns(&options.columns).unwrap().len(), 2);
        for wrong in [&["-Z"][..], &["-p"], &["-p", "x"], &["--frob"], &["-u", "no such user"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
        assert!(columns("frob").is_err());
    }

    #[test]
    fn columns_line_up() {
        let columns = columns("pid,comm").unwrap();
        let rows = [vec!["1".into(), "init".into()], vec!["1234".into(), "sh".into()]];
        assert_eq!(table(&columns, &rows, false, 80), " PID COMMAND\n   1 init\n1234 sh\n");
        assert_eq!(table(&columns, &rows, true, 6), "   1 i\n1234 s\n");
    }
}
