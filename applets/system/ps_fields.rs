//! The columns of `ps -o` (procps ps(1), STANDARD FORMAT SPECIFIERS).

use super::clock::Date;
use super::processes::{Names, Process, terminal};

/// What a column's text is computed from, beside the process.
pub struct Machine {
    /// Seconds since boot.
    pub uptime: f64,
    /// Seconds since 1970.
    pub now: i64,
    /// Clock ticks per second.
    pub tick_rate: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes per page.
    pub page: u64,
}

/// A column: its names, its heading, whether numbers line up on the right, its text.
pub struct Field {
    /// Names for `-o`.
    pub names: &'static [&'static str],
    /// Heading.
    pub head: &'static str,
    /// Line up on the right.
    pub right: bool,
    /// The text for a process.
    pub text: fn(&Process, &Machine, &mut Names) -> String,
}

/// All columns.
pub const FIELDS: &[Field] = &[
    Field { names: &["pid", "tgid"], head: "PID", right: true, text: |p, _, _| p.pid.to_string() },
    Field { names: &["ppid"], head: "PPID", right: true, text: |p, _, _| p.stat.ppid.to_string() },
    Field { names: &["pgid", "pgrp"], head: "PGID", right: true, text: |p, _, _| p.stat.pgrp.to_string() },
    Field { names: &["sid", "sess", "session"], head: "SID", right: true, text: |p, _, _| p.stat.session.to_string() },
    Field { names: &["user", "euser", "uname"], head: "USER", right: false, text: |p, _, n| n.user(p.uids.1).into() },
    Field { names: &["ruser"], head: "RUSER", right: false, text: |p, _, n| n.user(p.uids.0).into() },
    Field { names: &["uid", "euid"], head: "UID", right: true, text: |p, _, _| p.uids.1.to_string() },
    Field { names: &["ruid"], head: "RUID", right: true, text: |p, _, _| p.uids.0.to_string() },
    Field { names: &["group", "egroup"], head: "GROUP", right: false, text: |p, _, n| n.group(p.gids.1).into() },
    Field { names: &["gid", "egid"], head: "GID", right: true, text: |p, _, _| p.gids.1.to_string() },
    Field { names: &["comm", "ucomm"], head: "COMMAND", right: false, text: |p, _, _| p.stat.comm.clone() },
    Field { names: &["args", "command"], head: "COMMAND", right: false, text: |p, _, _| p.command_line() },
    Field { names: &["cmd"], head: "CMD", right: false, text: |p, _, _| p.command_line() },
    Field { names: &["tty", "tt", "tname"], head: "TTY", right: false, text: |p, _, _| terminal(p.stat.tty_nr) },
    Field { names: &["s", "state"], head: "S", right: false, text: |p, _, _| p.stat.state.to_string() },
    Field { names: &["stat"], head: "STAT", right: false, text: |p, _, _| state(p) },
    Field { names: &["time", "cputime"], head: "TIME", right: true, text: |p, m, _| clock(cpu_seconds(p, m), true) },
    Field { names: &["etime"], head: "ELAPSED", right: true, text: |p, m, _| clock(age(p, m), false) },
    Field { names: &["etimes"], head: "ELAPSED", right: true, text: |p, m, _| age(p, m).to_string() },
    Field { names: &["pcpu", "%cpu"], head: "%CPU", right: true, text: |p, m, _| format!("{:.1}", percent_cpu(p, m)) },
    Field { names: &["c"], head: "C", right: true, text: |p, m, _| format!("{:.0}", percent_cpu(p, m)) },
    Field {
        names: &["pmem", "%mem"],
        head: "%MEM",
        right: true,
        text: |p, m, _| format!("{:.1}", percent_memory(p, m)),
    },
    Field {
        names: &["rss", "rssize", "rsz"],
        head: "RSS",
        right: true,
        text: |p, m, _| (p.stat.rss * m.page / 1024).to_string(),
    },
    Field { names: &["vsz", "vsize"], head: "VSZ", right: true, text: |p, _, _| (p.stat.vsize / 1024).to_string() },
    Field { names: &["sz"], head: "SZ", right: true, text: |p, m, _| (p.stat.vsize / m.page).to_string() },
    Field { names: &["ni", "nice"], head: "NI", right: true, text: |p, _, _| p.stat.nice.to_string() },
    Field { names: &["pri"], head: "PRI", right: true, text: |p, _, _| (39 - p.stat.priority).to_string() },
    Field { names: &["nlwp", "thcount"], head: "NLWP", right: true, text: |p, _, _| p.stat.num_threads.to_string() },
    Field { names: &["psr"], head: "PSR", right: true, text: |p, _, _| p.stat.processor.unwrap_or(0).to_string() },
    Field { names: &["start", "stime", "bsdstart"], head: "START", right: true, text: |p, m, _| started(p, m) },
    Field {
        names: &["lstart"],
        head: "STARTED",
        right: true,
        text: |p, m, _| Date::from_unix(m.now - age(p, m)).ctime(),
    },
    Field { names: &["cgroup"], head: "CGROUP", right: false, text: |p, _, _| cgroup(p.pid) },
];

/// The column of that name.
pub fn find(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.names.contains(&name))
}

fn age(process: &Process, machine: &Machine) -> i64 {
    (machine.uptime - process.stat.starttime as f64 / machine.tick_rate as f64).max(0.0) as i64
}

fn cpu_seconds(process: &Process, machine: &Machine) -> i64 {
    (process.ticks() / machine.tick_rate) as i64
}

/// Processor time over life time, in percent.
pub fn percent_cpu(process: &Process, machine: &Machine) -> f64 {
    let life = machine.uptime - process.stat.starttime as f64 / machine.tick_rate as f64;
    if life <= 0.0 { 0.0 } else { 100.0 * process.ticks() as f64 / machine.tick_rate as f64 / life }
}

/// Share of the machine's memory, in percent.
pub fn percent_memory(process: &Process, machine: &Machine) -> f64 {
    100.0 * (process.stat.rss * machine.page) as f64 / machine.memory.max(1) as f64
}

/// `[DD-]hh:mm:ss`; without hours where there are none unless `hours` is set.
fn clock(seconds: i64, hours: bool) -> String {
    let (days, hour, minute, second) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    match days {
        0 if hour == 0 && !hours => format!("{minute:02}:{second:02}"),
        0 => format!("{hour:02}:{minute:02}:{second:02}"),
        days => format!("{days}-{hour:02}:{minute:02}:{second:02}"),
    }
}

/// Hour and minute (UTC), or the day if that is not today.
fn started(process: &Process, machine: &Machine) -> String {
    let date = Date::from_unix(machine.now - age(process, machine));
    let today = Date::from_unix(machine.now);
    match (date.year, date.month, date.day) == (today.year, today.month, today.day) {
        true => format!("{:02}:{:02}", date.hour, date.minute),
        false => format!("{}{:02}", date.month_name(), date.day),
    }
}

/// The state and its marks: `<` and `N` for priority, `s` session leader, `l` threads, `+` foreground.
fn state(process: &Process) -> String {
    let stat = &process.stat;
    let marks = [
        (stat.nice < 0, '<'),
        (stat.nice > 0, 'N'),
        (stat.session == process.pid, 's'),
        (stat.num_threads > 1, 'l'),
        (stat.tpgid > 0 && stat.pgrp == stat.tpgid, '+'),
    ];
    std::iter::once(stat.state).chain(marks.iter().filter(|(set, _)| *set).map(|(_, mark)| *mark)).collect()
}

fn cgroup(pid: i32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
    unified.unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = FIELDS.iter().flat_map(|field| field.names).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn times() {
        assert_eq!(clock(61, true), "00:01:01");
        assert_eq!(clock(61, false), "01:01");
        assert_eq!(clock(90_061, true), "1-01:01:01");
    }
}
