//! The table, and what keys do to it.

use nix::sys::signal::Signal;

use super::sample::{Sample, Task};
use crate::system::processes::{Names, tick_rate};
use crate::system::{signals, uptime};
use crate::terminal::keys::Key;
use crate::terminal::width;

/// What the rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Processor use.
    Cpu,
    /// Memory.
    Memory,
    /// Processor time.
    Time,
    /// Process id, the newest first.
    Pid,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Leave.
    Quit,
    /// Look again.
    Refresh,
    /// Draw as it is now.
    Draw,
    /// Send a signal.
    Kill(i32, Option<Signal>),
    /// Stop, as Ctrl-Z asks.
    Suspend,
}

/// A question below the header.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Question {
    Pid(String),
    Signal(i32, String),
}

/// What is shown and how.
pub struct View {
    /// Order of the rows.
    pub order: Order,
    /// Arguments, not only the name.
    pub arguments: bool,
    /// A line for each processor.
    pub each_processor: bool,
    /// Only these processes.
    pub pids: Vec<i32>,
    /// Said once.
    pub message: String,
    help: bool,
    question: Option<Question>,
    names: Names,
}

const HELP: &[&str] = &[
    "P M T N   sort by processor, memory, time, process id",
    "1         a line for each processor, or one for all",
    "c         arguments, or only names",
    "k         send a signal to a process",
    "SPACE     look again now",
    "q         quit",
    "",
    "any key goes on",
];

impl View {
    /// Sorted by processor use.
    pub fn new(arguments: bool, pids: Vec<i32>) -> Self {
        Self {
            order: Order::Cpu,
            arguments,
            each_processor: false,
            pids,
            message: String::new(),
            help: false,
            question: None,
            names: Names::default(),
        }
    }

    /// Take a key.
    pub fn key(&mut self, key: Key) -> Request {
        self.message.clear();
        if std::mem::take(&mut self.help) {
            return Request::Draw;
        }
        if let Some(question) = self.question.take() {
            return self.answer(question, key);
        }
        match key {
            Key::Char('q') | Key::Control('c') | Key::Gone => return Request::Quit,
            Key::Char('M') => self.order = Order::Memory,
            Key::Char('P') => self.order = Order::Cpu,
            Key::Char('T') => self.order = Order::Time,
            Key::Char('N') => self.order = Order::Pid,
            Key::Char('1') => self.each_processor = !self.each_processor,
            Key::Char('c') => self.arguments = !self.arguments,
            Key::Char('k') => self.question = Some(Question::Pid(String::new())),
            Key::Char('h' | '?') => self.help = true,
            Key::Char(' ') | Key::Enter => return Request::Refresh,
            Key::Control('z') => return Request::Suspend,
            _ => {}
        }
        Request::Draw
    }

    fn answer(&mut self, question: Question, key: Key) -> Request {
        let (Question::Pid(mut text) | Question::Signal(_, mut text)) = question.clone();
        match key {
            Key::Escape | Key::Control('c') => return Request::Draw,
            Key::Gone => return Request::Quit,
            Key::Char(character) => text.push(character),
            Key::Backspace => drop(text.pop()),
            Key::Enter => match question {
                Question::Pid(text) => {
                    match text.trim().parse() {
                        Ok(pid) if pid > 0 => self.question = Some(Question::Signal(pid, String::new())),
                        _ => self.message = format!("{}: not a process id", text.trim()),
                    }
                    return Request::Draw;
                }
                Question::Signal(pid, text) => {
                    let word = if text.trim().is_empty() { "TERM" } else { text.trim() };
                    match signals::parse(word) {
                        Ok(signal) => return Request::Kill(pid, signal),
                        Err(message) => self.message = message,
                    }
                    return Request::Draw;
                }
            },
            _ => {}
        }
        self.question = Some(match question {
            Question::Pid(_) => Question::Pid(text),
            Question::Signal(pid, _) => Question::Signal(pid, text),
        });
        Request::Draw
    }

    /// All lines of the picture, as many rows as there are processes.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn lines(&mut self, sample: &mut Sample) -> anyhow::Result<Vec<String>> {
        if self.help {
            return Ok(HELP.iter().map(|line| (*line).to_owned()).collect());
        }
        let mut lines = vec![format!("top -{}", uptime::summary(sample.uptime as i64)?)];
        if !self.pids.is_empty() {
            sample.tasks.retain(|task| self.pids.contains(&task.process.pid));
        }
        lines.push(tasks(&sample.tasks));
        match self.each_processor {
            true => lines.extend(
                sample
                    .processors
                    .iter()
                    .skip(1)
                    .enumerate()
                    .map(|(n, ticks)| format!("%Cpu{n:<3}: {}", ticks.shares())),
            ),
            false => {
                lines.push(format!("%Cpu(s): {}", sample.processors.first().copied().unwrap_or_default().shares()))
            }
        }
        lines.extend(memory(sample));
        lines.push(match &self.question {
            Some(Question::Pid(text)) => format!("process id to signal: {text}"),
            Some(Question::Signal(pid, text)) => format!("signal for {pid} [TERM]: {text}"),
            None => self.message.clone(),
        });
        lines.extend(self.table(sample));
        Ok(lines)
    }

    fn table(&mut self, sample: &mut Sample) -> Vec<String> {
        self.sort(&mut sample.tasks);
        // A machine without containers needs no column for them.
        let containers = sample.tasks.iter().any(|task| task.container.is_some());
        let column = |text: &str| if containers { format!("{text:<12} ") } else { String::new() };
        let mut lines = vec![format!(
            "{:>7} {:<8} {:>3} {:>3} {:>7} {:>6} S {:>5} {:>5} {:>9} {}COMMAND",
            "PID",
            "USER",
            "PR",
            "NI",
            "VIRT",
            "RES",
            "%CPU",
            "%MEM",
            "TIME+",
            column("CONTAINER")
        )];
        let page = rustix::param::page_size() as u64;
        for task in &sample.tasks {
            let stat = &task.process.stat;
            let user: String = self.names.user(task.process.uids.1).chars().take(8).collect();
            let command = if self.arguments { task.process.command_line() } else { task.process.name().to_owned() };
            let priority = if stat.priority < -99 { "rt".into() } else { stat.priority.to_string() };
            lines.push(format!(
                "{:>7} {user:<8} {priority:>3} {:>3} {:>7} {:>6} {} {:>5.1} {:>5.1} {:>9} {}{command}",
                task.process.pid,
                stat.nice,
                kib(stat.vsize / 1024, 7),
                kib(stat.rss * page / 1024, 6),
                stat.state,
                task.cpu,
                task.memory,
                time(task.process.ticks()),
                column(task.container.as_deref().unwrap_or("-")),
            ));
        }
        lines
    }

    fn sort(&self, tasks: &mut [Task]) {
        let by = |a: f64, b: f64| b.total_cmp(&a);
        tasks.sort_by(|a, b| {
            match self.order {
                Order::Cpu => by(a.cpu, b.cpu),
                Order::Memory => b.process.stat.rss.cmp(&a.process.stat.rss),
                Order::Time => b.process.ticks().cmp(&a.process.ticks()),
                Order::Pid => b.process.pid.cmp(&a.process.pid),
            }
            .then(a.process.pid.cmp(&b.process.pid))
        });
    }
}

/// The part of a line that a screen has room for.
pub fn fit(line: &str, columns: usize) -> String {
    let mut room = columns;
    line.chars()
        .map(|character| width::shown(character, 0))
        .take_while(|shown| {
            let wide = width::of(shown);
            let fits = wide <= room;
            room = room.saturating_sub(wide);
            fits
        })
        .collect()
}

fn tasks(tasks: &[Task]) -> String {
    let count = |states: &str| tasks.iter().filter(|task| states.contains(task.process.stat.state)).count();
    let (running, stopped, zombies) = (count("R"), count("Tt"), count("Z"));
    let sleeping = tasks.len() - running - stopped - zombies;
    format!(
        "Tasks: {:3} total, {running:3} running, {sleeping:3} sleeping, {stopped:3} stopped, {zombies:3} zombie",
        tasks.len()
    )
}

fn memory(sample: &Sample) -> [String; 2] {
    let memory = &sample.memory;
    let mib = |bytes: u64| format!("{:8.1}", bytes as f64 / f64::from(1 << 20));
    let cache = memory.buffers + memory.cached + memory.s_reclaimable.unwrap_or(0);
    let available = memory.mem_available.unwrap_or(memory.mem_free);
    let used = memory.mem_total.saturating_sub(available);
    let swapped = memory.swap_total.saturating_sub(memory.swap_free);
    [
        format!(
            "MiB Mem : {} total, {} free, {} used, {} buff/cache",
            mib(memory.mem_total),
            mib(memory.mem_free),
            mib(used),
            mib(cache)
        ),
        format!(
            "MiB Swap: {} total, {} free, {} used. {} avail Mem",
            mib(memory.swap_total),
            mib(memory.swap_free),
            mib(swapped),
            mib(available)
        ),
    ]
}

/// Kibibytes in so many columns, with a larger unit if they do not fit.
fn kib(value: u64, columns: usize) -> String {
    let plain = value.to_string();
    if plain.len() <= columns {
        return plain;
    }
    let mut scaled = value as f64;
    for unit in ['m', 'g', 't', 'p'] {
        scaled /= 1024.0;
        let text = format!("{scaled:.1}{unit}");
        if text.len() <= columns {
            return text;
        }
    }
    plain
}

/// Minutes, seconds and hundredths.
fn time(ticks: u64) -> String {
    let hundredths = ticks * 100 / tick_rate();
    let (minutes, seconds, rest) = (hundredths / 6000, hundredths / 100 % 60, hundredths % 100);
    if minutes > 9999 { format!("{}h", minutes / 60) } else { format!("{minutes}:{seconds:02}.{rest:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::keys::tests::keys_typed;

    fn asked(typed: &str) -> (Request, View) {
        let mut view = View::new(false, Vec::new());
        let request = keys_typed(typed.as_bytes()).into_iter().map(|key| view.key(key)).last();
        (request.unwrap(), view)
    }

    #[test]
    fn keys() {
        assert_eq!(asked("q").0, Request::Quit);
        assert_eq!(asked("M").1.order, Order::Memory);
        assert_eq!(asked("MT").1.order, Order::Time);
        assert!(asked("1").1.each_processor);
        assert_eq!(asked("hq").0, Request::Draw);
        assert_eq!(asked("k12\r\r").0, Request::Kill(12, Some(Signal::SIGTERM)));
        assert_eq!(asked("k12\r9\r").0, Request::Kill(12, Some(Signal::SIGKILL)));
        assert_eq!(asked("k13\x7f2\rhup\r").0, Request::Kill(12, Some(Signal::SIGHUP)));
        for nothing in ["k\r", "k-1\r", "kx\r", "k12\rFOO\r", "k12\x1b"] {
            assert_eq!(asked(nothing).0, Request::Draw, "{nothing:?}");
        }
    }

    #[test]
    fn numbers_fit() {
        assert_eq!(kib(123_456, 7), "123456");
        assert_eq!(kib(123_456_789, 7), "117.7g");
        assert_eq!(kib(1_234_567, 6), "1.2g");
        assert_eq!(fit("日本語", 5), "日本");
    }

    #[test]
    fn a_picture() {
        let mut sample = super::super::sample::Sampler::default().look().unwrap();
        let own = std::process::id() as i32;
        let mut view = View::new(true, vec![own]);
        let lines = view.lines(&mut sample).unwrap();
        assert_eq!(lines.len(), 8);
        assert!(lines[1].starts_with("Tasks:   1 total"));
        assert!(lines[7].starts_with(&format!("{own:>7} ")));
    }
}
