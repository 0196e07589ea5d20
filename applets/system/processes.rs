//! A picture of all processes, from /proc (proc_pid_stat(5), proc_pid_status(5)).

use std::collections::HashMap;
use std::fs;

use anyhow::Context as _;
use procfs::process::Stat;

/// One process as it was when looked at.
#[derive(Clone, Debug)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// The numbers of /proc/PID/stat.
    pub stat: Stat,
    /// Real, effective user.
    pub uids: (u32, u32),
    /// Real, effective group.
    pub gids: (u32, u32),
    /// Arguments; empty for a kernel thread and for a zombie.
    pub args: Vec<String>,
}

impl Process {
    /// Look at one process; `None` if it is not (or no longer) there.
    pub fn look(pid: i32) -> Option<Self> {
        let folder = format!("/proc/{pid}");
        let stat = parse_stat(&fs::read(format!("{folder}/stat")).ok()?)?;
        let status = fs::read(format!("{folder}/status")).ok()?;
        let status = String::from_utf8_lossy(&status);
        let ids = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let mut numbers = line.unwrap_or_default().split_whitespace().map_while(|word| word.parse().ok());
            (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
        };
        let line = fs::read(format!("{folder}/cmdline")).unwrap_or_default();
        let args = line.strip_suffix(b"\0").unwrap_or(&line);
        let args = match args.is_empty() {
            true => Vec::new(),
            false => args.split(|byte| *byte == 0).map(printable).collect(),
        };
        Some(Self { pid, stat, uids: ids("Uid:"), gids: ids("Gid:"), args })
    }

    /// The name of the program; longer than the kernel's 15 bytes where the arguments tell it.
    pub fn name(&self) -> &str {
        let comm = self.stat.comm.as_str();
        let first = self.args.first().map_or("", String::as_str);
        let base = first.rsplit('/').next().unwrap_or(first).trim_start_matches('-');
        if comm.len() == 15 && base.starts_with(comm) { base } else { comm }
    }

    /// Whether this is its name, or what it was started as.
    pub fn is_called(&self, name: &str) -> bool {
        self.name() == name
            || self.stat.comm == name
            || (name.contains('/') && self.args.first().is_some_and(|a| a == name))
    }

    /// Arguments in one line; the name in brackets where there are none.
    pub fn command_line(&self) -> String {
        if self.args.is_empty() { format!("[{}]", self.stat.comm) } else { self.args.join(" ") }
    }

    /// Clock ticks of processor time used.
    pub fn ticks(&self) -> u64 {
        self.stat.utime + self.stat.stime
    }
}

/// Parse /proc/PID/stat, whose second field may hold any byte.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    use procfs::FromRead as _;
    let text = printable(bytes.strip_suffix(b"\n").unwrap_or(bytes));
    Stat::from_read(text.as_bytes()).ok()
}

/// Text for a terminal: a control character becomes `?`.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// All processes in the order of their ids.
///
/// # Errors
/// When /proc cannot be read.
pub fn all() -> anyhow::Result<Vec<Process>> {
    let entries = fs::read_dir("/proc").context("cannot read /proc; is it mounted?")?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut processes: Vec<Process> = pids.filter_map(Process::look).collect();
    processes.sort_unstable_by_key(|process| process.pid);
    Ok(processes)
}

/// Seconds since boot.
///
/// # Errors
/// When /proc/uptime cannot be read.
pub fn uptime() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/uptime").context("cannot read /proc/uptime; is /proc mounted?")?;
    text.split_whitespace().next().and_then(|word| word.parse().ok()).context("/proc/uptime holds no number")
}

/// Clock ticks per second of the numbers in /proc.
pub fn tick_rate() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

/// Names of users and groups, each looked up once.
#[derive(Default)]
pub struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    /// The user's name, or its number.
    pub fn user(&mut self, uid: u32) -> &str {
        self.users.entry(uid).or_insert_with(|| {
            let found = nix::unistd::User::from_uid(uid.into()).ok().flatten();
            found.map_or_else(|| uid.to_string(), |user| user.name)
        })
    }

    /// The group's name, or its number.
    pub fn group(&mut self, gid: u32) -> &str {
        self.groups.entry(gid).or_insert_with(|| {
            let found = nix::unistd::Group::from_gid(gid.into()).ok().flatten();
            found.map_or_else(|| gid.to_string(), |group| group.name)
        })
    }
}

/// The terminal's name for a device number of /proc/PID/stat (Documentation/admin-guide/devices.txt).
pub fn terminal(tty: i32) -> String {
    // Bits 15 to 8 are the major number, 31 to 20 and 7 to 0 the minor.
    let (major, minor) = ((tty >> 8) & 0xfff, (tty & 0xff) | ((tty >> 12) & 0xfff00));
    match (major, minor) {
        (0, 0) => "?".into(),
        (4, minor @ 0..=63) => format!("tty{minor}"),
        (4, minor) => format!("ttyS{}", minor - 64),
        (5, 1) => "console".into(),
        (136..=143, minor) => format!("pts/{}", (major - 136) * 256 + minor),
        (204, minor @ 64..=79) => format!("ttyAMA{}", minor - 64),
        (229, minor) => format!("hvc{minor}"),
        (major, minor) => format!("{major},{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_itself() {
        let own = Process::look(nix::unistd::getpid().as_raw()).unwrap();
        assert_eq!(own.stat.ppid, nix::unistd::getppid().as_raw());
        assert_eq!(own.uids.1, nix::unistd::geteuid().as_raw());
        assert!(!own.args.is_empty());
        assert!(all().unwrap().iter().any(|process| process.pid == own.pid));
        assert!(Process::look(-1).is_none());
    }

    #[test]
    fn a_hostile_name_is_harmless() {
        let line = b"7 (a) R (\x1b[2J\n) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 1 1 1 1 1 1 1 1 1 0 0 0 0 0 0 0 17 0 0 0 0 0 0 1 1 1 1 1 1 1 0\n";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.comm.as_str(), stat.state, stat.ppid), ("a) R (?[2J?", 'S', 1));
        assert!(parse_stat(b"7 (a").is_none());
    }

    #[test]
    fn terminals() {
        assert_eq!(terminal(0), "?");
        assert_eq!(terminal(0x440), "ttyS0");
        assert_eq!(terminal(0x8803), "pts/3");
        assert_eq!(terminal(0xcc40), "ttyAMA0");
    }
}
