//! What happens to containers, images and volumes: a bounded log below the volatile directory, to which every command appends,
//! and `ctr events`, which prints and follows it.
//!
//! The log is one JSON object a line, in Docker's form. It is turned over at [`MAX_SIZE`]; one old log is kept.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, flock, inotify};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::filter::{self, Filter, Filters};
use super::record::Record;
use super::template::{Mode, Template};
use super::{Exit, files, paths, time};

/// A log is turned over at this size.
const MAX_SIZE: u64 = 2 << 20;

/// One event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// The same as `Action`, for old readers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    status: String,
    /// The same as `Actor.ID`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    id: String,
    /// A container's image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    from: String,
    /// `container`, `image` or `volume`.
    #[serde(rename = "Type")]
    kind: String,
    /// What happened.
    #[serde(rename = "Action")]
    action: String,
    /// What it happened to.
    #[serde(rename = "Actor")]
    actor: Actor,
    /// Always `local`.
    scope: String,
    /// Seconds since 1970.
    time: u64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    time_nano: u64,
}

/// What an event is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes")]
    attributes: BTreeMap<String, String>,
}

/// Put an event on record. It is news, not state: what cannot be written is lost.
pub fn emit(kind: &str, action: &str, id: &str, attributes: BTreeMap<String, String>) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let plain = matches!(kind, "container" | "image");
    let text = |text: &str| if plain { text.to_owned() } else { String::new() };
    let event = Event {
        status: text(action),
        id: text(id),
        from: if kind == "container" { attributes.get("image").cloned().unwrap_or_default() } else { String::new() },
        kind: kind.into(),
        action: action.into(),
        actor: Actor { id: id.into(), attributes },
        scope: "local".into(),
        time: since.as_secs(),
        time_nano: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
    };
    let _ = append(&event);
}

/// An event of a container: its image, name and labels, and what is to be added.
pub fn of_container(record: &Record, action: &str, extra: &[(&str, String)]) {
    let mut attributes = record.config.labels.clone();
    attributes.insert("image".into(), record.config.image.clone());
    attributes.insert("name".into(), record.short_name().into());
    attributes.extend(extra.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    emit("container", action, &record.id, attributes);
}

/// An event of an image, by its name or id.
pub fn of_image(action: &str, id: String, name: Option<&coracle_image_oci::Reference>) {
    let name = name.map_or_else(|| id.clone(), coracle_image_oci::Reference::familiar);
    // As docker has it: what comes from or goes to a registry is known by its name there.
    let actor = if matches!(action, "pull" | "push") { name.clone() } else { id };
    emit("image", action, &actor, BTreeMap::from([("name".into(), name)]));
}

/// The end of a container's payload.
pub fn ended(record: &Record, code: i32, oom_killed: bool) {
    if oom_killed {
        of_container(record, "oom", &[]);
    }
    let lasted = time::since(&record.state.started_at).as_secs();
    of_container(record, "die", &[("execDuration", lasted.to_string()), ("exitCode", code.to_string())]);
}

fn dir() -> PathBuf {
    paths::run_dir().join("events")
}

fn append(event: &Event) -> io::Result<()> {
    let dir = dir();
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(dir.join("log"));
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            files::private_dir(&dir)?;
            open()?
        }
        file => file?,
    };
    if file.metadata()?.len() + line.len() as u64 > MAX_SIZE {
        // Only one of those who find it full turns it over.
        flock(&file, FlockOperation::LockExclusive)?;
        if std::fs::metadata(dir.join("log")).is_ok_and(|meta| meta.ino() == file.metadata().map_or(0, |own| own.ino()))
        {
            std::fs::rename(dir.join("log"), dir.join("log.1"))?;
        }
        file = open()?;
    }
    // One write: lines of several writers do not mix.
    file.write_all(&line)
}

/// `events`.
#[derive(clap::Args)]
pub struct Args {
    /// Show those that meet a condition
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,

    /// Print as `json`, or by a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Also what came after this time (RFC 3339, seconds since 1970) or in this last while (10m)
    #[arg(long, value_name = "TIME", value_parser = time::parse_since)]
    since: Option<SystemTime>,

    /// End at this time
    #[arg(long, value_name = "TIME", value_parser = parse_until)]
    until: Option<SystemTime>,
}

/// A time as for `--since`; a duration with a minus sign lies ahead.
fn parse_until(text: &str) -> Result<SystemTime, String> {
    match text.strip_prefix('-').and_then(crate::duration::parse_duration) {
        Some(ahead) => Ok(SystemTime::now() + ahead),
        None => time::parse_since(text),
    }
}

/// What `--filter` knows.
const FILTERS: [&str; 11] =
    ["container", "daemon", "event", "image", "label", "name", "network", "plugin", "scope", "type", "volume"];

/// Print events as they come.
pub fn events(args: &Args) -> anyhow::Result<i32> {
    let filters = Filters::new(&args.filter, &FILTERS)?;
    let template = match args.format.as_deref().map(str::trim) {
        None | Some("") => None,
        Some("json" | "{{json .}}") => Some(None),
        Some(format) => {
            let parsed = Template::parse(format).context("template parsing error");
            Some(Some(parsed.map_err(|error| Exit { status: 64, error })?))
        }
    };
    let printer =
        Printer { filters, template, since: args.since.or_else(|| Some(SystemTime::now())), until: args.until };
    files::private_dir(&dir()).with_context(|| format!("cannot create {}", dir().display()))?;
    // Watched before it is read: what comes meanwhile is seen.
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .context("cannot watch the log of events")?;
    let wanted = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&watch, dir(), wanted).context("cannot watch the log of events")?;
    let mut reader = if args.since.is_some() { Reader::from_start() } else { Reader::from_end()? };
    loop {
        reader.drain(&printer)?;
        let left = match args.until.map(|until| until.duration_since(SystemTime::now())) {
            Some(Ok(left)) => Some(left),
            Some(Err(_)) => return Ok(0),
            None => None,
        };
        wait(&watch, left)?;
    }
}

/// Wait for a change of the log.
fn wait(watch: &rustix::fd::OwnedFd, left: Option<Duration>) -> anyhow::Result<()> {
    let left = left.map(|left| rustix::time::Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    });
    match poll(&mut [PollFd::new(watch, PollFlags::IN)], left.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(errno).context("cannot wait for events"),
    }
    let mut buffer = [0; 4096];
    while rustix::io::read(watch, &mut buffer).is_ok_and(|length| length > 0) {}
    Ok(())
}

/// Reads the log as it grows and is turned over.
struct Reader {
    current: Option<(u64, BufReader<File>)>,
    line: Vec<u8>,
}

impl Reader {
    /// From the oldest event on record.
    fn from_start() -> Self {
        let old = open(&dir().join("log.1"));
        Reader { current: old, line: Vec::new() }
    }

    /// From now on.
    fn from_end() -> anyhow::Result<Self> {
        let mut current = open(&dir().join("log"));
        if let Some((_, reader)) = &mut current {
            io::Seek::seek(reader, io::SeekFrom::End(0)).context("cannot read the log of events")?;
        }
        Ok(Reader { current, line: Vec::new() })
    }

    fn drain(&mut self, printer: &Printer) -> anyhow::Result<()> {
        loop {
            if let Some((_, reader)) = &mut self.current {
                while reader.read_until(b'\n', &mut self.line).context("cannot read the log of events")? > 0 {
                    if self.line.last() != Some(&b'\n') {
                        break;
                    }
                    printer.print(&self.line)?;
                    self.line.clear();
                }
            }
            let inode = std::fs::metadata(dir().join("log")).map(|meta| meta.ino()).ok();
            if inode.is_none() || self.current.as_ref().map(|(inode, _)| *inode) == inode {
                return Ok(());
            }
            self.current = open(&dir().join("log"));
            self.line.clear();
        }
    }
}

fn open(path: &std::path::Path) -> Option<(u64, BufReader<File>)> {
    let file = File::open(path).ok()?;
    let inode = file.metadata().ok()?.ino();
    Some((inode, BufReader::new(file)))
}

/// Which events are printed, and how.
struct Printer {
    filters: Filters,
    /// Nothing for a line of text, an inner nothing for JSON.
    template: Option<Option<Template>>,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
}

impl Printer {
    fn print(&self, line: &[u8]) -> anyhow::Result<()> {
        // A line that was cut off is none.
        let Ok(event) = serde_json::from_slice::<Event>(line) else { return Ok(()) };
        let at = UNIX_EPOCH + Duration::from_nanos(event.time_nano);
        let early = self.since.is_some_and(|since| at < since);
        let late = self.until.is_some_and(|until| at > until);
        if early || late || !self.fits(&event) {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        match &self.template {
            None => {
                let attributes = event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}"));
                let attributes = attributes.collect::<Vec<_>>().join(", ");
                let Event { kind, action, actor, .. } = &event;
                writeln!(out, "{} {kind} {action} {} ({attributes})", time::format_rfc3339(at), actor.id)?;
            }
            Some(None) => writeln!(out, "{}", serde_json::to_string(&event)?)?,
            Some(Some(template)) => {
                let mode = Mode { type_name: Some("*events.Message"), ..Mode::default() };
                let text = template.render(&document(&event), mode).context("failed to execute template")?;
                writeln!(out, "{text}")?;
            }
        }
        Ok(out.flush()?)
    }

    fn fits(&self, event: &Event) -> bool {
        let name = event.actor.attributes.get("name");
        let actor = |kind: &str, value: &String| {
            event.kind == kind && (event.actor.id.starts_with(value.as_str()) || name == Some(value))
        };
        // `exec_start: sh` is asked for as exec_start.
        let action = event.action.split(':').next().unwrap_or_default();
        let image = |value: &String| {
            let asked = if event.kind == "image" { Some(&event.actor.id) } else { event.actor.attributes.get("image") };
            asked.is_some_and(|image| image == value || image.split(':').next() == Some(value)) || actor("image", value)
        };
        self.filters.any("type", |value| *value == event.kind)
            && self.filters.any("event", |value| value == action || *value == event.action)
            && self.filters.any("container", |value| actor("container", value))
            && self.filters.any("volume", |value| actor("volume", value))
            && self.filters.any("network", |value| actor("network", value))
            && self.filters.any("name", |value| name == Some(value))
            && self.filters.any("image", image)
            && self.filters.any("scope", |value| *value == event.scope)
            && !self.filters.has("daemon")
            && !self.filters.has("plugin")
            && self.filters.labels(&event.actor.attributes)
    }
}

/// An event under the names that Docker's templates use.
fn document(event: &Event) -> Value {
    json!({
        "Type": event.kind, "Action": event.action, "Scope": event.scope, "Time": event.time, "TimeNano": event.time_nano,
        "Status": event.status, "ID": event.id, "From": event.from,
        "Actor": { "ID": event.actor.id, "Attributes": event.actor.attributes },
    })
}
